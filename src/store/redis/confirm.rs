//! Has the server say that it has synced what it was given.
//!
//! Invariant: a record counts as confirmed only if it was found on a primary that answers no write before that is synced
//! (`appendfsync always`, as it says itself in the same breath), that wrote something behind the record, and that then waited,
//! on the same connection, until so many replicas had it, too. A primary that is none any more in between refuses, or the
//! connection is gone.
//!
//! WAITAOF is asked where there is one: it waits for the disks of replicas, and of a primary that still writes down what it
//! took over. It is not enough by itself: with `appendfsync everysec` servers have answered it before they had synced
//! (redis/redis#13793, and Valkey 9.1). WAIT waits until replicas have it in memory.
//!
//! A connection on which somebody waits does nothing else meanwhile, so these are never the one that everybody uses. All who
//! ask while one question is on its way share the next, which is put when the first is answered, or after a moment.
//!
//! It deliberately does not know what the records are, and tries nothing again that may come right by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, Value};
use tokio::sync::oneshot;

use super::code::{integer, malformed};
use super::primary::{Finder, Primary, reason, text_of, unsynced};
use super::script::{CONFIRM, Call};
use super::{Error, Redis};
use crate::store::Table;

/// How long the server is given to sync.
const SYNC: Duration = Duration::from_millis(1_800);
/// How long a question may take with all that belongs to it.
const ROUND: Duration = Duration::from_millis(2_400);
/// After so long the next question does not wait for the one before.
const GATHER: Duration = Duration::from_millis(200);
/// So many may ask together.
const MAX_WAITING: usize = 1_024;
/// Connections kept for the next question.
const MAX_IDLE: usize = 4;

type Record = (Table, Vec<u8>);

/// Somebody who wants to know.
struct Asked {
    records: Vec<Record>,
    told: oneshot::Sender<Result<bool, String>>,
}

/// A connection to a primary on which nobody waits.
struct Own {
    connection: MultiplexedConnection,
    waits_for_disk: bool,
}

/// Who waits, and what is asked for them.
pub(super) struct Confirmer {
    finder: Arc<Finder>,
    replicas: u32,
    waiting: Mutex<Vec<Asked>>,
    /// Whoever has it puts the next question.
    turn: tokio::sync::Mutex<()>,
    idle: Mutex<Vec<Own>>,
}

