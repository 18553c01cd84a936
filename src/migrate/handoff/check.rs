//! What stands in the way of a handover, seen before anything is made. Changes nothing.
//!
//! A native subscription is less forgiving than pghost: it writes to tables of the source's names,
//! needs every published table and column, and finds rows by its own rules. Each function looks for
//! one thing and says what to do about it.

use super::{
    super::{
        Failure, MigrationSpec,
        check::{At, Findings},
        plan::PlannedTable,
        servers::Servers,
    },
    Conninfo,
    subscription::{self, New},
};
use crate::{
    catalog::{Table, UniqueIndex},
    conn::{Connection, Error},
    pg::{Ident, SqlState},
    pgoutput::ReplicaIdentity,
    sql::quote_literal,
};

const INSTEAD: &str = "or give --then follow or --then stop instead";

/// Looks for all of it but [`rows_are_found`], which a target that is still being made or is
/// without its indexes can't answer. `publication`: the one that is there already, if pghost is not
/// to make it.
pub(in crate::migrate) async fn look(
    spec: &MigrationSpec,
    servers: &mut Servers,
    (migration, publication): (&str, Option<&str>),
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (at, on_target) = (At::both("handoff"), At::target("handoff"));
    let conninfo = super::conninfo(spec);
    findings.take(at, columns_stay(spec))?;
    // In one database the names differ for that reason, and nothing else matters.
    let apart = two_databases(servers).await;
    if findings.take(at, apart)?.is_none() {
        return Ok(());
    }
    findings.take(at, names_stay(tables))?;
    let leads = findings.take(at, leads_to_the_source(servers, &conninfo))?;
    if let Some(publication) = publication.filter(|_| !tables.is_empty()) {
        let nothing_else = publishes_nothing_else(servers, publication, tables).await;
        findings.take(At::source("handoff"), nothing_else)?;
    }
    let subscription = super::subscription_of(spec, migration);
    let free = name_is_free(&mut servers.target, &subscription).await;
    let free = findings.take(on_target, free)?;
    let may = may_subscribe(&mut servers.target, spec, tables).await;
    let may = findings.take(on_target, may)?;
    let has_workers = has_workers(&mut servers.target).await;
    findings.take(on_target, has_workers)?;
    // What is tried needs all of that.
    if leads.and(free).and(may).is_some() {
        let made = can_be_made(&mut servers.target, &subscription, &conninfo).await;
        if findings.take(on_target, made)?.is_some() {
            findings.ok(on_target, format!("the subscription {subscription} can be made"));
        }
    }
    Ok(())
}

/// New columns are not left out of a publication.
pub(in crate::migrate) fn columns_stay(spec: &MigrationSpec) -> Result<(), Failure> {
    if !spec.ignore_new_columns {
        return Ok(());
    }
    Err(Failure::refused(
        "--ignore-new-columns leaves new columns out, and a native subscription stops at the first \
         change of a table with a column that the target does not have",
        format!("leave --ignore-new-columns out, {INSTEAD}"),
    ))
}

/// The server that subscribes asks for a publication with a backslash in its name by a literal of
/// the kind `E'..'` (`libpqrcv_startstreaming` takes `PQescapeLiteral`), which the grammar of a
/// walsender does not know: the subscription would be made, and fail for ever. (Its slot has only
/// letters, digits and underscores; its own name and conninfo are in no replication command.)
pub(in crate::migrate) fn can_be_streamed(publication: &str) -> Result<(), Failure> {
    if !publication.contains('\\') {
        return Ok(());
    }
    Err(Failure::refused(
        format!(
            "the publication {publication} has a backslash in its name, and a native subscription \
             can't ask for such a one"
        ),
        format!("give --publication or --name without a backslash, {INSTEAD}"),
    ))
}

/// A subscription writes to the tables that are called as the publication's.
pub(in crate::migrate) fn names_stay(tables: &[PlannedTable]) -> Result<(), Failure> {
    match tables.iter().find(|table| table.source.name != table.target_name) {
        None => Ok(()),
        Some(table) => Err(Failure::refused(
            format!(
                "{} is to go to {}, and a native subscription writes to tables of the source's \
                 schema and name only",
                table.source.name.plain(),
                table.target_name.plain()
            ),
            format!("name the table alone, without '=', {INSTEAD}"),
        )),
    }
}

