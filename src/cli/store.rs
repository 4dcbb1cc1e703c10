//! `formgate store`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{ConfigFile, Error, control};
use crate::app;
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
    /// Look for damage: the file itself, the audit trail, and whether what is sealed opens
    Check,
    /// Write a sealed copy, also while Formgate runs; it is opened again before it counts
    Backup {
        /// The folder it goes to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Fill an empty data folder from the newest backup in a folder, or from one file
    Restore {
        /// The folder, or the file
        #[arg(value_name = "DIR")]
        from: PathBuf,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let command = match args.command {
        Command::Check => Keep::CheckStore,
        // The server that may carry it out has another working folder.
        Command::Backup { folder } => Keep::BackUp { folder: absolute(&folder)? },
        Command::Restore { from } => {
            let app::Restored { file, passed_over } = app::restore(&config, &from)?;
            if let Some(later) = passed_over {
                eprintln!(
                    "{} was passed over: by this machine's clock its time is still to come. If it is the one to restore, move the data folder away and give its own path.",
                    later.display()
                );
            }
            say!("{} is restored to {}", file.display(), config.server.data_dir.display());
            return Ok(ExitCode::SUCCESS);
        }
    };
    control(&config, Control::Keep(command), None).await
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
