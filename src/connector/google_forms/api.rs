//! The answer of `GET https://forms.googleapis.com/v1/forms/{formId}`. False and empty members are left out there.

use serde_json::Value;

use super::source::{Asked, Body, Choosable, Email, Goto, Grid, Item, Row, Shape, Source, Style, What};
use crate::connector::json::{flag, list, text};

pub(super) fn source(json: &Value) -> Source {
    let info = json.get("info").unwrap_or(&Value::Null);
    let owned = |json: &Value, name: &str| text(json, name).map(str::to_owned);
    let email = json.get("settings").and_then(|settings| text(settings, "emailCollectionType"));
    Source {
        shape: Shape::Api,
        id: owned(json, "formId"),
        title: owned(info, "title").or_else(|| owned(info, "documentTitle")),
        description: owned(info, "description"),
        email: match email {
            None | Some("DO_NOT_COLLECT" | "EMAIL_COLLECTION_TYPE_UNSPECIFIED") => Email::No,
            Some("VERIFIED") => Email::Verified,
            Some("RESPONDER_INPUT") => Email::Asked,
            Some(_) => Email::Unknown,
        },
        confirmation: None,
        // Forms from before the publish feature have no such settings; absent means "as before".
        closed: json
            .pointer("/publishSettings/publishState")
            .is_some_and(|state| !flag(state, "isPublished") || !flag(state, "isAcceptingResponses")),
        items: list(json, "items").iter().map(item).collect(),
    }
}

fn item(json: &Value) -> Item {
    let part = |name: &str| json.get(name).filter(|part| part.is_object());
    let question = part("questionItem");
    let group = part("questionGroupItem");
    let body = if let Some(question) = question.and_then(|item| item.get("question")) {
        Body::Question(asked(question))
    } else if let Some(group) = group {
        Body::Grid(grid(group))
    } else if part("pageBreakItem").is_some() {
        Body::Section { after_previous: None }
    } else if part("textItem").is_some() {
        Body::Text
    } else if let Some(image) = part("imageItem") {
        let alternative = image.get("image").and_then(|image| text(image, "altText")).map(str::to_owned);
        Body::Image { alternative }
    } else if let Some(video) = part("videoItem") {
        let address = video.get("video").and_then(|video| text(video, "youtubeUri")).map(str::to_owned);
        Body::Video { address, caption: text(video, "caption").map(str::to_owned) }
    } else {
        let members = json.as_object().into_iter().flat_map(serde_json::Map::keys);
        let kind = members.filter(|name| name.ends_with("Item")).map(String::as_str).next();
        Body::Unknown(kind.unwrap_or("item").to_owned())
    };
    Item {
        id: text(json, "itemId").map(str::to_owned),
        title: text(json, "title").map(str::to_owned),
        description: text(json, "description").map(str::to_owned),
        picture: question.or(group).is_some_and(has_image),
        body,
    }
}

fn has_image(json: &Value) -> bool {
    json.get("image").is_some_and(Value::is_object)
}

fn asked(json: &Value) -> Asked {
    Asked {
        id: text(json, "questionId").map(str::to_owned),
        required: flag(json, "required"),
        what: what(json),
        checks: Vec::new(),
        graded: is_graded(json),
    }
}

fn is_graded(json: &Value) -> bool {
    json.get("grading").and_then(Value::as_object).is_some_and(|grading| !grading.is_empty())
}

fn what(json: &Value) -> What {
    let part = |name: &str| json.get(name).filter(|part| part.is_object());
    if let Some(question) = part("choiceQuestion") {
        let style = match text(question, "type") {
            Some("RADIO") => Style::Radio,
            Some("CHECKBOX") => Style::Checkbox,
            Some("DROP_DOWN") => Style::Dropdown,
            _ => return What::Damaged("type"),
        };
        let options = list(question, "options").iter().map(option).collect();
        What::Choice { style, options, shuffled: flag(question, "shuffle") }
    } else if let Some(question) = part("textQuestion") {
        What::Text { paragraph: flag(question, "paragraph") }
    } else if let Some(question) = part("scaleQuestion") {
        let low = question.get("low").map_or(Some(0), Value::as_i64);
        let (Some(low), Some(high)) = (low, question.get("high").and_then(Value::as_i64)) else {
            return What::Damaged("low and high");
        };
        let label = |name: &str| text(question, name).map(str::to_owned);
        What::Scale { low, high, labels: [label("lowLabel"), label("highLabel")] }
    } else if let Some(question) = part("ratingQuestion") {
        let Some(steps) = question.get("ratingScaleLevel").and_then(Value::as_i64) else {
            return What::Damaged("ratingScaleLevel");
        };
        let stars = matches!(text(question, "iconType"), None | Some("STAR"));
        What::Rating { steps, stars }
    } else if let Some(question) = part("dateQuestion") {
        What::Date { time: flag(question, "includeTime"), year: flag(question, "includeYear") }
    } else if let Some(question) = part("timeQuestion") {
        What::Time { duration: flag(question, "duration") }
    } else if let Some(question) = part("fileUploadQuestion") {
        // 64-bit numbers are texts in Google's JSON.
        let number = |name: &str| {
            let value = question.get(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let types = list(question, "types").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        What::File { types, most: number("maxFiles"), bytes: number("maxFileSize") }
    } else {
        let members = json.as_object().into_iter().flat_map(serde_json::Map::keys);
        let kind = members.filter(|name| name.ends_with("Question")).map(String::as_str).next();
        What::Unknown(kind.unwrap_or("question").to_owned())
    }
}

fn option(json: &Value) -> Choosable {
    // Not trimmed: a response must hold the value to the letter.
    let goto = match (text(json, "goToSectionId"), text(json, "goToAction")) {
        (Some(section), _) => Some(Goto::Section(section.to_owned())),
        (None, None | Some("GO_TO_ACTION_UNSPECIFIED")) => None,
        (None, Some("NEXT_SECTION")) => Some(Goto::Next),
        (None, Some("RESTART_FORM")) => Some(Goto::Restart),
        (None, Some("SUBMIT_FORM")) => Some(Goto::Submit),
        (None, Some(action)) => Some(Goto::Unknown(action.to_owned())),
    };
    Choosable {
        value: text(json, "value").map(str::to_owned),
        other: flag(json, "isOther"),
        picture: has_image(json),
        goto,
    }
}

fn grid(json: &Value) -> Grid {
    let columns = json.pointer("/grid/columns").unwrap_or(&Value::Null);
    let rows = list(json, "questions");
    Grid {
        rows: rows
            .iter()
            .map(|row| Row {
                id: text(row, "questionId").map(str::to_owned),
                title: row.get("rowQuestion").and_then(|row| text(row, "title")).map(str::to_owned),
                required: flag(row, "required"),
            })
            .collect(),
        columns: list(columns, "options").iter().map(option).collect(),
        multiple: text(columns, "type") == Some("CHECKBOX"),
        shuffled: json.get("grid").is_some_and(|grid| flag(grid, "shuffleQuestions")),
        checks: Vec::new(),
        graded: rows.iter().any(is_graded),
    }
}
