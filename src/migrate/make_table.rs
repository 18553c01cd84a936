//! The tables that pghost makes on the target.

use super::{
    Event, Failure, Listener, MigrationSpec,
    check::{At, Findings, KnownOwners},
    plan::PlannedTable,
    servers::Servers,
    target, target_owner,
};
use crate::{
    catalog::{
        Column, Design, Extras, InheritedIndex, NamedSequence, Names, Object, ObjectKind, Table,
        always_identities, create_partition, create_table, inherited_objects, load_extras,
        load_names, load_settings, load_table, name_sequences, objects, partition_objects,
        sequence_objects, take_identity,
    },
    conn::{Connection, Error},
    ledger::{Ledger, MigrationName},
    pg::{Ident, QualifiedName},
    sql::quote_literal,
};

/// How targets are made and set up.
#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    /// Who is to own them in the end, by their places, if not the role that makes them.
    owners: Vec<Option<Ident>>,
    pub(super) tablespace: Option<String>,
    pub(super) defer_indexes: bool,
    /// For the trial: each schema of the target, and which one stands for it.
    pub(super) stands_for: Vec<(Ident, Ident)>,
}

impl Made {
    /// Takes what was asked for, and looks whether the target can do it.
    pub(super) async fn look(
        target: &mut Connection,
        spec: &MigrationSpec,
        of: (&[PlannedTable], &KnownOwners),
        findings: &mut Findings,
    ) -> Result<Self, Failure> {
        let owners = target_owner::look(target, spec, of, findings).await?;
        if let Some(tablespace) = &spec.target_tablespace {
            let may = may_use(target, tablespace).await;
            findings.take(At::target("tablespace"), may)?;
        }
        Ok(Self {
            owners,
            tablespace: spec.target_tablespace.clone(),
            defer_indexes: spec.defer_indexes,
            stands_for: Vec::new(),
        })
    }

    /// The schema to make something in that belongs into this one.
    fn schema<'a>(&'a self, schema: &'a Ident) -> &'a Ident {
        let found = self.stands_for.iter().find(|(real, _)| real == schema);
        found.map_or(schema, |(_, other)| other)
    }
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
    /// Of each partition: its settings, its columns, and what else it has.
    partitions: Vec<(Vec<String>, Vec<Column>, Extras)>,
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
        let found = found.ok_or_else(|| {
            let what = format!("the partition {} is gone", partition.name.plain());
            Failure::refused(what, "give the same command again")
        })?;
        model.partitions.push((settings, found.columns, extras));
    }
    Ok(model)
}

/// How one table is made: all statements in one transaction, and what it gets later.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) statements: Vec<Statement>,
    pub(super) objects: Vec<Object>,
    /// What is called otherwise than on the source, since the name is taken.
    renamed: Vec<String>,
}

/// One statement of a recipe.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// Whether it is a setting that another release, or another build, may not know. No row
    /// depends on one.
    pub(super) may_fail: bool,
}

/// Finds out how a table is made. Changes nothing.
pub(super) async fn recipe(
    servers: &mut Servers,
    made: &Made,
    table: &PlannedTable,
    (moved, names): (&[(QualifiedName, QualifiedName)], &mut Names),
) -> Result<Recipe, Failure> {
    let Servers { source, target, .. } = servers;
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let model = read(source, &table.source, made).await?;
    let name = &table.target_name;
    load_names(target, &name.schema, names).await.map_err(failed)?;
    for partition in &table.source.partitions {
        let schema = partition_schema(&partition.name, &table.source.name, name);
        if *schema != name.schema {
            load_names(target, schema, names).await.map_err(failed)?;
        }
    }
    let major = target.server_version().map_err(failed)?.major();
    Ok(write(table, (&model, made), moved, names, major))
}

