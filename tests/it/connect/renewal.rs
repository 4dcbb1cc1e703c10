//! Tokens are renewed in time, once, and never lost.

use std::time::Duration;

use formgate::connector::connection::{Error, State};
use formgate::crypto::{MasterKeys, Purpose, Sealer, Vault};
use formgate::sandbox::dial::Fault;
use formgate::sandbox::oauth::{Behaviour, Rotation};
use formgate::store::{self, Batch, Expectation, Put, Table};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep};

use super::fixture::start;
use super::id;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const TOKEN: &str = "POST /typeform/oauth/token";

fn short(rotation: Rotation) -> Behaviour {
    Behaviour { access_life: Some(Duration::from_secs(1)), rotation: Some(rotation), expires_at: false }
}

#[tokio::test]
async fn many_who_need_a_token_at_once_make_one_renewal() {
    let site = start().await;
    site.connect("typeform").await;
    let first = site.connections.token(&id("typeform")).await.expect("a token").token;
    site.tools.authority.end_access("typeform");
    sleep(Duration::from_millis(10_100)).await;
    let asking = (0..20).map(|_| {
        let (connections, first) = (site.connections.clone(), first.clone());
        tokio::spawn(async move { connections.instead_of(&id("typeform"), &first).await })
    });
    let mut tokens = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        let access = asked.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
        tokens.push(access.token.expose_secret().to_owned());
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "all have the same");
    assert_ne!(tokens[0], first.expose_secret());
    assert_eq!(site.asked(TOKEN), 2, "the code, and one renewal");
    site.end().await;
}

#[tokio::test]
async fn tokens_are_renewed_in_time_while_nobody_asks() {
    let site = start().await;
    site.tools.authority.behave("typeform", short(Rotation::AtOnce));
    site.connect("typeform").await;
    let until = Instant::now() + PATIENCE;
    while site.asked(TOKEN) < 4 {
        assert!(Instant::now() < until, "renewed before each end: {}", site.asked(TOKEN));
        sleep(Duration::from_millis(50)).await;
    }
    // On a busy machine the one that is given has ended before it is looked at.
    loop {
        let access = site.connections.token(&id("typeform")).await.expect("a token");
        let scopes = site.tools.authority.scopes_of("typeform", access.token.expose_secret());
        if let Some(scopes) = scopes {
            assert!(scopes.contains("forms:read"));
            break;
        }
        assert!(Instant::now() < until, "none is good");
    }
    site.end().await;
}

