//! A screen as the person sees it: the visible components with every reference resolved.
//!
//! Rendering is pure. What cannot be resolved becomes a [`Problem`] beside the screen and never stops the walk, as a phone
//! shows what it can.

mod input;
mod text;

use serde_json::{Map, Value};

use super::document::{Action, Component, Node, ScreenDefinition};
use super::expression::{self, Scope, evaluate, evaluate_condition};

pub use input::{Choice, ChoiceKind, Input, InputKind, TextType};

/// A screen on the phone.
#[derive(Debug, Clone, PartialEq)]
pub struct Screen {
    /// The id that the endpoint uses.
    pub id: String,
    /// The title in the bar.
    pub title: String,
    /// The visible components from top to bottom; the footer comes last.
    pub components: Vec<Rendered>,
    /// The endpoint's `error_message`, shown as a snackbar.
    pub snackbar: Option<String>,
    /// What could not be resolved.
    pub problems: Vec<Problem>,
}

/// A property that could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The component and property.
    pub place: String,
    /// Why.
    pub error: expression::Error,
}

/// A visible component.
#[derive(Debug, Clone, PartialEq)]
pub enum Rendered {
    /// Any of the text components.
    Text {
        /// Which one.
        style: TextStyle,
        /// Its lines.
        text: String,
    },
    /// Something that takes a value.
    Input(Box<Input>),
    /// `EmbeddedLink`.
    Link {
        /// What it reads.
        text: String,
        /// What it does.
        action: Option<Action>,
    },
    /// `Image`, or one image of a carousel.
    Image {
        /// What a screen reader says.
        alt_text: String,
    },
    /// `NavigationList`.
    NavigationList {
        /// Its name.
        name: String,
        /// Its entries.
        items: Vec<NavigationItem>,
    },
    /// `Footer`.
    Footer(Footer),
}

/// The text components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextStyle {
    /// `TextHeading`.
    Heading,
    /// `TextSubheading`.
    Subheading,
    /// `TextBody`.
    Body,
    /// `TextCaption`.
    Caption,
    /// `RichText`.
    Rich,
}

impl TextStyle {
    /// The length that the component shows (reference 4.8); RichText has no documented limit.
    pub fn max_chars(self) -> usize {
        match self {
            Self::Heading | Self::Subheading => 80,
            Self::Body => 4096,
            Self::Caption => 409,
            Self::Rich => usize::MAX,
        }
    }
}

/// An entry of a navigation list.
#[derive(Debug, Clone, PartialEq)]
pub struct NavigationItem {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its own action, or the list's.
    pub action: Option<Action>,
}

/// The button at the bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Footer {
    /// What it reads.
    pub label: String,
    /// The captions beside or above it.
    pub captions: Vec<String>,
    /// Whether it can be tapped.
    pub enabled: bool,
    /// What it does.
    pub action: Option<Action>,
}

impl Screen {
    /// Resolves a screen.
    pub fn render(definition: &ScreenDefinition, scope: Scope<'_>, snackbar: Option<&str>) -> Self {
        let mut renderer = Renderer::new(scope);
        let title = renderer.resolve("screen.title", &definition.title).map(|title| plain(&title));
        renderer.nodes(&definition.children, None);
        let mut components = renderer.components;
        components.sort_by_key(|component| matches!(component, Rendered::Footer(_)));
        Self {
            id: definition.id.clone(),
            title: title.unwrap_or_default(),
            components,
            snackbar: snackbar.map(str::to_owned),
            problems: renderer.problems,
        }
    }

    /// The inputs from top to bottom.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.components.iter().filter_map(|component| match component {
            Rendered::Input(input) => Some(&**input),
            _ => None,
        })
    }

    /// The input with this name, when it is visible.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs().find(|input| input.name == name)
    }

    /// The footer, when there is one.
    pub fn footer(&self) -> Option<&Footer> {
        self.components.iter().find_map(|component| match component {
            Rendered::Footer(footer) => Some(footer),
            _ => None,
        })
    }

    /// What is shown as wrong: the snackbar, then the messages at the inputs.
    pub fn errors(&self) -> impl Iterator<Item = &str> {
        self.snackbar.as_deref().into_iter().chain(self.inputs().filter_map(|input| input.error.as_deref()))
    }
}

