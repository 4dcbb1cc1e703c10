//! `formgate forms` and `formgate import`

use std::process::ExitCode;

use super::{ConfigFile, Error, control};
use crate::app::control::{Command as Control, FlowCommand};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// The connection's id: see formgate connections list
    connection: String,
    /// Only forms whose title holds this
    #[arg(long)]
    search: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<u32>,
    #[command(flatten)]
    file: ConfigFile,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The connection's id: see formgate connections list
    connection: String,
    /// The form's id there; of a Google form also the link of its editor
    form: String,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) async fn list(args: ListArgs) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let ListArgs { connection, search, limit, .. } = args;
    control(&config, Control::Flow(FlowCommand::Forms { connection, search, limit }), None).await
}

pub(super) async fn import(args: ImportArgs) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let ImportArgs { connection, form, .. } = args;
    control(&config, Control::Flow(FlowCommand::Import { connection, form }), None).await
}
