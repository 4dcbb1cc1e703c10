//! Why Formgate does not start, or had to stop.

use std::path::PathBuf;

use crate::{catalog, crypto, outbox, server, store};

/// Why Formgate does not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The master key.
    #[error("the master key cannot be used: {0}")]
    MasterKey(String),
    /// The data folder.
    #[error("the data folder cannot be opened: {0}")]
    Open(#[from] store::OpenError),
    /// The store that nodes share.
    #[error("the store cannot be opened: {0}")]
    Shared(#[from] store::SharedOpenError),
    /// The store refused.
    #[error("the store refused: {0}")]
    Store(#[from] store::Error),
    /// What is stored cannot be read or changed.
    #[error("{0}")]
    Outbox(#[from] outbox::Error),
    /// The store failed while running.
    #[error("the store stopped: {0}. Restart Formgate; everything acknowledged is on disk")]
    StoreStopped(store::Fatal),
    /// A listener.
    #[error("{0}")]
    Server(#[from] server::Error),
    /// A private key.
    #[error("a private key of number {number} cannot be used: {source}")]
    Key {
        /// The number.
        number: String,
        /// Why.
        source: crypto::KeyError,
    },
    /// A kept private key that the master key does not open.
    #[error("the kept keys of number {0} were sealed under another master key; give that one, too")]
    SealedKey(String),
    /// A master key that this store does not know.
    #[error(
        "the store was sealed under another master key than the one configured; give that one, too (one a line, the newest first)"
    )]
    OtherMasterKey,
    /// The app secrets.
    #[error("the app secrets of number {0} cannot be used: one is empty")]
    AppSecret(String),
    /// A destination.
    #[error("destination {id} cannot be used: {reason}")]
    Destination {
        /// Which one.
        id: String,
        /// Why.
        reason: String,
    },
    /// A destination's name.
    #[error("{0}")]
    DestinationId(#[from] outbox::InvalidDestinationId),
    /// A definition file.
    #[error("the definition of flow {flow} cannot be read from {path}: {source}")]
    File {
        /// The flow.
        flow: String,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A definition.
    #[error("the definition of flow {flow} cannot be used: {source}")]
    Definition {
        /// The flow.
        flow: String,
        /// Why.
        source: catalog::import::ReadError,
    },
    /// A command could not be carried out.
    #[error("{0}")]
    Control(String),
    /// A form that cannot be published.
    #[error("flow {flow} cannot be published: {source}")]
    Publish {
        /// The flow.
        flow: String,
        /// Why.
        source: catalog::Error,
    },
}

/// An error with its causes, each once: some tell their cause themselves.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_whoever_tells_it() {
        let wanted = "the store refused: the store has stopped";
        assert_eq!(chain(&outbox::Error::Store(store::Error::Unavailable)), wanted);
        assert_eq!(chain(&Error::Store(store::Error::Unavailable)), wanted);
    }
}