/// In one database the tables could not have the same names.
pub(in crate::migrate) async fn two_databases(servers: &mut Servers) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = "SELECT system_identifier::text AS id, current_database() AS name
                 FROM pg_control_system()";
    let result = servers.target.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let same = row.get::<String>("id").map_err(failed)? == servers.identity.system_id
        && row.get::<String>("name").map_err(failed)? == servers.identity.database;
    if !same {
        return Ok(());
    }
    Err(Failure::refused(
        "source and target are one database, and a native subscription would write to the source's \
         own tables: it knows them by schema and name only",
        format!("move to another database (of the same server, if you like), {INSTEAD}"),
    ))
}

/// The subscription finds the row that has changed by the target's replica identity or primary
/// key, whose columns must be among those that the source logs of the old row
/// (`logicalrep_rel_mark_updatable`).
pub(in crate::migrate) fn rows_are_found(tables: &[PlannedTable]) -> Result<(), Failure> {
    for table in tables {
        // A target that pghost makes gets the source's key and identity.
        let target = table.target.as_ref().unwrap_or(&table.source);
        let plain = table.target_name.plain();
        let Some(index) = identity(target) else {
            let key = table.target_key.as_ref().unwrap_or(&table.key).index.clone();
            return Err(Failure::refused(
                format!(
                    "the target {plain} has neither a primary key nor a replica identity of an \
                     index, by which a native subscription finds the rows that change"
                ),
                format!(
                    "on the target: ALTER TABLE {} REPLICA IDENTITY USING INDEX {}",
                    table.target_name,
                    Ident::new(key)
                ),
            ));
        };
        let is_logged = |column: &Ident| {
            table.source.replica_identity == ReplicaIdentity::Full
                || identity(&table.source).is_some_and(|logged| logged.columns.contains(column))
        };
        if let Some(column) = index.columns.iter().find(|column| !is_logged(column)) {
            return Err(Failure::refused(
                format!(
                    "a native subscription finds rows of the target {plain} by {}, and the source \
                     does not log the old {column} of a row that changes",
                    index.name
                ),
                format!(
                    "give both sides the same: ALTER TABLE {} REPLICA IDENTITY USING INDEX .. on \
                     the target",
                    table.target_name
                ),
            ));
        }
    }
    Ok(())
}

/// The index of a table's replica identity, else that of its primary key.
fn identity(table: &Table) -> Option<&UniqueIndex> {
    let of_identity = || table.unique_indexes.iter().find(|index| index.replica_identity);
    let primary = || table.unique_indexes.iter().find(|index| index.primary);
    match table.replica_identity {
        ReplicaIdentity::Index => of_identity().or_else(primary),
        _ => primary(),
    }
}

/// Where it can be seen from here that a conninfo leads elsewhere.
fn leads_to_the_source(servers: &Servers, conninfo: &Conninfo) -> Result<(), Failure> {
    let (there, database) = (conninfo.dbname(), &servers.identity.database);
    if there == database {
        return Ok(());
    }
    Err(Failure::refused(
        format!(
            "--subscription-conninfo leads to the database {there}, and the source is {database}"
        ),
        format!("give it dbname={database}"),
    ))
}