/// Writes the recipe. `major` is the target's release.
fn write(
    table: &PlannedTable,
    (model, made): (&Model, &Made),
    moved: &[(QualifiedName, QualifiedName)],
    names: &mut Names,
    major: u32,
) -> Recipe {
    let (source, name) = (&table.source, &table.target_name);
    names.take(&name.schema, name.name.as_str().to_owned());
    let mut statements = Vec::new();
    if let Some(tablespace) = &made.tablespace {
        let set = format!("SET LOCAL default_tablespace = {}", quote_literal(tablespace));
        statements.push(must(set));
    }
    let both = (&source.name, name);
    let sequences = name_sequences(&model.extras.sequences, both, names);
    let (key, not_nulls) = (&table.key, model.extras.not_nulls.as_slice());
    let columns = source.columns.as_slice();
    let access_method = model.extras.access_method.as_deref();
    let design = Design { columns, key, sequences: &sequences, not_nulls, access_method, major };
    statements.extend(create_table(source, design, name).into_iter().map(must));
    statements.extend(settle(name, &model.settings));
    let partitions = partitions(table, (model, made), design, names, &mut statements);
    let mut of_root = objects(&model.extras, both, &key.index, moved, names, major);
    of_root.extend(sequence_objects(&sequences));
    of_root.extend(always_identities(columns, key).map(|column| always(name, column)));
    // Before the root's, with which the server chooses names for partitions.
    let (mut all, mut named) = (Vec::new(), Vec::new());
    for ((partition, (name, sequences)), (.., extras)) in
        source.partitions.iter().zip(&partitions).zip(&model.partitions)
    {
        let own = (&partition.name, name);
        let mut own_objects = partition_objects(extras, own, moved, names, major);
        let by_key = |index: &InheritedIndex| {
            let of_key = index.root_table.as_ref() == Some(&source.name) && index.root == key.index;
            index.replica_identity && of_key
        };
        let of_key = of_root.iter_mut().find(|object| object.kind == ObjectKind::Key);
        if let (Some(of_key), true) =
            (of_key, extras.identity_full || extras.inherited.iter().any(by_key))
        {
            of_key.statements.extend(take_identity(&mut own_objects));
        }
        all.extend(own_objects);
        all.extend(sequence_objects(sequences));
        named.push((extras, own.0, own.1));
    }
    all.extend(of_root);
    all.extend(inherited_objects(&named, names));
    let tables = source.partitions.iter().map(|p| &p.name).chain([&source.name]);
    let renamed = tables.flat_map(|table| names.changed(table));
    let renamed = renamed.map(|(was, now)| format!("{was} is called {}", now.name.as_str()));
    if let Some(Some(owner)) = made.owners.get(table.ordinal) {
        let each = partitions.iter().map(|(name, _)| name).chain([name]);
        let statements = each.map(|table| target_owner::give(table, owner)).collect();
        all.push(Object { kind: ObjectKind::Owner, name: owner.as_str().to_owned(), statements });
    }
    Recipe { statements, objects: all, renamed: renamed.collect() }
}

/// What becomes of an identity column beside the key that only takes the sequence's values.
fn always(table: &QualifiedName, column: &Ident) -> Object {
    let sql = format!("ALTER TABLE {table} ALTER COLUMN {column} SET GENERATED ALWAYS");
    let name = column.as_str().to_owned();
    Object { kind: ObjectKind::Identity, name, statements: vec![sql] }
}

const fn must(sql: String) -> Statement {
    Statement { sql, may_fail: false }
}

/// Makes a target table, and notes in the same transaction that it is ours and what is to follow.
pub(super) async fn make_table(
    servers: &mut Servers,
    (migration, made): (&MigrationName, &Made),
    table: &mut PlannedTable,
    (moved, names): (&[(QualifiedName, QualifiedName)], &mut Names),
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let what = format!("making the table {} on the target", table.target_name.plain());
    let failed = |error: Error| Failure {
        hint: "make the table by hand, with what the message misses, and start again".into(),
        ..Failure::refused_by(&what, &error)
    };
    let recipe = recipe(servers, made, table, (moved, names)).await?;
    if !recipe.renamed.is_empty() {
        let (table, names) = (table.target_name.plain(), recipe.renamed.join(", "));
        let message = format!("names of {table} that are taken on the target: {names}");
        listener.on(&Event::Notice { message });
    }
    let target = &mut servers.target;
    let making = async {
        target.query("BEGIN").await?;
        for statement in &recipe.statements {
            follow(target, statement, &table.target_name, listener).await?;
        }
        Ledger::of(target, migration).add_objects(table.ordinal, &recipe.objects).await?;
        Ledger::of(target, migration).set_target_made(table.ordinal, &table.target_name).await?;
        target.query("COMMIT").await
    };
    if let Err(error) = making.await {
        if target.in_transaction() {
            target.query("ROLLBACK").await.map_err(failed)?;
        }
        return Err(failed(error));
    }
    let made = load_table(target, &table.target_name).await.map_err(failed)?;
    let made = made.ok_or_else(|| Failure::refused(format!("{what}: it is gone"), "try again"))?;
    table.target_key = target::fits_without_key(&table.source, &table.key, &made)?;
    table.target = Some(made);
    Ok(())
}

