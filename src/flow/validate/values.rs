//! Values against the table: types, bounds, choices, formats.

use serde_json::Value;

use super::Code;
use super::document::Object;
use super::media;
use super::references::Target;
use super::report::Path;
use super::schema::Checker;
use super::types::Types;
use crate::flow::expression::Text;
use crate::flow::limits::{self, Format, Property, Type, Unit, Version};

impl<'d> Checker<'_, 'd, '_> {
    pub(super) fn value(
        &mut self,
        key: &str,
        property: &'static Property,
        value: &'d Value,
        beside: &Object,
        path: &Path<'_>,
    ) {
        if let Value::String(text) = value
            && self.dynamic_text(property, text, path)
        {
            return;
        }
        if property.range && self.range(key, property, value, beside, path) {
            return;
        }
        match property.types.iter().find(|of| fits(**of, value)) {
            Some(of) => self.literal(key, *of, property, value, beside, path),
            // "Hundred" where a number or its text is asked for is a text of the wrong pattern, not of the wrong type.
            None if property.types.contains(&Type::IntegerText) && value.is_string() => {
                let message = "Write a whole number, or one reference such as ${data.limit}.";
                self.report.error(Code::PatternMismatch, path, message);
            }
            None => {
                let expected = property.types.iter().map(|of| describe(*of)).collect::<Vec<_>>().join(" or ");
                let found = Types::of(value).map_or_else(|| "null".to_owned(), |types| types.to_string());
                let message = format!("Expected {expected}, found {found}.");
                self.report.error(Code::InvalidPropertyType, path, message);
            }
        }
    }

    /// Whether a text was dynamic, and so is dealt with.
    fn dynamic_text(&mut self, property: &'static Property, text: &str, path: &Path<'_>) -> bool {
        if matches!(property.types.first(), Some(Type::Condition)) {
            return false;
        }
        if !property.dynamic {
            let literal = matches!(Text::parse(text), Ok(Text::Literal));
            if !literal {
                let message = "A reference or expression is not allowed here: write the fixed value.";
                self.report.error(Code::PatternMismatch, path, message);
            }
            return !literal;
        }
        let Some(scope) = self.scope() else { return false };
        let Some(target) = scope.text(text, path, self.report) else { return false };
        let expected = self.expected(property);
        if target.types.overlaps(expected) {
            self.items_of(property, &target, text, path);
        } else {
            let message = format!(
                "{text} is {}, but {expected} is needed: correct the reference or its type.",
                target.types
            );
            self.report.error(Code::InvalidScreenDynamicData, path, message);
        }
        true
    }

    fn expected(&self, property: &Property) -> Types {
        let expected = Types::expected_by(property);
        match self.node.and_then(|node| node.mode()) {
            Some("range") if property.range => Types::OBJECT,
            Some(_) if property.range => expected.and(Types::SCALAR),
            _ => expected,
        }
    }

    /// A data field that fills an array must declare the members that the component reads.
    fn items_of(
        &mut self,
        property: &'static Property,
        target: &Target<'_, '_>,
        text: &str,
        path: &Path<'_>,
    ) {
        let needed = property.items.as_ref().and_then(|name| limits::table().objects.get(name));
        let (Some(needed), Some(Value::Object(items))) =
            (needed, target.schema.and_then(|schema| schema.get("items")))
        else {
            return;
        };
        let declared = items.get("properties");
        for (name, member) in needed {
            let schema = declared.and_then(|declared| declared.get(name));
            match schema {
                None if member.required_in(self.version()) => {
                    let message = format!(
                        "The items of {text} do not declare {name:?}: add it to items.properties of the field."
                    );
                    self.report.error(Code::InvalidScreenDynamicData, path, message);
                }
                Some(schema) if !Types::of_schema(schema).overlaps(Types::expected_by(member)) => {
                    let expected = Types::expected_by(member);
                    let message = format!(
                        "{name:?} in the items of {text} must be {expected}: correct its type in the data model."
                    );
                    self.report.error(Code::InvalidScreenDynamicData, path, message);
                }
                _ => {}
            }
        }
    }

