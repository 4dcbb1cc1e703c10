//! `formgate serve`

use std::process::ExitCode;

use tokio::sync::watch;

use super::{ConfigFile, Error, quiet_panics, stop_signal};
use crate::app::App;
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    telemetry::init(config.log.format, &config.log.level).map_err(|error| Error::Input(error.to_string()))?;
    quiet_panics();
    let app = App::start(&config).await?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        stop.send_replace(true);
    });
    app.run(stopped).await?;
    Ok(ExitCode::SUCCESS)
}
