//! `formgate sandbox`: the four form tools on this machine.

use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::sync::watch;

use super::{Error, quiet_panics, stop_signal};
use crate::sandbox::dial::Dial;
use crate::sandbox::typeform::WEBHOOK_SECRET;
use crate::sandbox::{EXAMPLES, PORTAL, RECORDS, SHEET, Tools};

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
    say!("# What they have stored: http://{address}/ for you, http://{address}{RECORDS} for a program.");
    say!(
        "# With this as formgate.toml: formgate serve; then formgate connect hubspot, which prints a link for a browser, and the"
    );
    say!("# others in the same way; then formgate play hubspot.\n");
    say!("{}", configuration(address, public_url));
    say!(
        "# To make something go wrong (500, 429:SECONDS, reset, hang, cut, fail), for the next requests below a path:"
    );
    say!(
        "#   curl -H 'content-type: application/json' -d '{{\"path\": \"/hubspot\", \"faults\": [\"429:5\", \"reset\"]}}' http://{address}/_dial"
    );
    stop_signal().await;
    stop.send_replace(true);
    Ok(ExitCode::SUCCESS)
}

/// A whole configuration of a Formgate that connects to the sandbox.
fn configuration(address: SocketAddr, public_url: &str) -> String {
    let listen = public_url.split_once("://").map_or(public_url, |(_, host)| host);
    let server = format!(
        "[server]\nlisten = \"{listen}\"\ndata_dir = \"sandbox-data\"\nmaster_key = \"file:sandbox-master.key\"\n\
         public_url = \"{public_url}\"\n\n[[number]]\nid = \"sandbox\"\napp_secret = \"sandbox-app-secret\"\n\n"
    );
    server + &tools(address) + &written_back(address, "sandbox")
}

/// The four tools: `[[tool]]`.
pub(super) fn tools(address: SocketAddr) -> String {
    let tools = [
        ("hubspot", "oauth/authorize", "oauth/2026-03/token", "oauth/2026-03/token/revoke"),
        ("google-forms", "o/oauth2/v2/auth", "token", "revoke"),
        ("typeform", "oauth/authorize", "oauth/token", ""),
        ("surveymonkey", "oauth/authorize", "oauth/token", ""),
    ];
    let mut text = String::new();
    for (tool, authorize, token, revoke) in tools {
        let root = format!("http://{address}/{tool}");
        text.push_str(&format!(
            "[[tool]]\nid = \"{tool}\"\nclient_id = \"{tool}-client\"\nclient_secret = \"{tool}-secret\"\n\
             authorize_url = \"{root}/{authorize}\"\ntoken_url = \"{root}/{token}\"\napi_url = \"{root}\"\n"
        ));
        if !revoke.is_empty() {
            text.push_str(&format!("revoke_url = \"{root}/{revoke}\"\n"));
        }
        match tool {
            "hubspot" => text.push_str("scopes = [\"crm.objects.contacts.write\"] # for contacts\n"),
            "google-forms" => text.push_str(&format!(
                "account_url = \"{root}/v1/userinfo\"\nscopes = [\n    \
                 \"https://www.googleapis.com/auth/drive.metadata.readonly\", # to list forms\n    \
                 \"https://www.googleapis.com/auth/spreadsheets\", # for a sheet\n]\n"
            )),
            _ => {}
        }
        text.push_str("allow_private_network = true\n\n");
    }
    text
}

/// A flow of a form of each tool, and where its submissions go.
pub(super) fn written_back(address: SocketAddr, number: &str) -> String {
    // What somebody agreed to is no property of a contact.
    let contacts = "connection = \"hubspot\"\nmapping = { \"consent/communication/11\" = { drop = true }, \"consent/process\" = { drop = true } }";
    let destinations = [
        ("hubspot", "hubspot", "hubspot", format!("connection = \"hubspot\"\nportal_id = \"{PORTAL}\"")),
        ("hubspot", "contacts", "hubspot-crm", contacts.to_owned()),
        ("google-forms", "google-form", "google-forms", "unofficial = true".to_owned()),
        (
            "google-forms",
            "google-sheet",
            "google-sheets",
            format!("connection = \"google-forms\"\nspreadsheet = \"{SHEET}\""),
        ),
        (
            "typeform",
            "typeform",
            "typeform",
            format!("connection = \"typeform\"\nsecret = \"{WEBHOOK_SECRET}\"\nconsent = true"),
        ),
        ("surveymonkey", "surveymonkey", "surveymonkey", "connection = \"surveymonkey\"".to_owned()),
    ];
    let mut text = String::new();
    for (tool, id, kind, keys) in destinations {
        let form = EXAMPLES.iter().find(|(of, _)| *of == tool).map_or("", |(_, form)| *form);
        let root = format!("http://{address}/{tool}");
        let place = match kind {
            "google-forms" => format!("url = \"{root}/forms/d/e/{form}/viewform\""),
            _ => format!("api_url = \"{root}\""),
        };
        text.push_str(&format!(
            "[[destination]]\nid = \"{id}\"\nkind = \"{kind}\"\n{keys}\n{place}\nallow_private_network = true\n\n"
        ));
    }
    for (tool, form) in EXAMPLES {
        let deliver_to = match tool {
            "hubspot" => "\"hubspot\", \"contacts\"",
            "google-forms" => "\"google-form\", \"google-sheet\"",
            "typeform" => "\"typeform\"",
            _ => "\"surveymonkey\"",
        };
        text.push_str(&format!(
            "[[flow]]\nid = \"{tool}\"\ntool = \"{tool}\"\nconnection = \"{tool}\"\nform = \"{form}\"\n\
             number = \"{number}\"\ndeliver_to = [{deliver_to}]\n\n"
        ));
    }
    text
}
