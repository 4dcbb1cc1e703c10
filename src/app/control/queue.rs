//! What an operator does to queues: look at destinations, pause and resume them, replay what was given up, revoke tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;

use super::keep::while_telling;
use super::{Control, Told, gone, say, text};
use crate::endpoint::token::Token;
use crate::outbox::{
    self, Clock as _, DestinationId, DestinationView, Replay, ReplayFilter, SubmissionId, SystemClock,
};
use crate::store::{self, DeliveryState};

/// When it is tried again to see what all nodes have.
const AGAIN: Duration = Duration::from_secs(1);

impl Control {
    /// A line for each destination that is configured or has deliveries.
    pub(super) async fn list_destinations(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let views = self.outbox.destinations().await.map_err(text)?;
        let now_ms = SystemClock::new().now_ms();
        let known: BTreeSet<&str> = views.iter().map(|view| view.id.as_str()).collect();
        let unused = self.destinations.iter().filter(|(id, _)| !known.contains(id.as_str()));
        let unused = unused.map(|(id, what)| format!("{id}  active  nothing was sent yet  ({what})"));
        let mut lines: Vec<String> = unused.collect();
        for view in &views {
            let configured = self.destinations.get(&view.id).map(String::as_str);
            lines.push(line_of(view, configured, now_ms));
        }
        lines.sort_unstable();
        for line in lines {
            say(tell, line).await?;
        }
        Ok(())
    }

    pub(super) async fn pause(&self, id: &DestinationId, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know(id).await?;
        let paused = self.outbox.pause(id, "cli", None).await.map_err(text)?;
        let line = if paused {
            format!(
                "{id} is paused: submissions are still taken, and wait until formgate destinations resume {id}"
            )
        } else {
            format!("{id} is paused already")
        };
        say(tell, line).await
    }

    pub(super) async fn resume(&self, id: &DestinationId, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know(id).await?;
        let resumed = self.outbox.resume(id, "cli").await.map_err(text)?;
        say(tell, if resumed { format!("{id} is sent to again") } else { format!("{id} is not held") })
            .await?;
        if resumed { self.remark_if_not_running(tell).await } else { Ok(()) }
    }

    /// Revokes a token of ours; one of another flow or installation would be revoked for nothing.
    pub(super) async fn revoke(
        &self,
        flow: &str,
        token: &str,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        let now_ms = SystemClock::new().now_ms();
        let now_s = u64::try_from(now_ms / 1_000).unwrap_or(0);
        let opened = Token::open(&self.sealer, flow, token, now_s).map_err(|error| error.to_string())?;
        let until_ms = opened.expires_at_s.and_then(|at_s| i64::try_from(at_s).ok()?.checked_mul(1_000));
        let revoked = self.outbox.revoke_token(token, until_ms, "cli").await;
        let revoked = revoked.map_err(|error| error.to_string())?;
        let line = if revoked { "the token opens nothing any more" } else { "the token was revoked before" };
        say(tell, line.to_owned()).await
    }

    /// A misspelt id must not look as if something was done.
    async fn know(&self, id: &DestinationId) -> Result<(), String> {
        if self.destinations.contains_key(id.as_str()) {
            return Ok(());
        }
        let views = self.outbox.destinations().await.map_err(text)?;
        if views.iter().any(|view| view.id == id.as_str()) {
            return Ok(());
        }
        Err(format!("there is no destination “{id}”; formgate destinations list names those there are"))
    }

    pub(super) async fn replay_one(
        &self,
        id: SubmissionId,
        as_new: bool,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        let shown = self.outbox.show(id).await.map_err(text)?;
        let shown = shown.ok_or_else(|| format!("there is no submission {id}"))?;
        let dead = shown.deliveries.iter().filter(|d| d.state == DeliveryState::Dead);
        let mut count = 0;
        for delivery in dead {
            if as_new {
                self.outbox.replay_as_new(delivery.key, "cli").await.map_err(text)?;
            } else {
                self.outbox.replay(delivery.key, "cli").await.map_err(text)?;
            }
            count += 1;
        }
        say(tell, format!("{count} of {} deliveries are due now", shown.deliveries.len())).await?;
        if count > 0 { self.remark_if_not_running(tell).await } else { Ok(()) }
    }

