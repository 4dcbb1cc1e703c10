//! The two ways in which HubSpot writes a form, as one: v3 (`fieldGroups`), and v2 with the public embed (`formFieldGroups`).

use serde_json::Value;

use crate::connector::json::{flag, list, text};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

/// A row of a form.
pub(super) struct Row<'j> {
    /// HTML above its fields.
    pub rich_text: Option<&'j str>,
    /// The fields are left out or replaced by HubSpot when it knows the person.
    pub smart: bool,
    /// The rows after it are on the next page.
    pub page_break: bool,
    pub fields: &'j [Value],
}

/// The rows, in their order. What is no object is `None`.
pub(super) fn rows(form: &Value, dialect: Dialect) -> Vec<Option<Row<'_>>> {
    let name = if dialect == Dialect::V3 { "fieldGroups" } else { "formFieldGroups" };
    list(form, name).iter().map(|json| Row::of(json, dialect)).collect()
}

impl<'j> Row<'j> {
    fn of(json: &'j Value, dialect: Dialect) -> Option<Row<'j>> {
        if !json.is_object() {
            return None;
        }
        let rich_text = match dialect {
            Dialect::V3 => text(json, "richText"),
            Dialect::V2 => json.get("richText").and_then(|rich| text(rich, "content")),
        };
        let smart = match dialect {
            Dialect::V3 => matches!(text(json, "groupType"), Some("progressive" | "queued")),
            Dialect::V2 => flag(json, "isSmartGroup"),
        };
        Some(Row { rich_text, smart, page_break: flag(json, "isPageBreak"), fields: list(json, "fields") })
    }
}

/// A field, in the words of v3.
pub(super) struct Field<'j> {
    /// The object type, such as `0-1`.
    pub object: &'j str,
    /// The property.
    pub name: &'j str,
    pub label: Option<&'j str>,
    pub help: Option<&'j str>,
    pub placeholder: Option<&'j str>,
    pub required: bool,
    pub hidden: bool,
    /// Switched off in the form (v2).
    pub off: bool,
    pub smart: bool,
    /// The v3 field type, or the word that is not known.
    pub kind: &'j str,
    pub options: &'j [Value],
    pub several_files: bool,
    pub defaults: Vec<String>,
    pub blocked_domains: Vec<String>,
    pub blocks_free_mail: bool,
    pub min_digits: Option<u32>,
    pub max_digits: Option<u32>,
    /// A validation that is not known.
    pub unknown_rule: bool,
    pub dependents: Vec<Dependent<'j>>,
}

/// A field that is shown only when its parent's value passes.
pub(super) struct Dependent<'j> {
    pub filters: Vec<Filter>,
    pub field: &'j Value,
    /// What is done when the filter passes, if it is not showing the field.
    pub action: Option<&'j str>,
}

/// A comparison with the parent's value.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// In small letters.
    pub operator: String,
    pub value: Option<String>,
    pub values: Vec<String>,
    pub start: Option<String>,
    pub end: Option<String>,
}

/// A text, number or boolean as text; empty is nothing.
pub(super) fn scalar(json: Option<&Value>) -> Option<String> {
    match json? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
        _ => None,
    }
}

fn scalars(json: Option<&Value>) -> Vec<String> {
    json.and_then(Value::as_array).into_iter().flatten().filter_map(|item| scalar(Some(item))).collect()
}

