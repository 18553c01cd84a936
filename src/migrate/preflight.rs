//! Single looks at a server, each of which refuses one thing. Change nothing.
//!
//! In what order they are taken before a new migration, and what is only warned of, is `check`'s.

use super::{
    Failure, MigrationSpec, TableSpec, default_name, plan::PlannedTable, servers::Servers,
};
use crate::{
    backfill::Paging,
    catalog::{Key, Table, identity_statements, load_table, why_not_followed},
    conn::{Connection, Error},
    ledger::{self, Holders, MigrationName},
    pg::QualifiedName,
    replication::find_slot,
};

/// The name that a spec gives or implies.
pub(super) fn name_of(spec: &MigrationSpec) -> Result<MigrationName, Failure> {
    match (&spec.name, spec.tables.first()) {
        (Some(name), _) => Ok(MigrationName::new(&spec.ledger, name)),
        (None, Some(table)) => Ok(MigrationName::new(&spec.ledger, default_name(&table.source))),
        (None, None) => Err(Failure::refused(
            "neither a table nor the name of a migration was given",
            "give --table SCHEMA.TABLE, or --name of a migration that exists",
        )),
    }
}

/// Each table is named once, and each has a target of its own.
pub(super) fn twice_the_same(tables: &[TableSpec]) -> Result<(), Failure> {
    for (i, table) in tables.iter().enumerate() {
        for other in tables.iter().take(i) {
            if other.source == table.source || other.target == table.target {
                return Err(Failure::refused(
                    format!("{} is named twice", table.source.plain()),
                    "name each table once, and give each its own target",
                ));
            }
        }
    }
    Ok(())
}

/// Under the publication of a root all changes come under its name.
pub(super) fn no_partition_beside_its_root(tables: &[PlannedTable]) -> Result<(), Failure> {
    for root in tables {
        for other in tables {
            if root.source.partitions.iter().any(|p| p.oid == other.source.oid) {
                return Err(Failure::refused(
                    format!(
                        "{} is a partition of {}, and both are named",
                        other.source.name.plain(),
                        root.source.name.plain()
                    ),
                    "name the partitioned table alone; its partitions' rows go with it",
                ));
            }
        }
    }
    Ok(())
}

/// Whether a table's pages are cut by arithmetic, or the refusal if that can't be.
pub(super) fn is_arithmetic(paging: Paging, table: &Table, key: &Key) -> Result<bool, Failure> {
    paging.is_arithmetic(&key.columns).map_err(|obstacle| {
        Failure::refused(
            format!(
                "{} can't be paged by arithmetic (--paging range): {obstacle}",
                table.name.plain()
            ),
            "leave --paging out, which finds the way that fits each table, or give --paging keyset",
        )
    })
}

/// Loads a source table that can be moved.
pub(super) async fn load_source(
    source: &mut Connection,
    name: &QualifiedName,
) -> Result<Table, Failure> {
    let mut table = find_source(source, name).await?;
    may_name(source, &table).await?;
    may_read_all(source, &table).await?;
    estimate(source, &mut table).await?;
    Ok(table)
}

/// Finds a source table that can be moved, by whoever may read it.
pub(super) async fn find_source(
    source: &mut Connection,
    name: &QualifiedName,
) -> Result<Table, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let plain = name.plain();
    let Some(table) = load_table(source, name).await.map_err(failed)? else {
        return Err(Failure::refused(
            format!("the source has no table {plain}"),
            "check schema, spelling and case; names are taken letter for letter",
        ));
    };
    if let Some(why) = why_not_movable(&table) {
        let hint = "name another table";
        return Err(Failure::refused(format!("{plain} can't be moved: {why}"), hint));
    }
    Ok(table)
}

/// Guesses the rows of a table of which the planner knows nothing.
pub(super) async fn estimate(source: &mut Connection, table: &mut Table) -> Result<(), Failure> {
    if table.estimated_rows.is_none_or(|rows| rows == 0) {
        table.estimated_rows = estimate_rows(source, table)
            .await
            .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    }
    Ok(())
}

fn why_not_movable(table: &Table) -> Option<String> {
    let why = match (table.kind, table.persistence) {
        ('r' | 'p', 'p') if table.inherits => {
            "it inherits from another table or is inherited from: its rows and its changes would \
             not be those of one table"
        }
        ('r' | 'p', 'p') => return why_not_followed(&table.partitions),
        ('r' | 'p', 'u') => "it is unlogged, so its changes are not in the log",
        ('r' | 'p', _) => "it is a temporary table",
        _ => "it is not a table",
    };
    Some(why.to_owned())
}

/// Each partition logs the old keys of its rows by an identity of its own.
pub(super) fn identities(table: &Table, key: &Key) -> Result<(), Failure> {
    let statements = identity_statements(table, key);
    if statements.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(
        format!(
            "partitions of {} do not log their changed rows by its key, since each has a replica \
             identity of its own",
            table.name.plain()
        ),
        format!("on the source: {}", statements.join("; ")),
    ))
}

/// The role may use the table's schema, without which no statement can name the table.
pub(super) async fn may_name(source: &mut Connection, table: &Table) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let schema = &table.name.schema;
    let sql = "SELECT has_schema_privilege(oid, 'USAGE') AS usable, quote_ident(current_user) AS me
                 FROM pg_namespace WHERE nspname = $1";
    let result = source.query_with(sql, &[Some(schema.as_str())]).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    if row.get::<bool>("usable").map_err(failed)? {
        return Ok(());
    }
    let me: String = row.get("me").map_err(failed)?;
    Err(Failure::refused(
        format!("the role may not use the schema of {}", table.name.plain()),
        format!("GRANT USAGE ON SCHEMA {schema} TO {me} on the source"),
    ))
}

