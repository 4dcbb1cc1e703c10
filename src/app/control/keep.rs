//! Commands that keep the store safe and clean: the audit trail, what is stored about a person, backups, the master key.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::rewrap;
use super::{Control, Told, gone, say, text};
use crate::audit;
use crate::crypto::MacKey;
use crate::outbox::{self, Clock as _, Person, SystemClock};
use crate::store::{Rewrite, Scan, Table};

/// Sealed records of each kind that a check opens, from either end.
const SAMPLE: u32 = 500;
/// How long a command may be silent.
const STILL: Duration = Duration::from_secs(15);
const FILES: &str = "links to them open nothing any more, but what it has kept stays until it is deleted there. HubSpot keeps them in its file manager, under /formgate/FLOW/ID; formgate audit list names the IDs (submission.erased).";
const LOG: &str = "The append-only file of Redis still holds remains:";
const REMAINS: &str = "Someone was reading all the time, so the files still hold remains; the running server overwrites them later.";

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "keep", rename_all = "snake_case")]
pub enum Command {
    /// The newest audit events, the newest first.
    ListAudit {
        /// At most so many.
        limit: u32,
    },
    /// Whether the audit trail is as it was written.
    VerifyAudit,
    /// Every submission of a person, one JSON object a line.
    ExportPerson {
        /// Who.
        person: Person,
    },
    /// Erases every submission of a person.
    ErasePerson {
        /// Who.
        person: Person,
    },
    /// Looks for damage.
    CheckStore,
    /// Writes a sealed copy.
    BackUp {
        /// Into this folder.
        folder: PathBuf,
    },
    /// Seals everything again under the newest master key.
    Rewrap,
}

impl Control {
    pub(super) async fn keep(&self, command: Command, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        match command {
            Command::ListAudit { limit } => {
                for event in audit::newest(&self.store, limit).await.map_err(text)? {
                    let at = jiff::Timestamp::from_millisecond(event.at_ms).unwrap_or_default();
                    let audit::Event { actor, action, subject, outcome, .. } = event;
                    say(tell, format!("{at:.3}  {actor}  {action}  {subject}  {outcome}")).await?;
                }
                Ok(())
            }
            Command::VerifyAudit => self.verify(tell).await,
            Command::ExportPerson { person } => self.export_person(&person, tell).await,
            Command::ErasePerson { person } => self.erase_person(&person, tell).await,
            Command::CheckStore => self.check(tell).await,
            Command::BackUp { folder } => {
                let writing = self.backups.write(&folder);
                let file = while_telling(tell, "still writing", writing).await.map_err(text)?;
                say(tell, file.display().to_string()).await
            }
            Command::Rewrap => self.rewrap(tell).await,
        }
    }

    async fn verify(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let verifying = audit::verify(&self.store, Arc::<MacKey>::clone(&self.chain));
        let verified = while_telling(tell, "still reading the audit trail", verifying).await.map_err(text)?;
        if verified.older > 0 {
            say(tell, format!("{} events are older than the chain and not protected by it", verified.older))
                .await?;
        }
        if verified.trimmed > 0 {
            let (trimmed, first) = (verified.trimmed, verified.trimmed.saturating_add(1));
            say(
                tell,
                format!("the trail begins at entry {first}; the time of the {trimmed} before it was over"),
            )
            .await?;
        }
        let entries = verified.entries;
        if let Some(broken) = verified.broken {
            say(tell, format!("{entries} entries before it are as they were written")).await?;
            return Err(format!("the audit trail is broken: {broken}"));
        }
        let tag: String = verified.tag.iter().map(|byte| format!("{byte:02x}")).collect();
        say(tell, format!("{entries} entries are as they were written; the tag of the last one is {tag}"))
            .await
    }

    async fn check(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let faults =
            while_telling(tell, "still checking the file", self.store.faults()).await.map_err(text)?;
        for fault in &faults {
            say(tell, format!("fail  file: {fault}")).await?;
        }
        if faults.is_empty() {
            say(tell, "ok    file: every page and index is sound".to_owned()).await?;
        }
        let (mut looked_at, mut closed) = (0u32, 0u32);
        for (table, descending) in
            [(Table::Secret, false), (Table::Submission, false), (Table::Submission, true)]
        {
            let scan = Scan { descending, limit: SAMPLE, ..Scan::default() };
            for (key, record) in self.store.scan(table, scan).await.map_err(text)? {
                looked_at += 1;
                closed += u32::from(!rewrap::opens(&self.sealer, table, &key, &record.value));
            }
        }
        let sample = format!("sealed records: {looked_at} looked at, {closed} do not open");
        say(tell, format!("{}  {sample}", if closed == 0 { "ok  " } else { "fail" })).await?;
        let verifying = audit::verify(&self.store, Arc::<MacKey>::clone(&self.chain));
        let broken =
            while_telling(tell, "still reading the audit trail", verifying).await.map_err(text)?.broken;
        match &broken {
            None => say(tell, "ok    audit trail: as it was written".to_owned()).await?,
            Some(broken) => say(tell, format!("fail  audit trail: {broken}")).await?,
        }
        if faults.is_empty() && closed == 0 && broken.is_none() {
            return Ok(());
        }
        Err("the store is not as it should be; if it is damaged, restore it from a backup".to_owned())
    }

