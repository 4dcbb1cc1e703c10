//! Journeys of the whole product, one module each.

mod client;
mod config;
mod crypto;
mod outbox;
mod player;
mod sandbox;
mod server;
mod store;
mod store_model;
mod validator;
