//! `formgate flow`

use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Error, control};
use crate::app::control::{Command as Control, FlowCommand};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every flow, its newest version, and whether a change of its form waits
    List,
    /// Where a flow's form is, when it was read, and its versions
    Show {
        /// The flow's id
        flow: String,
    },
    /// The stored versions of a flow, the newest first
    Versions {
        /// The flow's id
        flow: String,
    },
    /// What is different in the form's change that waits
    Diff {
        /// The flow's id
        flow: String,
    },
    /// Take over the change that waits; people in mid-form finish on what they opened
    Approve {
        /// The flow's id
        flow: String,
    },
    /// Look at the form in its tool now
    Check {
        /// The flow's id
        flow: String,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let command = match args.command {
        Command::List => FlowCommand::List,
        Command::Show { flow } => FlowCommand::Show { flow },
        Command::Versions { flow } => FlowCommand::Versions { flow },
        Command::Diff { flow } => FlowCommand::Diff { flow },
        Command::Approve { flow } => FlowCommand::Approve { flow },
        Command::Check { flow } => FlowCommand::Check { flow },
    };
    control(&config, Control::Flow(command), None).await
}
