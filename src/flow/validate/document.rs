//! The document as the rules see it: screens by id, components in a row, inputs by name.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::report::{Path, Report};
use super::types::Types;
use super::{Code, names};
use crate::flow::limits::{self, Component, Kind, Version};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// A whole flow.
pub(super) struct Flow<'a> {
    pub root: &'a Object,
    pub version: Version,
    pub screens: Vec<Screen<'a>>,
    by_id: HashMap<&'a str, usize>,
}

/// One screen.
pub(super) struct Screen<'a> {
    pub path: String,
    pub map: &'a Object,
    /// Empty when it is missing.
    pub id: &'a str,
    pub terminal: bool,
    pub data: Option<&'a Object>,
    /// Every component of a known type, in the order of the document.
    pub nodes: Vec<Node<'a>>,
    /// Inputs by name; of two with one name the first.
    pub inputs: HashMap<&'a str, usize>,
    /// Names of Forms, which have no value of their own.
    pub forms: HashSet<&'a str>,
}

/// One component.
pub(super) struct Node<'a> {
    pub path: String,
    pub map: &'a Object,
    pub type_name: &'a str,
    pub limits: &'static Component,
    /// What it stands in.
    pub parent: Parent,
    /// Which node is the Form around it.
    pub form: Option<usize>,
    /// How many Ifs are around it.
    pub ifs: usize,
}

/// What a component stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Parent {
    Screen,
    Form,
    If,
    Switch,
}

impl<'a> Flow<'a> {
    /// Reads the screens; what cannot be read is reported and left out.
    pub(super) fn read(root: &'a Object, version: Version, report: &mut Report) -> Self {
        let mut flow = Self { root, version, screens: Vec::new(), by_id: HashMap::new() };
        let screens = root.get("screens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, screen) in screens.iter().enumerate() {
            let path = format!("screens[{index}]");
            match screen {
                Value::Object(map) => {
                    let screen = Screen::read(map, path, report);
                    if !screen.id.is_empty() {
                        flow.by_id.entry(screen.id).or_insert(flow.screens.len());
                    }
                    flow.screens.push(screen);
                }
                _ => report.error(
                    Code::InvalidPropertyType,
                    path,
                    "A screen is an object with id, title and layout.",
                ),
            }
        }
        flow
    }

    pub(super) fn screen(&self, id: &str) -> Option<&Screen<'a>> {
        self.by_id.get(id).and_then(|index| self.screens.get(*index))
    }

    pub(super) fn has_endpoint(&self) -> bool {
        self.root.contains_key("data_api_version") || self.root.contains_key("data_channel_uri")
    }
}

impl<'a> Screen<'a> {
    fn read(map: &'a Object, path: String, report: &mut Report) -> Self {
        let mut screen = Self {
            map,
            id: map.get("id").and_then(Value::as_str).unwrap_or_default(),
            terminal: map.get("terminal") == Some(&Value::Bool(true)),
            data: map.get("data").and_then(Value::as_object),
            nodes: Vec::new(),
            inputs: HashMap::new(),
            forms: HashSet::new(),
            path,
        };
        let children = map.get("layout").and_then(|layout| layout.get("children")).and_then(Value::as_array);
        let at = format!("{}.layout.children", screen.path);
        screen.walk(children, &at, Around { parent: Parent::Screen, form: None, ifs: 0 }, report);
        for (index, node) in screen.nodes.iter().enumerate() {
            if let Some(name) = node.map.get("name").and_then(Value::as_str) {
                match node.limits.kind {
                    Kind::Input => _ = screen.inputs.entry(name).or_insert(index),
                    Kind::Container => _ = screen.forms.insert(name),
                    Kind::Display | Kind::Action => {}
                }
            }
        }
        screen
    }

