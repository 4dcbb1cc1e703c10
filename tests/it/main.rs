//! Journeys of the whole product, one module each.

mod client;
mod compile;
mod config;
mod crypto;
mod endpoint;
mod handler;
mod outbox;
mod player;
mod properties;
mod sandbox;
mod server;
mod store;
mod store_model;
mod validator;
