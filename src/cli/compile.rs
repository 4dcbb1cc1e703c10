//! `formgate compile`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use super::{Error, read};
use crate::catalog::{self, import, overlay::Overlay};
use crate::connector;
use crate::flow::compile::{Compiled, Mode, Settings};
use crate::flow::limits::Version;
use crate::flow::plan::{DataApi, Entry};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The definition, as the tool exports it
    definition: PathBuf,
    /// What made it
    #[arg(long, default_value = "form")]
    tool: String,
    /// What the tool's API hides, added by hand: see schemas/overlay.schema.json
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Folder for flow.json, fidelity.json and form.json; without it only the report is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Flow JSON version
    #[arg(long, default_value = "7.3")]
    flow_json: Version,
    /// Data exchange protocol
    #[arg(long, value_enum, default_value = "4.0")]
    data_api: DataApiArg,
    /// How questions are spread over screens
    #[arg(long, value_enum, default_value = "grouped")]
    mode: ModeArg,
    /// Where the first screen comes from
    #[arg(long, value_enum, default_value = "exchange")]
    entry: EntryArg,
    /// Language of the flow, among the form's
    #[arg(long)]
    locale: Option<String>,
    /// Country of phone numbers without a prefix, such as IT
    #[arg(long)]
    default_country: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DataApiArg {
    #[value(name = "4.0")]
    V4,
    #[value(name = "3.0")]
    V3,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeArg {
    Grouped,
    OneQuestion,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EntryArg {
    Exchange,
    Static,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let refused = |reason: String| Error::Input(format!("{}: {reason}", args.definition.display()));
    if connector::connector(&args.tool).is_none() {
        let known: Vec<&str> = connector::connectors().iter().map(|c| c.tool()).collect();
        let (tool, known) = (&args.tool, known.join(" or "));
        return Err(Error::Input(format!("there is no reader for “{tool}”; choose --tool {known}")));
    }
    let overlay = match &args.overlay {
        None => None,
        Some(path) => Some(
            Overlay::read(&read(path)?)
                .map_err(|error| Error::Input(format!("{}: {error}", path.display())))?,
        ),
    };
    let import = import::read(&read(&args.definition)?, &args.tool, overlay.as_ref())
        .map_err(|error| refused(error.to_string()))?;
    let settings = Settings {
        version: 1,
        flow_json: args.flow_json,
        data_api: match args.data_api {
            DataApiArg::V4 => DataApi::V4,
            DataApiArg::V3 => DataApi::V3,
        },
        mode: match args.mode {
            ModeArg::Grouped => Mode::Grouped,
            ModeArg::OneQuestion => Mode::OneQuestion,
        },
        entry: match args.entry {
            EntryArg::Exchange => Entry::Exchange,
            EntryArg::Static => Entry::Static,
        },
        locale: args.locale.clone(),
        default_country: args.default_country.clone(),
    };
    let Compiled { document, report, .. } =
        catalog::compile(&import, &settings).map_err(|error| refused(error.to_string()))?;
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|source| Error::File { path: folder.clone(), source })?;
        write(&folder.join("flow.json"), &document)?;
        write(&folder.join("fidelity.json"), &report)?;
        write(&folder.join("form.json"), &import.form)?;
    }
    say!("{}", report.to_text().trim_end());
    for (kind, grade) in connector::ways_back(&args.tool) {
        say!("Back into the tool by kind = \"{kind}\": grade {grade}, {}.", grade.meaning());
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Input(error.to_string()))?;
    std::fs::write(path, text + "\n").map_err(|source| Error::File { path: path.to_owned(), source })
}
