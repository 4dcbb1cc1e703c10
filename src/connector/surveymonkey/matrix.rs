//! Matrices: ratings, stars, net promoter scores, rankings, grids of choices and of drop-downs.

use serde_json::Value;

use super::address::To;
use super::question::{Asked, Item, Piece};
use super::{Reader, flag, text};
use crate::form::{Choice, Display, Kind, Labels, MatrixRow, Question};

/// How SurveyMonkey weighs the eleven steps of a net promoter score.
const NPS_WEIGHTS: [i64; 11] = [-100, -100, -100, -100, -100, -100, -100, 0, 0, 100, 100];

impl Reader {
    pub(super) fn matrix(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let mut rows = self.items(asked, asked.answers("rows"));
        self.sort(asked, &mut rows);
        if rows.is_empty() {
            return self.unsupported(asked, "list of rows", questions);
        }
        let from = questions.len();
        match text(asked.json, "subtype").unwrap_or_default() {
            "menu" => self.menus(asked, &rows, questions),
            "ranking" => self.ranking(asked, &rows, questions),
            "single" | "rating" => self.grid(asked, &rows, false, questions),
            "multi" => self.grid(asked, &rows, true, questions),
            _ => return self.unsupported(asked, "subtype", questions),
        }
        let is_asked = questions.get(from).is_some_and(|first| first.kind.is_answered());
        if is_asked {
            self.comments_of_rows(asked, &rows, questions);
        }
    }

    fn grid(&mut self, asked: &Asked<'_>, rows: &[Item<'_>], multiple: bool, questions: &mut Vec<Question>) {
        let columns = self.items(asked, asked.answers("choices"));
        if columns.is_empty() {
            return self.unsupported(asked, "list of columns", questions);
        }
        let required = self.needs_all(asked, rows.len());
        if let [row] = rows {
            return self.one_row(asked, row, &columns, (multiple, required), questions);
        }
        if flag(asked.json, "forced_ranking") {
            let what = "that each column is chosen for one row only is not enforced";
            self.lost(&asked.at(), &asked.heading, what);
        }
        let columns = self.options(asked, &columns);
        let nameless = rows.iter().any(|row| row.text.is_empty());
        if nameless {
            self.changed(&asked.at(), &asked.heading, "a row without a text is called by its number");
        }
        let label = |(number, row): (usize, &Item<'_>)| MatrixRow {
            id: row.id.clone(),
            label: if row.text.is_empty() { (number + 1).to_string() } else { row.text.clone() },
            required: false,
        };
        let rows = rows.iter().enumerate().map(label).collect();
        let piece = Piece::whole(asked, Kind::Matrix { rows, columns, multiple }, To::Rows);
        self.push(asked, Piece { required, ..piece }, questions);
    }

    /// A matrix of one row is a choice, a rating or a score.
    fn one_row(
        &mut self,
        asked: &Asked<'_>,
        row: &Item<'_>,
        columns: &[Item<'_>],
        (multiple, required): (bool, bool),
        questions: &mut Vec<Question>,
    ) {
        let ids = || columns.iter().map(|column| column.id.clone()).collect::<Vec<_>>();
        let steps = u8::try_from(columns.len()).ok().filter(|steps| *steps <= 100);
        let is_na = columns.iter().any(|column| flag(column.json, "is_na"));
        let is_emoji = asked.display("display_type") == "emoji";
        let nameless = columns.iter().enumerate().all(|(number, column)| {
            column.text.is_empty() || (is_emoji && column.text == (number + 1).to_string())
        });
        let weight = |column: &Item<'_>| column.json.get("weight").and_then(Value::as_i64);
        let is_nps = columns.iter().map(weight).eq(NPS_WEIGHTS.map(Some));
        let (kind, to) = match steps {
            _ if is_nps && !multiple && !is_na => {
                let end = |column: Option<&Item<'_>>| column.and_then(meaning);
                let labels = Labels { left: end(columns.first()), center: None, right: end(columns.last()) };
                (Kind::Nps { labels }, To::Steps(ids(), 0))
            }
            Some(steps) if nameless && !multiple && !is_na => (Kind::Rating { steps }, To::Steps(ids(), 1)),
            _ => {
                if is_emoji {
                    self.changed(
                        &asked.at(),
                        &asked.heading,
                        "its symbols are a list of options in the chat",
                    );
                }
                let options = self.options(asked, columns);
                let choice = Choice { options, other: None, min: None, max: None, display: Display::List };
                let kind = if multiple { Kind::MultipleChoice(choice) } else { Kind::SingleChoice(choice) };
                (kind, To::Choices { other: None })
            }
        };
        let grouped = !row.text.is_empty() && row.text != asked.heading;
        let title = if grouped { row.text.clone() } else { asked.heading.clone() };
        let row = Some(row.id.clone());
        let piece = Piece { title, kind, required, row, col: None, to, grouped, part: None };
        self.push(asked, piece, questions);
    }

    fn ranking(&mut self, asked: &Asked<'_>, rows: &[Item<'_>], questions: &mut Vec<Question>) {
        let ranks = self.items(asked, asked.answers("choices"));
        let (na, ranks): (Vec<_>, Vec<_>) = ranks.into_iter().partition(|rank| flag(rank.json, "is_na"));
        if ranks.len() != rows.len() {
            return self.unsupported(asked, "list of ranks", questions);
        }
        if !na.is_empty() {
            let what = "all rows are put in order; that one is not applicable cannot be said";
            self.lost(&asked.at(), &asked.heading, what);
        }
        let required = self.needs_all(asked, rows.len());
        let options = self.options(asked, rows);
        let ranks = ranks.into_iter().map(|rank| rank.id).collect();
        let piece = Piece::whole(asked, Kind::Ranking { options }, To::Ranks(ranks));
        self.push(asked, Piece { required, ..piece }, questions);
    }

    fn menus(&mut self, asked: &Asked<'_>, rows: &[Item<'_>], questions: &mut Vec<Question>) {
        let columns = self.items(asked, asked.answers("cols"));
        let required = self.needs_all(asked, rows.len());
        let from = questions.len();
        for row in rows {
            for column in &columns {
                let choices = self.items(asked, super::list(column.json, "choices"));
                let title = match (row.text.as_str(), column.text.as_str()) {
                    ("", "") => asked.heading.clone(),
                    (row, "") => row.to_owned(),
                    ("", column) => column.to_owned(),
                    (row, column) => format!("{row}: {column}"),
                };
                if choices.is_empty() {
                    let what = format!("“{title}” has no options; it is left out");
                    self.lost(&asked.at(), &asked.heading, what);
                    continue;
                }
                let options = self.options(asked, &choices);
                let choice =
                    Choice { options, other: None, min: None, max: None, display: Display::Dropdown };
                let piece = Piece {
                    grouped: title != asked.heading,
                    title,
                    kind: Kind::SingleChoice(choice),
                    required,
                    row: Some(row.id.clone()),
                    col: Some(column.id.clone()),
                    to: To::Choices { other: None },
                    part: None,
                };
                self.push(asked, piece, questions);
            }
        }
        if questions.len() == from {
            self.unsupported(asked, "list of columns", questions);
        }
    }
}

/// What an end of a score means: its description, or its text without the number.
fn meaning(column: &Item<'_>) -> Option<String> {
    let described = text(column.json, "description").map(str::trim);
    let bare =
        column.text.trim_matches(|c: char| c.is_ascii_digit() || c.is_whitespace() || "-–—:().".contains(c));
    described.or(Some(bare)).filter(|text| !text.is_empty()).map(str::to_owned)
}
