//! In which order everything is looked at before a new migration begins.
//!
//! What concerns a whole server comes first, then table by table, then what the tables need
//! together. A look that can't be taken because of an earlier finding is left out.

use super::{
    finding::{At, Findings},
    locale, order,
    owners::KnownOwners,
    privileges, sessions, settings, tables, trial, waits,
};
use crate::{
    ledger::MigrationName,
    migrate::{
        Failure, Listener, MigrationSpec, Then, composition, handoff, is_slot_name,
        make_table::Made, plan::PlannedTable, preflight, publication, servers::Servers, standby,
    },
};

/// A migration that is to begin.
#[derive(Debug)]
pub(in crate::migrate) struct NewMigration {
    pub(in crate::migrate) name: MigrationName,
    pub(in crate::migrate) slot: String,
    pub(in crate::migrate) publication: String,
    /// Whether pghost makes the publication.
    pub(in crate::migrate) makes_publication: bool,
    /// How targets are made and set up.
    pub(in crate::migrate) made: Made,
    pub(in crate::migrate) tables: Vec<PlannedTable>,
}

/// Looks at everything that a new migration needs, and tells what it is warned of.
///
/// Errors: the first thing that stands in its way; where there are several, all are told.
pub(in crate::migrate) async fn all_well(
    spec: &MigrationSpec,
    servers: &mut Servers,
    of: (MigrationName, &KnownOwners),
    mut findings: Findings,
    listener: &mut dyn Listener,
) -> Result<NewMigration, Failure> {
    let new = look(spec, servers, of, &mut findings).await?;
    findings.tell(listener);
    findings.refused()?;
    new.ok_or_else(|| Failure::refused("not all tables are known", "try again"))
}

/// Looks at everything that a new migration needs. `None` where not even its tables are known.
///
/// Errors: a look has failed itself.
pub(super) async fn look(
    spec: &MigrationSpec,
    servers: &mut Servers,
    (name, owners): (MigrationName, &KnownOwners),
    findings: &mut Findings,
) -> Result<Option<NewMigration>, Failure> {
    let Some(slot) = findings.take(At::both("arguments"), slot_of(spec, &name))? else {
        return Ok(None);
    };
    settings::look(spec, servers, &slot, findings).await?;
    sessions::look(spec, servers, findings).await?;
    privileges::ledger(servers, &name.ledger, findings).await?;
    let mut tables = Vec::new();
    for (ordinal, table) in spec.tables.iter().enumerate() {
        tables.extend(tables::look(servers, ordinal, table, spec, findings).await?);
    }
    let apart = preflight::no_partition_beside_its_root(&tables);
    findings.take(At::both("arguments"), apart)?;
    let made = Made::look(&mut servers.target, spec, (&tables, owners), findings).await?;
    locale::look(servers, findings).await?;
    for failure in composition::differences(servers, &tables).await? {
        findings.refuse(At::both("types"), failure);
    }
    order::look(servers, spec.copy_from.as_ref(), &tables, findings).await?;
    settings::size(servers, &tables, findings).await?;
    trial::look(servers, spec, &tables, &made, findings).await?;
    waits::look(&mut servers.source, findings).await?;
    let at = At::source("slot");
    let claimed = preflight::claim_slot(servers, &slot).await;
    if findings.take(at, claimed)?.is_some() {
        let free = preflight::look_at_slot(servers, &slot).await;
        if findings.take(at, free)?.is_some() {
            findings.ok(at, format!("the slot {slot} can be made"));
        }
    }
    let publication = look_at_publication(spec, servers, &name, &tables, findings).await?;
    if spec.then == Then::Handoff {
        let existing = spec.publication.as_deref();
        findings.take(At::both("handoff"), handoff::check::can_be_streamed(&publication))?;
        handoff::check::look(spec, servers, (name.as_str(), existing), &tables, findings).await?;
        findings.take(At::both("handoff"), handoff::check::rows_are_found(&tables))?;
    }
    let makes_publication = spec.publication.is_none();
    let all = tables.len() == spec.tables.len();
    let new = NewMigration { name, slot, publication, makes_publication, made, tables };
    Ok(all.then_some(new))
}

/// The slot's name, if what was asked for makes sense by itself.
fn slot_of(spec: &MigrationSpec, name: &MigrationName) -> Result<String, Failure> {
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
    preflight::twice_the_same(&spec.tables)?;
    Ok(slot)
}

/// Its name, and whether it brings everything or can be made.
async fn look_at_publication(
    spec: &MigrationSpec,
    servers: &mut Servers,
    name: &MigrationName,
    tables: &[PlannedTable],
    findings: &mut Findings,
) -> Result<String, Failure> {
    let at = At::source("publication");
    if let Some(publication) = &spec.publication {
        let looked = publication::obstacles(&mut servers.source, publication, tables).await;
        let obstacles = findings.take(at, looked)?;
        if obstacles.as_ref().is_some_and(Vec::is_empty) {
            findings.ok(at, format!("the publication {publication} brings every change"));
        }
        for failure in obstacles.into_iter().flatten() {
            findings.refuse(at, failure);
        }
        return Ok(publication.clone());
    }
    let publication = format!("pghost_{name}");
    let free = publication::is_free(&mut servers.source, &publication).await;
    findings.take(at, free)?;
    privileges::publication(servers, &publication, tables, findings).await?;
    Ok(publication)
}

/// Whether the server of `--copy-from` is a standby of the source.
pub(super) async fn look_at_standby(
    spec: &MigrationSpec,
    servers: &Servers,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let Some(config) = &spec.copy_from else {
        return Ok(());
    };
    let at = At::new(super::Side::Standby, "standby");
    let checked = standby::check(config, &servers.identity).await;
    if findings.take(at, checked)?.is_some() {
        findings.ok(at, "pages are read from a standby of the source");
    }
    Ok(())
}
