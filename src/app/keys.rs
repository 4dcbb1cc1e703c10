//! The master key, and the private keys of numbers that are kept sealed in the store.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::Error;
use crate::audit;
use crate::config;
use crate::crypto::{KeyId, MacKey, MasterKey, MasterKeys, PrivateKey, Purpose, Sealer, Vault};
use crate::outbox::Clock;
use crate::store::{self, Batch, Expectation, Put, Scan, Store, Table};

/// The master keys as configured; the file is made, for this user alone, if it is not there yet.
///
/// # Errors
/// [`Error::MasterKey`].
pub fn master_keys(configured: &config::MasterKey) -> Result<MasterKeys, Error> {
    let parse =
        |text: &SecretString| MasterKeys::parse(text).map_err(|error| Error::MasterKey(error.to_string()));
    match configured {
        config::MasterKey::Value(text) | config::MasterKey::File { content: Some(text), .. } => parse(text),
        config::MasterKey::File { path, content: None } => {
            let text = MasterKey::generate().to_text();
            write_new(path, &text).map_err(|error| {
                Error::MasterKey(format!("{} cannot be made: {}", path.display(), error.kind()))
            })?;
            parse(&text)
        }
    }
}

fn write_new(path: &Path, text: &SecretString) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", text.expose_secret())?;
    file.sync_all()?;
    // The name must survive a power loss as well as the key.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Private keys of numbers, kept sealed in the store.
pub struct Keys {
    store: Store,
    vault: Vault,
}

impl Keys {
    /// The keys in this store.
    pub fn new(store: Store, sealer: Sealer) -> Keys {
        Keys { store, vault: Vault::new(sealer, Purpose::Secret) }
    }

