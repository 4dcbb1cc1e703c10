//! What changed between two definitions of one form, and what that means for people, destinations and stored answers.
//!
//! Invariant: pure, and complete: two forms without a change between them are equal, translations included. What is not
//! known to be harmless counts as breaking.
//!
//! *Cosmetic* changes alter what is read, never what is stored. After a *compatible* one every answer that was given to the
//! old form is still a valid answer of the new one. Anything else is *breaking*: an answer on its way, a mapping or a rule
//! of the tool may not fit any more, so a person has to look first (conversion notes, "Form changed later").

mod question;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::form::{Condition, Form, Page, Rule};

/// What a change means. The order is the severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// What is read changes, what is stored does not.
    Cosmetic,
    /// Answers to the old form are answers to the new one.
    Compatible,
    /// They may not be.
    Breaking,
}

impl Impact {
    /// Its name in configuration, lists and diffs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosmetic => "cosmetic",
            Self::Compatible => "compatible",
            Self::Breaking => "breaking",
        }
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it means.
    pub impact: Impact,
    /// Where: `question.KEY`, `question.KEY.option.ID`, `page.ID`, `ending.KEY`, `hidden.KEY`, `variable.NAME`, `form`.
    pub at: String,
    /// The text people know it by.
    pub title: String,
    /// What changed, in plain words.
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{:<10} {} ({title}): {}", self.impact, self.at, self.text)
    }
}

/// All changes from one definition to another: the severest first, those alike in the order of the new form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The changes.
    pub changes: Vec<Change>,
}

impl Drift {
    /// The severest change; `None` if nothing changed.
    #[must_use]
    pub fn impact(&self) -> Option<Impact> {
        self.changes.iter().map(|change| change.impact).max()
    }

    /// How many changes there are of each impact, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = [Impact::Breaking, Impact::Compatible, Impact::Cosmetic].map(|impact| {
            let count = self.changes.iter().filter(|change| change.impact == impact).count();
            (count > 0).then(|| format!("{count} {impact}"))
        });
        let parts: Vec<String> = counted.into_iter().flatten().collect();
        if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
    }
}

/// Collects changes of one thing.
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, impact: Impact, at: impl Into<String>, title: &str, text: impl Into<String>) {
        self.0.push(Change { impact, at: at.into(), title: title.to_owned(), text: text.into() });
    }

    /// Notes that two values differ, if they do.
    fn differ<T: PartialEq>(&mut self, impact: Impact, at: &str, title: &str, what: &str, old: &T, new: &T) {
        if old != new {
            self.add(impact, at, title, format!("{what} changed"));
        }
    }
}

/// What is different in `new`.
#[must_use]
pub fn compare(old: &Form, new: &Form) -> Drift {
    let mut changes = Changes(Vec::new());
    form(&mut changes, old, new);
    pages(&mut changes, old, new);
    questions(&mut changes, old, new);
    hidden(&mut changes, old, new);
    variables(&mut changes, old, new);
    endings(&mut changes, old, new);
    changes.differ(
        Impact::Cosmetic,
        "form.translations",
        &new.title,
        "translations",
        &old.translations,
        &new.translations,
    );
    changes.0.sort_by_key(|change| std::cmp::Reverse(change.impact));
    Drift { changes: changes.0 }
}

fn form(changes: &mut Changes, old: &Form, new: &Form) {
    use Impact::{Breaking, Compatible, Cosmetic};
    let title = &new.title;
    changes.differ(Breaking, "form.id", title, "the form's id", &old.id, &new.id);
    changes.differ(Breaking, "form.tool", title, "the tool", &old.tool, &new.tool);
    changes.differ(Cosmetic, "form.title", title, "the title", &old.title, &new.title);
    changes.differ(
        Cosmetic,
        "form.description",
        title,
        "the description",
        &old.description,
        &new.description,
    );
    changes.differ(Compatible, "form.locale", title, "the language", &old.locale, &new.locale);
    let (was, is) = (&old.default_country, &new.default_country);
    changes.differ(Compatible, "form.default_country", title, "the country of phone numbers", was, is);
    // The same answer would mean another moment.
    changes.differ(Breaking, "form.time_zone", title, "the time zone", &old.time_zone, &new.time_zone);
}

fn pages(changes: &mut Changes, old: &Form, new: &Form) {
    use Impact::{Compatible, Cosmetic};
    let before: BTreeMap<&str, &Page> = old.pages.iter().map(|page| (page.id.as_str(), page)).collect();
    let after: BTreeMap<&str, &Page> = new.pages.iter().map(|page| (page.id.as_str(), page)).collect();
    for page in &new.pages {
        let at = format!("page.{}", page.id);
        let title = page.title.as_deref().unwrap_or(&page.id);
        let Some(was) = before.get(page.id.as_str()) else {
            changes.add(Compatible, at, title, "the page is new");
            continue;
        };
        changes.differ(Cosmetic, &at, title, "the heading", &was.title, &page.title);
        changes.differ(Cosmetic, &at, title, "the text", &was.description, &page.description);
        logic(changes, &at, title, (&was.visible_if, &was.rules), (&page.visible_if, &page.rules));
    }
    for page in old.pages.iter().filter(|page| !after.contains_key(page.id.as_str())) {
        let title = page.title.as_deref().unwrap_or(&page.id);
        // Its questions, if they are gone too, are told one by one.
        changes.add(Compatible, format!("page.{}", page.id), title, "the page is gone");
    }
    let kept = |form: &Form, other: &BTreeMap<&str, &Page>| -> Vec<String> {
        let ids = form.pages.iter().map(|page| page.id.clone());
        ids.filter(|id| other.contains_key(id.as_str())).collect()
    };
    changes.differ(
        Compatible,
        "form.pages",
        &new.title,
        "the order of the pages",
        &kept(old, &after),
        &kept(new, &before),
    );
}

