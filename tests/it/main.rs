//! Journeys of the whole product, one module each.

mod architecture;
mod cli;
mod client;
mod compile;
mod config;
mod crypto;
mod endpoint;
mod handler;
mod outbox;
mod player;
mod sandbox;
mod schemas;
mod server;
mod store;
mod store_model;
mod typeform;
mod validator;
