//! The data of a screen: every declared key, with the right type, never null.

use serde_json::{Map, Value as Json, json};

use super::{Handler, Session, Show, search};
use crate::flow::plan::{
    Block, Content, DataSource, FIELD_ERRORS, INIT_VALUES, Input, PROGRESS, Role, ScreenPlan, WireOption,
};
use crate::form::{Facts, Kind, Question, Template, Value};

/// Longest text that is sent back to a field whose answer was refused.
const MAX_ECHO: usize = 4_096;

/// What was not right with what was sent: texts by input name, and one for the whole screen.
pub(super) struct Refusal<'p> {
    pub payload: &'p Map<String, Json>,
    pub fields: Vec<(String, String)>,
    pub message: String,
}

impl Handler {
    /// The screen with this index, for this session.
    pub(super) fn show(&self, session: Session, index: usize, refusal: Option<&Refusal<'_>>) -> Show {
        let Some(screen) = self.plan.screens.get(index) else {
            return Show { screen: String::new(), data: Map::new(), session: Some(session), problem: true };
        };
        let id = screen.id.clone();
        if screen.content == Content::Cover {
            return Show { screen: id, data: Map::new(), session: None, problem: false };
        }
        let mut data = Map::new();
        if let Content::Questions(blocks) = &screen.content {
            data.insert(PROGRESS.to_owned(), json!(self.progress(index)));
            if blocks.iter().any(|block| !block.inputs.is_empty()) {
                data.insert(
                    INIT_VALUES.to_owned(),
                    Json::Object(self.init_values(&session, blocks, refusal)),
                );
                // A file picker takes no error through the Form; its text stands in the message of the screen.
                let picker = |name: &String| {
                    blocks.iter().any(|block| {
                        let question = self.walker.question(&self.plan.form, block.position);
                        matches!(question.kind, Kind::File(_)) && block.inputs.iter().any(|i| i.name == *name)
                    })
                };
                let errors = refusal.map(|refusal| {
                    let fields = refusal.fields.iter().filter(|(name, _)| !picker(name));
                    fields.map(|(name, text)| (name.clone(), json!(text))).collect()
                });
                data.insert(FIELD_ERRORS.to_owned(), Json::Object(errors.unwrap_or_default()));
            }
        }
        self.fill(&session, screen, &mut data);
        if let Some(refusal) = refusal {
            data.insert("error_message".to_owned(), json!(refusal.message));
        }
        Show { screen: id, data, session: Some(session), problem: refusal.is_some() }
    }

    /// "3 / 8": how far the screen stands in the form.
    fn progress(&self, index: usize) -> String {
        let asks = |screen: &&ScreenPlan| matches!(screen.content, Content::Questions(_));
        let all = self.plan.screens.iter().filter(asks).count();
        let here = self.plan.screens.iter().take(index + 1).filter(asks).count();
        format!("{here} / {all}")
    }

    fn fill(&self, session: &Session, screen: &ScreenPlan, data: &mut Map<String, Json>) {
        if screen.data.is_empty() {
            return;
        }
        let (_, variables) =
            self.walker.after(&self.plan.form, &session.trail(), &session.answers, &session.hidden);
        let facts = Facts { answers: &session.answers, hidden: &session.hidden, variables: &variables };
        for key in &screen.data {
            let value = match &key.source {
                DataSource::Text { template, max_chars } => {
                    let text = Template::parse(template).render(&self.plan.form, &facts);
                    let text = text.trim();
                    // A text component may not be blank.
                    json!(if text.is_empty() { "–".to_owned() } else { cut(text, *max_chars) })
                }
                DataSource::Options { input, max } => {
                    let offered = self.offered(session, screen, input, *max);
                    json!(offered.into_iter().map(option_json).collect::<Vec<_>>())
                }
            };
            data.insert(key.name.clone(), value);
        }
    }

