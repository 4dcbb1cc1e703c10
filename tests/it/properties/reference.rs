//! An independent reading of the form's branching, written from its documentation and not from `form::walk`.
//!
//! It works forwards: every answer is judged once, when it is given, and what it changed is remembered with it; taking an
//! answer back restores what was before. Rules that bound the walk are modelled as the compile report states them: a jump
//! back asks again what it passes, and after a hundred of them a person is led on in source order.

use std::collections::BTreeMap;

use formgate::form::{Condition, Form, Kind, Op, Operand, Question, Rule, RuleEffect, Target, Test, Value};
use serde_json::{Value as Json, json};

/// So many jumps back are followed for one person.
const ROUNDS: u32 = 100;

/// An answer, as the form means it.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    Text(String),
    Number(f64),
    Truth(bool),
    /// Options by id, and what was written under "other".
    Options(Vec<String>, Option<String>),
    Order(Vec<String>),
    Grid(BTreeMap<String, Vec<String>>),
    /// Names of files.
    Files(Vec<String>),
}

impl Given {
    /// What a submission says.
    pub fn of(value: &Value) -> Given {
        match value {
            Value::Text(text) => Given::Text(text.clone()),
            Value::Number(number) => Given::Number(*number),
            Value::Bool(truth) => Given::Truth(*truth),
            Value::Choice(chosen) | Value::Choices(chosen) => {
                Given::Options(chosen.ids.clone(), chosen.other.clone())
            }
            Value::Ranking(order) => Given::Order(order.clone()),
            Value::Matrix(rows) => Given::Grid(rows.clone()),
            Value::Files(files) => Given::Files(files.iter().map(|file| file.file_name.clone()).collect()),
        }
    }
}

/// What can be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Word(String),
    Count(f64),
    Flag(bool),
    Set(Vec<String>),
}

/// Values of variables.
pub type Sums = BTreeMap<String, Fact>;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Ask(usize),
    End(Option<usize>),
}

/// How a rule computes; nothing where there is no result.
type Formula = fn(f64, f64) -> Option<f64>;

/// One person's walk so far.
#[derive(Debug, Clone)]
pub struct Walk {
    pub steps: Vec<Step>,
    pub due: Due,
    start: Sums,
    backs: u32,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub position: usize,
    pub given: Option<Given>,
    after: Sums,
}

impl Walk {
    pub fn sums(&self) -> &Sums {
        self.steps.last().map_or(&self.start, |step| &step.after)
    }

    /// The answers of the branch, in the order asked.
    pub fn answers(&self) -> Vec<(usize, Given)> {
        self.steps.iter().filter_map(|step| Some((step.position, step.given.clone()?))).collect()
    }
}

/// The reading of one form, for one person.
pub struct Reference<'f> {
    form: &'f Form,
    /// Page and question of every position.
    asked: Vec<(usize, &'f Question)>,
    hidden: BTreeMap<String, String>,
}

/// What conditions look at.
struct Sight<'s> {
    reference: &'s Reference<'s>,
    steps: &'s [Step],
    sums: &'s Sums,
}

impl<'f> Reference<'f> {
    pub fn new(form: &'f Form, hidden: BTreeMap<String, String>) -> Reference<'f> {
        let mut asked = Vec::new();
        for (page, content) in form.pages.iter().enumerate() {
            asked.extend(content.questions.iter().map(|question| (page, question)));
        }
        Reference { form, asked, hidden }
    }

    pub fn question(&self, position: usize) -> &'f Question {
        self.asked[position].1
    }

    /// A walk that begins.
    pub fn begin(&self) -> Walk {
        let mut sums = Sums::new();
        for variable in &self.form.variables {
            if let Some(fact) = constant(&variable.initial) {
                sums.insert(variable.name.clone(), fact);
            }
        }
        let due = self.arrive(0, &[], &mut sums);
        Walk { steps: Vec::new(), due, start: sums, backs: 0 }
    }

