//! What an operator sees: layers, secrets, and every fault at once.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use formgate::config::{
    Acknowledge, AlertKind, Config, Credential, DataApi, Definition, Faults, MasterKey, Mode, Place, Shape,
    Store, Take, Target, Tool,
};
use formgate::form::mapping::Step;
use secrecy::ExposeSecret;
use tempfile::TempDir;

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Folder(TempDir);

impl Folder {
    fn new(config: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("formgate.toml", config);
        folder
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Config, Faults> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(Some(&self.0.path().join("formgate.toml")), env)
    }

    /// Every fault as `key: reason. fix`.
    fn faults(&self, env: &[(&str, &str)]) -> Vec<String> {
        let faults = self.load(env).expect_err("faults");
        faults.iter().map(|fault| format!("{}: {}. {}", fault.key, fault.reason, fault.fix)).collect()
    }
}

fn has(faults: &[String], start: &str) {
    assert!(faults.iter().any(|fault| fault.starts_with(start)), "no fault {start:?} in {faults:#?}");
}

fn complete() -> Folder {
    let folder = Folder::new(&format!(
        r#"
        [server]
        drain_seconds = 3

        [[number]]
        id = "shop"
        app_secret = [{{ value = "env:NEW" }}, {{ value = "env:OLD", expires = 2027-01-31 }}]
        private_keys = ["file:shop.pem"]

        [[destination]]
        id = "crm"
        kind = "webhook"
        url = "http://127.0.0.1:9/hook"
        secret = "{WHSEC}"
        allow_private_network = true
        shape = "flat"
        mapping = {{ first_name = "FirstName" }}

        [[flow]]
        id = "contact-2"
        tool = "typeform"
        definition = "contact.json"
        number = "shop"
        deliver_to = ["crm"]
        "#
    ));
    folder.write("contact.json", "{}");
    folder.write("shop.pem", "pem text\n");
    folder
}

#[test]
fn a_whole_configuration_is_read_with_paths_from_its_own_folder() {
    let folder = complete();
    let config = folder.load(&[("NEW", "new-secret"), ("OLD", "old-secret")]).expect("no fault");
    assert_eq!(config.server.drain, Duration::from_secs(3));
    assert_eq!(config.server.listen.port(), 8080, "from the defaults");
    assert_eq!(config.server.data_dir, folder.0.path().join("data"));
    assert!(matches!(&config.server.master_key, MasterKey::File { content: None, .. }), "to be made");
    let number = &config.numbers[0];
    assert_eq!(number.app_secrets[0].secret.expose_secret(), "new-secret");
    assert_eq!(number.app_secrets[1].expires, "2027-01-31T00:00:00Z".parse().ok());
    assert_eq!(number.private_keys[0].expose_secret(), "pem text", "without its last newline");
    let Target::Webhook(webhook) = &config.destinations[0].target else { panic!("a webhook") };
    assert_eq!(webhook.shape, Shape::Flat);
    assert_eq!(
        config.destinations[0].mapping,
        [("first_name".to_owned(), Step::Rename("FirstName".to_owned()))]
    );
    let flow = &config.flows[0];
    assert_eq!((flow.tool, flow.data_api, flow.mode), (Tool::Typeform, DataApi::V4, Mode::Grouped));
    assert_eq!(flow.definition, Definition::File(folder.0.path().join("contact.json")));
    assert_eq!(flow.deliver_to[0].as_str(), "crm");
}

#[test]
fn the_environment_wins_over_the_file_in_sections_and_in_named_entries() {
    let config = complete()
        .load(&[
            ("FORMGATE_SERVER__DRAIN_SECONDS", "7"),
            ("FORMGATE_SERVER__LISTEN", "0.0.0.0:443"),
            ("FORMGATE_NUMBER__SHOP__APP_SECRET", "env:FROM_VAULT"),
            ("FORMGATE_DESTINATION__CRM__ALLOW_PRIVATE_NETWORK", "true"),
            ("FORMGATE_FLOW__CONTACT_2__RETENTION_DAYS", "2"),
            ("FORMGATE_FLOW__CONTACT_2__DELIVER_TO", " crm ,"),
            ("FROM_VAULT", "vault-secret"),
            ("FORMGATE_SERVICE_HOST", "not ours: no double underscore"),
        ])
        .expect("no fault");
    assert_eq!(config.server.drain, Duration::from_secs(7));
    assert_eq!(config.server.listen.port(), 443);
    assert_eq!(config.numbers[0].app_secrets[0].secret.expose_secret(), "vault-secret");
    assert_eq!(config.flows[0].retention_days, 2);
    assert_eq!(config.flows[0].deliver_to.len(), 1);
}

