//! Random valid forms: every kind of question, branching of every shape, texts of every length.

use formgate::form::{
    Condition, Ending, Form, Group, Hidden, Kind, Op, Operand, Page, Part, Question, Rule, RuleEffect,
    Target, Variable,
};
use serde_json::{Value as Json, json};

use super::Dice;
use super::options;

/// The form of this seed.
pub fn form(seed: u64) -> Form {
    let mut maker =
        Maker { dice: Dice::new(seed), asked: Vec::new(), pages: Vec::new(), endings: Vec::new() };
    maker.form(seed)
}

struct Maker {
    dice: Dice,
    /// Key and kind of every question.
    asked: Vec<(String, Kind)>,
    pages: Vec<String>,
    endings: Vec<String>,
}

const HIDDEN: [&str; 3] = ["utm", "tier", "note"];
const VARIABLES: [&str; 3] = ["score", "total", "word"];

impl Maker {
    fn form(&mut self, seed: u64) -> Form {
        let pages = 1 + self.dice.below(4);
        self.pages = (0..pages).map(|number| format!("page{number}")).collect();
        self.endings = (0..self.dice.below(4)).map(|number| format!("end{number}")).collect();
        // Some forms are a menu: every question may lead back to the first.
        let menu = self.dice.chance(6);
        let sizes: Vec<usize> = (0..pages).map(|_| if menu { 5 } else { self.size() }).collect();
        for number in 0..sizes.iter().sum::<usize>() {
            let key = self.key(number);
            let kind = self.kind();
            self.asked.push((key, kind));
        }
        if self.asked.is_empty() {
            self.asked.push(("only".to_owned(), Kind::YesNo));
        }
        let mut taken = 0;
        let mut made = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let last = number + 1 == sizes.len();
            let end = if last { self.asked.len() } else { (taken + size).min(self.asked.len()) };
            made.push(self.page(number, taken..end, menu));
            taken = end;
        }
        let mut form = Form {
            id: "form".to_owned(),
            tool: "form".to_owned(),
            title: self.title(),
            locale: (*self.dice.pick(&["en", "it", "de", "es-MX", "ar"])).to_owned(),
            description: self.maybe_text(30),
            default_country: Some("IT".to_owned()),
            time_zone: None,
            pages: made,
            hidden: HIDDEN
                .map(|key| Hidden { key: key.to_owned(), default: (key == "utm").then(|| "none".to_owned()) })
                .to_vec(),
            variables: vec![
                Variable { name: "score".to_owned(), initial: json!(0) },
                Variable { name: "total".to_owned(), initial: json!(2.5) },
                Variable { name: "word".to_owned(), initial: json!("red") },
            ],
            endings: Vec::new(),
            translations: std::collections::BTreeMap::new(),
        };
        for key in self.endings.clone() {
            let link = self
                .dice
                .chance(40)
                .then(|| (*self.dice.pick(&["https://example.com/a", "http://example.com"])).to_owned());
            form.endings.push(Ending { key, title: self.title(), description: self.maybe_text(40), link });
        }
        if self.dice.chance(40) {
            let words = form.texts().into_iter().filter(|_| self.dice.chance(60));
            let words = words.map(|(path, text)| (path, format!("Tradotto {text}"))).collect();
            form.translations.insert("fr".to_owned(), words);
        }
        let faults = form.check();
        assert!(faults.is_empty(), "seed {seed}: {faults:?}");
        form
    }

    /// Questions of a page; a page may be empty.
    fn size(&mut self) -> usize {
        match self.dice.below(20) {
            0 => 0,
            1 => 8,
            _ => 1 + self.dice.below(5),
        }
    }

    /// Plain keys, keys of other alphabets, keys that only differ late, and keys that read like names of parts.
    fn key(&mut self, number: usize) -> String {
        match self.dice.below(12) {
            0 => format!("frage {number} ä/“x”"),
            1 => format!("{}{number}", "long-reference-of-a-question-".repeat(2)),
            2 if number > 0 => {
                let before = self.asked[number - 1].0.clone();
                if before.len() < 60 { format!("{before}_one_r{number}") } else { format!("k{number}") }
            }
            3 => format!("质问{number}"),
            4 => format!("K{number}"),
            _ => format!("k{number}"),
        }
    }

    fn kind(&mut self) -> Kind {
        options::kind(&mut self.dice)
    }

    fn page(&mut self, number: usize, range: std::ops::Range<usize>, menu: bool) -> Page {
        let mut group: Option<Group> = None;
        let mut questions = Vec::new();
        let mut shared = None;
        for position in range.clone() {
            if self.dice.chance(30) {
                let part = self.dice.chance(20).then_some(Part::City);
                group = self.dice.chance(60).then(|| Group {
                    key: format!("g{position}"),
                    title: String::new(),
                    part,
                });
                if let Some(group) = &mut group {
                    group.title = self.title();
                }
            }
            let mut question = self.question(position, group.clone(), menu);
            // Questions that belong together are often shown together.
            if shared.is_some() && self.dice.chance(30) {
                question.visible_if.clone_from(&shared);
            }
            shared.clone_from(&question.visible_if);
            questions.push(question);
        }
        let visible_if = match self.dice.below(20) {
            0..=2 => Some(self.condition(0)),
            // A page that depends on its own first answer.
            3 if !range.is_empty() => Some(Condition::Not { not: Box::new(self.condition_on(range.start)) }),
            _ => None,
        };
        let rules = if self.dice.chance(25) { self.rules(None) } else { Vec::new() };
        Page {
            id: self.pages[number].clone(),
            title: self.maybe_text(40),
            description: self.maybe_text(15),
            visible_if,
            questions,
            rules,
        }
    }

    fn question(&mut self, position: usize, group: Option<Group>, menu: bool) -> Question {
        let (key, kind) = self.asked[position].clone();
        let mut rules = if self.dice.chance(35) { self.rules(Some(position)) } else { Vec::new() };
        if menu && position > 0 {
            let first = Target::Question(self.asked[0].0.clone());
            let when = Some(self.condition_on(position));
            rules.push(Rule { when, effect: RuleEffect::Jump(first) });
        }
        // Most conditions look at the question just before, as people write them; the rest at anything.
        let visible_if = match self.dice.below(10) {
            0 | 1 if position > 0 => Some(self.condition_on(position - 1)),
            2 => Some(self.condition(0)),
            _ => None,
        };
        Question {
            key,
            title: self.title(),
            help: self.maybe_text(25),
            default: self.dice.chance(15).then(|| self.constant(position)),
            required: self.dice.chance(45) && !matches!(kind, Kind::Unsupported { .. }),
            kind,
            visible_if,
            personal: self.dice.chance(5),
            group,
            rules,
        }
    }

    fn rules(&mut self, position: Option<usize>) -> Vec<Rule> {
        (0..1 + self.dice.below(3))
            .map(|_| {
                let when = match (self.dice.below(10), position) {
                    (0, _) => None,
                    (1..=6, Some(position)) => Some(self.condition_on(position)),
                    _ => Some(self.condition(0)),
                };
                Rule { when, effect: self.effect() }
            })
            .collect()
    }

    fn effect(&mut self) -> RuleEffect {
        if self.dice.chance(50) {
            return RuleEffect::Jump(match self.dice.below(10) {
                0..=4 => Target::Question(self.dice.pick(&self.asked).0.clone()),
                5 | 6 => Target::Page(self.dice.pick(&self.pages).clone()),
                7 | 8 if !self.endings.is_empty() => Target::Ending(self.dice.pick(&self.endings).clone()),
                _ => Target::End,
            });
        }
        let name = (*self.dice.pick(&VARIABLES)).to_owned();
        let operand = match self.dice.below(3) {
            0 => self.left().0,
            1 => Operand::Constant(json!(self.dice.below(5))),
            _ => Operand::Constant(
                (*self.dice.pick(&[json!(0), json!(-1.5), json!("2"), json!("red"), json!(true)])).clone(),
            ),
        };
        match self.dice.below(6) {
            0 => RuleEffect::Set(name, operand),
            1 => RuleEffect::Subtract(name, operand),
            2 => RuleEffect::Multiply(name, operand),
            3 => RuleEffect::Divide(name, operand),
            _ => RuleEffect::Add(name, operand),
        }
    }

    /// A condition that looks at anything.
    fn condition(&mut self, depth: usize) -> Condition {
        let parts =
            |maker: &mut Maker| (0..maker.dice.below(4)).map(|_| maker.condition(depth + 1)).collect();
        match self.dice.below(if depth > 2 { 4 } else { 8 }) {
            5 => Condition::All { all: parts(self) },
            6 => Condition::Any { any: parts(self) },
            7 => Condition::Not { not: Box::new(self.condition(depth + 1)) },
            _ => {
                let (left, constants) = self.left();
                self.test(left, &constants)
            }
        }
    }

    /// A condition that looks at the answer of one question: often one that holds.
    fn condition_on(&mut self, position: usize) -> Condition {
        let left = Operand::answer(self.asked[position].0.clone());
        let constants: Vec<Json> = (0..3).map(|_| self.constant(position)).collect();
        if self.dice.chance(60) {
            return Condition::test(left, Op::Is, Operand::Constant(self.dice.pick(&constants).clone()));
        }
        self.test(left, &constants)
    }

    fn test(&mut self, left: Operand, constants: &[Json]) -> Condition {
        let op = *self.dice.pick(&[
            Op::Is,
            Op::Is,
            Op::IsNot,
            Op::Contains,
            Op::NotContains,
            Op::BeginsWith,
            Op::EndsWith,
            Op::LessThan,
            Op::AtMost,
            Op::GreaterThan,
            Op::AtLeast,
            Op::Answered,
            Op::Unanswered,
        ]);
        let right = match self.dice.below(12) {
            0 => self.left().0,
            1 => Operand::Constant(Json::Null),
            _ => Operand::Constant(self.dice.pick(constants).clone()),
        };
        Condition::test(left, op, right)
    }

    /// Something with a value, and constants that it may well be compared with.
    fn left(&mut self) -> (Operand, Vec<Json>) {
        match self.dice.below(10) {
            0 => {
                let hidden = (*self.dice.pick(&HIDDEN)).to_owned();
                (Operand::Hidden { hidden }, vec![json!("none"), json!("Gold "), json!("5"), json!(5)])
            }
            1 | 2 => {
                let variable = (*self.dice.pick(&VARIABLES)).to_owned();
                (Operand::Variable { variable }, vec![json!(0), json!(1), json!(2.5), json!("RED"), json!(3)])
            }
            _ => {
                let position = self.dice.below(self.asked.len());
                let constants = (0..3).map(|_| self.constant(position)).collect();
                let (key, kind) = &self.asked[position];
                let left = match kind {
                    Kind::Matrix { rows, .. } if self.dice.chance(70) => {
                        Operand::Row { matrix: key.clone(), row: self.dice.pick(rows).id.clone() }
                    }
                    _ => Operand::answer(key.clone()),
                };
                (left, constants)
            }
        }
    }

    /// A constant in the way of a question's answers, sometimes not quite.
    fn constant(&mut self, position: usize) -> Json {
        if self.dice.chance(8) {
            return self.dice.pick(&[json!(""), json!(1), json!("x"), json!(false)]).clone();
        }
        options::constant(&mut self.dice, &self.asked[position].1)
    }

    fn maybe_text(&mut self, percent: usize) -> Option<String> {
        self.dice.chance(percent).then(|| self.title())
    }

    /// Texts of every length, with recalls, with what looks like an expression, and blank ones.
    fn title(&mut self) -> String {
        let plain = options::words(&mut self.dice);
        match self.dice.below(14) {
            0 => {
                let key = self.dice.pick(&self.asked).0.clone();
                format!("{plain} {{{{answer:{key}}}}}?")
            }
            1 => format!("{{{{variable:{}}}}} {plain}", self.dice.pick(&VARIABLES)),
            2 => format!("{plain} {{{{ hidden : {} }}}}", self.dice.pick(&HIDDEN)),
            _ => plain,
        }
    }
}