/// Conditions and jumps decide what is asked, not what an answer is.
fn logic(
    changes: &mut Changes,
    at: &str,
    title: &str,
    old: (&Option<Condition>, &Vec<Rule>),
    new: (&Option<Condition>, &Vec<Rule>),
) {
    changes.differ(Impact::Compatible, at, title, "the condition under which it is shown", old.0, new.0);
    changes.differ(Impact::Compatible, at, title, "what happens after it", old.1, new.1);
}

fn questions(changes: &mut Changes, old: &Form, new: &Form) {
    let before: BTreeMap<&str, _> = old.questions().map(|(page, q)| (q.key.as_str(), (page, q))).collect();
    for (page, question) in new.questions() {
        match before.get(question.key.as_str()) {
            None => question::added(changes, question),
            Some((was_on, was)) => {
                question::compare(changes, was, question);
                let page_of = |form: &Form, page: usize| form.pages.get(page).map(|page| page.id.clone());
                if page_of(old, *was_on) != page_of(new, page) {
                    let at = format!("question.{}", question.key);
                    changes.add(Impact::Compatible, at, &question.title, "it moved to another page");
                }
            }
        }
    }
    for (_, question) in old.questions().filter(|(_, question)| new.question(&question.key).is_none()) {
        question::removed(changes, question);
    }
    let kept = |form: &Form, other: &Form| -> Vec<String> {
        let keys = form.questions().map(|(_, question)| question.key.clone());
        keys.filter(|key| other.question(key).is_some()).collect()
    };
    changes.differ(
        Impact::Compatible,
        "form.questions",
        &new.title,
        "the order of the questions",
        &kept(old, new),
        &kept(new, old),
    );
}

fn hidden(changes: &mut Changes, old: &Form, new: &Form) {
    use Impact::{Breaking, Compatible};
    for hidden in &new.hidden {
        let at = format!("hidden.{}", hidden.key);
        match old.hidden.iter().find(|was| was.key == hidden.key) {
            None => changes.add(Compatible, at, &hidden.key, "the hidden field is new"),
            Some(was) => {
                let what = "the value of the hidden field";
                changes.differ(Compatible, &at, &hidden.key, what, &was.default, &hidden.default);
            }
        }
    }
    for was in old.hidden.iter().filter(|was| new.hidden.iter().all(|hidden| hidden.key != was.key)) {
        let text = "the hidden field is gone: what links and tokens carry for it goes nowhere";
        changes.add(Breaking, format!("hidden.{}", was.key), &was.key, text);
    }
    if old.hidden.len() == new.hidden.len() {
        let keys = |form: &Form| form.hidden.iter().map(|hidden| hidden.key.clone()).collect::<Vec<_>>();
        let (mut was, mut is) = (keys(old), keys(new));
        let moved = was != is;
        was.sort_unstable();
        is.sort_unstable();
        if moved && was == is {
            let text = "the order of the hidden fields changed";
            changes.add(Impact::Cosmetic, "form.hidden", &new.title, text);
        }
    }
}

fn variables(changes: &mut Changes, old: &Form, new: &Form) {
    // Nothing of a variable is stored: it only steers.
    for variable in &new.variables {
        let at = format!("variable.{}", variable.name);
        match old.variables.iter().find(|was| was.name == variable.name) {
            None => changes.add(Impact::Compatible, at, &variable.name, "the variable is new"),
            Some(was) => {
                let what = "where the variable begins";
                changes.differ(
                    Impact::Compatible,
                    &at,
                    &variable.name,
                    what,
                    &was.initial,
                    &variable.initial,
                );
            }
        }
    }
    let is_gone = |name: &str| new.variables.iter().all(|variable| variable.name != name);
    for was in old.variables.iter().filter(|was| is_gone(&was.name)) {
        changes.add(Impact::Compatible, format!("variable.{}", was.name), &was.name, "the variable is gone");
    }
    let order = |form: &Form, other: &Form| -> Vec<String> {
        let names = form.variables.iter().map(|variable| variable.name.clone());
        names.filter(|name| other.variables.iter().any(|variable| variable.name == *name)).collect()
    };
    let (was, is) = (order(old, new), order(new, old));
    changes.differ(Impact::Cosmetic, "form.variables", &new.title, "the order of the variables", &was, &is);
}

fn endings(changes: &mut Changes, old: &Form, new: &Form) {
    use Impact::{Compatible, Cosmetic};
    for ending in &new.endings {
        let at = format!("ending.{}", ending.key);
        match old.endings.iter().find(|was| was.key == ending.key) {
            None => changes.add(Compatible, at, &ending.title, "the ending is new"),
            Some(was) => {
                changes.differ(Cosmetic, &at, &ending.title, "the title", &was.title, &ending.title);
                let (text, link) = (&ending.description, &ending.link);
                changes.differ(Cosmetic, &at, &ending.title, "the text", &was.description, text);
                changes.differ(Cosmetic, &at, &ending.title, "the link", &was.link, link);
            }
        }
    }
    for was in old.endings.iter().filter(|was| new.endings.iter().all(|ending| ending.key != was.key)) {
        changes.add(Compatible, format!("ending.{}", was.key), &was.title, "the ending is gone");
    }
    let order = |form: &Form, other: &Form| -> Vec<String> {
        let keys = form.endings.iter().map(|ending| ending.key.clone());
        keys.filter(|key| other.endings.iter().any(|ending| ending.key == *key)).collect()
    };
    // The first one is the default.
    changes.differ(
        Compatible,
        "form.endings",
        &new.title,
        "the order of the endings",
        &order(old, new),
        &order(new, old),
    );
}
