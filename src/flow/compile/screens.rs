//! Which questions share a screen.
//!
//! The server decides what comes next from checked answers, so a screen ends wherever that decision is due: before a jump
//! target, after a question with jumps, where visibility or a recalled text depends on an answer of the same screen and the
//! phone cannot decide it. What the phone can decide (a single choice of the same screen) becomes an `If`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::document::with;
use super::names::Names;
use super::question::{self, Part, Style};
use super::{Mode, Settings};
use crate::flow::plan::{Block, DataKey, Input, WireOption};
use crate::flow::report::{self, Enforced, Grade, Item};
use crate::flow::words::Words;
use crate::form::{
    Condition, Form, Kind, Op, Operand, Position, Question, Recall, RuleEffect, Target, Template, Test,
    Walker,
};

/// About this many inputs on one screen.
const INPUTS: usize = 6;
/// Components on one screen, with room for headings, progress and footer below Meta's 50.
const COMPONENTS: usize = 40;
/// Consents on one screen, and links (each consent may have one).
const CONSENTS: usize = 5;

/// A screen of questions before it is written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub blocks: Vec<Block>,
    pub components: Vec<Value>,
    pub data: Vec<DataKey>,
    pub sensitive: Vec<String>,
    pub seconds: u32,
    pub page: usize,
    /// All questions of the screen are shown only if this holds; the server has decided it already.
    shared: Option<Condition>,
    /// Single choices that an `If` of this screen may look at: by question key.
    decidable: BTreeMap<String, Input>,
    consents: usize,
    alone: bool,
    closed: bool,
    computes: bool,
    group: Option<String>,
}

/// The questions of the form on screens, what the report says of them, and the bytes their answers may take.
pub(super) struct Drafts {
    pub screens: Vec<Draft>,
    pub items: Vec<Item>,
    pub bytes: usize,
}

/// Groups the questions of `form`.
pub(super) fn draft(form: &Form, walker: &Walker, settings: &Settings, words: &'static Words) -> Drafts {
    let targets = jump_targets(form, walker);
    let mut names = Names::default();
    let mut drafts = Drafts { screens: Vec::new(), items: Vec::new(), bytes: 0 };
    for position in 0..walker.len() {
        let question = walker.question(form, position);
        let page = walker.page(position);
        let one = settings.mode == Mode::OneQuestion;
        let joins = drafts.screens.last().filter(|screen| {
            !one && screen.page == page
                && !targets.contains(&position)
                && screen.admits(form, walker, question)
        });
        let condition = joins.and_then(|screen| screen.client_condition(question));
        let shared = joins.is_some_and(|screen| question.visible_if == screen.shared);
        let style = Style { words, conditional: condition.is_some() };
        let mut asked = question::ask(question, &mut names, style);
        drafts.bytes += question.key.len() + asked.bytes + 8;
        let fits = joins.is_some_and(|screen| {
            !asked.alone
                && (shared || condition.is_some())
                && asked.parts.first().is_some_and(|part| screen.has_room(part, &question.kind))
        });
        if condition.is_some() && !fits {
            // It was made for an `If` and gets a screen of its own after all.
            let mut again = Names::default();
            asked = question::ask(question, &mut again, Style { words, conditional: false });
        }
        visibility(question, condition.is_some() && fits, &mut asked.items);
        drafts.items.append(&mut asked.items);
        let parts = asked.parts.len();
        for (index, part) in asked.parts.into_iter().enumerate() {
            if !fits {
                let shared = question.visible_if.clone();
                drafts.screens.push(Draft { page, shared, alone: asked.alone, ..Draft::default() });
            }
            let Some(screen) = drafts.screens.last_mut() else { continue };
            let condition = condition.as_deref().filter(|_| fits);
            screen.add(position, question, part, index + 1 == parts, condition);
        }
    }
    drafts
}

impl Draft {
    /// Whether `question` may stand on this screen as far as decisions of the server go.
    fn admits(&self, form: &Form, walker: &Walker, question: &Question) -> bool {
        if self.alone || self.closed || matches!(question.kind, Kind::File(_)) {
            return false;
        }
        let here: BTreeSet<&str> =
            self.blocks.iter().map(|b| walker.question(form, b.position).key.as_str()).collect();
        let texts = [Some(&question.title), question.help.as_ref()];
        let group = question.group.as_ref().map(|g| &g.title);
        let recalls_here = texts.into_iter().flatten().chain(group).any(|text| {
            Template::parse(text).recalls().any(|recall| match recall {
                Recall::Answer(key) => here.contains(key.as_str()),
                Recall::Variable(_) => self.computes,
                Recall::Hidden(_) => false,
            })
        });
        if recalls_here {
            return false;
        }
        // What is answered or computed on this screen may hide the rest of it, which only the server can tell.
        let page = form.pages.get(self.page).and_then(|page| page.visible_if.as_ref());
        if page.is_some_and(|condition| self.decides(condition, &here)) {
            return false;
        }
        match &question.visible_if {
            same if *same == self.shared => {
                same.as_ref().is_none_or(|condition| !self.decides(condition, &here))
            }
            _ => self.client_condition(question).is_some(),
        }
    }

    /// Whether the questions on this screen may change what the condition says.
    fn decides(&self, condition: &Condition, here: &BTreeSet<&str>) -> bool {
        let mut decides = false;
        condition.operands(&mut |operand| {
            decides |= match operand {
                Operand::Answer { answer: key } | Operand::Row { matrix: key, .. } => {
                    here.contains(key.as_str())
                }
                Operand::Variable { .. } => self.computes,
                Operand::Hidden { .. } | Operand::Constant(_) => false,
            }
        });
        decides
    }

