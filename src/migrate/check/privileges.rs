//! What both roles may do, each thing that is missing with its GRANT.

use super::finding::{At, Findings};
use crate::{
    catalog::Table,
    conn::{Connection, Error},
    ledger::LedgerSchema,
    migrate::{
        Failure, plan::PlannedTable, publication::create_publication, servers::Servers, still,
    },
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

const PRIVILEGES: &str = "privileges";

/// What a target table must allow. TRUNCATE, since one on the source is applied like any change.
const ON_TARGET: [&str; 5] = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"];

/// The ledger can be kept on the target.
pub(super) async fn ledger(
    servers: &mut Servers,
    ledger: &LedgerSchema,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let (name, here) = (quote_literal(ledger.as_str()), ledger.as_str());
    let sql = format!(
        "WITH s AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {name})
         SELECT quote_ident(current_user) AS me, quote_ident(current_database()) AS database,
                EXISTS (SELECT FROM s) AS found,
                coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM s),
                         has_database_privilege(current_database(), 'CREATE')) AS allowed"
    );
    let result = servers.target.query(&sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let text = |column| row.get::<String>(column).map_err(failed);
    let at = At::target(PRIVILEGES);
    if row.get::<bool>("allowed").map_err(failed)? {
        findings.ok(at, format!("the ledger can be kept on the target, in the schema {here}"));
        return Ok(());
    }
    let me = text("me")?;
    findings.refuse(
        at,
        match row.get::<bool>("found").map_err(failed)? {
            true => Failure::refused(
                format!(
                    "the schema {here} on the target, where the ledger is kept, belongs to another \
                     role"
                ),
                format!(
                    "use the role that it belongs to; or let {me} keep a ledger of its own beside \
                     it, with --ledger-schema NAME"
                ),
            ),
            false => Failure::refused(
                format!(
                    "the role may not create the schema {here} on the target, where the ledger is \
                     kept"
                ),
                format!("GRANT CREATE ON DATABASE {} TO {me} on the target", text("database")?),
            ),
        },
    );
    Ok(())
}

/// The role may make the publication: it may create in the database and owns the tables.
pub(super) async fn publication(
    servers: &mut Servers,
    publication: &str,
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let at = At::source(PRIVILEGES);
    let sql = "SELECT quote_ident(current_user) AS me, quote_ident(current_database()) AS database,
                      has_database_privilege(current_database(), 'CREATE') AS allowed";
    let result = servers.source.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let me: String = row.get("me").map_err(failed)?;
    let mut fine = row.get::<bool>("allowed").map_err(failed)?;
    if !fine {
        let database: String = row.get("database").map_err(failed)?;
        let failure = Failure::refused(
            format!("the role may not create the publication {publication} on the source"),
            format!("GRANT CREATE ON DATABASE {database} TO {me} on the source"),
        );
        findings.refuse(at, failure);
    }
    for table in tables {
        if let Some(owner) = not_ours(&mut servers.source, &table.source).await.map_err(failed)? {
            fine = false;
            let name = table.source.name.plain();
            let made = create_publication(publication, std::slice::from_ref(table));
            let made = made.split_whitespace().collect::<Vec<_>>().join(" ");
            let failure = Failure::refused(
                format!("only the owner of {name}, {owner}, can put it into a publication"),
                format!(
                    "GRANT {owner} TO {me} on the source; or have {owner} make it, and give \
                     --publication {publication}: {made}"
                ),
            );
            findings.refuse(at.of(&table.source.name), failure);
        }
    }
    if fine && !tables.is_empty() {
        findings.ok(at, format!("the role may make the publication {publication}"));
    }
    Ok(())
}

/// The owner of a table, quoted, whose rights the role does not have.
async fn not_ours(connection: &mut Connection, table: &Table) -> Result<Option<String>, Error> {
    let sql = format!(
        "SELECT CASE WHEN NOT pg_has_role(relowner, 'USAGE')
                     THEN quote_ident(pg_get_userbyid(relowner)) END AS owner
           FROM pg_class WHERE oid = {}",
        table.oid
    );
    connection.query(&sql).await?.row()?.get("owner")
}

/// A target table can be made in a schema.
pub(super) async fn may_make(
    target: &mut Connection,
    schema: &Ident,
    table: &QualifiedName,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = "SELECT quote_ident(current_user) AS me,
                      (SELECT has_schema_privilege(oid, 'CREATE')
                              AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
                        WHERE nspname = $1) AS allowed";
    let result = target.query_with(sql, &[Some(schema.as_str())]).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    match row.get::<Option<bool>>("allowed").map_err(failed)? {
        Some(true) => Ok(()),
        None => Err(Failure::refused(
            format!("the target has no schema {schema}"),
            format!("CREATE SCHEMA {schema} on the target"),
        )),
        Some(false) => Err(Failure::refused(
            format!("the role may not make {} in the target's schema {schema}", table.plain()),
            format!(
                "GRANT USAGE, CREATE ON SCHEMA {schema} TO {} on the target",
                row.get::<String>("me").map_err(failed)?
            ),
        )),
    }
}

