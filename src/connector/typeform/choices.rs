//! The options of choices, dropdowns, pictures and rankings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fields::Field;
use super::{Reader, flag, list, text};
use crate::form::{Choice, ChoiceOption, Display, Kind, Other};

/// How logic may name the options of each question.
#[derive(Default)]
pub(super) struct Aliases(BTreeMap<String, Options>);

#[derive(Default)]
struct Options {
    by_name: BTreeMap<String, String>,
    labels: Vec<(String, String)>,
}

impl Aliases {
    /// Whether the question is a choice at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The option with this reference or id.
    pub(super) fn named(&self, key: &str, name: &str) -> Option<&str> {
        self.0.get(key)?.by_name.get(name).map(String::as_str)
    }

    /// The options whose label satisfies `test`; labels come trimmed and in lower case.
    pub(super) fn labelled(&self, key: &str, test: impl Fn(&str) -> bool) -> Vec<&str> {
        let labels = self.0.get(key).map_or(&[][..], |options| &options.labels);
        labels.iter().filter(|(label, _)| test(label)).map(|(_, id)| id.as_str()).collect()
    }
}

/// As labels are compared.
pub(super) fn fold(label: &str) -> String {
    label.trim().to_lowercase()
}

impl Reader<'_> {
    /// A single or multiple choice; `None` when it has no options.
    pub(super) fn choice(&mut self, field: &Field<'_>, display: Display) -> Option<Kind> {
        let properties = field.properties();
        let options = self.options(field)?;
        let other = flag(properties, "allow_other_choice").then(Other::default);
        let mut choice = Choice { options, other, min: None, max: None, display };
        if !flag(properties, "allow_multiple_selection") {
            for rule in ["min_selection", "max_selection"] {
                if field.limit(rule).is_some() {
                    self.lost(
                        field.at(),
                        &field.title(),
                        "a limit of selections on a choice of one is ignored",
                    );
                }
            }
            return Some(Kind::SingleChoice(choice));
        }
        let most = choice.options.len() + usize::from(choice.other.is_some());
        choice.min = field.limit("min_selection").filter(|min| *min > 0);
        choice.max = field.limit("max_selection").filter(|max| *max > 0);
        let too_many = choice.min.is_some_and(|min| usize::try_from(min).is_ok_and(|min| min > most));
        if too_many || choice.min.zip(choice.max).is_some_and(|(min, max)| min > max) {
            self.lost(
                field.at(),
                &field.title(),
                "no answer could keep its limits of selections; they are ignored",
            );
            (choice.min, choice.max) = (None, None);
        }
        Some(Kind::MultipleChoice(choice))
    }

    /// A ranking; `None` when it has no options.
    pub(super) fn ranking(&mut self, field: &Field<'_>) -> Option<Kind> {
        let options = self.options(field)?;
        for rule in ["min_selection", "max_selection"] {
            if field.limit(rule).is_some_and(|limit| usize::try_from(limit) != Ok(options.len())) {
                self.changed(
                    field.at(),
                    &field.title(),
                    "all options are put in order, not only some of them",
                );
            }
        }
        Some(Kind::Ranking { options })
    }

    fn options(&mut self, field: &Field<'_>) -> Option<Vec<ChoiceOption>> {
        let properties = field.properties();
        let (mut options, mut aliases) = (Vec::new(), Options::default());
        for (option, choice) in self.identified(field) {
            for name in [text(choice, "ref"), text(choice, "id")].into_iter().flatten() {
                aliases.by_name.entry(name.to_owned()).or_insert_with(|| option.id.clone());
            }
            aliases.labels.push((fold(&option.label), option.id.clone()));
            options.push(option);
        }
        if flag(properties, "alphabetical_order") {
            options.sort_by_cached_key(|option| fold(&option.label));
        }
        if flag(properties, "randomize") {
            self.changed(field.at(), &field.title(), "its options always come in the same order");
        }
        self.options.0.insert(field.key.clone(), aliases);
        (!options.is_empty()).then_some(options)
    }

    /// The options in the order of the definition, each with what the definition says of it. A definition without
    /// references still gets the same ids each time it is read.
    pub(super) fn identified<'f>(&mut self, field: &Field<'f>) -> Vec<(ChoiceOption, &'f Value)> {
        let (at, title) = (field.at(), field.title());
        let mut identified: Vec<(ChoiceOption, &Value)> = Vec::new();
        let mut ids = BTreeSet::new();
        for (number, choice) in list(field.properties(), "choices").iter().enumerate() {
            let image = choice.get("attachment").and_then(|a| text(a, "href")).map(str::to_owned);
            let label = match text(choice, "label") {
                Some(label) => self.plain(&at, &title, label),
                None => {
                    self.changed(at.clone(), &title, "an option without a text is called by its number");
                    format!("{}", number + 1)
                }
            };
            let source = text(choice, "ref").or(text(choice, "id"));
            let mut id = source.unwrap_or(&label).trim().to_owned();
            while !ids.insert(id.clone()) {
                id = format!("{id} ({})", number + 1);
            }
            identified.push((ChoiceOption { id, label, image }, choice));
        }
        identified
    }
}
