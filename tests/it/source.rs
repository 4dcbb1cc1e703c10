//! Reading forms from the tools' APIs: listing, searching, paging, fetching, translations and every refusal, over sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::connector;
use formgate::connector::source::{Account, Error, Listed, Source, source};
use formgate::sandbox::library::{Library, TOOLS};
use secrecy::SecretString;
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use url::Url;

const DEFINITIONS: [(&str, &str, &str); 4] = [
    (
        "hubspot",
        "5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10",
        include_str!("../fixtures/hubspot/wine-tasting.json"),
    ),
    (
        "google-forms",
        "1workshopExampleFormId0000000000000000000000",
        include_str!("../fixtures/google-forms/workshop.json"),
    ),
    ("typeform", "GrdnVst1", include_str!("../fixtures/typeform/garden-visit.json")),
    ("surveymonkey", "9001", include_str!("../fixtures/surveymonkey/workshop.json")),
];
const TOKEN: &str = "token-of-the-account";

/// The four tools on one port, with a token that may read.
pub(crate) struct Tools {
    pub(crate) library: Library,
    root: Url,
    _stop: watch::Sender<bool>,
}

impl Tools {
    pub(crate) async fn start() -> Self {
        Self::granting(&[
            "forms",
            "forms.body.readonly",
            "drive.metadata.readonly",
            "forms:read",
            "surveys_read",
        ])
        .await
    }

    async fn granting(scopes: &'static [&'static str]) -> Self {
        let scopes: BTreeSet<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let library = Library::new(Arc::new(move |_, token| (token == TOKEN).then(|| scopes.clone())));
        let (stop, stopped) = watch::channel(false);
        let address = library.serve(stopped).await.expect("a port");
        let root = Url::parse(&format!("http://{address}/")).expect("an address");
        Self { library, root, _stop: stop }
    }

    pub(crate) fn api(&self, tool: &str) -> Url {
        self.root.join(tool).expect("a path")
    }

    fn source(&self, tool: &str, token: &str) -> Box<dyn Source> {
        let account = Account {
            api: self.api(tool),
            tokens: Arc::new(SecretString::from(token)),
            client: Client::new(),
            policy: AddressPolicy::AllowPrivateNetwork,
        };
        source(tool, account).expect("a tool with forms")
    }
}

pub(crate) fn definition(tool: &str) -> Json {
    let found = DEFINITIONS.iter().find(|(name, ..)| *name == tool).expect("a fixture");
    serde_json::from_str(found.2).expect("JSON")
}

/// A copy of a definition under another id and title.
fn copy(tool: &str, id: &str, title: &str) -> Json {
    let mut json = definition(tool);
    match tool {
        "hubspot" => (json["id"], json["name"]) = (json!(id), json!(title)),
        "google-forms" => {
            json["formId"] = json!(id);
            json["info"]["documentTitle"] = json!(title);
        }
        _ => (json["id"], json["title"]) = (json!(id), json!(title)),
    }
    json
}

async fn all(source: &dyn Source, search: Option<&str>) -> (Vec<Listed>, usize) {
    let (mut forms, mut page, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let listing = source.list(search, page.as_deref()).await.expect("a page");
        forms.extend(listing.forms);
        pages += 1;
        page = listing.next;
        if page.is_none() {
            return (forms, pages);
        }
        assert!(pages < 20, "the list does not end");
    }
}

#[tokio::test]
async fn every_form_of_an_account_is_listed_page_by_page_and_found_by_its_title() {
    let tools = Tools::start().await;
    for tool in TOOLS {
        for number in 0..230 {
            tools.library.put(tool, copy(tool, &format!("form{number:03}"), &format!("Course {number:03}")));
        }
        tools.library.put(tool, copy(tool, "special", "It's \\ Ada's form"));
        let source = tools.source(tool, TOKEN);
        let (forms, pages) = all(&*source, None).await;
        let ids: BTreeSet<&str> = forms.iter().map(|form| form.id.as_str()).collect();
        assert_eq!((forms.len(), ids.len()), (231, 231), "{tool}");
        assert!(pages > 1, "{tool}");
        assert!(forms.iter().all(|form| form.changed.is_some() && !form.title.is_empty()), "{tool}");
        let (found, _) = all(&*source, Some("course 22")).await;
        assert_eq!(found.len(), 10, "{tool}: {found:?}");
        let (found, _) = all(&*source, Some("It's \\ Ada's")).await;
        assert_eq!(found.iter().map(|form| form.id.as_str()).collect::<Vec<_>>(), ["special"], "{tool}");
        assert_eq!(all(&*source, Some("nothing like it")).await.0, vec![], "{tool}");
    }
}

