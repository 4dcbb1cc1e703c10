//! Commands that keep the store safe and clean: the audit trail, and what is stored about a person.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Control, Told, gone, say};
use crate::audit;
use crate::crypto::MacKey;
use crate::outbox::{self, Person};

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
        }
    }

    async fn verify(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let verified = audit::verify(&self.store, Arc::<MacKey>::clone(&self.chain)).await.map_err(text)?;
        if verified.older > 0 {
            say(tell, format!("{} events are older than the chain and not protected by it", verified.older))
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
        let erased = self.outbox.erase_person(person, "cli", progress).await.map_err(text)?;
        say(tell, format!("{} submissions were erased", erased.erased)).await?;
        for (destination, count) in &erased.gone_to {
            say(tell, format!("{destination} had got {count} of them: have them erased there, too")).await?;
        }
        if !erased.scrubbed {
            let remark = "Someone was reading all the time, so the files still hold remains; the next sweep overwrites them.";
            tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())?;
        }
        let remark = "Backups made before still hold them: delete those, or let them age out.";
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