    fn literal(
        &mut self,
        key: &str,
        of: Type,
        property: &'static Property,
        value: &'d Value,
        beside: &Object,
        path: &Path<'_>,
    ) {
        match (of, value) {
            (Type::String | Type::Binding, Value::String(text)) => {
                self.text_bounds(property, text, beside, path);
                self.format(property, text, path);
                if of == Type::Binding {
                    let message =
                        "A fixed value always shows the same case: bind it, such as ${form.choice}.";
                    self.report.error(Code::PatternMismatch, path, message);
                }
            }
            (Type::Const, Value::String(text)) if property.value.as_ref() != Some(text) => {
                let expected = property.value.as_deref().unwrap_or_default();
                self.report.error(Code::InvalidTypePropertyValue, path, format!("Must be {expected:?}."));
            }
            (Type::Enum, Value::String(text)) => self.choice(property, text, path),
            (Type::Date, Value::String(text)) => self.date(key, text, path),
            (Type::Uri, Value::String(text)) if url::Url::parse(text).is_err() => {
                self.report.error(
                    Code::InvalidPropertyValueFormat,
                    path,
                    "Must be an address such as https://example.com/flow.",
                );
            }
            (Type::Image, Value::String(text)) => {
                let max = property.max_at(self.version()).filter(|_| property.unit == Some(Unit::Kilobytes));
                media::check_image(text, max, path, self.report);
            }
            (Type::Strings | Type::Enums | Type::Dates, Value::Array(items)) => {
                self.texts(key, of, property, items, beside, path)
            }
            (Type::Integer | Type::IntegerText | Type::Number, _) => {
                self.number_bounds(property, value, path)
            }
            (Type::Array | Type::Components | Type::Screens, Value::Array(items)) => {
                self.array(of, property, items, path)
            }
            (Type::Object, Value::Object(map)) => {
                if let Some(name) = &property.object {
                    self.named(name, map, path, key);
                }
            }
            (Type::StringMap, Value::Object(map)) => self.string_map(map, path),
            (Type::Routes, Value::Object(map)) => {
                for (screen, targets) in map {
                    if !targets.as_array().is_some_and(|targets| targets.iter().all(Value::is_string)) {
                        let message = "Write the screens that may follow as an array of ids, [] for none.";
                        self.report.error(Code::InvalidPropertyType, path.key(screen), message);
                    }
                }
            }
            (Type::Cases, Value::Object(map)) if map.is_empty() => {
                self.report.error(
                    Code::EmptySwitchCases,
                    path,
                    "A Switch needs at least one case: add one or remove the Switch.",
                );
            }
            (Type::Condition, Value::String(text)) => {
                if let Some(scope) = self.scope() {
                    scope.condition(text, path, self.report);
                }
            }
            (Type::Condition, Value::Bool(_)) if self.version() < Version::new(6, 0) => {
                let message = "A fixed condition is accepted from Flow JSON 6.0: write an expression.";
                self.report.error(Code::InvalidPropertyType, path, message);
            }
            (Type::Action, Value::Object(map)) => self.action(key, property, map, path),
            _ => {}
        }
    }

    /// Whether the value was a range, or should have been one, and so is dealt with.
    fn range(
        &mut self,
        key: &str,
        property: &'static Property,
        value: &'d Value,
        beside: &Object,
        path: &Path<'_>,
    ) -> bool {
        let mode = self.node.and_then(|node| node.mode());
        let Value::Object(map) = value else {
            let misplaced = mode == Some("range");
            if misplaced {
                let message = format!("In range mode {key:?} is an object with start-date and end-date.");
                self.report.error(Code::InvalidPropertyValueForCondition, path, message);
            }
            return misplaced;
        };
        if mode == Some("single") {
            let message = format!(
                "An object with start-date and end-date needs mode \"range\": write one value for {key:?}."
            );
            self.report.error(Code::InvalidPropertyValueForCondition, path, message);
            return true;
        }
        for end in ["start-date", "end-date"] {
            match map.get(end) {
                Some(Value::String(text)) if self.dynamic_text_of_range(property, text, &path.key(end)) => {}
                Some(value) => match property.types.iter().find(|of| fits(**of, value)) {
                    Some(of) => self.literal(end, *of, property, value, beside, &path.key(end)),
                    None => {
                        let message = format!(
                            "Expected {}.",
                            property.types.iter().map(|of| describe(*of)).collect::<String>()
                        );
                        self.report.error(Code::InvalidPropertyType, path.key(end), message);
                    }
                },
                None if key == "label" => {
                    let message = format!("The label of a range needs {end:?}: add it.");
                    self.report.error(Code::MissingCalendarPickerRangeModeProp, path, message);
                }
                None => {}
            }
        }
        for key in map.keys().filter(|key| !matches!(key.as_str(), "start-date" | "end-date")) {
            let message = format!("A range has start-date and end-date only: remove {key:?}.");
            self.report.error(Code::InvalidPropertyKey, path.key(key), message);
        }
        true
    }

