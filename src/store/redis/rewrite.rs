//! Has the server write its append-only file anew, so that what was erased is in none of its files.
//!
//! Invariant: [`Rewrite::Done`] is said only after a rewrite was seen to end well that began behind the newest erasure, in the
//! process that has the keys now: a replica that became the primary has files of its own. What is owed stands in Redis,
//! beside what was erased, so no node has to remember it, and a server that is restarted in the middle owes it still. One
//! node asks for all: the wish is noted before it is sent.
//!
//! It deliberately leaves replicas alone, which write their own files anew by their own settings, and snapshots, which the
//! next one overwrites.

use std::sync::atomic::Ordering;

use super::code::{Answer, malformed};
use super::primary::Info;
use super::script::REWRITE;
use super::{Error, Redis};
use crate::store::Rewrite;

/// Between two wishes that nobody waits for.
const PATIENCE_MS: i64 = 3_600_000;

/// What is noted in Redis.
struct Owed {
    /// Whether the wish of this call was noted.
    noted: bool,
    /// The version of the newest erasure.
    erased: i64,
    /// What was erased up to this version is in no file of the server of this run.
    rewritten: Option<(i64, String)>,
    wish: Option<Wish>,
}

/// A rewrite that was asked for.
struct Wish {
    /// It leaves out what was erased up to this version.
    version: i64,
    /// The process of the server that was asked. Another has files of its own.
    run: String,
    /// How many had begun before it in this run.
    before: u64,
}

/// What the server says about its log.
struct Log {
    run: String,
    /// How many rewrites have begun in this run.
    begun: u64,
    running: bool,
    scheduled: bool,
    /// Whether the last that ended ended well.
    well: bool,
}

impl Redis {
    /// Has the log written anew if something was erased since that was done; not within an hour of the last time, unless it is
    /// to be done at once. To be asked again until it says [`Rewrite::Done`].
    pub async fn rewrite_log(&self, at_once: bool) -> Result<Rewrite, Error> {
        let owed = self.owed(String::new(), None).await?;
        if owed.erased == 0 {
            return Ok(Rewrite::Done);
        }
        let log = self.log().await?;
        if owed.rewritten.is_some_and(|(version, run)| version >= owed.erased && run == log.run) {
            return Ok(Rewrite::Done);
        }
        let wish = owed.wish.filter(|wish| wish.run == log.run);
        let begun = wish.filter(|wish| log.begun > wish.before || log.scheduled);
        let suffices = begun.as_ref().is_some_and(|wish| wish.version >= owed.erased);
        if log.running || log.scheduled {
            // One that has begun before the erasure writes down what is to be gone.
            return Ok(if suffices { Rewrite::Begun } else { Rewrite::Later });
        }
        if let Some(wish) = begun.filter(|_| log.well) {
            self.owed(format!("{} {}", wish.version, wish.run), None).await?;
            if suffices {
                return Ok(Rewrite::Done);
            }
        }
        // What was erased before the server was asked how many rewrites have begun: any that begins since leaves it out.
        if !self.owed(String::new(), Some((owed.erased, &log, at_once))).await?.noted {
            return Ok(Rewrite::Later);
        }
        Ok(match self.line.ask_leave(&redis::cmd("BGREWRITEAOF")).await? {
            Ok(_started) => Rewrite::Begun,
            Err(told) if told.starts_with("NOPERM") || told.contains("unknown command") => {
                if !self.may_not_rewrite.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        "Redis does not let its append-only file be written anew (+bgrewriteaof): what is erased stays in it until the server does that by itself"
                    );
                }
                Rewrite::Refused
            }
            // Another one has begun in between, or it could not begin.
            Err(told) => {
                tracing::debug!(told, "the append-only file is not written anew now");
                Rewrite::Later
            }
        })
    }

    async fn owed(&self, done: String, wish: Option<(i64, &Log, bool)>) -> Result<Owed, Error> {
        let call = self.call(&REWRITE).bytes(done);
        let call = match wish {
            Some((up_to, log, at_once)) => {
                let patience_ms = if at_once { 0 } else { PATIENCE_MS };
                call.number(up_to).bytes(&log.run).bytes(log.begun.to_string()).number(patience_ms)
            }
            None => call.number(0).bytes("").bytes("").number(PATIENCE_MS),
        };
        let mut answer = Answer::new(self.run(&REWRITE, call).await?)?;
        let (noted, erased) = (answer.integer()? == 1, answer.integer()?);
        let rewritten = answer.text()?;
        let rewritten = rewritten.split_once(' ').and_then(|(up_to, run)| Some((up_to.parse().ok()?, run)));
        let rewritten = rewritten.map(|(up_to, run)| (up_to, run.to_owned()));
        Ok(Owed { noted, erased, rewritten, wish: wish_of(&answer.text()?) })
    }

    async fn log(&self) -> Result<Log, Error> {
        let info = Info::new(self.line.ask(redis::cmd("INFO").arg("everything")).await?);
        let is = |name: &str, value: &str| info.get(name) == Some(value);
        Ok(Log {
            run: info.get("run_id").ok_or_else(malformed)?.to_owned(),
            begun: info.get("aof_rewrites").and_then(|count| count.parse().ok()).unwrap_or(0),
            running: is("aof_rewrite_in_progress", "1"),
            scheduled: is("aof_rewrite_scheduled", "1"),
            well: is("aof_last_bgrewrite_status", "ok"),
        })
    }
}

/// Reads a wish as the script writes it.
fn wish_of(text: &str) -> Option<Wish> {
    let mut parts = text.split(' ');
    let version = parts.next()?.parse().ok()?;
    let (_at_ms, run) = (parts.next()?, parts.next()?.to_owned());
    Some(Wish { version, run, before: parts.next()?.parse().ok()? })
}
