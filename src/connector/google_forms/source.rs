//! What a definition says, whichever of the two shapes it came in; still in Google's terms.

use serde_json::Value;

/// A form as Google has it.
pub(super) struct Source {
    pub shape: Shape,
    pub id: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    pub email: Email,
    /// What Google says when a response is stored.
    pub confirmation: Option<String>,
    /// The form says itself that it takes no responses.
    pub closed: bool,
    pub items: Vec<Item>,
}

/// Where the definition is from, which decides what it cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The answer of `forms.get`.
    Api,
    /// The data of the public page.
    Page,
}

/// Whether the form asks for an e-mail address outside its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Email {
    No,
    /// The address of the Google account.
    Verified,
    /// A box at the top.
    Asked,
    /// The definition does not say.
    Unknown,
}

/// One entry of the form's list.
pub(super) struct Item {
    pub id: Option<String>,
    pub title: Option<String>,
    pub description: Option<String>,
    /// A picture stands beside it.
    pub picture: bool,
    pub body: Body,
}

pub(super) enum Body {
    /// A new section begins here. The target is where the section *before* leads when no option says otherwise (Apps
    /// Script, `PageBreakItem.setGoToPage`).
    Section {
        after_previous: Option<Goto>,
    },
    Text,
    Image {
        alternative: Option<String>,
    },
    Video {
        address: Option<String>,
        caption: Option<String>,
    },
    Question(Asked),
    Grid(Grid),
    /// A kind of item that this reader does not know, or no item at all.
    Unknown(String),
}

pub(super) struct Asked {
    pub id: Option<String>,
    pub required: bool,
    pub what: What,
    /// Rules of the page data, each `[kind, operator, arguments, message]`.
    pub checks: Vec<Value>,
    /// It has points, right answers or feedback.
    pub graded: bool,
}

pub(super) enum What {
    Text {
        paragraph: bool,
    },
    Choice {
        style: Style,
        options: Vec<Choosable>,
        shuffled: bool,
    },
    Scale {
        low: i64,
        high: i64,
        labels: [Option<String>; 2],
    },
    Rating {
        steps: i64,
        stars: bool,
    },
    Date {
        time: bool,
        year: bool,
    },
    Time {
        duration: bool,
    },
    File {
        types: Vec<String>,
        /// None when the definition does not tell.
        most: Option<u64>,
        bytes: Option<u64>,
    },
    /// Of a known kind, but this part makes no sense.
    Damaged(&'static str),
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Radio,
    Checkbox,
    Dropdown,
}

/// An option, or a column of a grid.
pub(super) struct Choosable {
    pub value: Option<String>,
    pub other: bool,
    pub picture: bool,
    pub goto: Option<Goto>,
}

/// Where the form goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goto {
    Next,
    Restart,
    Submit,
    /// The section whose page break has this id.
    Section(String),
    /// Something that this reader does not know.
    Unknown(String),
}

pub(super) struct Grid {
    pub rows: Vec<Row>,
    pub columns: Vec<Choosable>,
    pub multiple: bool,
    pub shuffled: bool,
    /// Rules of the whole grid, as in [`Asked::checks`].
    pub checks: Vec<Value>,
    pub graded: bool,
}

pub(super) struct Row {
    pub id: Option<String>,
    pub title: Option<String>,
    pub required: bool,
}
