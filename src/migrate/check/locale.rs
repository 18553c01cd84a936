//! How the databases sort text, and whether their libraries have changed since they were made.
//!
//! Keys are compared by a server only, each in its own order, so that no row is lost where the two
//! differ. Whether a key's index is in the order that its server has now is `order`'s.

use super::finding::{At, Findings, Side};
use crate::{
    conn::{Connection, Error, Row},
    migrate::{Failure, servers::Servers},
    pg::Ident,
    wire::ServerError,
};

/// As JSON, a column that this release does not have is NULL.
const DATABASE: &str = "
SELECT datname::text AS name, datcollate::text AS collate, datctype::text AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       to_jsonb(d) ->> 'datcollversion' AS made_with, $actual AS has_now
  FROM pg_database d WHERE datname = current_database()";

/// A statement with what tells the version of the database's own collation.
///
/// 14 does not tell it. There the same library's other collations do: libc has one version.
///
/// Errors: the server has not told its release.
pub(super) fn by_release(connection: &Connection, sql: &str) -> Result<String, Error> {
    let actual = match connection.server_version()?.major() {
        ..15 => {
            "CASE WHEN d.datcollate !~ '^(C|POSIX)(\\.|$)'
                  THEN (SELECT pg_collation_actual_version(l.oid) FROM pg_collation l
                         WHERE l.collprovider = 'c' AND l.collcollate !~ '^(C|POSIX)(\\.|$)'
                         ORDER BY l.oid LIMIT 1) END"
        }
        _ => "pg_database_collation_actual_version(d.oid)",
    };
    Ok(sql.replace("$actual", actual))
}

/// A database's collation.
#[derive(Debug, PartialEq, Eq)]
struct Collation {
    database: String,
    /// Provider and locale, for people.
    what: String,
    made_with: Option<String>,
    has_now: Option<String>,
}

/// Looks at both databases.
pub(super) async fn look(servers: &mut Servers, findings: &mut Findings) -> Result<(), Failure> {
    let source = collation(&mut servers.source).await?;
    let target = collation(&mut servers.target).await?;
    let (source, target) = match (source, target) {
        (Ok(source), Ok(target)) => (source, target),
        (Err(no), _) | (_, Err(no)) => {
            let message = format!("how the databases sort text can't be compared: {no}");
            findings.ok(At::both("collation"), message);
            return Ok(());
        }
    };
    for (side, collation) in [(Side::Source, &source), (Side::Target, &target)] {
        if collation.made_with.is_some() && collation.made_with != collation.has_now {
            let name = Ident::new(&collation.database);
            findings.warn(
                At::new(side, "collation"),
                format!(
                    "the {} database was made with version {} of its collation, and the system \
                     has {} now: indexes on text may be out of order",
                    side.as_str(),
                    collation.made_with.as_deref().unwrap_or_default(),
                    collation.has_now.as_deref().unwrap_or("none")
                ),
                format!("REINDEX DATABASE {name}; ALTER DATABASE {name} REFRESH COLLATION VERSION"),
            );
        }
    }
    compare(&source, &target, findings);
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
    // Not all libraries tell.
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

/// A database's collation, or the server's answer that it does not tell.
async fn collation(
    connection: &mut Connection,
) -> Result<Result<Collation, Box<ServerError>>, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at a database's collation", &error);
    let sql = by_release(connection, DATABASE).map_err(failed)?;
    match Error::if_answered(connection.query(&sql).await).map_err(failed)? {
        Ok(result) => result.row().and_then(of).map(Ok).map_err(failed),
        Err(no) => Ok(Err(no)),
    }
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
