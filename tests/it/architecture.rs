//! The module map of `src/lib.rs` holds: who imports whom, who may name cipher crates, an HTTP or Redis client or the environment.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use source::paths;

/// Longest file, tests included.
const MAX_LINES: usize = 499;
/// What opens, seals and signs. Plain hashes (`sha2`) are no secret's business and may be used anywhere.
const CIPHERS: [&str; 12] = [
    "aws_lc_rs",
    "aes",
    "aes_gcm",
    "aes_gcm_siv",
    "hmac",
    "rsa",
    "pkcs8",
    "pem",
    "des",
    "cbc",
    "md5",
    "subtle",
];

/// What each module may import; `None` is everything.
type Map = BTreeMap<String, Option<BTreeSet<String>>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The table in the documentation of the library.
fn module_map(library: &str) -> Map {
    let rows = library.lines().filter_map(|line| line.strip_prefix("//! | [`"));
    let map: Map = rows
        .map(|row| {
            let (module, rest) = row.split_once("`]").expect("a module's name");
            let allowed = rest.trim_end().trim_end_matches('|').rsplit_once('|').expect("three columns").1;
            let named = || allowed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            let imports = (allowed.trim() != "everything").then(named);
            (module.to_owned(), imports)
        })
        .collect();
    assert!(map.len() > 10, "the module map of src/lib.rs was not found");
    map
}

/// All Rust files below a folder, by their path from the root.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((name, std::fs::read_to_string(&path).expect("a file")));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

/// The top-level module that a file of `src` belongs to, and its submodules' names.
fn module_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/").expect("a file of src");
    inside.split(['/', '.']).next().expect("a name")
}

/// Everything that a file of `src` does against the map.
fn faults(map: &Map, submodules: &BTreeSet<String>, file: &str, text: &str) -> Vec<String> {
    let module = module_of(file);
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{file}: {what}"));
    if text.lines().count() > MAX_LINES {
        fault(format!("has more than {MAX_LINES} lines"));
    }
    if module == "lib" {
        return faults;
    }
    for path in paths(text) {
        let told = path.join("::");
        let mut parts = path.iter().map(String::as_str).peekable();
        let head = parts.next().unwrap_or_default();
        let next = parts.peek().copied().unwrap_or_default();
        let imported = match head {
            "crate" | "formgate" => Some(next),
            // Out of the module by its parent: only a name that is no submodule can be another module.
            "super" => parts.find(|part| *part != "super").filter(|name| !submodules.contains(*name)),
            _ => None,
        };
        let is_escape = head == "super" && imported.is_some_and(|name| !map.contains_key(name));
        if let Some(other) = imported.filter(|other| *other != module && *other != "telemetry" && !is_escape)
        {
            match map.get(module) {
                _ if module == "main" || head == "formgate" && !map.contains_key(other) => {}
                None => fault("is of a module that has no row in the map".to_owned()),
                Some(None) => {}
                Some(Some(allowed)) if allowed.contains(other) => {}
                Some(Some(_)) => fault(format!("imports {told}, which {module} may not")),
            }
        }
        if CIPHERS.contains(&head) && path.len() > 1 && !["crypto", "player"].contains(&module) {
            fault(format!("names the cipher crate {told}"));
        }
        if ["hyper", "hyper_util"].contains(&head) && next == "client" && module != "client" {
            fault(format!("names an HTTP client, {told}"));
        }
        if head == "redis" && !file.starts_with("src/store/redis/") {
            fault(format!("names the Redis client, {told}"));
        }
        let reads_environment = head == "std" && next == "env";
        if reads_environment && !["config", "main"].contains(&module) && told != "std::env::args" {
            fault(format!("reads the environment, {told}"));
        }
    }
    faults
}

/// The names of all modules inside each top-level module.
fn submodules(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files {
        let declared = text.lines().filter_map(|line| {
            let line = line.trim().trim_start_matches("pub ").trim_start_matches("pub(super) ");
            let name = line.trim_start_matches("pub(crate) ").strip_prefix("mod ")?;
            Some(name.trim_end_matches([';', '{', ' ']).to_owned())
        });
        names.entry(module_of(file).to_owned()).or_default().extend(declared);
    }
    names
}

#[test]
fn every_file_keeps_to_the_module_map() {
    let files = files("src");
    let library = &files.iter().find(|(file, _)| file == "src/lib.rs").expect("the library").1;
    let (map, submodules) = (module_map(library), submodules(&files));
    let found: Vec<String> = files
        .iter()
        .flat_map(|(file, text)| faults(&map, &submodules[module_of(file)], file, text))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_module_map_has_a_row_for_every_module_and_no_other() {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).expect("the library");
    let map = module_map(&library);
    let declared: BTreeSet<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(map.keys().map(String::as_str).collect::<BTreeSet<_>>(), declared);
    for (module, imports) in &map {
        for import in imports.iter().flatten() {
            assert!(declared.contains(import.as_str()), "{module} may import {import}, which does not exist");
        }
    }
    let everything: Vec<&str> =
        map.iter().filter(|(_, imports)| imports.is_none()).map(|(module, _)| module.as_str()).collect();
    assert_eq!(everything, ["app", "cli"]);
    assert!(!map.values().flatten().flatten().any(|import| everything.contains(&import.as_str())));
}

