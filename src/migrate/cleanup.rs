//! Removing all that pghost has made for a migration, and nothing else: slot, publication, ledger.
//!
//! Tables stay, also those that pghost has made: their rows are the user's. What is on the source
//! goes first and the ledger last, so that a cleanup that was killed can be done again.

use super::{Failure, failure::Exit, preflight};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{self, Migration},
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
    /// Whether only to tell.
    pub dry_run: bool,
}

/// Removes it, and tells what was (or, on a dry run, would be) removed, one line each. Nothing
/// left is no error: it can be done twice.
///
/// Errors: the migration is running, its slot is in use, or the source is another server.
pub async fn cleanup(spec: &CleanupSpec) -> Result<Vec<String>, Failure> {
    let at = |what: &'static str| move |error: Error| Failure::refused_by(what, &error);
    let connect = |config| Connection::connect(config, SessionKind::Sql);
    let mut source = connect(&spec.source).await.map_err(at("connecting to the source"))?;
    let mut target = connect(&spec.target).await.map_err(at("connecting to the target"))?;
    let failed = at("reading the ledger on the target");
    let lock = format!("pghost migration {}", spec.name);
    if !ledger::lock(&mut target, &lock).await.map_err(failed)? {
        return Err(Failure::refused(
            format!("a pghost is running the migration {}", spec.name),
            "stop it first",
        ));
    }
    let found = ledger::load(&mut target, &spec.name).await.map_err(failed)?;
    let removed = match found {
        None => Vec::new(),
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
) -> Result<Vec<String>, Failure> {
    is_its_source(source, migration).await?;
    let stopped = |what: &str, error: &Error| Failure {
        exit: Exit::Stopped,
        state: "what was removed is gone; the rest, and the ledger, are there".into(),
        hint: "mend the cause and give the same command again".into(),
        ..Failure::refused_by(what, error)
    };
    let mut removed = Vec::new();
    let slot = &migration.slot;
    let at_slot = |error: Error| stopped("removing the slot", &error);
    preflight::lock_slot(source, slot).await?;
    let found = find_slot(source, slot).await.map_err(at_slot)?;
    // Another's slot of that name is another's.
    if let Some(found) = found.filter(|found| {
        found.plugin.as_deref() == Some("pgoutput")
            && found.database.as_deref() == Some(migration.source.database.as_str())
    }) {
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
        removed.push(format!("the replication slot {slot} on the source"));
    }
    let publication = &migration.publication;
    let at_publication = |error: Error| stopped("removing the publication", &error);
    if migration.publication_made
        && exists(source, "pg_publication WHERE pubname", publication)
            .await
            .map_err(at_publication)?
    {
        if !spec.dry_run {
            let sql = format!("DROP PUBLICATION IF EXISTS {}", Ident::new(publication));
            source.query(&sql).await.map_err(at_publication)?;
        }
        removed.push(format!("the publication {publication} on the source"));
    }
    if !spec.dry_run {
        let at_ledger = |error: Error| stopped("removing the ledger", &error);
        ledger::forget(target, &migration.name).await.map_err(at_ledger)?;
    }
    removed.push(format!(
        "the ledger's lines of {} on the target, and the schema pghost if they were the last",
        migration.name
    ));
    Ok(removed)
}

async fn exists(source: &mut Connection, of: &str, name: &str) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT FROM {of} = {}) AS found", quote_literal(name));
    source.query(&sql).await?.row()?.get("found")
}

/// Slots of one name can be on many servers; only the migration's own may go.
async fn is_its_source(source: &mut Connection, migration: &Migration) -> Result<(), Failure> {
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
        "name that one; if it is gone, remove the migration's line from pghost.migration on the \
         target by hand",
    ))
}
