//! The settings that every session of pghost runs with, whatever the role, database or server
//! has been told.
//!
//! Values travel between servers as text, and a server prints text as its settings say: a role
//! with `DateStyle = German` or `extra_float_digits = -5` would change data. They go in the
//! startup packet, which overrides role and database settings and reaches the walsender too,
//! whose settings print pgoutput's values.

use crate::config::Config;

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Ordinary SQL.
    Sql,
    /// A walsender of the logical kind: SQL and replication commands, simple protocol only.
    Replication,
}

const PINNED: &[(&str, &str)] = &[
    // How values are printed and read. The first three are what native replication pins.
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("client_encoding", "UTF8"),
    ("bytea_output", "hex"),
    ("TimeZone", "UTC"),
    ("lc_monetary", "C"),
    ("xmloption", "content"),
    // `{NULL}` would be read as an array of the word.
    ("array_nulls", "on"),
    // Names of types and functions come out qualified, and nothing is found by accident.
    ("search_path", ""),
    // And in one spelling, so that types of two sides can be compared by it.
    ("quote_all_identifiers", "off"),
    // A server-wide limit must not end a page, a batch or a stream. `transaction_timeout` is
    // unknown before 17 and would end the session there; it is set by SET once the version is
    // known.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    // A policy that hides rows must be an error, not a smaller table.
    ("row_security", "off"),
    // A server that still takes a lost client for one that thinks would keep its locks, and the
    // next attempt out, for the system's two hours. Without effect on a unix socket.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    // Reading from the middle of a table saves nothing here and makes runs differ.
    ("synchronize_seqscans", "off"),
];

/// The parameters of the startup packet.
pub(super) fn startup_parameters(config: &Config, kind: SessionKind) -> Vec<(&str, &str)> {
    let mut parameters = vec![
        ("user", config.user.as_str()),
        ("database", config.dbname.as_str()),
        ("application_name", config.application_name.as_str()),
    ];
    if kind == SessionKind::Replication {
        parameters.push(("replication", "database"));
        // Our status updates come every ten seconds; a server that is set up for less patience
        // than that would end the stream whenever the target is slow.
        parameters.push(("wal_sender_timeout", "60s"));
    } else {
        // Nor may one that has stopped reading hold a page's snapshot. A walsender has a timeout of
        // its own, and is read slowly where the target is slow.
        parameters.push(("tcp_user_timeout", "120s"));
    }
    if let Some(options) = &config.options {
        parameters.push(("options", options));
    }
    // A role that may only read by default is still one that was given for writing. Where it
    // matters what the server would have said, it is set once that was seen.
    if !config.target_session_attrs.asks_for_writing() {
        parameters.push(("default_transaction_read_only", "off"));
    }
    // After `options`: the server applies these later, so what is pinned stays pinned.
    parameters.extend_from_slice(PINNED);
    parameters
}
