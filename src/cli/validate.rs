//! `formgate validate`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Error, read};
use crate::flow::validate::{Severity, validate_str};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The Flow JSON file
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let bytes = read(&args.file)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::Input(format!("{} is not UTF-8 text", args.file.display())))?;
    let violations = validate_str(&text);
    for violation in &violations {
        say!("{violation}");
    }
    let errors = violations.iter().filter(|v| v.severity == Severity::Error).count();
    if errors == 0 {
        say!("{} breaks no rule", args.file.display());
        return Ok(ExitCode::SUCCESS);
    }
    say!("{errors} to mend");
    Ok(ExitCode::FAILURE)
}
