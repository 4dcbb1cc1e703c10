//! The neutral form of a definition.

use std::collections::{BTreeMap, BTreeSet};

use super::kinds::is_required;
use super::navigation::Section;
use super::plain;
use super::source::{Asked, Body, Email, Goto, Grid, Item, Shape, Source};
use crate::connector::Note;
use crate::form::{Ending, Form, Kind, Page, Question};

/// The key of the e-mail address that Google asks outside the items: what its own page calls the answer.
const EMAIL: &str = "emailAddress";

#[derive(Default)]
pub(super) struct Builder {
    pub notes: Vec<Note>,
    /// Keys of questions and rows.
    keys: BTreeSet<String>,
    /// Ids of pages.
    pages: BTreeSet<String>,
    /// Questions whose id Google did not give, in its own words.
    strange: Vec<String>,
    /// Questions so far, for those without a text.
    asked: usize,
}

impl Builder {
    pub(super) fn form(&mut self, source: &Source) -> Form {
        let title = source.title.as_deref().map_or_else(|| "Google form".to_owned(), plain);
        let mut sections = Vec::new();
        self.open(None, "start", None, &mut sections);
        self.email(source.email, &mut sections);
        for item in &source.items {
            self.item(item, &mut sections);
        }
        self.seal(&mut sections);
        self.unknown(source, &title, sections.len() > 1);
        let pages = self.navigate(sections);
        Form {
            id: source.id.clone().unwrap_or_else(|| title.clone()),
            tool: "google-forms".to_owned(),
            locale: "en".to_owned(),
            description: source.description.as_deref().map(plain),
            default_country: None,
            time_zone: None,
            pages,
            hidden: Vec::new(),
            variables: Vec::new(),
            endings: source
                .confirmation
                .iter()
                .map(|said| Ending {
                    key: "confirmation".to_owned(),
                    title: plain(said),
                    description: None,
                    link: None,
                })
                .collect(),
            translations: BTreeMap::new(),
            title,
        }
    }

    /// What the definition cannot tell; it is named and never guessed.
    fn unknown(&mut self, source: &Source, title: &str, is_divided: bool) {
        let mut say = |at: &str, what: &str| self.notes.push(Note::changed(at, title, what));
        say(
            "form.locale",
            "Google does not tell in which language a form is written; the chat's own words are English",
        );
        if source.closed {
            say("form.closed", "the form takes no responses at present");
        }
        match source.shape {
            Shape::Api => {
                say(
                    "form.validation",
                    "unknown: Google's API does not tell the rules for answers (numbers, lengths, expressions, counts of boxes); they are not enforced here. The public page has them",
                );
                say("form.confirmation", "unknown: Google's API does not tell what is said at the end");
                if is_divided {
                    say(
                        "form.sections",
                        "unknown: Google's API does not tell where a section leads when no option says so; here it leads to the next one. The public page has it",
                    );
                }
            }
            Shape::Page => say(
                "form.page",
                "read from the public page, whose data Google does not document: compare rules and sections with the form",
            ),
        }
        if !self.strange.is_empty() {
            let what = format!(
                "answers cannot be put back into the Google form where its questions have no id of Google's: {}",
                self.strange.join(", ")
            );
            self.changed("form.ids", title, &what);
        }
    }

    fn email(&mut self, email: Email, sections: &mut [Section]) {
        let at = format!("question.{EMAIL}");
        match email {
            Email::No => return,
            Email::Unknown => {
                return self.changed("form.email", "Email", "unknown: whether the form collects e-mail addresses is not told");
            }
            Email::Verified => self.changed(
                &at,
                "Email",
                "Google takes the address from the person's account; here it is asked, and nobody has verified it",
            ),
            Email::Asked => self.changed(&at, "Email", "the box for the e-mail address is a question like the others"),
        }
        self.keys.insert(EMAIL.to_owned());
        let kind = Kind::Email { blocked_domains: Vec::new() };
        let question = Question { required: true, ..bare(EMAIL.to_owned(), "Email".to_owned(), None, kind) };
        self.put(sections, question);
    }

