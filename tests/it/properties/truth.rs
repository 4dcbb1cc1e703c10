//! Valid answers: what a person means, and how a phone writes it into the inputs of a screen.

use std::collections::BTreeMap;

use formgate::flow::plan::{Block, Input, Role};
use formgate::form::{Kind, Question};
use serde_json::{Map, Value as Json, json};

use super::Dice;
use super::options::{DATES, EMAILS, NUMBERS, PHONES, TEXTS, TIMES, URLS};
use super::reference::Given;

/// What is written under "other": never the id of an option.
const OWN: [&str; 2] = ["Mauve", "My own words"];

/// An answer and the texts that are typed for it where they differ from what is stored.
#[derive(Debug, Clone)]
pub struct Meant {
    pub given: Option<Given>,
    typed: String,
}

impl Meant {
    fn plain(text: &str) -> Meant {
        Meant { given: Some(Given::Text(text.to_owned())), typed: text.to_owned() }
    }

    fn typed(typed: &str, stored: &str) -> Meant {
        Meant { given: Some(Given::Text(stored.to_owned())), typed: typed.to_owned() }
    }

    fn of(given: Given) -> Meant {
        Meant { given: Some(given), typed: String::new() }
    }

    pub fn nothing() -> Meant {
        Meant { given: None, typed: String::new() }
    }
}

/// A random answer that the form accepts, or none where none is needed.
pub fn meant(dice: &mut Dice, question: &Question) -> Meant {
    match &question.kind {
        Kind::Statement | Kind::Unsupported { .. } => return Meant::nothing(),
        // A consent that is not given is an answer too.
        Kind::Consent { .. } => return Meant::of(Given::Truth(question.required || dice.chance(60))),
        _ if !question.required && dice.chance(20) => return unanswered(&question.kind),
        _ => {}
    }
    match &question.kind {
        Kind::ShortText(limits) | Kind::LongText(limits) => {
            let text = if limits.pattern.is_some() { "AB123" } else { TEXTS[dice.below(TEXTS.len())] };
            if dice.chance(20) { Meant::typed(&format!("  {text} "), text) } else { Meant::plain(text) }
        }
        Kind::Email { .. } => Meant::plain(EMAILS[dice.below(EMAILS.len())]),
        Kind::Phone { .. } => {
            let (typed, stored) = dice.pick(&PHONES);
            Meant::typed(typed, stored)
        }
        Kind::Url => {
            let (typed, stored) = dice.pick(&URLS);
            Meant::typed(typed, stored)
        }
        Kind::Date { .. } => Meant::plain(DATES[dice.below(DATES.len())]),
        Kind::Time { .. } => {
            let (typed, stored) = dice.pick(&TIMES);
            Meant::typed(typed, stored)
        }
        Kind::DateTime { .. } => {
            let (date, (typed, stored)) = (*dice.pick(&DATES), *dice.pick(&TIMES));
            Meant::typed(&format!("{date}T{typed}"), &format!("{date}T{stored}"))
        }
        Kind::Number { .. } => Meant::of(Given::Number(*dice.pick(&NUMBERS))),
        Kind::Rating { steps } => Meant::of(Given::Number(whole(1 + dice.below(usize::from(*steps))))),
        Kind::Nps { .. } => Meant::of(Given::Number(whole(dice.below(11)))),
        Kind::Scale { min, max, step, .. } => {
            let count = usize::try_from((max - min) / step + 1).expect("a small scale");
            let steps = whole(dice.below(count));
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            Meant::of(Given::Number(*min as f64 + steps * *step as f64))
        }
        Kind::YesNo => Meant::of(Given::Truth(dice.chance(50))),
        Kind::SingleChoice(choice) => {
            if choice.other.is_some() && dice.chance(25) {
                return Meant::of(Given::Options(Vec::new(), Some((*dice.pick(&OWN)).to_owned())));
            }
            Meant::of(Given::Options(vec![dice.pick(&choice.options).id.clone()], None))
        }
        Kind::MultipleChoice(choice) => {
            let other = (choice.other.is_some() && dice.chance(30)).then(|| (*dice.pick(&OWN)).to_owned());
            let own = usize::from(other.is_some());
            let least = choice.min.map_or(1, |min| min as usize).max(1).saturating_sub(own);
            let most = choice.max.map_or(choice.options.len(), |max| max as usize);
            let most = most.min(choice.options.len() + own).saturating_sub(own).min(least + 4);
            let count = if most > least { least + dice.below(most - least + 1) } else { least };
            let mut order: Vec<usize> = (0..choice.options.len()).collect();
            dice.shuffle(&mut order);
            let mut chosen: Vec<usize> = order.into_iter().take(count).collect();
            chosen.sort_unstable();
            let ids = chosen.into_iter().map(|index| choice.options[index].id.clone()).collect();
            Meant::of(Given::Options(ids, other))
        }
        Kind::Ranking { options } => {
            let mut order: Vec<String> = options.iter().map(|option| option.id.clone()).collect();
            dice.shuffle(&mut order);
            Meant::of(Given::Order(order))
        }
        Kind::Matrix { rows, columns, multiple } => {
            let mut grid = BTreeMap::new();
            for row in rows {
                if !question.required && !row.required && dice.chance(40) {
                    continue;
                }
                let mut cells: Vec<usize> = vec![dice.below(columns.len())];
                if *multiple && dice.chance(50) {
                    cells.push(dice.below(columns.len()));
                    cells.sort_unstable();
                    cells.dedup();
                }
                grid.insert(row.id.clone(), cells.into_iter().map(|at| columns[at].id.clone()).collect());
            }
            if grid.is_empty() { Meant::nothing() } else { Meant::of(Given::Grid(grid)) }
        }
        Kind::File(limits) => {
            let count = 1 + dice.below(usize::from(limits.max_files));
            let ending = if limits.photos_only { "jpg" } else { "pdf" };
            Meant::of(Given::Files((0..count).map(|number| format!("file{number}.{ending}")).collect()))
        }
        Kind::Consent { .. } | Kind::Statement | Kind::Unsupported { .. } => unreachable!("answered above"),
    }
}

