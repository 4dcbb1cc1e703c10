//! The grammar of nested expressions: recursive descent, loosest operator first, with a bound on nesting.

use serde_json::{Number, Value};

use super::Error;

const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    Reference(String),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Concatenate(Vec<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    LessEqual,
    GreaterEqual,
    Less,
    Greater,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::LessEqual => "<=",
            Self::GreaterEqual => ">=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// Binary operators from loosest to tightest; concatenation stands between comparison and addition.
const LEVELS: [&[Operator]; 6] = [
    &[Operator::Or],
    &[Operator::And],
    &[Operator::Equal, Operator::NotEqual],
    &[Operator::LessEqual, Operator::GreaterEqual, Operator::Less, Operator::Greater],
    &[Operator::Add, Operator::Subtract],
    &[Operator::Multiply, Operator::Divide, Operator::Remainder],
];
const ADDITION: usize = 4;

pub(super) fn parse(source: &str) -> Result<Expression, Error> {
    let mut parser = Parser { source, at: 0, depth: 0 };
    let expression = parser.level(0)?;
    parser.skip_blanks();
    if parser.rest().is_empty() { Ok(expression) } else { Err(Error::Syntax(parser.at)) }
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn level(&mut self, level: usize) -> Result<Expression, Error> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.operand(level)?;
        while let Some(operator) = operators.iter().find(|operator| self.take(operator.symbol())) {
            let right = self.operand(level)?;
            left = Expression::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn operand(&mut self, level: usize) -> Result<Expression, Error> {
        if level + 1 == ADDITION { self.concatenation() } else { self.level(level + 1) }
    }

    fn concatenation(&mut self) -> Result<Expression, Error> {
        let first = self.level(ADDITION)?;
        let mut parts = vec![first];
        while self.starts_operand() {
            parts.push(self.level(ADDITION)?);
        }
        if parts.len() > 1 { Ok(Expression::Concatenate(parts)) } else { Ok(parts.remove(0)) }
    }

    fn starts_operand(&mut self) -> bool {
        self.skip_blanks();
        let rest = self.rest();
        rest.starts_with(['\'', '(']) || rest.starts_with("${") || rest.starts_with(char::is_alphanumeric)
    }

    fn unary(&mut self) -> Result<Expression, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::Depth);
        }
        let expression = if self.take("!") {
            Expression::Not(Box::new(self.unary()?))
        } else if self.take("-") {
            Expression::Negate(Box::new(self.unary()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        if self.take("(") {
            let inner = self.level(0)?;
            return if self.take(")") { Ok(inner) } else { Err(Error::Syntax(self.at)) };
        }
        if self.take("${") {
            let end = self.rest().find('}').ok_or(Error::Syntax(self.at))?;
            let path = self.rest().get(..end).unwrap_or_default().trim().to_owned();
            self.at += end + 1;
            return Ok(Expression::Reference(path));
        }
        if self.take("'") {
            return self.string();
        }
        for (word, verdict) in [("true", true), ("false", false)] {
            let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            if self.rest().strip_prefix(word).is_some_and(ends) {
                self.at += word.len();
                return Ok(Expression::Literal(Value::Bool(verdict)));
            }
        }
        self.number()
    }

    fn string(&mut self) -> Result<Expression, Error> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().peekable();
        while let Some((offset, character)) = characters.next() {
            match character {
                '\'' => {
                    self.at += offset + 1;
                    return Ok(Expression::Literal(Value::String(text)));
                }
                '\\' => {
                    // One or two backslashes escape a quote or a backtick; any other backslash is itself.
                    let mut escapes = String::from('\\');
                    while let Some((_, next)) = characters.next_if(|(_, next)| *next == '\\') {
                        escapes.push(next);
                    }
                    match characters.next_if(|(_, next)| matches!(next, '\'' | '`')) {
                        Some((_, escaped)) => text.push(escaped),
                        None => text.push_str(&escapes),
                    }
                }
                other => text.push(other),
            }
        }
        Err(Error::Syntax(self.source.len()))
    }

    fn number(&mut self) -> Result<Expression, Error> {
        let rest = self.rest();
        let end = rest.find(|next: char| !next.is_ascii_digit() && next != '.').unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        let number = match digits.parse::<i64>() {
            Ok(whole) => Some(Number::from(whole)),
            Err(_) => digits.parse::<f64>().ok().and_then(Number::from_f64),
        };
        let number = number.ok_or(Error::Syntax(self.at))?;
        self.at += end;
        Ok(Expression::Literal(Value::Number(number)))
    }
}
