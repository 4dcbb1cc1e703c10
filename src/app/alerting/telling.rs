//! Sends to each sink what it has not taken, one after another, for as long as this process lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::insight::{Notice, NoticeQueue, Sink};

/// How long one try may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Notices that were taken, and not yet asked for.
const MAX_TAKEN: usize = 1_024;

/// A task for each sink.
pub(super) struct Telling {
    sinks: Vec<(String, watch::Sender<Arc<[Notice]>>)>,
    taken: mpsc::Receiver<(String, String)>,
    tasks: JoinSet<()>,
}

impl Telling {
    pub(super) fn to(sinks: Vec<Sink>) -> Telling {
        let (takes, taken) = mpsc::channel(MAX_TAKEN);
        let mut tasks = JoinSet::new();
        let start = |sink: Sink| {
            let (sender, wanted) = watch::channel(Arc::from([]));
            let id = sink.id.clone();
            tasks.spawn(tell(sink, wanted, takes.clone()));
            (id, sender)
        };
        Telling { sinks: sinks.into_iter().map(start).collect(), taken, tasks }
    }

    /// The next sink that has taken a notice, and the notice's id; never without sinks.
    pub(super) async fn taken(&mut self) -> Option<(String, String)> {
        self.taken.recv().await
    }

    /// Says what there is to tell to each sink.
    pub(super) fn want(&self, wanted: impl Fn(&str) -> Vec<Notice>) {
        for (sink, sender) in &self.sinks {
            let wanted = wanted(sink);
            sender.send_if_modified(|before| {
                let is_new = before[..] != wanted[..];
                if is_new {
                    *before = wanted.into();
                }
                is_new
            });
        }
    }

    /// Stops; gives what was taken meanwhile.
    pub(super) async fn end(mut self) -> Vec<(String, String)> {
        self.tasks.shutdown().await;
        std::iter::from_fn(|| self.taken.try_recv().ok()).collect()
    }
}

async fn tell(sink: Sink, mut wanted: watch::Receiver<Arc<[Notice]>>, takes: mpsc::Sender<(String, String)>) {
    let mut queue = NoticeQueue::new();
    let mut not_before = Instant::now();
    loop {
        if queue.want(&wanted.borrow_and_update().clone()) {
            not_before = Instant::now();
        }
        let is_due = async {
            match queue.next() {
                Some(_) => sleep_until(not_before).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_ended) => return,
            },
            () = is_due => {}
        }
        let Some(notice) = queue.next().cloned() else { continue };
        let now_s = jiff::Timestamp::now().as_second();
        match sink.tell(&notice, now_s, Instant::now() + DEADLINE).await {
            Ok(()) => {
                queue.took();
                if takes.send((sink.id.clone(), notice.id)).await.is_err() {
                    return;
                }
            }
            Err(failed) => {
                let wait = queue.failed();
                let (sink, alert) = (sink.id.as_str(), notice.cause.to_string());
                tracing::warn!(alert.sink = sink, alert, error = %failed, again_s = wait.as_secs(), "an alert did not reach its sink yet");
                not_before = Instant::now() + wait;
            }
        }
    }
}
