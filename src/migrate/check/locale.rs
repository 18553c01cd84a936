//! How both databases sort text, and whether an index on the source may be out of order.
//!
//! Keys are compared by a server only, each in its own order, so that no row is lost where the two
//! differ. Where the *source's* library has changed since its indexes were built, pages that walk
//! such an index may miss rows.

use super::finding::{At, Findings, Side};
use crate::{
    conn::{Connection, Error, Row},
    migrate::{Failure, plan::PlannedTable, servers::Servers},
    pg::Ident,
};

/// As JSON, a column that this release does not have is NULL.
const DATABASE: &str = "
SELECT datname::text AS name, datcollate::text AS collate, datctype::text AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'datcollversion' AS made_with, $actual AS has_now
  FROM pg_database d WHERE datname = current_database()";

const COLUMNS: &str = "
SELECT DISTINCT quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS name,
       c.collversion AS made_with, pg_collation_actual_version(c.oid) AS has_now
  FROM pg_attribute a
  JOIN pg_collation c ON c.oid = a.attcollation
  JOIN pg_namespace n ON n.oid = c.collnamespace
 WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND c.collversion IS NOT NULL
   AND c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid)";

/// A database's collation.
#[derive(Debug, PartialEq, Eq)]
struct Collation {
    database: String,
    /// Provider and locale, for people.
    what: String,
    made_with: Option<String>,
    has_now: Option<String>,
}

/// Looks at both databases and the tables' columns.
pub(super) async fn look(
    servers: &mut Servers,
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let source = collation(&mut servers.source).await?;
    let target = collation(&mut servers.target).await?;
    for (side, collation) in [(Side::Source, &source), (Side::Target, &target)] {
        if collation.made_with.is_some() && collation.made_with != collation.has_now {
            let name = Ident::new(&collation.database);
            let so = match side {
                Side::Source => ", and pages that walk one may miss rows",
                _ => "",
            };
            findings.warn(
                At::new(side, "collation"),
                format!(
                    "the {} database was made with version {} of its collation, and the system \
                     has {} now: indexes on text may be out of order{so}",
                    side.as_str(),
                    collation.made_with.as_deref().unwrap_or_default(),
                    collation.has_now.as_deref().unwrap_or("none")
                ),
                format!("REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION"),
            );
        }
    }
    compare(&source, &target, findings);
    let failed = |error: Error| Failure::refused_by("looking at the source's collations", &error);
    for table in tables {
        let oid = table.source.oid.to_string();
        let result = servers.source.query_with(COLUMNS, &[Some(&oid)]).await.map_err(failed)?;
        for row in result.rows() {
            let name: String = row.get("name").map_err(failed)?;
            findings.warn(
                At::source("collation").of(&table.source.name),
                format!(
                    "the collation {name} was made with version {}, and the system has {} now: an \
                     index by it may be out of order, and pages that walk it may miss rows",
                    row.get::<String>("made_with").map_err(failed)?,
                    row.get::<Option<String>>("has_now").map_err(failed)?.unwrap_or_default()
                ),
                format!(
                    "REINDEX TABLE {}; ALTER COLLATION {name} REFRESH VERSION",
                    table.source.name
                ),
            );
        }
    }
    Ok(())
}

fn compare(source: &Collation, target: &Collation, findings: &mut Findings) {
    let at = At::both("collation");
    if source.what != target.what {
        findings.warn(
            at,
            format!(
                "the databases sort text otherwise, by {} and by {}: rows are the same, but what \
                 depends on the order is not (ORDER BY, ranges and limits of text)",
                source.what, target.what
            ),
            "make the target database with the source's LOCALE_PROVIDER and LOCALE, if it matters",
        );
        return;
    }
    // 14 does not tell.
    match (&source.has_now, &target.has_now) {
        (Some(from), Some(to)) if from != to => findings.warn(
            at,
            format!(
                "both databases sort text by {}, in versions {from} and {to} of it",
                source.what
            ),
            "nothing is to be done, unless the order of rare letters matters",
        ),
        _ => findings.ok(at, format!("both databases sort text by {}", source.what)),
    }
}

async fn collation(connection: &mut Connection) -> Result<Collation, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at a database's collation", &error);
    // 14 knows no version of a database's collation.
    let has_versions = connection.server_version().map_err(failed)?.major() >= 15;
    let actual = match has_versions {
        true => "pg_database_collation_actual_version(d.oid)",
        false => "NULL::text",
    };
    let sql = DATABASE.replace("$actual", actual);
    let result = connection.query(&sql).await.map_err(failed)?;
    result.row().and_then(of).map_err(failed)
}

fn of(row: &Row) -> Result<Collation, Error> {
    let (collate, ctype): (String, String) = (row.get("collate")?, row.get("ctype")?);
    let provider: String = row.get("provider")?;
    let locale = row.get::<Option<String>>("locale")?.unwrap_or_default();
    let what = match provider.as_str() {
        "i" => format!("ICU's {locale}"),
        "b" => format!("Postgres' own {locale}"),
        _ if collate == ctype => format!("libc's {collate}"),
        _ => format!("libc's {collate} (letters of {ctype})"),
    };
    let (made_with, has_now) = (row.get("made_with")?, row.get("has_now")?);
    Ok(Collation { database: row.get("name")?, what, made_with, has_now })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::check::Severity;

    #[test]
    fn databases_are_compared_by_locale_then_by_version() {
        let of = |what: &str, version: Option<&str>| Collation {
            database: "d".into(),
            what: what.into(),
            made_with: None,
            has_now: version.map(str::to_owned),
        };
        let source = of("libc's de", Some("2.36"));
        for (target, severity, word) in [
            (of("libc's de", Some("2.36")), Severity::Ok, "both databases sort text by libc's de"),
            (of("libc's de", None), Severity::Ok, "both databases sort text by libc's de"),
            (of("ICU's de", None), Severity::Warning, "ICU's de"),
            (of("libc's de", Some("2.41")), Severity::Warning, "versions 2.36 and 2.41"),
        ] {
            let mut findings = Findings::for_check();
            compare(&source, &target, &mut findings);
            let list = findings.into_list();
            assert_eq!((list.len(), list[0].severity), (1, severity), "{list:?}");
            assert!(list[0].message.contains(word), "{list:?}");
        }
    }
}
