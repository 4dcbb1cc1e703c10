//! HubSpot's forms: `GET /marketing/v3/forms` (form-tools, 1.2). A list item already is the whole definition.

use serde_json::Value;

use super::{Account, Error, Fetched, Listed, Listing, Manners, Pending, Source};
use crate::connector::json::{list, text};

const MANNERS: Manners = Manners {
    tool: "HubSpot",
    needs: "the scope forms",
    wait_header: None,
    words: |json| json.get("message")?.as_str(),
};
/// Forms a page.
const PAGE: &str = "100";
/// Pages gone through for one page of what a search finds: the API cannot search.
const MAX_SEARCHED: usize = 50;

pub(super) struct Forms(pub(super) Account);

impl Forms {
    async fn page(&self, after: Option<&str>) -> Result<(Vec<Listed>, Option<String>), Error> {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.map(|after| ("after", after)));
        let url = self.0.url(&["marketing", "v3", "forms"], &query);
        let (json, _) = self.0.get(&MANNERS, url, "").await?;
        if !json.get("results").is_some_and(Value::is_array) {
            return Err(Error::Shape { tool: MANNERS.tool, reason: "there is no list “results”" });
        }
        let forms = list(&json, "results").iter().filter_map(|form| {
            Some(Listed {
                id: text(form, "id")?.to_owned(),
                title: text(form, "name").unwrap_or_default().to_owned(),
                changed: text(form, "updatedAt").map(str::to_owned),
            })
        });
        let next = json.pointer("/paging/next/after").and_then(Value::as_str).map(str::to_owned);
        Ok((forms.collect(), next))
    }
}

impl Source for Forms {
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing> {
        Box::pin(async move {
            let (mut forms, mut next) = self.page(page).await?;
            let Some(search) = search else { return Ok(Listing { forms, next }) };
            let wanted = search.to_lowercase();
            let mut found: Vec<Listed> = Vec::new();
            for _ in 0..MAX_SEARCHED {
                found.extend(forms.into_iter().filter(|form| form.title.to_lowercase().contains(&wanted)));
                let Some(after) = next.as_deref().filter(|_| found.is_empty()) else { break };
                (forms, next) = self.page(Some(after)).await?;
            }
            Ok(Listing { forms: found, next })
        })
    }

    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched> {
        Box::pin(async move {
            let url = self.0.url(&["marketing", "v3", "forms", form], &[]);
            let (json, definition) = self.0.get(&MANNERS, url, form).await?;
            Ok(Fetched { definition, revision: text(&json, "updatedAt").unwrap_or_default().to_owned() })
        })
    }
}
