//! What rows rest on where they are written: the table, the columns that they go to, and that
//! nothing fires on them.
//!
//! Its owner may make a trigger that always fires, or give columns each other's names, at any time.
//! Both need a lock that whoever writes rows keeps out, so what is asked once that lock is held
//! stays so to the end of the transaction. Of the partitions of a table with many only their being
//! asked is certain: each would take a lock of a server that may have room for few.

use super::{FIRES, Foundation, OTHERS, filled, found, hash, is_of, looking};
use crate::{
    catalog::Table,
    conn::{Connection, Error, PATH_AGAIN, QueryResult},
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

/// As for the source, of the columns `$columns` alone. `$fires`: the values of `tgenabled` and
/// `ev_enabled` with which a trigger or rule fires in this session.
///
/// Where one of the `$count` is missing they are taken for what was `$expected`: the statement that
/// names it says that best.
const TEXT: &str = "
SELECT concat_ws(chr(10),
       format('table %s %s %s', c.oid, c.relkind, c.relpersistence),
       (SELECT CASE WHEN count(*) < $count THEN $expected
                    ELSE string_agg(format('column %s %s %s %s %s', a.attnum, a.atttypid,
                                           a.atttypmod,
                                           CASE WHEN a.attgenerated <> '' THEN 'generated'
                                                ELSE '-' END,
                                           to_json(a.attname::text)),
                                    chr(10) ORDER BY a.attnum) END
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attname = ANY (ARRAY[$columns]::text[])
           AND NOT a.attisdropped),
       (WITH RECURSIVE tree (oid) AS (
              SELECT c.oid
               UNION
              SELECT h.inhrelid FROM tree JOIN pg_catalog.pg_inherits h ON h.inhparent = tree.oid)
        SELECT string_agg(fires.line, chr(10) ORDER BY fires.line)
          FROM tree
         CROSS JOIN LATERAL (
               SELECT format('fires %s %s %s', t.oid, t.tgenabled, t.tgfoid)
                 FROM pg_catalog.pg_trigger t
                WHERE t.tgrelid = tree.oid AND NOT t.tgisinternal AND t.tgenabled IN ($fires)
                UNION ALL
               SELECT format('fires %s %s rule', r.oid, r.ev_enabled)
                 FROM pg_catalog.pg_rewrite r
                WHERE r.ev_class = tree.oid AND r.ev_enabled IN ($fires)) fires (line)))
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $schema AND c.relname = $table";

/// From how many partitions on they are not locked.
const LOCKED_MAX: usize = 64;

/// A table that is to be written to.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// As it was loaded.
    pub table: &'a Table,
    /// The columns that are written.
    pub columns: &'a [Ident],
    /// Whether what is written fires only what is enabled for it (`session_replication_role`).
    pub is_replica: bool,
    /// Whether nothing may fire on its rows.
    pub is_quiet: bool,
}

impl Foundation {
    /// Takes down what the rows of these tables rest on; in one round trip.
    ///
    /// Errors: the connection's; or `Error::Settings` where one of them is not as it was when it
    /// was loaded.
    pub async fn of_targets(
        connection: &mut Connection,
        tables: &[Written<'_>],
    ) -> Result<Vec<Self>, Error> {
        for written in tables {
            connection.queue_query(&format!("{PATH_AGAIN}; {}", looking(&query(written, None))));
        }
        let mut looked = Vec::new();
        for _ in tables {
            looked.push(connection.result().await);
        }
        let of = |(written, result): (&Written<'_>, Result<QueryResult, Error>)| {
            Self::of_target(written, found(&result?)?)
        };
        tables.iter().zip(looked).map(of).collect()
    }

    fn of_target(written: &Written<'_>, (text, hashed): (String, String)) -> Result<Self, Error> {
        let table = format!("the target {}", written.table.name.plain());
        let columns: Vec<_> = (written.table.columns.iter())
            .filter(|column| written.columns.contains(&column.name))
            .cloned()
            .collect();
        let loaded = Table { columns, ..written.table.clone() };
        let altered = |what| Err(Error::Settings(format!("{table} was altered: {what}")));
        let lines_of = |of: &'static str| text.lines().filter(move |line| line.starts_with(of));
        if written.is_quiet && lines_of("fires ").next().is_some() {
            return altered(FIRES);
        }
        let columns: Vec<_> = lines_of("column ").collect();
        // Where a column or the table is missing, the statements that name it will say so.
        if columns.len() == written.columns.len() && !is_of(&text, &loaded) {
            return altered(OTHERS);
        }
        let query = query(written, Some(&columns.join("\n")));
        let holds = format!("{} = {}", hash(&query), quote_literal(&hashed));
        Ok(Self { text, holds, query, table, side: "target" })
    }
}

/// The statement after which what is asked of a target stays so; it has so many partitions.
#[must_use]
pub fn lock_target(name: &QualifiedName, partitions: usize) -> String {
    let only = if partitions > LOCKED_MAX { "ONLY " } else { "" };
    format!("LOCK TABLE {only}{name} IN ROW EXCLUSIVE MODE")
}

fn list(names: &[Ident]) -> String {
    names.iter().map(|name| quote_literal(name.as_str())).collect::<Vec<_>>().join(", ")
}

fn query(written: &Written<'_>, expected: Option<&str>) -> String {
    let name = &written.table.name;
    filled(
        TEXT,
        &[
            ("$columns", list(written.columns)),
            ("$count", expected.map_or(0, |_| written.columns.len()).to_string()),
            ("$expected", quote_literal(expected.unwrap_or_default())),
            ("$fires", if written.is_replica { "'A', 'R'" } else { "'O', 'A'" }.to_owned()),
            ("$schema", quote_literal(name.schema.as_str())),
            ("$table", quote_literal(name.name.as_str())),
        ],
    )
}
