//! Journeys of the whole product, one module each.

mod server;
