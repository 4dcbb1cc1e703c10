//! References (`${data.name}`) and nested expressions of Flow JSON, parsed. Pure.
//!
//! A parsed tree is at most [`MAX_DEPTH`] levels deep, so walking or dropping one never exhausts the stack. Nothing is
//! evaluated and no types are checked here: the validator checks, the player evaluates.
//!
//! ```
//! use formgate::flow::expression::{self, Expr, Reference};
//!
//! let Ok(Expr::Binary { left, .. }) = expression::parse("${form.age} >= 18") else { panic!() };
//! assert_eq!(*left, Expr::Reference(Reference::Form("age".into())));
//! ```

mod lexer;
mod parser;

use std::fmt;

pub use self::parser::parse;

/// The deepest nesting that is accepted.
pub const MAX_DEPTH: usize = 64;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A fixed value.
    Literal(Literal),
    /// The value that a reference leads to.
    Reference(Reference),
    /// `!operand`.
    Not(Box<Expr>),
    /// `left operator right`.
    Binary {
        /// What is done.
        operator: Operator,
        /// The first operand.
        left: Box<Expr>,
        /// The second operand.
        right: Box<Expr>,
    },
    /// Two or more operands side by side, joined into one text.
    Concatenation(Vec<Expr>),
}

impl Expr {
    /// Whether any reference is in it; without one the value never changes.
    pub fn is_dynamic(&self) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Reference(_) => true,
            Self::Not(operand) => operand.is_dynamic(),
            Self::Binary { left, right, .. } => left.is_dynamic() || right.is_dynamic(),
            Self::Concatenation(operands) => operands.iter().any(Self::is_dynamic),
        }
    }
}

/// A fixed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `'text'`.
    String(String),
    /// `18`, `-0.5`.
    Number(f64),
    /// `true`, `false`.
    Boolean(bool),
}

/// An operator between two operands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`, which Meta's reference does not list.
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

impl Operator {
    /// How it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }

    /// How tightly it binds; higher first, equal from the left.
    pub(super) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal | Self::NotEqual => 3,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual => 4,
            Self::Add | Self::Subtract => 5,
            Self::Multiply | Self::Divide | Self::Remainder => 6,
        }
    }
}

/// What `${…}` names.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Reference {
    /// `${data.a.b}`: data of this screen, by path.
    Data(Vec<String>),
    /// `${form.name}`: the current value of an input of this screen.
    Form(String),
    /// `${screen.ID.data.a.b}`: data of another screen.
    ScreenData {
        /// The screen's id.
        screen: String,
        /// The path inside its data.
        path: Vec<String>,
    },
    /// `${screen.ID.form.name}`: the value of an input of another screen.
    ScreenForm {
        /// The screen's id.
        screen: String,
        /// The input's name.
        name: String,
    },
}

impl Reference {
    /// Reads a whole `${…}`; `None` if `text` is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        if inner.contains(|c: char| c.is_whitespace() || matches!(c, '$' | '{' | '}' | '`' | '\'' | '"')) {
            return None;
        }
        let (root, rest) = inner.split_once('.')?;
        match root {
            "data" => path(rest).map(Self::Data),
            "form" => name(rest).map(Self::Form),
            "screen" => {
                let (screen, rest) = rest.split_once('.')?;
                let screen = name(screen)?;
                match rest.split_once('.')? {
                    ("data", rest) => Some(Self::ScreenData { screen, path: path(rest)? }),
                    ("form", rest) => Some(Self::ScreenForm { screen, name: name(rest)? }),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(path) => write!(formatter, "${{data.{}}}", path.join(".")),
            Self::Form(name) => write!(formatter, "${{form.{name}}}"),
            Self::ScreenData { screen, path } => {
                write!(formatter, "${{screen.{screen}.data.{}}}", path.join("."))
            }
            Self::ScreenForm { screen, name } => write!(formatter, "${{screen.{screen}.form.{name}}}"),
        }
    }
}

fn path(text: &str) -> Option<Vec<String>> {
    text.split('.').map(|part| (!part.is_empty()).then(|| part.to_owned())).collect()
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// What a text of a Flow JSON document means.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    /// It stands for itself.
    Literal,
    /// The whole text is one reference.
    Reference(Reference),
    /// The whole text is one nested expression, in backticks.
    Expression(Expr),
}

impl Text {
    /// Reads a text: a whole reference, an expression in backticks, or a literal without references.
    ///
    /// # Errors
    ///
    /// When a reference is malformed or mixed with other text, or the expression is no expression.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if let Some(inner) = text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            return parse(inner).map(Self::Expression).map_err(TextError::Syntax);
        }
        if let Some(reference) = Reference::parse(text) {
            return Ok(Self::Reference(reference));
        }
        let mentions = |root: &str| text.contains(root);
        if text.starts_with("${") && text.find('}') == text.len().checked_sub(1) {
            Err(TextError::Malformed)
        } else if mentions("${data.") || mentions("${form.") || mentions("${screen.") {
            Err(TextError::Mixed)
        } else {
            Ok(Self::Literal)
        }
    }
}

