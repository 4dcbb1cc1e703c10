//! The one connection to the primary: made when it is needed, given up when it fails, and never made faster than a server
//! that comes back can bear.
//!
//! Invariant: what was sent is never sent again, unless the server said that it was not done. A connection on which a
//! request was given up and nothing has come since is not used for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{RedisError, ServerErrorKind, Value};
use tokio::sync::watch;

use super::primary::{Finder, LOADS, Primary, reason};
use super::script::Script;
use super::{Error, OpenError};

/// Between two tries: from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The same to one that is about to be there: whatever waits for it should not wait for us.
const LOADING: Duration = Duration::from_millis(200);
/// The longest any request may take; whoever asks has a shorter deadline of its own.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// At most one line in this time is logged about a server that is away.
const QUIET: Duration = Duration::from_secs(1);

/// What the server may say to a request that was not done because another server has to be asked, or this one later.
const MOVED: [&str; 8] =
    ["READONLY", "LOADING", "MASTERDOWN", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS"];

#[derive(Clone)]
struct Connected {
    connection: MultiplexedConnection,
    number: u64,
    /// Answers that came over it.
    answers: Arc<AtomicU64>,
}

enum State {
    Up(Connected),
    Connecting,
    Down { retry_at: Instant, reason: String },
}

/// The connection, whoever uses it.
pub(super) struct Line {
    finder: Arc<Finder>,
    state: Mutex<State>,
    changed: watch::Sender<()>,
    made: AtomicU64,
    failures: AtomicU64,
    logged: Mutex<Option<Instant>>,
}

impl Line {
    pub(super) fn new(finder: Arc<Finder>) -> Arc<Self> {
        Arc::new(Self {
            finder,
            state: Mutex::new(State::Down { retry_at: Instant::now(), reason: String::new() }),
            changed: watch::Sender::new(()),
            made: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            logged: Mutex::new(None),
        })
    }

    /// Connects for the first time, and refuses a server that would lose data.
    pub(super) async fn open(&self) -> Result<(), OpenError> {
        let primary = self.finder.find().await.map_err(OpenError::OutOfReach)?;
        if !primary.faults.is_empty() {
            return Err(OpenError::Unsafe(primary.faults.join("; and ")));
        }
        self.take(primary);
        Ok(())
    }

    /// Asks for something; `command` is sent once.
    pub(super) async fn ask(self: &Arc<Self>, command: &redis::Cmd) -> Result<Value, Error> {
        self.in_time(self.asking(command, None)).await
    }

    /// Asks for something that the server may refuse; the inner error is what it says then.
    pub(super) async fn ask_leave(
        self: &Arc<Self>,
        command: &redis::Cmd,
    ) -> Result<Result<Value, String>, Error> {
        let asking = async {
            let mut connected = self.connected().await?;
            match self.send(&mut connected, command).await {
                Ok(value) => Ok(Ok(value)),
                Err(error) => match error.code() {
                    Some(code) if !MOVED.contains(&code) => {
                        Ok(Err(format!("{code} {}", error.detail().unwrap_or_default())))
                    }
                    _ => Err(self.judge(&error, connected.number)),
                },
            }
        };
        self.in_time(asking).await
    }

    /// Runs a script, which is told to a server that does not know it.
    pub(super) async fn run(self: &Arc<Self>, script: &Script, command: &redis::Cmd) -> Result<Value, Error> {
        self.in_time(self.asking(command, Some(script))).await
    }

    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let answer = tokio::time::timeout(MAX_WAIT, asking).await;
        answer.unwrap_or_else(|_elapsed| Err(Error::OutOfReach("it did not answer in time".to_owned())))
    }

    async fn asking(self: &Arc<Self>, command: &redis::Cmd, script: Option<&Script>) -> Result<Value, Error> {
        let mut connected = self.connected().await?;
        let mut answer = self.send(&mut connected, command).await;
        if let (Err(error), Some(script)) = (&answer, script)
            && error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
        {
            let load = redis::cmd("SCRIPT").arg("LOAD").arg(script.code()).to_owned();
            answer = match self.send(&mut connected, &load).await {
                Ok(_hash) => self.send(&mut connected, command).await,
                Err(error) => Err(error),
            };
        }
        answer.map_err(|error| self.judge(&error, connected.number))
    }

    async fn send(&self, connected: &mut Connected, command: &redis::Cmd) -> Result<Value, RedisError> {
        let before = connected.answers.load(Ordering::Acquire);
        let doubt = Doubt { line: self, connected: connected.clone(), before, answered: false };
        let answer = command.query_async(&mut connected.connection).await;
        doubt.answered(&answer);
        answer
    }

    /// What a failure means to whoever asked, and to the connection.
    fn judge(self: &Arc<Self>, error: &RedisError, number: u64) -> Error {
        let told = reason(error);
        let Some(code) = error.code() else {
            self.give_up(number, &told, Duration::ZERO);
            return Error::OutOfReach(told);
        };
        if MOVED.contains(&code) {
            self.give_up(number, &told, if code == "LOADING" { LOADING } else { self.pause() });
        }
        Error::Refused(told)
    }

    /// The connection there is, or the one that is being made; a failure if it is not time to try again.
    async fn connected(self: &Arc<Self>) -> Result<Connected, Error> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                match &*state {
                    State::Up(connected) => return Ok(connected.clone()),
                    State::Connecting => {}
                    State::Down { retry_at, reason } if Instant::now() < *retry_at => {
                        return Err(Error::OutOfReach(reason.clone()));
                    }
                    State::Down { .. } => {
                        *state = State::Connecting;
                        let line = Arc::clone(self);
                        // Goes on when whoever asked has given up: the next one finds it made.
                        drop(tokio::spawn(async move { line.connect().await }));
                    }
                }
            }
            if changed.changed().await.is_err() {
                return Err(Error::OutOfReach("the connection is closed".to_owned()));
            }
        }
    }

    async fn connect(&self) {
        match self.finder.find().await {
            Ok(primary) => {
                if let Some(fault) = primary.faults.first() {
                    self.log(&format!("it would not keep what it is given: {fault}"));
                }
                self.take(primary);
            }
            Err(reason) => {
                self.log(&reason);
                let pause = if reason == LOADS { LOADING } else { self.pause() };
                self.down(reason, pause);
            }
        }
    }

    fn take(&self, primary: Primary) {
        let number = self.made.fetch_add(1, Ordering::AcqRel) + 1;
        let connected = Connected { connection: primary.connection, number, answers: Arc::default() };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Up(connected);
        self.changed.send_replace(());
    }

    fn down(&self, reason: String, pause: Duration) {
        let state = State::Down { retry_at: Instant::now() + pause, reason };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.send_replace(());
    }

    /// Uses the connection of this number no more.
    fn give_up(&self, number: u64, reason: &str, pause: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Up(connected) if connected.number == number) {
            *state = State::Down { retry_at: Instant::now() + pause, reason: reason.to_owned() };
            drop(state);
            self.log(reason);
        }
    }

    /// How long to wait before the next try; longer every time until something is answered.
    fn pause(&self) -> Duration {
        let failures = u32::try_from(self.failures.fetch_add(1, Ordering::AcqRel).min(10)).unwrap_or(10);
        // Nodes that lost it together do not come back together.
        PAUSE.0.saturating_mul(1 << failures).min(PAUSE.1).mul_f64(rand::random_range(0.8..1.2))
    }

    fn log(&self, reason: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| at.elapsed() >= QUIET) {
            *logged = Some(Instant::now());
            tracing::warn!(reason, "the connection to Redis is not to be used");
        }
    }
}

/// A request on its way; dropped before its answer came, it casts doubt on the connection.
struct Doubt<'a> {
    line: &'a Line,
    connected: Connected,
    before: u64,
    answered: bool,
}

impl Doubt<'_> {
    fn answered(mut self, answer: &Result<Value, RedisError>) {
        self.answered = true;
        self.connected.answers.fetch_add(1, Ordering::AcqRel);
        if answer.is_ok() {
            self.line.failures.store(0, Ordering::Release);
        }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.answered && self.connected.answers.load(Ordering::Acquire) == self.before {
            self.line.give_up(self.connected.number, "it did not answer in time", Duration::ZERO);
        }
    }
}
