//! The position, written in the same target transaction as the changes that it covers.

use super::{TableCounts, name::MigrationName};
use crate::{
    conn::{Error, PATH_AGAIN, Pipeline},
    pg::{Lsn, SqlState},
    replication::DurableLsn,
    wire::Format,
};

/// What a transaction of changes brings the ledger to.
#[derive(Clone, Debug, Default)]
pub struct Position {
    /// Everything that was committed on the source before this is on the target once the
    /// transaction commits.
    pub applied: Lsn,
    /// How many changes were skipped since the position before.
    pub skipped: u64,
    /// What was done to each table since the position before, by its place in the migration.
    pub tables: Vec<(usize, TableCounts)>,
}

const POSITION: &str = "pghost_position";
const COUNTS: &str = "pghost_counts";
const COMMIT: &str = "pghost_commit";
const BEGIN: &str = "pghost_begin";
const DURABLE: &str = "pghost_durable";
const PATH: &str = "pghost_path";

/// Writes positions through a pipeline.
#[derive(Debug)]
pub struct PositionWriter {
    migration: String,
    /// Where the ledger must be before the next one, or beyond: what lies between the two is all
    /// that the transaction brings.
    from: Lsn,
}

impl PositionWriter {
    /// Prepares the ledger's statements on a pipeline, in a session whose commits are
    /// asynchronous but for those that are to be durable. `from` is what the ledger holds, perhaps
    /// as another session has read it.
    pub fn new(pipeline: &mut Pipeline, migration: &MigrationName, from: Lsn) -> Self {
        let ledger = &migration.ledger;
        pipeline.prepare(BEGIN, "BEGIN", &[]);
        pipeline.prepare(PATH, PATH_AGAIN, &[]);
        pipeline.prepare(
            POSITION,
            // An error where no line is found, and with it the end of the transaction: its COMMIT
            // is on its way already.
            &format!(
                "WITH moved AS (
                 UPDATE {ledger}.migration
                    SET applied_lsn = $2::text::pg_lsn, skipped = skipped + $3::text::bigint,
                        phase = CASE WHEN phase = 'catch_up' AND $2::text::pg_lsn >= checkpoint_lsn
                                     THEN 'done' ELSE phase END
                  WHERE name = $1::text AND applied_lsn <= $2::text::pg_lsn
                    AND applied_lsn >= $4::text::pg_lsn
                 RETURNING 1)
             SELECT 1 / count(*) FROM moved"
            ),
            &[],
        );
        pipeline.prepare(
            COUNTS,
            &format!(
                "UPDATE {ledger}.migration_table
                SET inserted = inserted + $3::text::bigint, updated = updated + $4::text::bigint,
                    deleted = deleted + $5::text::bigint, truncated = truncated + $6::text::bigint
              WHERE migration = $1::text AND ordinal = $2::text::integer"
            ),
            &[],
        );
        pipeline.prepare(COMMIT, "COMMIT", &[]);
        pipeline.prepare(DURABLE, "SET LOCAL synchronous_commit = on", &[]);
        Self { migration: migration.name.clone(), from }
    }

    /// Queues BEGIN.
    pub fn begin(&self, pipeline: &mut Pipeline) {
        pipeline.execute(BEGIN, std::iter::empty(), |_| {});
    }

    /// Queues that nothing is found by a search path which what was written may have set.
    pub fn path_again(&self, pipeline: &mut Pipeline) {
        pipeline.execute(PATH, std::iter::empty(), |_| {});
    }

    /// Queues that the next COMMIT waits until it is durable, and with it all that was committed
    /// before it, in whichever session: the log is flushed from its beginning.
    pub fn make_durable(&self, pipeline: &mut Pipeline) {
        pipeline.execute(DURABLE, std::iter::empty(), |_| {});
    }

    /// Queues COMMIT of rows that no position covers yet.
    pub fn commit_rows(&self, pipeline: &mut Pipeline) {
        pipeline.execute(COMMIT, std::iter::empty(), |_| {});
    }

    /// Queues the position, which must find its line as this one has left it, then the counts of
    /// each table, then COMMIT. Each is found by the search path.
    ///
    /// The line may be another: that of a server whose ledger is behind the one that `from` was
    /// read on (a failover, a restore), where what is between the two would be lost.
    pub fn commit(&mut self, pipeline: &mut Pipeline, position: &Position) {
        let [applied, from] = [position.applied, self.from].map(|lsn| lsn.to_string());
        let skipped = position.skipped.to_string();
        execute(pipeline, POSITION, &[&self.migration, &applied, &skipped, &from]);
        self.from = position.applied;
        for (ordinal, counts) in &position.tables {
            let numbers = [counts.inserted, counts.updated, counts.deleted, counts.truncated];
            let numbers = numbers.map(|n| n.to_string());
            let ordinal = ordinal.to_string();
            let mut parameters = vec![self.migration.as_str(), ordinal.as_str()];
            parameters.extend(numbers.iter().map(String::as_str));
            execute(pipeline, COUNTS, &parameters);
        }
        pipeline.execute(COMMIT, std::iter::empty(), |_| {});
    }

    /// Whether this is how a position fails that has not found its line.
    #[must_use]
    pub fn is_lost(error: &Error) -> bool {
        error.sqlstate() == Some(SqlState::DIVISION_BY_ZERO)
    }

    /// The proof that a position is durable: called when the COMMIT that carried it, or a later
    /// one, was to be durable and has completed.
    #[must_use]
    pub const fn committed(&self, position: &Position) -> DurableLsn {
        DurableLsn::assertion(position.applied)
    }
}

fn execute(pipeline: &mut Pipeline, name: &str, values: &[&str]) {
    pipeline.execute(name, values.iter().map(|_| Format::Text), |bind| {
        for value in values {
            bind.value(Some(value.as_bytes()));
        }
    });
}
