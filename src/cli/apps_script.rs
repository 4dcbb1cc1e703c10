//! `formgate apps-script`

use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigFile, Error, read};
use crate::config::{Definition, Target, Tool};
use crate::connector::google_forms::script::Items;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The flow, made from a Google form, that delivers to a destination of kind "google-apps-script"
    flow: String,
    /// The form's definition, if the flow is made from a connection: the answer of Google's forms.get
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let wrong = |reason: String| Error::Input(format!("flow {}: {reason}", args.flow));
    let flow = config
        .flows
        .iter()
        .find(|flow| flow.id.as_str() == args.flow)
        .ok_or_else(|| wrong("there is no such flow in the configuration".to_owned()))?;
    if flow.tool != Tool::GoogleForms {
        return Err(wrong("it was not made from a Google form".to_owned()));
    }
    let secrets = config.destinations.iter().filter_map(|destination| match &destination.target {
        Target::AppsScript(script) if flow.deliver_to.contains(&destination.id) => Some(&script.secret),
        _ => None,
    });
    let secret = secrets.into_iter().next().ok_or_else(|| {
        wrong("it delivers to no destination of kind \"google-apps-script\"; add one with a secret, any address will do until the script is deployed".to_owned())
    })?;
    let definition = match (&args.definition, &flow.definition) {
        (Some(path), _) | (None, Definition::File(path)) => path,
        (None, Definition::Connected { .. }) => {
            return Err(wrong(
                "its form is read from Google; give its definition with --definition".to_owned(),
            ));
        }
    };
    let items = Items::read(&read(definition)?).map_err(|error| wrong(error.to_string()))?;
    say!("{}", items.script(secret).trim_end());
    Ok(ExitCode::SUCCESS)
}
