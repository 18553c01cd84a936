//! The connection against a server that says what a script tells it to: every state of startup,
//! authentication, query, COPY and CopyBoth, and in each of them every message there is, whole and
//! damaged. No Postgres is needed.

#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

mod backend;
mod cancel;
mod caps;
mod client;
mod dropped;
mod memory;
mod scram;
mod server;
mod settings;
mod ssl;
mod startup;
mod states;
mod walk;
