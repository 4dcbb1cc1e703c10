//! What references lead to, and the types of nested expressions (WhatsApp Flows reference 4.6).

use serde_json::Value;

use super::Code;
use super::document::{Flow, Node, Screen};
use super::report::{Path, Report};
use super::types::Types;
use crate::flow::expression::{self, Expr, Literal, Operator, Reference, Text};
use crate::flow::limits::Version;

/// From where references are read.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a, 'd> {
    pub flow: &'a Flow<'d>,
    pub screen: &'a Screen<'d>,
    pub place: Place,
}

/// Which part of a screen a reference stands in: the same fault has another code in each.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Place {
    Property,
    OnClick,
    OnSelect,
}

/// What a reference leads to.
pub(super) struct Target<'a, 'd> {
    pub types: Types,
    /// Of a data field, its declaration.
    pub schema: Option<&'d Value>,
    /// Of a form value, the input.
    pub input: Option<&'a Node<'d>>,
}

impl Target<'_, '_> {
    fn of(types: Types) -> Self {
        Self { types, schema: None, input: None }
    }
}

impl<'a, 'd> Scope<'a, 'd> {
    /// Reads a text that may be dynamic and reports what is wrong in it. `None` if it is a literal.
    pub(super) fn text(&self, text: &str, path: &Path<'_>, report: &mut Report) -> Option<Target<'a, 'd>> {
        match Text::parse(text) {
            Ok(Text::Literal) => None,
            Ok(Text::Reference(reference)) => Some(self.reference(&reference, path, report)),
            Ok(Text::Expression(expr)) => {
                if self.flow.version < Version::new(6, 0) {
                    let message = "Nested expressions in backticks need Flow JSON 6.0: raise the version.";
                    report.error(Code::InvalidPropertyValue, path, message);
                    return Some(Target::of(Types::ANY));
                }
                Some(Target::of(self.expression(&expr, path, report)))
            }
            Err(error) => {
                report.error(Code::InvalidPropertyValue, path, sentence(&error.to_string()));
                Some(Target::of(Types::ANY))
            }
        }
    }

    /// The condition of an If.
    pub(super) fn condition(&self, text: &str, path: &Path<'_>, report: &mut Report) {
        let inner = text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap_or(text);
        match expression::parse(inner) {
            Err(error) => report.error(Code::InvalidPropertyValue, path, sentence(&error.to_string())),
            Ok(expr) => {
                let types = self.expression(&expr, path, report);
                if !types.overlaps(Types::BOOLEAN) {
                    let message = format!(
                        "A condition must be true or false, this gives {types}: compare it with something."
                    );
                    report.error(Code::InvalidPropertyValue, path, message);
                }
            }
        }
    }

    /// What a reference leads to; what leads nowhere is reported and counts as anything.
    pub(super) fn reference(
        &self,
        reference: &Reference,
        path: &Path<'_>,
        report: &mut Report,
    ) -> Target<'a, 'd> {
        match self.resolve(reference) {
            Ok(target) => target,
            Err((code, message)) => {
                report.error(code, path, message);
                Target::of(Types::ANY)
            }
        }
    }

    fn resolve(&self, reference: &Reference) -> Result<Target<'a, 'd>, (Code, String)> {
        let (local, global) = match self.place {
            Place::Property => (Code::InvalidScreenDynamicData, Code::InvalidScreenData),
            Place::OnClick => (Code::InvalidOnClickActionPayload, Code::InvalidOnClickActionPayload),
            Place::OnSelect => (Code::InvalidActionPayloadProperty, Code::InvalidActionPayloadProperty),
        };
        match reference {
            Reference::Data(path) => data(self.screen, path, reference).map_err(|message| (local, message)),
            Reference::Form(name) => form(self.screen, name, reference).map_err(|message| (local, message)),
            Reference::ScreenData { screen, path } => self
                .other_screen(screen, reference)
                .and_then(|screen| data(screen, path, reference))
                .map_err(|message| (global, message)),
            Reference::ScreenForm { screen, name } => self
                .other_screen(screen, reference)
                .and_then(|screen| form(screen, name, reference))
                .map_err(|message| (global, message)),
        }
    }

    fn other_screen(&self, id: &str, reference: &Reference) -> Result<&'a Screen<'d>, String> {
        if self.flow.version < Version::new(4, 0) {
            return Err(format!("{reference} needs Flow JSON 4.0: raise the version."));
        }
        if id == self.screen.id {
            return Err(format!(
                "{reference} names its own screen: write ${{data.field}} or ${{form.name}}."
            ));
        }
        self.flow
            .screen(id)
            .ok_or_else(|| format!("{reference} names a screen that does not exist: correct {id:?}."))
    }

