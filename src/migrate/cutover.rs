//! `pghost cutover-sequences`: the target's sequences ahead of the source's, for the moment at
//! which applications change over. Neither pghost's applying nor a subscription brings sequences.
//!
//! Reading and setting a sequence evaluates nothing of its owner's, and where the server can be
//! told so it is no view. But a table's owner says which sequence feeds it, by a default, and that
//! may be somebody else's, which a role that may do anything would move: so the one rule on
//! strangers (`check`) holds here, too.

use super::{
    Failure, SequenceReport, TableSpec, Trust,
    check::{Findings, look_at_owners, tables_of},
    cleanup::is_its_source,
    failure::Exit,
    load_ledger, sequences,
};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::{Access, Ledger, LedgerSchema, MigrationName, Phase},
};

/// Whose sequences are set, and how far ahead.
#[derive(Clone, Debug)]
pub struct CutoverSpec {
    /// The source.
    pub source: Config,
    /// The target.
    pub target: Config,
    /// The migration whose tables they are, if they are not named.
    pub name: Option<String>,
    /// Where the target keeps the ledger.
    pub ledger: LedgerSchema,
    /// The tables, if there is no ledger any more.
    pub tables: Vec<TableSpec>,
    /// How many values they are brought ahead of the source's.
    pub gap: u64,
    /// Whose sequences a powerful role may move.
    pub trust: Trust,
}

/// Sets them and tells. Can be done again: none goes back, and one that is far enough stays.
///
/// Errors: one that could not be set, after all that could be are.
pub async fn cutover_sequences(
    spec: &CutoverSpec,
    tell: &mut (dyn FnMut(&[SequenceReport]) + Send),
) -> Result<(), Failure> {
    let at = |what: &'static str| move |error: Error| Failure::refused_by(what, &error);
    let connect = Connection::connect;
    let mut source =
        connect(&spec.source, SessionKind::Source).await.map_err(at("connecting to the source"))?;
    // Here, too, nothing is looked at but sequences and the ledger: no view in the place of one.
    let mut target =
        connect(&spec.target, SessionKind::Source).await.map_err(at("connecting to the target"))?;
    let tables = match &spec.name {
        Some(name) => {
            let name = MigrationName::new(&spec.ledger, name);
            of_migration(&name, &mut source, &mut target).await?
        }
        None => spec.tables.clone(),
    };
    let mut findings = Findings::for_run();
    let both = (&mut source, &mut target);
    look_at_owners(both, (&tables, false), &spec.trust, &mut findings).await?;
    findings.refused()?;
    let mut all = Vec::new();
    for table in &tables {
        let names = (&table.source, &table.target);
        let reports = sequences::bring_up(&mut source, &mut target, names, spec.gap).await;
        all.extend(reports.map_err(|error| Failure {
            exit: Exit::Stopped,
            state: "sequences of the tables before it are set".into(),
            ..Failure::refused_by(&format!("setting sequences of {}", table.target.plain()), &error)
        })?);
    }
    source.close().await;
    target.close().await;
    tell(&all);
    let failed: Vec<_> = all.iter().filter(|r| r.problem.is_some() && !r.moved).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    Err(Failure {
        exit: Exit::Stopped,
        state: "all other sequences are set".into(),
        ..Failure::refused(
            format!(
                "{} of {} sequences could not be set, among them that of {}.{}: {}",
                failed.len(),
                all.len(),
                first.table,
                first.column,
                first.problem.as_deref().unwrap_or_default()
            ),
            "mend that and give the same command again, or set them with setval by hand",
        )
    })
}

/// The tables of a migration, which must have been exact.
async fn of_migration(
    name: &MigrationName,
    source: &mut Connection,
    target: &mut Connection,
) -> Result<Vec<TableSpec>, Failure> {
    let failed = |error: Error| Failure::refused_by("reading the ledger on the target", &error);
    // Sequences of the tables that it names are set.
    load_ledger::is_fit(target, &name.ledger, Access::Write).await?;
    let Some(migration) = Ledger::of(target, name).load().await.map_err(failed)? else {
        return Err(Failure::refused(
            format!("the target knows no migration called {name}"),
            "name its tables instead, with --table, if its ledger was cleaned up",
        ));
    };
    is_its_source(source, &migration).await?;
    if migration.phase < Phase::Done {
        return Err(Failure::refused(
            format!("the migration {name} has not passed its checkpoint yet"),
            "let `pghost migrate` come to its end first",
        ));
    }
    Ok(tables_of(&migration))
}
