//! Taking up a migration that was begun: is everything still what it belongs to?
//!
//! Everything here is looked at before anything is written. What is not the same any more can't
//! be mended by going on: the log between would be missing, or belong to another history.

use super::{
    Failure, MigrationSpec, Verdict,
    altered::{self, Difference},
    plan::PlannedTable,
    preflight::{self, load_source},
    publication,
    servers::Servers,
    slot_view::why_lost,
    target,
    verdict::{START_AGAIN, Sign},
};
use crate::{
    catalog::{Table, choose_key, load_prefixes, load_table, matching_key},
    conn::Error,
    ledger::{Migration, Phase, TableRecord},
    pg::Ident,
    replication::find_slot,
};

/// Checks a migration against both servers and gives its tables.
pub(super) async fn check(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: &Migration,
) -> Result<Vec<PlannedTable>, Failure> {
    asks_for_the_same(spec, migration)?;
    same_server(servers, migration)?;
    preflight::lock_slot(&mut servers.source, &migration.slot).await?;
    let mut tables = Vec::new();
    for record in &migration.tables {
        tables.push(check_table(spec, servers, migration, record).await?);
    }
    check_slot(servers, migration).await?;
    publication::check(servers, &migration.publication, &tables).await.map_err(|failure| {
        if failure.verdict == Verdict::Retry {
            return failure;
        }
        let what = format!("changes may be missing from the stream: {}", failure.message);
        Failure::seen(Sign::Slot, what)
    })?;
    Ok(tables)
}

fn asks_for_the_same(spec: &MigrationSpec, migration: &Migration) -> Result<(), Failure> {
    let name = &migration.name;
    let other = |what: &str, was: &str| {
        Failure::refused(
            format!("the migration {name} was begun with another {what}: {was}"),
            "give the same arguments as before, or another --name for another migration",
        )
    };
    let same_tables = spec.tables.is_empty()
        || spec.tables.len() == migration.tables.len()
            && (spec.tables.iter().zip(&migration.tables))
                .all(|(asked, table)| asked.source == table.source && asked.target == table.target);
    if !same_tables {
        let pair = |t: &TableRecord| format!("{}={}", t.source.plain(), t.target.plain());
        let tables: Vec<_> = migration.tables.iter().map(pair).collect();
        return Err(other("list of tables", &tables.join(", ")));
    }
    if spec.publication.as_ref().is_some_and(|asked| *asked != migration.publication) {
        return Err(other("publication", &migration.publication));
    }
    if spec.slot.as_ref().is_some_and(|asked| *asked != migration.slot) {
        return Err(other("slot", &migration.slot));
    }
    Ok(())
}

fn same_server(servers: &Servers, migration: &Migration) -> Result<(), Failure> {
    let (now, then) = (&servers.identity, &migration.source);
    let what = if now.system_id != then.system_id {
        format!(
            "the source is another server (system {}, it was {})",
            now.system_id, then.system_id
        )
    } else if now.timeline != then.timeline {
        format!(
            "the source is on timeline {} now, it was {}: it was promoted or restored",
            now.timeline, then.timeline
        )
    } else if now.database != then.database {
        format!("the source database is {}, it was {}", now.database, then.database)
    } else {
        return Ok(());
    };
    let what = format!("the migration {} can't go on here: {what}", migration.name);
    Err(Failure::seen(Sign::OtherServer, what))
}

async fn check_table(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: &Migration,
    record: &TableRecord,
) -> Result<PlannedTable, Failure> {
    let cannot = |what: String| Failure::seen(Sign::Altered, what);
    let plain = record.source.plain();
    let (source, new_columns) = unaltered(servers, record, spec.ignore_new_columns).await?;
    let key = choose_key(&source)
        .map_err(|refusal| cannot(format!("{plain} has lost its key: {refusal}")))?;
    let columns: Vec<_> = source.stored_columns().map(|c| c.name.clone()).collect();
    let key_names: Vec<_> = key.columns.iter().map(|c| c.name.clone()).collect();
    if key_names != record.key || columns != record.columns {
        return Err(cannot(format!("the columns or the key of {plain} have changed")));
    }
    let is_arithmetic = preflight::is_arithmetic(spec.paging, &source, &key)?;
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let found = load_table(&mut servers.target, &record.target).await.map_err(at_target)?;
    let found =
        found.ok_or_else(|| cannot(format!("the target {} is gone", record.target.plain())))?;
    // Once the target was exact, its owner may have added indexes and constraints.
    let target_key = if migration.phase == Phase::Done {
        Some(matching_key(&found, &record.key).ok_or_else(|| {
            cannot(format!("the target {} has lost its key", record.target.plain()))
        })?)
    } else if record.target_made && !record.backfilled {
        target::fits_without_key(&source, &key, &found)?
    } else {
        Some(target::fits(&source, &key, &found)?)
    };
    Ok(PlannedTable {
        ordinal: record.ordinal,
        source,
        key,
        target_name: record.target.clone(),
        target: Some(found),
        target_key,
        new_columns,
        is_arithmetic,
    })
}

/// The source's table if it is what it was, without columns that it got since; and those.
///
/// A rewriting ALTER TABLE changes rows without a trace in the stream.
///
/// Errors: it is another table, or was altered: by new columns that are not to be ignored, or
/// otherwise.
pub(super) async fn unaltered(
    servers: &mut Servers,
    record: &TableRecord,
    ignores_new: bool,
) -> Result<(Table, Vec<Ident>), Failure> {
    let plain = record.source.plain();
    let at_source = |error: Error| Failure::refused_by("looking at the source", &error);
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let there = load_table(&mut servers.source, &record.source).await.map_err(at_source)?;
    if there.is_none_or(|there| there.oid != record.source_oid) {
        let what = format!("{plain} is gone from the source, or another table of the same name");
        return Err(Failure::seen(Sign::OtherServer, what));
    }
    let mut source = load_source(&mut servers.source, &record.source).await?;
    let prefixes = load_prefixes(&mut servers.source, source.oid).await.map_err(at_source)?;
    let target = load_table(&mut servers.target, &record.target).await.map_err(at_target)?;
    let what = |difference: &str| format!("{plain} was altered on the source: {difference}");
    match altered::difference(&source, &prefixes, record, target.as_ref()) {
        Difference::None => Ok((source, Vec::new())),
        Difference::Added(new) if ignores_new => {
            source.columns.retain(|column| !new.contains(&column.name));
            Ok((source, new))
        }
        Difference::Added(new) => {
            let names: Vec<_> = new.iter().map(Ident::as_str).collect();
            Err(Failure {
                hint: format!(
                    "give the same command again with --ignore-new-columns, and the target stays \
                     without them; or {START_AGAIN}"
                ),
                ..Failure::seen(Sign::Altered, what(&format!("added: {}", names.join(", "))))
            })
        }
        Difference::Other(difference) => Err(Failure::seen(Sign::Altered, what(&difference))),
    }
}

/// The slot must be the one that was made, and nobody else may have moved it.
async fn check_slot(servers: &mut Servers, migration: &Migration) -> Result<(), Failure> {
    let name = &migration.slot;
    let slot = find_slot(&mut servers.source, name)
        .await
        .map_err(|error| Failure::refused_by("looking at the slot", &error))?;
    match why_lost(name, slot.as_ref(), &migration.source.database, migration.applied) {
        Some(why) => Err(Failure::seen(Sign::Slot, why)),
        None => Ok(()),
    }
}
