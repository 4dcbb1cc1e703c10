//! Actions: where each may stand and what its payload may carry (WhatsApp Flows reference 4.7).

use serde_json::Value;

use super::Code;
use super::document::{Node, Object, Screen};
use super::references::{Place, Scope, Target};
use super::report::Path;
use super::schema::Checker;
use super::types::Types;
use crate::flow::expression::Text;
use crate::flow::limits::{self, Property, Version};

/// What the actions of a flow say about the flow as a whole.
#[derive(Default)]
pub(super) struct Actions<'a, 'd> {
    /// Every `navigate` whose target exists.
    pub routes: Vec<Route<'a, 'd>>,
    /// Where the first `data_exchange` stands.
    pub data_exchange_at: Option<String>,
}

/// One `navigate`.
pub(super) struct Route<'a, 'd> {
    pub from: &'a Screen<'d>,
    pub to: &'a Screen<'d>,
    pub path: String,
}

/// The files that one `complete` payload sends, by their declared maxima.
#[derive(Default)]
struct Files {
    count: u64,
    kib: u64,
}

impl<'a, 'd> Checker<'a, 'd, '_> {
    /// The action in the property `slot`.
    pub(super) fn action(
        &mut self,
        slot: &str,
        property: &'static Property,
        map: &'d Object,
        path: &Path<'_>,
    ) {
        let name = match map.get("name") {
            Some(Value::String(name)) => name.as_str(),
            Some(_) => {
                let message = "The name of an action is a text such as \"navigate\".";
                return self.report.error(Code::InvalidPropertyType, path.key("name"), message);
            }
            None => {
                let message = "An action needs a name such as \"navigate\": add it.";
                return self.report.error(Code::MissingRequiredProperty, path, message);
            }
        };
        let allowed = property.actions.get(name).is_some_and(|since| self.version() >= *since);
        let action = limits::table().actions.get(name);
        let (Some(action), true) = (action, allowed) else {
            let version = self.version();
            let known = property
                .actions
                .iter()
                .filter(|(_, since)| version >= **since)
                .map(|(name, _)| name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            let message = format!("{name:?} is not allowed here in Flow JSON {version}: use one of {known}.");
            return self.report.error(Code::InvalidEnumValue, path.key("name"), message);
        };
        self.object(&action.properties, map, path, name);
        let Some(screen) = self.screen else { return };
        let payload = map.get("payload").and_then(Value::as_object);
        match name {
            "data_exchange" => {
                self.actions.data_exchange_at.get_or_insert_with(|| path.to_string());
            }
            "complete" if !screen.terminal => {
                let message =
                    "\"complete\" ends the flow: set terminal on this screen, or navigate to a terminal one.";
                self.report.error(Code::InvalidCompleteAction, path, message);
            }
            "navigate" if screen.terminal && self.node.is_some_and(|node| node.type_name == "Footer") => {
                let message =
                    "The Footer of a terminal screen should end the flow: use complete or data_exchange.";
                self.report.warning(Code::InvalidCompleteAction, path, message);
            }
            _ => {}
        }
        let place = if slot == "on-click-action" { Place::OnClick } else { Place::OnSelect };
        if let Some(payload) = payload {
            let at = path.key("payload");
            self.payload(name, payload, Scope { flow: self.flow, screen, place }, &at);
            if name == "update_data" {
                self.update(screen, payload, place, &at);
            }
        }
        if name == "navigate" {
            self.navigate(screen, map, payload, path);
        }
    }

    /// References inside a payload, and files in it.
    fn payload(&mut self, action: &str, payload: &'d Object, scope: Scope<'a, 'd>, path: &Path<'_>) {
        let mut files = Files::default();
        for (key, value) in payload {
            let carried = matches!(action, "data_exchange" | "complete");
            self.payload_value(value, scope, carried, &mut files, &path.key(key));
        }
        if action == "complete" && files.count > 0 {
            self.files(&files, path);
        }
    }

    fn payload_value(
        &mut self,
        value: &'d Value,
        scope: Scope<'a, 'd>,
        files_allowed: bool,
        files: &mut Files,
        path: &Path<'_>,
    ) {
        match value {
            Value::String(text) => {
                let Some(target) = scope.text(text, path, self.report) else { return };
                let Some(input) = target.input else { return };
                if input.is_picker() {
                    if files_allowed {
                        files.add(input);
                    } else {
                        let message = format!(
                            "Files of {} can only be sent as a top-level member of a data_exchange or complete payload: \
                             read them there with ${{screen.ID.form.name}}.",
                            input.type_name
                        );
                        self.report.error(Code::InvalidOnClickActionPayload, path, message);
                    }
                }
                // Before 4.0 an action outside the Form cannot see into it.
                let outside = self.node.is_some_and(|node| node.form.is_none());
                if outside && input.form.is_some() && self.version() < Version::new(4, 0) {
                    let message = "Before Flow JSON 4.0 only components inside the Form read its values: move this into the Form.";
                    self.report.error(Code::InvalidOnClickActionPayload, path, message);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.payload_value(item, scope, false, files, &path.index(index));
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.payload_value(value, scope, false, files, &path.key(key));
                }
            }
            _ => {}
        }
    }

    fn files(&mut self, files: &Files, path: &Path<'_>) {
        let limit = &limits::table().global.complete_action;
        let old = self.version() < Version::new(5, 0);
        let most = if old { limit.files_below_5_0 } else { limit.files };
        if files.count > most {
            let message = format!(
                "The closing message may carry {most} files, these pickers allow {}: lower max-uploaded-photos or \
                 max-uploaded-documents.",
                files.count
            );
            self.report.error(Code::InvalidOnClickActionPayload, path, message);
        }
        if !old && files.kib > limit.total_kib {
            let message = format!(
                "The closing message may carry {} KiB, these pickers allow {}: lower max-file-size-kb or the number of files.",
                limit.total_kib, files.kib
            );
            self.report.error(Code::InvalidOnClickActionPayload, path, message);
        }
    }

    /// The payload of a navigation and the data model of the next screen are one contract.
    fn navigate(
        &mut self,
        screen: &'a Screen<'d>,
        map: &'d Object,
        payload: Option<&'d Object>,
        path: &Path<'_>,
    ) {
        let Some(next) = map.get("next").and_then(|next| next.get("name")).and_then(Value::as_str) else {
            return;
        };
        let next_path = path.key("next");
        let at = next_path.key("name");
        if next == screen.id {
            let message = "A screen cannot navigate to itself: name another screen, or use update_data or data_exchange.";
            return self.report.error(Code::InvalidNavigateActionNextScreenName, at, message);
        }
        let Some(to) = self.flow.screen(next) else {
            let message = format!("There is no screen {next:?}: correct the name or add the screen.");
            return self.report.error(Code::InvalidNavigateActionNextScreenName, at, message);
        };
        self.actions.routes.push(Route { from: screen, to, path: path.to_string() });
        let Some(payload) = payload else { return };
        let payload_path = path.key("payload");
        for (key, value) in payload {
            let at = payload_path.key(key);
            match to.field(key) {
                None => {
                    let message = format!(
                        "Screen {next:?} has no data field {key:?}: declare it there or remove it here."
                    );
                    self.report.error(Code::InvalidNavigateActionPayload, at, message);
                }
                Some(schema) => {
                    let wanted = Types::of_schema(schema);
                    let scope = Scope { flow: self.flow, screen, place: Place::OnClick };
                    let found = self.types_of(value, scope);
                    if !found.overlaps(wanted) {
                        let message = format!(
                            "Screen {next:?} declares {key:?} as {wanted}, this is {found}: make them equal."
                        );
                        self.report.error(Code::InvalidNavigateActionPayload, at, message);
                    }
                }
            }
        }
        for key in to.fields().filter(|key| !payload.contains_key(*key)) {
            let message =
                format!("Screen {next:?} expects {key:?}: add it to the payload or remove the field there.");
            self.report.error(Code::InvalidNavigateActionPayload, payload_path, message);
        }
    }

    fn update(&mut self, screen: &'a Screen<'d>, payload: &'d Object, place: Place, path: &Path<'_>) {
        for (key, value) in payload {
            let at = path.key(key);
            let Some(schema) = screen.field(key) else {
                let message =
                    format!("The data model of this screen has no {key:?}: declare it or remove it here.");
                self.report.error(Code::InvalidUpdateDataActionPayload, at, message);
                continue;
            };
            let found = self.types_of(value, Scope { flow: self.flow, screen, place });
            let wanted = Types::of_schema(schema);
            if !found.overlaps(wanted) {
                let message = format!("{key:?} is declared as {wanted}, this is {found}: make them equal.");
                self.report.error(Code::InvalidUpdateDataActionPayload, at, message);
            }
        }
    }

    /// The type of a payload value. What is wrong inside it was reported when the payload was walked.
    fn types_of(&self, value: &'d Value, scope: Scope<'a, 'd>) -> Types {
        let mut silent = super::report::Report::default();
        match value {
            Value::String(text) if !matches!(Text::parse(text), Ok(Text::Literal)) => scope
                .text(text, &Path::Root, &mut silent)
                .map_or(Types::STRING, |target: Target<'_, '_>| target.types),
            _ => Types::of(value).unwrap_or(Types::ANY),
        }
    }
}

impl Files {
    fn add(&mut self, picker: &Node<'_>) {
        let declared = |key: &str| {
            let default = picker.limits.properties.get(key).and_then(|property| match property.default {
                Some(limits::DefaultValue::Number(number)) => Some(number as u64),
                _ => None,
            });
            picker.map.get(key).and_then(Value::as_u64).or(default).unwrap_or_default()
        };
        let most =
            if picker.type_name == "PhotoPicker" { "max-uploaded-photos" } else { "max-uploaded-documents" };
        let count = declared(most);
        self.count = self.count.saturating_add(count);
        self.kib = self.kib.saturating_add(count.saturating_mul(declared("max-file-size-kb")));
    }
}