/// The role sees every row of the table.
pub(super) async fn may_read_all(source: &mut Connection, table: &Table) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let (name, plain) = (&table.name, table.name.plain());
    // With row_security off the second would be an error where rows would be filtered.
    let sql = format!(
        "SET row_security = on;
         SELECT has_table_privilege({0}::oid, 'SELECT') AS readable,
                row_security_active({0}::oid) AS filtered, quote_ident(current_user) AS me;
         SET row_security = off",
        table.oid
    );
    let result = source.query(&sql).await.map_err(failed)?;
    let row = result.statements.get(1).and_then(|s| s.rows.first());
    let flag = |column| row.map_or(Ok(false), |row| row.get::<bool>(column)).map_err(failed);
    if !flag("readable")? {
        let me: String = row.map_or(Ok(String::new()), |row| row.get("me")).map_err(failed)?;
        return Err(Failure::refused(
            format!("the role may not read {plain}"),
            format!("GRANT SELECT ON {name} TO {me} on the source"),
        ));
    }
    if flag("filtered")? {
        return Err(Failure::refused(
            format!("row security hides rows of {plain} from the role"),
            "use a role with BYPASSRLS, or the table's owner",
        ));
    }
    Ok(())
}

/// The rows of a table that was never analyzed, by the size of some of them.
async fn estimate_rows(source: &mut Connection, table: &Table) -> Result<Option<u64>, Error> {
    let sql = format!(
        "SELECT avg(pg_column_size(t.*))::bigint AS row_bytes
           FROM (SELECT * FROM {} LIMIT 100) t",
        table.name
    );
    let row_bytes = source.query(&sql).await?.row()?.get::<Option<u64>>("row_bytes")?;
    Ok(row_bytes.map(|row_bytes| table.bytes / row_bytes.max(1)))
}

/// A table can't be moved into itself.
pub(super) async fn refuse_itself(
    servers: &mut Servers,
    source: &Table,
    target: &Table,
) -> Result<(), Failure> {
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = "SELECT system_identifier::text AS id, current_database() AS name
                 FROM pg_control_system()";
    let result = servers.target.query(sql).await.map_err(at_target)?;
    let row = result.row().map_err(at_target)?;
    let same = row.get::<String>("id").map_err(at_target)? == servers.identity.system_id
        && row.get::<String>("name").map_err(at_target)? == servers.identity.database
        && source.oid == target.oid;
    if same {
        return Err(Failure::refused(
            format!("{} is both the source and the target", source.name.plain()),
            "give the target another name: --table SOURCE=TARGET",
        ));
    }
    Ok(())
}

/// An existing target has no rows yet.
pub(super) async fn target_is_empty(target: &mut Connection, table: &Table) -> Result<(), Failure> {
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = format!("SELECT EXISTS (SELECT FROM {}) AS filled", table.name);
    let result = target.query(&sql).await.map_err(at_target)?;
    if result.row().and_then(|row| row.get::<bool>("filled")).map_err(at_target)? {
        return Err(Failure::refused(
            format!("the target {} is not empty", table.name.plain()),
            format!("TRUNCATE {}, if its rows are not needed, or name another target", table.name),
        ));
    }
    Ok(())
}

/// Takes the slot's name on the source, or, for a check, sees that it could be taken: migrations
/// into other targets can't see this one's ledger.
pub(super) async fn claim_slot(servers: &mut Servers, slot: &str) -> Result<(), Failure> {
    if !servers.asks_only {
        return lock_slot(&mut servers.source, slot).await;
    }
    let held = ledger::could_lock(&mut servers.source, &slot_lock(slot)).await;
    is_nobodys(slot, held)
}

/// Takes the slot's name on the source.
pub(super) async fn lock_slot(source: &mut Connection, slot: &str) -> Result<(), Failure> {
    let held = ledger::lock(source, &slot_lock(slot)).await;
    is_nobodys(slot, held)
}

fn slot_lock(slot: &str) -> String {
    format!("slot {slot}")
}

fn is_nobodys(slot: &str, held: Result<Option<Holders>, Error>) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source's slots", &error);
    let Some(holders) = held.map_err(failed)? else { return Ok(()) };
    let busy = format!("another pghost works with the slot {slot} of this source");
    Err(Failure::busy(
        holders.told(&busy, &format!("the slot {slot} on the source")),
        holders.next(
            "let it run, or stop it first; give another --name or --slot for another migration",
        ),
    ))
}

/// The slot's name is free, and there is room for one more.
pub(super) async fn look_at_slot(servers: &mut Servers, slot: &str) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source's slots", &error);
    if find_slot(&mut servers.source, slot).await.map_err(failed)?.is_some() {
        return Err(Failure::refused(
            format!("the source has a slot {slot} already"),
            "pghost makes its own: give another --slot or --name, or drop that slot",
        ));
    }
    let sql = "SELECT (SELECT count(*) FROM pg_replication_slots) AS used,
                      current_setting('max_replication_slots')::integer AS most";
    let result = servers.source.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let (used, most): (u32, u32) =
        (row.get("used").map_err(failed)?, row.get("most").map_err(failed)?);
    if used >= most {
        return Err(Failure::refused(
            format!("all {most} replication slots of the source are in use"),
            "drop one that nobody needs, or raise max_replication_slots and restart",
        ));
    }
    Ok(())
}
