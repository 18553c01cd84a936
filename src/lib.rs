//! pghost moves very large, busy Postgres tables without ever holding a long snapshot.
//!
//! The rooms, from the top down; a room uses only rooms below it (`tests/tidy.rs` holds it):
//!
//! ```text
//!    cli                              what people type and see
//!     |        demo                   `pghost demo`: two throwaway servers, a live workload
//!     |       /    \
//!    migrate        cluster           the journey, phase by phase | throwaway Postgres servers
//!    /   |   \
//!  backfill apply verify              pages first, changes next, proof last
//!    \   |   /
//!     ledger                          durable progress in the target; the only maker of DurableLsn
//!       |
//!  replication   catalog              walsender: slots, stream | tables, columns, keys, types
//!         \       /
//!           conn                      the only sockets to Postgres
//!          /    \
//!       auth   pgoutput               conversations and messages; pure, no IO
//!          \    /
//!  wire    sql    config              bytes | SQL text | connection settings; pure
//!           pg                        the server's nouns; std only
//! ```

pub mod apply;
pub mod auth;
pub mod backfill;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod conn;
pub mod demo;
pub mod ledger;
pub mod migrate;
pub mod pg;
pub mod pgoutput;
pub mod replication;
pub mod sql;
pub mod verify;
pub mod wire;