    /// The question that is due was answered, or passed without an answer.
    pub fn answer(&self, walk: &mut Walk, given: Option<Given>) {
        let Due::Ask(position) = walk.due else { panic!("nothing is asked any more") };
        let mut after = walk.sums().clone();
        walk.steps.push(Step { position, given, after: Sums::new() });
        let jump = self.run(&self.question(position).rules, &walk.steps, &mut after);
        let mut due = match jump {
            Some(target) => self.jump(target, &walk.steps, &mut after),
            None => self.pass(position, &walk.steps, &mut after),
        };
        if matches!(due, Due::Ask(to) if to <= position) {
            if walk.backs < ROUNDS {
                walk.backs += 1;
            } else {
                let later = (position + 1..self.asked.len()).find(|to| self.shown(*to, &walk.steps, &after));
                due = later.map_or(Due::End(self.ending(None)), Due::Ask);
            }
        }
        if let Some(last) = walk.steps.last_mut() {
            last.after = after;
        }
        if let Due::Ask(to) = due
            && let Some(before) = walk.steps.iter().position(|step| step.position == to)
        {
            walk.steps.truncate(before);
        }
        walk.due = due;
    }

    /// The entry of the form's endings with this key, else the default one.
    fn ending(&self, key: Option<&str>) -> Option<usize> {
        let named = self.form.endings.iter().position(|ending| Some(ending.key.as_str()) == key);
        if self.form.endings.is_empty() { None } else { Some(named.unwrap_or(0)) }
    }

    fn jump(&self, target: &Target, steps: &[Step], sums: &mut Sums) -> Due {
        let mut left = Vec::new();
        self.jump_from(target, steps, sums, &mut left)
    }

    fn jump_from(&self, target: &Target, steps: &[Step], sums: &mut Sums, left: &mut Vec<usize>) -> Due {
        match target {
            Target::End => Due::End(self.ending(None)),
            Target::Ending(key) => Due::End(self.ending(Some(key))),
            Target::Question(key) => {
                let to = self.asked.iter().position(|(_, question)| question.key == *key);
                self.look(to.expect("a checked form"), steps, sums, left)
            }
            Target::Page(id) => {
                let page = self.form.pages.iter().position(|page| page.id == *id).expect("a checked form");
                // A page without questions stands for the one after it.
                let to = self.asked.iter().position(|(of, _)| *of >= page).unwrap_or(self.asked.len());
                self.look(to, steps, sums, left)
            }
        }
    }

    fn arrive(&self, position: usize, steps: &[Step], sums: &mut Sums) -> Due {
        self.look(position, steps, sums, &mut Vec::new())
    }

    /// On from a question in source order.
    fn pass(&self, position: usize, steps: &[Step], sums: &mut Sums) -> Due {
        self.beyond(position, steps, sums, &mut Vec::new())
    }

    /// The question at `position` if it is shown, else what is beyond it.
    fn look(&self, position: usize, steps: &[Step], sums: &mut Sums, left: &mut Vec<usize>) -> Due {
        if position >= self.asked.len() {
            return Due::End(self.ending(None));
        }
        if self.shown(position, steps, sums) {
            return Due::Ask(position);
        }
        self.beyond(position, steps, sums, left)
    }

    /// What follows in source order. Leaving a page by its end runs its rules, unless the page was passed over; a page is
    /// left once on the way to one question.
    fn beyond(&self, position: usize, steps: &[Step], sums: &mut Sums, left: &mut Vec<usize>) -> Due {
        let page = self.asked[position].0;
        let is_last = self.asked.get(position + 1).is_none_or(|(next, _)| *next != page);
        if is_last && !left.contains(&page) {
            left.push(page);
            let content = &self.form.pages[page];
            let sight = Sight { reference: self, steps, sums };
            if content.visible_if.as_ref().is_none_or(|condition| sight.holds(condition))
                && let Some(target) = self.run(&content.rules, steps, sums)
            {
                return self.jump_from(target, steps, sums, left);
            }
        }
        self.look(position + 1, steps, sums, left)
    }