    fn has_room(&self, part: &Part, kind: &Kind) -> bool {
        let inputs: usize = self.blocks.iter().map(|b| b.inputs.len()).sum();
        let consent = matches!(kind, Kind::Consent { .. });
        inputs + part.inputs.len() <= INPUTS
            && count(&self.components) + count(&part.components) + 2 <= COMPONENTS
            && (!consent || self.consents < CONSENTS)
    }

    /// The condition of an `If` that decides whether `question` is shown, where this screen's choices alone decide it.
    fn client_condition(&self, question: &Question) -> Option<String> {
        // On a screen that is itself conditional, a question with another condition is not provably below it.
        if self.shared.is_some() {
            return None;
        }
        self.expression(question.visible_if.as_ref()?)
    }

    fn expression(&self, condition: &Condition) -> Option<String> {
        let join = |parts: &[Condition], operator: &str| {
            let parts: Option<Vec<String>> = parts.iter().map(|part| self.expression(part)).collect();
            let parts = parts.filter(|parts| !parts.is_empty() && parts.len() <= 8)?;
            Some(if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(operator)) })
        };
        match condition {
            Condition::All { all } => join(all, " && "),
            Condition::Any { any } => join(any, " || "),
            // An unanswered choice is `unset` on the phone, where only `==` is sure to mean what the form means.
            Condition::Not { .. } => None,
            Condition::Test(Test {
                left: Operand::Answer { answer },
                op: Op::Is,
                right: Operand::Constant(value),
            }) => {
                let input = self.decidable.get(answer)?;
                let source = match value {
                    Value::String(text) => text.clone(),
                    Value::Bool(yes) => yes.to_string(),
                    _ => return None,
                };
                // The form's `is` takes no notice of case, the phone does.
                let alike = |o: &&WireOption| {
                    let id = o.source.as_deref().unwrap_or_default();
                    id.trim().to_lowercase() == source.trim().to_lowercase()
                };
                let option = input.options.iter().find(|o| o.source.as_ref() == Some(&source))?;
                if input.options.iter().filter(alike).count() > 1 {
                    return None;
                }
                Some(format!("(${{form.{}}} == '{}')", input.name, option.id))
            }
            Condition::Test(_) => None,
        }
    }

    fn add(
        &mut self,
        position: Position,
        question: &Question,
        mut part: Part,
        last: bool,
        condition: Option<&str>,
    ) {
        let key = question.group.as_ref().map(|group| group.key.clone());
        if let Some(group) = &question.group
            && key != self.group
            && !group.title.trim().is_empty()
        {
            let max = if group.title.chars().count() <= 80 { 80 } else { 4_096 };
            let kind = if max == 80 { "TextSubheading" } else { "TextBody" };
            let title = question::text(&group.title, max, &mut self.data);
            self.components.push(json!({"type": kind, "text": title}));
        }
        self.group = key;
        match condition {
            Some(condition) => {
                let branch = json!({"type": "If", "condition": condition});
                self.components.push(with(branch, "then", Value::Array(part.components)));
            }
            None => {
                self.components.append(&mut part.components);
                if let (Kind::SingleChoice(_) | Kind::YesNo, Some(input)) =
                    (&question.kind, part.inputs.first())
                {
                    self.decidable.insert(question.key.clone(), input.clone());
                }
            }
        }
        for key in part.data {
            if self.data.iter().all(|known| known.name != key.name) {
                self.data.push(key);
            }
        }
        self.sensitive.append(&mut part.sensitive);
        self.seconds += part.seconds;
        self.consents += usize::from(matches!(question.kind, Kind::Consent { .. }));
        self.closed |= question.rules.iter().any(|rule| matches!(rule.effect, RuleEffect::Jump(_)));
        self.computes |= question.rules.iter().any(|rule| !matches!(rule.effect, RuleEffect::Jump(_)));
        self.blocks.push(Block { position, inputs: part.inputs, last });
    }
}

/// Components, those in branches too.
fn count(components: &[Value]) -> usize {
    components
        .iter()
        .map(|component| 1 + component.get("then").and_then(Value::as_array).map_or(0, |then| count(then)))
        .sum()
}

/// Where jumps lead, and the first question of every page.
fn jump_targets(form: &Form, walker: &Walker) -> BTreeSet<Position> {
    let rules =
        form.pages.iter().flat_map(|p| p.rules.iter().chain(p.questions.iter().flat_map(|q| &q.rules)));
    rules
        .filter_map(|rule| match &rule.effect {
            RuleEffect::Jump(Target::Question(key)) => walker.position(key),
            _ => None,
        })
        .collect()
}

fn visibility(question: &Question, on_phone: bool, items: &mut Vec<Item>) {
    let Some(condition) = &question.visible_if else { return };
    let (enforced, reason) = if on_phone {
        (Enforced::PhoneAndServer, "appears on the same screen as soon as the condition holds")
    } else {
        (Enforced::Server, "the server shows or passes over its screen")
    };
    items.push(Item {
        at: format!("question.{}.visible_if", question.key),
        title: question::cut(&question.title, 80),
        grade: Grade::Exact,
        reason: reason.to_owned(),
        enforced,
        part: report::part(condition),
    });
}
