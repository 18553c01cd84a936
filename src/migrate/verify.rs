//! Comparing the tables of a migration, or any two tables: what `pghost verify` does, and a run
//! that was told to `--verify`.
//!
//! How rows are compared is [`crate::verify`]'s. Here it is found which tables, by which key, and
//! who brings the target the changes meanwhile.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{
    Event, Failure, Listener, MigrationSpec, PhaseName, TableSpec, Trust,
    check::{Findings, look_at_owners},
    default_name,
    generated::on_both,
    grouped, load_ledger,
    plan::PlannedTable,
    preflight::load_source,
};
use crate::{
    catalog::{Key, Table, choose_key, key_statement, load_ordering, load_table, matching_key},
    config::Config,
    conn::{Connection, Error, QueryResult, SessionKind},
    ledger::{Access, Ledger, LedgerSchema, Migration, MigrationName, Phase, TableRecord},
    pg::{Ident, QualifiedName},
    replication::find_slot,
    sql::{KeyColumn, hash_of_a_text},
    verify::{self as compare, Follower, Found, VerifyProgress, VerifyTable},
};

/// What `pghost verify` was asked for.
#[derive(Clone, Debug)]
pub struct VerifySpec {
    /// The source.
    pub source: Config,
    /// The target.
    pub target: Config,
    /// The tables; all of the migration's where none is named.
    pub tables: Vec<TableSpec>,
    /// The migration's name, if one was given.
    pub name: Option<String>,
    /// Where the target keeps the ledger.
    pub ledger: LedgerSchema,
    /// The slot that a subscription reads, if one was given.
    pub slot: Option<String>,
    /// Rows in a page, if it was given.
    pub page_rows: Option<u64>,
    /// How many rows that differ are named, in each table.
    pub list: usize,
    /// Whose code may run with whatever rights the roles have.
    pub trust: Trust,
}

/// How many rows that differ a run names.
const LIST: usize = 20;

/// Compares tables of both sides, and tells the rows that differ. Changes nothing.
///
/// Errors: exit code 3 if rows differ.
pub async fn verify(
    spec: &VerifySpec,
    mut interrupt: watch::Receiver<bool>,
    listener: &mut dyn Listener,
) -> Result<(), Failure> {
    let work = async {
        let mut verifying = Verifying::of_spec(spec, listener).await?;
        listener.on(&Event::Phase { phase: PhaseName::Verify });
        verifying.compare(listener).await
    };
    tokio::select! {
        done = work => done.map_err(|failure| failure.of_comparison()),
        Ok(_) = interrupt.wait_for(|stop| *stop) => Err(Failure::interrupted_early()),
    }
}

/// A comparison under way, with sessions of its own.
pub(super) struct Verifying {
    source: Connection,
    target: Connection,
    tables: Vec<Pair>,
    follower: Follower,
    list: usize,
    longest: Duration,
    portable_hash: bool,
}

/// Two tables, and how many rows there may be.
struct Pair {
    table: VerifyTable,
    estimated_rows: Option<u64>,
    /// Generated columns of the source that the target does not have.
    not_compared: Vec<Ident>,
}

impl Verifying {
    /// For a run that is under way.
    pub(super) async fn prepare(
        spec: &MigrationSpec,
        name: &MigrationName,
        planned: &[PlannedTable],
    ) -> Result<Self, Failure> {
        let (source, target) = connect(&spec.source, &spec.target).await?;
        let follower = Follower::Ledger(name.clone());
        let mut verifying = Self::new(source, target, follower, LIST).await?;
        for table in planned {
            let columns = table.columns();
            let page_rows = spec.page_rows;
            let pair =
                verifying.pair(&table.source, &table.key, columns, &table.target_name, page_rows);
            let pair = pair.await?;
            verifying.tables.push(pair);
        }
        Ok(verifying)
    }

