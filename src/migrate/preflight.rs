//! A look at both servers before anything is done. Changes nothing.

use super::{
    Failure, MigrationSpec, TableSpec, Then, default_name, handoff, is_slot_name,
    make_table::{Made, partition_schema},
    plan::PlannedTable,
    publication,
    servers::Servers,
    target,
};
use crate::{
    backfill::Paging,
    catalog::{
        Key, Table, choose_key, identity_statements, load_table, schema_exists, why_not_followed,
    },
    conn::{Connection, Error},
    ledger,
    pg::QualifiedName,
    replication::find_slot,
};

/// A migration that is to begin.
#[derive(Debug)]
pub(super) struct NewMigration {
    pub(super) name: String,
    pub(super) slot: String,
    pub(super) publication: String,
    /// Whether pghost makes the publication.
    pub(super) makes_publication: bool,
    /// How targets are made and set up.
    pub(super) made: Made,
    pub(super) tables: Vec<PlannedTable>,
}

/// The name that a spec gives or implies.
pub(super) fn name_of(spec: &MigrationSpec) -> Result<String, Failure> {
    match (&spec.name, spec.tables.first()) {
        (Some(name), _) => Ok(name.clone()),
        (None, Some(table)) => Ok(default_name(&table.source)),
        (None, None) => Err(Failure::refused(
            "neither a table nor the name of a migration was given",
            "give --table SCHEMA.TABLE, or --name of a migration that exists",
        )),
    }
}

/// Looks at everything that a new migration needs.
pub(super) async fn look(
    spec: &MigrationSpec,
    servers: &mut Servers,
    name: String,
) -> Result<NewMigration, Failure> {
    if spec.tables.is_empty() {
        return Err(Failure::refused(
            format!("there is no migration called {name} on the target, and no table was given"),
            "give --table SCHEMA.TABLE to begin one",
        ));
    }
    let slot = spec.slot.clone().unwrap_or_else(|| format!("pghost_{name}"));
    if !is_slot_name(&slot) {
        return Err(Failure::refused(
            format!("{slot:?} can't be the name of a slot"),
            "use 1 to 63 of the letters a-z, 0-9 and _ (--slot, or --name)",
        ));
    }
    let mut tables = Vec::new();
    for (ordinal, table) in spec.tables.iter().enumerate() {
        tables.push(look_at_table(servers, ordinal, table, spec).await?);
    }
    twice_the_same(&spec.tables)?;
    no_partition_beside_its_root(&tables)?;
    let made = Made::look(&mut servers.target, spec, &tables).await?;
    lock_slot(&mut servers.source, &slot).await?;
    look_at_slot(servers, &slot).await?;
    let publication = match &spec.publication {
        Some(publication) => {
            publication::check(servers, publication, &tables).await?;
            publication.clone()
        }
        None => {
            let publication = format!("pghost_{name}");
            publication::is_free(servers, &publication).await?;
            publication
        }
    };
    look_at_ledger(servers).await?;
    if spec.then == Then::Handoff {
        let existing = spec.publication.as_deref();
        handoff::check::look(spec, servers, (name.as_str(), existing), &tables).await?;
    }
    let makes_publication = spec.publication.is_none();
    Ok(NewMigration { name, slot, publication, makes_publication, made, tables })
}

