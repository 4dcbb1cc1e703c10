//! A WhatsApp client: fills and walks a flow against a real endpoint, as a phone does.
//!
//! Its invariant is independence: it reads any Flow JSON, evaluates it by its own code, and does its half of the cryptography
//! by its own code, so it agrees with the endpoint only if both follow the WhatsApp Flows reference. It judges every answer
//! and never repairs one. It does not validate documents or send messages.

pub mod checks;
pub mod document;
pub mod envelope;
pub mod expression;
pub mod judge;
pub mod media;
pub mod render;
pub mod strategy;
pub mod transport;
mod walk;

pub use walk::{Entry, Error, KeySource, Options, Outcome, Player, RawReply, RawSignature, Step, Walk};
