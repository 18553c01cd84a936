//! Tests on real servers, of every supported major release.
//!
//! `GHOST_PG_VERSIONS=15,18` selects releases. One that is missing is a loud skip, and a failure
//! where `CI` is set.

#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

mod adrift;
mod alongside;
mod bed;
mod between;
mod binary;
mod blocked;
mod causes;
mod changes;
mod check;
mod cleanup;
mod cluster;
mod crossing;
mod ddl;
mod deferred;
mod emitted;
mod encodings;
mod flushed;
mod forbidden;
mod full;
mod handoff;
mod identity;
mod invariants;
mod journey;
mod judged;
mod keys;
mod killed;
mod lanes;
mod lasting;
mod libpq;
mod limit;
mod locks;
mod login;
#[cfg(target_os = "linux")]
mod lost;
mod made;
mod merging;
mod moments;
mod moves;
mod objects;
mod order;
mod outage;
mod paging;
mod partitions;
mod patience;
mod places;
mod pooler;
mod program;
mod provoked;
mod proxy;
mod refusals;
mod sabotage;
mod secure;
mod servers;
mod session;
mod settings;
mod shapes;
mod shared;
mod signals;
mod soak;
mod stage;
mod stalls;
mod standby;
mod state;
mod status;
mod stopped;
mod streams;
mod struck;
mod support;
mod tables;
mod tls;
mod trace;
mod trial;
mod turned_away;
mod types;
mod unique;
mod verdicts;
mod verify;
mod versions;
mod waits;
mod watched;