fn twice_the_same(tables: &[TableSpec]) -> Result<(), Failure> {
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
fn no_partition_beside_its_root(tables: &[PlannedTable]) -> Result<(), Failure> {
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

/// Loads the source table, its key, and the target table if it is there.
async fn look_at_table(
    servers: &mut Servers,
    ordinal: usize,
    spec: &TableSpec,
    asked: &MigrationSpec,
) -> Result<PlannedTable, Failure> {
    let source = load_source(&mut servers.source, &spec.source).await?;
    let key = choose_key(&source).map_err(|refusal| {
        Failure::refused(
            format!(
                "{} has no key that its rows can be told apart by: {refusal}",
                spec.source.plain()
            ),
            format!("ALTER TABLE {} ADD PRIMARY KEY (..)", spec.source),
        )
    })?;
    identities(&source, &key)?;
    let is_arithmetic = is_arithmetic(asked.paging, &source, &key)?;
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let target = load_table(&mut servers.target, &spec.target).await.map_err(at_target)?;
    let mut target_key = None;
    if let Some(target) = &target {
        refuse_itself(servers, &source, target).await?;
        target_key = Some(match asked.defer_indexes {
            true => target::fits_once_bare(&source, &key, target)?,
            false => target::fits(&source, &key, target)?,
        });
        target_is_empty(servers, target).await?;
    } else {
        let own = source.partitions.iter().map(|partition| &partition.name);
        let own = own.map(|name| partition_schema(name, &source.name, &spec.target));
        for schema in [&spec.target.schema].into_iter().chain(own) {
            if !schema_exists(&mut servers.target, schema).await.map_err(at_target)? {
                return Err(Failure::refused(
                    format!("the target has no schema {schema}"),
                    format!("CREATE SCHEMA {schema} on the target"),
                ));
            }
        }
    }
    Ok(PlannedTable {
        ordinal,
        source,
        key,
        target_name: spec.target.clone(),
        target,
        target_key,
        new_columns: Vec::new(),
        is_arithmetic,
    })
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

/// Loads a source table that can be moved at all.
pub(super) async fn load_source(
    source: &mut Connection,
    name: &QualifiedName,
) -> Result<Table, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let plain = name.plain();
    let Some(mut table) = load_table(source, name).await.map_err(failed)? else {
        return Err(Failure::refused(
            format!("the source has no table {plain}"),
            "check schema, spelling and case; names are taken letter for letter",
        ));
    };
    if let Some(why) = why_not_movable(&table) {
        let hint = "name another table";
        return Err(Failure::refused(format!("{plain} can't be moved: {why}"), hint));
    }
    may_read_all(source, &table).await?;
    if table.estimated_rows.is_none_or(|rows| rows == 0) {
        table.estimated_rows = estimate_rows(source, &table).await.map_err(failed)?;
    }
    Ok(table)
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

/// The role sees every row of the table.
async fn may_read_all(source: &mut Connection, table: &Table) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let (name, plain) = (&table.name, table.name.plain());
    // With row_security off the second would be an error where rows would be filtered.
    let sql = format!(
        "SET row_security = on;
         SELECT has_table_privilege({0}::oid, 'SELECT') AS readable,
                row_security_active({0}::oid) AS filtered;
         SET row_security = off",
        table.oid
    );
    let result = source.query(&sql).await.map_err(failed)?;
    let row = result.statements.get(1).and_then(|s| s.rows.first());
    let flag = |column| row.map_or(Ok(false), |row| row.get::<bool>(column)).map_err(failed);
    if !flag("readable")? {
        return Err(Failure::refused(
            format!("the role may not read {plain}"),
            format!("GRANT SELECT ON {name} TO the role of --source"),
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
async fn refuse_itself(
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

async fn target_is_empty(servers: &mut Servers, target: &Table) -> Result<(), Failure> {
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = format!("SELECT EXISTS (SELECT FROM {}) AS filled", target.name);
    let result = servers.target.query(&sql).await.map_err(at_target)?;
    if result.row().and_then(|row| row.get::<bool>("filled")).map_err(at_target)? {
        return Err(Failure::refused(
            format!("the target {} is not empty", target.name.plain()),
            format!("TRUNCATE {}, if its rows are not needed, or name another target", target.name),
        ));
    }
    if target.has_triggers {
        let sql = "BEGIN; SET LOCAL session_replication_role = replica; ROLLBACK";
        if let Err(error) = servers.target.query(sql).await {
            servers.target.query("ROLLBACK").await.map_err(at_target)?;
            return Err(Failure {
                hint:
                    "GRANT SET ON PARAMETER session_replication_role TO the role of --target (15 \
                       and later), use a superuser, or drop the triggers and rules"
                        .into(),
                ..Failure::refused_by(
                    &format!("the triggers or rules of {} would fire", target.name.plain()),
                    &error,
                )
            });
        }
    }
    Ok(())
}

/// Takes the slot's name on the source: migrations into other targets can't see this one's ledger.
pub(super) async fn lock_slot(source: &mut Connection, slot: &str) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source's slots", &error);
    if ledger::lock(source, &format!("pghost slot {slot}")).await.map_err(failed)? {
        return Ok(());
    }
    Err(Failure::busy(
        format!("another pghost works with the slot {slot} of this source"),
        "let it run, or stop it first; give another --name or --slot for another migration",
    ))
}

async fn look_at_slot(servers: &mut Servers, slot: &str) -> Result<(), Failure> {
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

async fn look_at_ledger(servers: &mut Servers) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let sql = "SELECT to_regnamespace('pghost') IS NOT NULL
                   OR has_database_privilege(current_database(), 'CREATE') AS allowed";
    let result = servers.target.query(sql).await.map_err(failed)?;
    if !result.row().and_then(|row| row.get::<bool>("allowed")).map_err(failed)? {
        return Err(Failure::refused(
            "the role may not create the schema pghost on the target, where the ledger is kept",
            "GRANT CREATE ON DATABASE .. TO the role of --target",
        ));
    }
    Ok(())
}