    fn item(&mut self, item: &Item, sections: &mut Vec<Section>) {
        match &item.body {
            Body::Section { after_previous } => self.section(item, after_previous.clone(), sections),
            Body::Question(asked) => self.question(item, asked, sections),
            Body::Grid(grid) => self.grid_item(item, grid, sections),
            Body::Text => self.statement(item, None, None, sections),
            Body::Image { alternative } => {
                self.statement(
                    item,
                    alternative.as_deref(),
                    Some("its picture is not shown in the chat"),
                    sections,
                );
            }
            Body::Video { address, caption } => {
                let said = [item.description.as_deref(), caption.as_deref(), address.as_deref()];
                let said: Vec<&str> = said.into_iter().flatten().collect();
                let shown = Item {
                    id: item.id.clone(),
                    title: item.title.clone(),
                    description: (!said.is_empty()).then(|| said.join("\n\n")),
                    picture: false,
                    body: Body::Text,
                };
                self.statement(
                    &shown,
                    None,
                    Some("its video is not played in the chat; the address is shown"),
                    sections,
                );
            }
            Body::Unknown(kind) => {
                let key = item.id.clone().unwrap_or_else(|| format!("item-{}", self.asked + 1));
                let title = item.title.as_deref().unwrap_or_default();
                let what = format!("“{kind}” is not known or damaged; it is left out");
                self.lost(&format!("question.{key}"), title, &what);
            }
        }
    }

    fn section(&mut self, item: &Item, after_previous: Option<Goto>, sections: &mut Vec<Section>) {
        if let Some(previous) = sections.last_mut() {
            previous.target = after_previous;
        }
        self.seal(sections);
        let base = item.id.clone().unwrap_or_else(|| format!("section-{}", sections.len()));
        self.open(item.id.clone(), &base, Some(item), sections);
    }

    fn open(&mut self, id: Option<String>, base: &str, item: Option<&Item>, sections: &mut Vec<Section>) {
        let text = |text: Option<&String>| text.map(|text| plain(text));
        let page = Page {
            id: unique(&mut self.pages, base),
            title: text(item.and_then(|item| item.title.as_ref())),
            description: text(item.and_then(|item| item.description.as_ref())),
            visible_if: None,
            questions: Vec::new(),
            rules: Vec::new(),
        };
        sections.push(Section { id, page, ways: Vec::new(), target: None });
    }

    /// A section without questions still shows its text, so that text becomes a statement.
    fn seal(&mut self, sections: &mut [Section]) {
        let Some(page) = sections.last_mut().map(|section| &mut section.page) else { return };
        let (title, help) = match (&page.title, &page.description) {
            _ if !page.questions.is_empty() => return,
            (None, None) => return,
            (Some(title), help) => (title.clone(), help.clone()),
            (None, Some(help)) => (help.clone(), None),
        };
        (page.title, page.description) = (None, None);
        let key = unique(&mut self.keys, &page.id);
        page.questions.push(bare(key, title, help, Kind::Statement));
    }

    fn put(&self, sections: &mut [Section], question: Question) {
        if let Some(section) = sections.last_mut() {
            section.page.questions.push(question);
        }
    }

    fn statement(
        &mut self,
        item: &Item,
        instead: Option<&str>,
        note: Option<&str>,
        sections: &mut [Section],
    ) {
        let key = self.key_of(item.id.as_deref(), "text");
        let at = format!("question.{key}");
        let (title, help) = match (item.title.as_deref(), item.description.as_deref()) {
            (Some(title), help) => (Some(title), help),
            (None, Some(help)) => (Some(help), None),
            (None, None) => (instead, None),
        };
        let Some(title) = title else {
            return self.lost(&at, "", note.unwrap_or("it has no text; it is left out"));
        };
        let title = plain(title);
        if let Some(note) = note {
            self.changed(&at, &title, note);
        }
        let question = bare(key, title, help.map(plain), Kind::Statement);
        self.put(sections, question);
    }

