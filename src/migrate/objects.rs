//! What a table that pghost made gets once the checkpoint was passed: indexes, constraints,
//! triggers and all else that the source's table has.
//!
//! The ledger lists it since the table was made. Each object is made in one transaction with its
//! mark there, so that whatever a run dies of, the next one makes what is missing and nothing
//! twice. Indexes are built several at a time; everything else takes turns.

use std::collections::VecDeque;

use tokio::{sync::watch, task::JoinSet};

use super::{
    Event, Failure, Listener, StepName, build_key,
    servers::CANCEL_AGAIN,
    still::{refusal, why_left_out},
    watch::index::{Building, TELL_AGAIN, how_far},
};
use crate::{
    apply,
    catalog::{FORCE, Object, ObjectKind},
    config::Config,
    conn::{CancelToken, Connection, Error, SessionKind},
    ledger::{self, Migration, MigrationName, ObjectRecord},
    pg::SqlState,
};

/// The making of a migration's objects.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub(super) target: &'a Config,
    pub(super) migration: &'a Migration,
    /// How many indexes are built at once.
    pub(super) jobs: usize,
}

const FIRES: &str = "it would fire for every change that later runs apply, so it is disabled";

/// What became of one object.
struct Ended {
    connection: Connection,
    object: ObjectRecord,
    /// Why it was left out; or the statement that failed.
    result: Result<Option<String>, (String, Error)>,
}