#[tokio::test]
async fn what_is_fetched_is_what_the_reader_of_the_tool_reads() {
    let tools = Tools::start().await;
    for (tool, id, text) in DEFINITIONS {
        tools.library.put(tool, definition(tool));
        let source = tools.source(tool, TOKEN);
        let fetched = source.fetch(id).await.expect("the form");
        assert!(!fetched.revision.is_empty(), "{tool}");
        let reader = connector(tool).expect("a reader");
        let (read, file) = (reader.read(&fetched.definition), reader.read(text.as_bytes()));
        assert_eq!(read.expect("a form").form, file.expect("a form").form, "{tool}");

        let before = fetched.revision;
        tools.library.put(tool, definition(tool));
        assert_ne!(source.fetch(id).await.expect("the form").revision, before, "{tool}");
    }
    let source = tools.source("google-forms", TOKEN);
    let link = format!("https://docs.google.com/forms/d/{}/edit", DEFINITIONS[1].1);
    assert!(source.fetch(&link).await.is_ok());
}

#[tokio::test]
async fn an_id_cannot_lead_to_another_call() {
    let tools = Tools::start().await;
    for tool in TOOLS {
        let source = tools.source(tool, TOKEN);
        for id in ["../me", "a/b", "x?limit=1", "%2e%2e", "é #", ""] {
            let refused = source.fetch(id).await.expect_err("there is no such form");
            assert!(
                matches!(refused, Error::NotFound { .. } | Error::Shape { .. } | Error::Status { .. }),
                "{tool} {id}: {refused:?}"
            );
        }
        assert!(tools.library.requests().iter().all(|request| !request.contains("/me")), "{tool}");
    }
}

#[tokio::test]
async fn translations_are_taken_along_and_read_as_the_form_is() {
    let tools = Tools::start().await;
    let field = definition("typeform")["fields"][0].clone();
    tools.library.put("typeform", definition("typeform"));
    let translation = json!({"fields": [{"id": field["id"], "title": "*Ciao*, come stai?"}]});
    tools.library.translate("typeform", "GrdnVst1", "it", translation);
    let fetched = tools.source("typeform", TOKEN).fetch("GrdnVst1").await.expect("the form");
    let import = connector("typeform").expect("a reader").read(&fetched.definition).expect("a form");
    let italian = import.form.localized("it").expect("a translation");
    assert!(
        italian.texts().values().any(|text| text == "Ciao, come stai?"),
        "{:?}",
        import.form.translations
    );
    assert!(import.notes.iter().all(|note| note.at != "form.translations"));

    let survey = definition("surveymonkey");
    let heading =
        survey["pages"][0]["questions"][0]["headings"][0]["heading"].as_str().expect("a heading").to_owned();
    tools.library.put("surveymonkey", survey);
    let strings =
        json!({"translations": [{"default": heading, "translation": "<b>Una domanda?</b>", "context": ""}]});
    tools.library.translate("surveymonkey", "9001", "it", strings);
    let fetched = tools.source("surveymonkey", TOKEN).fetch("9001").await.expect("the survey");
    let import = connector("surveymonkey").expect("a reader").read(&fetched.definition).expect("a form");
    let italian = import.form.localized("it").expect("a translation");
    assert!(italian.texts().values().any(|text| text == "Una domanda?"), "{:?}", import.form.translations);
}

#[tokio::test]
async fn every_refusal_says_what_the_owner_can_do() {
    let tools = Tools::start().await;
    for (tool, id, _) in DEFINITIONS {
        tools.library.put(tool, definition(tool));
        let wrong = tools.source(tool, "another-token").fetch(id).await.expect_err("refused");
        assert!(matches!(wrong, Error::Reconnect { .. }), "{tool}: {wrong:?}");
        assert!(
            wrong.to_string().contains("connect it again") && !wrong.to_string().contains("another-token")
        );

        let source = tools.source(tool, TOKEN);
        let gone = source.fetch("nowhere").await.expect_err("refused");
        assert!(matches!(&gone, Error::NotFound { id, .. } if id == "nowhere"), "{tool}: {gone:?}");
        tools.library.refuse([(429, Some(7))]);
        let busy = source.fetch(id).await.expect_err("refused");
        assert!(
            matches!(busy, Error::Busy { after, .. } if after == Duration::from_secs(7)),
            "{tool}: {busy:?}"
        );
        tools.library.refuse([(429, None)]);
        let busy = source.list(None, None).await.expect_err("refused");
        assert!(
            matches!(busy, Error::Busy { after, .. } if after == Duration::from_secs(60)),
            "{tool}: {busy:?}"
        );
        tools.library.refuse([(500, None)]);
        let failed = source.fetch(id).await.expect_err("refused").to_string();
        assert!(failed.contains("500") && failed.contains("refused on purpose"), "{tool}: {failed}");
    }
    let poor = Tools::granting(&["oauth"]).await;
    for (tool, needs) in [
        ("hubspot", "forms"),
        ("google-forms", "share it"),
        ("typeform", "forms:read"),
        ("surveymonkey", "surveys_read"),
    ] {
        let refused = poor.source(tool, TOKEN).fetch("x").await.expect_err("refused");
        assert!(
            matches!(refused, Error::Forbidden { .. }) && refused.to_string().contains(needs),
            "{refused}"
        );
    }
}
