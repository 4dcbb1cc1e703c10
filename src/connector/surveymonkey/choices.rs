//! Choices, and the "other" field that choices and matrices may have.

use serde_json::Value;

use super::address::To;
use super::question::{Asked, Item, Piece};
use super::{Reader, flag, id, is_deleted, text};
use crate::form::{Choice, ChoiceOption, Display, Kind, Other, Question};

/// `answers.other`.
struct OtherField<'j> {
    id: String,
    text: String,
    json: &'j Value,
}

impl Reader {
    pub(super) fn single_choice(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let Some((choice, to)) = self.choice(asked) else {
            return self.unsupported(asked, "list of options", questions);
        };
        self.push(asked, Piece::whole(asked, Kind::SingleChoice(choice), to), questions);
        self.comment_of_choice(asked, questions);
    }

    pub(super) fn multiple_choice(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let Some((mut choice, to)) = self.choice(asked) else {
            return self.unsupported(asked, "list of options", questions);
        };
        (choice.min, choice.max) = (asked.required.min.filter(|min| *min > 0), asked.required.max);
        let most = choice.options.len() + usize::from(choice.other.is_some());
        if choice.min.is_some_and(|min| usize::try_from(min).is_ok_and(|min| min > most))
            || choice.max == Some(0)
        {
            self.lost(
                &asked.at(),
                &asked.heading,
                "no answer could keep its number of options; it is not enforced",
            );
            (choice.min, choice.max) = (None, None);
        }
        self.push(asked, Piece::whole(asked, Kind::MultipleChoice(choice), to), questions);
        self.comment_of_choice(asked, questions);
    }

    /// The options; `None` when there is none.
    fn choice(&mut self, asked: &Asked<'_>) -> Option<(Choice, To)> {
        let mut items = self.items(asked, asked.answers("choices"));
        self.sort(asked, &mut items);
        let options = self.options(asked, &items);
        let other = self.other_field(asked).filter(|other| is_option(other.json));
        if let Some(other) = &other {
            self.has_other_length |= other.json.get("num_chars").is_some();
            let ruled = ["validation", "required"]
                .iter()
                .any(|name| other.json.get(name).is_some_and(Value::is_object));
            if ruled {
                self.lost(
                    &asked.at(),
                    &asked.heading,
                    "the rules for what is written under “other” are not enforced",
                );
            }
        }
        if options.is_empty() && other.is_none() {
            return None;
        }
        let image =
            asked.display("display_type") == "image_choice" || options.iter().any(|o| o.image.is_some());
        let display = match asked.member("subtype").as_str() {
            _ if image => Display::Picture,
            Some("menu") => Display::Dropdown,
            _ => Display::List,
        };
        let to = To::Choices { other: other.as_ref().map(|other| other.id.clone()) };
        let mut choice = Choice { options, other: None, min: None, max: None, display };
        match other {
            // Without an option there is nothing beside which "other" could stand.
            Some(other) if !choice.options.is_empty() => {
                choice.other = Some(Other { label: Some(other.text).filter(|label| !label.is_empty()) });
            }
            Some(_) => return None,
            None => {}
        }
        Some((choice, to))
    }

