//! Removing all that pghost has made for a migration, and nothing else: slot, publication, ledger.
//!
//! Once a subscription has taken slot and publication over, they are its own and stay.
//!
//! Tables stay, also those that pghost has made: their rows are the user's. What they are left
//! without is told, or made again where that costs nothing. What is on the source
//! goes first and the ledger last, so that a cleanup that was killed can be done again.

use super::{
    Failure, Trust,
    check::{Findings, has_strangers, look_at_owners},
    defer,
    defer::missing_of,
    failure::Exit,
    handoff::{self, subscription},
    load_ledger,
    names::{is_name_of, may_remove},
    preflight,
};
use crate::{
    catalog::{ObjectKind, load_table, matching_key},
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{
        Access, HandoffStep, Ledger, LedgerSchema, Migration, MigrationName, Phase, TableRecord,
    },
    pg::Ident,
    replication::find_slot,
    sql::quote_literal,
};

/// What is to be removed.
#[derive(Clone, Debug)]
pub struct CleanupSpec {
    /// The source.
    pub source: Config,
    /// The target.
    pub target: Config,
    /// The migration's name.
    pub name: String,
    /// Where the target keeps the ledger.
    pub ledger: LedgerSchema,
    /// Its slot, if that is not called as pghost calls it by itself.
    pub slot: Option<String>,
    /// Its publication likewise.
    pub publication: Option<String>,
    /// The subscription that it was to be handed over to, likewise.
    pub subscription: Option<String>,
    /// Whether only to tell.
    pub dry_run: bool,
    /// Whose code may run: event triggers fire for what is removed.
    pub trust: Trust,
}

impl CleanupSpec {
    /// A migration of the default ledger, all of whose names are pghost's own.
    pub fn new(source: Config, target: Config, name: impl Into<String>) -> Self {
        Self {
            source,
            target,
            name: name.into(),
            ledger: LedgerSchema::default(),
            slot: None,
            publication: None,
            subscription: None,
            dry_run: false,
            trust: Trust::default(),
        }
    }
}

/// What a cleanup has done, or on a dry run would do; one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// What was removed.
    pub removed: Vec<String>,
    /// What was made again of what --defer-indexes had dropped.
    pub made_again: Vec<String>,
    /// What tables are left without, and the statements that give it to them.
    pub left: Vec<String>,
}

/// Removes it, and tells. Nothing left is no error: it can be done twice.
///
/// Errors: the migration is running, its slot is in use, or the source is another server.
pub async fn cleanup(spec: &CleanupSpec) -> Result<Cleaned, Failure> {
    let at = |what: &'static str| move |error: Error| Failure::refused_by(what, &error);
    let connect = Connection::connect;
    let mut source =
        connect(&spec.source, SessionKind::Source).await.map_err(at("connecting to the source"))?;
    let mut target =
        connect(&spec.target, SessionKind::Sql).await.map_err(at("connecting to the target"))?;
    let failed = at("reading the ledger on the target");
    let name = MigrationName::new(&spec.ledger, &spec.name);
    if let Some(holders) = Ledger::of(&mut target, &name).lock_migration().await.map_err(failed)? {
        return Err(Failure::is_run(&name, &holders));
    }
    load_ledger::is_fit(&mut target, &spec.ledger, Access::Write).await?;
    let found = Ledger::of(&mut target, &name).load().await.map_err(failed)?;
    let removed = match found {
        None => Cleaned::default(),
        Some(migration) => remove(spec, &mut source, &mut target, &migration).await?,
    };
    source.close().await;
    target.close().await;
    Ok(removed)
}

