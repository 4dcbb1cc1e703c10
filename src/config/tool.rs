//! How Formgate is known to the form tools: `[[tool]]`.

use std::fmt;

use secrecy::SecretString;
use url::Url;

use super::{destination::destination_url, read::Section, resource::words};

words!(
    /// An authorization server of a form tool.
    ToolServer {
        /// HubSpot.
        Hubspot = "hubspot",
        /// Google, for Forms and Sheets.
        GoogleForms = "google-forms",
        /// Typeform.
        Typeform = "typeform",
        /// Typeform's European data centre, which has clients of its own.
        TypeformEu = "typeform-eu",
        /// SurveyMonkey.
        Surveymonkey = "surveymonkey",
    }
);

/// `[[tool]]`: the app that people let in.
pub struct ToolClient {
    /// Which server.
    pub id: ToolServer,
    /// The app's id there.
    pub client_id: Option<String>,
    /// The app's secret there.
    pub client_secret: Option<SecretString>,
    /// Asked for besides the least that is needed.
    pub scopes: Vec<String>,
    /// Where people agree, if not at the documented address.
    pub authorize_url: Option<Url>,
    /// Where tokens come from.
    pub token_url: Option<Url>,
    /// Where they are given back.
    pub revoke_url: Option<Url>,
    /// Where it says whose account it is.
    pub account_url: Option<Url>,
    /// The root of the API.
    pub api_url: Option<Url>,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
}

impl fmt::Debug for ToolClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ToolClient")
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

pub(super) fn tool(section: &Section<'_>) -> Option<ToolClient> {
    let id = section.choice("id", ToolServer::WORDS);
    section.require("id", "Write the tool's name: \"hubspot\", \"google-forms\", \"typeform\", …");
    let client_id = section.text("client_id").map(|(text, _)| text);
    let client_secret = section.secret("client_secret");
    if section.given("client_id").is_some() != section.given("client_secret").is_some() {
        let place = section.place.clone();
        section.fault("client_id", place, "and client_secret belong together", "Write both, or none of them");
    }
    let scopes = section.list("scopes").unwrap_or_default().into_iter().map(|(scope, _)| scope).collect();
    let allow_private_network = section.boolean("allow_private_network").unwrap_or(false);
    let url = |key| {
        let fix = "Write https://…, or set allow_private_network = true for a stand-in on your own machine";
        section.parsed(key, fix, |text| destination_url(text, allow_private_network))
    };
    let (authorize_url, token_url) = (url("authorize_url"), url("token_url"));
    let (revoke_url, account_url, api_url) = (url("revoke_url"), url("account_url"), url("api_url"));
    section.finish();
    Some(ToolClient {
        id: id?,
        client_id,
        client_secret,
        scopes,
        authorize_url,
        token_url,
        revoke_url,
        account_url,
        api_url,
        allow_private_network,
    })
}
