//! A WhatsApp client: fills and walks a flow against a real endpoint, as a phone does.
pub mod checks;
pub mod document;
pub mod envelope;
pub mod expression;
pub mod render;
pub mod transport;