async fn remove(
    spec: &CleanupSpec,
    source: &mut Connection,
    target: &mut Connection,
    migration: &Migration,
) -> Result<Cleaned, Failure> {
    is_its_source(source, migration).await?;
    may_remove(migration, spec.slot.as_deref(), spec.publication.as_deref())?;
    if !spec.dry_run {
        let mut findings = Findings::for_run();
        look_at_owners((source, target), (&[], false), &spec.trust, &mut findings).await?;
        findings.refused()?;
    }
    let mut cleaned = Cleaned::default();
    preflight::lock_slot(source, &migration.slot).await?;
    if !is_a_subscriptions(spec, target, migration, &mut cleaned).await? {
        remove_slot(spec, source, migration, &mut cleaned).await?;
        remove_publication(spec, source, migration, &mut cleaned).await?;
    }
    for table in &migration.tables {
        let looked = look_at_table(spec, target, migration, table, &mut cleaned).await;
        looked.map_err(|error| {
            stopped(&format!("looking at the target {}", table.target.plain()), &error)
        })?;
    }
    if !spec.dry_run {
        let at_ledger = |error: Error| stopped("removing the ledger", &error);
        Ledger::of(target, &migration.name).forget().await.map_err(at_ledger)?;
    }
    cleaned.removed.push(format!(
        "the ledger's lines of {} on the target, and the schema {} if they were the last",
        migration.name,
        migration.name.ledger.as_str()
    ));
    Ok(cleaned)
}

fn stopped(what: &str, error: &Error) -> Failure {
    Failure {
        exit: Exit::Stopped,
        state: "what was removed is gone; the rest, and the ledger, are there".into(),
        hint: "mend the cause and give the same command again".into(),
        ..Failure::refused_by(what, error)
    }
}

/// Whether a subscription has taken slot and publication over. One that was never enabled goes.
async fn is_a_subscriptions(
    spec: &CleanupSpec,
    target: &mut Connection,
    migration: &Migration,
    cleaned: &mut Cleaned,
) -> Result<bool, Failure> {
    let failed = |error: Error| stopped("looking at the subscription", &error);
    let slot = &migration.slot;
    let reader = subscription::find_reader(target, slot).await.map_err(failed)?;
    let Some(reader) = reader else {
        return Ok(false);
    };
    // Others make subscriptions, too, and one that is disabled for a while needs its slot no less.
    let record = match migration.phase < Phase::Handoff {
        true => None,
        false => Ledger::of(target, &migration.name).load_handoff().await.map_err(failed)?,
    };
    let name = &reader.name;
    let unused = record.filter(|record| {
        let is_ours = Some(reader.oid) == record.subscription_oid;
        is_ours && !reader.enabled && record.step < HandoffStep::Enabled
    });
    let Some(record) = unused else {
        cleaned.left.push(format!(
            "the replication slot {slot} and the publication {} stay on the source: the \
             subscription {name} of the target needs them, and DROP SUBSCRIPTION removes the slot",
            migration.publication
        ));
        return Ok(true);
    };
    is_name_of("subscription", (name, &migration.name), spec.subscription.as_deref())?;
    if !spec.dry_run {
        handoff::take_back(target, migration, &record).await.map_err(failed)?;
    }
    cleaned.removed.push(format!("the subscription {name} on the target, which was not enabled"));
    Ok(false)
}

async fn remove_slot(
    spec: &CleanupSpec,
    source: &mut Connection,
    migration: &Migration,
    cleaned: &mut Cleaned,
) -> Result<(), Failure> {
    let slot = &migration.slot;
    let at_slot = |error: Error| stopped("removing the slot", &error);
    let found = find_slot(source, slot).await.map_err(at_slot)?;
    // Another's slot of that name is another's.
    let Some(found) = found.filter(|found| {
        found.plugin.as_deref() == Some("pgoutput")
            && found.database.as_deref() == Some(migration.source.database.as_str())
    }) else {
        return Ok(());
    };
    if let Some(pid) = found.active_pid {
        return Err(Failure::refused(
            format!("the slot {slot} is in use, by the server process {pid} of the source"),
            "stop who reads it: another pghost, or a subscription it was handed to",
        ));
    }
    if !spec.dry_run {
        // Not `drop_slot`, which ends whoever reads it: somebody may begin to just now.
        let sql = format!("SELECT pg_drop_replication_slot({})", quote_literal(slot));
        source.query(&sql).await.map_err(at_slot)?;
    }
    cleaned.removed.push(format!("the replication slot {slot} on the source"));
    Ok(())
}

