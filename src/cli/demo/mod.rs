//! `formgate demo`: the whole product on one machine.

mod browser;
mod tools;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::sync::watch;

use super::{Error, play, quiet_panics, sandbox, stop_signal, waiting};
use crate::app::App;
use crate::catalog;
use crate::config::Config;
use crate::connector::Import;
use crate::crypto::{PrivateKey, WebhookSecret};
use crate::flow::compile::Settings;
use crate::player::Options;
use crate::player::strategy::Truthful;
use crate::sandbox::dial::Dial;
use crate::sandbox::{Inbox, Tools};

const FORM: &str = include_str!("../../../assets/demo-form.json");
/// How long the delivery may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How old a webhook may be.
const TOLERANCE: Duration = Duration::from_secs(300);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder for its key, configuration and store; kept between runs
    #[arg(long, value_name = "DIR", default_value = "formgate-demo")]
    data: PathBuf,
    /// End after the walk instead of going on serving
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    quiet_panics();
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    std::fs::create_dir_all(&args.data).map_err(file(&args.data))?;
    let folder = args.data.canonicalize().map_err(file(&args.data))?;

    let webhook = WebhookSecret::generate();
    let webhook_text = webhook.to_text();
    let inbox = Inbox::new(move |signed| {
        let now_s = jiff::Timestamp::now().as_second();
        webhook.verify(signed.id, signed.timestamp, signed.signature, signed.body, now_s, TOLERANCE).is_ok()
    });
    let inbox_server = inbox.bind(0).await.map_err(crate::app::Error::from)?;
    let inbox_address = inbox_server.local_addr();
    let (_peers_stop, peers_stopped) = watch::channel(false);
    tokio::spawn(inbox_server.run(peers_stopped.clone(), Duration::from_secs(1)));

    // A tool sends people back to an address that it has to know before.
    let listen = taken(args.listen).map_err(file(Path::new("--listen")))?;
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let public_url = format!("http://{}", SocketAddr::new(host, listen.port()));
    let form_tools = Tools::new(&format!("{public_url}/connect/*/callback"));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tools_address = Dial::new().serve_with_control(form_tools.clone(), any, peers_stopped).await;
    let tools_address = tools_address.map_err(crate::app::Error::from)?;

    let key_file = folder.join("private-key.pem");
    let key = key(&key_file)?;
    let form_file = folder.join("form.json");
    std::fs::write(&form_file, FORM).map_err(file(&form_file))?;
    let config_file = folder.join("formgate.toml");
    let app_secret = SecretString::from("demo-app-secret");
    let text = format!(
        r#"# Written anew by every `formgate demo`.
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"
public_url = "{public_url}"

[[number]]
id = "demo"
app_secret = "{secret}"
private_keys = ["file:private-key.pem"]

[[destination]]
id = "inbox"
kind = "webhook"
url = "http://{inbox_address}/hook"
secret = "{webhook}"
allow_private_network = true

[[flow]]
id = "demo"
tool = "form"
definition = "form.json"
number = "demo"
deliver_to = ["inbox"]

{tools}{written_back}"#,
        tools = sandbox::tools(tools_address),
        written_back = sandbox::written_back(tools_address, "demo"),
        secret = app_secret.expose_secret(),
        webhook = webhook_text.expose_secret(),
    );
    std::fs::write(&config_file, text).map_err(file(&config_file))?;
    let config = Config::load(Some(&config_file), std::iter::empty())?;
    let app = App::start(&config).await?;
    let (address, admin, connections) = (app.public, app.admin, app.connections.clone());
    let url = format!("http://{address}/flows/demo");

    let form = serde_json::from_str(FORM).map_err(|error| Error::Input(error.to_string()))?;
    let import = Import { form, notes: Vec::new() };
    let compiled = catalog::compile(&import, &Settings::default());
    let report = compiled.map_err(|error| Error::Input(error.to_string()))?.report;

    say!("The form:\n{}", report.to_text());
    say!("Serving {url}. A person walks through it, encrypted as WhatsApp would:\n");
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(app.run(stopped));
    let answers = json!({
        "Your name": "Ada Lovelace",
        "Where shall we send the offer?": "ada@example.org",
        "Phone": "020 7946 0018",
        "Ada Lovelace, what would you like us to look at?": "A new kitchen",
        "Budget": "25000",
        "What matters most?": ["Light", "Storage"],
        "Which day suits you?": "2026-12-01",
        "Will you be at home?": "No",
        "Who will let us in?": "Mrs Somerville, number 7",
        "How easy was this form?": "5",
        "You may store my answers to plan the visit.": true,
    });
    let document = play::served(admin, "demo").await?;
    let flow_file = folder.join("flow.json");
    std::fs::write(&flow_file, format!("{document:#}\n")).map_err(file(&flow_file))?;
    let mut person = Truthful::new(answers.as_object().cloned().unwrap_or_default());
    let mut phone = play::Phone {
        public_pem: key.public_pem(),
        secret: app_secret,
        token: "demo-token".to_owned(),
        options: Options::default(),
        is_shown: true,
    };
    let walked = phone.walk(&document, &url, &mut person).await?;
    let bar = waiting("{spinner} {msg} ({elapsed})", "waiting for the webhook");
    let delivered = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(delivery) = inbox.deliveries().into_iter().next_back() {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    bar.finish_and_clear();
    match &delivered {
        Ok(delivery) => {
            say!("Delivered to the webhook, signature verified, idempotency key {}:", delivery.id);
            say!("{:#}\n", delivery.body);
        }
        Err(_) => say!("Nothing was delivered within {} s.", PATIENCE.as_secs()),
    }
    say!("Four form tools stand in on this machine. Their owner connects them in a browser:");
    // As any command reads it: the master key is there by now.
    let config = Config::load(Some(&config_file), std::iter::empty())?;
    tools::connect(&config, &connections).await?;
    say!("\nA person fills in a form of each. This is in the tools now:");
    phone.is_shown = false;
    let written_back = tools::walk(&phone, &form_tools, (address, admin)).await?;
    say!("");
    let succeeded = walked && delivered.is_ok() && written_back;
    if args.once || !succeeded {
        stop.send_replace(true);
        running.await.map_err(|_| Error::Input("the server panicked".to_owned()))??;
        return Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let folder = args.data.display();
    say!("Still serving; stop with Ctrl-C. What to try next:");
    say!("  http://{inbox_address}/                     the webhook inbox");
    say!("  http://{tools_address}/                     what the four tools have stored");
    say!("  http://{admin}/metrics                 what an operator watches");
    say!("  formgate play demo --config {folder}/formgate.toml --document {folder}/flow.json --url {url}");
    say!("  formgate submissions list --config {folder}/formgate.toml");
    say!("  formgate connect hubspot --config {folder}/formgate.toml      the same in your own browser");
    say!("  formgate forms typeform --config {folder}/formgate.toml");
    say!("  formgate compile YOUR-FORM.json --tool typeform --out my-flow");
    let mut running = running;
    tokio::select! {
        () = stop_signal() => {
            stop.send_replace(true);
        }
        ended = &mut running => {
            ended.map_err(|_| Error::Input("the server panicked".to_owned()))??;
            return Ok(ExitCode::SUCCESS);
        }
    }
    running.await.map_err(|_| Error::Input("the server panicked".to_owned()))??;
    Ok(ExitCode::SUCCESS)
}

/// The address, with a port that is free now in place of 0.
fn taken(listen: SocketAddr) -> std::io::Result<SocketAddr> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    std::net::TcpListener::bind(listen)?.local_addr()
}

/// The demo's own key, made at the first run.
fn key(file: &Path) -> Result<PrivateKey, Error> {
    let fault = |source| Error::File { path: file.to_owned(), source };
    if let Ok(pem) = std::fs::read_to_string(file) {
        return PrivateKey::from_pem(&pem, None)
            .map_err(|error| Error::Input(format!("{}: {error}", file.display())));
    }
    let key = PrivateKey::generate();
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fault)?;
    out.write_all(key.private_pem().expose_secret().as_bytes()).map_err(fault)?;
    Ok(key)
}
