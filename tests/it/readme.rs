//! The README says nothing that is not so: its form and configuration are read, its commands and options exist, its links
//! lead somewhere, and each promise names a test that there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use formgate::config::Config;
use formgate::connector::connector;
use formgate::crypto::PrivateKey;
use secrecy::ExposeSecret as _;

const README: &str = include_str!("../../README.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The code blocks of a language, indented ones too.
fn blocks(language: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), README.lines().map(str::trim));
    let start = format!("```{language}");
    while lines.by_ref().any(|line| line == start) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push(block.join("\n"));
    }
    assert!(!found.is_empty(), "the README has no {language}");
    found
}

/// What stands between backticks outside of blocks.
fn inline() -> Vec<&'static str> {
    README
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|code| !code.is_empty())
        .collect()
}

#[test]
fn the_user_of_redis_may_do_what_every_script_does() {
    let line = README.lines().map(str::trim).find(|line| line.starts_with("user formgate on "));
    let allowed: BTreeSet<&str> = line.expect("the ACL line").split(' ').collect();
    let scripts = root().join("src/store/redis/scripts").read_dir().expect("the scripts");
    let mut found = 0;
    for script in scripts {
        let code = std::fs::read_to_string(script.expect("a script").path()).expect("a script");
        for command in code.split("call('").skip(1).filter_map(|rest| rest.split('\'').next()) {
            found += 1;
            let rule = format!("+{}", command.to_ascii_lowercase());
            assert!(allowed.contains(rule.as_str()), "{rule} is not in the ACL line");
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn its_form_and_its_configuration_are_read() {
    let connector = connector("form").expect("Formgate's own format");
    let [form] = blocks("json").try_into().expect("one form");
    connector.read(form.as_bytes()).unwrap_or_else(|error| panic!("{error}"));

    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(&file, text).expect("a file");
        file
    };
    write("forms/contact.json", &form);
    write("keys/shop.pem", PrivateKey::generate().private_pem().expose_secret());
    let [tour, destination, tool, connected, hubspot, typeform, others, alert, shared] =
        blocks("toml").try_into().expect("nine parts");
    let environment = || {
        [
            ("META_APP_SECRET", "secret"),
            ("CRM_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ("HUBSPOT_TOKEN", "pat-token"),
            ("HUBSPOT_CLIENT_SECRET", "client-secret"),
            ("TYPEFORM_SECRET", "any text"),
            ("SURVEYMONKEY_TOKEN", "token"),
            ("GOOGLE_TOKEN", "token"),
            ("OPS_HOOK", "https://hooks.example.com/ops"),
            ("SMTP_PASSWORD", "a password"),
            ("REDIS_URL", "rediss://formgate:password@redis.example.com"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
    };
    for text in [
        tour.clone(),
        format!("{tour}\n{alert}"),
        format!("{tour}\n{shared}"),
        format!("{tour}\n{tool}"),
        format!("{tour}\ndeliver_to = [\"crm\"]\n{destination}"),
        format!("{tour}\ndeliver_to = [\"survey\", \"sheet\", \"contacts\"]\n{others}"),
        format!(
            "{tour}\ndeliver_to = [\"crm\", \"hubspot\", \"typeform\"]\n{destination}\n{hubspot}\n{typeform}"
        ),
    ] {
        let file = write("formgate.toml", &text);
        let config = Config::load(Some(&file), environment()).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.flows.len(), 1);
    }
    let file = write("formgate.toml", &format!("{tour}\n{connected}"));
    let config = Config::load(Some(&file), environment()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.flows.len(), 2);
}

#[test]
fn its_commands_and_their_options_exist() {
    let written = blocks("sh")
        .join("\n")
        .replace("$(formgate", "\nformgate")
        .replace("cargo run --release --locked --", "formgate");
    let mut seen = 0;
    for line in written.lines().filter_map(|line| line.trim().strip_prefix("formgate ")) {
        let line = line.split(['#', '&', '>']).next().unwrap_or_default();
        let groups = [
            "keys ",
            "submissions ",
            "audit ",
            "store ",
            "destinations ",
            "api-token ",
            "connections ",
            "flow ",
        ];
        let nested = groups.iter().any(|group| line.starts_with(group));
        let command: Vec<&str> = line.split_whitespace().take(if nested { 2 } else { 1 }).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_formgate")).args(&command).arg("--help").output();
        let output = output.expect("formgate runs");
        assert!(output.status.success(), "formgate {line}: {}", String::from_utf8_lossy(&output.stderr));
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        for option in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option.trim_end_matches(')')), "formgate {line} has no {option}");
        }
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} commands were found");
}

#[test]
fn its_links_and_files_lead_somewhere() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_file = |code: &&str| {
        ["schemas/", "src/", "tests/run", "keys/README", "formgate.default"]
            .iter()
            .any(|start| code.starts_with(start))
            && !code.contains(' ')
    };
    let named: BTreeSet<&str> =
        links.filter(|link| !link.starts_with("http")).chain(inline().into_iter().filter(is_file)).collect();
    assert!(named.len() > 5, "{named:?}");
    for file in named {
        assert!(root().join(file).exists(), "{file} does not exist");
    }
}

#[test]
fn every_promise_names_a_test_that_there_is() {
    let (_, promises) = README.split_once("| Promise | Test |").expect("the promises");
    let (promises, _) = promises.split_once("\n\n").expect("the end of the table");
    let rows: Vec<&str> =
        promises.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).collect();
    assert!(rows.len() >= 8, "{} promises", rows.len());
    for row in rows {
        let tests: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "nothing holds {row}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").unwrap_or_else(|| panic!("{test} names no module"));
            let file = root().join("tests/it").join(format!("{}.rs", module.replace("::", "/")));
            let text =
                std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(text.contains(&format!("fn {name}(")), "{test} does not exist");
        }
    }
}
