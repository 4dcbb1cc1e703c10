//! A flow and its report are the form: a stranger who has only these two puts the form of each tool together again.
//!
//! Invariant: what the report calls exact stands in the document exactly so, everything else is named with a reason, and
//! no input of the document belongs to nothing. Controls take something away, and must be noticed.
//!
//! What it deliberately does not do: it does not look at the plan.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::connector::connector;
use formgate::flow::compile::Settings;
use formgate::form::{Condition, Form, Kind, Page, Question, Rule, RuleEffect, Target};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{Dice, definitions, for_seeds};

/// Forms of each tool in the default run.
const FORMS: u64 = 200;
/// A text field with more room than this has no limit of its own.
const FREE: u64 = 200;

/// A question as far as it can be told from outside.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    key: String,
    title: String,
    class: String,
    required: bool,
    /// Id and label.
    options: Vec<(String, String)>,
    rows: Vec<String>,
    /// There is room for words of one's own.
    has_other: bool,
    /// Least and most: of characters, or of options.
    limits: (Option<u64>, Option<u64>),
    /// All of it but condition and rules, where the document does not hold it exactly.
    whole: Json,
    condition: Json,
    rules: Vec<Json>,
}

#[derive(Debug, Clone, PartialEq)]
struct Shape {
    title: String,
    questions: Vec<Asked>,
    /// Pages with a condition or rules: id, condition, rules.
    pages: Vec<(String, Json, Vec<Json>)>,
    endings: Vec<Json>,
    hidden: Vec<Json>,
    variables: Vec<Json>,
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What every input of a question begins with.
fn prefix(key: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if key.len() <= 24 && key.chars().all(|c| plain(&c)) {
        return format!("q_{key}_");
    }
    let mut readable: String = key.chars().filter(plain).take(24).collect();
    if !readable.is_empty() {
        readable.push('_');
    }
    format!("q_{readable}{}_", digest(key))
}

fn option_id(source: &str) -> String {
    let is_plain = source.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    match is_plain && (1..=64).contains(&source.len()) && source != "other" {
        true => source.to_owned(),
        false => format!("o_{}", digest(source)),
    }
}

fn text<'j>(value: &'j Json, name: &str) -> &'j str {
    value[name].as_str().unwrap_or_default()
}

/// Every component with a name of an input.
fn inputs<'j>(value: &'j Json, found: &mut Vec<&'j Json>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| inputs(item, found)),
        Json::Object(members) => {
            if members.contains_key("type") && text(value, "name").starts_with("q_") {
                found.push(value);
            }
            members.values().for_each(|item| inputs(item, found));
        }
        _ => {}
    }
}

/// Puts the form together from the document and its report.
fn reconstructed(document: &Json, report: &Json) -> Result<Shape, String> {
    let items = report["items"].as_array().ok_or("no items")?;
    for item in items {
        let is_told = item["reason"].as_str().is_some_and(|reason| !reason.trim().is_empty());
        let is_whole = text(item, "reason") == "carried as it is";
        if !is_told || (is_whole && text(item, "grade") != "exact") {
            return Err(format!("{} has a grade without a reason", item["at"]));
        }
    }
    let mut shape = Shape {
        title: text(report, "title").to_owned(),
        questions: Vec::new(),
        pages: Vec::new(),
        endings: Vec::new(),
        hidden: Vec::new(),
        variables: Vec::new(),
    };
    let mut components = Vec::new();
    inputs(&document["screens"], &mut components);
    let mut belonging = BTreeSet::new();
    for item in items {
        let at: Vec<&str> = text(item, "at").split('.').collect();
        match at.as_slice() {
            ["question", key] if shape.questions.iter().all(|known| known.key != *key) => {
                let start = prefix(key);
                let mine: Vec<&Json> =
                    components.iter().copied().filter(|c| text(c, "name").starts_with(&start)).collect();
                belonging.extend(mine.iter().map(|c| text(c, "name")));
                let options = parts(items, key, "option");
                shape.questions.push(question(item, key, &start, &mine, &options)?);
            }
            ["question", key, "rule", _] | ["question", key, "visible_if"] => {
                let known = shape.questions.iter_mut().find(|known| known.key == *key);
                // What the reader could not carry is no rule of the form.
                let Some(known) = known.filter(|_| text(item, "grade") == "exact") else { continue };
                if at.len() == 3 { known.condition = part(item) } else { known.rules.push(part(item)) }
            }
            ["question", key, "row", ..] => {
                let known = shape.questions.iter_mut().find(|known| known.key == *key);
                known.ok_or("a row of nothing")?.rows.push(text(item, "title").to_owned());
            }
            ["page", id, what, ..] => {
                if shape.pages.last().is_none_or(|last| last.0 != *id) {
                    shape.pages.push(((*id).to_owned(), Json::Null, Vec::new()));
                }
                let page = shape.pages.last_mut().ok_or("no page")?;
                if *what == "visible_if" { page.1 = part(item) } else { page.2.push(part(item)) }
            }
            ["ending", ..] if text(item, "grade") == "exact" => {
                shape.endings.push(part(item));
            }
            ["hidden", _] => shape.hidden.push(part(item)),
            ["variable", _] => shape.variables.push(part(item)),
            _ => {}
        }
    }
    match components.iter().find(|component| !belonging.contains(text(component, "name"))) {
        Some(invented) => Err(format!("{} belongs to no question", invented["name"])),
        None => Ok(shape),
    }
}

