//! A person connects a form tool in a browser; tokens are kept, renewed, and given back.

mod attacks;
mod browser;
pub(crate) mod fixture;
mod killed;
mod parked;
mod renewal;
mod third_party;

use fixture::{TOOLS, start};
use formgate::connector::connection::{Connection, ConnectionId, Means, State};
use formgate::connector::oauth::Tool;
use formgate::crypto::PrivateKey;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

pub fn id(name: &str) -> ConnectionId {
    name.parse().expect("a name")
}

#[tokio::test]
async fn a_person_connects_each_tool_and_sees_whose_account_it_is() {
    let site = start().await;
    for (tool, ..) in TOOLS {
        let browser = site.connect(tool).await;
        let last = browser.pages.last().expect("a page");
        let account = if tool == "hubspot" { "Hub ID 25505644" } else { "ada@example.org" };
        assert!(last.contains(account), "{last}");
        let connection = site.connections.get(&id(tool)).await.expect("it is there");
        assert_eq!((connection.account.id.as_str(), connection.means), ("25505644", Means::Oauth));
        assert_eq!(connection.state, State::Active);
        assert!(!connection.scopes.is_empty(), "{tool}");
        let checked = site.connections.check(&id(tool)).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(checked.id, "25505644");
    }
    let api = |connection: &Connection| connection.api_url.as_str().to_owned();
    let monkey = site.connections.get(&id("surveymonkey")).await.expect("it is there");
    assert_eq!(api(&monkey), format!("http://{}/surveymonkey", site.sandbox));
    site.end().await;
}

#[tokio::test]
async fn no_token_code_or_secret_is_seen_anywhere() {
    let site = start().await;
    let mut seen = String::new();
    for (tool, ..) in TOOLS {
        let browser = site.connect(tool).await;
        // The sandbox's own pages hold its own tickets.
        let ours = browser.pages.iter().filter(|page| page.contains("Formgate</title>"));
        ours.for_each(|page| seen.push_str(page));
        let connection = site.connections.get(&id(tool)).await.expect("it is there");
        seen.push_str(&format!("{connection:?} {}", json!(connection)));
    }
    for path in ["/metrics", "/api/v1/flows"] {
        let url = format!("http://{}{path}", site.admin).parse().expect("a URL");
        let answer = fixture::Browser::default().get(&url).await;
        seen.push_str(&String::from_utf8_lossy(&answer.body));
    }
    let issued = site.tools.authority.issued();
    assert!(issued.len() >= 11, "codes, access and refresh tokens: {}", issued.len());
    let kept = site.connections.token(&id("hubspot")).await.expect("a token");
    assert!(issued.contains(&kept.token.expose_secret().to_owned()), "the canaries are the real ones");
    let folder = site.end().await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder.path().join("data")).expect("a folder").flatten() {
        if entry.path().is_file() {
            files.extend(std::fs::read(entry.path()).expect("a file"));
        }
    }
    assert!(files.len() > 10_000, "the store was read");
    let holds = |canary: &str| files.windows(canary.len()).any(|window| window == canary.as_bytes());
    assert!(holds("ada@example.org"), "the search finds what is there");
    for canary in issued.iter().map(String::as_str).chain(["hubspot-secret", "google-forms-secret"]) {
        assert!(!seen.contains(canary), "on a page or in an answer: {canary}");
        assert!(!holds(canary), "in the store: {canary}");
    }
}