    fn dynamic_text_of_range(&mut self, property: &Property, text: &str, path: &Path<'_>) -> bool {
        let Some(target) = self.scope().and_then(|scope| scope.text(text, path, self.report)) else {
            return false;
        };
        let expected = Types::expected_by(property).and(Types::SCALAR);
        if !target.types.overlaps(expected) {
            let message = format!(
                "{text} is {}, but {expected} is needed: correct the reference or its type.",
                target.types
            );
            self.report.error(Code::InvalidScreenDynamicData, path, message);
        }
        true
    }

    fn texts(
        &mut self,
        key: &str,
        of: Type,
        property: &'static Property,
        items: &'d [Value],
        beside: &Object,
        path: &Path<'_>,
    ) {
        if property.unit == Some(Unit::Items) {
            self.item_bounds(property, items.len(), Code::MinItemsRequired, path);
        }
        let mut chars = 0;
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let Value::String(text) = item else {
                self.report.error(Code::InvalidPropertyType, path, "Every entry must be a text.");
                continue;
            };
            let dynamic = if property.dynamic && !property.static_items {
                self.scope().and_then(|scope| scope.text(text, &path, self.report))
            } else {
                if !matches!(Text::parse(text), Ok(Text::Literal)) {
                    let message =
                        "The entries are fixed texts: bind the whole property to one reference instead.";
                    self.report.error(Code::InvalidPropertyValue, path, message);
                }
                None
            };
            if let Some(target) = dynamic {
                if !target.types.overlaps(Types::STRING) {
                    let message = format!("{text} is {}, but a string is needed.", target.types);
                    self.report.error(Code::InvalidScreenDynamicData, path, message);
                }
                continue;
            }
            let length = text.chars().count();
            chars += length;
            match of {
                Type::Enums => self.choice(property, text, &path),
                Type::Dates => self.date(key, text, &path),
                _ => {
                    if let Some(max) = property.item_max_chars.filter(|max| length > *max) {
                        self.report.error(Code::InvalidPropertyValue, path, too_long(length, max));
                    }
                }
            }
        }
        if of == Type::Strings && property.unit == Some(Unit::Chars) {
            self.max_chars(property, chars, beside, path);
        }
    }

    fn array(&mut self, of: Type, property: &'static Property, items: &'d [Value], path: &Path<'_>) {
        // Meta words an empty branch as a wrong value, not as too few items.
        let too_few =
            if of == Type::Components { Code::InvalidPropertyValue } else { Code::MinItemsRequired };
        self.item_bounds(property, items.len(), too_few, path);
        let Some(name) = &property.items else { return };
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            match item {
                Value::Object(map) => self.named(name, map, &path, name),
                _ => {
                    self.report.error(Code::InvalidPropertyType, path, format!("Every {name} is an object."))
                }
            }
        }
    }

    fn string_map(&mut self, map: &Object, path: &Path<'_>) {
        for (key, value) in map {
            let path = path.key(key);
            match (value, self.scope()) {
                (Value::String(text), Some(scope)) => {
                    scope.text(text, &path, self.report);
                }
                (Value::Object(_), _) | (Value::String(_), None) => {}
                _ if self.version() < Version::new(7, 0) => {}
                _ => self.report.error(Code::InvalidPropertyType, path, "The message must be a text."),
            }
        }
    }

    fn item_bounds(&mut self, property: &Property, items: usize, too_few: Code, path: &Path<'_>) {
        if let Some(min) = property.min.filter(|min| (items as f64) < *min) {
            self.report.error(
                too_few,
                path,
                format!("There must be at least {min} entries, there are {items}: add some."),
            );
        }
        if let Some(max) = property.max_at(self.version()).filter(|max| items as f64 > *max) {
            let message =
                format!("There may be at most {max} entries, there are {items}: remove some or split them.");
            self.report.error(Code::MaxItemsRequired, path, message);
        }
    }

    fn text_bounds(&mut self, property: &Property, text: &str, beside: &Object, path: &Path<'_>) {
        if property.unit == Some(Unit::Chars) && text.is_empty() && property.min.is_some_and(|min| min >= 1.0)
        {
            self.report.error(
                Code::MinCharsRequired,
                path,
                "The text is empty: write at least one character.",
            );
        } else if text.trim().is_empty()
            && property.non_blank_since.is_some_and(|since| self.version() >= since)
        {
            self.report.error(
                Code::PatternMismatch,
                path,
                "The text is blank: write something that can be seen.",
            );
        }
        if property.unit == Some(Unit::Chars) {
            self.max_chars(property, text.chars().count(), beside, path);
        }
    }

    fn max_chars(&mut self, property: &Property, length: usize, beside: &Object, path: &Path<'_>) {
        let large = beside.get("label-variant").is_some_and(|variant| variant == "large");
        let max = property.max_when_large.filter(|_| large).or_else(|| property.max_at(self.version()));
        if let Some(max) = max.filter(|max| length as f64 > *max) {
            self.report.error(Code::InvalidPropertyValue, path, too_long(length, max as usize));
        } else if let Some(max) = property.safe_max.filter(|max| length as f64 > *max) {
            self.report.warning(Code::InvalidPropertyValue, path, too_long(length, max as usize));
        }
    }

    fn number_bounds(&mut self, property: &Property, value: &Value, path: &Path<'_>) {
        let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let (Some(number), Some(Unit::Value)) = (number, property.unit) else { return };
        if let Some(min) = property.min.filter(|min| number < *min) {
            self.report.error(Code::MinimumValueRequired, path, format!("Must be {min} or more."));
        }
        if let Some(max) = property.max_at(self.version()).filter(|max| number > *max) {
            self.report.error(Code::MaximumValueRequired, path, format!("Must be {max} or less."));
        }
    }

    fn choice(&mut self, property: &Property, text: &str, path: &Path<'_>) {
        if !property.choices.iter().any(|choice| choice == text) {
            let choices = property.choices.join(", ");
            self.report.error(Code::InvalidEnumValue, path, format!("{text:?} is not one of {choices}."));
        }
    }

    fn date(&mut self, key: &str, text: &str, path: &Path<'_>) {
        if media::is_date(text, self.version()) {
            return;
        }
        let single_start =
            key == "init-value" && self.node.is_some_and(|node| node.type_name == "CalendarPicker");
        let code = if single_start {
            Code::InvalidDateSingleInitValueFormat
        } else {
            Code::InvalidPropertyValueFormat
        };
        let wanted = if self.version() < Version::new(5, 0) {
            "milliseconds since 1970 as a text"
        } else {
            "YYYY-MM-DD"
        };
        self.report.error(code, path, format!("{text:?} is no date: write {wanted}."));
    }

    fn format(&mut self, property: &Property, text: &str, path: &Path<'_>) {
        match property.format {
            Some(Format::Colour) => {
                let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
                if !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                    self.report.error(
                        Code::PatternMismatch,
                        path,
                        format!("{text:?} is no colour: write #RRGGBB."),
                    );
                }
            }
            Some(Format::Https) => {
                let rest = text.strip_prefix("https://").and_then(|rest| rest.chars().next());
                if rest.is_none_or(char::is_whitespace) {
                    self.report.error(Code::PatternMismatch, path, "The address must start with https://.");
                }
            }
            None => {}
        }
    }
}

