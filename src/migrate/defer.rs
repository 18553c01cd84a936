//! The secondary indexes and constraints of existing targets, which go before the first page and
//! come back once the checkpoint is passed.
//!
//! They go in the transaction that notes in the ledger how they are made: nowhere in between can a
//! definition be lost. What makes them again is `objects`', like all else that a table gets then;
//! or, where a migration ends before it has copied anything, what stands here.

use super::{Failure, plan::PlannedTable, target::fits};
use crate::{
    catalog::{
        Extras, Names, Object, ObjectKind, inherited_objects, load_extras, load_table, objects,
        partition_objects,
    },
    conn::{Connection, Error},
    ledger::{Ledger, MigrationName, ObjectRecord, TableRecord},
    pg::{Oid, QualifiedName},
};

/// What a table goes without, and the statements that take it away.
#[derive(Default)]
struct PutAway {
    objects: Vec<Object>,
    /// Foreign keys: one of them may need another table's index.
    first: Vec<String>,
    then: Vec<String>,
}

/// Takes it away from all tables that are there, and gives its names, table by table.
///
/// Errors: nothing was taken away.
pub(super) async fn put_away(
    target: &mut Connection,
    migration: &MigrationName,
    tables: &mut [&mut PlannedTable],
) -> Result<Vec<String>, Failure> {
    let failed = |error: Error| Failure {
        hint: "without --defer-indexes nothing is dropped: drop by hand what is in the way".into(),
        ..Failure::refused_by("dropping indexes and constraints of the target", &error)
    };
    let dropped = drop_all(target, migration, tables).await;
    if dropped.is_err() && target.in_transaction() {
        target.query("ROLLBACK").await.map_err(failed)?;
    }
    let told = dropped.map_err(failed)?;
    for table in tables {
        let found = load_table(target, &table.target_name).await.map_err(failed)?;
        let found = found.ok_or_else(|| failed(Error::Result("the table is gone".into())))?;
        table.target_key = Some(fits(&table.source, &table.key, &found)?);
        table.target = Some(found);
    }
    Ok(told)
}

async fn drop_all(
    target: &mut Connection,
    migration: &MigrationName,
    tables: &[&mut PlannedTable],
) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    let (mut first, mut then) = (Vec::new(), Vec::new());
    target.query("BEGIN").await?;
    for table in tables {
        let name = &table.target_name;
        // So that what is noted is what is dropped.
        target.query(&format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")).await?;
        let put_away = of_table(target, table, &[]).await?;
        Ledger::of(target, migration).add_objects(table.ordinal, &put_away.objects).await?;
        let names = names(put_away.objects.iter());
        if !names.is_empty() {
            told.push(format!("{}: {}", name.plain(), names.join(", ")));
        }
        first.extend(put_away.first);
        then.extend(put_away.then);
    }
    for statement in first.iter().chain(&then) {
        target.query_single(statement).await?;
    }
    target.query("COMMIT").await?;
    Ok(told)
}

/// The statements that take it away from a table, and what comes back later. Changes nothing.
pub(super) async fn what_goes(
    target: &mut Connection,
    table: &PlannedTable,
) -> Result<(Vec<String>, Vec<Object>), Error> {
    let PutAway { objects, first, then } = of_table(target, table, &[]).await?;
    Ok((first.into_iter().chain(then).collect(), objects))
}

/// What comes back later, as it would be made in other places: `places` are of the table, its
/// partitions and what its foreign keys refer to, and what has none is left out. Changes nothing.
pub(super) async fn elsewhere(
    target: &mut Connection,
    table: &PlannedTable,
    places: &[(QualifiedName, QualifiedName)],
) -> Result<Vec<Object>, Error> {
    Ok(of_table(target, table, places).await?.objects)
}

/// Their names, for people; a validation and a setting have none of their own.
pub(super) fn names<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<String> {
    let own = |o: &&Object| {
        matches!(o.kind, ObjectKind::Index | ObjectKind::Unique | ObjectKind::ForeignKey)
    };
    objects.filter(own).map(|object| object.name.clone()).collect()
}

