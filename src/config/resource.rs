//! What Formgate serves: `[[number]]`, `[[flow]]`.

use std::path::PathBuf;

use secrecy::SecretString;
use toml::de::DeValue;

use super::{
    fault::Place,
    id::{DestinationId, FlowId, InvalidId, NumberId, WorkspaceId},
    read::{Given, Section},
};

/// `[[number]]`: a WhatsApp number.
#[derive(Debug)]
pub struct Number {
    /// Its name in this configuration.
    pub id: NumberId,
    /// Its id in the Graph API.
    pub phone_number_id: Option<String>,
    /// Its WhatsApp Business account in the Graph API.
    pub waba_id: Option<String>,
    /// Check request signatures; at least one.
    pub app_secrets: Vec<AppSecret>,
    /// For Graph calls only.
    pub access_token: Option<SecretString>,
    /// PEM, newest first; empty: made and kept sealed in the store.
    pub private_keys: Vec<SecretString>,
    /// Opens private keys that are encrypted.
    pub private_key_passphrase: Option<SecretString>,
}

/// A secret of the Meta app.
#[derive(Debug)]
pub struct AppSecret {
    /// The secret.
    pub secret: SecretString,
    /// Not accepted from then on: the old secret of a rotation.
    pub expires: Option<jiff::Timestamp>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            pub(in crate::config) const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word in the configuration.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

pub(super) use words;

words!(
    /// The tool a form was made with.
    Tool {
        /// Typeform.
        Typeform = "typeform",
        /// Google Forms.
        GoogleForms = "google-forms",
        /// HubSpot.
        Hubspot = "hubspot",
        /// SurveyMonkey.
        Surveymonkey = "surveymonkey",
        /// Formgate's own neutral definition.
        Form = "form",
    }
);
words!(
    /// Which flow tokens are accepted.
    Tokens {
        /// Flows sent by other systems, too.
        Any = "any",
        /// Only tokens that Formgate made.
        Sealed = "sealed",
    }
);
words!(
    /// Where a flow's first screen comes from.
    Entry {
        /// From the endpoint, when the flow is opened.
        Exchange = "exchange",
        /// From the message that opens it.
        Static = "static",
    }
);
words!(
    /// The data exchange protocol's version.
    DataApi {
        /// 4.0, with signed flow tokens.
        V4 = "4.0",
        /// 3.0.
        V3 = "3.0",
    }
);
words!(
    /// How questions are spread over screens.
    Mode {
        /// As the form's own pages group them.
        Grouped = "grouped",
        /// One question a screen.
        OneQuestion = "one-question",
    }
);
words!(
    /// Whether Meta's signature of the flow token is asked for (WhatsApp Flows reference 1.6).
    TokenSignature {
        /// Not looked at.
        Off = "off",
        /// Checked if it is there.
        IfPresent = "if-present",
        /// Has to be there.
        Required = "required",
    }
);

words!(
    /// Which changes of a form in its tool become a version by themselves.
    Take {
        /// None: somebody approves each.
        Never = "never",
        /// Those of texts.
        Cosmetic = "cosmetic",
        /// Also those after which older answers are still answers of the form.
        Compatible = "compatible",
    }
);

/// Where a definition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Definition {
    /// A file, as the tool exports it.
    File(PathBuf),
    /// The tool itself.
    Connected {
        /// The id of the connection.
        connection: String,
        /// The tool's id of the form; of a Google form also the link of its editor.
        form: String,
    },
}
words!(
    /// What becomes of an answer of somebody who has answered before.
    Repeat {
        /// It is one more.
        Append = "append",
        /// It is refused.
        Once = "once",
        /// It takes the place of the earlier one.
        Replace = "replace",
    }
);

/// `[[flow]]`: a form that is served as a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Served at `/flows/{id}`.
    pub id: FlowId,
    /// Who manages it.
    pub workspace: WorkspaceId,
    /// What made the definition.
    pub tool: Tool,
    /// Where its definition is.
    pub definition: Definition,
    /// What the tool's API hides, added by hand: a file.
    pub overlay: Option<PathBuf>,
    /// Which changes of the form in its tool become a version by themselves.
    pub take: Take,
    /// The number it is sent from.
    pub number: NumberId,
    /// Where its submissions go; none: they wait to be exported.
    pub deliver_to: Vec<DestinationId>,
    /// Language of labels and errors; none: the form's own.
    pub locale: Option<String>,
    /// Which flow tokens are accepted.
    pub tokens: Tokens,
    /// What becomes of an answer of somebody who has answered before.
    pub repeat: Repeat,
    /// How long a submission is kept after its deliveries ended; 0 deletes it when it is delivered.
    pub retention_days: u32,
    /// Where the first screen comes from.
    pub entry: Entry,
    /// The data exchange protocol's version.
    pub data_api: DataApi,
    /// How questions are spread over screens.
    pub mode: Mode,
    /// Whether Meta's signature of the token is asked for.
    pub token_signature: TokenSignature,
    /// ISO 3166 code for phone numbers typed without a country prefix.
    pub default_country: Option<String>,
}

