//! Taking up a migration that was begun: is everything still what it belongs to?
//!
//! Everything here is looked at before anything is written. What is not the same any more can't
//! be mended by going on: the log between would be missing, or belong to another history.

use super::{
    Failure, MigrationSpec, Then, Verdict,
    altered::{self, Difference},
    check::{Findings, order_is_kept},
    composition,
    failure::Exit,
    handoff,
    plan::PlannedTable,
    preflight::{self, load_source},
    publication,
    servers::Servers,
    still, target,
    verdict::{START_AGAIN, Sign},
    watch::slot_view::{Known, why_lost},
};
use crate::{
    catalog::{
        Files, Foundation, Key, Shape, Table, choose_key, load_key_order, load_prefixes,
        load_table, matching_key, name_of_table,
    },
    conn::{Connection, Error},
    ledger::{Ledger, LedgerSchema, Migration, Phase, TableRecord},
    pg::{Ident, Oid, QualifiedName},
    replication::find_slot,
    sql::quote_literal,
};

/// Checks a migration against both servers and gives its tables.
pub(super) async fn check(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: &Migration,
) -> Result<Vec<PlannedTable>, Failure> {
    is_the_same(spec, servers, migration).await?;
    let mut tables = Vec::new();
    for record in &migration.tables {
        tables.push(check_table(spec, servers, migration, record).await?);
    }
    if migration.phase <= Phase::Backfill {
        let left = still_to_copy(&tables, migration);
        order_is_kept(&mut servers.source, spec.copy_from.as_ref(), left).await?;
    }
    still::is_kept(&mut servers.target, &tables).await?;
    if let Some(difference) = composition::differences(servers, &tables).await?.pop() {
        return Err(difference.in_mid_run());
    }
    check_slot(servers, migration).await?;
    publication::still_brings_all(&mut servers.source, migration, &tables).await?;
    if spec.then == Then::Handoff {
        let of = (migration.name.as_str(), Some(migration.publication.as_str()));
        let mut findings = Findings::for_run();
        handoff::check::can_be_streamed(&migration.publication)?;
        handoff::check::look(spec, servers, of, &tables, &mut findings).await?;
        findings.refused()?;
    }
    Ok(tables)
}

/// The tables of which the ledger does not say that all pages are there.
pub(super) fn still_to_copy<'a>(
    tables: &'a [PlannedTable],
    migration: &'a Migration,
) -> impl Iterator<Item = &'a PlannedTable> {
    let left = tables.iter().zip(&migration.tables).filter(|(_, record)| !record.backfilled);
    left.map(|(table, _)| table)
}

/// The arguments and the server are those that it was begun with, and nobody else is at its slot.
pub(super) async fn is_the_same(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: &Migration,
) -> Result<(), Failure> {
    asks_for_the_same(spec, migration)?;
    same_server(servers, migration)?;
    preflight::claim_slot(servers, &migration.slot).await
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
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let found = load_table(&mut servers.target, &record.target).await.map_err(at_target)?;
    let ignores_new = spec.ignore_new_columns;
    let (source, new_columns) =
        unaltered(&mut servers.source, record, found.as_ref(), ignores_new).await?;
    let key = choose_key(&source)
        .map_err(|refusal| cannot(format!("{plain} has lost its key: {refusal}")))?;
    identities(&source, &key)?;
    let columns: Vec<_> = source.stored_columns().map(|c| c.name.clone()).collect();
    let foundation = Foundation::load(&mut servers.source, &source, &key, ignores_new)
        .await
        .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    let key_names: Vec<_> = key.columns.iter().map(|c| c.name.clone()).collect();
    if key_names != record.key || columns != record.columns {
        return Err(cannot(format!("the columns or the key of {plain} have changed")));
    }
    same_order(&mut servers.source, record, &source, &key).await?;
    let is_arithmetic = preflight::is_arithmetic(spec.paging, &source, &key)?;
    let found =
        found.ok_or_else(|| cannot(format!("the target {} is gone", record.target.plain())))?;
    has_its_rows(&mut servers.target, migration, record, &found).await?;
    has_its_columns(&source, &found)?;
    has_its_first_columns(&mut servers.target, migration, record).await?;
    lasts(&found)?;
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
        foundation,
        ground: Foundation::default(),
        target_name: record.target.clone(),
        target: Some(found),
        key_order: record.key_order.clone(),
        target_key,
        new_columns,
        is_arithmetic,
    })
}

/// With a column all that was copied of it has gone; to add it again would not bring that back.
fn has_its_columns(source: &Table, target: &Table) -> Result<(), Failure> {
    let gone = source.stored_columns().find(|column| target.column(&column.name).is_none());
    gone.map_or(Ok(()), |column| {
        Err(Failure::cannot_resume(
            format!(
                "the target {} has no column {} any more, and with it what was copied of it has \
                 gone",
                target.name.plain(),
                column.name
            ),
            format!(
                "if it was only given another name, give it its own again (ALTER TABLE {} RENAME \
                 COLUMN), and then the same command. Else {START_AGAIN}",
                target.name
            ),
        ))
    })
}

