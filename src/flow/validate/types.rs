//! Types of values, as far as they are known before anything runs.

use std::fmt;

use serde_json::Value;

use crate::flow::limits::{Property, Type};

/// The types that a value may turn out to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const STRING: Self = Self(1);
    pub(super) const NUMBER: Self = Self(2);
    pub(super) const BOOLEAN: Self = Self(4);
    pub(super) const OBJECT: Self = Self(8);
    pub(super) const ARRAY: Self = Self(16);
    pub(super) const SCALAR: Self = Self(7);
    /// Nothing is known, or it was already reported.
    pub(super) const ANY: Self = Self(31);

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether one value could have both.
    pub(super) const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The type of a literal; `null` has none that Flow JSON knows.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::BOOLEAN),
            Value::Number(_) => Some(Self::NUMBER),
            Value::String(_) => Some(Self::STRING),
            Value::Array(_) => Some(Self::ARRAY),
            Value::Object(_) => Some(Self::OBJECT),
        }
    }

    /// The type that a data model field declares.
    pub(super) fn of_schema(schema: &Value) -> Self {
        schema.get("type").and_then(Value::as_str).and_then(Self::named).unwrap_or(Self::ANY)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "string" => Some(Self::STRING),
            "number" => Some(Self::NUMBER),
            "boolean" => Some(Self::BOOLEAN),
            "object" => Some(Self::OBJECT),
            "array" => Some(Self::ARRAY),
            _ => None,
        }
    }

    /// What a reference that stands for this property must lead to.
    pub(super) fn expected_by(property: &Property) -> Self {
        let plain = property.types.iter().chain(&property.dynamic_types).map(|of| Self::of_type(*of));
        let range = property.range.then_some(Self::OBJECT);
        plain.chain(range).reduce(Self::or).unwrap_or(Self::ANY)
    }

    fn of_type(of: Type) -> Self {
        match of {
            Type::String | Type::Enum | Type::Const | Type::Date | Type::Image | Type::Uri => Self::STRING,
            Type::IntegerText => Self::NUMBER.or(Self::STRING),
            Type::Integer | Type::Number => Self::NUMBER,
            Type::Boolean | Type::Condition => Self::BOOLEAN,
            Type::Strings | Type::Enums | Type::Dates | Type::Array | Type::Components | Type::Screens => {
                Self::ARRAY
            }
            Type::Object | Type::StringMap | Type::Action | Type::Cases | Type::Routes => Self::OBJECT,
            Type::Binding => Self::SCALAR,
        }
    }
}

impl fmt::Display for Types {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::STRING, "string"),
            (Self::NUMBER, "number"),
            (Self::BOOLEAN, "boolean"),
            (Self::OBJECT, "object"),
            (Self::ARRAY, "array"),
        ];
        let mut separator = "";
        for (_, name) in names.into_iter().filter(|(one, _)| self.overlaps(*one)) {
            write!(formatter, "{separator}{name}")?;
            separator = " or ";
        }
        Ok(())
    }
}
