//! What the server itself says: the rows of its tables, as text and as their types send them, and
//! what the tables are.

use pghost::{
    conn::{Connection, Row, SessionKind},
    pg::{Ident, PgTimestamp, QualifiedName},
    pgoutput::{OwnedColumn, OwnedRelation},
    wire::{CopyBinaryReader, Frames, Reader},
};

use super::{
    replica::{Named, Table},
    resolve::{Transaction, Value},
};
use crate::support::Database;

pub(super) struct Oracle {
    connection: Connection,
}

impl Oracle {
    /// With the settings of pghost's sessions, which the walsender has too.
    pub(super) async fn of(database: &Database) -> Self {
        let connection = Connection::connect(&database.config(), SessionKind::Sql).await.unwrap();
        Self { connection }
    }

    /// Panics unless a table is, and holds, what a stream said of it.
    pub(super) async fn check(&mut self, table: &Table, binary: bool) {
        let relation = &*table.relation;
        assert_eq!(description(relation), self.description(relation).await, "{relation:?}");
        let names: Vec<_> = relation.columns.iter().map(|column| column.name.clone()).collect();
        let row = |row: &Named| -> Vec<Value> {
            // A column that was added after the row is null in it.
            names.iter().map(|name| row.get(name).cloned().unwrap_or(Value::Null)).collect()
        };
        let mut ours: Vec<_> = table.rows.iter().map(row).collect();
        let mut theirs = self.rows(relation, binary).await;
        ours.sort();
        theirs.sort();
        if relation.name == "filtered" {
            hide_what_was_not_sent(&ours, &mut theirs);
            theirs.sort();
        }
        assert_eq!(ours.len(), theirs.len(), "{}", relation.name);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{}", relation.name);
        }
    }

    /// The names and kinds of a table's columns, as [`description`] writes them.
    async fn description(&mut self, relation: &OwnedRelation) -> String {
        let result = self
            .connection
            .query(&format!(
                "SELECT n.nspname, c.relname, c.relreplident, a.attname, a.atttypid, a.atttypmod,
                        c.relreplident = 'f' OR coalesce(a.attnum = ANY (i.indkey), false) AS key
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                   LEFT JOIN pg_index i
                     ON i.indexrelid = pg_get_replica_identity_index(c.oid::regclass)
                  WHERE c.oid = {} ORDER BY attnum",
                relation.oid
            ))
            .await
            .unwrap();
        let line = |row: &Row| {
            let values = row.values().iter().map(|v| {
                let bytes = v.as_deref().unwrap_or_default();
                String::from_utf8(bytes.to_vec()).unwrap()
            });
            values.collect::<Vec<_>>().join(" ")
        };
        let published = |row: &&Row| {
            let name: String = row.get("attname").unwrap();
            relation.columns.iter().any(|column| column.name == name)
        };
        result.rows().iter().filter(published).map(line).collect::<Vec<_>>().join("\n")
    }

    /// A table's published rows: in binary what has a send function, the rest as text.
    async fn rows(&mut self, relation: &OwnedRelation, binary: bool) -> Vec<Vec<Value>> {
        let mut list = Vec::new();
        let mut sent = Vec::new();
        for column in &relation.columns {
            let sends =
                format!("SELECT typsend <> 0 AS s FROM pg_type WHERE oid = {}", column.type_oid);
            let sends = binary
                && self.connection.query(&sends).await.unwrap().row().unwrap().get("s").unwrap();
            sent.push(sends);
            let name = Ident::new(&column.name);
            list.push(format!("{name}{}", if sends { "" } else { "::text" }));
        }
        let table = QualifiedName::new(&relation.namespace, &relation.name);
        let filter = if relation.name == "filtered" { "WHERE id > 10" } else { "" };
        let select = format!("SELECT {} FROM {table} {filter}", list.join(", "));
        // Text is what the output function prints, which a cast need not be.
        if !binary {
            let select = select.replace("::text", "");
            let result = self.connection.query(&select).await.unwrap();
            let value = |v: &Option<bytes::Bytes>| {
                v.as_ref().map_or(Value::Null, |v| Value::Text(v.to_vec()))
            };
            return result
                .rows()
                .iter()
                .map(|row| row.values().iter().map(value).collect())
                .collect();
        }
        let rows = self.copy(&format!("COPY ({select}) TO STDOUT (FORMAT binary)")).await;
        let value = |(bytes, sent): (Option<Vec<u8>>, &bool)| match bytes {
            None => Value::Null,
            Some(bytes) if *sent => Value::Binary(bytes),
            Some(bytes) => Value::Text(bytes),
        };
        rows.into_iter().map(|row| row.into_iter().zip(&sent).map(value).collect()).collect()
    }

    /// Panics unless transactions have committed when the server says.
    ///
    /// One that was replayed from elsewhere has the time that its session gave. If it gave none,
    /// that is 2000 for the session's first commit, and else the time of its last commit before
    /// (`replorigin_session_origin_timestamp` in `RecordTransactionCommit`).
    pub(super) async fn check_times(&mut self, transactions: &[Transaction]) {
        for (i, transaction) in transactions.iter().enumerate() {
            let Transaction { xid, time, origin, .. } = transaction;
            if origin.is_some() {
                let given =
                    [PgTimestamp(34_488_306_000_000), PgTimestamp(0), transactions[i - 1].time];
                assert!(given.contains(time), "{time:?}");
                continue;
            }
            let sql = format!(
                "SELECT (extract(epoch FROM pg_xact_commit_timestamp('{xid}'::xid)
                     - '2000-01-01'::timestamptz) * 1000000)::bigint AS time"
            );
            let result = self.connection.query(&sql).await.unwrap();
            assert_eq!(result.row().unwrap().get::<i64>("time").unwrap(), time.0, "{xid}");
        }
    }

    async fn copy(&mut self, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        self.connection.queue_query(sql);
        let mut copy = self.connection.copy_out().await.unwrap();
        let mut reader = CopyBinaryReader::new();
        let mut rows = Vec::new();
        while let Some(frames) = copy.next().await.unwrap() {
            for frame in Frames::new(&frames) {
                let mut r = Reader::new(frame.body);
                while let Some(row) = reader.row(&mut r).unwrap() {
                    rows.push(row.fields().map(|f| f.map(<[u8]>::to_vec)).collect());
                }
            }
        }
        reader.finish().unwrap();
        copy.finish().await.unwrap();
        rows
    }
}

/// What a stream said of a table's columns.
fn description(relation: &OwnedRelation) -> String {
    let OwnedRelation { namespace, name, replica_identity, .. } = relation;
    let identity = char::from(replica_identity.letter());
    let line = |column: &OwnedColumn| {
        let key = if column.part_of_key { "t" } else { "f" };
        let (oid, modifier) = (column.type_oid, column.type_modifier);
        format!("{namespace} {name} {identity} {} {oid} {modifier} {key}", column.name)
    };
    relation.columns.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A row that came into sight of a filter by an update has values that were never sent.
fn hide_what_was_not_sent(ours: &[Vec<Value>], theirs: &mut [Vec<Value>]) {
    let mut hidden = 0;
    for row in ours {
        let unknown = row.iter().position(|value| *value == Value::Unchanged);
        if let (Some(at), Some(same)) =
            (unknown, theirs.iter_mut().find(|other| other[0] == row[0]))
        {
            same[at] = Value::Unchanged;
            hidden += 1;
        }
    }
    assert!(hidden > 0);
}