    async fn of_spec(spec: &VerifySpec, listener: &mut dyn Listener) -> Result<Self, Failure> {
        let (source, target) = connect(&spec.source, &spec.target).await?;
        let mut verifying = Self::new(source, target, Follower::Nobody, spec.list).await?;
        let name = match (&spec.name, spec.tables.first()) {
            (Some(name), _) => name.clone(),
            (None, Some(table)) => default_name(&table.source),
            (None, None) => String::new(),
        };
        let name = MigrationName::new(&spec.ledger, name);
        // It reads what the ledger names.
        let access = if spec.tables.is_empty() { Access::Write } else { Access::Read };
        let migration = load_ledger::load(&mut verifying.target, &name, access).await?;
        let tables = match (&migration, spec.tables.is_empty()) {
            (_, false) => spec.tables.clone(),
            (Some(migration), true) => (migration.tables.iter())
                .map(|t| TableSpec { source: t.source.clone(), target: t.target.clone() })
                .collect(),
            (None, true) => {
                return Err(Failure::refused(
                    format!("the target knows no migration called {name}"),
                    "give --table SCHEMA.TABLE, or the --name of a migration that it knows",
                ));
            }
        };
        let both = (&mut verifying.source, &mut verifying.target);
        let mut findings = Findings::for_run();
        look_at_owners(both, (&tables, false), &spec.trust, &mut findings).await?;
        findings.refused()?;
        verifying.follower = verifying.who_follows(spec, &name, migration.as_ref()).await?;
        if let Some(message) = of_follower(&verifying.follower, migration.as_ref()) {
            listener.on(&Event::Notice { message });
        }
        for table in &tables {
            let record = migration.as_ref().and_then(|migration| {
                let is_it = |t: &&TableRecord| t.source == table.source && t.target == table.target;
                migration.tables.iter().find(is_it)
            });
            let source = load_source(&mut verifying.source, &table.source).await?;
            let key = choose_key(&source).map_err(|refusal| {
                let plain = table.source.plain();
                let what = "has no key that its rows can be told apart by";
                Failure::refused(format!("{plain} {what}: {refusal}"), key_statement(&source, ".."))
            })?;
            let columns = match record {
                Some(record) => record.columns.clone(),
                None => source.stored_columns().map(|column| column.name.clone()).collect(),
            };
            let page_rows = spec.page_rows;
            let pair = verifying.pair(&source, &key, columns, &table.target, page_rows).await?;
            verifying.tables.push(pair);
        }
        Ok(verifying)
    }

    async fn new(
        mut source: Connection,
        mut target: Connection,
        follower: Follower,
        list: usize,
    ) -> Result<Self, Failure> {
        let portable_hash = !hash_alike(&mut source, &mut target).await?;
        let (tables, longest) = (Vec::new(), Duration::ZERO);
        Ok(Self { source, target, tables, follower, list, longest, portable_hash })
    }

    /// Who brings the target the changes.
    async fn who_follows(
        &mut self,
        spec: &VerifySpec,
        name: &MigrationName,
        migration: Option<&Migration>,
    ) -> Result<Follower, Failure> {
        let at_target = |error: Error| Failure::refused_by("reading the ledger", &error);
        if let Some(migration) = migration {
            if migration.phase < Phase::Done {
                return Err(Failure::refused(
                    format!("the migration {name} has not passed its checkpoint yet"),
                    "the target is whole from there on; `pghost status` shows how far it is",
                ));
            }
            // Once it is handed over its position in the ledger stands still.
            if migration.phase == Phase::Done
                && Ledger::of(&mut self.target, name).is_running().await.map_err(at_target)?
            {
                return Ok(Follower::Ledger(name.clone()));
            }
        }
        let slot = match (&spec.slot, migration) {
            (Some(slot), _) => slot.clone(),
            (None, Some(migration)) => migration.slot.clone(),
            (None, None) => format!("pghost_{name}"),
        };
        let at_source = |error: Error| Failure::refused_by("looking at the slot", &error);
        let found = find_slot(&mut self.source, &slot).await.map_err(at_source)?;
        let is_read = found.as_ref().is_some_and(|found| found.active_pid.is_some());
        // A command line of `migrate` names the slot that it made, which nobody reads after it.
        let is_migrations =
            migration.is_some_and(|known| known.slot == slot && known.phase == Phase::Done);
        match (is_read, &spec.slot) {
            (true, _) => Ok(Follower::Slot(slot)),
            (false, Some(_)) if !is_migrations => Err(Failure::refused(
                format!("nobody reads a slot {slot} of the source"),
                "see whether the subscription is enabled and connected; without --slot the rows \
                 are compared as they stand",
            )),
            (false, _) => Ok(Follower::Nobody),
        }
    }

