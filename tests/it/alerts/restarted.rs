//! What a sink was not told before a restart, or while it failed, it is told after it, once and in its order.

use std::path::Path;

use formgate::app::{App, Error};
use formgate::outbox::{DestinationId, Outbox};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::sink::Sink;
use crate::connect::fixture::load;

pub struct Running {
    outbox: Outbox,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// If it was mended meanwhile, before the first look.
    pub async fn start(folder: &Path, sink: &Sink, mended: bool) -> Running {
        let config = load(
            folder,
            &format!(
                "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
                 master_key = \"file:master.key\"\n{}[[destination]]\nid = \"crm\"\nkind = \"webhook\"\n\
                 url = \"https://crm.example.com/\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
                sink.section()
            ),
        );
        let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
        if mended {
            app.outbox.resume(&crm(), "test").await.expect("it goes on");
        }
        let (stop, stopped) = watch::channel(false);
        Running { outbox: app.outbox.clone(), stop, running: tokio::spawn(app.run(stopped)) }
    }

    pub async fn end(self) {
        self.stop.send_replace(true);
        self.running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
    }
}

fn crm() -> DestinationId {
    DestinationId::new("crm").expect("an id")
}

/// A Formgate that ends before its sink, which refuses, has taken that something began; the id of that.
async fn begun_in_vain(folder: &Path, sink: &Sink) -> String {
    sink.refuse(true);
    let running = Running::start(folder, sink, false).await;
    running.outbox.park_until_reconnect(&crm(), "outbox", "401").await.expect("it is parked");
    let refused = sink.until_refused(2).await;
    assert_eq!(refused[0], refused[1], "the same id at every try");
    running.end().await;
    sink.refuse(false);
    refused[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_before_a_restart_is_not_told_again_and_what_was_not_is() {
    let (sink, folder) = (Sink::open().await, tempfile::tempdir().expect("a folder"));
    let began = begun_in_vain(folder.path(), &sink).await;
    let second = Running::start(folder.path(), &sink, false).await;
    let told = sink.until(1).await;
    assert_eq!(sink.told(), ["alert.raised paused"]);
    assert_eq!(told[0]["id"], began.as_str(), "whoever has taken it all the same knows it by its id");
    second.end().await;

    let third = Running::start(folder.path(), &sink, true).await;
    let told = sink.until(2).await;
    assert_eq!(sink.told(), ["alert.raised paused", "alert.recovered paused"]);
    assert_eq!(told[0]["data"]["since"], told[1]["data"]["since"]);
    third.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_fails_until_it_is_over_is_told_only_that_and_since_when_it_was() {
    let (sink, folder) = (Sink::open().await, tempfile::tempdir().expect("a folder"));
    let began = begun_in_vain(folder.path(), &sink).await;
    let second = Running::start(folder.path(), &sink, true).await;
    let told = sink.until(1).await;
    second.end().await;
    assert_eq!(sink.told(), ["alert.recovered paused"], "{:?}", sink.all());
    assert!(told[0]["data"]["since"].is_string() && told[0]["id"] != began.as_str(), "{told:?}");
}