/// Nothing, as far as the kind allows nothing: a row may be required for itself.
fn unanswered(kind: &Kind) -> Meant {
    if let Kind::Matrix { rows, columns, .. } = kind {
        let must = rows.iter().filter(|row| row.required);
        let grid: BTreeMap<_, _> = must.map(|row| (row.id.clone(), vec![columns[0].id.clone()])).collect();
        return if grid.is_empty() { Meant::nothing() } else { Meant::of(Given::Grid(grid)) };
    }
    Meant::nothing()
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn whole(number: usize) -> f64 {
    number as f64
}

/// How a screen takes an answer.
pub enum Written {
    /// The question is done with this screen.
    Done,
    /// The next screen goes on with it.
    GoesOn,
}

/// Writes what is meant into the payload, for the part of the question that this block asks. `offered` are the options
/// that the server sent for an input.
pub fn write(
    meant: &Meant,
    block: &Block,
    question: &Question,
    offered: impl Fn(&str) -> Option<Vec<String>>,
    payload: &mut Map<String, Json>,
) -> Written {
    let mut put = |input: &Input, value: Json| {
        payload.insert(input.name.clone(), value);
    };
    let id_of = |input: &Input, source: &str| {
        let option = input.options.iter().find(|option| option.source.as_deref() == Some(source));
        let option = option.unwrap_or_else(|| panic!("{}: {source} is not offered", input.name));
        if let Some(offered) = offered(&input.name) {
            assert!(
                offered.contains(&option.id),
                "{}: {source} is not among what is offered now",
                input.name
            );
        }
        json!(option.id)
    };
    let mut goes_on = !block.last;
    for input in &block.inputs {
        let part = match (&input.role, &meant.given) {
            (Role::Rank(0) | Role::Query | Role::Pick, None) => {
                goes_on = false;
                None
            }
            (_, None) => None,
            (Role::Other, Some(Given::Options(_, other))) => other.as_ref().map(|own| json!(own)),
            (Role::Time, Some(Given::Text(_))) => meant.typed.split_once('T').map(|(_, time)| json!(time)),
            (Role::Rank(place), Some(Given::Order(order))) => Some(id_of(input, &order[usize::from(*place)])),
            (Role::Row(row), Some(Given::Grid(grid))) => grid.get(row).map(|cells| {
                if input.many {
                    json!(cells.iter().map(|cell| id_of(input, cell)).collect::<Vec<_>>())
                } else {
                    id_of(input, &cells[0])
                }
            }),
            (Role::Query, Some(Given::Options(ids, _))) => {
                let options = question.kind.options();
                // Who wants something else still has to search first.
                let option = options.iter().find(|option| ids.first().is_none_or(|id| *id == option.id));
                Some(json!(option.expect("an option").label))
            }
            (Role::Answer | Role::Pick, Some(Given::Options(ids, other))) => {
                if input.many {
                    let here =
                        ids.iter().filter(|id| input.options.iter().any(|o| o.source.as_ref() == Some(*id)));
                    Some(json!(here.map(|id| id_of(input, id)).collect::<Vec<_>>()))
                } else if other.is_some() {
                    let own = input.options.iter().find(|option| option.source.is_none());
                    Some(json!(own.expect("other is offered").id))
                } else {
                    Some(id_of(input, &ids[0]))
                }
            }
            (Role::Answer, Some(Given::Text(_))) if matches!(question.kind, Kind::DateTime { .. }) => {
                meant.typed.split_once('T').map(|(date, _)| json!(date))
            }
            (Role::Answer, Some(Given::Text(_))) => Some(json!(meant.typed)),
            (Role::Answer, Some(Given::Number(number))) => {
                let text = format!("{number}");
                Some(if input.options.is_empty() { json!(text) } else { id_of(input, &text) })
            }
            (Role::Answer, Some(Given::Truth(truth))) => {
                Some(if input.options.is_empty() { json!(truth) } else { id_of(input, &truth.to_string()) })
            }
            (Role::Answer, Some(Given::Files(names))) => {
                Some(json!(names.iter().map(|name| file(name)).collect::<Vec<_>>()))
            }
            (role, given) => panic!("{role:?} cannot take {given:?}"),
        };
        if let Some(part) = part {
            put(input, part);
        }
    }
    if goes_on { Written::GoesOn } else { Written::Done }
}

/// A media object of an exchange (WhatsApp Flows reference, 5.1).
pub fn file(name: &str) -> Json {
    let (long, short) = ("A".repeat(43) + "=", "A".repeat(22) + "==");
    json!({"media_id": "790aba14", "cdn_url": "https://mmg.whatsapp.net/x", "file_name": name, "encryption_metadata": {
        "encrypted_hash": long, "iv": short, "encryption_key": long, "hmac_key": long, "plaintext_hash": long}})
}
