//! Every random form is valid, compiles to a document without a violation, the same every time, and nothing of it is lost.

use std::collections::BTreeSet;

use formgate::flow::compile::{Compiled, Settings, compile};
use formgate::flow::plan::{Content, DataSource, ENTRY};
use formgate::flow::validate::{Severity, validate, validate_str};
use formgate::form::{Form, Kind, Template};
use serde_json::Value as Json;

use super::{all_settings, compiled, for_seeds, generate};

/// Forms of the default run; each is compiled in all eight ways.
const FORMS: u64 = 60;

#[test]
fn every_random_form_compiles_to_a_document_without_a_violation_and_the_same_every_time() {
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        for settings in all_settings() {
            let Some(flow) = compiled(&form, &settings) else { continue };
            let text = serde_json::to_string(&flow.document).expect("a document");
            let violations: Vec<_> = validate_str(&text)
                .into_iter()
                .chain(validate(&flow.document))
                .filter(|violation| violation.severity == Severity::Error)
                .collect();
            assert_eq!(violations, [], "{settings:?}");
            let again = compile(&generate::form(seed), &settings).expect("it compiled just now");
            assert_eq!(again, flow);
            assert_eq!(serde_json::to_string(&again.document).expect("a document"), text, "the same bytes");
            assert_eq!(flow.plan.screens[0].id, ENTRY);
            assert_eq!(flow.report.blockers, [""; 0]);
            is_routed(&flow);
        }
    });
}

#[test]
fn nothing_of_a_random_form_is_dropped_in_silence() {
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        for settings in all_settings().into_iter().step_by(2) {
            if let Some(flow) = compiled(&form, &settings) {
                is_whole(&form, &flow);
            }
        }
    });
}

#[test]
fn every_translation_of_a_random_form_is_the_same_flow_in_other_words() {
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        if form.translations.is_empty() {
            return;
        }
        let french = Settings { locale: Some("fr".to_owned()), ..Settings::default() };
        let (Some(own), Some(other)) = (compiled(&form, &Settings::default()), compiled(&form, &french))
        else {
            return;
        };
        is_whole(&form.localized("fr").expect("a translation"), &other);
        let ids = |flow: &Compiled| {
            let mut names = Vec::new();
            for screen in &flow.plan.screens {
                if let Content::Questions(blocks) = &screen.content {
                    for input in blocks.iter().flat_map(|block| &block.inputs) {
                        let options =
                            input.options.iter().map(|option| (option.id.clone(), option.source.clone()));
                        names.push((input.name.clone(), input.role.clone(), options.collect::<Vec<_>>()));
                    }
                }
            }
            names
        };
        assert_eq!(ids(&own), ids(&other), "names and ids do not depend on the language");
    });
}

/// Every screen the handlers may answer with is allowed by the routing model, whichever way it is passed.
fn is_routed(flow: &Compiled) {
    let screens = &flow.plan.screens;
    let leads = |from: &str, to: &str| {
        flow.document["routing_model"][from]
            .as_array()
            .is_some_and(|targets| targets.iter().any(|id| id == to))
    };
    for screen in screens {
        for &to in &screen.routes {
            let target = &screens[to].id;
            assert!(leads(&screen.id, target) || leads(target, &screen.id), "{} → {target}", screen.id);
        }
        for &(target, relay) in &screen.via {
            assert!(screen.routes.contains(&relay), "{} reaches its relay", screen.id);
            assert!(screens[relay].routes.contains(&target), "the relay leads on");
            assert_eq!(screens[relay].content, Content::Relay);
        }
    }
}

