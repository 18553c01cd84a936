//! Tests on real servers, of every supported major release.
//!
//! `GHOST_PG_VERSIONS=15,18` selects releases. One that is missing is a loud skip, and a failure
//! where `CI` is set.

#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

mod changes;
mod cleanup;
mod cluster;
mod crossing;
mod deferred;
mod invariants;
mod journey;
mod keys;
mod killed;
mod lanes;
mod libpq;
mod login;
mod made;
mod moves;
mod objects;
mod paging;
mod partitions;
mod program;
mod refusals;
mod sabotage;
mod secure;
mod servers;
mod session;
mod shapes;
mod stage;
mod standby;
mod state;
mod streams;
mod support;
mod tls;
mod trace;
mod types;
mod unique;
mod verify;
mod versions;
