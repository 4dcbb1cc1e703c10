//! The form itself: pages, logic, endings, translations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Condition, Operand, Question};

/// A form, whichever tool it came from. `schemas/form.schema.json` is the same shape for people who write one by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// The source tool's id of the form, or any stable name.
    pub id: String,
    /// The tool the form came from: `typeform`, `google-forms`, `hubspot`, `surveymonkey` or `form`.
    #[serde(default = "own_tool")]
    pub tool: String,
    /// What people call the form.
    pub title: String,
    /// The language of the texts, as a BCP 47 tag.
    #[serde(default = "english")]
    pub locale: String,
    /// Shown before the first question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// ISO 3166 alpha-2 country that phone numbers without a prefix belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_country: Option<String>,
    /// IANA zone that dates with a time are meant in; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The pages in their order.
    pub pages: Vec<Page>,
    /// Values that travel with the link or token and are never asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<Hidden>,
    /// Values that rules compute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
    /// What is said at the end. The first one is the default; a form without endings ends with a plain thank-you.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endings: Vec<Ending>,
    /// Texts in other languages, by BCP 47 tag.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub translations: BTreeMap<String, Translation>,
}

fn own_tool() -> String {
    "form".to_owned()
}

fn english() -> String {
    "en".to_owned()
}

/// A page: questions that the source shows together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Stable, unique within the form.
    pub id: String,
    /// Heading of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Text under the heading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The page is passed over unless this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_if: Option<Condition>,
    /// The questions in their order.
    pub questions: Vec<Question>,
    /// Evaluated in order when the page is left by its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// One step of logic, evaluated after the question (or page) it belongs to. All calculations of a list run, in order; the
/// first jump whose condition holds wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// When; always if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What then.
    #[serde(rename = "do")]
    pub effect: RuleEffect,
}

/// What a [`Rule`] does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleEffect {
    /// Go on elsewhere.
    Jump(Target),
    /// Set a variable.
    Set(String, Operand),
    /// Add to a variable.
    Add(String, Operand),
    /// Subtract from a variable.
    Subtract(String, Operand),
    /// Multiply a variable.
    Multiply(String, Operand),
    /// Divide a variable; by zero leaves it as it is.
    Divide(String, Operand),
}

/// Where a jump leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The question with this key.
    Question(String),
    /// The first question shown of the page with this id.
    Page(String),
    /// The ending with this key.
    Ending(String),
    /// The default ending.
    End,
}

/// A value that travels with the link or token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hidden {
    /// Its name in the source.
    pub key: String,
    /// Its value when nothing sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A computed value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value before any rule: a number or a string.
    pub initial: serde_json::Value,
}

/// What is said when the form is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Stable, unique within the form.
    pub key: String,
    /// The thank-you.
    pub title: String,
    /// More text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the source would send the browser on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Texts of one language, by the path that [`Form::texts`] gives each of them, such as `question.color.option.red`.
pub type Translation = BTreeMap<String, String>;

impl Form {
    /// All questions in source order, each with the index of its page.
    pub fn questions(&self) -> impl Iterator<Item = (usize, &Question)> {
        self.pages.iter().enumerate().flat_map(|(page, p)| p.questions.iter().map(move |q| (page, q)))
    }

    /// The question with this key.
    pub fn question(&self, key: &str) -> Option<&Question> {
        self.questions().map(|(_, q)| q).find(|q| q.key == key)
    }

    /// Every translatable text with its path.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        self.clone().each_text(&mut |path, text| {
            texts.insert(path, text.clone());
        });
        texts
    }

    /// The form with the texts of `locale`; a text without translation stays as it is. The locale may be more precise
    /// than the translation (`es-MX` finds `es`). `None` when the form has no such language.
    pub fn localized(&self, locale: &str) -> Option<Form> {
        let base = |tag: &str| tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        if self.locale.eq_ignore_ascii_case(locale) {
            return Some(self.clone());
        }
        let exact = self.translations.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(locale));
        let found = exact.or_else(|| self.translations.iter().find(|(tag, _)| base(tag) == base(locale)));
        let Some((tag, translation)) = found else {
            return (base(&self.locale) == base(locale)).then(|| self.clone());
        };
        let mut form = self.clone();
        form.locale = tag.clone();
        form.each_text(&mut |path, text| {
            if let Some(translated) = translation.get(&path) {
                translated.clone_into(text);
            }
        });
        Some(form)
    }

    fn each_text(&mut self, visit: &mut impl FnMut(String, &mut String)) {
        visit("title".to_owned(), &mut self.title);
        if let Some(text) = &mut self.description {
            visit("description".to_owned(), text);
        }
        for page in &mut self.pages {
            let id = page.id.clone();
            if let Some(text) = &mut page.title {
                visit(format!("page.{id}.title"), text);
            }
            if let Some(text) = &mut page.description {
                visit(format!("page.{id}.description"), text);
            }
            for question in &mut page.questions {
                question.each_text(visit);
            }
        }
        for ending in &mut self.endings {
            let key = ending.key.clone();
            visit(format!("ending.{key}.title"), &mut ending.title);
            if let Some(text) = &mut ending.description {
                visit(format!("ending.{key}.description"), text);
            }
        }
    }
}
