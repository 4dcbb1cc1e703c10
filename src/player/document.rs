//! A Flow JSON document as a client reads it: leniently, because validating a document is not the player's business.
//!
//! The document is read from JSON and not from the compiler's types, so the player walks any flow, not only ours.

use serde_json::{Map, Value};

/// Why a document cannot be walked at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A member that every flow has is missing or has another type.
    #[error("`{0}` is missing or has the wrong type")]
    Member(&'static str),
    /// Containers nest deeper than a client would follow.
    #[error("components are nested too deeply")]
    Depth,
}

/// A flow.
#[derive(Debug, Clone)]
pub struct Document {
    /// `data_api_version`, when the flow has an endpoint.
    pub data_api_version: Option<String>,
    /// Screens in document order; never empty.
    pub screens: Vec<ScreenDefinition>,
    /// Forward edges; derived from `navigate` actions when the document has no routing model (reference 4.4).
    pub routing_model: Vec<(String, Vec<String>)>,
}

/// One screen of the document.
#[derive(Debug, Clone)]
pub struct ScreenDefinition {
    /// The id that requests and answers name.
    pub id: String,
    /// The title before its references are resolved.
    pub title: Value,
    /// The declared data, by name: JSON-Schema-like types (reference 4.5).
    pub data: Map<String, Value>,
    /// Whether the flow may end here.
    pub terminal: bool,
    /// Whether going back from this screen asks the endpoint.
    pub refresh_on_back: bool,
    /// The layout's children.
    pub children: Vec<Node>,
}

/// A component or a container of components.
#[derive(Debug, Clone)]
pub enum Node {
    /// A leaf.
    Component(Component),
    /// `Form`.
    Form {
        /// `init-values`, `error-messages`.
        properties: Map<String, Value>,
        /// What it holds.
        children: Vec<Node>,
    },
    /// `If`.
    If {
        /// The condition's expression.
        condition: Value,
        /// Shown when it holds.
        then: Vec<Node>,
        /// Shown when it does not.
        otherwise: Vec<Node>,
    },
    /// `Switch`.
    Switch {
        /// The binding that chooses.
        value: Value,
        /// The branches by value.
        cases: Vec<(String, Vec<Node>)>,
    },
}

/// A leaf of the component tree with its properties unresolved.
#[derive(Debug, Clone)]
pub struct Component {
    /// `type`.
    pub kind: String,
    /// Every other member.
    pub properties: Map<String, Value>,
}

/// What a tap does (reference 4.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Which kind.
    pub kind: ActionKind,
    /// The payload before its references are resolved.
    pub payload: Value,
}

/// The five actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// Goes to another screen without asking.
    Navigate {
        /// The next screen.
        next: String,
    },
    /// Asks the endpoint.
    DataExchange,
    /// Ends the flow.
    Complete,
    /// Overwrites data of this screen.
    UpdateData,
    /// Opens a page outside.
    OpenUrl {
        /// The page.
        url: String,
    },
}

impl Document {
    /// Reads a document.
    pub fn read(json: &Value) -> Result<Self, Error> {
        let screens = json.get("screens").and_then(Value::as_array).ok_or(Error::Member("screens"))?;
        let screens: Vec<_> = screens.iter().map(ScreenDefinition::read).collect::<Result<_, _>>()?;
        if screens.is_empty() {
            return Err(Error::Member("screens"));
        }
        let routing_model = match json.get("routing_model").and_then(Value::as_object) {
            Some(model) => model.iter().map(|(id, targets)| (id.clone(), strings(targets))).collect(),
            None => screens.iter().map(|screen| (screen.id.clone(), screen.navigate_targets())).collect(),
        };
        let data_api_version = json.get("data_api_version").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { data_api_version, screens, routing_model })
    }

    /// The screen with this id.
    pub fn screen(&self, id: &str) -> Option<&ScreenDefinition> {
        self.screens.iter().find(|screen| screen.id == id)
    }

    /// Whether the routing model has the edge `from` → `to`.
    pub fn has_edge(&self, from: &str, to: &str) -> bool {
        self.routing_model.iter().any(|(id, targets)| id == from && targets.iter().any(|target| target == to))
    }

    /// Whether the routing model knows this screen.
    pub fn routes(&self, id: &str) -> bool {
        self.routing_model.iter().any(|(known, _)| known == id)
    }

    /// Whether the screen has no inbound edge.
    pub fn is_entry(&self, id: &str) -> bool {
        self.routes(id) && !self.routing_model.iter().any(|(from, _)| self.has_edge(from, id))
    }

    /// The first entry screen: `FIRST_ENTRY_SCREEN` of a flow message.
    pub fn first_entry(&self) -> Option<&ScreenDefinition> {
        self.screens.iter().find(|screen| self.is_entry(&screen.id))
    }
}

