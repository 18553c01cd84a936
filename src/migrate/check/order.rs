//! Whether a key's index is in the order that the server compares in now, where pages are read.
//!
//! An index on text keeps the order of the library that it was built by. Another version of it may
//! order some strings otherwise: after an upgrade of the system, or on a standby whose system is
//! another one than the source's. Pages that walk such a key pass over rows without a word. What
//! was recorded is the version of the day; whether an order has really changed nobody can tell.
//!
//! Not here: how the source's and the target's orders compare, which costs no row; see `locale`.

use super::{
    finding::{At, Findings, Side},
    locale::by_release,
};
use crate::{
    catalog::{Key, Table},
    config::Config,
    conn::{Connection, Error, Row, SessionKind},
    migrate::{Failure, plan::PlannedTable, servers::Servers, verdict::START_AGAIN},
    pg::Ident,
};

/// The collations of a table's columns, with the versions of what orders by them. As JSON, a column
/// that this release does not have is NULL.
const COLLATED: &str = "
SELECT a.attname AS column,
       CASE WHEN collprovider <> 'd'
            THEN quote_ident(n.nspname) || '.' || quote_ident(c.collname) END AS name,
       datname::text AS database,
       CASE WHEN collprovider = 'd' THEN to_jsonb(d) ->> 'datcollversion'
            ELSE c.collversion END AS made_with,
       CASE WHEN collprovider = 'd' THEN $actual
            ELSE pg_collation_actual_version(c.oid) END AS has_now
  FROM pg_attribute a
  JOIN pg_collation c ON c.oid = a.attcollation
  JOIN pg_namespace n ON n.oid = c.collnamespace
  JOIN pg_database d ON d.datname = current_database()
 WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum";

/// A column's collation on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Collated {
    column: Ident,
    /// `None`: the database's.
    name: Option<String>,
    database: Ident,
    made_with: Option<String>,
    has_now: Option<String>,
}

impl Collated {
    fn what(&self) -> String {
        match &self.name {
            Some(name) => format!("the collation {name}"),
            None => format!("the collation of the database {}", self.database),
        }
    }

    /// Some have no version: C, and whatever the library does not tell of.
    fn is_out_of_order(&self) -> bool {
        self.made_with.is_some() && self.made_with != self.has_now
    }

    fn versions(&self) -> String {
        format!(
            "was made with version {}, and the system has {} now",
            self.made_with.as_deref().unwrap_or("none"),
            self.has_now.as_deref().unwrap_or("none")
        )
    }

    /// What puts it right, on the source.
    fn mend(&self, table: &Table) -> String {
        let database = &self.database;
        match &self.name {
            Some(name) => {
                format!("REINDEX TABLE {}; ALTER COLLATION {name} REFRESH VERSION", table.name)
            }
            None => format!(
                "REINDEX DATABASE {database}; ALTER DATABASE {database} REFRESH COLLATION VERSION"
            ),
        }
    }
}

/// Looks at the tables' columns on the source, and at their keys on the standby.
pub(super) async fn look(
    servers: &mut Servers,
    copy_from: Option<&Config>,
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut standby = match copy_from.filter(|_| !findings.is_refused(Side::Standby)) {
        Some(config) => findings.take(At::new(Side::Standby, "connection"), open(config).await)?,
        None => None,
    };
    for PlannedTable { source: table, key, .. } in tables {
        let found = load(&mut servers.source, table, key).await.map_err(at_source)?;
        for failure in of_source(table, key, &found) {
            findings.refuse(At::source("collation").of(&table.name), failure);
        }
        let mut warned = Vec::new();
        for other in found.iter().filter(|c| c.is_out_of_order() && !is_of_key(key, c)) {
            // The database's own is warned of once for all.
            if let Some(name) = &other.name
                && !warned.contains(&name)
            {
                warned.push(name);
                let message = format!(
                    "{} {}: an index by it may be out of order",
                    other.what(),
                    other.versions()
                );
                findings.warn(At::source("collation").of(&table.name), message, other.mend(table));
            }
        }
        if let Some(standby) = &mut standby {
            let theirs = load(standby, table, key).await.map_err(at_standby)?;
            for failure in of_standby(table, key, &found, &theirs) {
                findings.refuse(At::new(Side::Standby, "collation").of(&table.name), failure);
            }
        }
    }
    if let Some(standby) = standby {
        standby.close().await;
    }
    Ok(())
}