/// No column was dropped and made again, with nothing in it for the rows that were copied.
async fn has_its_first_columns(
    target: &mut Connection,
    migration: &Migration,
    record: &TableRecord,
) -> Result<(), Failure> {
    let moved = Ledger::of(target, &migration.name).moved_column(record.ordinal).await;
    let moved = moved.map_err(|error| Failure::refused_by("looking at the target", &error))?;
    moved.map_or(Ok(()), |name| {
        let what = format!(
            "the column {name} of the target {} is another one than values were copied to: it was \
             dropped and made again",
            record.target.plain()
        );
        Err(Failure::seen(Sign::Emptied, what))
    })
}

/// A crash empties an unlogged table, and the ledger's lines stay.
fn lasts(target: &Table) -> Result<(), Failure> {
    match target::does_not_last(target) {
        None => Ok(()),
        Some((what, mend)) => Err(Failure::cannot_resume(
            what,
            format!(
                "if that server has not crashed since the migration began, so that all rows are \
                 there: {mend}, and give the same command again. Else {START_AGAIN}"
            ),
        )),
    }
}

/// The target is the table that the rows were copied to, and has them: as long as no changes are
/// applied, none of its rows can go.
async fn has_its_rows(
    target: &mut Connection,
    migration: &Migration,
    record: &TableRecord,
    found: &Table,
) -> Result<(), Failure> {
    let plain = record.target.plain();
    if record.target_oid.is_some_and(|oid| oid != found.oid) {
        let what = "is another table than the one that rows were copied to: it was made again";
        return Err(Failure::seen(Sign::Emptied, format!("the target {plain} {what}")));
    }
    if migration.phase > Phase::Backfill {
        return Ok(());
    }
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let copied = Ledger::of(target, &migration.name).rows_copied().await.map_err(failed)?;
    let copied = copied.get(&record.ordinal).copied().unwrap_or(0);
    let sql = format!("SELECT NOT EXISTS (SELECT FROM {}) AS empty", record.target);
    if copied > 0 && target.query(&sql).await.and_then(|r| r.row()?.get("empty")).map_err(failed)? {
        let what = format!("the target {plain} is empty, and {copied} rows were copied to it");
        return Err(Failure::seen(Sign::Emptied, what));
    }
    Ok(())
}

/// The key has the order that it had. Another one makes another range of every page that is left:
/// rows that now lie before its lower bound would never be copied.
pub(super) async fn same_order(
    source: &mut Connection,
    record: &TableRecord,
    table: &Table,
    key: &Key,
) -> Result<(), Failure> {
    if record.backfilled {
        return Ok(());
    }
    let now = load_key_order(source, table, &key.columns)
        .await
        .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    if now != record.key_order {
        let what = format!(
            "the key of {} is ordered otherwise than when the migration began: {now}; it was {}",
            record.source.plain(),
            record.key_order
        );
        return Err(Failure::seen(Sign::Altered, what));
    }
    Ok(())
}

/// The source's table if it is what it was, without columns that it got since; and those.
///
/// A rewriting ALTER TABLE changes rows without a trace in the stream.
///
/// Errors: it is another table, or was altered: by new columns that are not to be ignored, or
/// otherwise.
pub(super) async fn unaltered(
    source: &mut Connection,
    record: &TableRecord,
    target: Option<&Table>,
    ignores_new: bool,
) -> Result<(Table, Vec<Ident>), Failure> {
    let plain = record.source.plain();
    let at_source = |error: Error| Failure::refused_by("looking at the source", &error);
    in_its_place(source, &record.source, record.source_oid).await?;
    let mut table = load_source(source, &record.source).await?;
    if table.oid != record.source_oid {
        // Only since a moment ago.
        let now = name_of_table(source, record.source_oid).await.map_err(at_source)?;
        return Err(not_there(&record.source, now.as_ref()));
    }
    let prefixes = load_prefixes(source, table.oid).await.map_err(at_source)?;
    match altered::difference(&table, &prefixes, record, target) {
        Difference::None => Ok((table, Vec::new())),
        Difference::Added(new) if ignores_new => {
            table.columns.retain(|column| !new.contains(&column.name));
            Ok((table, new))
        }
        Difference::Added(new) => {
            let names: Vec<_> = new.iter().map(Ident::as_str).collect();
            Err(Failure {
                hint: format!(
                    "give the same command again with --ignore-new-columns, and the target stays \
                     without them; or {START_AGAIN}"
                ),
                ..Failure::seen(
                    Sign::Altered,
                    format!("{plain} was altered on the source: added: {}", names.join(", ")),
                )
            })
        }
        Difference::Other(what) => Err(Failure::seen(Sign::Altered, format!("{plain} {what}"))),
    }
}