impl<'j> Field<'j> {
    /// `None` when it has no name or no type, so that it cannot be submitted.
    pub(super) fn of(json: &'j Value, dialect: Dialect) -> Option<Field<'j>> {
        let name = text(json, "name")?.trim();
        let word = text(json, "fieldType")?;
        let validation = json.get("validation").unwrap_or(&Value::Null);
        let digits = |name: &str| {
            let number = scalar(validation.get(name))?.parse::<f64>().ok()?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in the range of u32"
            )]
            (number.fract() == 0.0 && (0.0..=1e9).contains(&number)).then_some(number as u32)
        };
        let mut field = Field {
            object: object(json),
            name,
            label: text(json, "label"),
            help: text(json, "description"),
            placeholder: text(json, "placeholder"),
            required: flag(json, "required"),
            hidden: flag(json, "hidden"),
            off: json.get("enabled") == Some(&Value::Bool(false)),
            smart: flag(json, "isSmartField"),
            kind: word,
            options: list(json, "options"),
            several_files: flag(json, "allowMultipleFiles"),
            defaults: scalars(json.get("defaultValues")),
            blocked_domains: Vec::new(),
            blocks_free_mail: flag(validation, "useDefaultBlockList"),
            min_digits: digits("minAllowedDigits"),
            max_digits: digits("maxAllowedDigits"),
            unknown_rule: false,
            dependents: Vec::new(),
        };
        if field.defaults.is_empty() {
            field.defaults.extend(scalar(json.get("defaultValue")));
        }
        match dialect {
            Dialect::V3 => {
                field.blocked_domains = scalars(validation.get("blockedEmailDomains"));
                field.dependents = list(json, "dependentFields").iter().map(dependent_v3).collect();
            }
            Dialect::V2 => field.v2(json, validation),
        }
        Some(field)
    }

    fn v2(&mut self, json: &'j Value, validation: &'j Value) {
        self.blocked_domains = scalars(validation.get("blockedEmailAddresses"));
        if self.defaults.is_empty() {
            self.defaults = scalars(json.get("selectedOptions"));
        }
        // `min:max:allowExtraChars` is how v2 writes the digits of a phone number.
        let data = text(validation, "data").unwrap_or_default();
        let mut parts = data.split(':').map(str::trim);
        let range: Option<(u32, u32)> = parts
            .next()
            .zip(parts.next())
            .and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
        (self.min_digits, self.max_digits) = (range.map(|range| range.0), range.map(|range| range.1));
        self.unknown_rule = !data.is_empty() && range.is_none();
        self.kind = match self.kind {
            "text" if self.name == "email" => "email",
            "text" if range.is_some() => "phone",
            "text" => "single_line_text",
            "textarea" => "multi_line_text",
            "select" => "dropdown",
            "checkbox" => "multiple_checkboxes",
            "booleancheckbox" => "single_checkbox",
            "date" => "datepicker",
            "phonenumber" => "phone",
            word => word,
        };
        let kind = self.kind;
        self.dependents =
            list(json, "dependentFieldFilters").iter().map(|json| dependent_v2(json, kind)).collect();
    }

    /// The key that lets a submission name the property again.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.object, self.name)
    }
}

/// Without an object type HubSpot takes the contact.
fn object(json: &Value) -> &str {
    text(json, "objectTypeId").map(str::trim).unwrap_or_else(|| match text(json, "propertyObjectType") {
        Some("COMPANY") => "0-2",
        Some("TICKET") => "0-5",
        _ => "0-1",
    })
}

fn dependent_v3(json: &Value) -> Dependent<'_> {
    let condition = json.get("dependentCondition").unwrap_or(&Value::Null);
    let filter = Filter {
        operator: text(condition, "operator").unwrap_or_default().to_ascii_lowercase(),
        value: scalar(condition.get("value")),
        values: scalars(condition.get("values")),
        start: scalar(condition.get("rangeStart")),
        end: scalar(condition.get("rangeEnd")),
    };
    Dependent {
        filters: vec![filter],
        field: json.get("dependentField").unwrap_or(&Value::Null),
        action: None,
    }
}

/// All members of a v2 filter may be there; which one counts depends on the parent.
fn dependent_v2<'j>(json: &'j Value, parent: &str) -> Dependent<'j> {
    let filter = |json: &Value| {
        let of_kind = match parent {
            "number" => scalar(json.get("numberValue")),
            "single_checkbox" => scalar(json.get("boolValue")),
            _ => None,
        };
        let mut values = scalars(json.get("strValues"));
        if values.is_empty() && parent == "number" {
            values = scalars(json.get("numberValues"));
        }
        Filter {
            operator: text(json, "operator").unwrap_or_default().to_ascii_lowercase(),
            value: scalar(json.get("strValue")).or(of_kind),
            values,
            start: scalar(json.get("rangeStart")),
            end: scalar(json.get("rangeEnd")),
        }
    };
    Dependent {
        filters: list(json, "filters").iter().map(filter).collect(),
        field: json.get("dependentFormField").unwrap_or(&Value::Null),
        action: text(json, "formFieldAction").filter(|action| *action != "DISPLAY"),
    }
}