/// The same of the keys of tables that were begun: pages that are there were cut by the order that
/// was, and those to come would be cut by another one.
pub(in crate::migrate) async fn is_kept(
    source: &mut Connection,
    copy_from: Option<&Config>,
    tables: impl Iterator<Item = &PlannedTable>,
) -> Result<(), Failure> {
    let mut standby = match copy_from {
        Some(config) => Some(open(config).await?),
        None => None,
    };
    for PlannedTable { source: table, key, .. } in tables {
        let found = load(source, table, key).await.map_err(at_source)?;
        if let Some(failure) = of_source(table, key, &found).pop() {
            let hint = format!("{}; then {START_AGAIN}", failure.hint);
            return Err(Failure::cannot_resume(failure.message, hint));
        }
        if let Some(standby) = &mut standby {
            let theirs = load(standby, table, key).await.map_err(at_standby)?;
            if let Some(failure) = of_standby(table, key, &found, &theirs).pop() {
                return Err(failure);
            }
        }
    }
    if let Some(standby) = standby {
        standby.close().await;
    }
    Ok(())
}

fn is_of_key(key: &Key, collated: &Collated) -> bool {
    key.columns.iter().any(|column| column.name == collated.column)
}

fn of_source(table: &Table, key: &Key, found: &[Collated]) -> Vec<Failure> {
    let wrong = found.iter().filter(|c| is_of_key(key, c) && c.is_out_of_order());
    let refused = |c: &Collated| {
        Failure::refused(
            format!(
                "{}, of the key column {} of {}, {}: its index may be out of order, and pages that \
                 walk it would pass over rows",
                c.what(),
                c.column,
                table.name.plain(),
                c.versions()
            ),
            c.mend(table),
        )
    };
    wrong.map(refused).collect()
}

/// A standby has the source's indexes, and its own library: what counts is whether that is the one
/// they were built by.
fn of_standby(table: &Table, key: &Key, ours: &[Collated], theirs: &[Collated]) -> Vec<Failure> {
    let of_ours = |c: &Collated| ours.iter().find(|other| other.column == c.column);
    let wrong = theirs.iter().filter(|c| is_of_key(key, c)).filter_map(|c| {
        let ours = of_ours(c).and_then(|ours| ours.has_now.as_ref());
        let differs = matches!((ours, &c.has_now), (Some(ours), Some(theirs)) if ours != theirs);
        let versions = match (c.is_out_of_order(), ours, &c.has_now) {
            (true, ..) => c.versions(),
            (false, Some(ours), Some(theirs)) if differs => {
                format!("has version {ours} on the source, and {theirs} on the standby")
            }
            _ => return None,
        };
        Some((c, versions))
    });
    let refused = |(c, versions): (&Collated, String)| {
        Failure::refused(
            format!(
                "the standby (--copy-from) may order the key column {} of {} otherwise than its \
                 index: {} {versions}; pages that walk it would pass over rows",
                c.column,
                table.name.plain(),
                c.what()
            ),
            "leave --copy-from out, or name a standby whose system has the same version of the \
             library as the source's",
        )
    };
    wrong.map(refused).collect()
}

async fn open(config: &Config) -> Result<Connection, Failure> {
    Connection::connect(config, SessionKind::Source).await.map_err(at_standby)
}

