//! `formgate keys`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::{ConfigFile, Error, control, waiting};
use crate::app::control::{Command as Control, Keep};
use crate::crypto::PrivateKey;

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
    /// Seal everything in the store again under the newest master key, so that older ones can go
    Rewrap {
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
        Command::New { file } => new(&file),
        Command::List { file } => control(&file.load()?, Control::ListKeys, None).await,
        Command::Rewrap { file } => control(&file.load()?, Control::Keep(Keep::Rewrap), None).await,
        Command::Rotate { number, file } => control(&file.load()?, Control::RotateKey { number }, None).await,
    }
}

fn new(file: &std::path::Path) -> Result<ExitCode, Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let bar = waiting("{spinner} {msg} ({elapsed})", "making a 2048-bit RSA key");
    let key = PrivateKey::generate();
    bar.finish_and_clear();
    let write = || {
        let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
        out.write_all(key.private_pem().expose_secret().as_bytes())?;
        out.sync_all()
    };
    write().map_err(|source| Error::File { path: file.to_owned(), source })?;
    say!("{}", key.public_pem().trim_end());
    Ok(ExitCode::SUCCESS)
}
