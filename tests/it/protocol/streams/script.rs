//! Who writes, and what of it must come: each transaction with its expected changes, in the order
//! in which they commit.

use pghost::{conn::Connection, pg::Lsn, pgoutput::OwnedRelation};

use super::{
    large,
    resolve::{Change, Old, Row, Transaction, Value},
    tables,
};
use crate::support::{Database, moments::until};

/// What must come of one transaction.
pub(super) struct Scene {
    pub(super) sql: String,
    pub(super) expected: Expected,
    /// Whether it is tagged as somebody else's.
    pub(super) tagged: bool,
}

pub(super) enum Expected {
    /// Exactly these changes.
    Lines(Vec<String>),
    /// So many, besides messages; the replica tells whether they are the right ones.
    Many(usize),
}

pub(super) struct Script<'a> {
    pub(super) database: &'a Database,
    /// The session that does most.
    pub(super) a: Connection,
    /// And one beside it.
    pub(super) b: Connection,
    pub(super) scenes: Vec<Scene>,
    pub(super) loose: Vec<String>,
    /// Whether `a` is somebody else.
    pub(super) tagged: bool,
}

impl<'a> Script<'a> {
    pub(super) async fn new(database: &'a Database) -> Self {
        let (a, b) = (database.connect().await, database.connect().await);
        Self { database, a, b, scenes: Vec::new(), loose: Vec::new(), tagged: false }
    }

    pub(super) fn major(&self) -> u32 {
        self.database.server.version().major()
    }

    /// Runs statements of which nothing comes, or not yet.
    pub(super) async fn run(&mut self, sql: &str) {
        self.a.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(super) async fn beside(&mut self, sql: &str) {
        self.b.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs the statements of one transaction, of which exactly these changes come.
    pub(super) async fn tx(&mut self, sql: &str, lines: &[&str]) {
        self.run(sql).await;
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        self.expect(sql, Expected::Lines(lines));
    }

    /// The same for many changes.
    pub(super) async fn many(&mut self, sql: &str, count: usize) {
        self.run(sql).await;
        self.expect(sql, Expected::Many(count));
    }

    /// What was just committed.
    pub(super) fn expect(&mut self, sql: &str, expected: Expected) {
        self.scenes.push(Scene { sql: sql.to_owned(), expected, tagged: self.tagged });
    }

    /// What `a` does from now on is tagged as somebody else's.
    pub(super) async fn be_somebody_else(&mut self) {
        self.run("SELECT pg_replication_origin_create('else where')").await;
        self.run("SELECT pg_replication_origin_session_setup('else where')").await;
        self.tagged = true;
    }

    pub(super) async fn be_oneself(&mut self) {
        self.run("SELECT pg_replication_origin_session_reset()").await;
        self.tagged = false;
    }

    /// Waits until everyone who reads has been sent, or held back, all that was written.
    pub(super) async fn settle(&self) {
        // A commit flushes the log, that of open transactions too; but only one that wrote.
        self.database.sql("INSERT INTO ticks DEFAULT VALUES").await;
        let written: Lsn =
            self.database.value("SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
        let sent = format!(
            "SELECT coalesce(bool_and(sent_lsn >= '{written}'), true) FROM pg_stat_replication"
        );
        until(self.database, &sent).await;
    }

    pub(super) async fn play(mut self) -> (Vec<Scene>, Vec<String>) {
        tables::rows(&mut self).await;
        tables::big_values(&mut self).await;
        tables::truncates(&mut self).await;
        tables::messages(&mut self).await;
        tables::definitions(&mut self).await;
        tables::partitions(&mut self).await;
        if self.major() >= 15 {
            tables::lists_and_filters(&mut self).await;
        }
        tables::generated(&mut self).await;
        large::nested(&mut self).await;
        large::rolled_back(&mut self).await;
        large::interleaved(&mut self).await;
        large::definitions(&mut self).await;
        large::big_values(&mut self).await;
        large::somebody_else(&mut self).await;
        large::prepared(&mut self).await;
        self.tx("INSERT INTO marker VALUES (0, 'end')", &["marker +(0,'end')"]).await;
        self.a.close().await;
        self.b.close().await;
        (self.scenes, self.loose)
    }
}

/// A transaction's changes as a script expects them. Messages are left out where they are not
/// asked for.
pub(super) fn lines(transaction: &Transaction, messages: bool) -> Vec<String> {
    let changes = transaction.changes.iter();
    changes.filter(|change| messages || !change.is_message()).map(line).collect()
}

pub(super) fn line(change: &Change) -> String {
    match change {
        Change::Insert { table, new } => format!("{} +{}", table.name, tuple(table, new)),
        Change::Update { table, old, new } => {
            let old = old.as_ref().map(|old| old_tuple(table, old)).unwrap_or_default();
            format!("{} ~{old}{}", table.name, tuple(table, new))
        }
        Change::Delete { table, old } => format!("{} -{}", table.name, old_tuple(table, old)),
        Change::Truncate { tables, cascade, restart } => {
            let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
            let cascade = if *cascade { " cascade" } else { "" };
            let restart = if *restart { " restart" } else { "" };
            format!("truncate{cascade}{restart} {}", names.join(", "))
        }
        Change::Message { prefix, content, .. } => {
            format!("message '{prefix}' '{}'", content.escape_ascii())
        }
    }
}

fn old_tuple(table: &OwnedRelation, old: &Old) -> String {
    match old {
        Old::Key(row) => format!("K{}", tuple(table, row)),
        Old::Full(row) => format!("O{}", tuple(table, row)),
    }
}

fn tuple(table: &OwnedRelation, row: &Row) -> String {
    let columns = table.columns.iter().zip(row);
    let values: Vec<_> = columns.map(|(column, v)| value(column.type_oid.0, v)).collect();
    format!("({})", values.join(","))
}

/// A value in short: numbers bare, a long text by its length and its first letter.
fn value(type_oid: u32, value: &Value) -> String {
    let (bytes, binary) = match value {
        Value::Null => return "null".to_owned(),
        Value::Unchanged => return "unchanged".to_owned(),
        Value::Text(bytes) => (bytes, false),
        Value::Binary(bytes) => (bytes, true),
    };
    let text = || String::from_utf8(bytes.clone()).unwrap();
    match (type_oid, binary) {
        (20 | 23, false) => text(),
        (23, true) => i32::from_be_bytes(bytes.as_slice().try_into().unwrap()).to_string(),
        (20, true) => i64::from_be_bytes(bytes.as_slice().try_into().unwrap()).to_string(),
        _ if bytes.len() > 100 => format!("{}*{}", bytes.len(), char::from(bytes[0])),
        _ => format!("'{}'", text()),
    }
}
