//! What a client sent for one question, read into the form's own ids and checked by the form's own rules.

use serde_json::{Map, Value as Json, json};

use super::session::Partial;
use crate::flow::plan::{Block, Input, Role};
use crate::form::{Kind, Problem, Question, Validator, Value};

/// What came of a block.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// The question is done, with this answer or with none.
    Done(Option<Value>),
    /// The next screen goes on with it.
    GoesOn(Partial),
    /// Nothing matches what was searched.
    NotFound(String),
    /// The input of this name is not right.
    Wrong(String, Problem),
}

/// Reads and checks one block.
pub(super) fn read(
    block: &Block,
    question: &Question,
    validator: &Validator,
    payload: &Map<String, Json>,
    mut partial: Partial,
) -> Read {
    let role = |wanted: Role| block.inputs.iter().find(|input| input.role == wanted);
    let accept =
        |raw: Json, other: Option<&str>, at: &str| match validator.accept(question, Some(&raw), other) {
            Ok(value) => Read::Done(value),
            Err(problem) => Read::Wrong(at.to_owned(), problem),
        };
    let Some(first) = block.inputs.first() else { return Read::Done(None) };
    match (&first.role, &question.kind) {
        (Role::Rank(_), _) => rank(block, first, question, validator, payload, partial),
        (Role::Row(_), _) => rows(block, question, validator, payload, partial),
        (Role::Query, _) => match text(payload, first) {
            "" if question.required => Read::Wrong(first.name.clone(), Problem::Required),
            "" => Read::Done(None),
            query if super::search::find(question, query, 1).is_empty() => Read::NotFound(first.name.clone()),
            query => {
                query.chars().take(80).collect::<String>().clone_into(&mut partial.query);
                Read::GoesOn(partial)
            }
        },
        (_, Kind::DateTime { .. }) => {
            let time = role(Role::Time);
            let (date, clock) = (text(payload, first), time.map_or("", |input| text(payload, input)));
            match (date.is_empty(), clock.is_empty()) {
                (true, true) => accept(Json::Null, None, &first.name),
                (true, false) => Read::Wrong(first.name.clone(), Problem::Date),
                (false, true) => Read::Wrong(time.unwrap_or(first).name.clone(), Problem::Time),
                (false, false) => match accept(json!(format!("{date}T{clock}")), None, &first.name) {
                    Read::Wrong(_, Problem::Time) => {
                        Read::Wrong(time.unwrap_or(first).name.clone(), Problem::Time)
                    }
                    read => read,
                },
            }
        }
        (_, Kind::MultipleChoice(_)) => {
            for input in block.inputs.iter().filter(|input| input.role == Role::Answer) {
                match many(payload, input) {
                    Ok(ids) => partial.ids.extend(ids),
                    Err(problem) => return Read::Wrong(input.name.clone(), problem),
                }
            }
            if !block.last {
                return Read::GoesOn(partial);
            }
            let other = role(Role::Other).map(|input| text(payload, input)).filter(|text| !text.is_empty());
            accept(json!(partial.ids), other, &first.name)
        }
        (_, Kind::SingleChoice(_)) => match one(payload, first) {
            Err(problem) => Read::Wrong(first.name.clone(), problem),
            Ok(Chosen::Other) => {
                let field = role(Role::Other).unwrap_or(first);
                match text(payload, field).trim() {
                    "" => Read::Wrong(field.name.clone(), Problem::OtherMissing),
                    own => accept(Json::Null, Some(own), &field.name),
                }
            }
            Ok(Chosen::Option(id)) => accept(json!(id), None, &first.name),
            Ok(Chosen::Nothing) => accept(Json::Null, None, &first.name),
        },
        _ if !first.options.is_empty() => match one(payload, first) {
            Ok(Chosen::Option(source)) => accept(json!(source), None, &first.name),
            Ok(_) => accept(Json::Null, None, &first.name),
            Err(problem) => Read::Wrong(first.name.clone(), problem),
        },
        _ => accept(payload.get(&first.name).cloned().unwrap_or(Json::Null), None, &first.name),
    }
}

