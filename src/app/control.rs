//! What an operator asks of a store from the command line, whether Formgate is running or not.
//!
//! A store belongs to one process (design decision 9). While a server has it, commands reach that server over a socket in
//! the data folder which only this user can open; otherwise they open the store themselves. Both ways run the same code.
//!
//! On the socket: one line with the [`Command`] as JSON, then one line per [`Told`].

mod access;
mod command;
mod flows;
mod queue;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use url::Url;

use super::error::chain;
use super::open::{Opened, open};
use super::rings::Rings;
use super::watching::Watching;
use super::{Error, Keys, StoreKeys, backup, build, connecting, files};
use crate::config::Config;
use crate::connector::connection::Connections;
use crate::console::Workspaces;
use crate::console::access::Tokens;
use crate::crypto::{KeyRing, MacKey, PrivateKey, Purpose, Sealer, Vault};
use crate::outbox::{DeliveryView, Filter, Outbox, SystemClock};
use crate::store::{DeliveryState, OpenError, Pace, SharedOpenError, Store};

mod connect;
mod keep;

pub use self::access::Command as AccessCommand;
pub use self::command::{Command, Told};
pub use self::connect::{Command as Connect, Passed};
pub use self::flows::Command as FlowCommand;
pub(super) use self::flows::Known;
pub use self::keep::Command as Keep;

/// The socket's name in the data folder.
const SOCKET: &str = "control.sock";
/// Longest command.
const MAX_COMMAND_BYTES: u64 = 64 * 1024;
/// Commands at one time.
const MAX_COMMANDS: usize = 8;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Carries out commands on one store.
pub struct Control {
    pub(super) outbox: Outbox,
    pub(super) store: Store,
    pub(super) sealer: Sealer,
    /// The key of the audit chain.
    pub(super) chain: Arc<MacKey>,
    /// What backups are made of.
    pub(super) backups: backup::Source,
    pub(super) keys: Keys,
    /// Connected accounts.
    pub(super) connections: Connections,
    /// Where people reach this server.
    pub(super) public_url: Option<Url>,
    /// The configured destinations' ids, each with its kind and grade.
    pub(super) destinations: BTreeMap<String, String>,
    /// Keys of the numbers whose keys are files; a number that is missing keeps them in the store.
    pub(super) numbers: HashMap<String, Option<Arc<KeyRing>>>,
    /// Tokens of the management API.
    pub(super) tokens: Tokens,
    /// Who has what.
    pub(super) workspaces: Workspaces,
    /// The configured flows.
    pub(super) flows: Vec<Known>,
    /// What watches the forms of connected flows, in a server.
    pub(super) watching: Option<Watching>,
    /// Where a rotated key must take effect at once: the running flows.
    pub(super) running: Option<Arc<Rings>>,
}

/// Runs a command on the store of this configuration, on the running server if there is one; `tell` gets every line.
///
/// # Errors
/// [`Error::Control`] says why in the words of the operator.
pub async fn run(config: &Config, command: Command, mut tell: impl FnMut(Told)) -> Result<(), Error> {
    let folder = &config.server.data_dir;
    let (tx, mut rx) = mpsc::channel(64);
    let opened = match open(config, Pace::default()).await {
        Ok(opened) => opened,
        Err(
            Error::Open(OpenError::InUse { .. })
            | Error::Shared(SharedOpenError::Journal(OpenError::InUse { .. })),
        ) => return remote(&folder.join(SOCKET), &command, tell).await,
        Err(error) => return Err(error),
    };
    let store = opened.store.clone();
    let control = Control::offline(config, opened).await?;
    let telling = async {
        let mut failed = None;
        while let Some(told) = rx.recv().await {
            match told {
                Told::Failed(reason) => failed = Some(reason),
                told => tell(told),
            }
        }
        failed
    };
    let ((), failed) = tokio::join!(control.answer(command, tx), telling);
    store.close().await?;
    failed.map_or(Ok(()), |reason| Err(Error::Control(reason)))
}

async fn remote(socket: &Path, command: &Command, mut tell: impl FnMut(Told)) -> Result<(), Error> {
    let failed = |what: &str| {
        Error::Control(format!(
            "another process has the data folder and {what} on {}; is it a Formgate server of this user?",
            socket.display()
        ))
    };
    let mut stream = UnixStream::connect(socket).await.map_err(|_| failed("does not listen"))?;
    let mut line = serde_json::to_vec(command).map_err(|error| Error::Control(error.to_string()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(|_| failed("hung up"))?;
    let mut lines = BufReader::new(stream).lines();
    loop {
        let next = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line =
            next.map_err(|_| failed("does not answer"))?.ok().flatten().ok_or_else(|| failed("hung up"))?;
        match serde_json::from_str(&line).map_err(|_| failed("speaks another language"))? {
            Told::Done => return Ok(()),
            Told::Failed(reason) => return Err(Error::Control(reason)),
            told => tell(told),
        }
    }
}

/// The socket of a running server, removed when it is dropped.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens it. Whoever holds the store may take the place of a dead server's socket.
    pub(super) fn bind(folder: &Path) -> io::Result<Socket> {
        let path = folder.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The folder is this user's alone, so nobody else gets in before the mode is set.
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Socket { listener, path })
    }

    /// Answers commands until `stop` becomes true.
    pub(super) async fn serve(self, control: Arc<Control>, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(MAX_COMMANDS));
        let mut commands = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.listener.accept() => accepted,
            };
            while commands.try_join_next().is_some() {}
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                let control = Arc::clone(&control);
                commands.spawn(async move {
                    let _slot = slot;
                    converse(&control, stream).await;
                });
            }
        }
        // Commands are read-only or atomic: cutting one off loses nothing.
        commands.shutdown().await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A socket that stays is replaced by the next server.
        let _left = std::fs::remove_file(&self.path);
    }
}