/// A text is no literal, but neither a reference nor an expression.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TextError {
    /// `${…}` that names nothing.
    #[error(
        "a reference is ${{data.field}}, ${{form.name}}, ${{screen.ID.data.field}} or ${{screen.ID.form.name}}"
    )]
    Malformed,
    /// A reference inside other text.
    #[error(
        "a reference must be the whole value; to join it with text write `'text ' ${{data.field}}` in backticks"
    )]
    Mixed,
    /// A bad expression.
    #[error("{0}")]
    Syntax(SyntaxError),
}

/// Why a text is no expression, and where (counted in characters from 1).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SyntaxError {
    /// Nothing there.
    #[error("the expression is empty: write at least one operand")]
    Empty,
    /// `()`.
    #[error("empty parentheses at column {column}: put an operand inside or remove them")]
    EmptyParentheses {
        /// Where.
        column: usize,
    },
    /// `(` without `)`.
    #[error("the parenthesis opened at column {column} is not closed")]
    MissingClosingParenthesis {
        /// Where it was opened.
        column: usize,
    },
    /// `)` without `(`.
    #[error("the parenthesis at column {column} closes nothing")]
    MissingOpeningParenthesis {
        /// Where.
        column: usize,
    },
    /// `'text` without an end.
    #[error("the text that starts at column {column} has no closing quote")]
    MissingQuote {
        /// Where it starts.
        column: usize,
    },
    /// `${…` that names nothing.
    #[error("no valid reference at column {column}: write ${{data.field}} or ${{form.name}}")]
    InvalidReference {
        /// Where.
        column: usize,
    },
    /// A character that begins nothing.
    #[error("unexpected character {character:?} at column {column}; texts stand in single quotes")]
    UnexpectedCharacter {
        /// The character.
        character: char,
        /// Where.
        column: usize,
    },
    /// A bare word other than `true` and `false`.
    #[error("unknown word {word:?} at column {column}; texts stand in single quotes")]
    UnknownWord {
        /// The word.
        word: String,
        /// Where.
        column: usize,
    },
    /// A number that is none.
    #[error("no valid number at column {column}")]
    InvalidNumber {
        /// Where.
        column: usize,
    },
    /// An operator that no operand follows, or that no operand precedes.
    #[error("an operand is missing at column {column}")]
    MissingOperand {
        /// Where.
        column: usize,
    },
    /// An operation beside another operand.
    #[error("the operation beside column {column} is joined with a text: put it in parentheses")]
    OperationInConcatenation {
        /// Where the next operand starts.
        column: usize,
    },
    /// More than [`MAX_DEPTH`] levels.
    #[error("nested deeper than {MAX_DEPTH} levels: split the expression")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_the_same() {
        for text in [
            "${data.a}",
            "${data.a.b.c}",
            "${form.first_name}",
            "${screen.START.data.x.y}",
            "${screen.START.form.q_1}",
        ] {
            let reference = Reference::parse(text).expect(text);
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "$",
            "${",
            "${}",
            "${data}",
            "${data.}",
            "${data..a}",
            "${data.a.}",
            "${form.}",
            "${screen.A}",
            "${screen.A.data}",
            "${screen.A.data.}",
            "${screen..data.a}",
            "${screen.A.other.a}",
            "${foo.a}",
            "data.a",
            "${data.a} ",
            " ${data.a}",
            "${data.a b}",
            "${data.a}${data.b}",
            "${data.'a'}",
        ] {
            assert_eq!(Reference::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_is_literal_reference_or_expression() {
        assert_eq!(Text::parse("Costs $5 {today}"), Ok(Text::Literal));
        assert_eq!(Text::parse(""), Ok(Text::Literal));
        assert_eq!(Text::parse("`"), Ok(Text::Literal));
        assert_eq!(Text::parse("${data.a}"), Ok(Text::Reference(Reference::Data(vec!["a".into()]))));
        assert!(matches!(Text::parse("`'Hi ' ${data.a}`"), Ok(Text::Expression(Expr::Concatenation(_)))));
        assert_eq!(Text::parse("Hi ${data.a}"), Err(TextError::Mixed));
        assert_eq!(Text::parse("${data.a}${form.b}"), Err(TextError::Mixed));
        assert_eq!(Text::parse("${dat.a}"), Err(TextError::Malformed));
        assert_eq!(Text::parse("``"), Err(TextError::Syntax(SyntaxError::Empty)));
    }
}