    fn question(&mut self, item: &Item, asked: &Asked, sections: &mut [Section]) {
        let title = self.title(item);
        let key = self.key(asked.id.as_deref(), &fallback(item, self.asked), &title);
        let at = format!("question.{key}");
        self.named(item, &at, &title);
        let (kind, ways) = self.kind(&key, &title, &asked.what);
        let kind = self.checked(&at, &title, kind, &asked.checks);
        self.aside(&at, &title, item.picture, asked.graded);
        let help = item.description.as_deref().map(plain);
        let question = Question { required: asked.required, ..bare(key.clone(), title.clone(), help, kind) };
        self.put(sections, question);
        if let Some(section) = sections.last_mut() {
            Builder::keep(&mut section.ways, &key, &title, ways);
        }
    }

    fn grid_item(&mut self, item: &Item, grid: &Grid, sections: &mut [Section]) {
        let title = self.title(item);
        let key = self.key_of(item.id.as_deref(), &fallback(item, self.asked));
        let at = format!("question.{key}");
        self.named(item, &at, &title);
        let kind = self.grid(&key, &title, grid);
        let kind = self.checked(&at, &title, kind, &grid.checks);
        self.aside(&at, &title, item.picture, grid.graded);
        let help = item.description.as_deref().map(plain);
        let question = Question { required: is_required(&grid.rows), ..bare(key, title, help, kind) };
        self.put(sections, question);
    }

    /// What stands beside a question and is not carried.
    fn aside(&mut self, at: &str, title: &str, picture: bool, graded: bool) {
        if picture {
            self.changed(at, title, "its picture is not shown in the chat");
        }
        if graded {
            self.changed(
                at,
                title,
                "its points, right answers and feedback stay with Google and are not shown in the chat",
            );
        }
    }

    fn title(&mut self, item: &Item) -> String {
        self.asked += 1;
        item.title.as_deref().map_or_else(|| format!("Question {}", self.asked), plain)
    }

    fn named(&mut self, item: &Item, at: &str, title: &str) {
        if item.title.is_none() {
            self.changed(at, title, "the question has no text and is called by its number");
        }
    }

    /// A key for a question or row that is answered; Google's id, so that its answer can be put back.
    pub(super) fn key(&mut self, id: Option<&str>, fallback: &str, title: &str) -> String {
        let base = id.map_or(fallback, str::trim);
        if id.is_none() || u32::from_str_radix(base, 16).is_err() {
            self.strange.push(format!("“{base}”"));
        }
        let key = unique(&mut self.keys, base);
        if key != base {
            let what = "another question has the same id; this one is told apart by a number, and its answers cannot be put back";
            self.changed(&format!("question.{key}"), title, what);
        }
        key
    }

    /// A key for something whose key is not needed to put answers back.
    fn key_of(&mut self, id: Option<&str>, fallback: &str) -> String {
        unique(&mut self.keys, id.map_or(fallback, str::trim))
    }

    pub(super) fn lost(&mut self, at: &str, title: &str, text: &str) {
        self.notes.push(Note::lost(at, title, text));
    }

    pub(super) fn changed(&mut self, at: &str, title: &str, text: &str) {
        self.notes.push(Note::changed(at, title, text));
    }
}

fn fallback(item: &Item, number: usize) -> String {
    item.id.clone().unwrap_or_else(|| format!("question-{number}"))
}

fn unique(taken: &mut BTreeSet<String>, base: &str) -> String {
    let mut name = base.to_owned();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{base}-{number}");
    }
    name
}

fn bare(key: String, title: String, help: Option<String>, kind: Kind) -> Question {
    Question {
        key,
        title,
        help,
        kind,
        required: false,
        default: None,
        visible_if: None,
        personal: false,
        group: None,
        rules: Vec::new(),
    }
}