/// The role may write the target table as it must; `owns` if it must also drop its indexes. Gives
/// whether it may read all of it.
pub(super) async fn may_write(
    target: &mut Connection,
    table: &Table,
    owns: bool,
    of: &QualifiedName,
    findings: &mut Findings,
) -> Result<bool, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let (name, plain) = (&table.name, table.name.plain());
    let lacks: Vec<_> = (ON_TARGET.iter())
        .map(|privilege| {
            format!(
                "CASE WHEN NOT has_table_privilege({}::oid, '{privilege}') THEN {} END",
                table.oid,
                quote_literal(privilege)
            )
        })
        .collect();
    // With row_security off the last would be an error where rows would be filtered.
    let sql = format!(
        "SET row_security = on;
         SELECT concat_ws(', ', {0}) AS lacks, row_security_active({1}::oid) AS filtered,
                (SELECT has_schema_privilege(relnamespace, 'USAGE') FROM pg_class
                  WHERE oid = {1}) AS usable, quote_ident(current_user) AS me;
         SET row_security = off",
        lacks.join(", "),
        table.oid
    );
    let result = target.query(&sql).await.map_err(failed)?;
    let missing = || failed(Error::Result("the target tells no privileges".into()));
    let row = result.statements.get(1).and_then(|s| s.rows.first()).ok_or_else(missing)?;
    let (lacks, me): (String, String) =
        (row.get("lacks").map_err(failed)?, row.get("me").map_err(failed)?);
    let at = At::target(PRIVILEGES).of(of);
    if !lacks.is_empty() {
        let failure = Failure::refused(
            format!("the role lacks {lacks} on the target {plain}"),
            format!("GRANT {lacks} ON {name} TO {me} on the target"),
        );
        findings.refuse(at, failure);
    }
    let usable: bool = row.get("usable").map_err(failed)?;
    if !usable {
        let schema = &name.schema;
        let failure = Failure::refused(
            format!("the role may not use the schema of the target {plain}"),
            format!("GRANT USAGE ON SCHEMA {schema} TO {me} on the target"),
        );
        findings.refuse(at, failure);
    }
    let filtered: bool = row.get("filtered").map_err(failed)?;
    let readable = usable && !filtered && !lacks.contains("SELECT");
    if filtered {
        let failure = Failure::refused(
            format!("row security keeps rows out of the target {plain}"),
            format!("ALTER ROLE {me} BYPASSRLS on the target, or use the table's owner"),
        );
        findings.refuse(at, failure);
    }
    if owns {
        may_drop(target, table, &me, at, findings).await?;
    }
    Ok(readable)
}

/// The role may drop indexes of a target table, and make them again, for which it needs more.
async fn may_drop(
    target: &mut Connection,
    table: &Table,
    me: &str,
    at: At<'_>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let plain = table.name.plain();
    if let Some(owner) = not_ours(target, table).await.map_err(failed)? {
        let failure = Failure::refused(
            format!("only the owner of {plain}, {owner}, can drop its indexes (--defer-indexes)"),
            format!("GRANT {owner} TO {me} on the target"),
        );
        findings.refuse(at, failure);
    }
    for schema in schemas_of(table) {
        findings.take(at, may_make(target, schema, &table.name).await)?;
    }
    Ok(())
}

/// The schemas of a table and of its partitions.
fn schemas_of(table: &Table) -> Vec<&Ident> {
    let partitions = table.partitions.iter().map(|partition| &partition.name.schema);
    let mut all: Vec<_> = [&table.name.schema].into_iter().chain(partitions).collect();
    all.sort();
    all.dedup();
    all
}

/// Triggers and foreign keys keep still while the target is written: the role may see to that, or
/// there are none.
pub(super) async fn keep_still(
    target: &mut Connection,
    table: &Table,
    of: &QualifiedName,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let at = At::target("triggers").of(of);
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let plain = table.name.plain();
    let sql = format!(
        "SELECT coalesce(string_agg(DISTINCT format('%s of %s', conname, conrelid::regclass), ', '),
                         '') AS keys
           FROM pg_constraint
          WHERE contype = 'f' AND confrelid = {0} AND conrelid <> {0} AND conparentid = 0",
        table.oid
    );
    let result = target.query(&sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let keys: String = row.get("keys").map_err(failed)?;
    if !table.has_triggers && keys.is_empty() {
        return Ok(());
    }
    if let Some(error) = still::refusal(target).await.map_err(failed)? {
        let what = match table.has_triggers {
            true => format!("the triggers or rules of {plain} would fire"),
            false => format!("the foreign keys that refer to {plain} ({keys}) would act"),
        };
        let hint =
            format!("{}; or drop them meanwhile", still::grant(target).await.map_err(failed)?);
        let failure = Failure { hint, ..Failure::refused_by(&what, &error) };
        findings.refuse(at, failure);
        return Ok(());
    }
    if table.has_triggers {
        findings.ok(at, format!("the triggers and rules of {plain} do not fire for moved rows"));
    }
    if !keys.is_empty() {
        findings.warn(
            at,
            format!(
                "foreign keys refer to the target {plain} ({keys}): they are not checked for what \
                 pghost writes, and do not act on it"
            ),
            "see to it that what refers to its rows is right when the migration is over",
        );
    }
    Ok(())
}