    /// What a ranking has left, or what a search found.
    fn offered<'s>(
        &self,
        session: &Session,
        screen: &'s ScreenPlan,
        name: &str,
        max: usize,
    ) -> Vec<&'s WireOption> {
        let Content::Questions(blocks) = &screen.content else { return Vec::new() };
        let found = blocks.iter().find_map(|b| Some((b, b.inputs.iter().find(|input| input.name == name)?)));
        let Some((block, input)) = found else { return Vec::new() };
        let partial =
            session.partial.as_ref().filter(|partial| usize::from(partial.position) == block.position);
        let question = self.walker.question(&self.plan.form, block.position);
        match &input.role {
            Role::Pick => {
                let own = input.options.iter().filter(|option| option.source.is_none());
                let room = max - own.clone().count().min(max);
                let query = partial.map_or("", |partial| &partial.query);
                let hits = search::find(question, query, room);
                let wire =
                    |id: &String| input.options.iter().find(|option| option.source.as_ref() == Some(id));
                hits.into_iter().filter_map(|hit| wire(&hit.id)).chain(own).collect()
            }
            _ => {
                let placed = |id: &String| partial.is_some_and(|partial| partial.ids.contains(id));
                let left = input.options.iter().filter(|option| !option.source.as_ref().is_some_and(placed));
                left.take(max).collect()
            }
        }
    }

    /// What the inputs hold: what was refused just now, else the answer, else the form's default.
    fn init_values(
        &self,
        session: &Session,
        blocks: &[Block],
        refusal: Option<&Refusal<'_>>,
    ) -> Map<String, Json> {
        let mut values = Map::new();
        for block in blocks {
            let question = self.walker.question(&self.plan.form, block.position);
            if matches!(question.kind, Kind::File(_)) {
                continue;
            }
            let known =
                session.answers.get(&question.key).or_else(|| session.drafts.get(&question.key)).cloned();
            let default = || self.validator.accept(question, question.default.as_ref(), None).ok().flatten();
            let value = known.or_else(default);
            for input in &block.inputs {
                let filled = match refusal {
                    Some(refusal) => echo(refusal.payload.get(&input.name), input, question),
                    None => value.as_ref().and_then(|value| held(value, input, question)),
                };
                if let Some(filled) = filled {
                    values.insert(input.name.clone(), filled);
                }
            }
        }
        values
    }
}

/// What the person sent, as far as the field can hold it again.
fn echo(sent: Option<&Json>, input: &Input, question: &Question) -> Option<Json> {
    let known = |id: &&Json| input.options.iter().any(|option| id.as_str() == Some(&option.id));
    match sent? {
        Json::Bool(value) if matches!(question.kind, Kind::Consent { .. }) => Some(json!(value)),
        Json::Array(items) if input.many => {
            Some(json!(items.iter().filter(known).take(200).collect::<Vec<_>>()))
        }
        Json::String(_) | Json::Number(_) if input.many || matches!(question.kind, Kind::Consent { .. }) => {
            None
        }
        sent @ Json::String(_) if !input.options.is_empty() => Some(sent).filter(known).cloned(),
        Json::String(text) if is_date(input, question) && text.len() != 10 => None,
        Json::String(text) => Some(json!(text.chars().take(MAX_ECHO).collect::<String>())),
        Json::Number(number) if input.options.is_empty() => Some(json!(number.to_string())),
        _ => None,
    }
}

fn is_date(input: &Input, question: &Question) -> bool {
    input.role == Role::Answer && matches!(question.kind, Kind::Date { .. } | Kind::DateTime { .. })
}

/// The part of an answer that an input holds.
fn held(value: &Value, input: &Input, question: &Question) -> Option<Json> {
    let wire = |id: &str| {
        input.options.iter().find(|option| option.source.as_deref() == Some(id)).map(|option| &option.id)
    };
    let all = |ids: &[String]| json!(ids.iter().filter_map(|id| wire(id)).collect::<Vec<_>>());
    match (&input.role, value) {
        (Role::Answer, Value::Text(text)) if matches!(question.kind, Kind::DateTime { .. }) => {
            text.split_once('T').map(|(date, _)| json!(date))
        }
        (Role::Time, Value::Text(text)) => text.split_once('T').map(|(_, time)| json!(time)),
        (Role::Answer, Value::Text(text)) => Some(json!(text)),
        (Role::Answer, Value::Number(_) | Value::Bool(_)) => {
            if matches!(question.kind, Kind::Consent { .. }) {
                return Some(value.to_json());
            }
            let text = value.to_json().to_string();
            if input.options.is_empty() { Some(json!(text)) } else { wire(&text).map(|id| json!(id)) }
        }
        (Role::Answer, Value::Choice(selection)) => match (&selection.other, selection.ids.first()) {
            (Some(_), _) => {
                input.options.iter().find(|option| option.source.is_none()).map(|option| json!(option.id))
            }
            (None, id) => wire(id?).map(|id| json!(id)),
        },
        (Role::Other, value) => value.other().map(|text| json!(text)),
        (Role::Answer, Value::Choices(selection)) => Some(all(&selection.ids)),
        (Role::Row(row), Value::Matrix(rows)) => {
            let ids = rows.get(row)?;
            if input.many { Some(all(ids)) } else { wire(ids.first()?).map(|id| json!(id)) }
        }
        // Options of a ranking or a search are not sure to be offered again.
        _ => None,
    }
}

fn option_json(option: &WireOption) -> Json {
    let mut json = json!({"id": option.id, "title": option.title});
    if let Some(description) = &option.description {
        json["description"] = json!(description);
    }
    json
}

pub(super) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}
