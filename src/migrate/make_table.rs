//! The tables that pghost makes on the target.

use super::{
    Event, Failure, Listener, MigrationSpec, plan::PlannedTable, servers::Servers, target,
};
use crate::{
    catalog::{
        Extras, Names, Table, create_partition, create_table, load_extras, load_names,
        load_settings, load_table, objects, own_columns, partition_objects,
    },
    conn::{Connection, Error},
    ledger,
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

/// How targets are made and set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) owner: Option<Ident>,
    pub(super) tablespace: Option<String>,
    pub(super) defer_indexes: bool,
}

impl Made {
    /// Takes what was asked for, and looks whether the target can do it.
    pub(super) async fn look(
        target: &mut Connection,
        spec: &MigrationSpec,
        tables: &[PlannedTable],
    ) -> Result<Self, Failure> {
        if let Some(owner) = &spec.target_owner {
            may_own(target, owner, tables).await?;
        }
        if let Some(tablespace) = &spec.target_tablespace {
            may_use(target, tablespace).await?;
        }
        Ok(Self {
            owner: spec.target_owner.as_ref().map(Ident::new),
            tablespace: spec.target_tablespace.clone(),
            defer_indexes: spec.defer_indexes,
        })
    }
}

/// The role is there, we can go on writing once it owns the tables, and it may own them.
async fn may_own(
    target: &mut Connection,
    owner: &str,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at --target-owner", &error);
    let sql = "SELECT pg_has_role(oid, 'USAGE') AS member, current_user AS me
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

/// The tablespace is there, and ours to use.
async fn may_use(target: &mut Connection, tablespace: &str) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at --target-tablespace", &error);
    // The database's own is free to all.
    let sql = "SELECT has_tablespace_privilege(s.oid, 'CREATE') OR s.oid = d.dattablespace
                          AS allowed, current_user AS me
                 FROM pg_tablespace s, pg_database d
                WHERE s.spcname = $1 AND d.datname = current_database()";
    let result = target.query_with(sql, &[Some(tablespace)]).await.map_err(failed)?;
    let name = Ident::new(tablespace);
    let Some(row) = result.rows().first() else {
        return Err(Failure::refused(
            format!("the target has no tablespace {tablespace} (--target-tablespace)"),
            format!("CREATE TABLESPACE {name} LOCATION .. on the target, or name another one"),
        ));
    };
    if !row.get::<bool>("allowed").map_err(failed)? {
        let me = Ident::new(row.get::<String>("me").map_err(failed)?);
        return Err(Failure::refused(
            format!("the role of --target may not use the tablespace {tablespace}"),
            format!("GRANT CREATE ON TABLESPACE {name} TO {me} on the target"),
        ));
    }
    Ok(())
}

/// What is known of the source's table when it is made on the target.
struct Model {
    settings: Vec<String>,
    extras: Extras,
    /// Of each partition: its settings and what its columns have of their own, as clauses of ALTER
    /// TABLE, and what else it has.
    partitions: Vec<(Vec<String>, Vec<String>, Extras)>,
}

async fn read(source: &mut Connection, table: &Table, made: &Made) -> Result<Model, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let mut model = Model {
        settings: load_settings(source, table.oid).await.map_err(failed)?,
        extras: load_extras(source, table.oid, None).await.map_err(failed)?,
        partitions: Vec::new(),
    };
    place(&mut model.extras, made);
    for partition in &table.partitions {
        let settings = load_settings(source, partition.oid).await.map_err(failed)?;
        let mut extras =
            load_extras(source, partition.oid, Some(table.oid)).await.map_err(failed)?;
        place(&mut extras, made);
        let found = load_table(source, &partition.name).await.map_err(failed)?;
        let own = own_columns(table, &found.map(|found| found.columns).unwrap_or_default());
        let own = own.map_err(|column| {
            Failure::refused(
                format!(
                    "the column {column} of the partition {} is generated otherwise than that of \
                     the whole table, so the table can't be made exactly",
                    partition.name.plain()
                ),
                "make the target table by hand, and start again",
            )
        })?;
        model.partitions.push((settings, own, extras));
    }
    Ok(model)
}