pub(super) const ID_FIX: &str = "Write for example \"contact-2\"";

pub(super) fn number(section: &Section<'_>) -> Option<Number> {
    let id = section.parsed("id", ID_FIX, |text| text.parse::<NumberId>().map_err(|error| error.to_string()));
    let graph_id = |key| {
        section.parsed(key, "Copy it from WhatsApp Manager; it has digits only", |text| {
            let digits = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { Ok(text.to_owned()) } else { Err("is not a Graph API id".to_owned()) }
        })
    };
    let (phone_number_id, waba_id) = (graph_id("phone_number_id"), graph_id("waba_id"));
    let app_secrets = app_secrets(section);
    let access_token = section.secret("access_token");
    let private_keys = section.secrets("private_keys");
    let private_key_passphrase = section.secret("private_key_passphrase");
    section.require("id", "Give the number a name, which flows refer to");
    section.finish();
    Some(Number {
        id: id?,
        phone_number_id,
        waba_id,
        app_secrets,
        access_token,
        private_keys,
        private_key_passphrase,
    })
}

fn app_secrets(section: &Section<'_>) -> Vec<AppSecret> {
    const KEY: &str = "app_secret";
    const FIX: &str =
        "Copy it from the Meta app's settings (Basic, App secret) and write app_secret = \"env:NAME\"";
    let Some((given, place)) = section.given(KEY) else {
        // Without it anyone could make the server do private-key operations: no app secret, no start.
        section.missing(KEY, FIX);
        return Vec::new();
    };
    match given {
        Given::Variable(text) => text
            .split(',')
            .filter_map(|text| section.resolve_secret(KEY, text.trim(), place.clone()))
            .map(|secret| AppSecret { secret, expires: None })
            .collect(),
        Given::Toml(DeValue::Array(items)) if items.is_empty() => {
            section.fault(KEY, place, "is an empty list", FIX);
            Vec::new()
        }
        Given::Toml(DeValue::Array(items)) => items
            .iter()
            .filter_map(|item| app_secret(section, item.get_ref(), section.cx.line(&item.span())))
            .collect(),
        Given::Toml(value) => app_secret(section, value, place).into_iter().collect(),
    }
}

fn app_secret(section: &Section<'_>, value: &DeValue<'_>, place: Place) -> Option<AppSecret> {
    const KEY: &str = "app_secret";
    const FORM: &str = "a secret, or { value = \"…\", expires = 2027-01-31 }";
    let (text, expires) = match value {
        DeValue::String(text) => (text, None),
        DeValue::Table(table) => {
            if let Some((name, _)) =
                table.iter().find(|(name, _)| !matches!(&**name.get_ref(), "value" | "expires"))
            {
                let reason = format!("has an unknown member \"{}\"", name.get_ref());
                section.fault(KEY, section.cx.line(&name.span()), reason, format!("Write {FORM}"));
            }
            match (table.get("value").map(|value| value.get_ref()), table.get("expires")) {
                (Some(DeValue::String(text)), expires) => (text, expires),
                _ => {
                    section.fault(KEY, place, "has no member \"value\"", format!("Write {FORM}"));
                    return None;
                }
            }
        }
        other => {
            section.wrong_kind(KEY, place, Given::Toml(other), FORM);
            return None;
        }
    };
    let expires = match expires.map(|expires| instant(expires.get_ref())) {
        None => None,
        Some(Some(instant)) => Some(instant),
        Some(None) => {
            let fix = "Write a date (2027-01-31) or a time with its offset (2027-01-31T12:00:00Z)";
            section.fault(KEY, place, "has an \"expires\" that is no point in time", fix);
            return None;
        }
    };
    let secret = section.resolve_secret(KEY, text, place)?;
    Some(AppSecret { secret, expires })
}

/// A date counts from its first moment in UTC.
fn instant(value: &DeValue<'_>) -> Option<jiff::Timestamp> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        _ => return None,
    };
    text.parse()
        .ok()
        .or_else(|| format!("{}T00:00:00Z", text.parse::<jiff::civil::Date>().ok()?).parse().ok())
}