/// What a Form says about the inputs inside it.
#[derive(Debug, Clone, Default)]
struct FormContext {
    error_messages: Map<String, Value>,
    init_values: Map<String, Value>,
}

struct Renderer<'a> {
    scope: Scope<'a>,
    components: Vec<Rendered>,
    problems: Vec<Problem>,
    /// Texts since the last input: what the next input's question is likely to be.
    heard: Vec<String>,
    /// Initial values of the visible inputs by name.
    init_values: Map<String, Value>,
}

/// The initial values that a screen would give to its inputs (`init-values` of the Form, `init-value` of a component).
pub fn init_values(definition: &ScreenDefinition, scope: Scope<'_>) -> Map<String, Value> {
    let mut renderer = Renderer::new(scope);
    renderer.nodes(&definition.children, None);
    renderer.init_values
}

impl<'a> Renderer<'a> {
    fn new(scope: Scope<'a>) -> Self {
        Self {
            scope,
            components: Vec::new(),
            problems: Vec::new(),
            heard: Vec::new(),
            init_values: Map::new(),
        }
    }

    fn nodes(&mut self, nodes: &[Node], form: Option<&FormContext>) {
        for node in nodes {
            match node {
                Node::Component(component) => self.component(component, form),
                Node::Form { properties, children } => {
                    let context = FormContext {
                        error_messages: self.object("Form", properties, "error-messages"),
                        init_values: self.object("Form", properties, "init-values"),
                    };
                    self.nodes(children, Some(&context));
                }
                Node::If { condition, then, otherwise } => {
                    let verdict = evaluate_condition(condition, self.scope);
                    let verdict = verdict.unwrap_or_else(|error| self.problem("If.condition", error));
                    self.nodes(if verdict { then } else { otherwise }, form);
                }
                Node::Switch { value, cases } => {
                    let value =
                        self.resolve("Switch.value", value).map(|value| plain(&value)).unwrap_or_default();
                    let named = |name: &str| cases.iter().find(|(case, _)| case == name);
                    if let Some((_, branch)) = named(&value).or_else(|| named("default")) {
                        self.nodes(branch, form);
                    }
                }
            }
        }
    }

