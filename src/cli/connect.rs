//! `formgate connect` and `formgate connections`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use secrecy::SecretString;

use super::{ConfigFile, Error, control, read};
use crate::app::control::{Command as Control, Connect, Passed};
use crate::connector::connection::ConnectionId;
use crate::connector::oauth::Tool;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// hubspot, google-forms, typeform or surveymonkey
    tool: Tool,
    /// What to call the connection; that of an older one mends it
    #[arg(long)]
    name: Option<ConnectionId>,
    /// The tool's region of the account: us, eu, ca, or eu-old for older European accounts of Typeform
    #[arg(long)]
    region: Option<String>,
    /// The workspace that it is for: tokens of the management API see only their own
    #[arg(long)]
    workspace: Option<String>,
    /// Connect by a token that you made at the tool, in this file; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "service_account")]
    token_file: Option<PathBuf>,
    /// Connect by the key file of a service account of Google's
    #[arg(long, value_name = "FILE")]
    service_account: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManyArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every connected account and how it stands
    List,
    /// One connection, as JSON, without its credentials
    Show {
        /// The connection's name
        id: ConnectionId,
    },
    /// Ask the tool whether the connection works, and whose account it is
    Check {
        /// The connection's name
        id: ConnectionId,
    },
    /// Give the tokens back and forget the connection
    Remove {
        /// The connection's name
        id: ConnectionId,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let Args { tool, name, region, workspace, .. } = args;
    let command = match (args.token_file, args.service_account) {
        (Some(file), _) => Connect::AddToken { tool, region, name, workspace, token: secret(&file)? },
        (None, Some(_)) if tool != Tool::GoogleForms => {
            return Err(Error::Input(
                "service accounts are Google's: formgate connect google-forms".to_owned(),
            ));
        }
        (None, Some(file)) => Connect::AddServiceAccount { name, workspace, file: secret(&file)? },
        (None, None) => Connect::Begin { tool, region, name, workspace },
    };
    control(&config, Control::Connect(command), None).await
}

pub(super) async fn run_many(args: ManyArgs) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let command = match args.command {
        Command::List => Connect::List,
        Command::Show { id } => Connect::Show { id },
        Command::Check { id } => Connect::Check { id },
        Command::Remove { id } => Connect::Remove { id },
    };
    control(&config, Control::Connect(command), None).await
}

fn secret(file: &std::path::Path) -> Result<Passed, Error> {
    let bytes = if file == std::path::Path::new("-") {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(64 * 1024).read_to_end(&mut bytes);
        read.map_err(|source| Error::File { path: file.to_owned(), source })?;
        bytes
    } else {
        read(file)?
    };
    let text = String::from_utf8(bytes).map_err(|_| Error::Input("the file is not text".to_owned()))?;
    if text.trim().is_empty() {
        return Err(Error::Input(format!("{} is empty", file.display())));
    }
    Ok(Passed(SecretString::from(text.trim())))
}