    /// The types of an expression; every fault in it is reported with `INVALID_PROPERTY_VALUE`.
    fn expression(&self, expr: &Expr, path: &Path<'_>, report: &mut Report) -> Types {
        if !expr.is_dynamic() {
            let message = "The expression has no reference, so it never changes: write the value itself or add a reference.";
            report.error(Code::InvalidPropertyValue, path, message);
        }
        self.types(expr, path, report)
    }

    fn types(&self, expr: &Expr, path: &Path<'_>, report: &mut Report) -> Types {
        match expr {
            Expr::Literal(Literal::String(_)) => Types::STRING,
            Expr::Literal(Literal::Number(_)) => Types::NUMBER,
            Expr::Literal(Literal::Boolean(_)) => Types::BOOLEAN,
            Expr::Reference(reference) => self.reference(reference, path, report).types,
            Expr::Not(operand) => {
                let types = self.types(operand, path, report);
                expect(types, Types::BOOLEAN, "!", path, report);
                Types::BOOLEAN
            }
            Expr::Concatenation(operands) => {
                for operand in operands {
                    let types = self.types(operand, path, report);
                    expect(types, Types::SCALAR, "joining", path, report);
                }
                Types::STRING
            }
            Expr::Binary { operator, left, right } => {
                let types = (self.types(left, path, report), self.types(right, path, report));
                // An operation that never changes is refused wherever it stands; the whole was looked at above.
                if !left.is_dynamic() && !right.is_dynamic() {
                    let message = format!(
                        "{} has fixed values on both sides: one must be a reference.",
                        operator.as_str()
                    );
                    report.error(Code::InvalidPropertyValue, path, message);
                }
                operation(*operator, types, path, report)
            }
        }
    }
}

fn operation(
    operator: Operator,
    (left, right): (Types, Types),
    path: &Path<'_>,
    report: &mut Report,
) -> Types {
    let (wanted, result) = match operator {
        Operator::Or | Operator::And => (Types::BOOLEAN, Types::BOOLEAN),
        Operator::Equal | Operator::NotEqual => (Types::SCALAR, Types::BOOLEAN),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            (Types::NUMBER, Types::BOOLEAN)
        }
        Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
            (Types::NUMBER, Types::NUMBER)
        }
    };
    let symbol = operator.as_str();
    if operator == Operator::Multiply {
        let message = "Meta's reference has no operator *: compute the product on the endpoint.";
        report.error(Code::InvalidPropertyValue, path, message);
    }
    let both = expect(left, wanted, symbol, path, report) & expect(right, wanted, symbol, path, report);
    if both && !left.and(wanted).overlaps(right) {
        let message = format!("{symbol} compares {left} with {right}: both sides must have one type.");
        report.error(Code::InvalidPropertyValue, path, message);
    }
    result
}

fn expect(found: Types, wanted: Types, symbol: &str, path: &Path<'_>, report: &mut Report) -> bool {
    let fits = found.overlaps(wanted);
    if !fits {
        let message = format!("{symbol} takes {wanted}, not {found}: change the operand.");
        report.error(Code::InvalidPropertyValue, path, message);
    }
    fits
}

fn data<'a, 'd>(
    screen: &'a Screen<'d>,
    path: &[String],
    reference: &Reference,
) -> Result<Target<'a, 'd>, String> {
    let missing = |field: &str| {
        let id = screen.id;
        format!(
            "{reference} leads nowhere: declare {field:?} in the data model of screen {id:?} or correct the reference."
        )
    };
    let mut steps = path.iter();
    let first = steps.next().ok_or_else(|| missing(""))?;
    let mut schema = screen.data.and_then(|model| model.get(first)).ok_or_else(|| missing(first))?;
    for step in steps {
        let inside = schema.get("properties").and_then(|properties| properties.get(step));
        schema = inside.ok_or_else(|| missing(step))?;
    }
    Ok(Target { types: Types::of_schema(schema), schema: Some(schema), input: None })
}

fn form<'a, 'd>(screen: &'a Screen<'d>, name: &str, reference: &Reference) -> Result<Target<'a, 'd>, String> {
    if let Some(input) = screen.input(name) {
        return Ok(Target { types: input.value_types(), schema: None, input: Some(input) });
    }
    // A member of an object value, such as the start-date of a range.
    if let Some((name, _)) = name.split_once('.')
        && screen.input(name).is_some_and(|input| input.value_types().overlaps(Types::OBJECT))
    {
        return Ok(Target::of(Types::STRING));
    }
    let id = screen.id;
    if screen.forms.contains(name) {
        return Err(format!(
            "{reference} names the Form itself, which has no value: name one of its inputs."
        ));
    }
    Err(format!("{reference} leads nowhere: screen {id:?} has no input named {name:?}."))
}

/// A message that begins with a capital letter and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).chain(['.']).collect())
}