async fn converse(control: &Control, mut stream: UnixStream) {
    let (reading, mut writing) = stream.split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reading).take(MAX_COMMAND_BYTES);
    let read = tokio::time::timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let (tx, mut rx) = mpsc::channel(64);
    let answering = async {
        match serde_json::from_slice(&line) {
            Ok(command) => control.answer(command, tx).await,
            Err(_) => {
                let reason = "the server does not know this command: is it of another release?";
                let _gone = tx.send(Told::Failed(reason.to_owned())).await;
            }
        }
    };
    let writing = async {
        while let Some(told) = rx.recv().await {
            let Ok(mut line) = serde_json::to_vec(&told) else { break };
            line.push(b'\n');
            if !matches!(tokio::time::timeout(PATIENCE, writing.write_all(&line)).await, Ok(Ok(()))) {
                break;
            }
        }
        // Whoever still answers learns that nobody listens.
        rx.close();
    };
    tokio::join!(answering, writing);
}

impl Control {
    /// For a store that no server has.
    async fn offline(config: &Config, opened: Opened) -> Result<Control, Error> {
        let Opened { store, sealer, clock, tasks: _ } = opened;
        let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
        let StoreKeys { chain, index } = StoreKeys::open(&store, &sealer, clock.now_ms()).await?;
        let tokens = Tokens::new(store.clone(), Arc::<MacKey>::clone(&index));
        let files = files::build(config, store.clone(), sealer.clone(), clock.clone());
        let outbox =
            Outbox::new(store.clone(), Arc::new(vault), clock.clone()).indexed(index).with_files(files);
        let connections = connecting::connections(config, &store, &sealer, clock);
        let mut numbers = HashMap::new();
        for number in &config.numbers {
            let configured = build::configured_keys(number)?;
            let ring = (!configured.is_empty()).then(|| Arc::new(KeyRing::new(configured)));
            numbers.insert(number.id.as_str().to_owned(), ring);
        }
        let keys = Keys::new(store.clone(), sealer.clone());
        let destinations = build::destination_ids(config);
        let workspaces = build::workspaces(config);
        let backups = backup::Source::new(config, &store, &sealer);
        Ok(Control {
            outbox,
            store,
            sealer,
            chain,
            backups,
            keys,
            destinations,
            numbers,
            tokens,
            workspaces,
            connections,
            public_url: config.server.public_url.clone(),
            flows: config.flows.iter().map(Known::of).collect(),
            watching: None,
            running: None,
        })
    }

    /// Takes over keys that other nodes make, until `stop` becomes true.
    pub(super) async fn follow_keys(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let kept = self.numbers.iter().filter(|(_, ring)| ring.is_none());
        let kept: Vec<String> = kept.map(|(number, _)| number.clone()).collect();
        if let Some(rings) = &self.running {
            rings.follow(&self.store, &self.keys, &kept, stop).await;
        }
    }

    /// Carries out one command; the last thing told is [`Told::Done`] or [`Told::Failed`].
    async fn answer(&self, command: Command, tell: mpsc::Sender<Told>) {
        let last = match self.carry_out(command, &tell).await {
            Ok(()) => Told::Done,
            Err(reason) => Told::Failed(reason),
        };
        // Nobody listens any more: then nobody needs to know.
        let _gone = tell.send(last).await;
    }

