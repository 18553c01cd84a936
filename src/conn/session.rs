//! The settings that every session of pghost runs with, whatever the role, database or server
//! has been told.
//!
//! Values travel between servers as text, and a server prints text as its settings say: a role
//! with `DateStyle = German` or `extra_float_digits = -5` would change data. So do definitions:
//! `pg_get_expr` writes `'\d'` as `standard_conforming_strings` says, and the other side reads it
//! as its own says. They go in the startup packet, which overrides role and database settings and
//! reaches the walsender too, whose settings print pgoutput's values. Once connected, a session is
//! asked whether they hold: a pooler may have dropped them.
//!
//! `tests/it/protocol/settings.txt` has every setting that a role can be given, and why it is
//! pinned or not.
//!
//! Not here: what becomes of a session in which one does not hold (`pooler`).

use super::{Error, QueryResult, Row};
use crate::{config::Config, sql::quote_literal};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// Ordinary SQL.
    Sql,
    /// Ordinary SQL on a server whose tables are only read: none of them is a view or on another
    /// server, whatever stands under its name by then.
    Source,
    /// A walsender of the logical kind: SQL and replication commands, simple protocol only.
    Replication,
}

/// How a session gets its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settings {
    /// In the startup packet.
    AtStartup,
    /// By a statement, where a pooler refuses startup packets with settings that it does not know.
    Afterwards,
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
    // The same literal is read as it was printed, and is printed alike on both sides.
    ("standard_conforming_strings", "on"),
    ("xmlbinary", "base64"),
    // `a = NULL` of a definition is not read as `a IS NULL`.
    ("transform_null_equals", "off"),
    // A scan of a GIN index, which may be of integers, would leave rows out at random.
    ("gin_fuzzy_search_limit", "0"),
    // 18 tells only by a WARNING that a publication is gone whose changes it leaves out.
    ("client_min_messages", "notice"),
    // The session must outlive what is tried and may fail.
    ("exit_on_error", "off"),
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

/// Settings of the same kind that can't stand in every startup packet, as it would be refused: a
/// release does not know them, or only a superuser may set them. They are nearly always right;
/// where one is not, it is set.
const WANTED: &[(&str, &str)] = &[
    // Since 17.
    ("transaction_timeout", "0"),
    // A role that may only read by default is still one that was given for writing. It stands in
    // the startup packet, unless what the server would have said must be seen first.
    ("default_transaction_read_only", "off"),
    // The foreign keys of the ledger, and those that are checked when they are made, must act.
    ("session_replication_role", "origin"),
    // Pages that can't be read must be an error, and no smaller table.
    ("zero_damaged_pages", "off"),
    ("ignore_checksum_failure", "off"),
];

/// What is not asked for: over a unix socket these are always shown as 0, and none of them changes
/// what a session does.
const NOT_SHOWN: &str = "tcp_";

/// What a session has that is to read tables and nothing else. Minor releases from 14.13, 15.8,
/// 16.4 and 17.0 on know it; in the startup packet others would end the session.
/// <https://www.postgresql.org/support/security/CVE-2024-7348/>
const TABLES_ONLY: (&str, &str) = ("restrict_nonsystem_relation_kind", "view,foreign-table");

/// Sets `search_path` again. A function of a table's owner may have set it to a schema in which
/// what is called next is the owner's. To stand in front of what follows such a call, in one round
/// trip.
pub const PATH_AGAIN: &str = "SET search_path = ''";

/// The parameters of the startup packet.
pub(super) fn startup_parameters(
    config: &Config,
    kind: SessionKind,
    settings: Settings,
) -> Vec<(&str, &str)> {
    let mut parameters = vec![
        ("user", config.user.as_str()),
        ("database", config.dbname.as_str()),
        ("application_name", config.application_name.as_str()),
    ];
    if kind == SessionKind::Replication {
        parameters.push(("replication", "database"));
    }
    if let Some(options) = &config.options {
        parameters.push(("options", options));
    }
    if settings == Settings::Afterwards {
        return parameters;
    }
    parameters.push(patience(kind));
    if !config.target_session_attrs.asks_for_writing() {
        parameters.push(("default_transaction_read_only", "off"));
    }
    // After `options`: the server applies these later, so what is pinned stays pinned.
    parameters.extend_from_slice(PINNED);
    parameters
}