/// Makes a target table, and notes in the same transaction that it is ours and what is to follow.
pub(super) async fn make_table(
    servers: &mut Servers,
    (migration, made): (&str, &Made),
    table: &mut PlannedTable,
    (moved, names): (&[(QualifiedName, QualifiedName)], &mut Names),
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let Servers { source, target, .. } = servers;
    let what = format!("making the table {} on the target", table.target_name.plain());
    let failed = |error: Error| Failure {
        hint: "make the table by hand, with what the message misses, and start again".into(),
        ..Failure::refused_by(&what, &error)
    };
    let model = read(source, &table.source, made).await?;
    let making = async {
        let major = target.server_version()?.major();
        target.query("BEGIN").await?;
        if let Some(tablespace) = &made.tablespace {
            let set = format!("SET LOCAL default_tablespace = {}", quote_literal(tablespace));
            target.query(&set).await?;
        }
        for statement in create_table(&table.source, &table.key, &table.target_name) {
            target.query(&statement).await?;
        }
        own(target, &table.target_name, made).await?;
        settle(target, &table.target_name, &model.settings, listener).await?;
        load_names(target, &table.target_name.schema, names).await?;
        let partitions = make_partitions(target, (table, &model, made), names, listener).await?;
        let both = (&table.source.name, &table.target_name);
        let of_root = objects(&model.extras, both, &table.key.index, moved, names, major);
        // Before the root's, with which the server chooses names for partitions.
        let mut all = Vec::new();
        for ((partition, name), (.., extras)) in
            table.source.partitions.iter().zip(&partitions).zip(&model.partitions)
        {
            let own = (&partition.name, name);
            all.extend(partition_objects(extras, own, both, moved, names, major));
        }
        all.extend(of_root);
        ledger::add_objects(target, migration, table.ordinal, &all).await?;
        ledger::set_target_made(target, migration, table.ordinal).await?;
        target.query("COMMIT").await
    };
    if let Err(error) = making.await {
        target.query("ROLLBACK").await.map_err(failed)?;
        return Err(failed(error));
    }
    let made = load_table(target, &table.target_name).await.map_err(failed)?;
    let made = made.ok_or_else(|| Failure::refused(format!("{what}: it is gone"), "try again"))?;
    table.target_key = target::fits_without_key(&table.source, &table.key, &made)?;
    table.target = Some(made);
    Ok(())
}

/// A partition goes where the root goes, or stays in a schema of its own.
pub(super) fn partition_schema<'a>(
    partition: &'a QualifiedName,
    source: &QualifiedName,
    target: &'a QualifiedName,
) -> &'a Ident {
    if partition.schema == source.schema { &target.schema } else { &partition.schema }
}

/// Makes the partitions, each below the one it belongs to, and gives their names.
async fn make_partitions(
    target: &mut Connection,
    (table, model, made): (&PlannedTable, &Model, &Made),
    names: &mut Names,
    listener: &mut dyn Listener,
) -> Result<Vec<QualifiedName>, Error> {
    let both = (&table.source.name, &table.target_name);
    let mut all: Vec<QualifiedName> = Vec::new();
    for (partition, (settings, own_clauses, _)) in
        table.source.partitions.iter().zip(&model.partitions)
    {
        let schema = partition_schema(&partition.name, both.0, both.1);
        if *schema != table.target_name.schema {
            load_names(target, schema, names).await?;
        }
        let name = names.partition(&partition.name, schema, both);
        let parent = table.source.partitions.iter().position(|p| p.oid == partition.parent);
        let parent = parent.and_then(|at| all.get(at)).unwrap_or(&table.target_name);
        target.query(&create_partition(partition, &name, parent)).await?;
        own(target, &name, made).await?;
        for clause in own_clauses {
            target.query(&format!("ALTER TABLE {name} {clause}")).await?;
        }
        settle(target, &name, settings, listener).await?;
        all.push(name);
    }
    Ok(all)
}

/// Gives a new table to whom it is to belong; the sequences of its columns go with it.
async fn own(target: &mut Connection, table: &QualifiedName, made: &Made) -> Result<(), Error> {
    if let Some(owner) = &made.owner {
        target.query(&format!("ALTER TABLE {table} OWNER TO {owner}")).await?;
    }
    Ok(())
}

/// The source's tablespaces mean nothing on the target.
fn place(extras: &mut Extras, made: &Made) {
    for index in &mut extras.indexes {
        index.tablespace.clone_from(&made.tablespace);
    }
}

/// Gives a new table the storage settings of the source's. One that this server does not know, as
/// another release or another build may not, is told of and left out: no row depends on it.
async fn settle(
    target: &mut Connection,
    table: &QualifiedName,
    settings: &[String],
    listener: &mut dyn Listener,
) -> Result<(), Error> {
    for clause in settings {
        target.query("SAVEPOINT setting").await?;
        if let Err(error) = target.query(&format!("ALTER TABLE {table} {clause}")).await {
            if error.sqlstate().is_none() {
                return Err(error);
            }
            target.query("ROLLBACK TO setting").await?;
            let message =
                format!("the target leaves out a setting of {}: {clause}: {error}", table.plain());
            listener.on(&Event::Notice { message });
        }
        target.query("RELEASE setting").await?;
    }
    Ok(())
}