#[test]
fn tests_and_benches_stay_short_too() {
    let long = |(file, text): (String, String)| (text.lines().count() > MAX_LINES).then_some(file);
    let found: Vec<String> = ["tests", "benches"].into_iter().flat_map(files).filter_map(long).collect();
    assert!(found.is_empty(), "more than {MAX_LINES} lines: {found:?}");
}

/// The faults of a made-up file, by a made-up map.
fn judged(file: &str, text: &str) -> Vec<String> {
    let map = module_map(
        &(0..10).fold(
            "//! | [`flow`] | pure | `form` |\n//! | [`client`] | calls | – |\n//! | [`app`] | joins | everything |\n"
                .to_owned(),
            |map, n| format!("{map}//! | [`m{n}`] | – | – |\n"),
        ),
    );
    faults(&map, &BTreeSet::from(["m2".to_owned()]), file, text)
}

#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    for text in [
        "use crate::client::Client;",
        "use crate::client;",
        "use crate::{form::Form, client::Client};",
        "use crate::{\n    form,\n    client as c,\n};",
        "pub use crate::m1::*;",
        "fn f() { crate::client::call() }",
        "fn f(c: &crate::client::Client) {}",
        "fn f() -> Vec<crate::client::Client> { vec![] }",
        "pub(in crate::flow) use super::super::client::Client;",
        "use super::client;",
        "use formgate::client;",
        "// use crate::form;\nuse crate::m1;",
        "const A: &str = \"\\\"//\"; use crate::m1;",
        "fn f<'a>(x: &'a str) -> char { '\"' } use crate::m1; // \"",
        "use crate::nothing;",
    ] {
        assert_eq!(judged("src/flow/deep/file.rs", text).len(), 1, "{text}");
    }
    assert_eq!(judged("src/unlisted.rs", "use crate::form;").len(), 1);
}

#[test]
fn what_only_looks_like_an_import_is_left_alone() {
    for text in [
        "use crate::{flow::Plan, form::{Form, Page}, telemetry};",
        "//! [`crate::client`] is never used here\n/// nor [`crate::app`]\n// crate::client::Client",
        "/* use crate::client; /* nested */ use crate::app; */",
        "const A: &str = \"use crate::client;\"; const B: &str = r#\"\"crate::client\"#; const C: &[u8] = b\"crate::app\";",
        "use super::m2; use super::super::form; use self::client;",
        "fn client() { let m1 = 1; m1::<u8>; }",
    ] {
        assert_eq!(judged("src/flow/deep/file.rs", text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(judged("src/app/mod.rs", "use crate::{client, flow, m1};"), Vec::<String>::new());
    assert_eq!(judged("src/main.rs", "fn main() { formgate::app::run() }"), Vec::<String>::new());
}

#[test]
fn ciphers_clients_the_environment_and_long_files_are_found() {
    for (file, text) in [
        ("src/flow/a.rs", "use hmac::Mac;"),
        ("src/flow/a.rs", "use ::rsa::RsaPublicKey;"),
        ("src/flow/a.rs", "fn f() { aes_gcm::Aes128Gcm::new() }"),
        ("src/flow/a.rs", "use {std::fmt, aws_lc_rs::rsa};"),
        ("src/flow/a.rs", "use hyper::client::conn::http1;"),
        ("src/flow/a.rs", "use redis::Client;"),
        ("src/store/cluster/a.rs", "fn f() { ::redis::cmd(\"GET\"); }"),
        ("src/flow/a.rs", "use hyper_util::{client::legacy, rt};"),
        ("src/flow/a.rs", "fn f() { std::env::var(\"X\"); }"),
        ("src/flow/a.rs", "use std::{env, fs};"),
        ("src/app/a.rs", "use std::env::vars;"),
    ] {
        assert_eq!(judged(file, text).len(), 1, "{text}");
    }
    for (file, text) in [
        ("src/flow/a.rs", "use rustls::crypto::aws_lc_rs; fn f() { aws_lc_rs::default_provider() }"),
        ("src/flow/a.rs", "use rustls_pki_types::{CertificateDer, pem::PemObject};"),
        ("src/flow/a.rs", "fn f(e: rustls_pki_types::pem::Error) {}"),
        ("src/flow/a.rs", "use sha2::Sha256; use hyper::{Method, header};"),
        ("src/flow/a.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");"),
        ("src/client/mod.rs", "use hyper::client::conn::http1;"),
        ("src/store/redis/a.rs", "use redis::Client;"),
        ("src/store/cluster/a.rs", "use super::redis::Redis;"),
        ("src/main.rs", "fn main() { std::env::args(); }"),
    ] {
        assert_eq!(judged(file, text), Vec::<String>::new(), "{text}");
    }
    assert_eq!(judged("src/flow/a.rs", &"//\n".repeat(500)).len(), 1);
    assert_eq!(judged("src/flow/a.rs", &"//\n".repeat(499)).len(), 0);
}