    /// The kept keys of a number, newest first.
    ///
    /// # Errors
    /// [`Error::SealedKey`], [`Error::Key`], [`Error::Store`].
    pub async fn list(&self, number: &str) -> Result<Vec<PrivateKey>, Error> {
        let prefix = prefix(number);
        let scan = Scan { prefix: prefix.clone(), after: None, descending: true, limit: 100 };
        let mut keys = Vec::new();
        for (key, record) in self.store.scan(Table::Secret, scan).await? {
            let pem =
                self.vault.open(&key, &record.value).map_err(|_| Error::SealedKey(number.to_owned()))?;
            let pem = SecretString::from(String::from_utf8_lossy(&pem).into_owned());
            let key = PrivateKey::from_pem(pem.expose_secret(), None)
                .map_err(|source| Error::Key { number: number.to_owned(), source })?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// Makes a key for a number and keeps it; it becomes the newest.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn make(&self, number: &str, actor: &str, clock: &dyn Clock) -> Result<KeyId, Error> {
        Ok(self.keep_new(Batch::at(clock.now_ms()), number, actor, clock).await?)
    }

    /// Makes the first key of a number; `None` if another node has made it in the same moment.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn make_first(&self, number: &str, clock: &dyn Clock) -> Result<Option<KeyId>, Error> {
        let name = [FIRST, number.as_bytes()].concat();
        let first = Batch::at(clock.now_ms())
            .require(Table::Setting, name.clone(), Expectation::Absent)
            .put(Put::new(Table::Setting, name, []));
        match self.keep_new(first, number, "start", clock).await {
            Ok(made) => Ok(Some(made)),
            Err(store::Error::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn keep_new(
        &self,
        batch: Batch,
        number: &str,
        actor: &str,
        clock: &dyn Clock,
    ) -> Result<KeyId, store::Error> {
        let made = PrivateKey::generate();
        let key = [prefix(number), clock.now_ms().to_be_bytes().to_vec()].concat();
        let sealed = self.vault.seal(&key, made.private_pem().expose_secret().as_bytes());
        let batch = batch
            .require(Table::Secret, key.clone(), Expectation::Absent)
            .put(Put::new(Table::Secret, key, sealed))
            .put(
                audit::Event::ok(clock.now_ms(), actor, "key.made", format_args!("{number} {}", made.id()))
                    .put(),
            );
        self.store.commit(batch).await?;
        Ok(*made.id())
    }
}

/// Says that a number was given its first key.
const FIRST: &[u8] = b"first key\0";

fn prefix(number: &str) -> Vec<u8> {
    [b"key\0", number.as_bytes(), b"\0"].concat()
}

/// The keys of a store's own: they stay the same when the master key changes, and are kept sealed under it.
pub struct StoreKeys {
    /// Chains the audit trail.
    pub chain: Arc<MacKey>,
    /// Finds a person's submissions without naming the person.
    pub index: Arc<MacKey>,
}

impl StoreKeys {
    /// Opens them, makes them the first time, and gives the store its own.
    ///
    /// # Errors
    /// [`Error::OtherMasterKey`], [`Error::Store`].
    pub async fn open(store: &Store, sealer: &Sealer, now_ms: i64) -> Result<StoreKeys, Error> {
        let vault = Vault::new(sealer.clone(), Purpose::Secret);
        let keys = match Self::open_or_make(store, &vault, now_ms).await {
            // Another node has made them in the same moment.
            Err(Error::Store(store::Error::Conflict { .. })) => {
                Self::open_or_make(store, &vault, now_ms).await?
            }
            opened => opened?,
        };
        Self::begin_own_chain(store, &keys.chain, now_ms).await?;
        store.chain_audit(Arc::<MacKey>::clone(&keys.chain));
        Ok(keys)
    }

    /// A node that joins others has the key of the chain, and no chain yet. That it has begun one stands where all nodes
    /// see it, so taking the chain away is found out.
    async fn begin_own_chain(store: &Store, key: &MacKey, now_ms: i64) -> Result<(), Error> {
        let Some(node) = store.node() else { return Ok(()) };
        let name = [BEGUN, node.as_bytes()].concat();
        if store.get(Table::Secret, &name).await?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::at(now_ms).put(Put::new(Table::Secret, name, []));
        let scan = Scan { limit: 1, ..Scan::default() };
        if store.scan(Table::AuditLink, scan).await?.is_empty() {
            batch = batch.put(store.chain_beginning(key));
        }
        Ok(store.commit(batch).await?)
    }

    async fn open_or_make(store: &Store, vault: &Vault, now_ms: i64) -> Result<StoreKeys, Error> {
        let kept = [Self::kept(store, vault, CHAIN).await?, Self::kept(store, vault, INDEX).await?];
        let mut batch = Batch::at(now_ms);
        let [chain, index] =
            kept.map(|kept| kept.map(|key| (key, true)).unwrap_or_else(|| (MacKey::generate(), false)));
        for (name, (key, is_kept)) in [(CHAIN, &chain), (INDEX, &index)] {
            if !is_kept {
                let sealed = vault.seal(name, key.expose_bytes());
                batch = batch.require(Table::Secret, name, Expectation::Absent).put(Put::new(
                    Table::Secret,
                    name,
                    sealed,
                ));
            }
        }
        if !chain.1 {
            batch = batch.put(store.chain_beginning(&chain.0));
        }
        if !batch.puts.is_empty() {
            store.commit(batch).await?;
        }
        Ok(StoreKeys { chain: Arc::new(chain.0), index: Arc::new(index.0) })
    }

    async fn kept(store: &Store, vault: &Vault, name: &[u8]) -> Result<Option<MacKey>, Error> {
        let Some(record) = store.get(Table::Secret, name).await? else { return Ok(None) };
        let bytes = vault.open(name, &record.value).map_err(|_| Error::OtherMasterKey)?;
        MacKey::from_bytes(&bytes).map(Some).ok_or(Error::OtherMasterKey)
    }
}

const CHAIN: &[u8] = b"store\0chain";
const INDEX: &[u8] = b"store\0index";
/// Nodes that have begun their chains; before their names.
const BEGUN: &[u8] = b"chain\0";
