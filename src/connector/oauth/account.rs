//! Whose account it is: asked of each tool's own API, once when it is connected and whenever somebody checks.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{DEADLINE, Error, Failed, Provider, Tokens, Tool, judged};
use crate::client::{Client, Method, Request};

/// Whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The tool's id of it; empty if the token may not ask.
    pub id: String,
    /// What people know it by.
    pub name: String,
    /// What was granted, where only this call tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

impl Provider {
    /// Whose account tokens are for, as soon as they are there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn account_of(&self, client: &Client, api: &Url, tokens: &Tokens) -> Result<Account, Error> {
        if let (Tool::Hubspot, Some(hub)) = (self.tool, tokens.hub_id) {
            return Ok(Account { id: hub.to_string(), name: format!("Hub ID {hub}"), scopes: None });
        }
        self.account(client, api, &tokens.access).await
    }

    /// Whose account a token is for.
    ///
    /// # Errors
    /// [`Error::Grant`] if it is not valid, [`Error::Forbidden`] if it may not ask.
    pub async fn account(&self, client: &Client, api: &Url, token: &SecretString) -> Result<Account, Error> {
        let below = |path: &[&str]| {
            let mut url = api.clone();
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().extend(path);
            }
            url
        };
        let tool = self.tool.title();
        let url = match self.tool {
            Tool::Hubspot => below(&["account-info", "v3", "details"]),
            Tool::GoogleForms => {
                self.account_url().ok_or(Error::Shape { tool, reason: "it has no account address" })?
            }
            Tool::Typeform => below(&["me"]),
            Tool::Surveymonkey => below(&["v3", "users", "me"]),
        };
        let call = async {
            let mut request = Request::new(Method::GET, url, "", Instant::now() + DEADLINE)
                .header("authorization", &format!("Bearer {}", token.expose_secret()))?
                .header("accept", "application/json")?;
            request.policy = self.policy();
            judged(client.request(request).await?)
        };
        let response = call.await.map_err(|failed: Failed| self.failed(failed))?;
        match response.status.as_u16() {
            200 => {}
            401 => return Err(Error::Grant { tool, code: "401".to_owned() }),
            403 => return Err(Error::Forbidden { tool }),
            status => return Err(self.failed(Failed::Status { status, after: None })),
        }
        let json: Value = serde_json::from_slice(&response.body)
            .map_err(|_| Error::Shape { tool, reason: "the account is not JSON" })?;
        let text = |name: &str| match &json[name] {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let (id, name) = match self.tool {
            Tool::Hubspot => {
                let id = text("portalId");
                let name = id.as_ref().map(|id| format!("Hub ID {id}"));
                (id, name)
            }
            Tool::GoogleForms => (text("sub"), text("email")),
            Tool::Typeform => (text("user_id"), text("email").or_else(|| text("alias"))),
            Tool::Surveymonkey => (text("id"), text("email").or_else(|| text("username"))),
        };
        let id = id.ok_or(Error::Shape { tool, reason: "the account has no id" })?;
        // On any call of SurveyMonkey's (form-tools 4.1).
        let granted = response.headers.get("x-oauth-scopes-granted").and_then(|value| value.to_str().ok());
        let scopes = granted.filter(|_| self.tool == Tool::Surveymonkey).map(|granted| {
            let names = granted.split([',', ' ']).map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        Ok(Account { name: name.unwrap_or_else(|| id.clone()), id, scopes })
    }
}
