//! Who owns the tables that pghost makes: who was named, or who owns the source's table, where that
//! role is there and may be given it.
//!
//! They are given away last. Until then whoever gets one can't put anything into it that would run
//! with the rights of the role that makes it; and afterwards what runs, as autovacuum's ANALYZE,
//! has the rights of the owner that the source's table has.

use serde::Serialize;

use super::{
    Failure, MigrationSpec,
    check::{At, Findings, KnownOwners, trust_option},
    plan::PlannedTable,
};
use crate::{
    conn::{Connection, Error, Row},
    pg::{Ident, QualifiedName},
};

const ABOUT: &str = "owner";

/// Finds out to whom each table goes, by its place; what can't be done is told.
pub(super) async fn look(
    target: &mut Connection,
    spec: &MigrationSpec,
    (tables, known): (&[PlannedTable], &KnownOwners),
    findings: &mut Findings,
) -> Result<Vec<Option<Ident>>, Failure> {
    let places = tables.iter().map(|table| table.ordinal + 1).max().unwrap_or_default();
    if let Some(owner) = &spec.target_owner {
        let may = may_own(target, spec, (owner, tables), known).await;
        findings.take(At::target(ABOUT), may)?;
        return Ok(vec![Some(Ident::new(owner)); places]);
    }
    let mut owners = vec![None; places];
    let made: Vec<_> = tables
        .iter()
        .filter(|table| table.target.is_none())
        .filter_map(|table| Some((table, known.of_source(table.ordinal)?)))
        .collect();
    if made.is_empty() {
        return Ok(owners);
    }
    let candidates = candidates(target, &made).await;
    let candidates = candidates
        .map_err(|error| Failure::refused_by("looking at the owners on the target", &error))?;
    for candidate in candidates.iter().filter(|candidate| !candidate.is_us) {
        let of: Vec<_> = made.iter().filter(|(_, owner)| *owner == candidate.owner).collect();
        let names: Vec<_> = of.iter().map(|(table, _)| table.target_name.plain()).collect();
        let (owner, names) = (&candidate.owner, names.join(", "));
        match candidate.why_not(spec, known) {
            None => {
                for (table, _) in of {
                    owners[table.ordinal] = Some(Ident::new(owner));
                }
                let message =
                    format!("in the end {names} will belong to {owner}, as on the source");
                findings.ok(At::target(ABOUT), message);
            }
            Some((why, mend)) => findings.warn(
                At::target(ABOUT),
                format!(
                    "{names} will belong to the role of --target, and not to {owner}, as on the \
                     source: {why}"
                ),
                format!("{mend}; or name the owner with --target-owner"),
            ),
        }
    }
    Ok(owners)
}

/// The statement that gives a table away; the sequences of its columns go with it.
pub(super) fn give(table: &QualifiedName, owner: &Ident) -> String {
    format!("ALTER TABLE {table} OWNER TO {owner}")
}

/// A role that owns tables on the source, as the target knows it.
struct Candidate {
    owner: String,
    me: String,
    is_us: bool,
    is_there: bool,
    is_superuser: bool,
    /// Whether we may give it something, and go on writing to that.
    may_become: bool,
    /// Schemas in which it may own nothing.
    closed: Vec<String>,
}

impl Candidate {
    /// Why it can't have the tables, and what mends that.
    fn why_not(&self, spec: &MigrationSpec, known: &KnownOwners) -> Option<(String, String)> {
        let (owner, me) = (Ident::new(&self.owner), Ident::new(&self.me));
        if !self.is_there {
            let mend = format!("CREATE ROLE {owner}; GRANT {owner} TO {me} on the target");
            return Some(("the target has no such role".into(), mend));
        }
        if known.target_is_powerful && !self.is_superuser && !spec.trust.holds_for(&self.owner) {
            let why = "its code would run with all rights of the server when changes are applied";
            return Some((why.into(), trust_option(&self.owner)));
        }
        if !self.may_become {
            let why = format!("{} may not act as that role", self.me);
            return Some((why, format!("GRANT {owner} TO {me} on the target")));
        }
        if self.closed.is_empty() {
            return None;
        }
        let schemas: Vec<_> = self.closed.iter().map(|s| Ident::new(s).to_string()).collect();
        let schemas = schemas.join(", ");
        Some((
            format!("it may own nothing in the schema {schemas}"),
            format!("GRANT CREATE ON SCHEMA {schemas} TO {owner} on the target"),
        ))
    }
}

#[derive(Serialize)]
struct Wanted<'a> {
    owner: &'a str,
    schema: &'a str,
}