    /// The items as options; one without a text is called by its number.
    pub(super) fn options(&mut self, asked: &Asked<'_>, items: &[Item<'_>]) -> Vec<ChoiceOption> {
        let mut nameless = false;
        let mut exclusive = false;
        let options: Vec<ChoiceOption> = items
            .iter()
            .enumerate()
            .map(|(number, item)| {
                let description =
                    text(item.json, "description").map(|source| self.plain(&asked.at(), source));
                let description = description.filter(|d| !d.is_empty() && !item.text.contains(d.as_str()));
                let label = match (item.text.as_str(), description) {
                    ("", Some(description)) => description,
                    ("", None) => {
                        nameless = true;
                        (number + 1).to_string()
                    }
                    (text, Some(description)) => format!("{text} – {description}"),
                    (text, None) => text.to_owned(),
                };
                exclusive |= flag(item.json, "is_none_of_the_above");
                let quiz = item.json.get("quiz_options").and_then(|quiz| quiz.get("score"));
                self.is_quiz |= quiz.and_then(Value::as_f64).is_some_and(|score| score != 0.0);
                let image = item.json.get("image").and_then(|image| text(image, "url")).map(str::to_owned);
                ChoiceOption { id: item.id.clone(), label, image }
            })
            .collect();
        if nameless {
            self.changed(&asked.at(), &asked.heading, "an option without a text is called by its number");
        }
        if exclusive {
            self.lost(&asked.at(), &asked.heading, "“none of the above” can be chosen together with others");
        }
        options
    }

    fn other_field<'j>(&mut self, asked: &Asked<'j>) -> Option<OtherField<'j>> {
        let other = asked.member("answers").get("other")?;
        // The documentation of creating has a list where the answer has an object.
        let json = other.as_array().map_or(Some(other), |list| list.first())?;
        if !json.is_object() || is_deleted(json) {
            return None;
        }
        let label = text(json, "text").map(|source| self.plain(&asked.at(), source)).unwrap_or_default();
        match id(json) {
            Some(id) => Some(OtherField { id, text: label, json }),
            None => {
                self.lost(&asked.at(), &asked.heading, format!("“{label}” has no id; it is left out"));
                None
            }
        }
    }

    fn comment_of_choice(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        if let Some(other) = self.other_field(asked).filter(|other| !is_option(other.json)) {
            self.comment(asked, &other, None, questions);
        }
    }

    /// The comment field of a matrix, one for each row where the survey has it so.
    pub(super) fn comments_of_rows(
        &mut self,
        asked: &Asked<'_>,
        rows: &[Item<'_>],
        questions: &mut Vec<Question>,
    ) {
        let Some(other) = self.other_field(asked) else { return };
        if flag(other.json, "apply_all_rows") && !rows.is_empty() {
            for row in rows {
                self.comment(asked, &other, Some(row), questions);
            }
        } else {
            self.comment(asked, &other, None, questions);
        }
    }

    fn comment(
        &mut self,
        asked: &Asked<'_>,
        other: &OtherField<'_>,
        row: Option<&Item<'_>>,
        questions: &mut Vec<Question>,
    ) {
        let number =
            |name: &str| other.json.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
        let is_long = number("num_lines").is_some_and(|lines| lines > 1);
        let rule = other.json.get("validation").unwrap_or(&Value::Null);
        let (mut kind, _) = self.text_kind(asked, rule, is_long);
        if let Kind::ShortText(limits) | Kind::LongText(limits) = &mut kind {
            let size = number("num_chars").filter(|size| *size > 0);
            let max = limits.max_length.into_iter().chain(size).min();
            limits.max_length = max.filter(|max| limits.min_length.is_none_or(|min| min <= *max));
        }
        let required = other.json.get("required");
        let required =
            required.is_some_and(|required| required.is_object() || required == &Value::Bool(true));
        self.has_messages |= text(other.json, "error_text").is_some();
        let label = if other.text.is_empty() { asked.heading.clone() } else { other.text.clone() };
        let title = match row.map(|row| row.text.as_str()).filter(|row| !row.is_empty()) {
            Some(row) => format!("{row}: {label}"),
            None => label,
        };
        let piece = Piece {
            title,
            kind,
            required,
            row: row.map(|row| row.id.clone()),
            col: None,
            to: To::Comment(other.id.clone()),
            grouped: true,
            part: None,
        };
        self.push(asked, piece, questions);
    }
}

/// Whether it takes the place of an option. The member is absent from shortened definitions; the editor makes an option
/// of it unless told otherwise.
fn is_option(other: &Value) -> bool {
    other.get("is_answer_choice").and_then(Value::as_bool).unwrap_or(true)
}