    /// Two tables with all that must be known to compare them.
    async fn pair(
        &mut self,
        source: &Table,
        key: &Key,
        mut columns: Vec<Ident>,
        target: &QualifiedName,
        page_rows: Option<u64>,
    ) -> Result<Pair, Failure> {
        let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
        let at_source = |error: Error| Failure::refused_by("looking at the source", &error);
        let Some(other) = load_table(&mut self.target, target).await.map_err(at_target)? else {
            return Err(Failure::refused(
                format!("the target has no table {}", target.plain()),
                "check schema, spelling and case; names are taken letter for letter",
            ));
        };
        let (source_key, target_key) = shared_key(source, key, &other)?;
        let (generated, not_compared) = on_both(source, &other);
        columns.extend(generated);
        let target_types =
            columns.iter().map(|name| type_on_target(name, &other)).collect::<Result<_, _>>()?;
        let ours = load_ordering(&mut self.source, source.oid, &key.columns);
        let ours = ours.await.map_err(at_source)?;
        let theirs = load_ordering(&mut self.target, other.oid, &target_key.columns);
        let theirs = theirs.await.map_err(at_target)?;
        let target_walk = walk(&other, &target_key);
        let in_order = target_walk.is_sorted();
        let table = VerifyTable {
            source: source.name.clone(),
            target: target.clone(),
            source_key,
            target_key: target_key.columns,
            target_walk,
            same_order: in_order && ours == theirs && ours.iter().all(Option::is_some),
            columns,
            target_types,
            portable_hash: self.portable_hash,
            page_rows,
        };
        Ok(Pair { table, estimated_rows: source.estimated_rows, not_compared })
    }

    /// Compares all tables, and tells what is found.
    ///
    /// Errors: exit code 3 if rows differ.
    pub(super) async fn compare(&mut self, listener: &mut dyn Listener) -> Result<(), Failure> {
        let mut differ = Vec::new();
        for pair in std::mem::take(&mut self.tables) {
            let name = pair.table.source.plain();
            if !pair.not_compared.is_empty() {
                let columns: Vec<_> = pair.not_compared.iter().map(Ident::as_str).collect();
                let columns = columns.join(", ");
                let message = format!(
                    "not compared of {name}, since the target has no such column: {columns}, \
                     generated on the source"
                );
                listener.on(&Event::Notice { message });
            }
            let mut view = View::new(&name, pair.estimated_rows, self.list);
            let (source, target) = (&mut self.source, &mut self.target);
            let mut tell = |progress| {
                if let Some(event) = view.on(progress) {
                    listener.on(&event);
                }
            };
            let found =
                compare::verify(&pair.table, source, target, &self.follower, &mut tell).await;
            self.longest = self.longest.max(view.longest);
            let found = found.map_err(|error| Failure::verify(&error))?;
            if let Some(message) = view.not_named(&found) {
                listener.on(&Event::Notice { message });
            }
            listener.on(&verified(&name, &found));
            if found.different > 0 {
                differ.push(format!("{} of {name}", grouped(found.different)));
            }
        }
        if differ.is_empty() {
            return Ok(());
        }
        let message = format!("rows differ between source and target: {}", differ.join(", "));
        Err(Failure::different(message))
    }

    /// The longest time of a statement on the source.
    pub(super) fn longest_snapshot_seconds(&self) -> f64 {
        self.longest.as_secs_f64()
    }
}

async fn connect(source: &Config, target: &Config) -> Result<(Connection, Connection), Failure> {
    let at_source = |error: Error| Failure::refused_by("connecting to the source", &error);
    let at_target = |error: Error| Failure::refused_by("connecting to the target", &error);
    let source = Connection::connect(source, SessionKind::Source).await.map_err(at_source)?;
    let target = Connection::connect(target, SessionKind::Sql).await.map_err(at_target)?;
    Ok((source, target))
}

/// Whether both databases give the same hash for the same text.
async fn hash_alike(source: &mut Connection, target: &mut Connection) -> Result<bool, Failure> {
    let encoding =
        |connection: &Connection| connection.parameter("server_encoding").map(str::to_owned);
    if encoding(source) != encoding(target) {
        return Ok(false);
    }
    let sql = hash_of_a_text();
    let (ours, theirs) = tokio::join!(source.query(&sql), target.query(&sql));
    let hash = |result: Result<QueryResult, Error>| result?.row()?.get::<i64>("hash");
    let ours = hash(ours).map_err(|error| Failure::refused_by("hashing on the source", &error))?;
    let theirs = hash(theirs);
    let theirs = theirs.map_err(|error| Failure::refused_by("hashing on the target", &error))?;
    Ok(ours == theirs)
}

/// The source's key columns, and the target's key on the same ones: by either, the other side's
/// values can be looked up.
fn shared_key(source: &Table, key: &Key, target: &Table) -> Result<(Vec<KeyColumn>, Key), Failure> {
    let names: Vec<_> = key.columns.iter().map(|column| column.name.clone()).collect();
    let plain = target.name.plain();
    let Some(mut found) = matching_key(target, &names) else {
        let columns: Vec<_> = names.iter().map(ToString::to_string).collect();
        let columns = columns.join(", ");
        return Err(Failure::refused(
            format!("the target {plain} has no unique index on exactly ({columns})"),
            key_statement(target, &columns),
        ));
    };
    let mut columns = key.columns.clone();
    for (ours, theirs) in columns.iter_mut().zip(&mut found.columns) {
        if ours.is_integer() && theirs.is_integer() {
            // One side's values need not fit into the other's type.
            (ours.type_name, theirs.type_name) = ("bigint".into(), "bigint".into());
        } else if ours.type_name != theirs.type_name {
            return Err(Failure::refused(
                format!(
                    "the key column {} is {} in {} and {} in the target {plain}",
                    ours.name,
                    ours.type_name,
                    source.name.plain(),
                    theirs.type_name
                ),
                "give both the same type",
            ));
        }
    }
    Ok((columns, found))
}