fn rank(
    block: &Block,
    input: &Input,
    question: &Question,
    validator: &Validator,
    payload: &Map<String, Json>,
    mut partial: Partial,
) -> Read {
    match one(payload, input) {
        Ok(Chosen::Option(id)) if !partial.ids.iter().any(|placed| placed == id) => {
            partial.ids.push(id.to_owned())
        }
        // Nobody has to rank what need not be ranked, but a ranking that was begun is finished.
        Ok(Chosen::Nothing) if partial.ids.is_empty() && !question.required => return Read::Done(None),
        Ok(Chosen::Nothing) => return Read::Wrong(input.name.clone(), Problem::Required),
        Ok(_) => return Read::Wrong(input.name.clone(), Problem::Ranking),
        Err(problem) => return Read::Wrong(input.name.clone(), problem),
    }
    if !block.last {
        return Read::GoesOn(partial);
    }
    for option in question.kind.options() {
        if !partial.ids.contains(&option.id) {
            partial.ids.push(option.id.clone());
        }
    }
    match validator.accept(question, Some(&json!(partial.ids)), None) {
        Ok(value) => Read::Done(value),
        Err(problem) => Read::Wrong(input.name.clone(), problem),
    }
}

fn rows(
    block: &Block,
    question: &Question,
    validator: &Validator,
    payload: &Map<String, Json>,
    mut partial: Partial,
) -> Read {
    let Kind::Matrix { rows, .. } = &question.kind else { return Read::Done(None) };
    for input in &block.inputs {
        let Role::Row(row) = &input.role else { continue };
        let chosen =
            match if input.many { many(payload, input) } else { one(payload, input).map(Chosen::into_ids) } {
                Ok(chosen) => chosen,
                Err(problem) => return Read::Wrong(input.name.clone(), problem),
            };
        let must = question.required || rows.iter().any(|known| known.id == *row && known.required);
        if chosen.is_empty() && must {
            return Read::Wrong(input.name.clone(), Problem::RowMissing);
        }
        if !chosen.is_empty() {
            partial.rows.insert(row.clone(), chosen);
        }
    }
    if !block.last {
        return Read::GoesOn(partial);
    }
    match validator.accept(question, Some(&json!(partial.rows)), None) {
        Ok(value) => Read::Done(value),
        Err(problem) => {
            Read::Wrong(block.inputs.first().map(|input| input.name.clone()).unwrap_or_default(), problem)
        }
    }
}

/// What was chosen of an input with options.
enum Chosen<'a> {
    Nothing,
    Other,
    Option(&'a str),
}

impl Chosen<'_> {
    fn into_ids(self) -> Vec<String> {
        match self {
            Chosen::Option(id) => vec![id.to_owned()],
            _ => Vec::new(),
        }
    }
}

fn one<'a>(payload: &Map<String, Json>, input: &'a Input) -> Result<Chosen<'a>, Problem> {
    let id = match payload.get(&input.name) {
        None | Some(Json::Null) => return Ok(Chosen::Nothing),
        Some(Json::String(id)) if id.is_empty() => return Ok(Chosen::Nothing),
        Some(Json::Array(items)) if items.is_empty() => return Ok(Chosen::Nothing),
        Some(Json::String(id)) => id,
        Some(_) => return Err(Problem::NotOffered),
    };
    let option = input.options.iter().find(|option| option.id == *id).ok_or(Problem::NotOffered)?;
    Ok(option.source.as_deref().map_or(Chosen::Other, Chosen::Option))
}

fn many(payload: &Map<String, Json>, input: &Input) -> Result<Vec<String>, Problem> {
    let items = match payload.get(&input.name) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Json::Array(items)) => items,
        Some(_) => return Err(Problem::NotOffered),
    };
    let known = |item: &Json| {
        let option = input.options.iter().find(|option| item.as_str() == Some(&option.id))?;
        option.source.clone()
    };
    items.iter().map(known).collect::<Option<Vec<String>>>().ok_or(Problem::NotOffered)
}

fn text<'p>(payload: &'p Map<String, Json>, input: &Input) -> &'p str {
    payload.get(&input.name).and_then(Json::as_str).map_or("", str::trim)
}
