//! What the report says of rules, conditions of pages, and endings.

use super::question::cut;
use crate::flow::report::{Enforced, Grade, Item, part};
use crate::form::{Form, Rule, RuleEffect, Target, Walker};

/// One item per rule, page condition, ending, hidden value and variable.
pub(super) fn items(form: &Form, walker: &Walker) -> Vec<Item> {
    let mut items = Vec::new();
    let mut item = |at: String, title: &str, reason: &str, enforced, part| {
        items.push(Item {
            at,
            title: cut(title, 80),
            grade: Grade::Exact,
            reason: reason.to_owned(),
            enforced,
            part,
        });
    };
    let mut end = 0;
    for page in &form.pages {
        end += page.questions.len();
        let page_title = page.title.as_deref().unwrap_or(&page.id);
        if let Some(condition) = &page.visible_if {
            item(
                format!("page.{}.visible_if", page.id),
                page_title,
                "the server shows or passes over the page",
                Enforced::Server,
                part(condition),
            );
        }
        for (number, rule) in page.rules.iter().enumerate() {
            let reason = reason(form, walker, rule, end.saturating_sub(1));
            item(format!("page.{}.rule.{number}", page.id), page_title, reason, Enforced::Server, part(rule));
        }
        for question in &page.questions {
            for (number, rule) in question.rules.iter().enumerate() {
                let from = walker.position(&question.key).unwrap_or(0);
                let reason = reason(form, walker, rule, from);
                item(
                    format!("question.{}.rule.{number}", question.key),
                    &question.title,
                    reason,
                    Enforced::Server,
                    part(rule),
                );
            }
        }
    }
    for ending in &form.endings {
        let reason = match &ending.link {
            Some(link) if link.starts_with("https://") => {
                "shown with its link; a chat cannot be sent on by itself"
            }
            Some(_) => "shown without its link, which is not https",
            None => "shown on a screen of its own",
        };
        item(format!("ending.{}", ending.key), &ending.title, reason, Enforced::Nowhere, part(ending));
    }
    for hidden in &form.hidden {
        let reason = "travels with the link and is never asked";
        item(format!("hidden.{}", hidden.key), &hidden.key, reason, Enforced::Server, part(hidden));
    }
    for variable in &form.variables {
        let reason = "computed on the server";
        item(format!("variable.{}", variable.name), &variable.name, reason, Enforced::Server, part(variable));
    }
    items
}

fn reason(form: &Form, walker: &Walker, rule: &Rule, from: usize) -> &'static str {
    let to = match &rule.effect {
        RuleEffect::Jump(Target::Question(key)) => walker.position(key),
        RuleEffect::Jump(Target::Page(id)) => form
            .pages
            .iter()
            .position(|p| p.id == *id)
            .map(|page| form.pages.iter().take(page).map(|p| p.questions.len()).sum()),
        RuleEffect::Jump(_) => None,
        _ => return "computed on the server",
    };
    match to {
        Some(to) if to <= from && rule.when.is_none() => {
            "always leads back: the server follows it at most 100 times for one person, then goes on"
        }
        Some(to) if to <= from => {
            "leads back: the server asks those questions again, at most 100 times for one person"
        }
        _ => "decided on the server from checked answers",
    }
}
