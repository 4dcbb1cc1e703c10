//! `formgate keys`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::{ConfigFile, Error};
use crate::app::{self, Keys, master_keys};
use crate::config::{Config, Number};
use crate::crypto::{PrivateKey, Sealer};
use crate::outbox::SystemClock;
use crate::store::{self, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key pair: the private key into a file for this user alone, the public one to standard output
    New {
        /// Where the private key goes; must not exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the public keys of every number, newest first
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Make a new kept key for a number; older ones go on opening what phones still send with them
    Rotate {
        /// The number
        number: String,
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    match args.command {
        Command::New { file } => new(&file)?,
        Command::List { file } => {
            let config = file.load()?;
            let store = open(&config)?;
            for number in &config.numbers {
                for key in keys(&config, number, &store).await? {
                    println!(
                        "number {} key {}\n{}",
                        number.id.as_str(),
                        key.id(),
                        key.public_pem().trim_end()
                    );
                }
            }
            close(store).await?;
        }
        Command::Rotate { number, file } => {
            let config = file.load()?;
            let Some(found) = config.numbers.iter().find(|known| known.id.as_str() == number) else {
                return Err(Error::Input(format!("there is no number “{number}” in the configuration")));
            };
            if !found.private_keys.is_empty() {
                return Err(Error::Input(format!(
                    "the keys of {number} are files: make one with formgate keys new FILE and put it first in private_keys"
                )));
            }
            let store = open(&config)?;
            let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
            let kept = Keys::new(store.clone(), sealer);
            kept.make(&number, &SystemClock::new()).await?;
            if let Some(newest) = kept.list(&number).await?.first() {
                println!("{}", newest.public_pem().trim_end());
                eprintln!(
                    "Start Formgate, then register this public key with Meta for the number; phones refetch it after one 421."
                );
            }
            close(store).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn new(file: &std::path::Path) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let key = PrivateKey::generate();
    let write = || {
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(key.private_pem().expose_secret().as_bytes())?;
        out.sync_all()
    };
    write().map_err(|source| Error::File { path: file.to_owned(), source })?;
    println!("{}", key.public_pem().trim_end());
    Ok(())
}

async fn keys(config: &Config, number: &Number, store: &Store) -> Result<Vec<PrivateKey>, Error> {
    if number.private_keys.is_empty() {
        let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
        return Ok(Keys::new(store.clone(), sealer).list(number.id.as_str()).await?);
    }
    let read = |pem: &secrecy::SecretString| {
        PrivateKey::from_pem(pem.expose_secret(), number.private_key_passphrase.as_ref())
            .map_err(|source| app::Error::Key { number: number.id.as_str().to_owned(), source }.into())
    };
    number.private_keys.iter().map(read).collect()
}

fn open(config: &Config) -> Result<Store, Error> {
    let store = Store::open_embedded(&store::Options::new(&config.server.data_dir));
    Ok(store.map_err(app::Error::from)?)
}

async fn close(store: Store) -> Result<(), Error> {
    Ok(store.close().await.map_err(app::Error::from)?)
}