    fn shown(&self, position: usize, steps: &[Step], sums: &Sums) -> bool {
        let (page, question) = self.asked[position];
        let sight = Sight { reference: self, steps, sums };
        let conditions = [self.form.pages[page].visible_if.as_ref(), question.visible_if.as_ref()];
        conditions.into_iter().flatten().all(|condition| sight.holds(condition))
    }

    /// All calculations in their order; the first jump that holds.
    fn run<'r>(&self, rules: &'r [Rule], steps: &[Step], sums: &mut Sums) -> Option<&'r Target> {
        let mut first = None;
        for rule in rules {
            let sight = Sight { reference: self, steps, sums };
            if let Some(condition) = &rule.when
                && !sight.holds(condition)
            {
                continue;
            }
            let (name, operand, formula): (&String, &Operand, Formula) = match &rule.effect {
                RuleEffect::Jump(target) => {
                    first = first.or(Some(target));
                    continue;
                }
                RuleEffect::Set(name, operand) => {
                    if let Some(fact) = sight.value(operand) {
                        sums.insert(name.clone(), fact);
                    }
                    continue;
                }
                RuleEffect::Add(name, operand) => (name, operand, |a, b| Some(a + b)),
                RuleEffect::Subtract(name, operand) => (name, operand, |a, b| Some(a - b)),
                RuleEffect::Multiply(name, operand) => (name, operand, |a, b| Some(a * b)),
                RuleEffect::Divide(name, operand) => (name, operand, |a, b| (b != 0.0).then(|| a / b)),
            };
            let Some(by) = sight.value(operand).as_ref().and_then(count) else { continue };
            let before = sums.get(name).and_then(count).unwrap_or(0.0);
            // Dividing by zero, like every result that is no number, leaves the variable; it is a number from then on.
            let result = formula(before, by).unwrap_or(before);
            if result.is_finite() {
                sums.insert(name.clone(), Fact::Count(result));
            }
        }
        first
    }
}

impl Sight<'_> {
    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::All { all } => !all.iter().any(|part| !self.holds(part)),
            Condition::Any { any } => any.iter().any(|part| self.holds(part)),
            Condition::Not { not } => !self.holds(not),
            Condition::Test(test) => self.test(test),
        }
    }

    fn test(&self, test: &Test) -> bool {
        let left = self.value(&test.left);
        let there = match &left {
            None => false,
            Some(Fact::Word(word)) => !word.is_empty(),
            Some(Fact::Set(ids)) => !ids.is_empty(),
            Some(_) => true,
        };
        match test.op {
            Op::Answered => return there,
            Op::Unanswered => return !there,
            _ => {}
        }
        let both = left.zip(self.value(&test.right));
        let is = |how: fn(&Fact, &Fact) -> bool| both.as_ref().is_some_and(|(l, r)| how(l, r));
        match test.op {
            Op::Is => is(equal),
            Op::IsNot => !is(equal),
            Op::Contains => is(holds),
            Op::NotContains => !is(holds),
            Op::BeginsWith => is(|l, r| words(l).iter().any(|word| word.starts_with(&low(&text(r))))),
            Op::EndsWith => is(|l, r| words(l).iter().any(|word| word.ends_with(&low(&text(r))))),
            Op::LessThan => is(|l, r| compare(l, r).is_some_and(|sign| sign < 0)),
            Op::AtMost => is(|l, r| compare(l, r).is_some_and(|sign| sign <= 0)),
            Op::GreaterThan => is(|l, r| compare(l, r).is_some_and(|sign| sign > 0)),
            Op::AtLeast => is(|l, r| compare(l, r).is_some_and(|sign| sign >= 0)),
            Op::Answered | Op::Unanswered => unreachable!("told above"),
        }
    }

    fn value(&self, operand: &Operand) -> Option<Fact> {
        let given = |key: &String| {
            let step = self.steps.iter().find(|step| self.reference.question(step.position).key == *key)?;
            step.given.as_ref()
        };
        match operand {
            Operand::Constant(value) => constant(value),
            Operand::Variable { variable } => self.sums.get(variable).cloned(),
            Operand::Hidden { hidden } => self.reference.hidden.get(hidden).cloned().map(Fact::Word),
            Operand::Answer { answer } => given(answer).map(fact),
            Operand::Row { matrix, row } => match given(matrix)? {
                Given::Grid(rows) => rows.get(row).cloned().map(Fact::Set),
                _ => None,
            },
        }
    }
}

