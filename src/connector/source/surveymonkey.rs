//! SurveyMonkey's surveys: `GET /v3/surveys` and `…/details` (form-tools, 4.2).

use serde_json::{Map, Value};

use super::{Account, Error, Fetched, Listed, Listing, Manners, Pending, Source};
use crate::connector::json::{flag, list, text};

const MANNERS: Manners = Manners {
    tool: "SurveyMonkey",
    needs: "the scope surveys_read",
    wait_header: Some("x-ratelimit-app-global-minute-reset"),
    words: |json| json.pointer("/error/message").or_else(|| json.get("errmsg"))?.as_str(),
};
/// Surveys a page.
const PAGE: &str = "100";
/// Translations taken along.
const MAX_TRANSLATIONS: usize = 30;

pub(super) struct Surveys(pub(super) Account);

impl Surveys {
    /// The survey's other languages. An account whose plan has none is told so by a refusal, which is no fault.
    async fn translations(&self, form: &str, own: &str) -> Result<Map<String, Value>, Error> {
        let refused = |error: &Error| {
            matches!(
                error,
                Error::NotFound { .. } | Error::Forbidden { .. } | Error::Status { .. } | Error::Shape { .. }
            )
        };
        let url = self.0.url(&["v3", "surveys", form, "languages"], &[]);
        let languages = match self.0.get(&MANNERS, url, form).await {
            Ok((languages, _)) => languages,
            Err(error) if refused(&error) => return Ok(Map::new()),
            Err(error) => return Err(error),
        };
        let mut translations = Map::new();
        let enabled = list(&languages, "data").iter().filter(|language| flag(language, "enabled"));
        let codes = enabled.filter_map(|language| text(language, "id")).filter(|code| *code != own);
        for code in codes.take(MAX_TRANSLATIONS) {
            let url = self.0.url(&["v3", "surveys", form, "languages", code], &[]);
            match self.0.get(&MANNERS, url, form).await {
                Ok((translation, _)) => drop(translations.insert(code.to_owned(), translation)),
                Err(error) if refused(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(translations)
    }
}

impl Source for Surveys {
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing> {
        Box::pin(async move {
            let number = page.unwrap_or("1");
            let mut query = vec![
                ("page", number),
                ("per_page", PAGE),
                ("include", "date_modified"),
                ("sort_by", "date_modified"),
                ("sort_order", "DESC"),
            ];
            query.extend(search.map(|search| ("title", search)));
            let (json, _) = self.0.get(&MANNERS, self.0.url(&["v3", "surveys"], &query), "").await?;
            if !json.get("data").is_some_and(Value::is_array) {
                return Err(Error::Shape { tool: MANNERS.tool, reason: "there is no list “data”" });
            }
            let forms = list(&json, "data").iter().filter_map(|survey| {
                Some(Listed {
                    id: text(survey, "id")?.to_owned(),
                    title: text(survey, "title").unwrap_or_default().to_owned(),
                    changed: text(survey, "date_modified").map(str::to_owned),
                })
            });
            let more = json.pointer("/links/next").and_then(Value::as_str).is_some();
            let next = number.parse::<u64>().ok().filter(|_| more).map(|number| (number + 1).to_string());
            Ok(Listing { forms: forms.collect(), next })
        })
    }

    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched> {
        Box::pin(async move {
            let url = self.0.url(&["v3", "surveys", form, "details"], &[]);
            let (mut json, definition) = self.0.get(&MANNERS, url, form).await?;
            let revision = text(&json, "date_modified").unwrap_or_default().to_owned();
            let translations = self.translations(form, text(&json, "language").unwrap_or_default()).await?;
            let Some(members) = json.as_object_mut().filter(|_| !translations.is_empty()) else {
                return Ok(Fetched { definition, revision });
            };
            members.insert("translations".to_owned(), Value::Object(translations));
            Ok(Fetched { definition: json.to_string().into_bytes(), revision })
        })
    }
}
