//! What is asked of every run.

use super::{Failure, Outcome, Row, world::World};
use crate::{ledger::TableCounts, pg::Lsn};

/// The target is what the source was at this position.
pub(super) fn equal(world: &World, at: Lsn) -> Outcome<()> {
    let state = &world.source.states[world.source.commits_before(at)];
    for (table, rows) in world.target.tables.iter().enumerate() {
        if *rows != state[table] {
            let wrong = format!("table {table} at {at}: {rows:?} is not {:?}", state[table]);
            return Err(Failure::Unequal(wrong));
        }
    }
    Ok(())
}

/// Nothing on the target is older than this position: each value of each row is one that the
/// source had then or later, and a row that is not there was not there then or later.
pub(super) fn not_older(world: &World, at: Lsn) -> Outcome<()> {
    let commits = world.source.commits_before(at);
    let stale = |key: &(usize, String)| {
        Err(Failure::NotCovered(format!("{key:?} on the target is older than {at}")))
    };
    for (key, versions) in &world.source.versions {
        let Some(rows) = world.target.tables.get(key.0) else { continue };
        if world.unwritten.contains(key) {
            continue;
        }
        let later = versions.partition_point(|(number, _)| *number <= commits);
        let then = later.checked_sub(1).and_then(|at| versions[at].1.as_deref());
        let possible =
            || std::iter::once(then).chain(versions[later..].iter().map(|v| v.1.as_deref()));
        let fits = |row: Option<&Row>| match row {
            None => possible().any(|version| version.is_none()),
            Some(row) => row.iter().enumerate().all(|(column, value)| {
                possible().flatten().any(|version| version[column] == *value)
            }),
        };
        if !fits(rows.get(&key.1).map(AsRef::as_ref)) {
            return stale(key);
        }
    }
    Ok(())
}

/// Every change from the slot's start on is counted once, and the others are not.
pub(super) fn counted(world: &World) -> Outcome<()> {
    let (source, ledger) = (&world.source, &world.target.ledger);
    let mut counts = vec![TableCounts::default(); source.migrated()];
    let mut skipped = 0;
    for transaction in &source.log[source.commits_before(source.slot.start)..] {
        for record in &transaction.records {
            for &table in &record.tables {
                let Some(counts) = counts.get_mut(table) else {
                    skipped += 1;
                    continue;
                };
                match record.payload[0] {
                    b'I' => counts.inserted += 1,
                    b'U' => counts.updated += 1,
                    b'D' => counts.deleted += 1,
                    _ => counts.truncated += 1,
                }
            }
        }
    }
    if counts == ledger.counts && skipped == ledger.skipped {
        return Ok(());
    }
    let (known, other) = (&ledger.counts, ledger.skipped);
    Err(Failure::Miscounted(format!("{counts:?} {skipped} is not {known:?} {other}")))
}
