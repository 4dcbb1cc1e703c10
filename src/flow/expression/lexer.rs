//! Splits an expression into tokens.

use super::{Literal, Operator, Reference, SyntaxError};

/// One token and the column it starts at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub kind: Kind,
    pub column: usize,
    /// A number follows directly, so that `-` may be its sign.
    pub touches_next: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Literal(Literal),
    Reference(Reference),
    Operator(Operator),
    Not,
    Open,
    Close,
}

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { rest: text, column: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.peek() {
        if first.is_whitespace() {
            lexer.advance(first.len_utf8());
            continue;
        }
        let column = lexer.column;
        let kind = lexer.token(first)?;
        let touches_next = lexer.peek().is_some_and(|next| next.is_ascii_digit());
        tokens.push(Token { kind, column, touches_next });
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes `bytes` bytes, which must end at a character.
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        self.advance(end)
    }

    fn token(&mut self, first: char) -> Result<Kind, SyntaxError> {
        let column = self.column;
        match first {
            '\'' => self.string(),
            '$' => self.reference(),
            '(' => Ok(self.symbol(1, Kind::Open)),
            ')' => Ok(self.symbol(1, Kind::Close)),
            '0'..='9' => {
                let digits = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
                match digits.parse::<f64>() {
                    // Rust also reads `1e5`, `1.` and `1_0` is refused by it; Meta's grammar has digits and one point.
                    Ok(number)
                        if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                            && !digits.ends_with('.') =>
                    {
                        Ok(Kind::Literal(Literal::Number(number)))
                    }
                    _ => Err(SyntaxError::InvalidNumber { column }),
                }
            }
            c if c.is_alphabetic() || c == '_' => {
                match self.take_while(|c| c.is_alphanumeric() || c == '_') {
                    "true" => Ok(Kind::Literal(Literal::Boolean(true))),
                    "false" => Ok(Kind::Literal(Literal::Boolean(false))),
                    word => Err(SyntaxError::UnknownWord { word: word.to_owned(), column }),
                }
            }
            _ => self.operator(first),
        }
    }

    fn symbol(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.advance(bytes);
        kind
    }

    fn operator(&mut self, first: char) -> Result<Kind, SyntaxError> {
        // Two-character operators first: `<=` is not `<` and something.
        const OPERATORS: [Operator; 13] = [
            Operator::Or,
            Operator::And,
            Operator::Equal,
            Operator::NotEqual,
            Operator::LessOrEqual,
            Operator::GreaterOrEqual,
            Operator::Less,
            Operator::Greater,
            Operator::Add,
            Operator::Subtract,
            Operator::Multiply,
            Operator::Divide,
            Operator::Remainder,
        ];
        if let Some(operator) =
            OPERATORS.into_iter().find(|operator| self.rest.starts_with(operator.as_str()))
        {
            return Ok(self.symbol(operator.as_str().len(), Kind::Operator(operator)));
        }
        if first == '!' {
            return Ok(self.symbol(1, Kind::Not));
        }
        Err(SyntaxError::UnexpectedCharacter { character: first, column: self.column })
    }

    fn reference(&mut self) -> Result<Kind, SyntaxError> {
        let column = self.column;
        let text = self.rest.find('}').map(|end| self.advance(end + 1));
        let reference = text.and_then(Reference::parse).ok_or(SyntaxError::InvalidReference { column })?;
        Ok(Kind::Reference(reference))
    }

    fn string(&mut self) -> Result<Kind, SyntaxError> {
        let column = self.column;
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\'' => {
                    self.advance(at + 1);
                    return Ok(Kind::Literal(Literal::String(value)));
                }
                // A backslash keeps the next quote, backtick or backslash from being read.
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\'' | '`' | '\\'))) => value.push(escaped),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err(SyntaxError::MissingQuote { column })
    }
}