/// `places`, if there are any, say where it is made again; otherwise that is where it was.
async fn of_table(
    target: &mut Connection,
    table: &PlannedTable,
    places: &[(QualifiedName, QualifiedName)],
) -> Result<PutAway, Error> {
    let place = |name: &QualifiedName| {
        let found = places.iter().find(|(real, _)| real == name).map(|(_, place)| place.clone());
        found.or_else(|| places.is_empty().then(|| name.clone()))
    };
    let refers_to_one = |extras: &mut Extras| {
        extras.constraints.retain(|constraint| {
            constraint.reference.as_ref().is_none_or(|(other, _)| place(other).is_some())
        });
    };
    let gone = || Error::Result("the target has no key any more".into());
    let root = table.target.as_ref().ok_or_else(gone)?;
    let key = table.target_key.as_ref().map(|key| key.index.as_str()).ok_or_else(gone)?;
    let major = target.server_version()?.major();
    let mut put_away = PutAway::default();
    // Their names are free again when they come back.
    let mut names = Names::default();
    let mut of_root = extras(target, root.oid, None).await?;
    of_root.indexes.retain(|index| index.name != key);
    put_away.drops(&of_root, &root.name);
    refers_to_one(&mut of_root);
    let at = place(&root.name).ok_or_else(gone)?;
    let root_objects = objects(&of_root, (&root.name, &at), key, places, &mut names, major);
    let mut partitions = Vec::new();
    for partition in &root.partitions {
        let Some(at) = place(&partition.name) else { continue };
        let mut own = extras(target, partition.oid, Some(root.oid)).await?;
        // Those of the key stay.
        own.inherited.retain(|i| i.root_table.as_ref() != Some(&root.name) || i.root != key);
        put_away.drops(&own, &partition.name);
        refers_to_one(&mut own);
        let name = (&partition.name, &at);
        put_away.objects.extend(partition_objects(&own, name, places, &mut names, major));
        partitions.push((own, &partition.name, at));
    }
    // After its partitions': with the root's, the server chooses names for theirs.
    put_away.objects.extend(root_objects);
    let named: Vec<_> = partitions.iter().map(|(own, name, at)| (own, *name, at)).collect();
    put_away.objects.extend(inherited_objects(&named, &mut names));
    put_away.objects.retain(|object| object.kind != ObjectKind::Analyze);
    Ok(put_away)
}

/// What a table, or of a partition what it has for itself, is to go without.
async fn extras(target: &mut Connection, oid: Oid, root: Option<Oid>) -> Result<Extras, Error> {
    let found = load_extras(target, oid, root).await?;
    Ok(Extras {
        indexes: found.indexes,
        constraints: found.constraints.into_iter().filter(|c| c.reference.is_some()).collect(),
        inherited: found.inherited,
        partitioned: found.partitioned,
        ..Extras::default()
    })
}

impl PutAway {
    fn drops(&mut self, extras: &Extras, name: &QualifiedName) {
        let constraints = extras.constraints.iter();
        self.first
            .extend(constraints.map(|c| format!("ALTER TABLE {name} DROP CONSTRAINT {}", c.name)));
        let identity = extras.indexes.iter().any(|index| index.replica_identity)
            || extras.inherited.iter().any(|index| index.replica_identity);
        if identity {
            // Without any, a publication of the target would refuse updates and deletes.
            self.first.push(format!("ALTER TABLE {name} REPLICA IDENTITY FULL"));
        }
        for index in &extras.indexes {
            let index_name = QualifiedName::new(name.schema.as_str(), index.name.as_str());
            self.then.push(match &index.constraint {
                Some(_) => format!("ALTER TABLE {name} DROP CONSTRAINT {}", index_name.name),
                None => format!("DROP INDEX {index_name}"),
            });
        }
    }
}

/// What a table of the ledger still goes without.
pub(super) fn missing_of<'a>(
    objects: &'a [ObjectRecord],
    table: &TableRecord,
) -> Vec<&'a ObjectRecord> {
    let missing = |o: &&ObjectRecord| o.ordinal == table.ordinal && !o.done && o.skipped.is_none();
    objects.iter().filter(missing).collect()
}

/// Makes again what was put away, in a table that is still empty. Can be done again.
pub(super) async fn bring_back(
    target: &mut Connection,
    migration: &MigrationName,
    table: &TableRecord,
) -> Result<Vec<String>, Error> {
    let all = Ledger::of(target, migration).load_objects().await?;
    let missing = missing_of(&all, table);
    for object in &missing {
        let made = async {
            target.query("BEGIN").await?;
            for statement in &object.object.statements {
                target.query_single(statement).await?;
            }
            Ledger::of(target, migration).object_done(object).await?;
            target.query("COMMIT").await
        };
        if let Err(error) = made.await {
            if target.in_transaction() {
                target.query("ROLLBACK").await?;
            }
            return Err(error);
        }
    }
    Ok(names(missing.iter().map(|record| &record.object)))
}
