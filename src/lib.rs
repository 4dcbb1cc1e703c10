//! Formgate turns a form that a team already has into a WhatsApp Flow, is the encrypted endpoint that Meta calls while
//! a person walks through it, and puts each completed submission back into the tool the form came from.
//!
//! # Module map
//!
//! | Module | What lives there | May import (besides [`telemetry`]) |
//! | --- | --- | --- |
//! | [`form`] | the neutral form: pages, questions, rules, answers, validation. Pure | – |
//! | [`flow`] | Flow JSON document, limits, compiler, fidelity report, validator, screen handlers. Pure | `form` |
//! | [`crypto`] | hub signature, exchange envelope, key ring, sealing of state, tokens and data at rest | – |
//! | [`store`] | tables, atomic batch, leases; the embedded store, and the one of nodes that share a Redis | `fault` |
//! | [`server`] | hyper: accept, TLS, limits, deadlines, drain; knows no route | – |
//! | [`client`] | the one outbound HTTP client: deadlines to the last byte, size cap, address guard | `fault` |
//! | [`audit`] | append-only events: who, what, when, outcome | `store` |
//! | [`insight`] | what an operator has to know without looking: alerts | `client` `form` `store` |
//! | [`outbox`] | submission, delivery, attempt, retry policy, worker, dead letters, files of answers | `audit` `client` `crypto` `fault` `form` `store` |
//! | [`endpoint`] | the data exchange: envelope, actions, state, status mapping | `audit` `crypto` `fault` `flow` `form` `outbox` `server` `store` |
//! | [`connector`] | one file per form tool: definition to form | `audit` `client` `crypto` `form` `outbox` `store` |
//! | [`catalog`] | flows and their versions | `audit` `connector` `flow` `form` `outbox` `store` |
//! | [`meta`] | what Meta calls besides the endpoint: webhooks | `crypto` `insight` `outbox` `server` `store` |
//! | [`console`] | what people and programs manage Formgate by: the management API, tokens, roles | `audit` `catalog` `connector` `crypto` `endpoint` `flow` `form` `insight` `outbox` `player` `server` `store` |
//! | [`player`] | a WhatsApp client that walks a flow against a real endpoint; its cryptography is its own | `client` `flow` `form` |
//! | [`sandbox`] | the peers of a demo: a webhook inbox, the four form tools with consent, forms and submissions, Meta's file servers | `client` `crypto` `server` |
//! | [`config`] | the only reader of environment and files | `fault` `form` `server` |
//! | [`app`] | composition root: builds components, route table, owns every long task | everything |
//! | [`cli`] | one file per command | everything |
//! | [`telemetry`] | tracing, metrics, field names, redaction | – |
//! | [`fault`] | what a test-only build breaks on purpose; nothing without the feature `faults` | – |
//!
//! `tests/it/architecture.rs` reads this table and fails on any other import. It also keeps cipher crates in `crypto` (and
//! `player`, the independent client side), hyper's client in `client`, Redis's in `store::redis`, the environment in
//! `config`, and files short.
//!
//! # The three journeys
//!
//! *An exchange.* `server` reads the body under a deadline, `crypto::HubSignature` checks it (432), `crypto::KeyRing` opens
//! it (421), `endpoint` opens token and state (427), `flow::handler` steps, and at the end one `store::Batch` holds the
//! submission, its deliveries, the audit entry and the kept reply before the closing screen is sent.
//!
//! *A form becomes a flow.* `connector` reads a definition into a `form::Form`, `flow::compile` turns it into a document, a
//! plan for the handlers and a fidelity report; `catalog` records the version, and never compiles it again.
//!
//! *A submission goes home.* `outbox::worker` claims deliveries under a lease, renders, sends through `client`, and settles.

pub mod app;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod config;
pub mod connector;
pub mod console;
pub mod crypto;
pub mod endpoint;
pub mod fault;
pub mod flow;
pub mod form;
pub mod insight;
pub mod meta;
pub mod outbox;
pub mod player;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod telemetry;
