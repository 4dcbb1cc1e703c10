//! What a flow is made from: taken over when it is harmless, waiting when it is not, and never lost between two of us.

use std::sync::Arc;

use formgate::catalog::drift::Impact;
use formgate::catalog::import::{Imported, Origin, Taken, read};
use formgate::catalog::overlay::Overlay;
use formgate::catalog::{Catalog, Error};
use formgate::connector::source::Fetched;
use formgate::flow::compile::Settings;
use formgate::store::{Batch, Options, Put, Scan, Store, Table};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::outbox::fixture::ManualClock;
use crate::source::definition;

struct Setup {
    _folder: TempDir,
    store: Store,
    catalog: Catalog,
    origin: Origin,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_embedded(&Options::new(folder.path())).expect("a store");
        let origin =
            Origin { tool: "typeform".into(), connection: "typeform-1".into(), form: "GrdnVst1".into() };
        Self { catalog: Catalog::new(store.clone()), _folder: folder, store, origin }
    }

    async fn take(&self, json: &Json, revision: &str, limit: Option<Impact>) -> Taken {
        self.try_take(json, revision, limit).await.expect("it is read")
    }

    async fn try_take(&self, json: &Json, revision: &str, limit: Option<Impact>) -> Result<Taken, Error> {
        let fetched = Fetched { definition: json.to_string().into_bytes(), revision: revision.to_owned() };
        self.catalog.take("garden", &self.origin, &fetched, limit, None, 1_000).await
    }

    async fn imported(&self) -> Imported {
        self.catalog.imported("garden").await.expect("the store").expect("an import")
    }

    async fn events(&self) -> Vec<String> {
        let records =
            self.store.scan(Table::Audit, Scan { limit: 100, ..Scan::default() }).await.expect("a scan");
        let mut events: Vec<String> = records
            .iter()
            .filter_map(|(_, record)| formgate::audit::Event::from_record(&record.value))
            .map(|event| format!("{} {} {}", event.actor, event.action, event.subject))
            .collect();
        events.sort_unstable();
        events
    }
}

fn titled(title: &str) -> Json {
    let mut json = definition("typeform");
    json["title"] = json!(title);
    json
}

/// A definition without its first field, and so without its answers.
fn shorter() -> Json {
    let mut json = definition("typeform");
    let fields = json["fields"].as_array_mut().expect("fields");
    let at = fields
        .iter()
        .position(|field| field["type"] == "short_text" || field["type"] == "email")
        .expect("a field");
    fields.remove(at);
    json
}

#[tokio::test]
async fn a_harmless_change_is_taken_and_a_breaking_one_waits_until_somebody_approves_it() {
    let setup = Setup::new();
    assert_eq!(setup.take(&definition("typeform"), "r1", Some(Impact::Compatible)).await, Taken::Taken(None));
    assert_eq!(setup.take(&definition("typeform"), "r2", Some(Impact::Compatible)).await, Taken::Unchanged);
    let Taken::Taken(Some(drift)) = setup.take(&titled("Another"), "r3", Some(Impact::Compatible)).await
    else {
        panic!("a title is harmless");
    };
    assert_eq!(drift.impact(), Some(Impact::Cosmetic));
    assert_eq!(setup.imported().await.current.revision, "r3");

    for news in [true, false] {
        let taken = setup.take(&shorter(), "r4", Some(Impact::Compatible)).await;
        assert!(
            matches!(&taken, Taken::Waits { news: told, drift, refused: None } if *told == news && drift.impact() == Some(Impact::Breaking)),
            "{taken:?}"
        );
    }
    let imported = setup.imported().await;
    assert_eq!(imported.current.revision, "r3", "people go on with what they had");
    assert_eq!(imported.waiting.expect("it waits").definition.revision, "r4");

    let drift =
        setup.catalog.approve("garden", "cli", 2_000).await.expect("the store").expect("something waited");
    assert_eq!(drift.impact(), Some(Impact::Breaking));
    let imported = setup.imported().await;
    assert_eq!((imported.current.revision.as_str(), imported.waiting), ("r4", None));
    assert_eq!(setup.catalog.approve("garden", "cli", 3_000).await.expect("the store"), None);
    assert_eq!(
        setup.events().await,
        [
            "cli form.change_approved garden",
            "import form.change_waits garden",
            "import form.changed garden",
            "import form.imported garden",
        ]
    );
}

