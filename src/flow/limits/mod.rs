//! What Flow JSON allows, as one dated table: `schemas/flow-json-limits.json`, parsed once.
//!
//! The compiler and the validator ask here, so that a limit stands in one place and moves with one edit. The table
//! knows properties, types, numbers and the versions they came with; rules that join several properties are code in
//! [`super::validate`].

mod table;
mod version;

use std::sync::LazyLock;

pub use self::table::{
    Action, ActionsBySince, CompleteAction, Component, DataApi, DataModel, DefaultValue, Format, Global,
    Kind, Limits, Object, Placement, Property, Type, Unit, Versions,
};
pub use self::version::{ByVersion, InvalidVersion, Version};

/// The published table, as text.
pub const TABLE_JSON: &str = include_str!("../../../schemas/flow-json-limits.json");

static TABLE: LazyLock<Limits> = LazyLock::new(|| {
    let mut limits: Limits =
        serde_json::from_str(TABLE_JSON).expect("the table is compiled in and a test holds that it parses");
    limits.inherit_since();
    limits
});

/// The whole table.
pub fn table() -> &'static Limits {
    &TABLE
}

/// The Flow JSON version that we emit.
pub fn recommended_version() -> Version {
    TABLE.versions.recommended
}

/// What one component allows, by its `type`.
pub fn component(type_name: &str) -> Option<&'static Component> {
    TABLE.components.get(type_name)
}

/// One property of one component.
pub fn property(type_name: &str, name: &str) -> Option<&'static Property> {
    component(type_name)?.properties.get(name)
}

/// The longest text, in characters, that `name` of `type_name` shows in full in the recommended version.
///
/// The safe number where sources disagree or print none but advise one.
pub fn max_chars(type_name: &str, name: &str) -> Option<usize> {
    chars(property(type_name, name)?)
}

/// The longest text of one member of an option (or list item, or image) of `property_name` of `type_name`.
pub fn max_item_chars(type_name: &str, property_name: &str, member: &str) -> Option<usize> {
    chars(TABLE.objects.get(property(type_name, property_name)?.items.as_deref()?)?.get(member)?)
}

/// The most entries that an array property of a component takes in the recommended version.
pub fn max_items(type_name: &str, name: &str) -> Option<usize> {
    let property = property(type_name, name)?;
    if property.unit != Some(Unit::Items) {
        return None;
    }
    property.max_at(TABLE.versions.recommended).map(whole)
}

/// How many components of one type a screen takes in the recommended version; `None` when only the total counts.
pub fn max_per_screen(type_name: &str) -> Option<usize> {
    TABLE.global.per_screen.get(type_name).map(|max| max.at(TABLE.versions.recommended))
}

fn chars(property: &Property) -> Option<usize> {
    if property.unit != Some(Unit::Chars) {
        return None;
    }
    let max = property.max_at(TABLE.versions.recommended);
    property.safe_max.or(max).map(whole)
}

/// Limits are whole numbers far below 2^53, so nothing is lost.
fn whole(limit: f64) -> usize {
    limit as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_and_names_every_component() {
        let names: Vec<&str> = table().components.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "CalendarPicker",
                "CheckboxGroup",
                "ChipsSelector",
                "DatePicker",
                "DocumentPicker",
                "Dropdown",
                "EmbeddedLink",
                "Footer",
                "Form",
                "If",
                "Image",
                "ImageCarousel",
                "NavigationList",
                "OptIn",
                "PhotoPicker",
                "RadioButtonsGroup",
                "RichText",
                "Switch",
                "TextArea",
                "TextBody",
                "TextCaption",
                "TextHeading",
                "TextInput",
                "TextSubheading"
            ]
        );
        for (name, component) in &table().components {
            let type_property = component.properties.get("type").expect("every component has a type");
            assert_eq!(type_property.value.as_deref(), Some(name.as_str()));
        }
    }

    #[test]
    fn every_reference_inside_the_table_leads_somewhere() {
        let limits = table();
        let components = limits.components.values().map(|component| &component.properties);
        let actions = limits.actions.values().map(|action| &action.properties);
        for object in components.chain(actions).chain(limits.objects.values()) {
            for (name, property) in object {
                for target in property.items.iter().chain(&property.object) {
                    assert!(limits.objects.contains_key(target), "{name} names {target}");
                }
                for other in property.requires.iter().chain(&property.conflicts) {
                    assert!(object.contains_key(other), "{name} names {other}");
                }
                for action in property.actions.keys() {
                    assert!(limits.actions.contains_key(action), "{name} names {action}");
                }
                let bounded = property.min.is_some() || property.max.is_some() || property.safe_max.is_some();
                assert!(!bounded || property.unit.is_some(), "{name} has a bound without a unit");
                assert!(
                    !property.types.contains(&Type::Enum) || !property.choices.is_empty(),
                    "{name} has no choices"
                );
            }
        }
        for name in limits.global.per_screen.keys().chain(limits.global.per_flow.keys()) {
            assert!(limits.components.contains_key(name));
        }
    }

    #[test]
    fn the_compiler_finds_its_limits() {
        assert_eq!(max_chars("TextInput", "label"), Some(20));
        assert_eq!(max_chars("TextInput", "error-message"), Some(30));
        assert_eq!(max_chars("TextCaption", "text"), Some(409));
        assert_eq!(max_chars("RadioButtonsGroup", "error-message"), Some(30));
        assert_eq!(max_chars("RichText", "text"), None);
        assert_eq!(max_item_chars("Dropdown", "data-source", "title"), Some(30));
        assert_eq!(max_items("Dropdown", "data-source"), Some(200));
        assert_eq!(max_items("TextInput", "label"), None);
        assert_eq!(max_per_screen("OptIn"), Some(5));
        assert_eq!(max_per_screen("TextInput"), None);
        assert_eq!(recommended_version(), Version::new(7, 3));
        assert_eq!(table().global.screens_per_flow, 100);
    }
}