#[test]
fn zero_days_need_a_destination_to_have_been_delivered_to() {
    let days = ("FORMGATE_FLOW__CONTACT_2__RETENTION_DAYS", "0");
    let secrets = [("NEW", "a"), ("OLD", "b")];
    assert_eq!(
        complete().load(&[days, secrets[0], secrets[1]]).expect("no fault").flows[0].retention_days,
        0
    );
    let faults = complete().faults(&[days, ("FORMGATE_FLOW__CONTACT_2__DELIVER_TO", "")]);
    assert!(
        faults.iter().any(|fault| fault.contains("what goes nowhere would be deleted at once")),
        "{faults:?}"
    );
}

#[test]
fn all_faults_are_told_together_each_with_its_place_and_a_way_out() {
    let folder = Folder::new(
        r#"
        [server]
        lisen = "127.0.0.1:1"
        admin_listen = "nowhere"
        drain_seconds = "ten"
        public_url = "http://forms.example.com"

        [store]
        kind = "redis"
        url = "http://127.0.0.1"
        topology = "sentinel"
        prefix = "formgate"
        replicas = 1

        [log]
        format = "prety"

        [limits]
        max_body_bytes = 1

        [[number]]
        id = "shop"

        [[number]]
        id = "shop"
        app_secret = ""

        [[destination]]
        id = "crm"
        kind = "webhook"
        url = "http://crm.example.com"
        secret = "whsec_short"
        headers = { "webhook-id" = "x", good = "file:absent" }

        [[flow]]
        id = "Contact"
        tool = "typform"
        definition = "absent.json"
        number = "shopp"
        deliver_to = ["crn", 3]
        data_api = "3.0"
        token_signature = "required"

        [flows]
        "#,
    );
    let faults = folder.faults(&[("FORMGATE_SERVER__LISTN", "x"), ("FORMGATE_LOG__LEVEL", "x=loud")]);
    for start in [
        "server.lisen: is not a known key. Did you mean \"listen\"?",
        "server.admin_listen: \"nowhere\" is not a socket address",
        "server.drain_seconds: is of type string. Write a whole number from 1 to 600",
        "server.public_url: is not https",
        "store.url: is not the address of a Redis server",
        "store.service: is missing",
        "store.prefix: has no part in braces",
        "store.replicas: belongs to acknowledge = \"redis\"",
        "log.format: \"prety\" is not known here. Did you mean \"pretty\"?",
        "log.level: is not a log filter",
        "limits.max_body_bytes: is out of range",
        "number[0].app_secret: is missing",
        "number[1].app_secret: the secret is empty",
        "number[1].id: \"shop\" is taken already",
        "destination[0].url: is not encrypted",
        "destination[0].secret: is not a Standard Webhooks secret",
        "destination[0].headers.webhook-id: is set by Formgate",
        "destination[0].headers.good: cannot read",
        "flow[0].id: is not an id of 1 to 64",
        "flow[0].tool: \"typform\" is not known here. Did you mean \"typeform\"?",
        "flow[0].definition: there is no file",
        "flow[0].number: no [[number]] has the id \"shopp\". Did you mean \"shop\"?",
        "flow[0].deliver_to: no [[destination]] has the id \"crn\". Did you mean \"crm\"?",
        "flow[0].deliver_to: is of type integer",
        "flow[0].token_signature: data API 3.0 signs no tokens",
        "flows: is not a known key. Did you mean \"flow\"?",
        ": no key answers to this variable. Did you mean FORMGATE_SERVER__LISTEN?",
    ] {
        has(&faults, start);
    }
    assert_eq!(faults.len(), 27, "each once: {faults:#?}");
}

#[test]
fn a_fault_names_its_line_or_its_variable() {
    let folder = Folder::new("[server]\nlisten = \"x\"\n");
    let faults = folder.load(&[("FORMGATE_SERVER__ADMIN_LISTEN", "y")]).expect_err("faults");
    let places: Vec<_> = faults.iter().map(|fault| fault.place.clone()).collect();
    assert_eq!(places, [Place::Line(2), Place::Variable("FORMGATE_SERVER__ADMIN_LISTEN".into())]);
    let report = faults.to_string();
    assert!(report.starts_with("the configuration has 2 faults\n  server.listen (line 2): "), "{report}");
}

