//! `formgate submissions`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Error, control};
use crate::app::control::Command as Control;
use crate::outbox::SubmissionId;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The newest submissions and where each delivery stands
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
        /// Only those with a delivery that was given up
        #[arg(long)]
        dead: bool,
    },
    /// One submission with its attempts
    Show {
        /// Its id
        id: uuid::Uuid,
    },
    /// Deliver again what was given up, under the same idempotency key
    Replay {
        /// The submission's id
        id: uuid::Uuid,
    },
    /// Every submission, one JSON object a line
    Export {
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let (command, counted) = match args.command {
        Command::List { limit, flow, dead } => (Control::ListSubmissions { limit, flow, dead }, None),
        Command::Show { id } => (Control::ShowSubmission { id: SubmissionId::new(id) }, None),
        Command::Replay { id } => (Control::ReplaySubmission { id: SubmissionId::new(id) }, None),
        Command::Export { flow } => (Control::ExportSubmissions { flow }, Some("submissions")),
    };
    control(&config, command, counted).await
}
