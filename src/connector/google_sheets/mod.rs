//! Grade C for Google: a row in a sheet (form tools reference 2.5).
//!
//! Invariant: a row is appended as raw values, so that nothing a person writes becomes a formula, and only if every answer
//! has a column; the columns are matched by the header at every delivery. Before a repeat the last rows are looked at.
//!
//! What it deliberately does not do: it makes no tab and no column, and it changes no row. The form's own results do not
//! have the response.

mod row;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::time::Instant;

use self::row::{Columns, expected, letters, row};
use super::api::{Api, Asked};
use super::json::{list, text};
use crate::client::{Method, Response};
use crate::form::Form;
use crate::outbox::{Attempting, Call, Destination, DestinationId, Grade, Outcome, retry_after};

/// Where the API is.
pub const API: &str = "https://sheets.googleapis.com";
/// Rows that are looked at for one that was written before, without a column for its id.
const LAST_ROWS: usize = 200;
/// Tabs whose headers are compared.
const MAX_TABS: usize = 50;
/// What is read of a column.
const MAX_COLUMN_BYTES: usize = 8 * 1024 * 1024;

/// A sheet as a destination.
pub struct Sheet {
    /// Its name.
    pub id: DestinationId,
    /// Google's API, with a token for this sheet.
    pub api: Api,
    /// The spreadsheet's id.
    pub spreadsheet: String,
    /// The tab's title; `None`: the one whose header has the questions.
    pub tab: Option<String>,
    /// The forms, by flow, whose questions are columns.
    pub forms: BTreeMap<String, Form>,
    /// The tab that was found last.
    pub found: Mutex<Option<String>>,
}

