//! `formgate submissions`

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::{ConfigFile, Error};
use crate::app::{self, master_keys};
use crate::crypto::{Purpose, Sealer, Vault};
use crate::outbox::{DeliveryView, Filter, Outbox, SubmissionId, SystemClock};
use crate::store::{self, DeliveryState, Store};

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
    },
    /// One submission with its attempts
    Show {
        /// Its id
        id: uuid::Uuid,
    },
    /// Deliver again what was given up, under the same idempotency key
    Replay {
        /// The submission's id
        id: uuid::Uuid,
    },
    /// Every submission, one JSON object a line
    Export {
        /// Only of this flow
        #[arg(long)]
        flow: Option<String>,
    },
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let store =
        Store::open_embedded(&store::Options::new(&config.server.data_dir)).map_err(app::Error::from)?;
    let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
    let vault = Vault::new(sealer, Purpose::StoredBody);
    let outbox = Outbox::new(store.clone(), Arc::new(vault), Arc::new(SystemClock::new()));
    match args.command {
        Command::List { limit } => {
            for listed in outbox.list(&Filter::default(), None, limit.clamp(1, 1_000)).await?.items {
                let states: Vec<String> = listed.deliveries.iter().map(state).collect();
                println!("{}  {} v{}  {}", listed.id, listed.flow_id, listed.flow_version, states.join(", "));
            }
        }
        Command::Show { id } => {
            let id = SubmissionId::new(id);
            let shown =
                outbox.show(id).await?.ok_or_else(|| Error::Input(format!("there is no submission {id}")))?;
            println!("{}", json(&shown.submission)?);
            for delivery in &shown.deliveries {
                println!("{} {}", delivery.key, state(delivery));
                if let Some(reason) = &delivery.dead_reason {
                    println!("  given up: {reason}");
                }
            }
        }
        Command::Replay { id } => {
            let id = SubmissionId::new(id);
            let shown =
                outbox.show(id).await?.ok_or_else(|| Error::Input(format!("there is no submission {id}")))?;
            let dead: Vec<&DeliveryView> =
                shown.deliveries.iter().filter(|d| d.state == DeliveryState::Dead).collect();
            for delivery in &dead {
                outbox.replay(delivery.key, "cli").await?;
            }
            println!("{} due now", dead.len());
        }
        Command::Export { flow } => {
            let mut export = outbox.export(flow.as_deref());
            while let Some(submission) = export.next().await? {
                println!(
                    "{}",
                    serde_json::to_string(&submission).map_err(|error| Error::Input(error.to_string()))?
                );
            }
        }
    }
    store.close().await.map_err(app::Error::from)?;
    Ok(ExitCode::SUCCESS)
}

fn state(delivery: &DeliveryView) -> String {
    format!("{} {:?} (attempt {})", delivery.destination, delivery.state, delivery.attempt).to_lowercase()
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Input(error.to_string()))
}