/// The part of the form that an item tells.
fn part(item: &Json) -> Json {
    item["part"].clone()
}

/// Id and title of the parts of a question.
fn parts(items: &[Json], key: &str, part: &str) -> Vec<(String, String)> {
    let start = format!("question.{key}.{part}.");
    let known = |item: &Json| {
        Some((text(item, "at").strip_prefix(&start)?.to_owned(), text(item, "title").to_owned()))
    };
    items.iter().filter_map(known).collect()
}

fn question(
    item: &Json,
    key: &str,
    start: &str,
    mine: &[&Json],
    named: &[(String, String)],
) -> Result<Asked, String> {
    let is_exact = text(item, "grade") == "exact";
    let family = || {
        let rest = mine.first().map(|first| &text(first, "name")[start.len()..]).unwrap_or_default();
        rest.split('_').next().unwrap_or_default().to_owned()
    };
    let class = match mine {
        [] if text(item, "grade") == "dropped" => "dropped".to_owned(),
        [] if text(item, "reason").contains("no path of the form leads here") => "unreachable".to_owned(),
        [] => "statement".to_owned(),
        [first, ..] if is_exact => component(first)?.to_owned(),
        _ => family(),
    };
    // Every list of the document offers the options that the report names, in the same order.
    let mut options = named.to_vec();
    for offered in mine.iter().filter_map(|component| component["data-source"].as_array()) {
        let offered = offered.iter().filter(|option| text(option, "id") != "other");
        let shown: Vec<(&str, &str)> = offered
            .map(|option| {
                (text(option, "id"), option["description"].as_str().unwrap_or(text(option, "title")))
            })
            .collect();
        if named.is_empty() || !is_exact {
            continue;
        }
        if shown.len() != named.len() {
            return Err(format!("{key} offers {shown:?} and the report names {named:?}"));
        }
        let read = shown.iter().zip(named).map(|((id, label), (source, _))| match *id == option_id(source) {
            true => Ok((source.clone(), (*label).to_owned())),
            false => Err(format!("{key} offers {id}, and the report names {source}")),
        });
        options = read.collect::<Result<_, _>>()?;
    }
    let limit = |names: [&str; 2]| {
        let value = names.iter().find_map(|name| mine.first()?[*name].as_u64());
        value.filter(|_| is_exact)
    };
    let most = match class.as_str() {
        "line" | "lines" => limit(["max-chars", "max-length"]).filter(|most| *most < FREE),
        _ => limit(["max-selected-items", "none"]).filter(|most| *most < named.len() as u64),
    };
    let least = match class.as_str() {
        "line" | "lines" => limit(["min-chars", "none"]),
        _ => limit(["min-selected-items", "none"]),
    };
    let insists = |component: &&Json| {
        let least =
            ["min-uploaded-documents", "min-uploaded-photos"].iter().any(|name| component[*name] == 1);
        component["required"] == true || least
    };
    Ok(Asked {
        key: key.to_owned(),
        title: text(item, "title").to_owned(),
        required: mine.iter().any(insists) || text(item, "reason").contains("must be answered"),
        class,
        options,
        rows: Vec::new(),
        has_other: mine.iter().any(|component| text(component, "name").ends_with("_other")),
        limits: (least, most),
        whole: part(item),
        condition: Json::Null,
        rules: Vec::new(),
    })
}

