//! What the ledger's tables are made of: the one description from which they are made, against
//! which they are looked at before anything is read ([`super::integrity`]), and from which a ledger
//! of an older layout is brought up to date ([`super::upgrade`]).
//!
//! What a layout adds says so (`since`) and stands behind all that was there before; nothing is
//! ever taken away or changed. So an older layout is what is left without the rest.

use std::fmt::Write as _;

use super::name::LedgerSchema;

/// The layout that this build writes.
pub(super) const LEDGER_VERSION: i32 = 3;

/// The oldest layout that it reads, and brings up to date before it goes on.
pub(super) const OLDEST_VERSION: i32 = 2;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    columns: &'static [Column],
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
    /// The layout that it came with.
    since: i32,
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// As `format_type` shows it, and what else it has.
    pub(super) definition: &'static str,
    /// The layout that it came with.
    since: i32,
}

const fn column(name: &'static str, definition: &'static str) -> Column {
    Column { name, definition, since: OLDEST_VERSION }
}

/// One that came later.
const fn since(since: i32, name: &'static str, definition: &'static str) -> Column {
    Column { name, definition, since }
}

/// All of them, each after what it refers to.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "migration",
        key: 1,
        parent: None,
        is_updated: true,
        is_first: true,
        since: OLDEST_VERSION,
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
            // What rows that were fetched before the last page demand of the checkpoint.
            since(3, "checkpoint_floor_lsn", "pg_lsn"),
            since(3, "most_wal_kept_bytes", "bigint"),
            since(3, "throttled_seconds", "double precision"),
        ],
    },
    Table {
        name: "migration_table",
        key: 2,
        parent: Some("migration"),
        is_updated: true,
        is_first: true,
        since: OLDEST_VERSION,
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
        since: OLDEST_VERSION,
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
            // Rows that a change had brought before the page.
            since(3, "already_there", "bigint"),
        ],
    },
    Table {
        name: "object",
        key: 3,
        parent: Some("migration_table"),
        is_updated: false,
        is_first: true,
        since: OLDEST_VERSION,
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
        since: OLDEST_VERSION,
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
        since: OLDEST_VERSION,
        columns: &[
            column("migration", "text NOT NULL"),
            column("message", "text NOT NULL"),
            column("hint", "text NOT NULL"),
            column("failed_at", "timestamp with time zone NOT NULL"),
        ],
    },
    Table {
        name: "wish",
        key: 2,
        parent: Some("migration"),
        is_updated: false,
        is_first: true,
        since: 3,
        columns: &[
            column("migration", "text NOT NULL"),
            column("wish", "text NOT NULL"),
            column("value", "text"),
            column("role", "text NOT NULL"),
            column("host", "text"),
            column("wished_at", "timestamp with time zone NOT NULL"),
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

    /// The layout that it came with.
    pub(super) const fn since(&self) -> i32 {
        self.since
    }

    /// Whether a layout has it.
    pub(super) const fn is_of(&self, layout: i32) -> bool {
        self.since <= layout
    }

    /// The columns that it has in a layout, in their order.
    pub(super) fn columns(&self, layout: i32) -> impl Iterator<Item = &'static Column> + Clone {
        self.columns.iter().filter(move |column| column.since <= layout)
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

/// What makes the newest layout of an older one, of which these tables are there.
pub(super) fn upgrade(
    from: i32,
    ledger: &LedgerSchema,
    is_there: impl Fn(&Table) -> bool,
) -> String {
    let mut sql = String::new();
    for table in TABLES {
        if !table.is_of(from) && table.is_first {
            sql += &table.create(ledger);
        }
        let is_new = |column: &&Column| column.since > from;
        for column in table.columns.iter().filter(is_new).filter(|_| is_there(table)) {
            let (table, name, definition) = (table.name, column.name, column.definition);
            // Writing to a String cannot fail.
            let _ = write!(sql, "ALTER TABLE {ledger}.{table} ADD COLUMN {name} {definition};");
        }
    }
    let _ = write!(sql, "UPDATE {ledger}.migration SET ledger_version = {LEDGER_VERSION}");
    sql
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
    fn an_older_layout_gets_what_it_lacks_and_no_more() {
        let sql = upgrade(2, &LedgerSchema::default(), |table| table.is_first && table.is_of(2));
        let statements: Vec<_> = sql.split(';').map(|s| s.split(" (").next().unwrap()).collect();
        assert_eq!(
            statements,
            [
                "ALTER TABLE pghost.migration ADD COLUMN checkpoint_floor_lsn pg_lsn",
                "ALTER TABLE pghost.migration ADD COLUMN most_wal_kept_bytes bigint",
                "ALTER TABLE pghost.migration ADD COLUMN throttled_seconds double precision",
                "ALTER TABLE pghost.page ADD COLUMN already_there bigint",
                "CREATE TABLE pghost.wish",
                "UPDATE pghost.migration SET ledger_version = 3",
            ]
        );
    }

    /// A column that is added stands last, and rows that are there have nothing to put into it.
    #[test]
    fn what_a_layout_adds_stands_last_and_may_be_null() {
        for table in TABLES {
            assert!(table.columns.is_sorted_by_key(|column| column.since), "{}", table.name);
            let added = table.columns.iter().filter(|column| column.since > OLDEST_VERSION);
            let mut definitions = added.map(|column| column.definition);
            assert!(definitions.all(|d| !d.contains("NOT NULL") || d.contains("DEFAULT")));
        }
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
