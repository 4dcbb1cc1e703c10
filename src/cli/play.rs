//! `formgate play`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{ConfigFile, Error, read};
use crate::app::control::{self, Told};
use crate::client::{AddressPolicy, Client, Method, Request, StatusCode};
use crate::config::Config;
use crate::player::document::Document;
use crate::player::strategy::{Played, Random, Strategy, Truthful, play};
use crate::player::transport::HttpTransport;
use crate::player::{Options, Outcome, Player, Step};

/// How wide a screen is drawn.
const WIDTH: usize = 52;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The flow
    flow: String,
    /// Its Flow JSON, such as the flow.json of formgate compile; else what the running server serves
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// Answers as a JSON object, by question text; without it someone random fills the form
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Seed of the random person
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The public key as PEM; else that of the number's newest key
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The endpoint; else the listener of the configuration
    #[arg(long)]
    url: Option<String>,
    /// Where picked files are uploaded to, encrypted; answers give files by their path. Without it nothing can fetch them
    #[arg(long, value_name = "URL")]
    media_servers: Option<url::Url>,
    /// The flow token
    #[arg(long, default_value = "unused")]
    token: String,
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    let (public_pem, secret) = credentials(&config, &args).await?;
    let url =
        args.url.clone().unwrap_or_else(|| format!("http://{}/flows/{}", config.server.listen, args.flow));
    let document = match &args.document {
        Some(file) => {
            serde_json::from_slice(&read(file)?).map_err(|error| Error::Input(error.to_string()))?
        }
        None => served(config.server.admin_listen, &args.flow).await?,
    };
    let mut strategy: Box<dyn Strategy> = match &args.answers {
        Some(file) => {
            let answers: Map<String, Value> =
                serde_json::from_slice(&read(file)?).map_err(|error| Error::Input(error.to_string()))?;
            Box::new(Truthful::new(answers))
        }
        None => Box::new(Random::new(args.seed)),
    };
    let options = Options { media_servers: args.media_servers, ..Options::default() };
    let phone = Phone { public_pem, secret, token: args.token, options, is_shown: true };
    let completed = phone.walk(&document, &url, strategy.as_mut()).await?;
    Ok(if completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The document that a running server serves.
pub(super) async fn served(admin: SocketAddr, flow: &str) -> Result<Value, Error> {
    let address = format!("http://{admin}/api/v1/flows/{flow}/flow.json");
    let failed = |what: String| {
        Error::Input(format!(
            "{address} {what}; start formgate serve with this configuration, or give --document"
        ))
    };
    let url = url::Url::parse(&address).map_err(|_| failed("is no address".to_owned()))?;
    let mut request = Request::new(Method::GET, url, "", Instant::now() + Duration::from_secs(10));
    request.policy = AddressPolicy::AllowPrivateNetwork;
    request.max_response_bytes = 16 << 20;
    let response =
        Client::new().request(request).await.map_err(|error| failed(format!("failed: {error}")))?;
    if response.status != StatusCode::OK {
        return Err(failed(format!("answered {}", response.status)));
    }
    serde_json::from_slice(&response.body).map_err(|error| failed(format!("gave no JSON: {error}")))
}

async fn credentials(config: &Config, args: &Args) -> Result<(String, SecretString), Error> {
    let flow = config.flows.iter().find(|flow| flow.id.as_str() == args.flow);
    let number = flow.and_then(|flow| config.numbers.iter().find(|number| number.id == flow.number));
    let number = number
        .ok_or_else(|| Error::Input(format!("there is no flow “{}” in the configuration", args.flow)))?;
    let secret = number.app_secrets.first().map(|known| known.secret.clone());
    let secret = secret.ok_or_else(|| Error::Input("the number has no app secret".to_owned()))?;
    if let Some(file) = &args.public_key {
        return Ok((String::from_utf8_lossy(&read(file)?).into_owned(), secret));
    }
    let (mut ours, mut newest) = (false, None);
    control::run(config, control::Command::ListKeys, |told| {
        let Told::Line(line) = told else { return };
        if let Some(rest) = line.strip_prefix("number ") {
            ours = rest.split(' ').next() == Some(number.id.as_str());
        } else if ours && newest.is_none() {
            newest = Some(line);
        }
    })
    .await?;
    let newest = newest.ok_or_else(|| {
        Error::Input("the number has no key yet; formgate serve makes one when it starts".to_owned())
    })?;
    Ok((newest, secret))
}

/// Whose phone it is, and how much of a walk is printed.
pub(super) struct Phone {
    /// The number's public key.
    pub(super) public_pem: String,
    /// The Meta app's secret.
    pub(super) secret: SecretString,
    /// The flow token.
    pub(super) token: String,
    pub(super) options: Options,
    /// Whether each screen is printed as the person sees it; faults are in any case.
    pub(super) is_shown: bool,
}

impl Phone {
    /// Walks; tells whether the walk was completed without a fault.
    pub(super) async fn walk(
        &self,
        document: &Value,
        url: &str,
        strategy: &mut dyn Strategy,
    ) -> Result<bool, Error> {
        let document = Document::read(document).map_err(|error| Error::Input(error.to_string()))?;
        let transport = HttpTransport::new(url).map_err(|error| Error::Input(error.to_string()))?;
        let (secret, options) = (self.secret.clone(), self.options.clone());
        let mut player = Player::new(document, &self.public_pem, secret, &self.token, transport, options)?;
        let played = play(&mut player, strategy).await?;
        for step in &player.walk().steps {
            match step {
                Step::Shown(screen) if self.is_shown => say!("{}", screen.to_text(WIDTH)),
                Step::Fault(fault) => say!("  fault: {fault}"),
                Step::Completed(params) if self.is_shown => {
                    say!("  completed: {}", Value::Object(params.clone()));
                }
                Step::Shown(_) | Step::Completed(_) | Step::Request(_) | Step::Reply { .. } => {}
            }
        }
        let faultless = player.walk().faults().next().is_none();
        match played {
            Played::Ended(Outcome::Completed(_)) => return Ok(faultless),
            Played::Ended(Outcome::Expired(message)) => {
                say!("  the flow says: {}", message.unwrap_or_default());
            }
            Played::Ended(outcome) => say!("  it ended with: {outcome:?}"),
            Played::Stuck(screen) => say!("  stuck on: {}", screen.title),
        }
        Ok(false)
    }
}