/// Runs a statement. A setting that this server does not know is told of and left out.
async fn follow(
    target: &mut Connection,
    statement: &Statement,
    table: &QualifiedName,
    listener: &mut dyn Listener,
) -> Result<(), Error> {
    if !statement.may_fail {
        return target.query_single(&statement.sql).await.map(drop);
    }
    target.query("SAVEPOINT setting").await?;
    if let Err(error) = target.query_single(&statement.sql).await {
        if !target.in_transaction() {
            return Err(error);
        }
        target.query("ROLLBACK TO setting").await?;
        let (table, sql) = (table.plain(), &statement.sql);
        let message = format!("the target leaves out a setting of {table}: {sql}: {error}");
        listener.on(&Event::Notice { message });
    }
    target.query("RELEASE setting").await.map(drop)
}

/// A partition goes where the root goes, or stays in a schema of its own.
pub(super) fn partition_schema<'a>(
    partition: &'a QualifiedName,
    source: &QualifiedName,
    target: &'a QualifiedName,
) -> &'a Ident {
    if partition.schema == source.schema { &target.schema } else { &partition.schema }
}

/// The partitions, each below the one it belongs to; gives their names and sequences.
fn partitions<'m>(
    table: &PlannedTable,
    (model, made): (&'m Model, &Made),
    whole: Design<'_>,
    names: &mut Names,
    statements: &mut Vec<Statement>,
) -> Vec<(QualifiedName, Vec<NamedSequence<'m>>)> {
    let both = (&table.source.name, &table.target_name);
    let mut all: Vec<(QualifiedName, Vec<NamedSequence<'m>>)> = Vec::new();
    for (partition, (settings, columns, extras)) in
        table.source.partitions.iter().zip(&model.partitions)
    {
        let schema = made.schema(partition_schema(&partition.name, both.0, both.1));
        let name = names.partition(&partition.name, schema, both);
        let parent = table.source.partitions.iter().position(|p| p.oid == partition.parent);
        let parent = parent.and_then(|at| all.get(at)).map_or(both.1, |(name, _)| name);
        let mut own_sequences = name_sequences(&extras.sequences, (&partition.name, &name), names);
        // From 17 on partitions have the identity columns of the whole table.
        own_sequences.retain(|own| whole.major < 17 || !own.sequence.identity);
        let sequences: Vec<_> = own_sequences.iter().chain(whole.sequences).cloned().collect();
        let (sequences, not_nulls) = (sequences.as_slice(), extras.not_nulls.as_slice());
        let access_method = extras.access_method.as_deref();
        // A trial may have other types.
        let type_of = |column: &Column| {
            let of_whole = whole.columns.iter().find(|whole| whole.name == column.name);
            of_whole.map_or_else(|| column.type_name.clone(), |whole| whole.type_name.clone())
        };
        let typed = |column: &Column| Column { type_name: type_of(column), ..column.clone() };
        let columns: Vec<_> = columns.iter().map(typed).collect();
        let columns = columns.as_slice();
        let design = Design { columns, sequences, not_nulls, access_method, ..whole };
        let made_as = create_partition(partition, design, &own_sequences, (&name, parent));
        statements.extend(made_as.into_iter().map(must));
        statements.extend(settle(&name, settings));
        all.push((name, own_sequences));
    }
    all
}

/// The source's tablespaces mean nothing on the target.
fn place(extras: &mut Extras, made: &Made) {
    for index in &mut extras.indexes {
        index.tablespace.clone_from(&made.tablespace);
    }
}

/// Gives a new table the storage settings of the source's.
fn settle(table: &QualifiedName, settings: &[String]) -> impl Iterator<Item = Statement> {
    settings.iter().map(move |clause| {
        let sql = format!("ALTER TABLE {table} {clause}");
        Statement { sql, may_fail: true }
    })
}
