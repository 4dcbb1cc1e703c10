//! `formgate audit`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Counted, Error, control};
use crate::app::control::{Command as Control, Keep};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What was done, by whom and when, the newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Whether the trail is as it was written; names the first entry that is not
    Verify,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let (command, counted) = match args.command {
        Command::List { limit } => (Keep::ListAudit { limit }, Some(Counted::Lines("events"))),
        Command::Verify => (Keep::VerifyAudit, None),
    };
    control(&config, Control::Keep(command), counted).await
}
