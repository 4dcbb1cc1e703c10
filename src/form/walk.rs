//! Which question comes next: the form's branching as a pure function of what was shown and answered.

use std::collections::BTreeMap;

use super::condition::Scalar;
use super::{Answers, Condition, Facts, Form, Question, Rule, RuleEffect, Target};

/// The place of a question in source order.
pub type Position = usize;

/// Variables by name, while a form is filled.
pub type Variables = BTreeMap<String, Scalar>;

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This question.
    Question(Position),
    /// The end: this entry of [`Form::endings`], or the plain thank-you of a form that has none.
    Ending(Option<usize>),
}

/// Walks a form. Built once per form; every method is a pure function of its arguments.
#[derive(Debug, Clone)]
pub struct Walker {
    questions: Vec<Place>,
    by_key: BTreeMap<String, Position>,
    /// First and one past the last question of each page.
    pages: Vec<(Position, Position)>,
}

/// How a question is come to. A jump that lands on the first question of a page has not left the page before it.
#[derive(Debug, Clone, Copy)]
enum Way {
    To(Position),
    Past(Position),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    page: usize,
    index: usize,
}

impl Walker {
    /// A walker over `form`; give the same form to every call.
    pub fn new(form: &Form) -> Walker {
        let mut walker = Walker { questions: Vec::new(), by_key: BTreeMap::new(), pages: Vec::new() };
        for (page, p) in form.pages.iter().enumerate() {
            let first = walker.questions.len();
            for (index, question) in p.questions.iter().enumerate() {
                walker.by_key.insert(question.key.clone(), walker.questions.len());
                walker.questions.push(Place { page, index });
            }
            walker.pages.push((first, walker.questions.len()));
        }
        walker
    }

