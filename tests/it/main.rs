//! Journeys of the whole product, one module each.

mod player;