/// How long the server waits for us.
const fn patience(kind: SessionKind) -> (&'static str, &'static str) {
    match kind {
        // Our status updates come every ten seconds; a server that is set up for less patience
        // than that would end the stream whenever the target is slow.
        SessionKind::Replication => ("wal_sender_timeout", "60s"),
        // Nor may one that has stopped reading hold a page's snapshot. A walsender has a timeout of
        // its own, and is read slowly where the target is slow.
        SessionKind::Sql | SessionKind::Source => ("tcp_user_timeout", "120s"),
    }
}

/// Whether a setting stands in the startup packet of every session.
pub(super) fn is_pinned(name: &str) -> bool {
    PINNED.iter().any(|(pinned, _)| *pinned == name)
}

/// Asks which process serves the session, whether it is a walsender, and which settings are not as
/// they must be: a row for each, or one without any. A setting that the server does not know can't
/// be wrong.
///
/// Nothing is looked up by a search path that may be somebody's.
pub(super) fn question(kind: SessionKind) -> String {
    let tables_only = (kind == SessionKind::Source).then_some(&TABLES_ONLY);
    let all = PINNED
        .iter()
        .chain(WANTED)
        .chain(tables_only)
        .filter(|(name, _)| !name.starts_with(NOT_SHOWN));
    let wanted: Vec<_> = all.map(|(name, value)| format!("('{name}', '{value}')")).collect();
    let backend_type = match kind {
        SessionKind::Sql | SessionKind::Source => "NULL",
        SessionKind::Replication => {
            "(SELECT backend_type FROM pg_catalog.pg_stat_get_activity(s.pid))"
        }
    };
    // Nearly always it is to be set, so that is done on the way.
    let first = tables_only.map_or_else(String::new, |(name, value)| {
        format!(
            "SELECT pg_catalog.set_config('{name}', '{value}', false)
              WHERE pg_catalog.current_setting('{name}', true) IS NOT NULL; "
        )
    });
    format!(
        "{first}SELECT s.pid, {backend_type} AS backend_type, w.name, w.wanted, w.value
           FROM (SELECT pg_catalog.pg_backend_pid() AS pid) AS s
           LEFT JOIN (SELECT name, wanted, pg_catalog.current_setting(name, true) AS value
                        FROM (VALUES {}) AS v (name, wanted)) AS w
             ON NOT pg_catalog.texteq(w.wanted, pg_catalog.split_part(w.value, ', ', 1))",
        wanted.join(", ")
    )
}

/// What a session says of itself.
#[derive(Debug)]
pub(super) struct Answer {
    /// The process that serves it.
    pub(super) pid: i32,
    /// Whether it may be a walsender. A role's own rights can hide what it is.
    pub(super) may_be_walsender: bool,
    /// The settings that are not as they must be.
    pub(super) wrong: Vec<Wrong>,
}

/// A setting that is not as it must be.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) name: String,
    pub(super) wanted: String,
    pub(super) value: String,
}

impl Answer {
    pub(super) fn read(result: &QueryResult) -> Result<Self, Error> {
        let rows = result.rows();
        let row = rows.first().ok_or_else(|| Error::Result("the session says nothing".into()))?;
        let kind: Option<String> = row.get("backend_type")?;
        let wrong = |row: &Row| {
            let Some(name) = row.get("name")? else { return Ok(None) };
            Ok(Some(Wrong { name, wanted: row.get("wanted")?, value: row.get("value")? }))
        };
        Ok(Self {
            pid: row.get("pid")?,
            may_be_walsender: kind.is_none_or(|kind| kind == "walsender"),
            wrong: rows
                .iter()
                .filter_map(|row| wrong(row).transpose())
                .collect::<Result<_, Error>>()?,
        })
    }
}

/// Sets settings by a statement. All of them at once, or none.
pub(super) fn set(wrong: &[Wrong]) -> String {
    let each: Vec<_> = wrong
        .iter()
        .map(|Wrong { name, wanted, .. }| {
            let (name, wanted) = (quote_literal(name), quote_literal(wanted));
            format!("pg_catalog.set_config({name}, {wanted}, false)")
        })
        .collect();
    format!("SELECT {}", each.join(", "))
}