    /// Replays many. It is done to its end also if nobody listens any more, and gone on with by the next server if this
    /// process ends before.
    pub(super) async fn replay_many(
        &self,
        filter: ReplayFilter,
        as_new: bool,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        if self.running.is_none() {
            // A server does this at its start.
            for id in self.outbox.unfinished_replays().await.map_err(text)? {
                self.outbox.run_replay(id, |_| {}).await.map_err(text)?;
            }
        }
        let begun = self.outbox.begin_replay(filter, as_new, "cli").await.map_err(text)?;
        let progress = |replay: &Replay| {
            // What nobody reads in time is left out: the next one says more.
            let _full = tell.try_send(Told::Progress { done: replay.looked_at, of: replay.dead });
        };
        let replaying = async {
            let mut waits = false;
            loop {
                match self.outbox.run_replay(begun.id, progress).await {
                    // A server is told when it can be seen.
                    Err(error @ outbox::Error::Store(store::Error::Incomplete)) if self.running.is_some() => {
                        if !std::mem::replace(&mut waits, true) {
                            let remark = format!("it waits: {}", text(error));
                            let _nobody_listens = tell.send(Told::Remark(remark)).await;
                        }
                        tokio::time::sleep(AGAIN).await;
                    }
                    ended => return ended,
                }
            }
        };
        let ended = while_telling(tell, "still replaying", replaying).await.map_err(text)?;
        let replay = ended.ok_or_else(|| "the replay is gone from the store".to_owned())?;
        say(tell, format!("{}{}", if replay.cancelled { "cancelled: " } else { "" }, moved(&replay))).await?;
        if replay.unreadable > 0 {
            let remark = format!(
                "{} cannot be read, so nobody can tell their flow; they were left",
                replay.unreadable
            );
            tell.send(Told::Remark(remark)).await.map_err(|_| gone())?;
        }
        if replay.replayed > 0 { self.remark_if_not_running(tell).await } else { Ok(()) }
    }

    /// Ends the replays that are under way, in this process or left by an earlier one.
    pub(super) async fn cancel_replays(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let mut cancelled = 0;
        for id in self.outbox.unfinished_replays().await.map_err(text)? {
            let replay = self.outbox.cancel_replay(id, "cli").await.map_err(text)?;
            // One may have come to its end just now.
            if let Some(replay) = replay.filter(|replay| replay.cancelled) {
                say(
                    tell,
                    format!("cancelled after {} of {}: {}", replay.looked_at, replay.dead, moved(&replay)),
                )
                .await?;
                cancelled += 1;
            }
        }
        if cancelled == 0 {
            return say(tell, "no replay is under way".to_owned()).await;
        }
        let remark = "What is due already is sent; formgate destinations pause ID holds it back.";
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }

    async fn remark_if_not_running(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        if self.running.is_some() {
            return Ok(());
        }
        let remark = "Formgate is not running; they go out when it does.";
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }
}

fn moved(replay: &Replay) -> String {
    format!("{} of {} dead deliveries are due now", replay.replayed, replay.looked_at)
}

fn line_of(view: &DestinationView, configured: Option<&str>, now_ms: i64) -> String {
    let at = |at_ms: i64| jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let mut state = Vec::new();
    if let Some(paused) = &view.hold.paused {
        let reason = paused.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        state.push(format!("paused by {} at {:.0}{reason}", paused.actor, at(paused.at_ms)));
    }
    if let Some(open) = view.hold.open {
        let word = if open.is_failing(now_ms) { "failing" } else { "breaker open" };
        state.push(format!("{word} since {:.0}, next probe {:.0}", at(open.since_ms), at(open.until_ms)));
    }
    if state.is_empty() {
        state.push("active".to_owned());
    }
    if configured.is_none() {
        state.push("not in the configuration: nothing is sent".to_owned());
    }
    let depth = &view.depth;
    format!(
        "{}  {}  due {}, parked {}, in flight {}, delivered {}, dead {}{}",
        view.id,
        state.join("; "),
        depth.due,
        view.parked,
        depth.in_flight,
        depth.delivered,
        depth.dead,
        configured.map(|what| format!("  ({what})")).unwrap_or_default()
    )
}