impl Making<'_> {
    /// Makes everything that is not there yet.
    ///
    /// Errors: an object could not be made; those before it stay.
    pub(super) async fn make(
        &self,
        ledger: &mut Connection,
        interrupt: &mut watch::Receiver<bool>,
        listener: &mut dyn Listener,
    ) -> Result<(), Failure> {
        let at_ledger = |error: Error| Failure::stopped_by("reading the ledger", &error);
        let objects = ledger::load_objects(ledger, &self.migration.name).await;
        let missing = objects.map_err(at_ledger)?.into_iter().filter(|object| {
            !object.done && object.skipped.is_none() && object.object.kind != ObjectKind::Key
        });
        let (indexes, others): (VecDeque<_>, VecDeque<_>) =
            missing.partition(|object| object.object.kind == ObjectKind::Index);
        let jobs = self.jobs.max(1);
        self.make_all(indexes, jobs, ledger, interrupt, listener).await?;
        self.make_all(others, 1, ledger, interrupt, listener).await
    }

    async fn make_all(
        &self,
        mut waiting: VecDeque<ObjectRecord>,
        jobs: usize,
        ledger: &mut Connection,
        interrupt: &mut watch::Receiver<bool>,
        listener: &mut dyn Listener,
    ) -> Result<(), Failure> {
        let mut idle = Vec::new();
        for _ in 0..jobs.min(waiting.len()) {
            let connection = self.connect().await.map_err(|error| {
                Failure::stopped_by("connecting to the target once more", &error)
            })?;
            idle.push(connection);
        }
        let tokens: Vec<_> = idle.iter().filter_map(Connection::cancel_token).collect();
        let mut building: Vec<Building> = Vec::new();
        let mut making: JoinSet<Ended> = JoinSet::new();
        let mut failure = None;
        loop {
            while failure.is_none()
                && let Some(object) = waiting.pop_front()
            {
                let Some(connection) = idle.pop() else {
                    waiting.push_front(object);
                    break;
                };
                listener.on(&Event::Notice { message: self.making(&object) });
                building.extend(self.building(&connection, &object));
                making.spawn(make_one(connection, self.migration.name.clone(), object));
            }
            tokio::select! {
                ended = making.join_next() => match ended {
                    None => break,
                    Some(Ok(ended)) => {
                        // The first one counts; those that run beside it come to their end.
                        let judged = self.judge(&ended, listener);
                        failure = failure.or(judged);
                        let pid = ended.connection.process_id();
                        if let Some(at) = building.iter().position(|b| b.pid == pid) {
                            let built = building.swap_remove(at);
                            if matches!(ended.result, Ok(None)) {
                                listener.on(&built.done());
                            }
                        }
                        idle.push(ended.connection);
                    }
                    Some(Err(error)) => {
                        let error = Error::Result(format!("a session was lost: {error}"));
                        failure = Some(Failure::stopped_by("making objects", &error));
                    }
                },
                () = tokio::time::sleep(TELL_AGAIN), if !building.is_empty() => {
                    let events = how_far(ledger, &building).await.map_err(|error| {
                        Failure::stopped_by("asking how far the indexes are", &error)
                    })?;
                    events.iter().for_each(|event| listener.on(event));
                }
                true = apply::stopped(interrupt) => {
                    stop(&mut making, &tokens).await;
                    return Err(Failure::interrupted());
                }
            }
        }
        for connection in idle {
            connection.close().await;
        }
        failure.map_or(Ok(()), Err)
    }

    /// A session that is one of the migration's writers: the next run waits until a killed one's
    /// last transaction is over.
    async fn connect(&self) -> Result<Connection, Error> {
        let mut connection = Connection::connect(self.target, SessionKind::Sql).await?;
        ledger::join_writers(&mut connection, &self.migration.name).await?;
        connection.query(build_key::BEFORE).await?;
        Ok(connection)
    }

    fn table(&self, object: &ObjectRecord) -> String {
        let table = self.migration.tables.iter().find(|t| t.ordinal == object.ordinal);
        table.map_or_else(String::new, |t| t.target.plain())
    }

    fn describe(&self, object: &ObjectRecord) -> String {
        let Object { kind, name, .. } = &object.object;
        format!("{} {name} of {}", kind.as_str(), self.table(object))
    }

    /// What is being done, for people.
    fn making(&self, object: &ObjectRecord) -> String {
        let (table, name) = (self.table(object), &object.object.name);
        match object.object.kind {
            ObjectKind::Validation => format!("validating constraint {name} of {table}"),
            ObjectKind::Firing => format!("setting when trigger {name} of {table} fires"),
            ObjectKind::Setting => format!("setting {name} of {table}"),
            ObjectKind::RowSecurity => format!("turning on row security of {table}"),
            ObjectKind::Grant => format!("granting to {name} what it may do with {table}"),
            ObjectKind::Comment if is_on_table(&object.object) => format!("commenting on {table}"),
            ObjectKind::Comment => format!("commenting on {name} of {table}"),
            ObjectKind::Analyze => format!("analyzing {table}"),
            _ => format!("making {}", self.describe(object)),
        }
    }

    /// An index that the session is to build, if it is one.
    fn building(&self, connection: &Connection, object: &ObjectRecord) -> Option<Building> {
        let is_index = matches!(object.object.kind, ObjectKind::Index | ObjectKind::Unique);
        is_index.then(|| Building {
            pid: connection.process_id(),
            table: self.table(object),
            index: object.object.name.clone(),
        })
    }

    fn judge(&self, ended: &Ended, listener: &mut dyn Listener) -> Option<Failure> {
        let Ended { object, result, .. } = ended;
        match result {
            Ok(None) => {
                let of = self.describe(object);
                listener.on(&Event::Step { step: StepName::ObjectMade, of });
                None
            }
            // The constraint was left out, and told of.
            Ok(Some(_)) if object.object.kind == ObjectKind::Validation => None,
            Ok(Some(why)) => {
                let message = format!(
                    "left out: {}: {why}; to make it later: {}",
                    self.describe(object),
                    one_line(&object.object.statements.join("; "))
                );
                listener.on(&Event::Notice { message });
                None
            }
            Err((statement, error)) => {
                let what = format!("{}: {}", self.making(object), one_line(statement));
                let failure = Failure::stopped_by(&what, error);
                let hint = format!(
                    "{}; or, to go on without it, on the target: UPDATE {}.object SET skipped = \
                     'by hand' WHERE migration = '{}' AND ordinal = {} AND position = {}",
                    failure.hint,
                    self.migration.name.ledger,
                    self.migration.name.as_str().replace('\'', "''"),
                    object.ordinal,
                    object.position
                );
                Some(Failure { hint, ..failure })
            }
        }
    }
}

