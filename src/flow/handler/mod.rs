//! The screen handlers: what a person sent on one screen becomes the next screen, the same screen with what is wrong, or
//! the finished submission.
//!
//! Invariants: pure; nothing the client sends is stored unchecked; answers of a branch that was left are neither submitted
//! nor looked at by later conditions; the same session and payload give the same turn.
//!
//! What it deliberately does not do: it neither seals nor stores anything. The endpoint does.

mod read;
mod search;
mod session;
mod show;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::read::Read;
pub use self::session::{Session, Unreadable};
use self::show::{Refusal, cut};
use super::plan::{Block, Content, Plan};
use super::words::Words;
use crate::form::{Facts, Form, Next, Position, Problem, Template, Validator, Value, Variables, Walker};

/// After this many jumps back the walk goes on in source order: no form holds a person for ever.
const MAX_BACKS: u16 = 100;
/// Stands for a personal answer.
const MASK: &str = "•••";
/// Longest summary, in characters.
const MAX_SUMMARY: usize = 500;

/// The handlers of one version of a flow. Made once, shared by every exchange.
#[derive(Debug)]
pub struct Handler {
    plan: Plan,
    walker: Walker,
    validator: Validator,
    words: &'static Words,
    screens: HashMap<String, usize>,
    /// First screen of each question.
    screen_of: HashMap<Position, usize>,
    endings: HashMap<Option<usize>, usize>,
}

/// What an exchange leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// A screen.
    Show(Show),
    /// The form is complete. The submission must be stored before the answer is sent.
    Finish {
        /// What was submitted.
        completed: Completed,
        /// How the flow goes on.
        then: Closing,
    },
}

/// How a flow ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Closing {
    /// SUCCESS.
    Success,
    /// The screen of an ending.
    Show(Box<Show>),
}

/// A screen to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Show {
    /// Its id.
    pub screen: String,
    /// Its data, without the sealed state.
    pub data: Map<String, Json>,
    /// What is sealed into its state; `None` for a screen without data.
    pub session: Option<Session>,
    /// The same screen again, because something was not right.
    pub problem: bool,
}

/// A completed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// UUIDv8 of session and answers: the same walk with the same answers is the same submission.
    pub id: Uuid,
    /// [`Session::id`]: the same however often the walk is closed.
    pub walk: [u8; 16],
    /// Answers of the questions that were shown, in their order.
    pub answers: Vec<(Position, Value)>,
    /// The texts of those questions, recalls filled in as the person read them.
    pub questions: Vec<String>,
    /// What the form computed.
    pub variables: Variables,
    /// Values that came with the token.
    pub hidden: BTreeMap<String, String>,
    /// Entry of [`Form::endings`].
    pub ending: Option<usize>,
    /// A few lines for the chat; personal answers are masked.
    pub summary: String,
}