#[test]
fn what_an_acknowledgement_waits_for_is_read_and_belongs_to_a_shared_store() {
    let folder = |more: &str| Folder::new(&format!("[store]\n{more}\n"));
    let waits_for = |more: &str| {
        let shared = format!("kind = \"redis\"\nurl = \"redis://127.0.0.1\"\n{more}");
        match folder(&shared).load(&[]).expect("no fault").store {
            Store::Redis(redis) => redis.acknowledge,
            Store::Embedded => panic!("it is shared"),
        }
    };
    assert_eq!(waits_for(""), Acknowledge::Journal);
    assert_eq!(waits_for("acknowledge = \"redis\""), Acknowledge::Redis { replicas: 0 });
    assert_eq!(waits_for("acknowledge = \"redis\"\nreplicas = 2"), Acknowledge::Redis { replicas: 2 });
    has(&folder("acknowledge = \"redis\"").faults(&[]), "store.acknowledge: belongs to kind = \"redis\"");
    has(&folder("replicas = 1").faults(&[]), "store.replicas: belongs to acknowledge = \"redis\"");
}

#[test]
fn the_pace_of_a_destination_is_read_and_a_burst_without_a_rate_refused() {
    let folder = |more: &str| {
        Folder::new(&format!(
            "[[destination]]\nid = \"crm\"\nkind = \"webhook\"\nurl = \"https://crm.example.com/\"\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n{more}"
        ))
    };
    let config =
        folder("rate_per_minute = 300\nrate_burst = 2\nmax_attempts = 5\n").load(&[]).expect("no fault");
    let crm = &config.destinations[0];
    let numbers = [crm.rate_per_minute, crm.rate_burst].map(|number| number.map(u32::from));
    assert_eq!((numbers, crm.max_attempts), ([Some(300), Some(2)], Some(5)));
    has(&folder("rate_burst = 2\n").faults(&[]), "destination[0].rate_burst: has no meaning without a rate");
    let waits = |text: &str| folder(text).load(&[]).expect("no fault").destinations[0].retry_schedule.clone();
    assert!(waits("").is_empty());
    let own = waits("retry_schedule = [\"5s\", \"2m\", \"1h\", \"2d\"]\nmax_attempts = 7\n");
    assert_eq!(own.iter().map(std::time::Duration::as_secs).collect::<Vec<_>>(), [5, 120, 3_600, 172_800]);
    for wrong in [
        "rate_per_minute = 0\n",
        "max_attempts = 51\n",
        "retry_schedule = []\n",
        "retry_schedule = [\"soon\"]\n",
        "retry_schedule = [\"0s\"]\n",
        "retry_schedule = [\"+5s\"]\n",
        "retry_schedule = [\"5 \u{20ac}\"]\n",
        "retry_schedule = [\"31d\"]\n",
        "retry_schedule = [\"1s\", \"16d\"]\nmax_attempts = 4\n",
    ] {
        assert_eq!(folder(wrong).faults(&[]).len(), 1, "{wrong}");
    }
}

#[test]
fn both_listeners_on_one_address_are_refused() {
    let folder = Folder::new("[server]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:1\"\n");
    has(&folder.faults(&[]), "server.admin_listen: is the public listener's address");
}

#[test]
fn half_of_a_tls_pair_is_refused_and_a_whole_one_is_read() {
    let folder = Folder::new("[server.tls]\ncert = \"chain.pem\"\n");
    folder.write("chain.pem", "chain");
    folder.write("key.pem", "key");
    assert_eq!(folder.faults(&[]).len(), 1);
    has(&folder.faults(&[]), "server.tls.key: is missing");
    let config = folder.load(&[("FORMGATE_SERVER__TLS__KEY", "key.pem")]).expect("no fault");
    assert_eq!(config.server.tls.expect("TLS").key_pem.expose_secret(), "key");
}

#[test]
fn a_file_that_cannot_be_read_or_is_not_toml_is_one_clear_fault() {
    let absent = Config::load(Some(Path::new("/nonexistent/formgate.toml")), std::iter::empty());
    assert!(absent.expect_err("a fault").to_string().contains("cannot read /nonexistent/formgate.toml"));
    let folder = Folder::new("[server\nlisten = 1\n");
    has(&folder.faults(&[]), ": is not TOML");
}

