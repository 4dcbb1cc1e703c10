//! `formgate destinations`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Error, control};
use crate::app::control::Command as Control;
use crate::outbox::DestinationId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every destination: whether it is sent to, and how many deliveries are in which state
    List,
    /// Send nothing more for now; submissions are still taken, and wait
    Pause {
        /// The destination's id
        id: String,
    },
    /// Send again what waits, also if it waits because the destination failed
    Resume {
        /// The destination's id
        id: String,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let named = |id: String| DestinationId::new(id).map_err(|error| Error::Input(error.to_string()));
    let command = match args.command {
        Command::List => Control::ListDestinations,
        Command::Pause { id } => Control::PauseDestination { id: named(id)? },
        Command::Resume { id } => Control::ResumeDestination { id: named(id)? },
    };
    control(&config, command, None).await
}
