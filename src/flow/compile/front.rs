//! What stands above the questions of a screen, and how long a walk over the screens is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Compiler, Node, question};
use crate::flow::plan::DataKey;
use crate::form::{Answers, Facts, Template, Walker};

impl Compiler<'_> {
    /// Title and opening texts of a screen. A title that had to be cut stands whole in the texts.
    pub(super) fn front(
        &self,
        node: usize,
        kind: Option<&Node>,
        page: Option<usize>,
        data: &mut Vec<DataKey>,
    ) -> (String, Vec<Value>) {
        let form_title = if self.form.title.trim().is_empty() { &self.form.id } else { &self.form.title };
        if matches!(kind, Some(Node::Cover)) {
            return (form_title.to_owned(), self.cover(form_title));
        }
        let mut intro = Vec::new();
        let body = |text: &str, data: &mut Vec<DataKey>| json!({"type": "TextBody", "text": question::text(text, 4_096, data)});
        if let Some(Node::Ending(ending)) = kind {
            let ending = ending.and_then(|index| self.form.endings.get(index));
            let (title, text) = match ending {
                Some(ending) => (ending.title.as_str(), ending.description.as_deref()),
                None => (self.words.thanks, Some(self.words.sent)),
            };
            let title = if title.trim().is_empty() { self.words.thanks } else { title };
            if title.chars().count() <= 80 {
                intro.push(json!({"type": "TextHeading", "text": question::text(title, 80, data)}));
            } else {
                intro.push(body(title, data));
            }
            if let Some(text) = text.filter(|t| !t.trim().is_empty()) {
                intro.push(body(text, data));
            }
            if let Some(link) = ending.and_then(|e| e.link.as_deref()).filter(|l| l.starts_with("https://")) {
                let action = json!({"name": "open_url", "url": link});
                intro.push(
                    json!({"type": "EmbeddedLink", "text": self.words.read_more, "on-click-action": action}),
                );
            }
            return (self.words.thanks.to_owned(), intro);
        }
        let page = page.and_then(|page| self.form.pages.get(page));
        let page_title = page.and_then(|p| p.title.as_deref()).filter(|t| !t.trim().is_empty());
        let title = page_title.unwrap_or(form_title);
        let has_recall = Template::parse(title).recalls().next().is_some();
        if node == 0 {
            if form_title.chars().count() > 30 || page_title.is_some() || has_recall {
                intro.push(heading(form_title, data));
            }
            if let Some(text) = self.form.description.as_deref().filter(|t| !t.trim().is_empty()) {
                intro.push(body(text, data));
            }
        }
        if let Some(page_title) = page_title.filter(|t| t.chars().count() > 30 || has_recall) {
            intro.push(heading(page_title, data));
        }
        if let Some(text) = page.and_then(|p| p.description.as_deref()).filter(|t| !t.trim().is_empty()) {
            intro.push(body(text, data));
        }
        if intro.is_empty() && !matches!(kind, Some(Node::Questions(_))) {
            intro.push(heading(form_title, data));
        }
        let title = if has_recall { &self.form.id } else { title };
        (title.to_owned(), intro)
    }
}

impl Compiler<'_> {
    /// The texts of the cover, which has no data: what they recall is filled in with what a form knows before it is opened.
    fn cover(&self, title: &str) -> Vec<Value> {
        let hidden: BTreeMap<String, String> =
            self.form.hidden.iter().filter_map(|h| Some((h.key.clone(), h.default.clone()?))).collect();
        let (answers, variables) = (Answers::new(), Walker::variables(&self.form));
        let facts = Facts { answers: &answers, hidden: &hidden, variables: &variables };
        let texts =
            [(title, "TextHeading"), (self.form.description.as_deref().unwrap_or_default(), "TextBody")];
        let mut shown = Vec::new();
        for (text, component) in texts {
            let text = question::fixed(Template::parse(text).render(&self.form, &facts).trim());
            if !text.is_empty() {
                let component = if text.chars().count() <= 80 { component } else { "TextBody" };
                shown.push(json!({"type": component, "text": question::cut(&text, 4_096)}));
            }
        }
        if shown.is_empty() {
            shown.push(json!({"type": "TextHeading", "text": question::cut(&self.form.id, 80)}));
        }
        shown
    }
}

fn heading(text: &str, data: &mut Vec<DataKey>) -> Value {
    let (kind, max) = if text.chars().count() <= 80 { ("TextHeading", 80) } else { ("TextBody", 4_096) };
    json!({"type": kind, "text": question::text(text, max, data)})
}

/// The longest walk, in screens and seconds.
#[derive(Default)]
pub(super) struct Longest {
    cost: BTreeMap<usize, u32>,
}

impl Longest {
    pub(super) fn cost(&mut self, node: usize, seconds: u32) {
        self.cost.insert(node, seconds);
    }

    pub(super) fn walk(&self, order: &[usize], edges: &[BTreeSet<usize>]) -> (usize, u32) {
        let mut best: BTreeMap<usize, (usize, u32)> = BTreeMap::new();
        for &node in order.iter().rev() {
            let (screens, seconds) =
                edges[node].iter().filter_map(|to| best.get(to)).max().copied().unwrap_or((0, 0));
            best.insert(node, (screens + 1, seconds + self.cost.get(&node).copied().unwrap_or(0)));
        }
        order.first().and_then(|entry| best.get(entry)).copied().unwrap_or((0, 0))
    }
}