/// Everything that is published goes to the subscription, which copies nothing.
pub(in crate::migrate) async fn publishes_nothing_else(
    servers: &mut Servers,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let named: Vec<_> = tables
        .iter()
        .map(|table| {
            let name = &table.source.name;
            let (schema, name) = (name.schema.as_str(), name.name.as_str());
            format!("({}, {})", quote_literal(schema), quote_literal(name))
        })
        .collect();
    let sql = format!(
        "SELECT schemaname || '.' || tablename AS other FROM pg_publication_tables
          WHERE pubname = {} AND (schemaname, tablename) NOT IN ({}) ORDER BY 1 LIMIT 1",
        quote_literal(publication),
        named.join(", ")
    );
    let result = servers.source.query(&sql).await.map_err(failed)?;
    if let Some(row) = result.rows().first() {
        let other: String = row.get("other").map_err(failed)?;
        return Err(Failure::refused(
            format!(
                "the publication {publication} has {other}, which is not moved: the subscription \
                 would bring its changes without its rows"
            ),
            format!("leave --publication out and pghost makes one of its own, {INSTEAD}"),
        ));
    }
    // Before 18 generated columns are never published.
    if servers.source.server_version().map_err(failed)?.major() < 18 {
        return Ok(());
    }
    let sql = format!(
        "SELECT p.schemaname || '.' || p.tablename || '.' || a.attname AS generated
           FROM pg_publication_tables p
           JOIN pg_attribute a ON a.attname = ANY (p.attnames) AND a.attgenerated <> ''
            AND a.attrelid = format('%I.%I', p.schemaname, p.tablename)::regclass
          WHERE p.pubname = {} ORDER BY 1 LIMIT 1",
        quote_literal(publication)
    );
    let result = servers.source.query(&sql).await.map_err(failed)?;
    let Some(row) = result.rows().first() else {
        return Ok(());
    };
    let generated: String = row.get("generated").map_err(failed)?;
    Err(Failure::refused(
        format!(
            "the publication {publication} publishes the generated column {generated}, which a \
             native subscription can't write to one that is generated"
        ),
        format!(
            "ALTER PUBLICATION {} SET (publish_generated_columns = none), or leave --publication \
             out, {INSTEAD}",
            Ident::new(publication)
        ),
    ))
}

/// No subscription of this name is there yet.
pub(in crate::migrate) async fn name_is_free(
    target: &mut Connection,
    name: &str,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    if subscription::find(target, name).await.map_err(failed)?.is_none() {
        return Ok(());
    }
    Err(Failure::refused(
        format!("the target has a subscription {name} already"),
        "give another name with --subscription, or drop that one",
    ))
}

/// The role may make a subscription, set its origin, and become the tables' owners, as whom the
/// subscription writes.
pub(in crate::migrate) async fn may_subscribe(
    target: &mut Connection,
    spec: &MigrationSpec,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the role's rights", &error);
    let result = target
        .query(
            "SELECT rolsuper, rolname, current_database() AS database,
                    has_database_privilege(current_database(), 'CREATE') AS may_create,
                    has_function_privilege('pg_replication_origin_advance(text, pg_lsn)',
                                           'EXECUTE') AS may_advance,
                    has_function_privilege('pg_replication_origin_progress(text, boolean)',
                                           'EXECUTE') AS may_look
               FROM pg_roles WHERE rolname = current_user",
        )
        .await
        .map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let flag = |column| row.get::<bool>(column).map_err(failed);
    if flag("rolsuper")? {
        return Ok(());
    }
    let role: String = row.get("rolname").map_err(failed)?;
    if target.server_version().map_err(failed)?.major() < 16 {
        return Err(Failure::refused(
            format!(
                "the role {role} is no superuser of the target, and up to 15 only superusers can \
                 make a subscription"
            ),
            format!("use a superuser as the role of --target, {INSTEAD}"),
        ));
    }
    let (role, database): (_, String) = (Ident::new(role), row.get("database").map_err(failed)?);
    let mut grants = Vec::new();
    let sql = "SELECT pg_has_role('pg_create_subscription', 'USAGE') AS member";
    let result = target.query(sql).await.map_err(failed)?;
    if !result.row().and_then(|row| row.get::<bool>("member")).map_err(failed)? {
        grants.push(format!("GRANT pg_create_subscription TO {role}"));
    }
    if !flag("may_create")? {
        grants.push(format!("GRANT CREATE ON DATABASE {} TO {role}", Ident::new(database)));
    }
    for (may, function) in [
        ("may_advance", "pg_replication_origin_advance(text, pg_lsn)"),
        ("may_look", "pg_replication_origin_progress(text, boolean)"),
    ] {
        if !flag(may)? {
            grants.push(format!("GRANT EXECUTE ON FUNCTION {function} TO {role}"));
        }
    }
    for owner in owners(target, spec, tables).await.map_err(failed)? {
        grants.push(format!("GRANT {} TO {role} WITH SET TRUE", Ident::new(owner)));
    }
    if grants.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        format!("the role {} lacks rights on the target for a subscription", role.as_str()),
        format!("on the target: {}", grants.join("; ")),
    ))
}