/// The source's table is what this run has begun with: also in what the ledger does not know.
pub(super) async fn founded(source: &mut Connection, table: &PlannedTable) -> Result<(), Failure> {
    let difference = table.foundation.difference(source).await;
    let difference =
        difference.map_err(|error| Failure::refused_by("looking at the source", &error))?;
    difference.map_or(Ok(()), |what| {
        Err(Failure::seen(Sign::Altered, format!("{} {what}", table.source.name.plain())))
    })
}

/// A table has the name that it had.
pub(super) async fn in_its_place(
    source: &mut Connection,
    name: &QualifiedName,
    oid: Oid,
) -> Result<(), Failure> {
    let now = name_of_table(source, oid)
        .await
        .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    if now.as_ref() == Some(name) { Ok(()) } else { Err(not_there(name, now.as_ref())) }
}

/// A table is not where it was. `now`: what it is called.
fn not_there(source: &QualifiedName, now: Option<&QualifiedName>) -> Failure {
    let plain = source.plain();
    let (what, hint) = match now {
        Some(now) => (
            format!(
                "{plain} is gone from the source, or another table of the same name: it is called \
                 {} now",
                now.plain()
            ),
            format!(
                "give it its name back ({}) and give the same command again; or {START_AGAIN}",
                renames(now, source).join("; ")
            ),
        ),
        None => (
            format!("{plain} is gone from the source, or another table of the same name"),
            format!(
                "if it was dropped: {START_AGAIN}; else name the server that the migration was \
                 begun on"
            ),
        ),
    };
    Failure { hint, ..Failure::seen(Sign::OtherServer, what) }
}

/// What gives a table another name.
fn renames(from: &QualifiedName, to: &QualifiedName) -> Vec<String> {
    let (mut at, mut statements) = (from.clone(), Vec::new());
    if at.schema != to.schema {
        statements.push(format!("ALTER TABLE {at} SET SCHEMA {}", to.schema));
        at.schema = to.schema.clone();
    }
    if at.name != to.name {
        statements.push(format!("ALTER TABLE {at} RENAME TO {}", to.name));
    }
    statements
}

/// Changes that were logged by another key than the table's can't be followed.
pub(super) fn identities(source: &Table, key: &Key) -> Result<(), Failure> {
    preflight::identities(source, key).map_err(|failure| Failure {
        exit: Exit::CannotResume,
        verdict: Verdict::CannotResume,
        hint: START_AGAIN.into(),
        ..failure
    })
}

/// Whether a partition may have been emptied by itself, which a publication via the root does not
/// tell: then it has another file. `record` knows every change up to when `source` was looked at.
///
/// TRUNCATE of the root, which is in the stream, gives all of them new files in one transaction.
/// VACUUM FULL and the like can't be told from TRUNCATE.
pub(super) fn not_emptied(
    source: &Table,
    record: &TableRecord,
    ledger: &LedgerSchema,
) -> Result<(), Failure> {
    let Some(before) = Shape::from_text(&record.shape) else {
        return Ok(());
    };
    let others = match source.shape.files_since(&before) {
        Files::Same => return Ok(()),
        Files::AllAtOnce if record.counts.truncated > 0 => return Ok(()),
        Files::AllAtOnce => source.shape.partitions.iter().map(|shape| (shape, 0)).collect(),
        Files::Some(others) => others,
    };
    let names: Vec<_> = others.iter().map(|(shape, _)| shape.name.as_str()).collect();
    Err(Failure::cannot_resume(
        format!(
            "partitions of {} have new files since the migration began: {}. Each was emptied by \
             TRUNCATE of its own, which the stream of a partitioned table's changes does not tell, \
             so that the target may still have its rows; or it was rewritten (VACUUM FULL, \
             CLUSTER, SET TABLESPACE), which would do no harm",
            record.source.plain(),
            names.join(", ")
        ),
        format!(
            "if none was truncated, tell the ledger, on the target: UPDATE \
             {ledger}.migration_table SET shape = {} WHERE source_schema = {} AND source_name = \
             {}; and give the same command again. Else {START_AGAIN}",
            quote_literal(&source.shape.to_text()),
            quote_literal(record.source.schema.as_str()),
            quote_literal(record.source.name.as_str())
        ),
    ))
}

/// The slot must be the one that was made, and nobody else may have moved it.
async fn check_slot(servers: &mut Servers, migration: &Migration) -> Result<(), Failure> {
    let name = &migration.slot;
    let slot = find_slot(&mut servers.source, name)
        .await
        .map_err(|error| Failure::refused_by("looking at the slot", &error))?;
    let pages = Ledger::of(&mut servers.target, &migration.name)
        .pages_until()
        .await
        .map_err(|error| Failure::refused_by("reading the ledger", &error))?;
    let seen = migration.seen().max(pages.into_values().max());
    let known = Known { applied: migration.applied, seen };
    match why_lost(name, slot.as_ref(), &migration.source.database, known) {
        Some(why) => Err(Failure::seen(Sign::Slot, why)),
        None => Ok(()),
    }
}
