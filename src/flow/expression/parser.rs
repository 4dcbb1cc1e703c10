//! Builds the tree: precedence climbing, with concatenation outside every operation.

use super::lexer::{Kind, Token, tokens};
use super::{Expr, Literal, MAX_DEPTH, Operator, SyntaxError};

/// Reads an expression: the condition of an If, or what stands between backticks.
///
/// # Errors
///
/// When `text` does not follow the grammar (WhatsApp Flows reference 4.6) or nests deeper than [`MAX_DEPTH`].
pub fn parse(text: &str) -> Result<Expr, SyntaxError> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(SyntaxError::Empty);
    }
    let mut parser = Parser { tokens, next: 0, end: text.chars().count() + 1 };
    let tree = parser.concatenation(0)?;
    match parser.peek() {
        None => Ok(tree.expr),
        Some(token) if token.kind == Kind::Close => {
            Err(SyntaxError::MissingOpeningParenthesis { column: token.column })
        }
        Some(token) => Err(SyntaxError::MissingOperand { column: token.column }),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// The column after the last character.
    end: usize,
}

/// A parsed part.
struct Tree {
    expr: Expr,
    depth: usize,
    /// An operation without parentheses around it.
    bare: bool,
}

impl Tree {
    fn leaf(expr: Expr) -> Self {
        Self { expr, depth: 1, bare: false }
    }