#[test]
fn no_secret_is_ever_shown_neither_by_debug_nor_by_a_fault() {
    const CANARY: &str = "canary-7f3a";
    let folder = Folder::new(&format!(
        r#"
        [server]
        master_key = "{CANARY}"
        [[number]]
        id = "shop"
        app_secret = "{CANARY}"
        access_token = "{CANARY}"
        private_keys = ["{CANARY}", "file:canary.pem"]
        private_key_passphrase = "env:PASSPHRASE"
        [[destination]]
        id = "crm"
        kind = "webhook"
        url = "https://crm.example.com/{CANARY}?key={CANARY}"
        secret = "{WHSEC}"
        headers = {{ authorization = "{CANARY}" }}
        "#
    ));
    folder.write("canary.pem", CANARY);
    let env = [("PASSPHRASE", CANARY)];
    let shown = format!("{:?}", folder.load(&env).expect("no fault"));
    assert!(shown.contains("crm.example.com") && !shown.contains("canary"), "{shown}");
    assert!(!shown.contains(WHSEC), "{shown}");

    for broken in [
        format!("[[number]]\nid = \"shop\"\napp_secret = \"{CANARY}\n"),
        format!("[[number]]\nid = \"shop\"\napp_secret = {{ value = \"{CANARY}\", expires = 3 }}\n"),
        format!(
            "[[destination]]\nid = \"a\"\nkind = \"webhook\"\nurl = \"ftp://{CANARY}@x/\"\nsecret = \"{CANARY}\"\n"
        ),
    ] {
        let faults = Folder::new(&broken).load(&[]).expect_err("faults");
        let shown = format!("{faults} {faults:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

#[test]
fn a_typeform_webhook_needs_only_its_address() {
    let of = |more: &str| format!("[[destination]]\nid = \"tf\"\nkind = \"typeform-webhook\"\n{more}");
    let config = Folder::new(&of("url = \"https://crm.example.com/typeform\"\nsecret = \"any text\"\n"));
    let config = config.load(&[]).expect("no fault");
    let Target::TypeformWebhook(found) = &config.destinations[0].target else { panic!("Typeform") };
    assert_eq!((found.url.path(), found.secret.is_some()), ("/typeform", true));
    let faults = Folder::new(&of("shape = \"flat\"\n")).faults(&[]);
    has(
        &faults,
        "destination[0].shape: belongs to kind = \"webhook\". Remove it; this is kind = \"typeform-webhook\"",
    );
    has(&faults, "destination[0].url: is missing");
}

#[test]
fn a_hubspot_destination_has_keys_of_its_own() {
    let hubspot = |more: &str| format!("[[destination]]\nid = \"hs\"\nkind = \"hubspot\"\n{more}");
    let folder = Folder::new(&hubspot("token = \"env:TOKEN\"\nportal_id = \"25505644\"\n"));
    let config = folder.load(&[("TOKEN", "pat-eu1-canary")]).expect("no fault");
    assert!(!format!("{config:?}").contains("canary"));
    let Target::Hubspot(found) = &config.destinations[0].target else { panic!("HubSpot") };
    assert_eq!((found.portal_id.as_str(), found.form.as_deref(), &found.api_url), ("25505644", None, &None));
    let Credential::Token(token) = &found.credential else { panic!("a token") };
    assert_eq!(token.expose_secret(), "pat-eu1-canary");

    let connected = Folder::new(&hubspot("connection = \"main\"\nportal_id = \"25505644\"\n"));
    let config = connected.load(&[]).expect("no fault");
    assert_eq!(config.destinations[0].target.connection(), Some("main"));
    let both = "connection = \"main\"\ntoken = \"t\"\nportal_id = \"25505644\"\n";
    has(&Folder::new(&hubspot(both)).faults(&[]), "destination[0].token: is given, and so is a connection");

    let faults = Folder::new(&hubspot(
        "portal_id = \"x\"\nform = \"contact\"\napi_url = \"http://api.hsforms.com\"\nurl = \"https://x.example\"\nshape = \"flat\"\ntokn = \"x\"\n",
    ))
    .faults(&[]);
    for start in [
        "destination[0].token: is missing",
        "destination[0].portal_id: is not an account's number",
        "destination[0].form: is not a form's guid",
        "destination[0].api_url: is not encrypted",
        "destination[0].url: belongs to kind = \"webhook\". Remove it; this is kind = \"hubspot\"",
        "destination[0].shape: belongs to kind = \"webhook\"",
        "destination[0].tokn: is not a known key. Did you mean \"token\"?",
    ] {
        has(&faults, start);
    }
    assert_eq!(faults.len(), 7, "each once: {faults:#?}");
    let faults =
        Folder::new("[[destination]]\nid = \"hs\"\nkind = \"hubsport\"\ntoken = \"x\"\n").faults(&[]);
    has(&faults, "destination[0].kind: \"hubsport\" is not known here. Did you mean \"hubspot\"?");
    assert_eq!(faults.len(), 1, "{faults:#?}");
}

#[test]
fn a_flow_is_made_from_a_file_or_from_a_form_of_a_connection_and_not_from_both() {
    let flow = |more: &str| {
        let folder = Folder::new(&format!(
            "[[number]]\nid = \"shop\"\napp_secret = \"x\"\n[[flow]]\nid = \"contact\"\nnumber = \"shop\"\n{more}"
        ));
        folder.write("contact.json", "{}");
        folder
    };
    let connected = flow(
        "tool = \"typeform\"\nconnection = \"typeform-1\"\nform = \"lT4Z3j\"\ntake = \"cosmetic\"\noverlay = \"contact.json\"\n",
    );
    let config = connected.load(&[]).expect("no faults");
    let expected = Definition::Connected { connection: "typeform-1".into(), form: "lT4Z3j".into() };
    let flow_0 = &config.flows[0];
    assert_eq!((&flow_0.definition, flow_0.take), (&expected, Take::Cosmetic));
    assert!(flow_0.overlay.as_ref().is_some_and(|path| path.ends_with("contact.json")));
    for (more, fault) in [
        (
            "tool = \"form\"\n",
            "flow[0].definition: is missing. Write the path of the form's definition, or connection and form",
        ),
        ("tool = \"typeform\"\nconnection = \"a\"\n", "flow[0].form: is missing"),
        ("tool = \"typeform\"\nform = \"a\"\n", "flow[0].connection: is missing"),
        (
            "tool = \"form\"\nconnection = \"a\"\nform = \"b\"\n",
            "flow[0].connection: a form of Formgate's own format is in no tool",
        ),
        (
            "tool = \"typeform\"\ndefinition = \"contact.json\"\nform = \"b\"\n",
            "flow[0].definition: is given, and so is a connection or form",
        ),
        (
            "tool = \"form\"\ndefinition = \"contact.json\"\noverlay = \"absent.json\"\n",
            "flow[0].overlay: there is no file",
        ),
        (
            "tool = \"form\"\ndefinition = \"contact.json\"\ntake = \"all\"\n",
            "flow[0].take: \"all\" is not known here",
        ),
    ] {
        let faults = flow(more).faults(&[]);
        has(&faults, fault);
        assert_eq!(faults.len(), 1, "{faults:#?}");
    }
}

#[test]
fn a_mail_sink_is_read_with_its_usual_port_and_an_unprotected_one_is_refused() {
    let mail = |more: &str| {
        let folder = complete();
        let text = fs::read_to_string(folder.0.path().join("formgate.toml")).expect("a file");
        folder.write("formgate.toml", &format!("{text}\n[[alert]]\nid = \"mail\"\nkind = \"email\"\n{more}"));
        folder
    };
    let env = [("NEW", "a"), ("OLD", "b")];
    let least =
        "host = \"smtp.example.com\"\nfrom = \"Formgate <f@example.com>\"\nto = [\"ops@example.com\"]\n";
    for (tls, port) in [("", 465), ("tls = \"starttls\"\n", 587), ("tls = \"starttls\"\nport = 2525\n", 2525)]
    {
        let config = mail(&format!("{least}{tls}")).load(&env).expect("no fault");
        let AlertKind::Email(email) = &config.alert_sinks[0].kind else { panic!("a mail") };
        assert_eq!((email.port, email.to.as_slice()), (port, ["ops@example.com".to_owned()].as_slice()));
    }
    let faults =
        mail(&format!("{least}tls = \"none\"\npassword = \"x\"\nurl = \"https://a.example\"\n")).faults(&env);
    has(&faults, "alert[0].tls: would send alerts and the password unencrypted");
    has(&faults, "alert[0].user: is missing");
    has(&faults, "alert[0].url: has no use for kind = \"email\"");
    let faults = mail("host = \"a b\"\nfrom = \"nobody\"\nto = []\n").faults(&env);
    has(&faults, "alert[0].host: is no host name");
    has(&faults, "alert[0].from: is no mail address");
    has(&faults, "alert[0].to: is empty");
}