/// Errors: the connection's; or the server does not tell the versions, and a column of the key has
/// one that pages rest on.
async fn load(
    connection: &mut Connection,
    table: &Table,
    key: &Key,
) -> Result<Vec<Collated>, Error> {
    let sql = by_release(connection, COLLATED)?;
    let oid = table.oid.to_string();
    let answer = connection.query_with(&sql, &[Some(&oid)]).await;
    let no = match Error::if_answered(answer)? {
        Ok(found) => return found.rows().iter().map(collated).collect(),
        Err(no) => no,
    };
    let in_key = "SELECT attname AS column FROM pg_attribute WHERE attrelid = $1::oid
                     AND attnum > 0 AND NOT attisdropped AND attcollation <> 0";
    let found = connection.query_with(in_key, &[Some(&oid)]).await?;
    for row in found.rows() {
        let name = Ident::new(row.get::<String>("column")?);
        if key.columns.iter().any(|column| column.name == name) {
            return Err(Error::Server(no));
        }
    }
    Ok(Vec::new())
}

fn collated(row: &Row) -> Result<Collated, Error> {
    Ok(Collated {
        column: Ident::new(row.get::<String>("column")?),
        name: row.get("name")?,
        database: Ident::new(row.get::<String>("database")?),
        made_with: row.get("made_with")?,
        has_now: row.get("has_now")?,
    })
}

fn at_source(error: Error) -> Failure {
    Failure::refused_by("looking at the source's collations", &error)
}

fn at_standby(error: Error) -> Failure {
    Failure::refused_by("looking at the collations of the standby (--copy-from)", &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::KeyColumn;

    fn collated(column: &str, name: Option<&str>, versions: [Option<&str>; 2]) -> Collated {
        let [made_with, has_now] = versions.map(|version| version.map(str::to_owned));
        let (column, database) = (Ident::new(column), Ident::new("d"));
        Collated { column, name: name.map(str::to_owned), database, made_with, has_now }
    }

    fn key() -> Key {
        Key { index: "pk".into(), columns: vec![KeyColumn::builtin("k", 25, "text")] }
    }

    #[test]
    fn only_a_key_that_is_out_of_order_is_refused() {
        let table = Table::sample("t");
        for (column, versions, refused) in [
            ("k", [Some("2.31"), Some("2.36")], true),
            ("k", [Some("2.31"), None], true),
            ("k", [Some("2.36"), Some("2.36")], false),
            // C has none; 14 records none of a database's.
            ("k", [None, None], false),
            ("k", [None, Some("2.36")], false),
            ("v", [Some("2.31"), Some("2.36")], false),
        ] {
            let found = [collated(column, None, versions)];
            assert_eq!(!of_source(&table, &key(), &found).is_empty(), refused, "{found:?}");
        }
        let own = of_source(&table, &key(), &[collated("k", Some("public.de"), [Some("1"), None])]);
        assert!(own[0].hint.contains("ALTER COLLATION public.de REFRESH VERSION"), "{own:?}");
        let of_all = of_source(&table, &key(), &[collated("k", None, [Some("1"), Some("2")])]);
        assert!(of_all[0].hint.contains("ALTER DATABASE \"d\" REFRESH"), "{of_all:?}");
    }

    #[test]
    fn a_standby_must_have_the_library_that_the_index_was_built_by() {
        let table = Table::sample("t");
        let of = |made_with, has_now| [collated("k", None, [made_with, has_now])];
        let (old, new) = (Some("2.31"), Some("2.36"));
        for (ours, theirs, refused) in [
            (of(old, old), of(old, old), false),
            (of(old, old), of(old, new), true),
            // What was recorded by 14, which is nothing, says nothing; the libraries do.
            (of(None, old), of(None, new), true),
            (of(None, old), of(None, old), false),
            (of(None, None), of(None, new), false),
            (of(None, None), of(None, None), false),
        ] {
            let found = of_standby(&table, &key(), &ours, &theirs);
            assert_eq!(!found.is_empty(), refused, "{ours:?} {theirs:?}");
        }
        let other = [collated("v", None, [old, new])];
        assert!(of_standby(&table, &key(), &other, &other).is_empty());
    }
}
