//! Journeys of the whole product, one module each.

// clippy.toml keeps the environment to src/config; a test may take a seed from it.
#![allow(clippy::disallowed_methods)]

mod alerts;
mod api;
mod architecture;
mod audit;
mod backlog;
mod cli;
mod client;
mod cluster;
mod compile;
mod config;
mod connect;
mod corpus;
mod crypto;
mod dial;
mod drift;
mod endpoint;
mod files;
mod google_forms;
mod handler;
mod hubspot;
mod import;
mod meta;
mod outbox;
mod pace;
mod player;
mod properties;
mod readme;
mod redis;
mod repeat;
mod replay;
mod sandbox;
mod schemas;
mod server;
mod source;
mod store;
mod store_model;
mod store_upgrade;
mod surveymonkey;
mod tools;
mod typeform;
mod typeform_webhook;
mod validator;
mod watching;
mod writeback;
