//! Choices: of options, of numbers, of places, of rows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{MAX_BODY, Maker, cut, fixed};
use crate::flow::compile::names;
use crate::flow::limits;
use crate::flow::plan::{DataKey, DataSource, Role, WireOption};
use crate::flow::report::Grade;
use crate::form::{Choice, ChoiceOption, Display, Kind, Labels};

/// Most options of a radio or checkbox group, of a drop-down, and of what a search may answer.
const MAX_RADIO: usize = 20;
const MAX_DROPDOWN: usize = 200;
/// A drop-down of the source becomes radios up to this many options (Meta's advice: drop-down from eight).
const FEW: usize = 7;
/// Rows of a matrix on one screen.
const ROWS_PER_SCREEN: usize = 5;
/// Checkbox groups on one screen, for a choice of more than twenty options.
const GROUPS_PER_SCREEN: usize = 5;

/// Why a bound of a choice of several is the server's.
const HOW_MANY: &str = "how many may be chosen is checked after sending";

impl Maker<'_> {
    pub(super) fn single_choice(&mut self, choice: &Choice) {
        let options = self.options(&choice.options, choice.other.as_ref().map(|o| o.label.as_deref()));
        if choice.display == Display::Picture {
            self.worse(Grade::Substitute, "pictures are shown as their names");
        }
        if options.len() > MAX_DROPDOWN {
            return self.search(choice);
        }
        let name = self.single(options, choice.display, Role::Answer, "");
        if choice.other.is_some() {
            self.other(Some(&name));
        }
    }

    /// Radios up to twenty options, a drop-down above; tells the input's name.
    pub(super) fn single(
        &mut self,
        options: Vec<WireOption>,
        display: Display,
        role: Role,
        part: &str,
    ) -> String {
        let dropdown = options.len() > MAX_RADIO || (display == Display::Dropdown && options.len() > FEW);
        let component = if dropdown { "Dropdown" } else { "RadioButtonsGroup" };
        if dropdown && display != Display::Dropdown {
            self.worse(Grade::Substitute, "a drop-down, since WhatsApp shows at most 20 buttons");
        }
        let label = self.label(component, self.words.choose);
        self.help_below_heading();
        self.asked.bytes += 72;
        self.choice_field(component, &label, part, role, options, json!({}))
    }

    pub(super) fn multiple_choice(&mut self, choice: &Choice) {
        if choice.display == Display::Picture {
            self.worse(Grade::Substitute, "pictures are shown as their names");
        }
        let options = self.options(&choice.options, None);
        self.asked.bytes += choice.options.iter().map(|o| o.id.len() + 2).sum::<usize>();
        let offered = options.len() + usize::from(choice.other.is_some());
        let has_min = choice.min.is_some_and(|min| min > 1);
        let has_max = choice.max.is_some_and(|max| (max as usize) < offered);
        if options.len() <= MAX_RADIO {
            let mut extra = json!({});
            let min = choice.min.unwrap_or(0) as usize;
            let max = choice.max.map_or(options.len(), |max| max as usize).min(options.len());
            // The own option of "other" is not among the boxes, so a bound that counts it is the server's to hold.
            if choice.other.is_none() {
                if self.required && min > 1 && min < max {
                    extra["min-selected-items"] = json!(min);
                }
                if choice.max.is_some() && max >= 2 && min < max {
                    extra["max-selected-items"] = json!(max);
                }
            }
            let label = self.label("CheckboxGroup", self.words.choose);
            self.help_below_heading();
            let is_untold = |bound: &str| extra.get(bound).is_none();
            if has_min && is_untold("min-selected-items") || has_max && is_untold("max-selected-items") {
                self.server_only(HOW_MANY);
            }
            if choice.other.is_some() {
                self.not_insisted();
            }
            self.choice_field("CheckboxGroup", &label, "", Role::Answer, options, extra);
            if choice.other.is_some() {
                self.other(None);
            }
            return;
        }
        self.worse(Grade::Split, "more than 20 options: several groups of boxes, counted together");
        if has_min || has_max {
            self.server_only(HOW_MANY);
        }
        self.not_insisted();
        let groups: Vec<&[WireOption]> = options.chunks(MAX_RADIO).collect();
        let screens = groups.len().div_ceil(GROUPS_PER_SCREEN);
        for (screen, chunk) in groups.chunks(GROUPS_PER_SCREEN).enumerate() {
            self.heading();
            self.help_below_heading();
            for (index, group) in chunk.iter().enumerate() {
                let number = screen * GROUPS_PER_SCREEN + index;
                let label = self.words.choose;
                self.choice_field(
                    "CheckboxGroup",
                    label,
                    &format!("g{number}"),
                    Role::Answer,
                    group.to_vec(),
                    json!({}),
                );
            }
            if screen + 1 == screens && choice.other.is_some() {
                self.other(None);
            }
            self.next_screen();
        }
    }

    /// Several fields answer together, so that none of them can be required by itself.
    fn not_insisted(&mut self) {
        if std::mem::take(&mut self.required) {
            self.server_only("that it must be answered is checked after sending");
        }
    }

    /// More options than a drop-down holds: search on one screen, pick on the next.
    pub(super) fn search(&mut self, choice: &Choice) {
        self.worse(Grade::Split, "more than 200 options: a search, then a choice among what was found");
        self.heading();
        self.help_below_heading();
        let (label, hint) = (self.words.search, self.words.search_hint);
        let extra = json!({"input-type": "text", "max-chars": 80, "helper-text": hint});
        self.input_field("TextInput", label, "query", Role::Query, extra);
        self.next_screen();
        self.heading();
        let options = self.options(&choice.options, choice.other.as_ref().map(|o| o.label.as_deref()));
        self.dynamic("Dropdown", self.words.choose, "", Role::Pick, options, MAX_DROPDOWN);
        if choice.other.is_some() {
            let name = self.part.inputs.last().map(|input| input.name.clone()).unwrap_or_default();
            self.other(Some(&name));
        }
        self.asked.bytes += 160;
        self.next_screen();
    }

    /// The free text of "other": revealed by the choice it belongs to, or always there beside boxes.
    pub(super) fn other(&mut self, revealed_by: Option<&str>) {
        let own = match &self.question.kind {
            Kind::MultipleChoice(choice) => choice.other.as_ref().and_then(|other| other.label.clone()),
            _ => None,
        };
        let label = own.filter(|l| !l.trim().is_empty()).unwrap_or_else(|| self.words.specify.to_owned());
        if label.chars().count() > 20 {
            let text = self.text(&label, MAX_BODY);
            self.part.components.push(json!({"type": "TextBody", "text": text}));
        }
        let required = std::mem::replace(&mut self.required, false);
        let before = self.part.components.len();
        let extra = json!({"input-type": "text", "max-chars": 200});
        self.input_field("TextInput", &cut(&fixed(&label), 20), "other", Role::Other, extra);
        self.required = required;
        self.asked.bytes += 800;
        if let Some(choice) = revealed_by {
            let field = self.part.components.split_off(before);
            let condition = format!("(${{form.{choice}}} == '{}')", names::OTHER);
            self.part.components.push(json!({"type": "If", "condition": condition, "then": field}));
        } else {
            self.worse(Grade::Split, "the own answer is a field of its own below the boxes");
        }
    }

    pub(super) fn numbers(&mut self, min: i64, max: i64, step: i64, labels: &Labels) {
        let step = step.max(1);
        let count = (i128::from(max) - i128::from(min)).max(0) / i128::from(step) + 1;
        if count > MAX_DROPDOWN as i128 {
            self.worse(Grade::Substitute, "a number field, since the scale has more than 200 steps");
            let ends = [
                (min.to_string(), &labels.left),
                (String::new(), &labels.center),
                (max.to_string(), &labels.right),
            ];
            let told = ends.into_iter().filter_map(|(value, label)| {
                let label = label.as_deref().filter(|l| !l.trim().is_empty())?;
                Some(if value.is_empty() { label.to_owned() } else { format!("{value}: {label}") })
            });
            for text in told.collect::<Vec<_>>() {
                self.caption(&text);
            }
            return self.text_input("number", Role::Answer, 40, None);
        }
        let count = usize::try_from(count).unwrap_or(1);
        for label in [&labels.left, &labels.center, &labels.right].into_iter().flatten() {
            self.said_whole(label);
        }
        let middle = labels.center.as_deref().filter(|l| !l.trim().is_empty());
        if let Some(label) = middle.filter(|_| count < 3 || count % 2 == 0) {
            self.worse(
                Grade::Substitute,
                &format!("no step is the middle, so its label is not shown: {label}"),
            );
        }
        if let Some(label) = labels.right.as_deref().filter(|l| count == 1 && !l.trim().is_empty()) {
            self.worse(
                Grade::Substitute,
                &format!("there is one step, so the label of the other end is not shown: {label}"),
            );
        }
        let values: Vec<String> = std::iter::successors(Some(min), |v| v.checked_add(step))
            .take(count)
            .map(|v| v.to_string())
            .collect();
        let named = |value: &String, index: usize| {
            let label = if index == 0 {
                &labels.left
            } else if index + 1 == count {
                &labels.right
            } else if index * 2 + 1 == count {
                &labels.center
            } else {
                &None
            };
            label
                .as_ref()
                .filter(|l| !l.trim().is_empty())
                .map(|l| cut(&fixed(&format!("{value}: {l}")), 300))
        };
        let ids = names::option_ids(values.iter().map(String::as_str));
        let options = values
            .iter()
            .zip(ids)
            .enumerate()
            .map(|(index, (value, id))| wire(&id, Some(value), value, named(value, index)))
            .collect();
        self.worse(Grade::Substitute, "the steps are shown as a list of numbers");
        self.asked.bytes += 16;
        let display = if count > 10 { Display::Dropdown } else { Display::List };
        self.single(options, display, Role::Answer, "");
    }

    pub(super) fn ranking(&mut self, options: &[ChoiceOption]) {
        self.worse(Grade::Split, "one choice for each place; what is placed is not offered again");
        self.asked.bytes += options.iter().map(|o| o.id.len() + 2).sum::<usize>();
        let wired = self.options(options, None);
        for place in 0..wired.len().saturating_sub(1).max(1) {
            self.heading();
            if place == 0 {
                self.help_below_heading();
            }
            let label = cut(&format!("{} {}", self.words.place, place + 1), 20);
            let role = Role::Rank(u16::try_from(place).unwrap_or(u16::MAX));
            let component = if wired.len() > MAX_RADIO { "Dropdown" } else { "RadioButtonsGroup" };
            self.dynamic(
                component,
                &label,
                &format!("place{}", place + 1),
                role,
                wired.clone(),
                MAX_DROPDOWN,
            );
            self.next_screen();
        }
    }

    pub(super) fn matrix(&mut self) {
        let Kind::Matrix { rows, columns, multiple } = &self.question.kind else { return };
        self.worse(Grade::Split, "one choice for each row");
        let options = self.options(columns, None);
        for row in rows {
            self.item(&format!("row.{}", row.id), &row.label, Grade::Exact, "a choice of its own");
        }
        let widest = columns.iter().map(|c| c.id.len() + 2).sum::<usize>();
        self.asked.bytes += rows.iter().map(|r| r.id.len() + widest).sum::<usize>();
        let whole = self.required;
        for chunk in rows.chunks(ROWS_PER_SCREEN) {
            self.heading();
            self.help_below_heading();
            for row in chunk {
                self.required = whole || (row.required && self.question.required == whole);
                let component = match (*multiple, options.len() > MAX_RADIO) {
                    (true, _) => "CheckboxGroup",
                    (false, true) => "Dropdown",
                    (false, false) => "RadioButtonsGroup",
                };
                let limit = limits::max_chars(component, "label").unwrap_or(20);
                let label = if row.label.trim().is_empty() { &row.id } else { &row.label };
                if label.chars().count() > limit {
                    let text = self.text(label, MAX_BODY);
                    self.part.components.push(json!({"type": "TextBody", "text": text}));
                }
                let role = Role::Row(row.id.clone());
                // More columns than boxes: what does not fit is said, not silently cut.
                let cap = if component == "Dropdown" { MAX_DROPDOWN } else { MAX_RADIO };
                if options.len() > cap {
                    self.worse(Grade::Dropped, "more columns than WhatsApp can show for a row");
                }
                let shown = options.iter().take(cap).cloned().collect();
                self.choice_field(component, &cut(&fixed(label), limit), &row.id, role, shown, json!({}));
            }
            self.next_screen();
        }
        self.required = whole;
    }

    /// The report holds what a description cuts.
    fn said_whole(&mut self, label: &str) {
        // A label of a scale has its number before it.
        if label.chars().count() > 270 {
            self.worse(Grade::Substitute, &format!("cut to 300 characters; the whole text is: {label}"));
        }
    }

    pub(super) fn choice_field(
        &mut self,
        component: &str,
        label: &str,
        part: &str,
        role: Role,
        options: Vec<WireOption>,
        mut extra: Value,
    ) -> String {
        extra["data-source"] = options.iter().map(option_json).collect();
        self.field(component, label, part, role, options, extra)
    }

    /// A choice whose options the server sends.
    pub(super) fn dynamic(
        &mut self,
        component: &str,
        label: &str,
        part: &str,
        role: Role,
        options: Vec<WireOption>,
        max: usize,
    ) {
        let name = self.field(component, label, part, role, options, json!({}));
        let key = format!("o_{name}");
        if let Some(field) = self.part.components.last_mut() {
            field["data-source"] = json!(format!("${{data.{key}}}"));
        }
        self.part.data.push(DataKey { name: key, source: DataSource::Options { input: name, max } });
    }

    pub(super) fn options(
        &mut self,
        options: &[ChoiceOption],
        other: Option<Option<&str>>,
    ) -> Vec<WireOption> {
        let ids = names::option_ids(options.iter().map(|o| o.id.as_str()));
        let mut seen = BTreeMap::<String, usize>::new();
        let mut wired = Vec::with_capacity(options.len() + 1);
        let fresh = self.asked.items.is_empty();
        for (option, id) in options.iter().zip(ids) {
            let label = if option.label.trim().is_empty() { &option.id } else { &option.label };
            let short = cut(&fixed(label), 30);
            let count = seen.entry(short.to_lowercase()).or_default();
            *count += 1;
            let title = if *count > 1 { format!("{} ({count})", cut(&short, 22)) } else { short };
            let description = (title != fixed(label)).then(|| cut(&fixed(label), 300));
            let (grade, reason) = if description.is_none() {
                (Grade::Exact, "shown as it is".to_owned())
            } else if label.chars().count() <= 300 {
                (Grade::Exact, "a short title with the whole text below".to_owned())
            } else {
                (Grade::Substitute, format!("cut to 300 characters; the whole text is: {label}"))
            };
            if fresh {
                self.item(&format!("option.{}", option.id), label, grade, &reason);
            }
            wired.push(wire(&id, Some(&option.id), &title, description));
        }
        if let Some(label) = other {
            let label = label.filter(|l| !l.trim().is_empty()).unwrap_or(self.words.other);
            let title = cut(&fixed(label), 30);
            let description = (title != label.trim()).then(|| cut(&fixed(label), 300));
            if fresh {
                self.said_whole(label);
            }
            wired.push(wire(names::OTHER, None, &title, description));
        }
        wired
    }
}

pub(super) fn wire(id: &str, source: Option<&str>, title: &str, description: Option<String>) -> WireOption {
    let (title, description) = (fixed(title), description.map(|text| fixed(&text)));
    WireOption { id: id.to_owned(), source: source.map(str::to_owned), title, description }
}

fn option_json(option: &WireOption) -> Value {
    let mut json = json!({"id": option.id, "title": option.title});
    if let Some(description) = &option.description {
        json["description"] = json!(description);
    }
    json
}
