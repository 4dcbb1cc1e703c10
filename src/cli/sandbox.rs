//! `formgate sandbox`: the four form tools on this machine.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::sync::watch;

use super::{Error, quiet_panics, stop_signal};
use crate::sandbox::Tools;
use crate::sandbox::dial::Dial;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where to listen; an address of this machine only
    #[arg(long, default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// The public_url of the Formgate that connects to it
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    public_url: String,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    quiet_panics();
    let public_url = args.public_url.trim_end_matches('/');
    let tools = Tools::new(&format!("{public_url}/connect/*/callback"));
    let (stop, stopped) = watch::channel(false);
    let address = Dial::new().serve_with_control(tools, args.listen, stopped).await;
    let address = address.map_err(crate::app::Error::from)?;
    say!(
        "# HubSpot, Google, Typeform and SurveyMonkey as their documentation describes them; stop with Ctrl-C."
    );
    say!("# For formgate.toml:\n");
    say!("{}", configuration(address, public_url));
    say!("# To make something go wrong:");
    say!(
        "#   curl -H 'content-type: application/json' -d '{{\"path\": \"/hubspot\", \"faults\": [\"429:5\", \"reset\"]}}' http://{address}/_dial"
    );
    stop_signal().await;
    stop.send_replace(true);
    Ok(ExitCode::SUCCESS)
}

/// What connects a Formgate to the sandbox.
fn configuration(address: SocketAddr, public_url: &str) -> String {
    let tools = [
        ("hubspot", "oauth/authorize", "oauth/2026-03/token", "oauth/2026-03/token/revoke"),
        ("google-forms", "o/oauth2/v2/auth", "token", "revoke"),
        ("typeform", "oauth/authorize", "oauth/token", ""),
        ("surveymonkey", "oauth/authorize", "oauth/token", ""),
    ];
    let mut text = format!("[server]\npublic_url = \"{public_url}\"\n\n");
    for (tool, authorize, token, revoke) in tools {
        let root = format!("http://{address}/{tool}");
        text.push_str(&format!(
            "[[tool]]\nid = \"{tool}\"\nclient_id = \"{tool}-client\"\nclient_secret = \"{tool}-secret\"\n\
             authorize_url = \"{root}/{authorize}\"\ntoken_url = \"{root}/{token}\"\napi_url = \"{root}\"\n"
        ));
        if !revoke.is_empty() {
            text.push_str(&format!("revoke_url = \"{root}/{revoke}\"\n"));
        }
        if tool == "google-forms" {
            text.push_str(&format!("account_url = \"{root}/v1/userinfo\"\n"));
        }
        text.push_str("allow_private_network = true\n\n");
    }
    text
}
