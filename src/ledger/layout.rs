//! What the ledger's tables are made of: the one description from which they are made, and against
//! which they are looked at before anything is read ([`super::integrity`]).

use std::fmt::Write as _;

use super::name::LedgerSchema;

/// The layout that this build reads and writes.
pub(super) const LEDGER_VERSION: i32 = 2;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    /// The first columns are its key: so many.
    key: usize,
    /// The table that its first columns refer to, whose key they are. A line goes with the one
    /// that it refers to.
    parent: Option<&'static str>,
    /// Whether every batch updates its rows: they are kept in pages with room, so that each update
    /// is a HOT one and touches no index.
    is_updated: bool,
    /// Made with the first migration, or when there is something to be kept in it.
    pub(super) is_first: bool,
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// As `format_type` shows it, and what else it has.
    pub(super) definition: &'static str,
}

const fn column(name: &'static str, definition: &'static str) -> Column {
    Column { name, definition }
}

/// All of them, each after what it refers to.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "migration",
        key: 1,
        parent: None,
        is_updated: true,
        is_first: true,
        columns: &[
            column("name", "text NOT NULL"),
            column("ledger_version", "integer NOT NULL"),
            column("phase", "text NOT NULL"),
            column("source_system_id", "text NOT NULL"),
            column("source_timeline", "integer NOT NULL"),
            column("source_database", "text NOT NULL"),
            column("slot", "text NOT NULL"),
            column("publication", "text NOT NULL"),
            column("publication_made", "boolean NOT NULL"),
            column("publication_shape", "text"),
            column("slot_start_lsn", "pg_lsn"),
            column("checkpoint_lsn", "pg_lsn"),
            column("applied_lsn", "pg_lsn"),
            column("skipped", "bigint DEFAULT 0 NOT NULL"),
            column("longest_snapshot_seconds", "double precision DEFAULT 0 NOT NULL"),
            column("backfill_seconds", "double precision DEFAULT 0 NOT NULL"),
            column("catch_up_seconds", "double precision DEFAULT 0 NOT NULL"),
            column("created_at", "timestamp with time zone DEFAULT now() NOT NULL"),
        ],
    },
    Table {
        name: "migration_table",
        key: 2,
        parent: Some("migration"),
        is_updated: true,
        is_first: true,
        columns: &[
            column("migration", "text NOT NULL"),
            column("ordinal", "integer NOT NULL"),
            column("source_schema", "text NOT NULL"),
            column("source_name", "text NOT NULL"),
            column("source_oid", "oid NOT NULL"),
            column("target_schema", "text NOT NULL"),
            column("target_name", "text NOT NULL"),
            column("target_oid", "oid"),
            column("target_made", "boolean DEFAULT false NOT NULL"),
            column("key_columns", "text[] NOT NULL"),
            column("key_order", "text NOT NULL"),
            column("columns", "text[] NOT NULL"),
            column("target_columns", "smallint[]"),
            column("shape", "text NOT NULL"),
            column("backfilled", "boolean DEFAULT false NOT NULL"),
            column("inserted", "bigint DEFAULT 0 NOT NULL"),
            column("updated", "bigint DEFAULT 0 NOT NULL"),
            column("deleted", "bigint DEFAULT 0 NOT NULL"),
            column("truncated", "bigint DEFAULT 0 NOT NULL"),
        ],
    },
    Table {
        name: "page",
        key: 3,
        parent: Some("migration_table"),
        is_updated: false,
        is_first: true,
        columns: &[
            column("migration", "text NOT NULL"),
            column("ordinal", "integer NOT NULL"),
            column("number", "bigint NOT NULL"),
            column("lower_bound", "text[]"),
            column("upper_bound", "text[]"),
            column("row_count", "bigint NOT NULL"),
            column("byte_count", "bigint NOT NULL"),
            column("snapshot", "text NOT NULL"),
            column("lsn", "pg_lsn NOT NULL"),
        ],
    },
    Table {
        name: "object",
        key: 3,
        parent: Some("migration_table"),
        is_updated: false,
        is_first: true,
        columns: &[
            column("migration", "text NOT NULL"),
            column("ordinal", "integer NOT NULL"),
            column("position", "integer NOT NULL"),
            column("kind", "text NOT NULL"),
            column("name", "text NOT NULL"),
            column("statements", "text[] NOT NULL"),
            column("done", "boolean DEFAULT false NOT NULL"),
            column("skipped", "text"),
        ],
    },
    Table {
        name: "handoff",
        key: 1,
        parent: Some("migration"),
        is_updated: false,
        is_first: false,
        columns: &[
            column("migration", "text NOT NULL"),
            column("subscription", "text NOT NULL"),
            column("subscription_oid", "oid"),
            column("position_lsn", "pg_lsn NOT NULL"),
            column("step", "text NOT NULL"),
        ],
    },
    Table {
        name: "failure",
        key: 1,
        parent: Some("migration"),
        is_updated: false,
        is_first: false,
        columns: &[
            column("migration", "text NOT NULL"),
            column("message", "text NOT NULL"),
            column("hint", "text NOT NULL"),
            column("failed_at", "timestamp with time zone NOT NULL"),
        ],
    },
];