fn constant(value: &Json) -> Option<Fact> {
    Some(match value {
        Json::String(word) => Fact::Word(word.clone()),
        Json::Number(number) => Fact::Count(number.as_f64()?),
        Json::Bool(flag) => Fact::Flag(*flag),
        _ => return None,
    })
}

fn fact(given: &Given) -> Fact {
    match given {
        Given::Text(text) => Fact::Word(text.clone()),
        Given::Number(number) => Fact::Count(*number),
        Given::Truth(flag) => Fact::Flag(*flag),
        Given::Options(ids, other) => Fact::Set(ids.iter().cloned().chain(other.clone()).collect()),
        Given::Order(ids) | Given::Files(ids) => Fact::Set(ids.clone()),
        Given::Grid(rows) => Fact::Set(rows.values().flatten().cloned().collect()),
    }
}

fn low(text: &str) -> String {
    text.trim().to_lowercase()
}

fn number_text(number: f64) -> String {
    if number == number.trunc() && number.abs() < 1e15 {
        format!("{number:.0}").replace("-0", "0")
    } else {
        json!(number).to_string()
    }
}

/// As one text.
fn text(fact: &Fact) -> String {
    match fact {
        Fact::Word(word) => word.clone(),
        Fact::Count(number) => number_text(*number),
        Fact::Flag(flag) => flag.to_string(),
        Fact::Set(ids) => ids.join(", "),
    }
}

/// As what may begin or end with something.
fn words(fact: &Fact) -> Vec<String> {
    match fact {
        Fact::Set(ids) => ids.iter().map(|id| low(id)).collect(),
        one => vec![low(&text(one))],
    }
}

/// As a number: one, or a text that reads like one.
pub fn count(fact: &Fact) -> Option<f64> {
    match fact {
        Fact::Count(number) => Some(*number),
        Fact::Word(word) => word.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
        Fact::Flag(_) | Fact::Set(_) => None,
    }
}

/// Equal; of several options: among those chosen.
fn equal(left: &Fact, right: &Fact) -> bool {
    match (left, right) {
        (Fact::Set(left), Fact::Set(right)) => left == right,
        (Fact::Set(ids), one) | (one, Fact::Set(ids)) => ids.iter().any(|id| low(id) == low(&text(one))),
        (Fact::Count(number), other) | (other, Fact::Count(number)) => count(other) == Some(*number),
        (left, right) => low(&text(left)) == low(&text(right)),
    }
}

fn holds(left: &Fact, right: &Fact) -> bool {
    match left {
        Fact::Set(_) => equal(left, right),
        _ => low(&text(left)).contains(&low(&text(right))),
    }
}

/// Numbers by value; texts, dates and times in the order of their letters.
fn compare(left: &Fact, right: &Fact) -> Option<i32> {
    let order = match (count(left), count(right), left, right) {
        (Some(left), Some(right), _, _) => left.partial_cmp(&right)?,
        (_, _, Fact::Word(left), Fact::Word(right)) => low(left).cmp(&low(right)),
        _ => return None,
    };
    Some(order as i32)
}

/// Whether a person answers the question at all.
pub fn is_asked(question: &Question) -> bool {
    !matches!(question.kind, Kind::Statement | Kind::Unsupported { .. })
}