pub(super) fn flow(section: &Section<'_>) -> Option<Flow> {
    let id = section.parsed("id", ID_FIX, |text| text.parse::<FlowId>().map_err(|error| error.to_string()));
    let workspace = workspace(section);
    let tool = section.choice("tool", Tool::WORDS);
    let definition = definition(section, tool);
    let overlay = section.existing_file("overlay");
    let number =
        section.parsed("number", ID_FIX, |text| text.parse::<NumberId>().map_err(|error| error.to_string()));
    let mut deliver_to = Vec::new();
    for (text, place) in section.list("deliver_to").unwrap_or_default() {
        match text.parse::<DestinationId>() {
            Ok(destination) => deliver_to.push(destination),
            Err(error) => section.fault("deliver_to", place, format!("\"{text}\" {error}"), ID_FIX),
        }
    }
    let locale = section.parsed("locale", "Write for example \"it\" or \"pt-BR\"", |text| {
        let part =
            |part: &str| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.split(['-', '_']).all(part) {
            Ok(text.to_owned())
        } else {
            Err("is not a language tag".to_owned())
        }
    });
    let default_country = section.parsed("default_country", "Write two capitals: \"IT\"", |text| {
        let code = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if code { Ok(text.to_owned()) } else { Err("is not an ISO 3166 code".to_owned()) }
    });
    let tokens = default(section, "tokens", Tokens::WORDS, Tokens::Any);
    let repeat = default(section, "repeat", Repeat::WORDS, Repeat::Append);
    let retention_days = section.integer("retention_days", 0..=3650).unwrap_or(30);
    if retention_days == 0 && deliver_to.is_empty() {
        let fix = "Name a destination in deliver_to, or keep submissions for at least a day";
        let place = section.place.clone();
        section.fault("retention_days", place, "what goes nowhere would be deleted at once", fix);
    }
    let take = default(section, "take", Take::WORDS, Take::Compatible);
    let entry = default(section, "entry", Entry::WORDS, Entry::Exchange);
    let data_api = default(section, "data_api", DataApi::WORDS, DataApi::V4);
    let mode = default(section, "mode", Mode::WORDS, Mode::Grouped);
    let token_signature =
        default(section, "token_signature", TokenSignature::WORDS, TokenSignature::IfPresent);
    if data_api == DataApi::V3 && token_signature == TokenSignature::Required {
        let fix = "Write data_api = \"4.0\", or token_signature = \"if-present\"";
        section.fault("token_signature", section.place.clone(), "data API 3.0 signs no tokens", fix);
    }
    section.require("id", "Give the flow a name; it is served at /flows/{id}");
    section.require("tool", "Name the tool that made the definition, or \"form\"");
    section.require("number", "Write the id of a [[number]]");
    section.finish();
    Some(Flow {
        id: id?,
        workspace: workspace?,
        tool: tool?,
        definition: definition?,
        overlay,
        take,
        number: number?,
        deliver_to,
        locale,
        tokens,
        repeat,
        retention_days: u32::try_from(retention_days).ok()?,
        entry,
        data_api,
        mode,
        token_signature,
        default_country,
    })
}

/// The workspace of a flow or destination; without a word on it all are in one.
pub(super) fn workspace(section: &Section<'_>) -> Option<WorkspaceId> {
    if section.given("workspace").is_none() {
        return "default".parse().ok();
    }
    section.parsed("workspace", ID_FIX, |text| text.parse().map_err(|error: InvalidId| error.to_string()))
}

/// A file, or a connection and a form of it.
fn definition(section: &Section<'_>, tool: Option<Tool>) -> Option<Definition> {
    const FIX: &str = "Write definition = \"FILE\", or connection and form; not both";
    let given = section.given("definition").is_some();
    let file = section.existing_file("definition");
    let (connection, form) = (section.text("connection"), section.text("form"));
    let (place, connection, form) = match (connection, form) {
        (None, None) if given => return file.map(Definition::File),
        (None, None) => {
            section.missing("definition", "Write the path of the form's definition, or connection and form");
            return None;
        }
        (Some((_, place)), _) | (_, Some((_, place))) if given => {
            section.fault("definition", place, "is given, and so is a connection or form", FIX);
            return None;
        }
        (Some((connection, place)), Some((form, _))) => (place, connection, form),
        (Some((_, place)), None) => {
            section.fault("form", place, "is missing", "Write the tool's id of the form");
            return None;
        }
        (None, Some((_, place))) => {
            let fix = "Write the id of a connection: formgate connections list";
            section.fault("connection", place, "is missing", fix);
            return None;
        }
    };
    if tool == Some(Tool::Form) {
        let fix = "Write definition = \"FILE\", or the tool of the connection";
        section.fault("connection", place, "a form of Formgate's own format is in no tool", fix);
        return None;
    }
    Some(Definition::Connected { connection, form })
}

pub(super) fn default<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: T,
) -> T {
    section.choice(key, words).unwrap_or(default)
}