/// The table of that name.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

impl Table {
    fn key_columns(&self) -> String {
        let names: Vec<_> = self.columns.iter().take(self.key).map(|c| c.name).collect();
        names.join(", ")
    }

    fn parent(&self) -> Option<&'static Self> {
        self.parent.and_then(table)
    }

    /// The columns that refer to the parent, and the parent with its key.
    fn reference(&self) -> Option<(String, &'static Self, String)> {
        let parent = self.parent()?;
        let names: Vec<_> = self.columns.iter().take(parent.key).map(|c| c.name).collect();
        Some((names.join(", "), parent, parent.key_columns()))
    }

    /// Its constraints, as [`super::integrity`] spells them.
    pub(super) fn constraints(&self) -> Vec<String> {
        let mut all = vec![format!("p({})", self.key_columns())];
        if let Some((columns, parent, key)) = self.reference() {
            // ON DELETE CASCADE, ON UPDATE NO ACTION.
            all.push(format!("f({columns}) -> {}({key}) ca", parent.name));
        }
        all
    }

    /// The statement that makes it.
    pub(super) fn create(&self, ledger: &LedgerSchema) -> String {
        let mut sql = format!("CREATE TABLE {ledger}.{} (", self.name);
        for column in self.columns {
            // Writing to a String cannot fail.
            let _ = write!(sql, "{} {}, ", column.name, column.definition);
        }
        let _ = write!(sql, "PRIMARY KEY ({})", self.key_columns());
        if let Some((columns, parent, key)) = self.reference() {
            let parent = parent.name;
            let _ = write!(
                sql,
                ", FOREIGN KEY ({columns}) REFERENCES {ledger}.{parent} ({key}) ON DELETE CASCADE"
            );
        }
        let room = if self.is_updated { " WITH (fillfactor = 10)" } else { "" };
        format!("{sql}){room};")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_with_its_key_and_what_it_refers_to() {
        let page = table("handoff").unwrap();
        assert_eq!(
            page.create(&LedgerSchema::new("l")),
            "CREATE TABLE \"l\".handoff (migration text NOT NULL, subscription text NOT NULL, \
             subscription_oid oid, position_lsn pg_lsn NOT NULL, step text NOT NULL, \
             PRIMARY KEY (migration), FOREIGN KEY (migration) REFERENCES \"l\".migration (name) \
             ON DELETE CASCADE);"
        );
        assert_eq!(page.constraints(), ["p(migration)", "f(migration) -> migration(name) ca"]);
        let first = TABLES.first().unwrap();
        assert!(first.create(&LedgerSchema::default()).ends_with("WITH (fillfactor = 10);"));
    }

    #[test]
    fn each_table_comes_after_what_it_refers_to() {
        for (at, table) in TABLES.iter().enumerate() {
            let before = TABLES.iter().take(at);
            let refers = table.parent.is_none_or(|parent| before.clone().any(|t| t.name == parent));
            assert!(refers, "{}", table.name);
        }
    }
}
