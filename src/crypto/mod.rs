//! The server's cryptography: the hub signature, the exchange envelope and its keys, the files of answers, and the
//! sealing of state, tokens and data at rest.
//!
//! Invariants: private keys and secrets never leave here except to be stored, and never appear in `Debug` or in an error;
//! everything secret is compared in constant time; whatever fails to open fails in one way only. Time is an argument.
//!
//! Not here: what a status code means, where keys are kept, and the client's half of the exchange.

mod archive;
mod body_signature;
mod file;
mod hex;
mod jwt;
mod key;
mod mac;
mod media;
mod pem;
mod ring;
mod sealer;
mod signature;
mod vault;
mod webhook;

pub use self::archive::ArchiveError;
pub use self::body_signature::BodySignature;
pub use self::file::{FileKey, FileOpener, FileSealer};
pub use self::jwt::{ClaimsKey, verify_claims};
pub use self::key::{InvalidKeyId, KeyError, KeyId, PrivateKey};
pub use self::mac::{MacKey, is_same};
pub use self::media::{
    MEDIA_OVERHEAD_BYTES, MediaDecryptor, MediaError, MediaKeys, MediaVerifier, VerifiedMedia,
};
pub use self::ring::{KeyRing, Opened, ReplySealer, Undecryptable};
pub use self::sealer::{InvalidMasterKey, MasterKey, MasterKeys, NotOurs, Purpose, Sealer, associated_data};
pub use self::signature::{
    AppSecret, AppSecrets, FlowTokenSignature, FlowTokenSignatureError, HubSignature, InvalidAppSecret,
    SignatureError,
};
pub use self::vault::Vault;
pub use self::webhook::{InvalidWebhookSecret, WebhookError, WebhookSecret};
