//! The secondary indexes and constraints of existing targets, which go before the first page and
//! come back once the checkpoint is passed.
//!
//! They go in the transaction that notes in the ledger how they are made: nowhere in between can a
//! definition be lost. What makes them again is `objects`', like all else that a table gets then;
//! or, where a migration ends before it has copied anything, what stands here.

use super::{Failure, plan::PlannedTable, target::fits};
use crate::{
    catalog::{Extras, Names, Object, ObjectKind, load_extras, load_table, objects},
    conn::{Connection, Error},
    ledger::{self, ObjectRecord, TableRecord},
    pg::QualifiedName,
};

/// What a table goes without, and the statements that take it away.
struct PutAway {
    objects: Vec<Object>,
    /// Foreign keys first: one of them may need another table's index.
    foreign_keys: Vec<String>,
    others: Vec<String>,
}

/// Takes it away from all tables that are there, and gives its names, table by table.
///
/// Errors: nothing was taken away.
pub(super) async fn put_away(
    target: &mut Connection,
    migration: &str,
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
    migration: &str,
    tables: &[&mut PlannedTable],
) -> Result<Vec<String>, Error> {
    let mut told = Vec::new();
    let (mut first, mut then) = (Vec::new(), Vec::new());
    target.query("BEGIN").await?;
    for table in tables {
        let name = &table.target_name;
        // So that what is noted is what is dropped.
        target.query(&format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")).await?;
        let put_away = of_table(target, table).await?;
        ledger::add_objects(target, migration, table.ordinal, &put_away.objects).await?;
        let names = names(put_away.objects.iter());
        if !names.is_empty() {
            told.push(format!("{}: {}", name.plain(), names.join(", ")));
        }
        first.extend(put_away.foreign_keys);
        then.extend(put_away.others);
    }
    for statement in first.iter().chain(&then) {
        target.query(statement).await?;
    }
    target.query("COMMIT").await?;
    Ok(told)
}

/// Their names, for people; a validation and a setting have none of their own.
pub(super) fn names<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<String> {
    let own = |o: &&Object| {
        matches!(o.kind, ObjectKind::Index | ObjectKind::Unique | ObjectKind::ForeignKey)
    };
    objects.filter(own).map(|object| object.name.clone()).collect()
}

async fn of_table(target: &mut Connection, table: &PlannedTable) -> Result<PutAway, Error> {
    let name = &table.target_name;
    let gone = || Error::Result("the target has no key any more".into());
    let oid = table.target.as_ref().map(|t| t.oid).ok_or_else(gone)?;
    let key = table.target_key.as_ref().map(|key| key.index.as_str()).ok_or_else(gone)?;
    let found = load_extras(target, oid).await?;
    let major = target.server_version()?.major();
    let extras = Extras {
        indexes: found.indexes.into_iter().filter(|index| index.name != key).collect(),
        constraints: found.constraints.into_iter().filter(|c| c.reference.is_some()).collect(),
        ..Extras::default()
    };
    // Their names are free again when they come back.
    let both = (name, name);
    let mut all = objects(&extras, both, key, &[], &mut Names::default(), major);
    all.retain(|object| object.kind != ObjectKind::Analyze);
    let foreign_keys = (extras.constraints.iter())
        .map(|c| format!("ALTER TABLE {name} DROP CONSTRAINT {}", c.name))
        .collect();
    let mut others = Vec::new();
    for index in &extras.indexes {
        if index.replica_identity {
            // Without any, a publication of the target would refuse updates and deletes.
            others.push(format!("ALTER TABLE {name} REPLICA IDENTITY FULL"));
        }
        let index_name = QualifiedName::new(name.schema.as_str(), index.name.as_str());
        others.push(match &index.constraint {
            Some(_) => format!("ALTER TABLE {name} DROP CONSTRAINT {}", index_name.name),
            None => format!("DROP INDEX {index_name}"),
        });
    }
    Ok(PutAway { objects: all, foreign_keys, others })
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
    migration: &str,
    table: &TableRecord,
) -> Result<Vec<String>, Error> {
    let all = ledger::load_objects(target, migration).await?;
    let missing = missing_of(&all, table);
    for object in &missing {
        let made = async {
            target.query("BEGIN").await?;
            for statement in &object.object.statements {
                target.query(statement).await?;
            }
            ledger::object_done(target, migration, object).await?;
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
