//! Objects against the table: which properties there are, which must be, which may stand together.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Code;
use super::actions::Actions;
use super::document::{Flow, Node, Object, Screen};
use super::references::{Place, Scope};
use super::report::{Path, Report};
use crate::flow::limits::{self, Property, Version};

/// Checks one object after the other and remembers what later rules need.
pub(super) struct Checker<'a, 'd, 'r> {
    pub flow: &'a Flow<'d>,
    pub screen: Option<&'a Screen<'d>>,
    pub node: Option<&'a Node<'d>>,
    pub report: &'r mut Report,
    pub actions: Actions<'a, 'd>,
}

/// Every object of the document that the table describes.
pub(super) fn check<'a, 'd>(flow: &'a Flow<'d>, report: &mut Report) -> Actions<'a, 'd> {
    let mut checker = Checker { flow, screen: None, node: None, report, actions: Actions::default() };
    checker.named("flow", flow.root, &Path::Root, "the document");
    for screen in &flow.screens {
        checker.screen = Some(screen);
        checker.named("screen", screen.map, &Path::At(&screen.path), "a screen");
        for node in &screen.nodes {
            let path = Path::At(&node.path);
            if flow.version < node.limits.since {
                let (name, since, version) = (node.type_name, node.limits.since, flow.version);
                let message = format!(
                    "{name} exists from Flow JSON {since}, the document is {version}: raise the version."
                );
                checker.report.error(Code::InvalidPropertyValue, path.key("type"), message);
                continue;
            }
            checker.node = Some(node);
            checker.object(&node.limits.properties, node.map, &path, node.type_name);
            checker.node = None;
        }
    }
    checker.actions
}

impl<'a, 'd> Checker<'a, 'd, '_> {
    /// An object that the table knows by name.
    pub(super) fn named(&mut self, name: &str, map: &'d Object, path: &Path<'_>, owner: &str) {
        if let Some(object) = limits::table().objects.get(name) {
            self.object(object, map, path, owner);
        }
    }

    pub(super) fn object(
        &mut self,
        properties: &'static limits::Object,
        map: &'d Object,
        path: &Path<'_>,
        owner: &str,
    ) {
        for (key, value) in map {
            match properties.get(key) {
                Some(property) if property.exists_in(self.version()) => {
                    self.beside(properties, key, property, map, path, owner);
                    self.value(key, property, value, map, &path.key(key));
                }
                Some(property) => {
                    let message = wrong_version(key, property, self.version());
                    self.report.error(Code::InvalidPropertyKey, path.key(key), message);
                }
                None => {
                    let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
                    let known = known.into_iter().collect::<Vec<_>>().join(", ");
                    let message =
                        format!("{owner} has no property {key:?}: remove it or use one of {known}.");
                    self.report.error(Code::InvalidPropertyKey, path.key(key), message);
                }
            }
        }
        for (key, property) in properties {
            if property.required_in(self.version())
                && property.exists_in(self.version())
                && !map.contains_key(key)
            {
                let code = match (key.as_str(), owner) {
                    ("type", _) => Code::MissingRequiredTypeProperty,
                    ("payload", "navigate") => Code::MissingNavigationActionPayload,
                    _ => Code::MissingRequiredProperty,
                };
                self.report.error(code, path, format!("{owner} must have {key:?}: add it."));
            }
        }
    }

    /// Rules about what else stands in the same object.
    fn beside(
        &mut self,
        properties: &limits::Object,
        key: &str,
        property: &Property,
        map: &Object,
        path: &Path<'_>,
        owner: &str,
    ) {
        for other in property.requires.iter().filter(|other| !map.contains_key(*other)) {
            let message = format!("{owner} with {key:?} must also have {other:?}: add it or remove {key:?}.");
            self.report.error(Code::InvalidDependencies, path.key(key), message);
        }
        // A pair is reported once, at the name that sorts first.
        for other in property.conflicts.iter().filter(|other| map.contains_key(*other)) {
            let mutual = properties.get(other).is_some_and(|it| it.conflicts.iter().any(|name| name == key));
            if !mutual || key < other.as_str() {
                let message = format!("{owner} may not have {key:?} and {other:?} together: remove one.");
                self.report.error(Code::NotKeywordSchemaValidationFailed, path.key(key), message);
            }
        }
        let Some(node) = self.node else { return };
        if property.only_outside_form && node.form.is_some() {
            let instead = if key == "init-value" { "init-values" } else { "error-messages" };
            let message = format!("Inside a Form {key:?} is not read: move it to {instead:?} of the Form.");
            self.report.error(Code::InvalidPropertyKey, path.key(key), message);
        }
        if let (Some(only), Some(mode)) = (property.only_mode.as_deref(), node.mode())
            && only != mode
        {
            let message = format!("{key:?} needs mode {only:?}: remove it or change the mode.");
            self.report.error(Code::UnexpectedCalendarPickerRangeModeProp, path.key(key), message);
        }
        let input_type = map.get("input-type").and_then(Value::as_str).unwrap_or("text");
        if !property.input_types.is_empty()
            && !property.input_types.iter().any(|allowed| allowed == input_type)
        {
            let allowed = property.input_types.join(", ");
            let message =
                format!("{key:?} works only with input-type {allowed}, not {input_type:?}: remove it.");
            self.report.error(Code::InvalidPropertyNameForCondition, path.key(key), message);
        }
    }

    pub(super) fn version(&self) -> Version {
        self.flow.version
    }

    /// From where the references of a property are read; outside a screen there is nothing to refer to.
    pub(super) fn scope(&self) -> Option<Scope<'a, 'd>> {
        Some(Scope { flow: self.flow, screen: self.screen?, place: Place::Property })
    }
}

fn wrong_version(key: &str, property: &Property, version: Version) -> String {
    match (property.since, property.until) {
        (_, Some(until)) if version > until => {
            format!("{key:?} exists up to Flow JSON {until}, the document is {version}: remove it.")
        }
        (Some(since), _) => {
            format!(
                "{key:?} exists from Flow JSON {since}, the document is {version}: remove it or raise the version."
            )
        }
        _ => format!("{key:?} does not exist in Flow JSON {version}: remove it."),
    }
}
