//! The steps of a trial, each in a savepoint of its own, many on their way at once.
//!
//! Statements go by the extended protocol: each is one statement, whatever its text says.

use std::iter::empty;

use bytes::BytesMut;

use crate::{
    catalog::ObjectKind,
    conn::{Error, PATH_AGAIN, Pipeline},
    wire::ServerError,
};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Makes the schemas that stand for the target's.
    Schemas,
    /// Makes a table that is missing on the target, with its partitions.
    Table,
    /// Gives it a storage setting, which a server may not know.
    Setting,
    /// Makes a table like one of the target.
    Copy,
    /// Makes a table like one that is only referred to.
    StandIn,
    /// Writes sampled rows.
    Rows,
    /// Takes them away again, of all tables.
    Empties,
    /// Makes an object.
    Object(ObjectKind),
}

/// What is done or undone as a whole.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The table's place in the migration; `None` if it is no table's own.
    pub(super) ordinal: Option<usize>,
    pub(super) does: Does,
    /// Of an object, its name.
    pub(super) name: String,
    pub(super) statements: Vec<String>,
    /// What COPY, the last statement, is to write.
    pub(super) rows: Option<BytesMut>,
    /// The steps without which it means nothing.
    pub(super) needs: Vec<usize>,
}

/// What became of a step.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Done,
    /// What it needs was not there.
    PassedOver,
    Failed {
        /// Which of its statements.
        statement: usize,
        error: Box<ServerError>,
    },
}

/// Takes all steps, in order. A step that fails is undone, and those that need it are passed over.
///
/// Errors: the connection's.
pub(super) async fn take(pipeline: &mut Pipeline, steps: &[Step]) -> Result<Vec<Outcome>, Error> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    while outcomes.len() < steps.len() {
        let mut queued: Vec<(usize, bool)> = Vec::new();
        for (at, step) in steps.iter().enumerate().skip(outcomes.len()) {
            if !queued.is_empty() && !pipeline.has_room() {
                break;
            }
            // What is on its way is thought to come to a good end.
            let is_there = |need: &usize| match outcomes.get(*need) {
                Some(outcome) => matches!(outcome, Outcome::Done),
                None => queued.iter().all(|(at, goes)| at != need || *goes),
            };
            let goes = step.needs.iter().all(is_there);
            if goes {
                queue(pipeline, step);
            }
            queued.push((at, goes));
        }
        for (at, goes) in queued {
            if !goes {
                outcomes.push(Outcome::PassedOver);
                continue;
            }
            let outcome = ended(pipeline, &steps[at]).await?;
            let failed = matches!(outcome, Outcome::Failed { .. });
            outcomes.push(outcome);
            if failed {
                // In the failed transaction nothing behind it is done, up to the rollback.
                rest(pipeline).await?;
                break;
            }
        }
    }
    Ok(outcomes)
}

const BEFORE: &str = "SAVEPOINT step";
const AFTER: &str = "RELEASE SAVEPOINT step";
const UNDO: &str = "ROLLBACK TO SAVEPOINT step";

fn queue(pipeline: &mut Pipeline, step: &Step) {
    statement(pipeline, BEFORE);
    for (at, sql) in step.statements.iter().enumerate() {
        // Rows and event triggers run functions, and definitions are read as the path says.
        statement(pipeline, PATH_AGAIN);
        match &step.rows {
            Some(rows) if at + 1 == step.statements.len() => {
                pipeline.prepare("", sql, &[]);
                pipeline.copy("", |writer| writer.copy_data(rows));
            }
            _ => statement(pipeline, sql),
        }
    }
    statement(pipeline, AFTER);
    pipeline.sync();
}

pub(super) fn statement(pipeline: &mut Pipeline, sql: &str) {
    pipeline.prepare("", sql, &[]);
    pipeline.execute("", empty(), |_| {});
}

/// Waits for the end of a step.
async fn ended(pipeline: &mut Pipeline, step: &Step) -> Result<Outcome, Error> {
    // The savepoint goes before, its release and the Sync follow; and each has the path before it.
    for at in 0..2 * step.statements.len() + 3 {
        match pipeline.completed().await {
            Ok(_) => {}
            Err(Error::Server(error)) => {
                let statement = at.saturating_sub(1) / 2;
                return Ok(Outcome::Failed { statement, error });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Done)
}

/// Takes what is left of the answers after a failure, and undoes the step that failed.
async fn rest(pipeline: &mut Pipeline) -> Result<(), Error> {
    statement(pipeline, UNDO);
    statement(pipeline, AFTER);
    pipeline.sync();
    while pipeline.owes() {
        match pipeline.completed().await {
            Ok(_) | Err(Error::Server(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