    /// How many questions there are.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether the form asks nothing at all.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// The question at a position. Positions come from this walker, so they exist.
    pub fn question<'f>(&self, form: &'f Form, position: Position) -> &'f Question {
        let place = self.questions[position];
        &form.pages[place.page].questions[place.index]
    }

    /// The page of a question.
    pub fn page(&self, position: Position) -> usize {
        self.questions[position].page
    }

    /// Where a question with this key stands.
    pub fn position(&self, key: &str) -> Option<Position> {
        self.by_key.get(key).copied()
    }

    /// Variables before any rule ran.
    pub fn variables(form: &Form) -> Variables {
        form.variables.iter().filter_map(|v| Some((v.name.clone(), Scalar::from_json(&v.initial)?))).collect()
    }

    /// The first question, or the end of a form in which nothing is shown.
    pub fn first(
        &self,
        form: &Form,
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
    ) -> (Next, Variables) {
        let mut variables = Walker::variables(form);
        let next = self.shown_from(form, Way::To(0), answers, hidden, &mut variables);
        (next, variables)
    }

    /// What follows after the questions of `trail` were shown, in that order, with these answers. Variables are computed
    /// anew from the trail, so an answer that changed changes them too. A rule sees the answers given until then, as it
    /// did when it decided.
    pub fn after(
        &self,
        form: &Form,
        trail: &[Position],
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
    ) -> (Next, Variables) {
        self.retrace(form, trail, answers, hidden, |_, _| {})
    }

    /// Like [`Walker::after`]; `shown` is told each question with what was known when the person saw it.
    pub fn retrace(
        &self,
        form: &Form,
        trail: &[Position],
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
        mut shown: impl FnMut(Position, &Facts<'_>),
    ) -> (Next, Variables) {
        let mut known = Answers::new();
        let (mut next, mut variables) = self.first(form, &known, hidden);
        for &position in trail.iter().filter(|position| **position < self.questions.len()) {
            shown(position, &Facts { answers: &known, hidden, variables: &variables });
            let key = &self.question(form, position).key;
            if let Some(value) = answers.get(key) {
                known.insert(key.clone(), value.clone());
            }
            next = self.step(form, position, &known, hidden, &mut variables);
        }
        (next, variables)
    }

    /// What follows the question at `position`; its rules (and its page's, at the end of the page) change `variables`.
    pub fn step(
        &self,
        form: &Form,
        position: Position,
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
        variables: &mut Variables,
    ) -> Next {
        let rules = &self.question(form, position).rules;
        match run(rules, answers, hidden, variables) {
            Some(target) => self.land(form, &target, answers, hidden, variables),
            None => self.shown_from(form, Way::Past(position), answers, hidden, variables),
        }
    }

    /// What follows the question at `position` in source order, as if neither it nor any page had jumps: the way out of an
    /// endless loop.
    pub fn onward(&self, form: &Form, position: Position, facts: &Facts<'_>) -> Next {
        (position + 1..self.questions.len())
            .find(|&later| self.is_shown(form, later, facts))
            .map_or(Next::Ending((!form.endings.is_empty()).then_some(0)), Next::Question)
    }

    /// Whether the question at `position` is shown, given the answers before it.
    pub fn is_shown(&self, form: &Form, position: Position, facts: &Facts<'_>) -> bool {
        let place = self.questions[position];
        let holds = |condition: &Option<Condition>| condition.as_ref().is_none_or(|c| c.holds(facts));
        holds(&form.pages[place.page].visible_if) && holds(&self.question(form, position).visible_if)
    }

    fn land(
        &self,
        form: &Form,
        target: &Target,
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
        variables: &mut Variables,
    ) -> Next {
        let position = match target {
            Target::End => return Next::Ending((!form.endings.is_empty()).then_some(0)),
            Target::Ending(key) => {
                let found = form.endings.iter().position(|e| e.key == *key);
                return Next::Ending(found.or((!form.endings.is_empty()).then_some(0)));
            }
            Target::Question(_) | Target::Page(_) => self.start_of(form, target),
        };
        self.shown_from(form, Way::To(position), answers, hidden, variables)
    }

    /// The first shown question on this way. Leaving a shown page by its end runs the page's rules, which may jump.
    fn shown_from(
        &self,
        form: &Form,
        way: Way,
        answers: &Answers,
        hidden: &BTreeMap<String, String>,
        variables: &mut Variables,
    ) -> Next {
        // Page rules can only lead in circles through pages without a shown question; each page is left once here.
        let mut left = vec![false; self.pages.len()];
        let (mut position, mut passes) = match way {
            Way::To(position) => (position, false),
            Way::Past(position) => (position + 1, true),
        };
        loop {
            if passes
                && let Some(page) = self.page_left_at(position)
                && !left[page]
            {
                left[page] = true;
                let facts = Facts { answers, hidden, variables };
                let shown = form.pages[page].visible_if.as_ref().is_none_or(|c| c.holds(&facts));
                if shown && let Some(target) = run(&form.pages[page].rules, answers, hidden, variables) {
                    match target {
                        Target::Question(_) | Target::Page(_) => {
                            (position, passes) = (self.start_of(form, &target), false);
                            continue;
                        }
                        _ => return self.land(form, &target, answers, hidden, variables),
                    }
                }
            }
            if position >= self.questions.len() {
                return Next::Ending((!form.endings.is_empty()).then_some(0));
            }
            if self.is_shown(form, position, &Facts { answers, hidden, variables }) {
                return Next::Question(position);
            }
            (position, passes) = (position + 1, true);
        }
    }

    fn start_of(&self, form: &Form, target: &Target) -> Position {
        let found = match target {
            Target::Question(key) => self.position(key),
            Target::Page(id) => form.pages.iter().position(|p| p.id == *id).map(|page| self.pages[page].0),
            _ => None,
        };
        // A checked form has no dangling target; going to the end is the harmless reading of one.
        found.unwrap_or(self.questions.len())
    }

    /// The last page that ends right before `position`.
    fn page_left_at(&self, position: Position) -> Option<usize> {
        self.pages.iter().rposition(|&(first, end)| end == position && first < end)
    }
}

/// Runs a rule list: all calculations, then tells the first jump that holds.
fn run(
    rules: &[Rule],
    answers: &Answers,
    hidden: &BTreeMap<String, String>,
    variables: &mut Variables,
) -> Option<Target> {
    let mut jump = None;
    for rule in rules {
        let facts = Facts { answers, hidden, variables };
        if !rule.when.as_ref().is_none_or(|c| c.holds(&facts)) {
            continue;
        }
        let (name, operand) = match &rule.effect {
            RuleEffect::Jump(target) => {
                jump = jump.or_else(|| Some(target.clone()));
                continue;
            }
            RuleEffect::Set(name, operand)
            | RuleEffect::Add(name, operand)
            | RuleEffect::Subtract(name, operand)
            | RuleEffect::Multiply(name, operand)
            | RuleEffect::Divide(name, operand) => (name, operand),
        };
        let Some(value) = operand.resolve(&facts) else { continue };
        if matches!(rule.effect, RuleEffect::Set(..)) {
            variables.insert(name.clone(), value);
            continue;
        }
        let before = variables.get(name).and_then(Scalar::number).unwrap_or(0.0);
        let Some(by) = value.number() else { continue };
        let after = match rule.effect {
            RuleEffect::Add(..) => before + by,
            RuleEffect::Subtract(..) => before - by,
            RuleEffect::Multiply(..) => before * by,
            RuleEffect::Divide(..) if by != 0.0 => before / by,
            _ => before,
        };
        if after.is_finite() {
            variables.insert(name.clone(), Scalar::Number(after));
        }
    }
    jump
}