/// Owners of tables that the role may not become.
async fn owners(
    target: &mut Connection,
    spec: &MigrationSpec,
    tables: &[PlannedTable],
) -> Result<Vec<String>, Error> {
    let there = tables.iter().filter_map(|table| table.target.as_ref());
    let oids: Vec<_> = there.map(|table| table.oid.to_string()).collect();
    let made = spec.target_owner.as_deref().unwrap_or_default();
    let sql = format!(
        "SELECT rolname FROM pg_roles
          WHERE (oid IN (SELECT relowner FROM pg_class WHERE oid = ANY ('{{{}}}'::oid[]))
                 OR rolname = {})
            AND NOT pg_has_role(oid, 'SET') ORDER BY 1",
        oids.join(","),
        quote_literal(made)
    );
    target.query(&sql).await?.rows().iter().map(|row| row.get("rolname")).collect()
}

/// The target can run one more subscription.
pub(in crate::migrate) async fn has_workers(target: &mut Connection) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target's settings", &error);
    let origins = match target.server_version().map_err(failed)?.major() {
        ..18 => "max_replication_slots",
        _ => "max_active_replication_origins",
    };
    // Who may not look at the origins sees none of them, and is told later.
    let sql = format!(
        "SELECT current_setting('max_logical_replication_workers')::integer AS workers,
                current_setting('{origins}')::integer AS origins,
                (SELECT count(*) FROM pg_subscription WHERE subenabled) AS subscriptions,
                has_table_privilege('pg_replication_origin_status', 'SELECT') AS visible"
    );
    let result = target.query(&sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let number = |column| row.get::<u64>(column).map_err(failed);
    let mut used = 0;
    if row.get::<bool>("visible").map_err(failed)? {
        let sql = "SELECT count(*) AS used FROM pg_replication_origin_status";
        if let Ok(result) = Error::if_answered(target.query(sql).await).map_err(failed)? {
            used = result.row().and_then(|row| row.get("used")).map_err(failed)?;
        }
    }
    let full = match (number("workers")?, number("origins")?) {
        (workers, _) if number("subscriptions")? >= workers => "max_logical_replication_workers",
        (_, most) if used >= most => origins,
        _ => return Ok(()),
    };
    Err(Failure::refused(
        format!("the target has no room for another subscription: {full} is used up"),
        format!("raise {full} on the target and restart it, {INSTEAD}"),
    ))
}

/// Makes it, and undoes that: what else the target may say no to, and whether it reaches the
/// source by the conninfo, is only found so.
pub(in crate::migrate) async fn can_be_made(
    target: &mut Connection,
    name: &str,
    conninfo: &Conninfo,
) -> Result<(), Failure> {
    // The publication may not be there yet. One that is would be asked for its tables, and they
    // may not be here yet.
    let trial = New { name, conninfo, publication: "pghost_trial", slot: None, failover: None };
    let tried = subscription::tried(target, &trial).await;
    tried.map_err(|error| {
        let what = "trying to make the subscription on the target (it was undone)";
        let failure = Failure::refused_by(what, &error);
        let hint = match error.sqlstate() {
            Some(code) if code.class() == "08" => {
                "give --subscription-conninfo as the target server is to reach the source: host, \
                 port, dbname, user with REPLICATION, and its password; pg_hba.conf of the source \
                 must let it in"
            }
            Some(code) if code == SqlState::PROHIBITED_STATEMENT => {
                "put a password that the source asks for into --subscription-conninfo: only \
                 superusers of the target may go without"
            }
            _ => &failure.hint,
        };
        Failure {
            message: conninfo.hide_in(failure.message.clone()),
            hint: conninfo.hide_in(hint.to_owned()),
            ..failure
        }
    })
}
