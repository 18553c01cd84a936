//! Asks both servers whose code a migration or a comparison would run. What follows from it is
//! `strangers`'.

use super::{
    finding::Findings,
    strangers::{Both, is_stranger},
};
use crate::{
    catalog::{Asked, Owned, OwnedKind, Owners, load_existing, load_owners},
    conn::{Connection, Error},
    ledger::Migration,
    migrate::{Failure, MigrationSpec, TableSpec, Trust},
    pg::QualifiedName,
};

/// What was learned of both sides' owners.
#[derive(Clone, Debug, Default)]
pub(in crate::migrate) struct KnownOwners {
    /// Who owns a table on the source, if it is there and its owner is no superuser; by its place.
    of_source: Vec<Option<String>>,
    /// Whether the target's role has all rights of its server.
    pub(in crate::migrate) target_is_powerful: bool,
}

impl KnownOwners {
    fn new(source: &Owners, target: &Owners, tables: usize) -> Self {
        let mut of_source = vec![None; tables];
        let of_root = |kind| kind == OwnedKind::Table;
        for owned in source.all.iter().filter(|o| of_root(o.kind) && !o.is_superusers) {
            if let Some(place) = owned.ordinal.and_then(|at| of_source.get_mut(at)) {
                *place = Some(owned.owner.clone());
            }
        }
        Self { of_source, target_is_powerful: target.is_powerful }
    }

    /// Who owns a table on the source; `None` for a superuser.
    pub(in crate::migrate) fn of_source(&self, ordinal: usize) -> Option<&str> {
        self.of_source.get(ordinal)?.as_deref()
    }
}

/// Looks at the owners before a run, a new one or one that goes on. Nothing else is asked of the
/// tables before.
pub(in crate::migrate) async fn before_run(
    spec: &MigrationSpec,
    (source, target): (&mut Connection, &mut Connection),
    migration: Option<&Migration>,
    findings: &mut Findings,
) -> Result<KnownOwners, Failure> {
    let tables = match migration {
        None => spec.tables.clone(),
        Some(migration) => tables_of(migration),
    };
    look((source, target), (&tables, migration.is_none()), &spec.trust, findings).await
}

/// Whether a table of the target, or what it calls, belongs to strangers whose code a powerful role
/// must not run, since they are not trusted.
pub(in crate::migrate) async fn has_strangers(
    target: &mut Connection,
    table: &QualifiedName,
    trust: &Trust,
) -> Result<bool, Error> {
    let owners = load_owners(target, &[Asked::new(table, 0, false)], &[]).await?;
    let is_forbidden = |o: &Owned| is_stranger(o, true) && !trust.holds_for(&o.owner);
    Ok(owners.is_powerful && owners.all.iter().any(is_forbidden))
}

/// The tables that the ledger names.
pub(in crate::migrate) fn tables_of(migration: &Migration) -> Vec<TableSpec> {
    let table = |t: &crate::ledger::TableRecord| TableSpec {
        source: t.source.clone(),
        target: t.target.clone(),
    };
    migration.tables.iter().map(table).collect()
}

/// Looks at the owners of tables on both sides, those of the target that are not there yet to be
/// made if `makes`.
pub(in crate::migrate) async fn look(
    (source, target): (&mut Connection, &mut Connection),
    (tables, makes): (&[TableSpec], bool),
    trust: &Trust,
    findings: &mut Findings,
) -> Result<KnownOwners, Failure> {
    let at_source = |e: Error| Failure::refused_by("looking at the owners on the source", &e);
    let at_target = |e: Error| Failure::refused_by("looking at the owners on the target", &e);
    let theirs: Vec<_> =
        tables.iter().enumerate().map(|(at, t)| Asked::new(&t.target, at, false)).collect();
    let existing = match makes {
        true => load_existing(target, &theirs).await.map_err(at_target)?,
        false => (0..tables.len()).collect(),
    };
    let ours = tables.iter().enumerate();
    let ours: Vec<_> =
        ours.map(|(at, t)| Asked::new(&t.source, at, !existing.contains(&at))).collect();
    let source = load_owners(source, &ours, &[]).await.map_err(at_source)?;
    let target = load_owners(target, &theirs, &source.called()).await.map_err(at_target)?;
    Both { source: &source, target: &target, trust }.judge(findings);
    Ok(KnownOwners::new(&source, &target, tables.len()))
}