/// The places of a key's columns in the order of its index.
fn walk(table: &Table, key: &Key) -> Vec<usize> {
    let index = table.unique_indexes.iter().find(|index| index.name == key.index);
    let place = |name: &Ident| key.columns.iter().position(|column| column.name == *name);
    index.map_or_else(Vec::new, |index| index.columns.iter().filter_map(place).collect())
}

/// The type as which the target reads a value, without a length: one that is too long is not to be
/// cut to what is there.
fn type_on_target(name: &Ident, target: &Table) -> Result<String, Failure> {
    let Some(column) = target.column(name) else {
        return Err(Failure::refused(
            format!("the target {} has no column {name}", target.name.plain()),
            "add it; or is this another table?",
        ));
    };
    Ok(match column.type_oid.0 {
        1042 => "pg_catalog.bpchar".to_owned(),
        1043 => "pg_catalog.varchar".to_owned(),
        1560 | 1562 => "pg_catalog.varbit".to_owned(),
        _ => column.type_name.clone(),
    })
}

/// What a person should know of who follows.
fn of_follower(follower: &Follower, migration: Option<&Migration>) -> Option<String> {
    let until = migration.and_then(|migration| migration.applied);
    Some(match (follower, until) {
        (Follower::Ledger(_), _) => return None,
        (Follower::Slot(slot), _) => {
            format!("the target follows by the slot {slot}; rows on their way are waited for")
        }
        (Follower::Nobody, Some(until)) => format!(
            "nobody applies changes to the target, which is at {until}: what the source has \
             changed since then differs"
        ),
        (Follower::Nobody, None) => {
            "nobody applies changes to the target: the rows are compared as they stand".to_owned()
        }
    })
}

fn verified(table: &str, found: &Found) -> Event {
    Event::Verified {
        table: table.to_owned(),
        rows: found.rows,
        pages: found.pages,
        different_rows: found.different,
        respelled_rows: found.respelled,
        moving_rows: found.moving,
    }
}

/// A table's comparison as events.
struct View<'a> {
    table: &'a str,
    estimated_rows: Option<u64>,
    list: usize,
    named: usize,
    began: Instant,
    longest: Duration,
}

impl<'a> View<'a> {
    fn new(table: &'a str, estimated_rows: Option<u64>, list: usize) -> Self {
        let (began, longest) = (Instant::now(), Duration::ZERO);
        Self { table, estimated_rows, list, named: 0, began, longest }
    }

    fn on(&mut self, progress: VerifyProgress) -> Option<Event> {
        match progress {
            VerifyProgress::SnapshotHeld(held) => {
                self.longest = self.longest.max(held);
                None
            }
            VerifyProgress::Page { rows, pages, walked, passes } => {
                Some(self.progress(rows, pages, walked, passes))
            }
            VerifyProgress::Differs(_) if self.named >= self.list => None,
            VerifyProgress::Differs(row) => {
                self.named += 1;
                let name = |name: Ident| name.as_str().to_owned();
                Some(Event::Different {
                    table: self.table.to_owned(),
                    key: row.key.into_iter().map(|(n, value)| (name(n), value)).collect(),
                    kind: row.kind,
                    columns: row.columns.into_iter().map(name).collect(),
                })
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn progress(&self, rows: u64, pages: u64, walked: u64, passes: u64) -> Event {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-3);
        // An estimate that was passed is none.
        let all = self.estimated_rows.map(|rows| rows * passes).filter(|all| *all > walked);
        let rows_per_second = walked as f64 / seconds;
        Event::Progress {
            phase: PhaseName::Verify,
            table: self.table.to_owned(),
            rows,
            bytes: 0,
            pages_done: pages,
            pages_total: None,
            percent: all.map(|all| 100.0 * walked as f64 / all as f64),
            rows_per_second,
            eta_seconds: all.map(|all| (all - walked) as f64 / rows_per_second.max(1e-3)),
        }
    }

    /// That there are more than were named.
    fn not_named(&self, found: &Found) -> Option<String> {
        let more = found.different.saturating_sub(self.named as u64);
        (more > 0).then(|| {
            format!("{} more rows of {} differ that are not named", grouped(more), self.table)
        })
    }
}