/// Whether a comment is the table's own.
fn is_on_table(object: &Object) -> bool {
    object.statements.iter().all(|sql| sql.starts_with("COMMENT ON TABLE "))
}

fn one_line(statement: &str) -> String {
    statement.replace(['\n', '\r'], " ")
}

/// Cancels what is being made, until nothing is.
async fn stop(making: &mut JoinSet<Ended>, tokens: &[CancelToken]) {
    while !making.is_empty() {
        for token in tokens {
            // It may be unreachable; then its session ends by itself.
            let _ = token.cancel().await;
        }
        while let Ok(Some(_)) = tokio::time::timeout(CANCEL_AGAIN, making.join_next()).await {}
    }
}

async fn make_one(
    mut connection: Connection,
    migration: MigrationName,
    object: ObjectRecord,
) -> Ended {
    let mut statement = String::new();
    let made = in_transaction(&mut connection, &migration, &object, &mut statement).await;
    let result = match made {
        Ok(why) => Ok(why),
        Err(error) => give_up(&mut connection, &migration, &object, error)
            .await
            .map_err(|error| (statement, error)),
    };
    Ended { connection, object, result }
}

/// Makes an object and marks it; gives the reason if it must not be made here.
async fn in_transaction(
    connection: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
    statement: &mut String,
) -> Result<Option<String>, Error> {
    let why = match object.object.kind {
        kind if why_left_out(kind).is_some() => match refusal(connection).await? {
            None => None,
            Some(_) => why_left_out(kind).map(str::to_owned),
        },
        ObjectKind::Firing => Some(FIRES.to_owned()),
        ObjectKind::RowSecurity if object.object.statements.iter().any(|s| s.ends_with(FORCE)) => {
            would_obey(connection).await?
        }
        _ => None,
    };
    if let Some(why) = why {
        ledger::object_skipped(connection, migration, object, &why).await?;
        return Ok(Some(why));
    }
    connection.query("BEGIN").await?;
    for sql in &object.object.statements {
        statement.clone_from(sql);
        connection.query(sql).await?;
    }
    "COMMIT".clone_into(statement);
    ledger::object_done(connection, migration, object).await?;
    connection.query("COMMIT").await?;
    Ok(None)
}

/// Policies are not for later runs, which write what the source has; so the role must be one that
/// they don't bind.
async fn would_obey(connection: &mut Connection) -> Result<Option<String>, Error> {
    let sql = "SELECT rolsuper OR rolbypassrls AS free FROM pg_roles WHERE rolname = current_user";
    let is_free: bool = connection.query(sql).await?.row()?.get("free")?;
    let why = "the role does not bypass row security, so later runs could not write";
    Ok((!is_free).then(|| why.to_owned()))
}

/// Undoes what is open. What needs something that the target does not have is marked as left out.
async fn give_up(
    connection: &mut Connection,
    migration: &MigrationName,
    object: &ObjectRecord,
    error: Error,
) -> Result<Option<String>, Error> {
    let Some(code) = error.sqlstate() else {
        return Err(error);
    };
    if connection.in_transaction() {
        connection.query("ROLLBACK").await?;
    }
    if !may_be_missing(object.object.kind, code) {
        return Err(error);
    }
    let why = error.to_string();
    ledger::object_skipped(connection, migration, object, &why).await?;
    Ok(Some(why))
}

/// Whether an object may be left out for this reason: a trigger for want of its function, a
/// foreign key of the table it refers to (and then its validation of the constraint), grants and
/// policies of their roles.
pub(super) fn may_be_missing(kind: ObjectKind, code: SqlState) -> bool {
    match kind {
        ObjectKind::Trigger => {
            [SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME].contains(&code)
        }
        ObjectKind::ForeignKey => {
            [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(&code)
        }
        ObjectKind::Grant | ObjectKind::Policy | ObjectKind::Validation => {
            code == SqlState::UNDEFINED_OBJECT
        }
        _ => false,
    }
}