    /// Recursion is bounded: the depth of the document was checked before.
    fn walk(&mut self, children: Option<&'a Vec<Value>>, at: &str, around: Around, report: &mut Report) {
        for (index, child) in children.into_iter().flatten().enumerate() {
            let path = format!("{at}[{index}]");
            let Value::Object(map) = child else {
                report.error(Code::InvalidPropertyType, path, "A component is an object with a type.");
                continue;
            };
            let type_name = match map.get("type") {
                Some(Value::String(name)) => name.as_str(),
                Some(_) => {
                    let message = "The type of a component is a text such as \"TextBody\".";
                    report.error(Code::InvalidPropertyType, Path::At(&path).key("type"), message);
                    continue;
                }
                None => {
                    let message = "Every component needs a type, such as \"TextBody\".";
                    report.error(Code::MissingRequiredTypeProperty, path, message);
                    continue;
                }
            };
            let Some(limits) = limits::component(type_name) else {
                let message = format!(
                    "There is no component {type_name:?}; types are written like TextInput or Footer."
                );
                report.error(Code::InvalidPropertyValue, Path::At(&path).key("type"), message);
                continue;
            };
            self.nodes.push(Node {
                path: path.clone(),
                map,
                type_name,
                limits,
                parent: around.parent,
                form: around.form,
                ifs: around.ifs,
            });
            self.walk_into(map, type_name, &path, around, report);
        }
    }

    fn walk_into(
        &mut self,
        map: &'a Object,
        type_name: &str,
        path: &str,
        around: Around,
        report: &mut Report,
    ) {
        let array = |key: &str| map.get(key).and_then(Value::as_array);
        match type_name {
            "Form" => {
                let form = self.nodes.len().checked_sub(1);
                let around = Around { parent: Parent::Form, form, ..around };
                self.walk(array("children"), &format!("{path}.children"), around, report);
            }
            "If" => {
                let around = Around { parent: Parent::If, ifs: around.ifs + 1, ..around };
                self.walk(array("then"), &format!("{path}.then"), around, report);
                self.walk(array("else"), &format!("{path}.else"), around, report);
            }
            "Switch" => {
                let around = Around { parent: Parent::Switch, ..around };
                for (case, children) in map.get("cases").and_then(Value::as_object).into_iter().flatten() {
                    let path = format!("{path}.cases.{case}");
                    names::check_case(case, &path, report);
                    if !children.is_array() {
                        report.error(Code::InvalidPropertyType, &path, "A case is an array of components.");
                    }
                    self.walk(children.as_array(), &path, around, report);
                }
            }
            _ => {}
        }
    }

    pub(super) fn input(&self, name: &str) -> Option<&Node<'a>> {
        self.inputs.get(name).and_then(|index| self.nodes.get(*index))
    }
}

#[derive(Clone, Copy)]
struct Around {
    parent: Parent,
    form: Option<usize>,
    ifs: usize,
}

impl Node<'_> {
    pub(super) fn is_picker(&self) -> bool {
        matches!(self.type_name, "PhotoPicker" | "DocumentPicker")
    }

    /// The type of `${form.name}` (WhatsApp Flows reference 4.9).
    pub(super) fn value_types(&self) -> Types {
        match self.type_name {
            // A number input sends either, depending on the platform.
            "TextInput" if self.text("input-type") == Some("number") => Types::NUMBER.or(Types::STRING),
            "OptIn" => Types::BOOLEAN,
            "CheckboxGroup" | "ChipsSelector" | "PhotoPicker" | "DocumentPicker" => Types::ARRAY,
            "CalendarPicker" => match self.mode() {
                Some("range") => Types::OBJECT,
                Some(_) => Types::STRING,
                None => Types::STRING.or(Types::OBJECT),
            },
            _ => Types::STRING,
        }
    }

    /// The mode of a CalendarPicker; `None` while it is not known.
    pub(super) fn mode(&self) -> Option<&str> {
        match self.map.get("mode") {
            None => Some("single"),
            Some(Value::String(mode)) if !mode.contains(['$', '`']) => Some(mode),
            Some(_) => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.map.get(key).and_then(Value::as_str)
    }

    pub(super) fn array(&self, key: &str) -> Option<&[Value]> {
        self.map.get(key).and_then(Value::as_array).map(Vec::as_slice)
    }
}