impl Handler {
    /// The handlers of a stored plan.
    pub fn new(plan: Plan) -> Handler {
        let mut screen_of = HashMap::new();
        let mut endings = HashMap::new();
        for (index, screen) in plan.screens.iter().enumerate() {
            match &screen.content {
                Content::Questions(blocks) => {
                    for block in blocks {
                        screen_of.entry(block.position).or_insert(index);
                    }
                }
                Content::Ending(ending) => {
                    endings.insert(*ending, index);
                }
                _ => {}
            }
        }
        Handler {
            walker: Walker::new(&plan.form),
            validator: Validator::new(&plan.form),
            words: Words::of(&plan.form.locale),
            screens: plan.screens.iter().enumerate().map(|(index, s)| (s.id.clone(), index)).collect(),
            screen_of,
            endings,
            plan,
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The form.
    pub fn form(&self) -> &Form {
        &self.plan.form
    }

    /// The question at a position of [`Completed::answers`].
    pub fn question(&self, position: Position) -> &crate::form::Question {
        self.walker.question(&self.plan.form, position)
    }

    /// The first screen, for INIT.
    pub fn open(&self, session: Session) -> Show {
        self.show(session, 0, None)
    }

    /// The screen named, anew, for BACK; `None` when there is no such screen.
    pub fn again(&self, session: Session, screen: &str) -> Option<Show> {
        Some(self.show(self.known(session), *self.screens.get(screen)?, None))
    }

    /// The same screen with a message for the whole of it, and what was sent; `None` when there is no such screen.
    pub fn refuse(
        &self,
        session: Session,
        screen: &str,
        payload: &Map<String, Json>,
        message: &str,
    ) -> Option<Show> {
        let refusal = Refusal { payload, fields: Vec::new(), message: message.to_owned() };
        Some(self.show(self.known(session), *self.screens.get(screen)?, Some(&refusal)))
    }

    /// The session without what this form does not have: a state of another version must not stop the walk.
    fn known(&self, mut session: Session) -> Session {
        session.trail.retain(|&position| usize::from(position) < self.walker.len());
        session
    }

    /// Whether the screen is one that carries no state.
    pub fn is_cover(&self, screen: &str) -> bool {
        let index = self.screens.get(screen).copied();
        index.is_some_and(|index| self.plan.screens[index].content == Content::Cover)
    }

    /// What follows a data exchange on `screen`; `None` when there is no such screen.
    pub fn step(&self, session: Session, screen: &str, payload: &Map<String, Json>) -> Option<Turn> {
        let index = *self.screens.get(screen)?;
        let session = self.known(session);
        Some(match &self.plan.screens[index].content {
            Content::Cover | Content::Intro | Content::Relay => {
                let (next, variables) =
                    self.walker.after(&self.plan.form, &session.trail(), &session.answers, &session.hidden);
                self.proceed(session, index, next, variables)
            }
            Content::Ending(ending) => {
                let completed = self.completed(&session, *ending);
                Turn::Finish { completed, then: Closing::Success }
            }
            Content::Questions(blocks) => self.answer(session, index, blocks, payload),
        })
    }

    fn answer(&self, session: Session, index: usize, blocks: &[Block], payload: &Map<String, Json>) -> Turn {
        let form = &self.plan.form;
        let mut after = session.clone();
        for block in blocks {
            let key = &self.walker.question(form, block.position).key;
            after.answers.remove(key);
            after.drafts.remove(key);
        }
        let (mut next, mut variables) =
            self.walker.after(form, &after.trail(), &after.answers, &after.hidden);
        let mut wrong: Vec<(String, String, String)> = Vec::new();
        let locale = form.locale.as_str();
        let mut problem = |name: String, problem: &Problem| {
            wrong.push((name, problem.short(locale), problem.long(locale)));
        };
        let mut at = Some(0);
        let mut goes_on = false;
        while let Some(block) = at.and_then(|index: usize| blocks.get(index)) {
            let question = self.walker.question(form, block.position);
            let first = self.screen_of.get(&block.position) == Some(&index);
            let partial = after.take_partial(block.position, first);
            match read::read(block, question, &self.validator, payload, partial) {
                Read::Done(Some(value)) => {
                    after.answers.insert(question.key.clone(), value);
                }
                Read::Done(None) => {}
                Read::GoesOn(partial) => {
                    after.partial = Some(partial);
                    goes_on = true;
                    break;
                }
                Read::NotFound(name) => {
                    let text = self.words.nothing_found.to_owned();
                    wrong.push((name, text.clone(), text));
                    break;
                }
                Read::Wrong(name, found) => problem(name, &found),
            }
            after.trail.push(u16::try_from(block.position).unwrap_or(u16::MAX));
            next = self.walker.step(form, block.position, &after.answers, &after.hidden, &mut variables);
            at = match next {
                Next::Question(position) => {
                    let here = at.unwrap_or(0);
                    blocks.iter().position(|b| b.position == position).filter(|found| *found > here)
                }
                Next::Ending(_) => None,
            };
        }
        if let Some((_, _, message)) = wrong.first() {
            let message = message.clone();
            let fields = wrong.into_iter().map(|(name, short, _)| (name, short)).collect();
            return Turn::Show(self.show(session, index, Some(&Refusal { payload, fields, message })));
        }
        if goes_on {
            return Turn::Show(self.show(after, index + 1, None));
        }
        self.proceed(after, index, next, variables)
    }

    /// Goes from the screen `from` to what comes next.
    fn proceed(&self, mut session: Session, from: usize, mut next: Next, variables: Variables) -> Turn {
        let form = &self.plan.form;
        let visited = |session: &Session, next: Next| match next {
            Next::Question(position) => session.trail.iter().position(|&p| usize::from(p) == position),
            Next::Ending(_) => None,
        };
        // Every endless walk leads back in source order again and again, so this is what is counted, when it is decided:
        // a relay only passes it on.
        let back = session.trail.last().map(|&last| usize::from(last));
        let back = back.filter(|last| matches!(next, Next::Question(to) if to <= *last));
        if let Some(last) = back {
            let decides = matches!(self.plan.screens[from].content, Content::Questions(_));
            if session.backs > MAX_BACKS || (decides && session.backs == MAX_BACKS) {
                session.backs = MAX_BACKS + 1;
                let facts =
                    Facts { answers: &session.answers, hidden: &session.hidden, variables: &variables };
                next = self.walker.onward(form, last, &facts);
            } else if decides {
                session.backs += 1;
            }
        }
        if let Some(index) = visited(&session, next) {
            for position in session.trail.split_off(index) {
                let key = &self.walker.question(form, position.into()).key;
                if let Some((key, value)) = session.answers.remove_entry(key) {
                    session.drafts.insert(key, value);
                }
            }
        }
        match next {
            Next::Question(position) => {
                let target = self.screen_of.get(&position).copied().unwrap_or(from);
                Turn::Show(self.show(session, self.route(from, target), None))
            }
            Next::Ending(ending) => {
                let screen = self.endings.get(&ending).copied().filter(|_| !self.plan.screens[from].terminal);
                match screen.map(|target| (target, self.route(from, target))) {
                    Some((target, shown)) if target != shown => Turn::Show(self.show(session, shown, None)),
                    Some((target, _)) => {
                        let completed = self.completed(&session, ending);
                        Turn::Finish {
                            completed,
                            then: Closing::Show(Box::new(self.show(session, target, None))),
                        }
                    }
                    None => {
                        let completed = self.completed(&session, ending);
                        Turn::Finish { completed, then: Closing::Success }
                    }
                }
            }
        }
    }

    /// The screen that is shown on the way to `target`: itself, or a relay.
    fn route(&self, from: usize, target: usize) -> usize {
        let via = &self.plan.screens[from].via;
        via.iter().find(|(to, _)| *to == target).map_or(target, |(_, relay)| *relay)
    }

    fn completed(&self, session: &Session, ending: Option<usize>) -> Completed {
        let form = &self.plan.form;
        let (mut answers, mut questions) = (Vec::new(), Vec::new());
        let shown = |position: Position, facts: &Facts<'_>| {
            let question = self.walker.question(form, position);
            if let Some(value) = session.answers.get(&question.key) {
                questions.push(Template::parse(question.title.trim()).render(form, facts));
                answers.push((position, value.clone()));
            }
        };
        let (_, variables) =
            self.walker.retrace(form, &session.trail(), &session.answers, &session.hidden, shown);
        let mut hash = Sha256::new();
        hash.update(session.id);
        hash.update(postcard::to_stdvec(&answers).unwrap_or_default());
        let mut id = [0; 16];
        id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        let summary = self.summary(session, &answers, &variables);
        Completed {
            id: Uuid::new_v8(id),
            walk: session.id,
            answers,
            questions,
            variables,
            hidden: session.hidden.clone(),
            ending,
            summary,
        }
    }

    /// A few lines for the chat, where others may read them: neither personal answers nor titles that recall them.
    fn summary(&self, session: &Session, answers: &[(Position, Value)], variables: &Variables) -> String {
        let form = &self.plan.form;
        let mut masked = session.answers.clone();
        for (_, question) in form.questions().filter(|(_, question)| question.is_personal()) {
            if let Some(value) = masked.get_mut(&question.key) {
                *value = Value::Text(MASK.to_owned());
            }
        }
        let facts = Facts { answers: &masked, hidden: &session.hidden, variables };
        let mut lines = String::new();
        for (position, value) in answers {
            let question = self.walker.question(&self.plan.form, *position);
            let asked = Template::parse(question.title.trim()).render(form, &facts);
            let read = match value {
                _ if question.is_personal() => MASK.to_owned(),
                Value::Bool(true) => self.words.yes.to_owned(),
                Value::Bool(false) => self.words.no.to_owned(),
                value => value.read(&question.kind),
            };
            lines.push_str(&format!("{}: {}\n", cut(&asked, 80), cut(&read, 120)));
        }
        cut(lines.trim_end(), MAX_SUMMARY)
    }
}
