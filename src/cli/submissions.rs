//! `formgate submissions`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Counted, Error, control};
use crate::app::control::Command as Control;
use crate::outbox::{ReplayFilter, SubmissionId};

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
    Replay(Replay),
    /// Every submission, one JSON object a line
    Export {
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The submission's id
    #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
    id: Option<uuid::Uuid>,
    /// Everything that was given up, after the submissions that come in meanwhile
    #[arg(long)]
    all_dead: bool,
    /// Only to this destination
    #[arg(long, requires = "all_dead", value_name = "ID")]
    destination: Option<String>,
    /// Only of this flow
    #[arg(long, requires = "all_dead", value_name = "ID")]
    flow: Option<String>,
    /// Only what was given up at this time or later, for example 2026-11-24T09:00:00Z
    #[arg(long, requires = "all_dead", value_name = "RFC3339")]
    since: Option<jiff::Timestamp>,
    /// Under new idempotency keys: a destination that has a submission already will have it twice
    #[arg(long)]
    as_new: bool,
}

impl Replay {
    fn command(self) -> Control {
        match self.id {
            Some(id) => Control::ReplaySubmission { id: SubmissionId::new(id), as_new: self.as_new },
            None => {
                let since_ms = self.since.map(jiff::Timestamp::as_millisecond);
                let filter = ReplayFilter { destination: self.destination, flow_id: self.flow, since_ms };
                Control::ReplayDead { filter, as_new: self.as_new }
            }
        }
    }
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let (command, counted) = match args.command {
        Command::List { limit, flow, dead } => (Control::ListSubmissions { limit, flow, dead }, None),
        Command::Show { id } => (Control::ShowSubmission { id: SubmissionId::new(id) }, None),
        Command::Replay(replay) => {
            let counted = replay.all_dead.then_some(Counted::Progress("deliveries"));
            (replay.command(), counted)
        }
        Command::Export { flow } => {
            (Control::ExportSubmissions { flow }, Some(Counted::Lines("submissions")))
        }
    };
    control(&config, command, counted).await
}