impl std::fmt::Debug for Sheet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sheet").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for Sheet {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.api.account)
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.append(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

/// What a look at the last rows found.
enum Looked {
    There,
    NotThere,
    /// There are too many rows to look at.
    Unknown,
}

impl Sheet {
    async fn append(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let form = self.forms.get(&call.submission.flow_id);
        let (tab, columns) = self.header(form, call).await?;
        let row = row(&columns, form, call.submission)
            .map_err(|reason| Outcome::refused("mapping", None, format!("in the tab “{tab}” {reason}")))?;
        let looked =
            if call.sent_before { self.look(&tab, &columns, &row, call).await? } else { Looked::NotThere };
        if matches!(looked, Looked::There) {
            return Ok(Outcome { class: "found", ..Outcome::delivered(None) });
        }
        let range = format!("{}!A1:append", quoted(&tab));
        let body = json!({"majorDimension": "ROWS", "values": [row]});
        let path = ["v4", "spreadsheets", &self.spreadsheet, "values", &range];
        let mut asked = Asked::send(Method::POST, &path, &body, call.deadline);
        asked.query = &[("valueInputOption", "RAW"), ("insertDataOption", "INSERT_ROWS")];
        let response = self.api.call(asked).await?;
        let code = Some(response.status.as_u16());
        if !response.status.is_success() {
            return Err(judge(&response, false));
        }
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if answer.pointer("/updates/updatedRows").and_then(Value::as_u64) != Some(1) {
            // Something between us answers, or Google has written nothing.
            return Err(Outcome::retry("answer", None, None));
        }
        Ok(match looked {
            Looked::Unknown => Outcome::delivered_maybe_twice(code),
            _ => Outcome::delivered(code),
        })
    }

    /// The tab and what its first row says.
    async fn header(&self, form: Option<&Form>, call: Call<'_>) -> Result<(String, Columns), Outcome> {
        let known = self.tab.clone().or_else(|| self.found().clone());
        let wanted = expected(form, call.submission);
        if let Some(tab) = known {
            match self.headers(std::slice::from_ref(&tab), call.deadline).await {
                Ok(mut headers) => {
                    let columns = headers.pop().unwrap_or_default();
                    if self.tab.is_some() || columns.score(&wanted) == wanted.len() {
                        return Ok((tab, columns));
                    }
                }
                // A tab that was found before may have another title now.
                Err(outcome) if self.tab.is_none() && outcome.status == Some(400) => {}
                Err(outcome) => return Err(outcome),
            }
        }
        let tabs = self.tabs(call.deadline).await?;
        let headers = self.headers(&tabs, call.deadline).await?;
        let scored =
            tabs.into_iter().zip(headers).map(|(tab, columns)| (columns.score(&wanted), tab, columns));
        // The first of those with the most; `max_by_key` would take the last.
        let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
        match best.filter(|(score, ..)| *score > 0) {
            Some((_, tab, columns)) => {
                *self.found() = Some(tab.clone());
                Ok((tab, columns))
            }
            None => Err(Outcome::refused(
                "tab",
                None,
                "no tab of the spreadsheet has the form's questions in its first row; write them there, or name the tab, then replay",
            )),
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tabs(&self, deadline: Instant) -> Result<Vec<String>, Outcome> {
        let path = ["v4", "spreadsheets", &self.spreadsheet];
        let answer = self.get(&path, &[("fields", "sheets.properties(sheetId,title)")], deadline).await?;
        let titles =
            list(&answer, "sheets").iter().filter_map(|sheet| text(sheet.get("properties")?, "title"));
        Ok(titles.take(MAX_TABS).map(str::to_owned).collect())
    }

    /// The first rows of these tabs.
    async fn headers(&self, tabs: &[String], deadline: Instant) -> Result<Vec<Columns>, Outcome> {
        let ranges: Vec<String> = tabs.iter().map(|tab| format!("{}!1:1", quoted(tab))).collect();
        let mut query: Vec<(&str, &str)> = ranges.iter().map(|range| ("ranges", range.as_str())).collect();
        query.push(("majorDimension", "ROWS"));
        let path = ["v4", "spreadsheets", &self.spreadsheet, "values:batchGet"];
        let answer = self.get(&path, &query, deadline).await?;
        let ranges = list(&answer, "valueRanges");
        if ranges.len() != tabs.len() {
            return Err(Outcome::retry("look", None, None));
        }
        Ok(ranges.iter().map(|range| Columns::of(range.pointer("/values/0"))).collect())
    }

    /// Whether the row is among the last ones: by its id where there is a column for it, else by all that is in it.
    async fn look(
        &self,
        tab: &str,
        columns: &Columns,
        row: &[Value],
        call: Call<'_>,
    ) -> Result<Looked, Outcome> {
        let own = columns.position("wa_submission_id");
        let letter = letters(own.unwrap_or(0));
        let Some(column) =
            self.read(&format!("{}!{letter}:{letter}", quoted(tab)), "COLUMNS", call.deadline).await?
        else {
            return Ok(Looked::Unknown);
        };
        let column = column.first().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if own.is_some() {
            let id = call.submission.id.to_string();
            let is_there = column.iter().any(|cell| cell.as_str() == Some(&id));
            return Ok(if is_there { Looked::There } else { Looked::NotThere });
        }
        let (first, last) = (column.len().saturating_sub(LAST_ROWS).max(1) + 1, column.len());
        if first > last {
            return Ok(Looked::NotThere);
        }
        let range = format!("{}!A{first}:{}{last}", quoted(tab), letters(columns.len().saturating_sub(1)));
        let Some(rows) = self.read(&range, "ROWS", call.deadline).await? else { return Ok(Looked::Unknown) };
        let is_there = rows.iter().filter_map(Value::as_array).any(|known| row::same(known, row));
        Ok(if is_there { Looked::There } else { Looked::NotThere })
    }

    /// The values of a range; `None` if they are too many.
    async fn read(&self, range: &str, by: &str, deadline: Instant) -> Result<Option<Vec<Value>>, Outcome> {
        let path = ["v4", "spreadsheets", &self.spreadsheet, "values", range];
        let query = [("majorDimension", by), ("valueRenderOption", "UNFORMATTED_VALUE")];
        let mut asked = Asked::get(&path, &query, deadline);
        asked.max_bytes = MAX_COLUMN_BYTES;
        let response = self.api.call(asked).await?;
        if response.truncated {
            return Ok(None);
        }
        let answer = read(&response)?;
        Ok(Some(list(&answer, "values").to_vec()))
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)], deadline: Instant) -> Result<Value, Outcome> {
        read(&self.api.call(Asked::get(path, query, deadline)).await?)
    }
}

fn read(response: &Response) -> Result<Value, Outcome> {
    if !response.status.is_success() {
        return Err(judge(response, true));
    }
    serde_json::from_slice(&response.body)
        .map_err(|_| Outcome::retry("look", Some(response.status.as_u16()), None))
}

/// A title in A1 notation.
fn quoted(tab: &str) -> String {
    format!("'{}'", tab.replace('\'', "''"))
}

/// What an answer other than success means (form tools reference 2.5 and 2.6). Google's own words may quote a cell.
fn judge(response: &Response, is_look: bool) -> Outcome {
    let code = Some(response.status.as_u16());
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let status = body.pointer("/error/status").and_then(Value::as_str).unwrap_or_default();
    let reasons = body.pointer("/error/errors").and_then(Value::as_array).into_iter().flatten();
    let is_rate = status == "RESOURCE_EXHAUSTED"
        || reasons
            .filter_map(|error| text(error, "reason"))
            .any(|reason| reason.ends_with("ateLimitExceeded"));
    let class = if is_look { "look" } else { "status" };
    match response.status.as_u16() {
        429 => Outcome::retry("rate", code, retry_after(&response.headers)),
        403 if is_rate => Outcome::retry("rate", code, retry_after(&response.headers)),
        401 => Outcome::reconnect(
            "reconnect",
            code,
            "Google does not accept the access token: connect again, then resume",
        ),
        403 => Outcome::reconnect(
            "reconnect",
            code,
            "the account may not write to the spreadsheet: share it with the account as an editor, and grant the scope spreadsheets or drive.file, then resume",
        ),
        404 => Outcome::hold("gone", code, "there is no such spreadsheet, or the account may not see it"),
        400 if is_look => {
            Outcome::refused("tab", code, "the spreadsheet has no such tab; mend “tab”, then replay")
        }
        400..=499 => Outcome::refused(
            "mapping",
            code,
            "Google refused the row; compare the tab with the form, then replay",
        ),
        _ => Outcome::retry(class, code, retry_after(&response.headers)),
    }
}