    async fn carry_out(&self, command: Command, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        match command {
            Command::ListSubmissions { limit, flow, dead } => {
                let state = dead.then_some(DeliveryState::Dead);
                let filter = Filter { flow_id: flow, state, since_ms: None };
                let (mut after, mut left) = (None, limit);
                while left > 0 {
                    let page = self.outbox.list(&filter, after, left.min(200)).await.map_err(text)?;
                    for listed in &page.items {
                        let at = jiff::Timestamp::from_millisecond(listed.accepted_at_ms).unwrap_or_default();
                        let states: Vec<String> = listed.deliveries.iter().map(state_of).collect();
                        let flow = format!("{} v{}", listed.flow_id, listed.flow_version);
                        say(tell, format!("{}  {at:.0}  {flow}  {}", listed.id, states.join(", "))).await?;
                    }
                    left = left.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
            }
            Command::ShowSubmission { id } => {
                let shown = self.outbox.show(id).await.map_err(text)?;
                let shown = shown.ok_or_else(|| format!("there is no submission {id}"))?;
                let json = serde_json::to_string_pretty(&shown.submission).map_err(text)?;
                say(tell, json).await?;
                if let Some(at_ms) = self.outbox.confirmed_ms(id).await.map_err(text)? {
                    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
                    say(tell, format!("confirmed by Meta's webhook at {at:.0}")).await?;
                }
                for delivery in &shown.deliveries {
                    say(tell, format!("delivery {}  {}", delivery.key, state_of(delivery))).await?;
                    for attempt in &delivery.attempts {
                        let at = jiff::Timestamp::from_millisecond(attempt.at_ms).unwrap_or_default();
                        let status = attempt.status.map(|status| format!(" {status}")).unwrap_or_default();
                        let line = format!(
                            "  attempt {} at {at:.0}: {}{status}, {} ms",
                            attempt.number, attempt.class, attempt.took_ms
                        );
                        say(tell, line).await?;
                    }
                    if delivery.may_be_duplicated() {
                        let line = "  may be duplicated: an attempt got no clear answer, and this destination cannot be asked";
                        say(tell, line.to_owned()).await?;
                    }
                    if let Some(reason) = &delivery.dead_reason {
                        say(tell, format!("  given up: {reason}")).await?;
                    }
                }
            }
            Command::ReplaySubmission { id, as_new } => self.replay_one(id, as_new, tell).await?,
            Command::ReplayDead { filter, as_new } => self.replay_many(filter, as_new, tell).await?,
            Command::CancelReplays => self.cancel_replays(tell).await?,
            Command::ListDestinations => self.list_destinations(tell).await?,
            Command::PauseDestination { id } => self.pause(&id, tell).await?,
            Command::ResumeDestination { id } => self.resume(&id, tell).await?,
            Command::ExportSubmissions { flow } => {
                let mut export = self.outbox.export(flow.as_deref());
                loop {
                    match export.next().await {
                        Ok(Some(submission)) => {
                            say(tell, serde_json::to_string(&submission).map_err(text)?).await?;
                        }
                        Ok(None) => break,
                        // One that cannot be read must not hide those behind it.
                        Err(error @ crate::outbox::Error::Unreadable { .. }) => {
                            tell.send(Told::Remark(error.to_string())).await.map_err(|_| gone())?;
                        }
                        Err(error) => return Err(text(error)),
                    }
                }
                if export.is_partial() {
                    let remark = "These are those of this node, and perhaps not all: Redis is out of reach, or a node has not told it everything yet.";
                    tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())?;
                }
            }
            Command::ListKeys => {
                let mut numbers: Vec<_> = self.numbers.iter().collect();
                numbers.sort_unstable_by_key(|(number, _)| *number);
                for (number, ring) in numbers {
                    let kept;
                    let keys = match ring {
                        Some(ring) => ring.keys(),
                        None => {
                            kept = self.keys.list(number).await.map_err(text)?;
                            &kept
                        }
                    };
                    for key in keys {
                        say(tell, format!("number {number} key {}", key.id())).await?;
                        say(tell, key.public_pem().trim_end().to_owned()).await?;
                    }
                }
            }
            Command::RevokeToken { flow, token } => self.revoke(&flow, &token, tell).await?,
            Command::RotateKey { number } => self.rotate(&number, tell).await?,
            Command::Keep(command) => self.keep(command, tell).await?,
            Command::Flow(command) => self.flow(command, tell).await?,
            Command::Access(command) => self.access(command, tell).await?,
            Command::Connect(command) => self.connect(command, tell).await?,
        }
        Ok(())
    }

    async fn rotate(&self, number: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        match self.numbers.get(number) {
            None => return Err(format!("there is no number “{number}” in the configuration")),
            Some(Some(_)) => {
                return Err(format!(
                    "the keys of {number} are files: make one with formgate keys new FILE, put it first in private_keys and restart"
                ));
            }
            Some(None) => {}
        }
        self.keys.make(number, "cli", &SystemClock::new()).await.map_err(text)?;
        let keys = self.keys.list(number).await.map_err(text)?;
        let newest = keys.first().map(PrivateKey::public_pem).unwrap_or_default();
        if let Some(rings) = &self.running {
            rings.renew(number, &self.keys).await.map_err(text)?;
        }
        say(tell, newest.trim_end().to_owned()).await?;
        let remark = if self.running.is_some() {
            "The running server opens requests for this key from now on, and for the older ones too. Register the public key with Meta for the number."
        } else {
            "Start Formgate, then register this public key with Meta for the number; the older keys go on working."
        };
        tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
    }
}

async fn say(tell: &mpsc::Sender<Told>, line: String) -> Result<(), String> {
    tell.send(Told::Line(line)).await.map_err(|_| gone())
}

fn text(error: impl std::error::Error) -> String {
    chain(&error)
}

fn gone() -> String {
    "nobody listens any more".to_owned()
}

fn state_of(delivery: &DeliveryView) -> String {
    format!("{} {:?} (attempt {})", delivery.destination, delivery.state, delivery.attempt).to_lowercase()
}
