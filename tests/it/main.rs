//! Journeys of the whole product, one module each.

mod config;
mod sandbox;
mod server;