#[tokio::test]
async fn a_change_that_was_taken_back_waits_no_longer_and_a_flow_that_takes_nothing_waits_for_all() {
    let setup = Setup::new();
    setup.take(&definition("typeform"), "r1", None).await;
    assert!(matches!(setup.take(&titled("Another"), "r2", None).await, Taken::Waits { .. }));
    assert_eq!(setup.take(&definition("typeform"), "r3", None).await, Taken::Unchanged);
    assert_eq!(setup.imported().await.waiting, None);
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let setup = Setup::new();
    setup.take(&definition("typeform"), "r1", Some(Impact::Breaking)).await;
    let refused =
        setup.try_take(&json!({"fields": []}), "r2", Some(Impact::Breaking)).await.expect_err("no form");
    assert!(refused.to_string().contains("no question"), "{refused}");
    assert_eq!(setup.imported().await.current.revision, "r1");
}

#[tokio::test]
async fn another_form_in_the_place_of_the_first_is_a_first_import() {
    let setup = Setup::new();
    setup.take(&shorter(), "r1", None).await;
    let other = Setup { origin: Origin { form: "Other".into(), ..setup.origin.clone() }, ..setup };
    assert_eq!(other.take(&definition("typeform"), "r1", None).await, Taken::Taken(None));
}

#[tokio::test]
async fn an_overlay_is_laid_over_before_forms_are_compared() {
    let setup = Setup::new();
    let key = formgate::connector::connector("typeform")
        .expect("a reader")
        .read(definition("typeform").to_string().as_bytes())
        .expect("a form")
        .form
        .questions()
        .map(|(_, question)| question.key.clone())
        .next()
        .expect("a question");
    let overlay =
        Overlay::read(json!({"questions": {key.as_str(): {"title": "By hand"}}}).to_string().as_bytes());
    let overlay = overlay.expect("an overlay");
    let mut renamed = definition("typeform");
    let fetched =
        |json: &Json| Fetched { definition: json.to_string().into_bytes(), revision: String::new() };
    let take = async |json: &Json| {
        let taken =
            setup.catalog.take("garden", &setup.origin, &fetched(json), None, Some(&overlay), 1).await;
        taken.expect("it is read")
    };
    assert_eq!(take(&renamed).await, Taken::Taken(None));
    let fields = renamed["fields"].as_array_mut().expect("fields");
    let field = fields
        .iter_mut()
        .find(|field| field["ref"] == key.as_str())
        .expect("the field of the first question");
    field["title"] = json!("Renamed in the tool");
    assert_eq!(take(&renamed).await, Taken::Unchanged, "the title is by hand");
    let fields = renamed["fields"].as_array_mut().expect("fields");
    let other = fields
        .iter_mut()
        .rfind(|field| field["ref"] != key.as_str() && field["title"].is_string())
        .expect("another");
    other["title"] = json!("Renamed, too");
    assert!(matches!(take(&renamed).await, Taken::Waits { .. }));
}

#[tokio::test]
async fn two_who_take_the_same_change_make_it_once() {
    let setup = Arc::new(Setup::new());
    setup.take(&definition("typeform"), "r1", Some(Impact::Cosmetic)).await;
    let changed = titled("Another");
    let both = tokio::join!(
        setup.take(&changed, "r2", Some(Impact::Cosmetic)),
        setup.take(&changed, "r2", Some(Impact::Cosmetic))
    );
    let made = [both.0, both.1].into_iter().filter(|taken| matches!(taken, Taken::Taken(_))).count();
    assert!(made >= 1);
    let events = setup.events().await;
    assert_eq!(events.iter().filter(|event| event.contains("form.changed")).count(), made, "{events:?}");
}

#[tokio::test]
async fn a_version_that_the_next_release_has_stored_keeps_its_number_and_those_that_can_be_read_are_served() {
    let setup = Setup::new();
    let clock = ManualClock::new();
    let (catalog, settings) = (&setup.catalog, Settings::default());
    let publish = async |title: &str| {
        let import = read(titled(title).to_string().as_bytes(), "typeform", None).expect("a form");
        let published = catalog.publish("garden", &import, &settings, &clock).await.expect("published");
        published.versions.iter().map(|version| version.plan.version).collect::<Vec<_>>()
    };
    assert_eq!(publish("One").await, [1]);
    let key = [b"garden\0".as_slice(), &2_u32.to_be_bytes()].concat();
    let later = r#"{"source": "", "document": {}, "plan": {"version": 2, "entry": "telepathy"}}"#;
    let put = Put::new(Table::FlowVersion, key.clone(), later);
    setup.store.commit(Batch::at(0).put(put)).await.expect("a commit");
    assert_eq!(publish("One").await, [1], "it is no new form");
    assert_eq!(publish("Two").await, [3, 1]);
    let kept = setup.store.get(Table::FlowVersion, &key).await.expect("a read").expect("a record");
    assert_eq!(kept.value, later.as_bytes());
}
