//! Screens written as Flow JSON.

use serde_json::{Map, Value, json};

use super::question;
use crate::flow::plan::{
    Block, Content, DataKey, DataSource, FIELD_ERRORS, INIT_VALUES, PROGRESS, STATE, VERSION,
};
use crate::flow::words::Words;

/// The name of every screen's Form.
const FORM: &str = "form";

/// One screen, ready to be written.
pub(super) struct Page<'a> {
    pub id: &'a str,
    /// What the screen is called; cut where it is too long.
    pub title: &'a str,
    /// Texts above the questions.
    pub intro: Vec<Value>,
    pub components: Vec<Value>,
    pub content: &'a Content,
    pub data: &'a [DataKey],
    pub sensitive: &'a [String],
    pub terminal: bool,
    /// Nothing but endings can follow.
    pub closes: bool,
    pub version: u32,
    pub words: &'static Words,
}

impl Page<'_> {
    /// The screen's JSON (WhatsApp Flows reference, 4.3).
    pub(super) fn write(mut self) -> Value {
        let mut data = self.data_model();
        let mut screen = Map::new();
        screen.insert("id".to_owned(), json!(self.id));
        screen.insert("title".to_owned(), json!(question::cut(&question::fixed(self.title), 30)));
        if self.terminal {
            screen.insert("terminal".to_owned(), json!(true));
            screen.insert("success".to_owned(), json!(true));
        }
        if !self.sensitive.is_empty() {
            screen.insert("sensitive".to_owned(), json!(self.sensitive));
        }
        let mut children = std::mem::take(&mut self.intro);
        let footer = json!({"type": "Footer", "label": self.footer(), "on-click-action": {"name": "data_exchange", "payload": self.payload()}});
        if let Content::Questions(blocks) = self.content {
            children.insert(0, json!({"type": "TextCaption", "text": format!("${{data.{PROGRESS}}}")}));
            self.components.push(footer);
            if blocks.iter().any(|block| !block.inputs.is_empty()) {
                children.push(json!({
                    "type": "Form",
                    "name": FORM,
                    "init-values": format!("${{data.{INIT_VALUES}}}"),
                    "error-messages": format!("${{data.{FIELD_ERRORS}}}"),
                    "children": self.components,
                }));
            } else {
                children.append(&mut self.components);
            }
        } else {
            children.append(&mut self.components);
            children.push(footer);
        }
        if !data.is_empty() {
            screen.insert("data".to_owned(), Value::Object(std::mem::take(&mut data)));
        }
        screen.insert("layout".to_owned(), json!({"type": "SingleColumnLayout", "children": children}));
        Value::Object(screen)
    }

    fn footer(&self) -> &'static str {
        match self.content {
            Content::Cover | Content::Intro => self.words.start,
            Content::Ending(_) => self.words.close,
            Content::Questions(_) if self.terminal || self.closes => self.words.submit,
            Content::Questions(_) | Content::Relay => self.words.next,
        }
    }

    fn payload(&self) -> Value {
        let mut payload = Map::new();
        payload.insert(VERSION.to_owned(), json!(self.version.to_string()));
        if *self.content != Content::Cover {
            payload.insert(STATE.to_owned(), json!(format!("${{data.{STATE}}}")));
        }
        for input in inputs(self.content) {
            payload.insert(input.name.clone(), json!(format!("${{form.{}}}", input.name)));
        }
        Value::Object(payload)
    }

    /// Declared data with examples (WhatsApp Flows reference, 4.5).
    fn data_model(&self) -> Map<String, Value> {
        let mut model = Map::new();
        if *self.content == Content::Cover {
            return model;
        }
        model.insert(STATE.to_owned(), json!({"type": "string", "__example__": "sealed"}));
        if let Content::Questions(blocks) = self.content {
            model.insert(PROGRESS.to_owned(), json!({"type": "string", "__example__": "1 / 4"}));
            if blocks.iter().any(|block| !block.inputs.is_empty()) {
                let (mut values, mut errors) = (Map::new(), Map::new());
                for input in inputs(self.content).filter(|input| !self.is_picker(&input.name)) {
                    let kind = match self.component(&input.name) {
                        Some("OptIn") => json!({"type": "boolean"}),
                        _ if input.many => json!({"type": "array", "items": {"type": "string"}}),
                        _ => json!({"type": "string"}),
                    };
                    values.insert(input.name.clone(), kind);
                    errors.insert(input.name.clone(), json!({"type": "string"}));
                }
                model.insert(
                    INIT_VALUES.to_owned(),
                    json!({"type": "object", "properties": values, "__example__": {}}),
                );
                model.insert(
                    FIELD_ERRORS.to_owned(),
                    json!({"type": "object", "properties": errors, "__example__": {}}),
                );
            }
        }
        for key in self.data {
            let declared = match &key.source {
                DataSource::Text { template, max_chars } => {
                    let example = question::cut(template, *max_chars);
                    json!({"type": "string", "__example__": if example.contains("${") { "Text" } else { &example }})
                }
                DataSource::Options { .. } => json!({
                    "type": "array",
                    "items": {"type": "object", "properties": {"id": {"type": "string"}, "title": {"type": "string"}, "description": {"type": "string"}}},
                    "__example__": [{"id": "example", "title": "Example", "description": "Example"}],
                }),
            };
            model.insert(key.name.clone(), declared);
        }
        model
    }

    fn is_picker(&self, name: &str) -> bool {
        matches!(self.component(name), Some("PhotoPicker" | "DocumentPicker"))
    }

    /// The type of the component with this name.
    fn component(&self, name: &str) -> Option<&str> {
        fn find<'v>(components: &'v [Value], name: &str) -> Option<&'v str> {
            components.iter().find_map(|component| {
                if component.get("name").and_then(Value::as_str) == Some(name) {
                    return component.get("type").and_then(Value::as_str);
                }
                find(component.get("then")?.as_array()?, name)
            })
        }
        find(&self.components, name)
    }
}

fn inputs(content: &Content) -> impl Iterator<Item = &crate::flow::plan::Input> {
    let blocks: &[Block] = match content {
        Content::Questions(blocks) => blocks,
        _ => &[],
    };
    blocks.iter().flat_map(|block| &block.inputs)
}