/// What a component asks for.
fn component(component: &Json) -> Result<&'static str, String> {
    Ok(match (text(component, "type"), text(component, "input-type")) {
        ("TextInput", "text") => "line",
        ("TextInput", "email") => "email",
        ("TextInput", "phone") => "phone",
        ("TextInput", "number") => "number",
        ("TextArea", _) => "lines",
        ("DatePicker" | "CalendarPicker", _) => "date",
        ("OptIn", _) => "tick",
        ("RadioButtonsGroup" | "Dropdown", _) => "one",
        ("ChipsSelector" | "CheckboxGroup", _) => "many",
        ("PhotoPicker" | "DocumentPicker", _) => "file",
        other => return Err(format!("{other:?} asks for nothing known")),
    })
}

fn told(part: &impl serde::Serialize) -> Json {
    serde_json::to_value(part).expect("JSON")
}

fn told_page(page: &Page) -> (String, Json, Vec<Json>) {
    let condition = page.visible_if.as_ref().map(told).unwrap_or_default();
    (page.id.clone(), condition, page.rules.iter().map(told).collect())
}

/// The same of the form itself. `is_exact` says what the report calls exact.
fn original(form: &Form, is_exact: impl Fn(&str) -> bool) -> Shape {
    let reached = reached(form);
    let asked = |question: &Question| {
        let kind = &question.kind;
        let exact = is_exact(&question.key);
        let is_reached = reached.contains(question.key.as_str());
        let (class, limits) = match is_reached {
            true if exact => exactly(kind),
            true => (family(kind), (None, None)),
            false => ("unreachable", (None, None)),
        };
        let rows = match kind {
            Kind::Matrix { rows, .. } => rows.iter().map(|row| row.label.clone()).collect(),
            _ => Vec::new(),
        };
        Asked {
            key: question.key.clone(),
            title: question.title.clone(),
            class: class.to_owned(),
            required: question.required && kind.is_answered() && is_reached,
            options: kind.options().iter().map(|option| (option.id.clone(), option.label.clone())).collect(),
            rows,
            has_other: is_reached && has_other(kind),
            limits,
            whole: match is_reached && exact {
                true => Json::Null,
                false => told(&Question { rules: Vec::new(), visible_if: None, ..question.clone() }),
            },
            condition: question.visible_if.as_ref().map(told).unwrap_or_default(),
            rules: question.rules.iter().map(told).collect(),
        }
    };
    let pages = form.pages.iter().filter(|page| page.visible_if.is_some() || !page.rules.is_empty());
    Shape {
        title: form.title.clone(),
        questions: form.questions().map(|(_, question)| asked(question)).collect(),
        pages: pages.map(told_page).collect(),
        endings: form.endings.iter().map(told).collect(),
        hidden: form.hidden.iter().map(told).collect(),
        variables: form.variables.iter().map(told).collect(),
    }
}

