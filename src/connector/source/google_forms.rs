//! Google's forms: `forms.get`, and Drive's `files.list` where the connection may list (form-tools, 2.2).

use serde_json::Value;
use url::Url;

use super::{Account, Error, Fetched, Listed, Listing, Manners, Pending, Source};
use crate::connector::api::at;
use crate::connector::json::{list, text};

const MANNERS: Manners = Manners {
    tool: "Google",
    needs: "the right to read the form: pick it when connecting, or share it with the service account",
    wait_header: None,
    words: |json| json.pointer("/error/message")?.as_str(),
};
const LISTING: Manners = Manners {
    needs: "a scope that lists files (drive.metadata.readonly); without it give the form's link",
    ..MANNERS
};
/// Forms a page.
const PAGE: &str = "100";
/// Google's own hosts, which have no common root.
const FORMS: &str = "forms.googleapis.com";
const DRIVE: &str = "www.googleapis.com";

pub(super) struct Forms(pub(super) Account);

impl Forms {
    /// Drive has another host than Forms; a stand-in for both has one.
    fn drive(&self) -> Url {
        let mut url = self.0.api.clone();
        if url.host_str() == Some(FORMS) {
            // Cannot fail: it replaces one name by another.
            let _replaced = url.set_host(Some(DRIVE));
        }
        url
    }
}

impl Source for Forms {
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing> {
        Box::pin(async move {
            let mut wanted = "mimeType='application/vnd.google-apps.form' and trashed=false".to_owned();
            if let Some(search) = search {
                let quoted = search.replace('\\', "\\\\").replace('\'', "\\'");
                wanted.push_str(&format!(" and name contains '{quoted}'"));
            }
            let mut query = vec![
                ("q", wanted.as_str()),
                ("fields", "nextPageToken,files(id,name,modifiedTime)"),
                ("orderBy", "modifiedTime desc"),
                ("pageSize", PAGE),
                ("supportsAllDrives", "true"),
                ("includeItemsFromAllDrives", "true"),
            ];
            query.extend(page.map(|page| ("pageToken", page)));
            let url = at(&self.drive(), &["drive", "v3", "files"], &query);
            let (json, _) = self.0.get(&LISTING, url, "").await?;
            if !json.get("files").is_some_and(Value::is_array) {
                return Err(Error::Shape { tool: MANNERS.tool, reason: "there is no list “files”" });
            }
            let forms = list(&json, "files").iter().filter_map(|file| {
                Some(Listed {
                    id: text(file, "id")?.to_owned(),
                    title: text(file, "name").unwrap_or_default().to_owned(),
                    changed: text(file, "modifiedTime").map(str::to_owned),
                })
            });
            Ok(Listing { forms: forms.collect(), next: text(&json, "nextPageToken").map(str::to_owned) })
        })
    }

    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched> {
        Box::pin(async move {
            let id = form_id(form)?;
            let url = self.0.url(&["v1", "forms", &id], &[]);
            let (json, definition) = self.0.get(&MANNERS, url, &id).await?;
            Ok(Fetched { definition, revision: text(&json, "revisionId").unwrap_or_default().to_owned() })
        })
    }
}

/// The id of a form, from itself or from the link of its editor.
fn form_id(given: &str) -> Result<String, Error> {
    let Ok(url) = Url::parse(given) else { return Ok(given.to_owned()) };
    let parts: Vec<&str> = url.path_segments().map(Iterator::collect).unwrap_or_default();
    // …/forms/d/ID/edit, also …/forms/u/0/d/ID/edit; the public page is …/forms/d/e/PUBLIC/viewform.
    let after = parts.iter().position(|part| *part == "d").map(|at| (parts.get(at + 1), parts.get(at + 2)));
    match after {
        Some((Some(&"e"), Some(_))) => Err(Error::Reference(
            "this is the link of the form's public page, which does not tell its id: give the link of the editor (…/forms/d/…/edit)"
                .to_owned(),
        )),
        Some((Some(id), _)) if !id.is_empty() => Ok((*id).to_owned()),
        _ => Err(Error::Reference(
            "this link leads to no Google form: give the link of the editor (…/forms/d/…/edit), or the form's id"
                .to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::form_id;

    #[test]
    fn a_form_is_named_by_its_id_or_the_link_of_its_editor_and_not_by_its_public_page() {
        for given in [
            "1AbC_d-9",
            "https://docs.google.com/forms/d/1AbC_d-9/edit",
            "https://docs.google.com/forms/u/0/d/1AbC_d-9/edit?usp=sharing",
        ] {
            assert_eq!(form_id(given).ok().as_deref(), Some("1AbC_d-9"), "{given}");
        }
        for given in [
            "https://docs.google.com/forms/d/e/1FAIpQLx/viewform",
            "https://example.com/form",
            "https://docs.google.com/forms/d/",
        ] {
            assert!(form_id(given).is_err(), "{given}");
        }
    }
}
