//! Journeys of the whole product, one module each.

mod client;
mod outbox;
mod store;
mod store_model;
