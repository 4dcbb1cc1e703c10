//! The table's own shape.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::version::{ByVersion, Version};

/// Everything the table says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    #[serde(rename = "$about")]
    _about: serde::de::IgnoredAny,
    /// Which versions exist, and what can still be done with them.
    pub versions: Versions,
    /// Limits of a whole flow or screen.
    pub global: Global,
    /// The data model of a screen.
    pub data_model: DataModel,
    /// Actions by name.
    pub actions: BTreeMap<String, Action>,
    /// Objects that are no component: the flow, a screen, an option.
    pub objects: BTreeMap<String, Object>,
    /// Components by `type`.
    pub components: BTreeMap<String, Component>,
}

/// The properties of one object by name; every other is refused (`INVALID_PROPERTY_KEY`).
pub type Object = BTreeMap<String, Property>;

/// Flow JSON versions by state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Can be published and sent.
    pub publishable: Vec<Version>,
    /// Can be sent and opened, not published.
    pub frozen: Vec<Version>,
    /// Seen in Meta's client, not released.
    pub unreleased: Vec<Version>,
    /// The one to emit.
    pub recommended: Version,
    /// Data API versions.
    pub data_api: DataApi,
}

/// Data API versions, each with the lowest Flow JSON version that takes it.
pub type DataApi = BTreeMap<String, Version>;

/// Limits of a whole flow or screen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Global {
    /// Size of the whole document.
    pub flow_json_bytes: usize,
    /// Screens in one flow.
    pub screens_per_flow: usize,
    /// Components on one screen, those inside containers counted, the Form itself not.
    pub components_per_screen: usize,
    /// Screens that one screen may lead to.
    pub branches_per_screen: usize,
    /// How deep If may stand in If.
    pub if_nesting: usize,
    /// What a `complete` payload may carry in files.
    pub complete_action: CompleteAction,
    /// Components of one type on one screen.
    pub per_screen: BTreeMap<String, ByVersion<usize>>,
    /// Components of one type in one flow.
    pub per_flow: BTreeMap<String, usize>,
    /// Pairs of types that may not share a screen.
    pub exclusive_on_screen: Vec<(String, String)>,
}

/// What a `complete` payload may carry, counted from the declared maxima of the pickers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompleteAction {
    /// Files from 5.0.
    pub files: u64,
    /// Files before 5.0.
    pub files_below_5_0: u64,
    /// All files together, KiB.
    pub total_kib: u64,
}

/// The data model of a screen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataModel {
    /// Values of `type`.
    pub types: Vec<String>,
    /// Names that mean something else.
    pub reserved_names: Vec<String>,
    /// Characters that collide with references.
    pub avoid_in_names: String,
}

/// One action.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// Lowest Flow JSON version.
    pub since: Version,
    /// Its members.
    pub properties: Object,
}

/// One component.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Lowest Flow JSON version.
    pub since: Version,
    /// What it is there for.
    pub kind: Kind,
    /// Whether it may stand in a Form.
    pub in_form: Placement,
    /// Whether it may stand in an If.
    pub in_if: Placement,
    /// Whether it may stand in a Switch.
    pub in_switch: Placement,
    /// Pairs of properties of which the first may not be greater.
    #[serde(default)]
    pub ordered: Vec<(String, String)>,
    /// Its properties.
    pub properties: Object,
}

/// What a component is there for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Shows something.
    Display,
    /// Takes a value, which `${form.name}` reads.
    Input,
    /// Leads somewhere.
    Action,
    /// Holds other components.
    Container,
}

/// Whether a component may stand in a container.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Placement {
    /// In every version, or in none.
    Always(bool),
    /// From a version on.
    Since(Version),
}

impl Placement {
    /// Whether it may, in `version`.
    pub fn allows(self, version: Version) -> bool {
        match self {
            Self::Always(allowed) => allowed,
            Self::Since(since) => version >= since,
        }
    }
}