    async fn rewrap(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let clock = SystemClock::new();
        let progress = |resealed| {
            let _full_or_gone = tell.try_send(Told::Remark(format!("{resealed} records are sealed again")));
        };
        let done =
            rewrap::run(&self.store, &self.sealer, "cli", || clock.now_ms(), progress).await.map_err(text)?;
        let scrubbed = self.outbox.scrub().await.map_err(text)?;
        say(tell, format!("{} records were sealed again under the newest master key", done.resealed)).await?;
        if done.unreadable > 0 {
            return Err(format!("{} records open with none of the master keys given", done.unreadable));
        }
        if !scrubbed {
            tell.send(Told::Remark(REMAINS.to_owned())).await.map_err(|_| gone())?;
        }
        if self.store.is_shared() {
            let others = "Nodes that are away now take it over when they are back: leave the older keys with them until then.";
            tell.send(Told::Remark(others.to_owned())).await.map_err(|_| gone())?;
        }
        let remark = "The older master keys are needed only for backups, and for tokens and half-filled forms from before the change: take them out when those have ended.";
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }

    async fn export_person(&self, person: &Person, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        for id in self.outbox.of_person(person).await.map_err(text)? {
            match self.outbox.submission(id).await {
                Ok(Some(submission)) => say(tell, serde_json::to_string(&submission).map_err(text)?).await?,
                // Erased since.
                Ok(None) => {}
                // One that cannot be read must not hide those behind it.
                Err(error @ outbox::Error::Unreadable { .. }) => {
                    tell.send(Told::Remark(error.to_string())).await.map_err(|_| gone())?;
                }
                Err(error) => return Err(text(error)),
            }
        }
        Ok(())
    }

    async fn erase_person(&self, person: &Person, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        // Whoever asked may go away; the erasure goes on.
        let progress = |erased| {
            if erased % 1_000 == 0 {
                let _full_or_gone = tell.try_send(Told::Remark(format!("{erased} submissions are erased")));
            }
        };
        let erasing = self.outbox.erase_person(person, "cli", progress);
        let erased = while_telling(tell, "still erasing", erasing).await.map_err(text)?;
        say(tell, format!("{} submissions were erased", erased.erased)).await?;
        for (destination, count) in &erased.gone_to {
            say(tell, format!("{destination} had got {count} of them: have them erased there, too")).await?;
        }
        for (destination, count) in &erased.maybe_gone_to {
            say(
                tell,
                format!("{destination} may have got {count} of them: an attempt had no clear end; ask there"),
            )
            .await?;
        }
        for (destination, files) in &erased.files_at {
            say(tell, format!("{destination} had got {files} files with them: {FILES}")).await?;
        }
        if !erased.scrubbed {
            tell.send(Told::Remark(REMAINS.to_owned())).await.map_err(|_| gone())?;
        }
        let log = match erased.log {
            Rewrite::Done => None,
            Rewrite::Begun => Some("it is being written anew without them."),
            Rewrite::Later => Some("it cannot be written anew now. The erasure is ended when it was."),
            Rewrite::Refused => Some(
                "it does not let us have it written anew (+bgrewriteaof). Have it done, or wait until it does so by itself.",
            ),
        };
        if let Some(log) = log {
            tell.send(Told::Remark(format!("{LOG} {log}"))).await.map_err(|_| gone())?;
        }
        let remark = "Backups made before still hold them: delete those, or let them age out.";
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }
}

/// Waits for something long, and says every now and then that it goes on: whoever asked gives up on silence.
pub(super) async fn while_telling<T>(
    tell: &mpsc::Sender<Told>,
    what: &str,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(STILL, &mut work).await {
            Ok(done) => return done,
            Err(_elapsed) => {
                let _full_or_gone = tell.try_send(Told::Remark(what.to_owned()));
            }
        }
    }
}
