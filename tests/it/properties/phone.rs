//! A phone on random forms: it holds every answer of the handlers to the document, sees what its screen shows, and walks.

use std::collections::BTreeMap;

use formgate::flow::compile::Compiled;
use formgate::flow::handler::{Closing, Completed, Handler, Session, Show, Turn};
use formgate::flow::plan::{Block, Content, ScreenPlan};
use formgate::form::{Form, Position};
use serde_json::{Map, Value as Json, json};

/// A compiled flow as a phone has it.
pub struct Phone {
    pub handler: Handler,
    document: Json,
    pub hidden: BTreeMap<String, String>,
}

impl Phone {
    pub fn new(compiled: Compiled, hidden: BTreeMap<String, String>) -> Phone {
        Phone { handler: Handler::new(compiled.plan), document: compiled.document, hidden }
    }

    pub fn form(&self) -> &Form {
        self.handler.form()
    }

    /// A session as INIT begins it.
    pub fn session(&self) -> Session {
        Session::start([9; 16], self.hidden.clone())
    }

    pub fn open(&self) -> Show {
        let show = self.handler.open(self.session());
        self.judge(None, &show);
        show
    }

    /// Sends what stands on a screen; the session travels as bytes, as it does when sealed.
    pub fn send(&self, show: &Show, payload: &Map<String, Json>) -> Turn {
        let session = show.session.as_ref().map_or_else(
            || self.session(),
            |session| Session::from_bytes(&session.to_bytes()).expect("own bytes"),
        );
        let turn = self.handler.step(session, &show.screen, payload).expect("a known screen");
        match &turn {
            Turn::Show(next) => self.judge(Some(&show.screen), next),
            Turn::Finish { then: Closing::Show(next), .. } => self.judge(Some(&show.screen), next),
            Turn::Finish { then: Closing::Success, .. } => {
                assert_eq!(
                    self.screen(&show.screen)["terminal"],
                    true,
                    "{} cannot end the flow",
                    show.screen
                );
            }
        }
        turn
    }

    pub fn plan(&self, screen: &str) -> (usize, &ScreenPlan) {
        let screens = &self.handler.plan().screens;
        let index = screens.iter().position(|planned| planned.id == screen).expect("a planned screen");
        (index, &screens[index])
    }

    pub fn blocks(&self, screen: &str) -> &[Block] {
        match &self.plan(screen).1.content {
            Content::Questions(blocks) => blocks,
            _ => &[],
        }
    }

    /// Ids of the options that the server sent for an input.
    pub fn offered(show: &Show, input: &str) -> Option<Vec<String>> {
        let items = show.data.get(&format!("o_{input}"))?.as_array()?;
        Some(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect())
    }

    fn screen(&self, id: &str) -> &Json {
        let screens = self.document["screens"].as_array().expect("screens");
        screens.iter().find(|screen| screen["id"] == id).unwrap_or_else(|| panic!("no screen {id}"))
    }

    /// Holds an answer to the data model and to the routing model.
    fn judge(&self, from: Option<&str>, show: &Show) {
        let declared = self.screen(&show.screen)["data"].as_object().cloned().unwrap_or_default();
        for (key, kind) in declared.iter().filter(|(key, _)| *key != "state") {
            let value = show.data.get(key).unwrap_or_else(|| panic!("{} lacks {key}", show.screen));
            let fits = match kind["type"].as_str() {
                Some("string") => value.as_str().is_some_and(|text| !text.trim().is_empty()),
                Some("array") => value.as_array().is_some_and(|items| {
                    let mut ids: Vec<&str> = items.iter().filter_map(|item| item["id"].as_str()).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    !items.is_empty() && ids.len() == items.len()
                }),
                Some("object") => value.is_object(),
                _ => false,
            };
            assert!(fits, "{}: {key} = {value}", show.screen);
            for (name, value) in value.as_object().into_iter().flatten() {
                let fits = match kind["properties"][name]["type"].as_str() {
                    Some("string") => value.is_string(),
                    Some("boolean") => value.is_boolean(),
                    Some("array") => value.is_array(),
                    _ => false,
                };
                assert!(fits, "{key}.{name} = {value} is not as declared");
            }
        }
        assert!(show.screen.is_empty() || show.session.is_some() || self.handler.is_cover(&show.screen));
        if let Some(from) = from.filter(|from| *from != show.screen) {
            let leads = |a: &str, b: &str| {
                self.document["routing_model"][a].as_array().is_some_and(|to| to.contains(&json!(b)))
            };
            assert!(
                leads(from, &show.screen) || leads(&show.screen, from),
                "{from} → {} is not routed: {}",
                show.screen,
                self.document["routing_model"]
            );
        }
    }

    /// The questions that a person sees on a screen with this in its inputs; of those without an input, nothing is said.
    pub fn seen(&self, screen: &str, payload: &Map<String, Json>) -> Vec<Position> {
        let mut names = Vec::new();
        visible(&self.screen(screen)["layout"]["children"], payload, &mut names);
        let blocks = self.blocks(screen).iter();
        let sees = |block: &&Block| block.inputs.first().is_some_and(|first| names.contains(&first.name));
        blocks.filter(sees).map(|block| block.position).collect()
    }
}

/// Names of the inputs that are shown.
fn visible(components: &Json, payload: &Map<String, Json>, names: &mut Vec<String>) {
    for component in components.as_array().into_iter().flatten() {
        match component["type"].as_str() {
            Some("If") => {
                let condition = component["condition"].as_str().expect("a condition");
                if holds(condition, payload) {
                    visible(&component["then"], payload, names);
                }
            }
            Some("Form") => visible(&component["children"], payload, names),
            _ => names.extend(component["name"].as_str().map(str::to_owned)),
        }
    }
}

/// The conditions that the compiler writes: `(${form.x} == 'y')`, joined by `&&` or `||` in parentheses.
fn holds(condition: &str, payload: &Map<String, Json>) -> bool {
    let inner = condition.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).expect("parentheses");
    if let Some(rest) = inner.strip_prefix("${form.") {
        let (name, value) = rest.split_once("} == '").expect("a comparison");
        let value = value.strip_suffix('\'').expect("a text");
        return payload.get(name).and_then(Json::as_str) == Some(value);
    }
    let (mut depth, mut begins, mut parts, mut all) = (0, 0, Vec::new(), true);
    for (index, letter) in inner.char_indices() {
        match letter {
            '(' => {
                if depth == 0 {
                    begins = index;
                }
                depth += 1;
            }
            ')' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(holds(&inner[begins..=index], payload));
                }
            }
            '|' if depth == 0 => all = false,
            _ => {}
        }
    }
    assert!(!parts.is_empty(), "{condition}");
    if all { parts.into_iter().all(|part| part) } else { parts.into_iter().any(|part| part) }
}

/// What a walk submitted, by position.
pub fn told(completed: &Completed) -> Vec<(Position, super::reference::Given)> {
    let answers = completed.answers.iter();
    answers.map(|(position, value)| (*position, super::reference::Given::of(value))).collect()
}