    fn component(&mut self, component: &Component, form: Option<&FormContext>) {
        let properties = &component.properties;
        let kind = component.kind.as_str();
        let name = properties.get("name").and_then(Value::as_str).unwrap_or_default();
        // Actions hold payloads that are resolved when they are tapped, not before.
        let mut resolved = Map::new();
        for (property, value) in properties.iter().filter(|(property, _)| !property.ends_with("-action")) {
            let place = format!("{kind} {name}.{property}");
            let value = match value {
                Value::Array(items) if matches!(property.as_str(), "data-source" | "list-items") => {
                    Some(items.iter().map(|item| self.item(&place, item)).collect())
                }
                value => self.resolve(&place, value),
            };
            resolved.extend(value.map(|value| (property.clone(), value)));
        }
        if resolved.get("visible") == Some(&Value::Bool(false)) {
            return;
        }
        let view = Properties { resolved: &resolved, raw: properties };
        let style = match kind {
            "TextHeading" => Some(TextStyle::Heading),
            "TextSubheading" => Some(TextStyle::Subheading),
            "TextBody" => Some(TextStyle::Body),
            "TextCaption" => Some(TextStyle::Caption),
            "RichText" => Some(TextStyle::Rich),
            _ => None,
        };
        let rendered = match (style, kind) {
            (Some(style), _) => {
                let text = resolved.get("text").map(plain).unwrap_or_default();
                self.heard.push(text.clone());
                Rendered::Text { style, text }
            }
            (_, "EmbeddedLink") => {
                Rendered::Link { text: view.text("text"), action: view.action("on-click-action") }
            }
            (_, "Image") => Rendered::Image { alt_text: view.text("alt-text") },
            (_, "ImageCarousel") => {
                let images = resolved.get("images").and_then(Value::as_array).into_iter().flatten();
                let alt_text = |image: &Value| image.get("alt-text").map(plain).unwrap_or_default();
                self.components.extend(images.map(|image| Rendered::Image { alt_text: alt_text(image) }));
                return;
            }
            (_, "NavigationList") => {
                Rendered::NavigationList { name: name.to_owned(), items: view.navigation_items() }
            }
            (_, "Footer") => Rendered::Footer(Footer {
                label: view.text("label"),
                captions: ["left-caption", "center-caption", "right-caption"]
                    .iter()
                    .filter_map(|property| resolved.get(*property).map(plain))
                    .collect(),
                enabled: resolved.get("enabled") != Some(&Value::Bool(false)),
                action: view.action("on-click-action"),
            }),
            _ => {
                let Some(mut input) = Input::read(kind, &view) else { return };
                input.question = std::mem::take(&mut self.heard);
                input.value = self.scope.current.values.get(&input.name).cloned();
                let error = form.and_then(|form| form.error_messages.get(&input.name));
                let error = error.or_else(|| resolved.get("error-message")).map(plain);
                input.error = error.filter(|error| !error.is_empty());
                let initial = form.and_then(|form| form.init_values.get(&input.name));
                if let Some(initial) = initial.or_else(|| resolved.get("init-value")) {
                    self.init_values.insert(input.name.clone(), initial.clone());
                }
                Rendered::Input(Box::new(input))
            }
        };
        self.components.push(rendered);
    }

    fn resolve(&mut self, place: &str, value: &Value) -> Option<Value> {
        evaluate(value, self.scope).unwrap_or_else(|error| self.problem(place, error))
    }

    /// An entry of a list with its own actions left unresolved.
    fn item(&mut self, place: &str, item: &Value) -> Value {
        let Some(members) = item.as_object() else { return item.clone() };
        let mut resolved = Map::new();
        for (name, member) in members {
            let is_action = name.ends_with("-action");
            let member = if is_action { Some(member.clone()) } else { self.resolve(place, member) };
            resolved.extend(member.map(|member| (name.clone(), member)));
        }
        Value::Object(resolved)
    }

    fn object(&mut self, place: &str, properties: &Map<String, Value>, name: &str) -> Map<String, Value> {
        let value = properties.get(name).and_then(|value| self.resolve(&format!("{place}.{name}"), value));
        value.and_then(|value| value.as_object().cloned()).unwrap_or_default()
    }

    fn problem<T: Default>(&mut self, place: &str, error: expression::Error) -> T {
        self.problems.push(Problem { place: place.to_owned(), error });
        T::default()
    }
}

/// A component's properties: resolved ones for reading, raw ones for actions.
struct Properties<'a> {
    resolved: &'a Map<String, Value>,
    raw: &'a Map<String, Value>,
}

impl Properties<'_> {
    fn text(&self, name: &str) -> String {
        self.resolved.get(name).map(plain).unwrap_or_default()
    }

    fn action(&self, name: &str) -> Option<Action> {
        self.raw.get(name).and_then(Action::read)
    }

    fn navigation_items(&self) -> Vec<NavigationItem> {
        let own = self.action("on-click-action");
        let items = self.resolved.get("list-items").and_then(Value::as_array).into_iter().flatten();
        let read = |item: &Value| NavigationItem {
            id: item.get("id").map(plain).unwrap_or_default(),
            title: item.pointer("/main-content/title").map(plain).unwrap_or_default(),
            action: item.get("on-click-action").and_then(Action::read).or_else(|| own.clone()),
        };
        items.map(read).collect()
    }
}

/// A value as a text component shows it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().map(plain).collect::<Vec<_>>().join("\n"),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