/// The questions that some way of the form leads to.
fn reached(form: &Form) -> BTreeSet<&str> {
    let all: Vec<(usize, &Question)> = form.questions().collect();
    let is_always = |rule: &&Rule| {
        matches!(&rule.when, None | Some(Condition::All { .. }))
            && rule.when.as_ref().is_none_or(|when| *when == Condition::All { all: Vec::new() })
    };
    let target = |rule: &Rule| match &rule.effect {
        RuleEffect::Jump(Target::Question(key)) => all.iter().position(|(_, q)| q.key == *key),
        RuleEffect::Jump(Target::Page(id)) => all.iter().position(|(page, _)| form.pages[*page].id == *id),
        _ => None,
    };
    let (mut open, mut found) = (vec![0], BTreeSet::new());
    while let Some(at) = open.pop() {
        let Some((page, question)) = all.get(at).filter(|(_, q)| !found.contains(q.key.as_str())) else {
            continue;
        };
        found.insert(question.key.as_str());
        let is_last = all.get(at + 1).is_none_or(|(next, _)| next != page);
        let of_page = form.pages[*page].rules.iter().filter(|_| is_last);
        let mut jumps =
            question.rules.iter().chain(of_page).filter(|r| matches!(r.effect, RuleEffect::Jump(_)));
        // A condition hides the question, and with it what it would decide.
        let leads_on = jumps.clone().find(is_always).is_none() || question.visible_if.is_some();
        let stop = jumps.clone().position(|rule| is_always(&rule)).unwrap_or(usize::MAX);
        open.extend(jumps.by_ref().take(stop.saturating_add(1)).filter_map(target));
        open.extend(leads_on.then_some(at + 1));
    }
    found
}

fn has_other(kind: &Kind) -> bool {
    matches!(kind, Kind::SingleChoice(choice) | Kind::MultipleChoice(choice) if choice.other.is_some())
}

type Limits = (Option<u64>, Option<u64>);

/// What asks for exactly this; the kind's own name where nothing does.
fn exactly(kind: &Kind) -> (&'static str, Limits) {
    let none = (None, None);
    match kind {
        Kind::ShortText(limits) | Kind::LongText(limits) if limits.pattern.is_none() => {
            let class = if matches!(kind, Kind::ShortText(_)) { "line" } else { "lines" };
            (class, (limits.min_length.map(u64::from), limits.max_length.map(u64::from)))
        }
        Kind::Email { blocked_domains } if blocked_domains.is_empty() => ("email", none),
        Kind::Phone { .. } => ("phone", none),
        Kind::Number { min: None, max: None, integer: false } => ("number", none),
        Kind::Date { min: None, max: None } => ("date", none),
        Kind::YesNo => ("one", none),
        Kind::SingleChoice(_) => ("one", none),
        Kind::MultipleChoice(choice) if choice.other.is_none() => {
            // One of those answered is not a limit, nor is all that there are.
            let most = choice.max.map(u64::from).filter(|max| *max < choice.options.len() as u64);
            ("many", (choice.min.map(u64::from).filter(|min| *min > 1), most))
        }
        Kind::Consent { .. } => ("tick", none),
        Kind::File(_) => ("file", none),
        Kind::Statement => ("statement", none),
        other => (other.name(), none),
    }
}

/// What the names of inputs tell of a kind.
fn family(kind: &Kind) -> &'static str {
    match kind {
        Kind::Unsupported { .. } => "dropped",
        Kind::Statement => "statement",
        Kind::MultipleChoice(_) | Kind::File(_) | Kind::Matrix { multiple: true, .. } => "many",
        Kind::Consent { .. } => "bool",
        Kind::SingleChoice(_) | Kind::YesNo | Kind::Ranking { .. } | Kind::Matrix { .. } => "one",
        Kind::Rating { .. } | Kind::Scale { .. } | Kind::Nps { .. } | Kind::Number { .. } => "number",
        _ => "text",
    }
}

