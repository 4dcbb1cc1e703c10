//! `formgate api-token`

use std::process::ExitCode;

use clap::Subcommand;

use super::token::DurationArg;
use super::{ConfigFile, Error, control};
use crate::app::control::{AccessCommand, Command as Control};
use crate::console::access::{NewToken, Role, Scope};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, this once
    New {
        /// What people call it; it stands in the audit trail
        name: String,
        /// viewer, editor or owner
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// The workspace that it is for
        #[arg(long, default_value = "default")]
        workspace: String,
        /// Only this scope of the role; may be repeated
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<Scope>,
        /// How long it is valid, such as 90d; without an end if left out
        #[arg(long)]
        ttl: Option<DurationArg>,
    },
    /// Every token, without what it is
    List,
    /// Take a token back at once
    Revoke {
        /// The token's id
        id: String,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let command = match args.command {
        Command::New { name, role, workspace, scope, ttl } => {
            let expires_at_ms = match ttl {
                None => None,
                Some(ttl) => Some(ttl.later()?.as_millisecond()),
            };
            let scopes = (!scope.is_empty()).then(|| scope.into_iter().collect());
            AccessCommand::Make { token: NewToken { name, workspace, role, scopes, expires_at_ms } }
        }
        Command::List => AccessCommand::List,
        Command::Revoke { id } => AccessCommand::Revoke { id },
    };
    control(&config, Control::Access(command), None).await
}
