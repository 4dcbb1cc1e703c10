//! Secrets: given as a value, as `env:NAME`, or as `file:PATH`.

use std::{fs, io, path::PathBuf};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{fault::Place, read::Section};

/// Where the key that seals secrets at rest comes from.
#[derive(Debug)]
pub enum MasterKey {
    /// Given as a value or by the environment.
    Value(SecretString),
    /// In this file, which is made on first start if it is not there yet.
    File {
        /// Where it is, or is to be made.
        path: PathBuf,
        /// What it holds; `None` if there is no such file yet.
        content: Option<SecretString>,
    },
}

impl Section<'_> {
    /// A secret that may be left out.
    pub(super) fn secret(&self, key: &'static str) -> Option<SecretString> {
        let (text, place) = self.text(key)?;
        self.resolve_secret(key, &text, place)
    }

    /// A list of secrets.
    pub(super) fn secrets(&self, key: &'static str) -> Vec<SecretString> {
        let list = self.list(key).unwrap_or_default();
        list.into_iter().filter_map(|(text, place)| self.resolve_secret(key, &text, place)).collect()
    }

    /// Follows a reference. A fault names the variable or the file, never the value.
    pub(super) fn resolve_secret(&self, key: &str, text: &str, place: Place) -> Option<SecretString> {
        let value = if let Some(name) = text.strip_prefix("env:") {
            let Some(value) = self.cx.variable(name) else {
                let reason = format!("the environment variable {name} is not set");
                self.fault(key, place, reason, "Set it, or give the secret as file:PATH");
                return None;
            };
            Zeroizing::new(value.to_owned())
        } else if let Some(path) = text.strip_prefix("file:") {
            let path = self.cx.resolve(path);
            match read_secret(&path) {
                Ok(value) => value,
                Err(error) => {
                    let reason = format!("cannot read {}: {}", path.display(), error.kind());
                    self.fault(key, place, reason, "Correct the path or the file's permissions");
                    return None;
                }
            }
        } else {
            Zeroizing::new(text.to_owned())
        };
        let trimmed = value.trim_end_matches(['\r', '\n']);
        if trimmed.trim().is_empty() {
            self.fault(key, place, "the secret is empty", "Give it as a value, env:NAME or file:PATH");
            return None;
        }
        Some(SecretString::from(trimmed))
    }

    pub(super) fn master_key(&self, key: &'static str) -> Option<MasterKey> {
        let (text, place) = self.text(key)?;
        if let Some(path) = text.strip_prefix("file:") {
            let path = self.cx.resolve(path);
            if fs::metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return Some(MasterKey::File { path, content: None });
            }
            let content = self.resolve_secret(key, &text, place)?;
            return Some(MasterKey::File { path, content: Some(content) });
        }
        self.resolve_secret(key, &text, place).map(MasterKey::Value)
    }
}

fn read_secret(path: &std::path::Path) -> io::Result<Zeroizing<String>> {
    fs::read_to_string(path).map(Zeroizing::new)
}