impl ScreenDefinition {
    fn read(json: &Value) -> Result<Self, Error> {
        let id = json.get("id").and_then(Value::as_str).ok_or(Error::Member("screens[].id"))?;
        let children = json.pointer("/layout/children").and_then(Value::as_array);
        let flag = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            id: id.to_owned(),
            title: json.get("title").cloned().unwrap_or_default(),
            data: json.get("data").and_then(Value::as_object).cloned().unwrap_or_default(),
            terminal: flag("terminal"),
            refresh_on_back: flag("refresh_on_back"),
            children: nodes(children.ok_or(Error::Member("screens[].layout.children"))?, 0)?,
        })
    }

    /// The declared fields: a field called `required` is a JSON-Schema list and not a field (reference 4.5).
    pub fn declared(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.data.iter().filter(|(name, _)| *name != "required")
    }

    /// Whether the screen shows a list of links instead of a form.
    pub fn is_navigation_list(&self) -> bool {
        self.children
            .iter()
            .any(|node| matches!(node, Node::Component(leaf) if leaf.kind == "NavigationList"))
    }

    fn navigate_targets(&self) -> Vec<String> {
        let mut targets = Vec::new();
        for node in &self.children {
            node.visit(&mut |component| component.navigate_targets(&mut targets));
        }
        targets.dedup();
        targets
    }
}

impl Node {
    fn visit(&self, visitor: &mut impl FnMut(&Component)) {
        let children: Vec<&Node> = match self {
            Self::Component(component) => return visitor(component),
            Self::Form { children, .. } => children.iter().collect(),
            Self::If { then, otherwise, .. } => then.iter().chain(otherwise).collect(),
            Self::Switch { cases, .. } => cases.iter().flat_map(|(_, nodes)| nodes).collect(),
        };
        children.into_iter().for_each(|child| child.visit(visitor));
    }
}

impl Component {
    fn navigate_targets(&self, targets: &mut Vec<String>) {
        let items = self.properties.get("list-items").and_then(Value::as_array).into_iter().flatten();
        let own = self.properties.get("on-click-action");
        for action in items.filter_map(|item| item.get("on-click-action")).chain(own) {
            if let Some(Action { kind: ActionKind::Navigate { next }, .. }) = Action::read(action) {
                targets.push(next);
            }
        }
    }
}

impl Action {
    /// Reads an action; `None` when it is none that this client knows.
    pub fn read(json: &Value) -> Option<Self> {
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let kind = match json.get("name")?.as_str()? {
            "navigate" => ActionKind::Navigate { next: text("/next/name")? },
            "data_exchange" => ActionKind::DataExchange,
            "complete" => ActionKind::Complete,
            "update_data" => ActionKind::UpdateData,
            "open_url" => ActionKind::OpenUrl { url: text("/url")? },
            _ => return None,
        };
        let payload = json.get("payload").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        Some(Self { kind, payload })
    }
}

/// Deeper than any valid document: a Form, three Ifs and a Switch.
const MAX_DEPTH: usize = 16;

fn nodes(json: &[Value], depth: usize) -> Result<Vec<Node>, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    json.iter().map(|node| read_node(node, depth)).collect()
}

fn read_node(json: &Value, depth: usize) -> Result<Node, Error> {
    let children = |name: &str| {
        let children = json.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        nodes(children, depth + 1)
    };
    let mut properties = json.as_object().cloned().ok_or(Error::Member("children[]"))?;
    let kind = properties.shift_remove("type").and_then(|kind| kind.as_str().map(str::to_owned));
    let kind = kind.ok_or(Error::Member("children[].type"))?;
    Ok(match kind.as_str() {
        "Form" => Node::Form { children: children("children")?, properties },
        "If" => Node::If {
            condition: properties.get("condition").cloned().ok_or(Error::Member("If.condition"))?,
            then: children("then")?,
            otherwise: children("else")?,
        },
        "Switch" => {
            let cases =
                properties.get("cases").and_then(Value::as_object).ok_or(Error::Member("Switch.cases"))?;
            let read = |(case, branch): (&String, &Value)| {
                let branch = branch.as_array().ok_or(Error::Member("Switch.cases[]"))?;
                Ok((case.clone(), nodes(branch, depth + 1)?))
            };
            Node::Switch {
                value: properties.get("value").cloned().ok_or(Error::Member("Switch.value"))?,
                cases: cases.iter().map(read).collect::<Result<_, Error>>()?,
            }
        }
        _ => Node::Component(Component { kind, properties }),
    })
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