    fn node(expr: Expr, below: usize, bare: bool) -> Result<Self, SyntaxError> {
        if below >= MAX_DEPTH {
            return Err(SyntaxError::TooDeep);
        }
        Ok(Self { expr, depth: below + 1, bare })
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn column(&self) -> usize {
        self.peek().map_or(self.end, |token| token.column)
    }

    fn concatenation(&mut self, level: usize) -> Result<Tree, SyntaxError> {
        let first = self.operation(level, 0)?;
        let starts_operand = |token: &Token| {
            matches!(token.kind, Kind::Literal(_) | Kind::Reference(_) | Kind::Open | Kind::Not)
        };
        if !self.peek().is_some_and(starts_operand) {
            return Ok(first);
        }
        let mut depth = first.depth;
        let mut bare = first.bare;
        let mut operands = vec![first.expr];
        while self.peek().is_some_and(starts_operand) {
            let column = self.column();
            let operand = self.operation(level, 0)?;
            bare |= operand.bare;
            if bare {
                return Err(SyntaxError::OperationInConcatenation { column });
            }
            depth = depth.max(operand.depth);
            operands.push(operand.expr);
        }
        Tree::node(Expr::Concatenation(operands), depth, false)
    }

    fn operation(&mut self, level: usize, floor: u8) -> Result<Tree, SyntaxError> {
        let mut left = self.operand(level)?;
        while let Some(operator) = self.operator_above(floor) {
            self.next += 1;
            let right = self.operation(level + 1, operator.precedence())?;
            let below = left.depth.max(right.depth);
            let expr = Expr::Binary { operator, left: Box::new(left.expr), right: Box::new(right.expr) };
            left = Tree::node(expr, below, true)?;
        }
        Ok(left)
    }

    fn operator_above(&self, floor: u8) -> Option<Operator> {
        match self.peek()?.kind {
            Kind::Operator(operator) if operator.precedence() > floor => Some(operator),
            _ => None,
        }
    }

    fn operand(&mut self, level: usize) -> Result<Tree, SyntaxError> {
        if level >= MAX_DEPTH {
            return Err(SyntaxError::TooDeep);
        }
        let Some(token) = self.peek().cloned() else {
            return Err(SyntaxError::MissingOperand { column: self.end });
        };
        self.next += 1;
        match token.kind {
            Kind::Literal(literal) => Ok(Tree::leaf(Expr::Literal(literal))),
            Kind::Reference(reference) => Ok(Tree::leaf(Expr::Reference(reference))),
            Kind::Not => {
                let operand = self.operand(level + 1)?;
                Tree::node(Expr::Not(Box::new(operand.expr)), operand.depth, false)
            }
            // A minus before an operand is the sign of a number, and of nothing else.
            Kind::Operator(Operator::Subtract) if token.touches_next => {
                match self.peek().map(|next| &next.kind) {
                    Some(Kind::Literal(Literal::Number(number))) => {
                        let negative = Expr::Literal(Literal::Number(-number));
                        self.next += 1;
                        Ok(Tree::leaf(negative))
                    }
                    _ => Err(SyntaxError::InvalidNumber { column: token.column }),
                }
            }
            Kind::Open => self.parenthesised(level, token.column),
            Kind::Close => Err(SyntaxError::MissingOpeningParenthesis { column: token.column }),
            Kind::Operator(_) => Err(SyntaxError::MissingOperand { column: token.column }),
        }
    }

    fn parenthesised(&mut self, level: usize, opened: usize) -> Result<Tree, SyntaxError> {
        match self.peek().map(|token| &token.kind) {
            Some(Kind::Close) => return Err(SyntaxError::EmptyParentheses { column: opened }),
            None => return Err(SyntaxError::MissingClosingParenthesis { column: opened }),
            _ => {}
        }
        let inner = self.concatenation(level + 1)?;
        match self.peek().map(|token| &token.kind) {
            Some(Kind::Close) => {
                self.next += 1;
                Ok(Tree { bare: false, ..inner })
            }
            Some(_) => Err(SyntaxError::MissingOperand { column: self.column() }),
            None => Err(SyntaxError::MissingClosingParenthesis { column: opened }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fully parenthesised, so that a test shows how an expression was grouped.
    fn grouped(expr: &Expr) -> String {
        match expr {
            Expr::Literal(Literal::String(text)) => format!("'{text}'"),
            Expr::Literal(Literal::Number(number)) => number.to_string(),
            Expr::Literal(Literal::Boolean(value)) => value.to_string(),
            Expr::Reference(reference) => reference.to_string(),
            Expr::Not(operand) => format!("!{}", grouped(operand)),
            Expr::Binary { operator, left, right } => {
                format!("({} {} {})", grouped(left), operator.as_str(), grouped(right))
            }
            Expr::Concatenation(operands) => operands.iter().map(grouped).collect::<Vec<_>>().join(" . "),
        }
    }

    #[test]
    fn operators_group_by_precedence_and_from_the_left() {
        for (text, expected) in [
            ("${form.a}", "${form.a}"),
            ("${form.a} == 'x' && ${form.b} > 3", "((${form.a} == 'x') && (${form.b} > 3))"),
            ("${data.a} || ${data.b} && ${data.c}", "(${data.a} || (${data.b} && ${data.c}))"),
            ("!${data.a} && !(${data.b})", "(!${data.a} && !${data.b})"),
            ("${data.a}-1-2", "((${data.a} - 1) - 2)"),
            ("${data.a} - -1", "(${data.a} - -1)"),
            ("-1.5 + ${data.a} % 2 / 3", "(-1.5 + ((${data.a} % 2) / 3))"),
            ("(${data.a} || ${data.b}) && ${data.c}", "((${data.a} || ${data.b}) && ${data.c})"),
            ("'Hi ' ${form.n} '!'", "'Hi ' . ${form.n} . '!'"),
            ("'Total ' (${data.a} + 1)", "'Total ' . (${data.a} + 1)"),
            ("('a' ${data.b}) == 'ab'", "('a' . ${data.b} == 'ab')"),
            (r"'it\'s a \` \n' ${data.a}", r"'it's a ` \n' . ${data.a}"),
            ("${data.a} != true", "(${data.a} != true)"),
        ] {
            assert_eq!(parse(text).map(|expr| grouped(&expr)).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_named_with_its_column() {
        use SyntaxError as E;
        for (text, expected) in [
            ("", E::Empty),
            ("  ", E::Empty),
            ("()", E::EmptyParentheses { column: 1 }),
            ("(${data.a}", E::MissingClosingParenthesis { column: 1 }),
            ("))${data.a}((", E::MissingOpeningParenthesis { column: 1 }),
            ("${data.a})", E::MissingOpeningParenthesis { column: 10 }),
            ("${data.a} ==", E::MissingOperand { column: 13 }),
            ("== ${data.a}", E::MissingOperand { column: 1 }),
            ("${data.a} == 'x", E::MissingQuote { column: 14 }),
            ("${data.a} == x", E::UnknownWord { word: "x".into(), column: 14 }),
            ("${data.a} = 1", E::UnexpectedCharacter { character: '=', column: 11 }),
            ("${dat.a}", E::InvalidReference { column: 1 }),
            ("${data.a", E::InvalidReference { column: 1 }),
            ("1.2.3 == ${data.a}", E::InvalidNumber { column: 1 }),
            ("'a' ${data.a} + 1", E::OperationInConcatenation { column: 5 }),
            ("${data.a} + - ${data.b}", E::MissingOperand { column: 13 }),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_instead_of_exhausting_the_stack() {
        for text in [
            format!("{}${{data.a}}{}", "(".repeat(100_000), ")".repeat(100_000)),
            format!("{}${{data.a}}", "!".repeat(100_000)),
            vec!["${data.a}"; 50_000].join(" && "),
        ] {
            assert_eq!(parse(&text), Err(SyntaxError::TooDeep));
        }
        assert!(parse(&vec!["${data.a}"; 60].join(" && ")).is_ok());
        assert!(parse(&vec!["${data.a}"; 5_000].join(" ' ' ")).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(
            text in r"[ ()!=<>&|+\-*/%'a-c0-2.\\`é]{0,12}|(\$\{data\.a\}|&&|==|'x'|\(|\)|!|1| |-)*"
        ) {
            let _ = parse(&text);
        }
    }
}
