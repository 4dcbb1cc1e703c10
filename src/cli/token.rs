//! `formgate token`

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};

use super::{ConfigFile, Error, control};
use crate::app::control::Command as Control;
use crate::app::master_keys;
use crate::crypto::Sealer;
use crate::endpoint::token::Token;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The flow it opens
    flow: String,
    /// Whom the message goes to, such as +390669821234
    #[arg(long, value_name = "PHONE")]
    contact: Option<String>,
    /// What the message belongs to
    #[arg(long)]
    campaign: Option<String>,
    /// How long it opens the flow, such as 3d or 12h
    #[arg(long, default_value = "3d")]
    ttl: DurationArg,
    /// A value of a hidden field, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    hidden: Vec<String>,
    /// Make this token of the flow open nothing any more, instead of making one
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["contact", "campaign", "hidden"])]
    revoke: Option<String>,
    #[command(flatten)]
    file: ConfigFile,
}

/// `3d`, `12h`, `30m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct DurationArg(SignedDuration);

impl DurationArg {
    /// The moment that is so far away.
    pub(super) fn later(self) -> Result<Timestamp, Error> {
        Timestamp::now().checked_add(self.0).map_err(|error| Error::Input(error.to_string()))
    }
}

impl std::str::FromStr for DurationArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("“{text}” is no duration; write for example 3d or 12h");
        let digits = text.trim_end_matches(['d', 'h', 'm']);
        let number: i64 = digits.parse().map_err(|_| wrong())?;
        let unit = match &text[digits.len()..] {
            "d" => 24 * 60,
            "h" => 60,
            "m" => 1,
            _ => return Err(wrong()),
        };
        let minutes =
            number.checked_mul(unit).filter(|minutes| (1..=5_256_000).contains(minutes)).ok_or_else(wrong)?;
        Ok(DurationArg(SignedDuration::from_mins(minutes)))
    }
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Error> {
    let config = args.file.load()?;
    if !config.flows.iter().any(|flow| flow.id.as_str() == args.flow) {
        let known: Vec<&str> = config.flows.iter().map(|flow| flow.id.as_str()).collect();
        return Err(Error::Input(format!(
            "there is no flow “{}”; the configuration has: {}",
            args.flow,
            known.join(", ")
        )));
    }
    if let Some(token) = args.revoke {
        return control(&config, Control::RevokeToken { flow: args.flow, token }, None).await;
    }
    let hidden = args.hidden.iter().map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| Error::Input(format!("“{pair}” is not name=value")))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let expires = args.ttl.later()?;
    let token = Token {
        nonce: rand::random(),
        expires_at_s: u64::try_from(expires.as_second()).ok(),
        phone: args.contact.clone(),
        user_id: None,
        campaign: args.campaign.clone(),
        hidden: hidden.collect::<Result<_, Error>>()?,
    };
    let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
    let text = token.issue(&sealer, &args.flow).map_err(|error| Error::Input(error.to_string()))?;
    say!("{text}");
    Ok(ExitCode::SUCCESS)
}