/// Every text is on a screen or in the report, and every part of the form has its item.
fn is_whole(form: &Form, flow: &Compiled) {
    let at: BTreeSet<&str> = flow.report.items.iter().map(|item| item.at.as_str()).collect();
    assert_eq!(at.len(), flow.report.items.len(), "no part is told twice");
    let mut parts = Vec::new();
    for page in &form.pages {
        parts.extend((0..page.rules.len()).map(|rule| format!("page.{}.rule.{rule}", page.id)));
        parts.extend(page.visible_if.iter().map(|_| format!("page.{}.visible_if", page.id)));
    }
    for (_, question) in form.questions() {
        let path = format!("question.{}", question.key);
        parts.extend((0..question.rules.len()).map(|rule| format!("{path}.rule.{rule}")));
        parts.extend(question.visible_if.iter().map(|_| format!("{path}.visible_if")));
        parts.extend(question.kind.options().iter().map(|option| format!("{path}.option.{}", option.id)));
        if let Kind::Matrix { rows, .. } = &question.kind {
            parts.extend(rows.iter().map(|row| format!("{path}.row.{}", row.id)));
        }
        parts.push(path);
    }
    parts.extend(form.endings.iter().map(|ending| format!("ending.{}", ending.key)));
    for part in parts {
        assert!(at.contains(part.as_str()), "{part} is not in the report");
    }

    let mut shown = Vec::new();
    strings(&flow.document["screens"], &mut shown);
    let reported = flow.report.items.iter().flat_map(|item| [&item.title, &item.reason]);
    let mut all: Vec<String> = reported.cloned().chain(shown).collect();
    for screen in &flow.plan.screens {
        all.extend(screen.data.iter().filter_map(|key| match &key.source {
            DataSource::Text { template, .. } => Some(template.clone()),
            DataSource::Options { .. } => None,
        }));
        if let Content::Questions(blocks) = &screen.content {
            let options = blocks.iter().flat_map(|block| &block.inputs).flat_map(|input| &input.options);
            all.extend(
                options.flat_map(|option| [Some(option.title.clone()), option.description.clone()]).flatten(),
            );
        }
    }
    let plain: BTreeSet<String> = all.iter().map(|text| told(text)).collect();
    let unreachable = unreachable(form, flow);
    for (path, text) in form.texts() {
        let wanted = told(&text);
        if wanted.is_empty() || unreachable.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            continue;
        }
        // A text longer than any component stands in pieces, one after the other.
        let pieces: Vec<String> =
            wanted.chars().collect::<Vec<_>>().chunks(1_000).map(|piece| piece.iter().collect()).collect();
        let joined = |piece: &String| plain.iter().any(|text| text.contains(piece.as_str()));
        let recalled = Template::parse(&text).recalls().next().is_some()
            && flow.plan.screens[0].content == Content::Cover;
        assert!(
            plain.iter().any(|text| text.contains(&wanted))
                || pieces.iter().filter(|piece| !joined(piece)).count() * 2 <= pieces.len()
                    && pieces.len() > 2
                || (recalled && matches!(path.as_str(), "title" | "description")),
            "{path} is lost: {text:?}"
        );
    }
}

/// Paths of what no way of the form leads to; the report says so of each question.
fn unreachable(form: &Form, flow: &Compiled) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open_pages = BTreeSet::new();
    for (page, question) in form.questions() {
        let at = format!("question.{}", question.key);
        let item = flow.report.items.iter().find(|item| item.at == at).expect("it has an item");
        if item.reason.contains("no path of the form leads here") {
            paths.push(format!("{at}."));
            paths.extend(question.group.iter().map(|group| format!("group.{}.", group.key)));
        } else {
            open_pages.insert(page);
        }
    }
    for (index, page) in form.pages.iter().enumerate() {
        if !open_pages.contains(&index) {
            paths.push(format!("page.{}.", page.id));
        }
    }
    let shown = |index: usize| flow.plan.screens.iter().any(|s| s.content == Content::Ending(Some(index)));
    let endings = form.endings.iter().enumerate().filter(|(index, _)| !shown(*index));
    paths.extend(endings.map(|(_, ending)| format!("ending.{}.", ending.key)));
    paths
}

/// Every string of a value.
fn strings(value: &Json, found: &mut Vec<String>) {
    match value {
        Json::String(text) => found.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Json::Object(members) => members.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// A text as people see it: blanks do not count, nor what has no width.
fn told(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace() && *letter != '\u{200b}').collect()
}