#[tokio::test]
async fn whoever_cancels_or_unticks_is_told_so_and_can_try_again() {
    let site = start().await;
    let mut browser = fixture::Browser::default();
    let link = site.link("google-forms", None).await;
    let page = browser.walk(&link, &[("answer", "cancel")], &[]).await;
    assert!(page.contains("You cancelled") && page.contains("shared nothing"), "{page}");
    let scope = "https://www.googleapis.com/auth/forms.body.readonly";
    let again = browser.again(&site);
    let page = browser.walk(&again, &[("answer", "allow")], &[scope]).await;
    assert!(page.contains("Something was not granted") && page.contains(scope), "{page}");
    assert!(page.contains("read your forms"), "{page}");
    assert_eq!(site.asked("POST /google-forms/revoke"), 1, "what was granted is given back");
    assert!(site.connections.list().await.expect("a list").is_empty());
    let again = browser.again(&site);
    let page = browser.walk(&again, &[("answer", "allow")], &[]).await;
    assert!(page.contains("Google is connected"), "{page}");
    site.end().await;
}

#[tokio::test]
async fn the_same_account_keeps_its_name_and_another_one_cannot_take_it() {
    let site = start().await;
    site.connect("hubspot").await;
    site.connect("hubspot").await;
    assert_eq!(site.connections.list().await.expect("a list").len(), 1);
    let mut browser = fixture::Browser::default();
    let other = [("answer", "allow"), ("account", "grace@example.org")];
    let page = browser.walk(&site.link("hubspot", Some("hubspot")).await, &other, &[]).await;
    assert!(page.contains("is the account “Hub ID 25505644”"), "{page}");
    let page = browser.walk(&site.link("hubspot", None).await, &other, &[]).await;
    assert!(page.contains("“hubspot-2” is connected"), "{page}");
    let refused = site.connections.begin("typeform", None, Some(&id("hubspot")), "test").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("one of HubSpot")));
    site.end().await;
}

#[tokio::test]
async fn a_pasted_token_is_checked_before_it_is_kept() {
    let site = start().await;
    let token = site.tools.authority.make_token("surveymonkey", &["users_read", "surveys_read"]);
    let pasted = SecretString::from(token.clone());
    let added = site.connections.add_token("surveymonkey", None, None, &pasted, "test").await;
    let added = added.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((added.means, added.account.name.as_str()), (Means::Token, "ada@example.org"));
    assert_eq!(added.scopes, ["surveys_read", "users_read"]);
    let access = site.connections.token(&id("surveymonkey")).await.expect("a token");
    assert_eq!(access.token.expose_secret(), token);
    let wrong = SecretString::from("pat-wrong");
    let refused = site.connections.add_token("hubspot", None, None, &wrong, "test").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("HubSpot")));
    let silent = SecretString::from(site.tools.authority.make_token("typeform", &["forms:read"]));
    let added = site.connections.add_token("typeform", None, Some(&id("mine")), &silent, "test").await;
    assert_eq!(added.expect("it may do other things").account.id, "");
    assert_eq!(site.connections.check(&id("mine")).await.expect("it works").id, "");
    site.end().await;
}

#[tokio::test]
async fn a_service_account_connects_by_its_signed_claim() {
    let site = start().await;
    let (key, email) = (PrivateKey::generate(), "robot@example.iam.gserviceaccount.com");
    site.tools.authority.know_robot(email, &key.public_pem());
    let file = |key: &PrivateKey| {
        SecretString::from(
            json!({
                "type": "service_account", "client_email": email, "private_key_id": "k1",
                "private_key": key.private_pem().expose_secret(), "token_uri": "http://127.0.0.1:1/stolen",
            })
            .to_string(),
        )
    };
    let stranger = site.connections.add_service_account(None, &file(&PrivateKey::generate()), "test").await;
    assert!(stranger.is_err(), "another key is not the account's");
    let added = site.connections.add_service_account(None, &file(&key), "test").await;
    let added = added.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (added.tool, added.means, added.account.id.as_str()),
        (Tool::GoogleForms, Means::ServiceAccount, email)
    );
    let first = site.connections.token(&added.id).await.expect("a token").token;
    site.tools.authority.end_access("google-forms");
    let second = site.connections.instead_of(&added.id, &first).await;
    // The first is too young for another to be better.
    assert!(second.is_err_and(|error| error.needs_somebody()));
    site.end().await;
}