/// Whether the JSON value is of the kind that the type is written in.
fn fits(of: Type, value: &Value) -> bool {
    match of {
        Type::String | Type::Enum | Type::Const | Type::Date | Type::Image | Type::Uri => value.is_string(),
        Type::Strings | Type::Enums | Type::Dates | Type::Array | Type::Components | Type::Screens => {
            value.is_array()
        }
        Type::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Type::IntegerText => match value {
            Value::String(text) => text.parse::<i64>().is_ok(),
            _ => fits(Type::Integer, value),
        },
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::Object | Type::StringMap | Type::Action | Type::Cases | Type::Routes => value.is_object(),
        Type::Condition => value.is_string() || value.is_boolean(),
        Type::Binding => value.is_string(),
    }
}

fn describe(of: Type) -> &'static str {
    match of {
        Type::String | Type::Enum | Type::Const | Type::Uri => "a text",
        Type::Date => "a date as a text",
        Type::Image => "a picture in base64",
        Type::Strings | Type::Enums | Type::Dates => "an array of texts",
        Type::Integer | Type::IntegerText => "a whole number",
        Type::Number => "a number",
        Type::Boolean => "true or false",
        Type::Array | Type::Components | Type::Screens => "an array of objects",
        Type::Object | Type::StringMap | Type::Action | Type::Cases | Type::Routes => "an object",
        Type::Condition => "a condition as a text",
        Type::Binding => "a reference such as ${form.choice}",
    }
}

fn too_long(length: usize, max: usize) -> String {
    format!(
        "The text has {length} characters, {max} are shown: shorten it or move the rest to a text component."
    )
}