impl Redis {
    /// Waits until everything that these records came with is synced: `false` if not all of them are there. Together with
    /// `replicas` of the options; an error leaves open whether it is.
    pub async fn confirm(&self, records: &[(Table, Vec<u8>)]) -> Result<bool, Error> {
        let question = |records: &[Record]| {
            let call = self.call(&CONFIRM).count(records.len());
            records.iter().fold(call, |call, (table, key)| call.number(table.number()).bytes(key))
        };
        self.confirmer.confirm(records.to_vec(), question).await
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Confirmer {
    pub(super) fn new(finder: Arc<Finder>, replicas: u32) -> Self {
        let (waiting, turn, idle) = (Mutex::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self { finder, replicas, waiting, turn, idle }
    }

    async fn confirm(
        &self,
        records: Vec<Record>,
        question: impl Fn(&[Record]) -> Call,
    ) -> Result<bool, Error> {
        let (told, mut answer) = oneshot::channel();
        {
            let mut waiting = held(&self.waiting);
            if waiting.len() >= MAX_WAITING {
                return Err(Error::Refused("too many wait for it to sync".to_owned()));
            }
            waiting.push(Asked { records, told });
        }
        tokio::select! {
            biased;
            answer = &mut answer => return heard(answer),
            turn = self.turn.lock() => {
                let asked = std::mem::take(&mut *held(&self.waiting));
                if asked.is_empty() {
                    drop(turn);
                } else {
                    let mut round = std::pin::pin!(self.round(asked, &question));
                    if tokio::time::timeout(GATHER, &mut round).await.is_err() {
                        drop(turn);
                        round.await;
                    }
                }
            }
        }
        heard(answer.await)
    }

    /// Puts one question for all of these, and tells them the answer.
    async fn round(&self, asked: Vec<Asked>, question: &impl Fn(&[Record]) -> Call) {
        let records: Vec<Record> = asked.iter().flat_map(|asked| asked.records.iter().cloned()).collect();
        let call = question(&records);
        let answer = tokio::time::timeout(ROUND, self.ask(&call)).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err("it did not sync in time".to_owned()));
        let mut found = match &answer {
            Ok(found) if found.len() == records.len() => found.iter(),
            _ => [].iter(),
        };
        for Asked { records, told } in asked {
            let answer = match &answer {
                Ok(_) => {
                    Ok(found.by_ref().take(records.len()).filter(|found| **found).count() == records.len())
                }
                Err(reason) => Err(reason.clone()),
            };
            // Whoever has given up asks no more.
            drop(told.send(answer));
        }
    }

    async fn ask(&self, call: &Call) -> Result<Vec<bool>, String> {
        let kept = held(&self.idle).pop();
        if let Some(mut own) = kept {
            // It may be that of a server that has gone since; a new one tells.
            if let Ok(found) = self.put(&mut own, call).await {
                self.keep(own);
                return found;
            }
        }
        let mut own = self.connect().await?;
        let found = self.put(&mut own, call).await.map_err(|error| reason(&error))?;
        self.keep(own);
        found
    }

    fn keep(&self, own: Own) {
        let mut idle = held(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(own);
        }
    }

    /// A connection to the primary, which knows the script, and is refused if it would not keep what it says it has synced.
    async fn connect(&self) -> Result<Own, String> {
        let Primary { mut connection, faults, waits_for_disk } = self.finder.find().await?;
        if !faults.is_empty() {
            return Err(format!("it would not keep what it is given: {}", faults.join("; and ")));
        }
        let load = redis::cmd("SCRIPT").arg("LOAD").arg(CONFIRM.code()).to_owned();
        load.query_async::<Value>(&mut connection).await.map_err(|error| reason(&error))?;
        Ok(Own { connection, waits_for_disk })
    }

    /// Asks on this connection; the inner error if it has answered, and has not synced.
    async fn put(&self, own: &mut Own, call: &Call) -> Result<Result<Vec<bool>, String>, RedisError> {
        let mut asked = Pipeline::new();
        asked.add_command(call.command().clone()).cmd("CONFIG").arg("GET").arg("appendfsync");
        let within_ms = u64::try_from(SYNC.as_millis()).unwrap_or(u64::MAX);
        if own.waits_for_disk {
            asked.cmd("WAITAOF").arg(1).arg(self.replicas).arg(within_ms);
        } else if self.replicas > 0 {
            asked.cmd("WAIT").arg(self.replicas).arg(within_ms);
        }
        let answers: Vec<Value> = asked.query_async(&mut own.connection).await?;
        let mut answers = answers.into_iter();
        let (found, policy) = (answers.next(), answers.next().and_then(policy));
        if let Some(fault) = unsynced(policy.as_deref()) {
            return Ok(Err(fault));
        }
        if let Some(waited) = answers.next()
            && !self.is_synced(waited)
        {
            return Ok(Err("it did not sync in time, or not on as many replicas as it should".to_owned()));
        }
        Ok(found.ok_or_else(malformed).and_then(read).map_err(|error| error.to_string()))
    }

    /// Whether what WAITAOF or WAIT answered is enough.
    fn is_synced(&self, waited: Value) -> bool {
        let enough = |replicas: i64| replicas >= i64::from(self.replicas);
        match waited {
            Value::Int(replicas) => enough(replicas),
            Value::Array(counts) => match counts.as_slice() {
                [Value::Int(here), Value::Int(replicas)] => *here >= 1 && enough(*replicas),
                _ => false,
            },
            _ => false,
        }
    }
}

fn heard(answer: Result<Result<bool, String>, oneshot::error::RecvError>) -> Result<bool, Error> {
    match answer {
        Ok(answer) => answer.map_err(Error::OutOfReach),
        // Whoever asked for all has been stopped.
        Err(_dropped) => Err(Error::OutOfReach("nobody asked it to the end".to_owned())),
    }
}

/// What a server says that it does, by the answer to CONFIG GET.
fn policy(told: Value) -> Option<String> {
    match told {
        Value::Array(pair) => pair.into_iter().nth(1).map(text_of),
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, policy)| text_of(policy)),
        _ => None,
    }
}

/// For each record whether it was found.
fn read(found: Value) -> Result<Vec<bool>, Error> {
    let Value::Array(found) = found else { return Err(malformed()) };
    found.iter().map(|found| Ok(integer(found)? == 1)).collect()
}