#[tokio::test]
async fn a_token_that_is_renewed_while_the_old_one_is_sealed_again_is_not_lost() {
    let site = start().await;
    site.tools.authority.behave("typeform", short(Rotation::AtOnce));
    site.connect("typeform").await;
    // As `formgate keys rewrap` does, without a break.
    let master = std::fs::read_to_string(site.folder.path().join("master.key")).expect("a key");
    let keys = MasterKeys::parse(&master.trim().to_owned().into()).expect("keys");
    let (vault, store) = (Vault::new(Sealer::new(&keys), Purpose::Secret), site.store.clone());
    let resealing = tokio::spawn(async move {
        let key = b"connection\0typeform".as_slice();
        loop {
            let record = store.get(Table::Secret, key).await.expect("a read").expect("a record");
            let content = vault.open(key, &record.value).expect("it opens");
            let batch = Batch::at(0)
                .require(Table::Secret, key, Expectation::Version(record.version))
                .put(Put::new(Table::Secret, key, vault.seal(key, &content)));
            match store.commit(batch).await {
                Ok(()) | Err(store::Error::Conflict { .. } | store::Error::Busy) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let until = Instant::now() + PATIENCE;
    while site.asked(TOKEN) < 5 {
        let state = site.connections.get(&id("typeform")).await.expect("it is there").state;
        assert_eq!(state, State::Active);
        assert!(Instant::now() < until, "it is not renewed: {}", site.asked(TOKEN));
        sleep(Duration::from_millis(50)).await;
    }
    resealing.abort();
    site.connections.token(&id("typeform")).await.expect("a token");
    site.end().await;
}

#[tokio::test]
async fn a_lifetime_that_is_a_moment_is_understood() {
    let site = start().await;
    let hour = Some(Duration::from_secs(3_600));
    let behaviour = Behaviour { access_life: hour, rotation: Some(Rotation::AtOnce), expires_at: true };
    site.tools.authority.behave("typeform", behaviour);
    site.connect("typeform").await;
    for _ in 0..3 {
        site.connections.token(&id("typeform")).await.expect("a token");
    }
    assert_eq!(site.asked(TOKEN), 1, "an hour is left");
    site.end().await;
}

#[tokio::test]
async fn a_tool_in_trouble_costs_no_connection() {
    let site = start().await;
    site.tools.authority.behave("typeform", short(Rotation::AtUse));
    site.connect("typeform").await;
    let path = "/typeform/oauth/token";
    let faults =
        [Fault::Status(500), Fault::RateLimit(1), Fault::Reset, Fault::AcceptThenCut, Fault::AcceptThenFail];
    site.dial.next(path, faults);
    let until = Instant::now() + PATIENCE;
    let mut failed = 0;
    loop {
        sleep(Duration::from_millis(300)).await;
        match site.connections.token(&id("typeform")).await {
            // On a busy machine a token has ended before it is looked at.
            Ok(access) if site.asked(TOKEN) >= 4 => {
                if site.tools.authority.scopes_of("typeform", access.token.expose_secret()).is_some() {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) => {
                assert!(!error.needs_somebody(), "{error}");
                failed += 1;
            }
        }
        assert!(Instant::now() < until, "it does not recover; {failed} failures");
    }
    assert_eq!(site.connections.get(&id("typeform")).await.expect("it is there").state, State::Active);
    site.end().await;
}

#[tokio::test]
async fn a_grant_that_is_refused_is_said_once_and_connecting_again_mends_it() {
    let site = start().await;
    site.tools.authority.behave("typeform", short(Rotation::AtOnce));
    site.connect("typeform").await;
    site.tools.authority.throw_out("typeform");
    sleep(Duration::from_millis(1_500)).await;
    let lost = site.connections.token(&id("typeform")).await;
    assert!(matches!(&lost, Err(Error::NeedsReconnect { .. })), "{:?}", lost.err());
    let text = lost.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("formgate connect typeform --name typeform"), "{text}");
    let asked = site.asked(TOKEN);
    for _ in 0..5 {
        assert!(site.connections.token(&id("typeform")).await.is_err_and(|error| error.needs_somebody()));
    }
    assert_eq!(site.asked(TOKEN), asked, "the tool is left alone");
    let state = site.connections.get(&id("typeform")).await.expect("it is there").state;
    assert!(matches!(state, State::NeedsReconnect { .. }), "{state:?}");
    site.tools.authority.behave("typeform", Behaviour { access_life: None, ..short(Rotation::AtOnce) });
    site.connect("typeform").await;
    assert_eq!(site.connections.list().await.expect("a list").len(), 1);
    site.connections.token(&id("typeform")).await.expect("a token");
    site.end().await;
}

#[tokio::test]
async fn what_is_removed_is_given_back_where_the_tool_can() {
    let site = start().await;
    site.connect("hubspot").await;
    site.connect("typeform").await;
    assert!(site.connections.remove(&id("hubspot"), "test").await.expect("it is removed"));
    assert_eq!(site.asked("POST /hubspot/oauth/2026-03/token/revoke"), 2, "the refresh and the access token");
    assert!(!site.connections.remove(&id("typeform"), "test").await.expect("Typeform cannot be told"));
    assert!(matches!(site.connections.token(&id("hubspot")).await, Err(Error::Unknown(_))));
    assert!(site.connections.list().await.expect("a list").is_empty());
    site.end().await;
}