async fn candidates(
    target: &mut Connection,
    made: &[(&PlannedTable, &str)],
) -> Result<Vec<Candidate>, Error> {
    // From 16 on a member may be one that can't act as the role.
    let acts = if target.server_version()?.major() < 16 { "MEMBER" } else { "SET" };
    let wanted = made
        .iter()
        .map(|(table, owner)| Wanted { owner, schema: table.target_name.schema.as_str() });
    let wanted = serde_json::to_string(&wanted.collect::<Vec<_>>())
        .map_err(|error| Error::Result(error.to_string()))?;
    let sql = format!(
        "SELECT a.owner, current_user AS me, r.oid IS NOT NULL AS is_there,
                coalesce(r.rolname = current_user, false) AS is_us,
                coalesce(r.rolsuper, false) AS is_superuser,
                coalesce(pg_has_role(r.oid, '{acts}') AND pg_has_role(r.oid, 'USAGE'), false)
                    AS may_become,
                coalesce(json_agg(DISTINCT a.schema) FILTER (
                    WHERE NOT has_schema_privilege(r.oid, n.oid, 'CREATE')), '[]')::text AS closed
           FROM json_to_recordset($1::json) AS a(owner text, schema text)
           LEFT JOIN pg_roles r ON r.rolname = a.owner
           LEFT JOIN pg_namespace n ON n.nspname = a.schema
          GROUP BY a.owner, r.oid, r.rolname, r.rolsuper ORDER BY a.owner"
    );
    let result = target.query_with(&sql, &[Some(&wanted)]).await?;
    result.rows().iter().map(candidate).collect()
}

fn candidate(row: &Row) -> Result<Candidate, Error> {
    let closed: String = row.get("closed")?;
    Ok(Candidate {
        owner: row.get("owner")?,
        me: row.get("me")?,
        is_us: row.get("is_us")?,
        is_there: row.get("is_there")?,
        is_superuser: row.get("is_superuser")?,
        may_become: row.get("may_become")?,
        closed: serde_json::from_str(&closed).map_err(|e| Error::Result(e.to_string()))?,
    })
}

/// The role is there, we can go on writing once it owns the tables, and it may own them.
async fn may_own(
    target: &mut Connection,
    spec: &MigrationSpec,
    (owner, tables): (&str, &[PlannedTable]),
    known: &KnownOwners,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at --target-owner", &error);
    let sql = "SELECT pg_has_role(oid, 'USAGE') AS member, current_user AS me,
                      rolsuper OR rolname = session_user AS is_ours
                 FROM pg_roles WHERE rolname = $1";
    let result = target.query_with(sql, &[Some(owner)]).await.map_err(failed)?;
    let role = Ident::new(owner);
    let Some(row) = result.rows().first() else {
        return Err(Failure::refused(
            format!("the target has no role {owner} (--target-owner)"),
            format!("CREATE ROLE {role} on the target, or name another one"),
        ));
    };
    if !row.get::<bool>("member").map_err(failed)? {
        let me = Ident::new(row.get::<String>("me").map_err(failed)?);
        return Err(Failure::refused(
            format!("the role of --target has not the rights of {owner} (--target-owner)"),
            format!("GRANT {role} TO {me} on the target"),
        ));
    }
    let is_ours: bool = row.get("is_ours").map_err(failed)?;
    if known.target_is_powerful && !is_ours && !spec.trust.holds_for(owner) {
        return Err(Failure::refused(
            format!(
                "code of {owner} (--target-owner) would run with all rights of the target when \
                 later changes are applied to its tables"
            ),
            format!(
                "use a role for --target that is no superuser (docs/guide.md makes one). Or, if \
                 {owner} may do anything on that server: {}",
                trust_option(owner)
            ),
        ));
    }
    for table in tables.iter().filter(|table| table.target.is_none()) {
        let schema = &table.target_name.schema;
        let sql = "SELECT has_schema_privilege($1, oid, 'CREATE') AS allowed
                     FROM pg_namespace WHERE nspname = $2";
        let result = target.query_with(sql, &[Some(owner), Some(schema.as_str())]).await;
        let result = result.map_err(failed)?;
        if !result.row().and_then(|row| row.get::<bool>("allowed")).map_err(failed)? {
            return Err(Failure::refused(
                format!("{owner} (--target-owner) may not own tables in the schema {schema}"),
                format!("GRANT CREATE ON SCHEMA {schema} TO {role} on the target"),
            ));
        }
    }
    Ok(())
}