/// One property of an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// The types a literal may have.
    #[serde(rename = "type", deserialize_with = "one_or_many")]
    pub types: Vec<Type>,
    /// Further types of what a reference leads to.
    #[serde(default)]
    pub dynamic_types: Vec<Type>,
    /// The only value, of type `const`.
    pub value: Option<String>,
    /// Whether it must be there.
    pub required: Option<ByVersion<bool>>,
    /// Lower bound, by `unit`.
    pub min: Option<f64>,
    /// Upper bound, by `unit`.
    pub max: Option<ByVersion<f64>>,
    /// Upper bound that is disputed or only advised.
    pub safe_max: Option<f64>,
    /// Upper bound beside `label-variant: large`.
    pub max_when_large: Option<f64>,
    /// Upper bound when an option has an image.
    pub max_with_images: Option<usize>,
    /// Upper bound of each text in an array.
    pub item_max_chars: Option<usize>,
    /// What the bounds count.
    pub unit: Option<Unit>,
    /// Lowest version; filled with the component's where the table leaves it out.
    pub since: Option<Version>,
    /// Highest version.
    pub until: Option<Version>,
    /// Whether a reference or a nested expression may stand for the value.
    #[serde(default)]
    pub dynamic: bool,
    /// Array entries are literals even though the whole may be dynamic.
    #[serde(default)]
    pub static_items: bool,
    /// In range mode: an object `{start-date, end-date}`.
    #[serde(default)]
    pub range: bool,
    /// From this version a blank text is refused.
    pub non_blank_since: Option<Version>,
    /// The allowed values, of type `enum`.
    #[serde(default, rename = "enum")]
    pub choices: Vec<String>,
    /// How a text must be written.
    pub format: Option<Format>,
    /// Properties that must stand beside it.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Properties that may not stand beside it.
    #[serde(default)]
    pub conflicts: Vec<String>,
    /// Allowed only when the component stands in no Form.
    #[serde(default)]
    pub only_outside_form: bool,
    /// Allowed only in this mode of CalendarPicker.
    pub only_mode: Option<String>,
    /// Allowed only for these values of `input-type`.
    #[serde(default)]
    pub input_types: Vec<String>,
    /// The object that describes the array's items.
    pub items: Option<String>,
    /// The object that describes the value.
    pub object: Option<String>,
    /// The actions allowed here, with the version each came with.
    #[serde(default)]
    pub actions: ActionsBySince,
    /// What counts when it is left out.
    pub default: Option<DefaultValue>,
    /// False: seen in Meta's client, not in its reference.
    #[serde(default = "yes")]
    pub documented: bool,
    /// Where it comes from, or what is disputed.
    pub note: Option<String>,
}

/// Actions by name, with the version each came with.
pub type ActionsBySince = BTreeMap<String, Version>;

/// A default value.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum DefaultValue {
    /// A switch.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// The type of a property.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A text.
    String,
    /// Texts.
    #[serde(rename = "string[]")]
    Strings,
    /// A whole number.
    Integer,
    /// A whole number, also written as a text.
    IntegerText,
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// One of the choices.
    Enum,
    /// Some of the choices.
    #[serde(rename = "enum[]")]
    Enums,
    /// One fixed text.
    Const,
    /// An object.
    Object,
    /// An object whose values are texts.
    StringMap,
    /// An array of objects.
    Array,
    /// A date.
    Date,
    /// Dates.
    #[serde(rename = "date[]")]
    Dates,
    /// A picture in base64.
    Image,
    /// An address.
    Uri,
    /// An action.
    Action,
    /// Components.
    Components,
    /// Lists of components by case.
    Cases,
    /// Screens.
    Screens,
    /// Lists of screen ids by screen id.
    Routes,
    /// The condition of an If.
    Condition,
    /// A reference to a single value.
    Binding,
}

/// How a text must be written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `#RRGGBB`.
    Colour,
    /// An address that starts with `https://`.
    Https,
}

/// What a bound counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Characters of a text.
    Chars,
    /// Entries of an array or object.
    Items,
    /// The number itself.
    Value,
    /// Thousands of decoded bytes.
    #[serde(rename = "KB")]
    Kilobytes,
}

impl Property {
    /// Whether `version` knows the property.
    pub fn exists_in(&self, version: Version) -> bool {
        self.since.is_none_or(|since| version >= since) && self.until.is_none_or(|until| version <= until)
    }

    /// Whether the property must be there in `version`.
    pub fn required_in(&self, version: Version) -> bool {
        self.required.is_some_and(|required| required.at(version))
    }

    /// The upper bound in `version`.
    pub fn max_at(&self, version: Version) -> Option<f64> {
        self.max.map(|max| max.at(version))
    }
}

impl Limits {
    /// Gives each property of a component the component's version where the table leaves the property's out.
    pub(super) fn inherit_since(&mut self) {
        for component in self.components.values_mut() {
            for property in component.properties.values_mut() {
                property.since.get_or_insert(component.since);
            }
        }
    }
}

fn yes() -> bool {
    true
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Type>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Type),
        Many(Vec<Type>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