/// Puts every generated form of a tool together again.
fn judge(tool: &str) {
    for_seeds(FORMS, |seed| {
        let mut dice = Dice::new(seed);
        let definition = definitions::of(tool, &mut dice);
        let import = connector(tool).expect("a reader").read(definition.to_string().as_bytes());
        let import = import.unwrap_or_else(|error| panic!("{error}: {definition}"));
        let compiled =
            catalog::compile(&import, &Settings::default()).unwrap_or_else(|e| panic!("{e}: {definition}"));
        let document = serde_json::to_value(&compiled.document).expect("a document");
        let report = serde_json::to_value(&compiled.report).expect("a report");
        let items = report["items"].as_array().expect("items").clone();
        let exact = |key: &str| {
            let at = format!("question.{key}");
            items.iter().find(|item| item["at"] == at).is_some_and(|item| item["grade"] == "exact")
        };
        let whole = original(&import.form, exact);
        let mut found =
            reconstructed(&document, &report).unwrap_or_else(|error| panic!("{error}: {definition}"));
        // A text without a limit gets one, so that what people write stays within what a flow can carry.
        let free =
            |kind: &Kind| matches!(kind, Kind::ShortText(l) | Kind::LongText(l) if l.max_length.is_none());
        let texts = found.questions.iter_mut().zip(import.form.questions());
        texts.filter(|(_, (_, question))| free(&question.kind)).for_each(|(asked, _)| {
            asked.whole.as_object_mut().and_then(|whole| whole.remove("max_length"));
        });
        assert_eq!(found, whole, "{definition}");

        // Controls: what is taken away, changed or invented is noticed.
        let unique = |at: &Json| items.iter().filter(|item| item["at"] == *at).count() == 1;
        let own = ["question", "page", "ending", "hidden", "variable"];
        let parts: Vec<usize> = items
            .iter()
            .enumerate()
            .filter(|(_, item)| {
                unique(&item["at"]) && own.contains(&text(item, "at").split('.').next().unwrap_or(""))
            })
            .filter(|(_, item)| item["grade"] != "dropped")
            .map(|(index, _)| index)
            .collect();
        let mut poorer = report.clone();
        let gone = poorer["items"].as_array_mut().expect("items").remove(*dice.pick(&parts));
        assert_ne!(
            reconstructed(&document, &poorer),
            Ok(whole.clone()),
            "{gone} is not missed: {definition}"
        );

        let mut components = Vec::new();
        inputs(&document["screens"], &mut components);
        let name = text(dice.pick::<&Json>(&components), "name").to_owned();
        let (named, renamed) = (format!(r#""name":"{name}""#), r#""name":"q_invented_text""#);
        let lax = document.to_string().replace(&named, renamed);
        let lax: Json = serde_json::from_str(&lax).expect("a document");
        assert!(
            reconstructed(&lax, &report) != Ok(whole.clone()),
            "an invented input is not noticed: {definition}"
        );
        if whole.questions.iter().any(|question| question.required) {
            let lax = document.to_string().replace(r#""required":true"#, r#""required":false"#);
            let lax = lax.replace(r#""min-uploaded-documents":1"#, r#""min-uploaded-documents":0"#);
            let lax: Json = serde_json::from_str(&lax).expect("a document");
            if lax != document {
                assert!(
                    reconstructed(&lax, &report) != Ok(whole),
                    "what need not be answered is not noticed"
                );
            }
        }
    });
}

#[test]
fn a_typeform_is_put_together_again_from_its_flow_and_report() {
    judge("typeform");
}

#[test]
fn a_hubspot_form_is_put_together_again_from_its_flow_and_report() {
    judge("hubspot");
}

#[test]
fn a_survey_is_put_together_again_from_its_flow_and_report() {
    judge("surveymonkey");
}

#[test]
fn a_google_form_is_put_together_again_from_its_flow_and_report() {
    judge("google-forms");
}

#[test]
fn a_limit_that_the_document_does_not_hold_is_noticed() {
    let definition = json!({"id": "x", "title": "X", "fields": [
        {"id": "1", "ref": "a", "type": "short_text", "title": "A", "validations": {"max_length": 9}}]});
    let import =
        connector("typeform").expect("a reader").read(definition.to_string().as_bytes()).expect("a form");
    let compiled = catalog::compile(&import, &Settings::default()).expect("a flow");
    let report = serde_json::to_value(&compiled.report).expect("a report");
    let whole = original(&import.form, |_| true);
    let document = serde_json::to_value(&compiled.document).expect("a document");
    assert_eq!(reconstructed(&document, &report), Ok(whole.clone()));
    let wider = document.to_string().replace(r#""max-chars":9"#, r#""max-chars":10"#);
    let wider: Json = serde_json::from_str(&wider).expect("a document");
    assert!(wider != document && reconstructed(&wider, &report) != Ok(whole));
}
