//! Typeform's forms: `GET /forms`, and a form with its translations (form-tools, 3.2).

use serde_json::Value;

use super::{Account, Error, Fetched, Listed, Listing, Manners, Pending, Source};
use crate::connector::json::{list, text};

const MANNERS: Manners = Manners {
    tool: "Typeform",
    needs: "the scope forms:read",
    wait_header: None,
    words: |json| json.get("description")?.as_str(),
};
/// Forms a page; the most there can be.
const PAGE: usize = 200;
/// Translations taken along.
const MAX_TRANSLATIONS: usize = 30;

pub(super) struct Forms(pub(super) Account);

impl Source for Forms {
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing> {
        Box::pin(async move {
            let (number, size) = (page.unwrap_or("1"), PAGE.to_string());
            let mut query = vec![
                ("page", number),
                ("page_size", size.as_str()),
                ("sort_by", "last_updated_at"),
                ("order_by", "desc"),
            ];
            query.extend(search.map(|search| ("search", search)));
            let (json, _) = self.0.get(&MANNERS, self.0.url(&["forms"], &query), "").await?;
            if !json.get("items").is_some_and(Value::is_array) {
                return Err(Error::Shape { tool: MANNERS.tool, reason: "there is no list “items”" });
            }
            let forms = list(&json, "items").iter().filter_map(|form| {
                Some(Listed {
                    id: text(form, "id")?.to_owned(),
                    title: text(form, "title").unwrap_or_default().to_owned(),
                    changed: text(form, "last_updated_at").map(str::to_owned),
                })
            });
            let number: u64 = number.parse().unwrap_or(1);
            let pages = json.get("page_count").and_then(Value::as_u64).unwrap_or(1);
            Ok(Listing { forms: forms.collect(), next: (number < pages).then(|| (number + 1).to_string()) })
        })
    }

    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched> {
        Box::pin(async move {
            let (mut json, definition) =
                self.0.get(&MANNERS, self.0.url(&["forms", form], &[]), form).await?;
            let languages: Vec<String> = json
                .pointer("/settings/translation_languages")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|language| language.as_str().map(str::to_owned))
                .take(MAX_TRANSLATIONS)
                .collect();
            let revision = text(&json, "last_updated_at").unwrap_or_default().to_owned();
            let mut translations = serde_json::Map::new();
            for language in languages {
                let url = self.0.url(&["forms", form, "translation", &language], &[]);
                match self.0.get(&MANNERS, url, form).await {
                    Ok((translation, _)) => drop(translations.insert(language, translation)),
                    // Not documented by Typeform itself: the form is read without, and its report says so.
                    Err(
                        Error::NotFound { .. }
                        | Error::Forbidden { .. }
                        | Error::Status { .. }
                        | Error::Shape { .. },
                    ) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(members) = json.as_object_mut().filter(|_| !translations.is_empty()) else {
                return Ok(Fetched { definition, revision });
            };
            members.insert("translations".to_owned(), Value::Object(translations));
            Ok(Fetched { definition: json.to_string().into_bytes(), revision })
        })
    }
}