async fn remove_publication(
    spec: &CleanupSpec,
    source: &mut Connection,
    migration: &Migration,
    cleaned: &mut Cleaned,
) -> Result<(), Failure> {
    let publication = &migration.publication;
    let at_publication = |error: Error| stopped("removing the publication", &error);
    let is_there = migration.publication_made
        && exists(source, "pg_publication WHERE pubname", publication)
            .await
            .map_err(at_publication)?;
    if !is_there {
        return Ok(());
    }
    if !spec.dry_run {
        let sql = format!("DROP PUBLICATION IF EXISTS {}", Ident::new(publication));
        source.query(&sql).await.map_err(at_publication)?;
    }
    cleaned.removed.push(format!("the publication {publication} on the source"));
    Ok(())
}

/// With the ledger it would be forgotten what a table has not got back yet.
async fn look_at_table(
    spec: &CleanupSpec,
    target: &mut Connection,
    migration: &Migration,
    table: &TableRecord,
    cleaned: &mut Cleaned,
) -> Result<(), Error> {
    let name = table.target.plain();
    let objects = Ledger::of(target, &migration.name).load_objects().await?;
    let missing = missing_of(&objects, table);
    let Some(found) = load_table(target, &table.target).await? else {
        return Ok(());
    };
    if table.target_made {
        if matching_key(&found, &table.key).is_none() {
            let key = missing.iter().find(|o| o.object.kind == ObjectKind::Key);
            let columns: Vec<_> = table.key.iter().map(ToString::to_string).collect();
            let sql = match key {
                Some(key) => key.object.statements.join("; "),
                None => format!("ALTER TABLE {} ADD UNIQUE ({})", table.target, columns.join(", ")),
            };
            cleaned.left.push(format!(
                "{name} stays half copied and without its key; to give it one: {sql}"
            ));
        }
        return Ok(());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {}) AS filled", table.target);
    // Whose code may not run, it's theirs to make it again; and nothing is asked of the table.
    if has_strangers(target, &table.target, &spec.trust).await?
        || target.query(&sql).await?.row()?.get("filled")?
    {
        // That may take hours, and half a table may violate them.
        let statements = missing.iter().flat_map(|o| &o.object.statements);
        let statements: Vec<_> = statements.map(|sql| format!("\n    {sql};")).collect();
        cleaned.left.push(format!(
            "{name} stays without what --defer-indexes had dropped; to make it again, on the \
             target:\n    BEGIN;{}\n    COMMIT;",
            statements.concat()
        ));
        return Ok(());
    }
    let names = match spec.dry_run {
        true => defer::names(missing.iter().map(|record| &record.object)),
        false => defer::bring_back(target, &migration.name, table).await?,
    };
    cleaned.made_again.push(format!("{} of {name}", names.join(", ")));
    Ok(())
}

async fn exists(source: &mut Connection, of: &str, name: &str) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT FROM {of} = {}) AS found", quote_literal(name));
    source.query(&sql).await?.row()?.get("found")
}

/// Slots of one name can be on many servers; only the migration's own may go.
pub(super) async fn is_its_source(
    source: &mut Connection,
    migration: &Migration,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let sql = "SELECT system_identifier::text AS id, current_database() AS name
                 FROM pg_control_system()";
    let result = source.query(sql).await.map_err(failed)?;
    let row = result.row().map_err(failed)?;
    let id: String = row.get("id").map_err(failed)?;
    let database: String = row.get("name").map_err(failed)?;
    if id == migration.source.system_id && database == migration.source.database {
        return Ok(());
    }
    Err(Failure::refused(
        format!(
            "the source is not the one that the migration {} belongs to (system {}, database {})",
            migration.name, migration.source.system_id, migration.source.database
        ),
        format!(
            "name that one; if it is gone, remove the migration's line from {}.migration on the \
             target by hand",
            migration.name.ledger.as_str()
        ),
    ))
}
