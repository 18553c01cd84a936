//! Tests on real servers: of the oldest and the newest supported release, or of those in
//! `GHOST_PG_VERSIONS` (`15,18`; `.ci/run` has all of them). One that is missing is a loud skip, and
//! a failure where `CI` is set.

#![allow(clippy::unwrap_used)] // clippy.toml leaves it to test functions, not to their helpers

mod apply;
mod check;
mod command;
mod copy;
mod end;
mod fault;
mod finish;
mod protocol;
mod run;
mod support;
