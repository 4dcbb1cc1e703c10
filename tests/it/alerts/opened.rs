//! A destination that fails for half a minute is told, although it is back before a minute is over.

use std::time::Duration;

use formgate::app::App;
use formgate::outbox::{DestinationId, Submission};
use formgate::sandbox::Inbox;
use formgate::server::StatusCode;
use tokio::sync::watch;

use super::sink::Sink;
use crate::connect::fixture::load;
use crate::outbox::fixture::one_of_many;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_opening_of_a_breaker_is_told_also_if_the_next_probe_closes_it() {
    let (sink, inbox) = (Sink::open().await, Inbox::new(|_signed| true));
    let server = inbox.bind(0).await.expect("a port");
    let at = server.local_addr();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped.clone(), Duration::ZERO));
    // What fails in a row and opens it; the probe after that is taken.
    inbox.fail_next(5, StatusCode::SERVICE_UNAVAILABLE);
    let folder = tempfile::tempdir().expect("a folder");
    let config = load(
        folder.path(),
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
             master_key = \"file:master.key\"\n{}[[destination]]\nid = \"crm\"\nkind = \"webhook\"\n\
             url = \"http://{at}/\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
             allow_private_network = true\n",
            sink.section()
        ),
    );
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let outbox = app.outbox.clone();
    let running = tokio::spawn(app.run(stopped));
    let crm = DestinationId::new("crm").expect("an id");
    for number in 0..5_u8 {
        let submission = Submission { linked_to: None, replaces: None, ..one_of_many(number.into()) };
        let accepted = outbox.accept(&submission, std::slice::from_ref(&crm), &[number; 32], vec![]).await;
        accepted.unwrap_or_else(|error| panic!("{error}"));
    }
    let told = sink.until(1).await;
    assert_eq!(sink.told(), ["alert.raised breaker"], "{told:?}");
    let text = told[0]["data"]["text"].as_str().expect("a text");
    assert!(
        text.starts_with("crm has been failing for") && text.contains("seconds; 5 deliveries wait."),
        "{text}"
    );
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
}
