//! A WhatsApp client: fills and walks a flow against a real endpoint, as a phone does.
pub mod document;
pub mod envelope;
pub mod expression;
pub mod transport;
