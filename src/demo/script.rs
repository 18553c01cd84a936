//! What a writer of the live workload does next. Pure: a seed in, SQL text out.
//!
//! The mix is not that of any real application. It is what makes moving a table hard, often
//! enough to happen in seconds: keys that change, are freed and come back, are exchanged between
//! rows; big values that an update of their row leaves alone and so are not in the log; rows
//! that change several times within a transaction; transactions of many rows; rollbacks.

use fastrand::Rng;

use super::orders::{self, Keys};
use crate::pg::QualifiedName;

/// Rows that one statement of a bulk transaction touches.
const BULK_ROWS: u64 = 400;

/// How many rows with a big value a writer remembers, to come back to them.
const BIG_REMEMBERED: usize = 64;

/// How many of the newest keys are called busy: rows there change more than once in a batch.
const BUSY_KEYS: u64 = 200;

/// What a statement does to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Update,
    /// An update of the key.
    Move,
    /// An update that sets a value too big to be kept in the row.
    Big,
    Delete,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) kind: Kind,
}

/// How the transaction of a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its only statement.
    Alone,
    Commit,
    Rollback,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) statements: Vec<Statement>,
    pub(super) end: End,
}

/// The endless list of one writer's steps.
#[derive(Debug)]
pub(super) struct Script {
    rng: Rng,
    table: QualifiedName,
    /// The next key that no row has had, and how far apart they are: no two writers share any.
    next_key: u64,
    key_step: u64,
    /// Keys of rows that were given a big value.
    big: Vec<u64>,
}

impl Script {
    /// The script of writer `writer` of `writers`, on a table whose highest key is `highest`.
    pub(super) fn new(
        table: QualifiedName,
        seed: u64,
        (writer, writers): (u32, u32),
        highest: u64,
    ) -> Self {
        Self {
            // An odd factor, so that neighbouring seeds and writers do not meet.
            rng: Rng::with_seed(seed ^ u64::from(writer + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            table,
            next_key: highest + 1 + u64::from(writer),
            key_step: u64::from(writers),
            big: Vec::new(),
        }
    }

    /// The next transaction.
    pub(super) fn step(&mut self) -> Step {
        let (statements, end) = match self.rng.u32(0..1000) {
            0..=929 => {
                let statements = self.change();
                let alone = statements.len() == 1;
                (statements, if alone { End::Alone } else { End::Commit })
            }
            930..=981 => (self.several(), End::Commit),
            982..=996 => (self.several(), End::Rollback),
            _ => (self.bulk(), End::Commit),
        };
        Step { statements, end }
    }

    /// Two to nine changes; now and then of the same row.
    fn several(&mut self) -> Vec<Statement> {
        let changes = self.rng.u32(2..10);
        (0..changes).flat_map(|_| self.change()).collect()
    }

    /// A change of one row, or of two that exchange their keys.
    fn change(&mut self) -> Vec<Statement> {
        let change = match self.rng.u32(0..100) {
            0..=34 => self.update("amount = amount + 0.01, paid = NOT paid, updated_at = now()"),
            35..=43 => {
                self.update("tags = tags || ARRAY['seen', NULL, ''], note = nullif(note, '')")
            }
            44..=65 => self.insert_new(),
            66..=71 => self.insert_again(),
            72..=85 => self.delete(),
            86..=91 => self.move_to_new_key(),
            92..=93 => self.move_to_free_key(),
            94..=95 => return self.exchange_keys(),
            _ => self.set_big_value(),
        };
        vec![change]
    }

    fn update(&mut self, set: &str) -> Statement {
        let key = self.key_of_any_kind();
        self.statement(Kind::Update, format!("SET {set} WHERE id = {key}"))
    }

    fn insert_new(&mut self) -> Statement {
        let key = self.new_keys(1);
        self.insert(key, "")
    }

    /// A row under a key that another row had, if that is gone.
    fn insert_again(&mut self) -> Statement {
        let key = Keys::one(self.key());
        self.insert(key, " ON CONFLICT (id) DO NOTHING")
    }

    fn insert(&mut self, keys: Keys, conflict: &str) -> Statement {
        Statement {
            sql: orders::insert(&self.table, keys, self.rng.u32(1..)) + conflict,
            kind: Kind::Insert,
        }
    }

    fn delete(&mut self) -> Statement {
        let key = self.key_of_any_kind();
        self.statement(Kind::Delete, format!("WHERE id = {key}"))
    }

    fn move_to_new_key(&mut self) -> Statement {
        let (old, new) = (self.key_of_any_kind(), self.new_keys(1).first);
        if let Some(remembered) = self.big.iter_mut().find(|key| **key == old) {
            *remembered = new;
        }
        self.statement(Kind::Move, format!("SET id = {new} WHERE id = {old}"))
    }

    fn move_to_free_key(&mut self) -> Statement {
        let (old, new) = (self.key_of_any_kind(), self.key());
        let table = &self.table;
        let rest = format!(
            "SET id = {new} WHERE id = {old} \
             AND NOT EXISTS (SELECT FROM {table} AS o WHERE o.id = {new})"
        );
        self.statement(Kind::Move, rest)
    }

    fn exchange_keys(&mut self) -> Vec<Statement> {
        let (a, b) = (self.key_of_any_kind(), self.key());
        // Negative keys are used for nothing else.
        [
            format!("SET id = -{a} WHERE id = {a}"),
            format!("SET id = {a} WHERE id = {b}"),
            format!("SET id = {b} WHERE id = -{a}"),
        ]
        .map(|rest| self.statement(Kind::Move, rest))
        .into()
    }

    /// Hashes in hexadecimal do not compress, and 2 kB are enough to be moved out of the row.
    fn set_big_value(&mut self) -> Statement {
        let (key, parts, salt) = (self.key(), self.rng.u32(60..300), self.rng.u32(..));
        if self.big.len() < BIG_REMEMBERED {
            self.big.push(key);
        } else {
            let at = self.rng.usize(..BIG_REMEMBERED);
            self.big[at] = key;
        }
        let rest = format!(
            "SET note = (SELECT string_agg(\
             encode(sha224(convert_to(i || ' {salt}', 'UTF8')), 'hex'), '') \
             FROM generate_series(1, {parts}) AS i) WHERE id = {key}"
        );
        self.statement(Kind::Big, rest)
    }

    /// Many rows in one transaction: changed, deleted, inserted and changed again.
    fn bulk(&mut self) -> Vec<Statement> {
        let (changed, deleted) = (self.key(), self.key());
        let (last_changed, last_deleted) = (changed + BULK_ROWS, deleted + BULK_ROWS / 4);
        let new = self.new_keys(BULK_ROWS / 2);
        let newest = self.next_key;
        vec![
            self.statement(
                Kind::Update,
                format!("SET amount = amount + 1 WHERE id BETWEEN {changed} AND {last_changed}"),
            ),
            self.statement(Kind::Delete, format!("WHERE id BETWEEN {deleted} AND {last_deleted}")),
            self.insert(new, ""),
            self.statement(
                Kind::Update,
                format!("SET paid = true WHERE id BETWEEN {} AND {newest}", new.first),
            ),
        ]
    }

    fn statement(&self, kind: Kind, rest: String) -> Statement {
        let verb = match kind {
            Kind::Delete => "DELETE FROM",
            _ => "UPDATE",
        };
        Statement { sql: format!("{verb} {} AS t {rest}", self.table), kind }
    }

    /// A key that some row has, or had.
    fn key(&mut self) -> u64 {
        let busy = self.rng.u32(..4) == 0;
        let lowest = if busy { self.next_key.saturating_sub(BUSY_KEYS).max(1) } else { 1 };
        self.rng.u64(lowest..=self.next_key)
    }

    /// The same, and often that of a row with a big value.
    fn key_of_any_kind(&mut self) -> u64 {
        let big = self.rng.u32(..4) == 0;
        match self.rng.choice(&self.big) {
            Some(&key) if big => key,
            _ => self.key(),
        }
    }

    const fn new_keys(&mut self, count: u64) -> Keys {
        let first = self.next_key;
        self.next_key += count * self.key_step;
        Keys { first, count, step: self.key_step }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(seed: u64, writer: u32) -> Script {
        Script::new(QualifiedName::new("public", "o"), seed, (writer, 2), 1000)
    }

    fn steps(mut script: Script) -> Vec<Step> {
        (0..3000).map(|_| script.step()).collect()
    }

    #[test]
    fn a_seed_tells_the_same_story_every_time_and_no_two_writers_the_same() {
        assert_eq!(steps(script(7, 0)), steps(script(7, 0)));
        assert_ne!(steps(script(7, 0)), steps(script(8, 0)));
        assert_ne!(steps(script(7, 0)), steps(script(7, 1)));
    }

    #[test]
    fn everything_that_can_happen_does() {
        let steps = steps(script(7, 0));
        for kind in [Kind::Insert, Kind::Update, Kind::Move, Kind::Big, Kind::Delete] {
            let told = steps.iter().flat_map(|s| &s.statements);
            assert!(told.filter(|s| s.kind == kind).count() > 10, "{kind:?}");
        }
        for end in [End::Alone, End::Commit, End::Rollback] {
            assert!(steps.iter().filter(|s| s.end == end).count() > 10, "{end:?}");
        }
        assert!(steps.iter().any(|s| s.statements.iter().any(|s| s.sql.contains("BETWEEN"))));
    }

    #[test]
    fn only_a_step_of_one_statement_stands_alone() {
        for step in steps(script(7, 0)) {
            assert!(step.end != End::Alone || step.statements.len() == 1);
        }
    }

    #[test]
    fn writers_make_new_keys_of_their_own() {
        let (mut one, mut two) = (script(7, 0), script(7, 1));
        for count in [1, 3, 1] {
            let (one, two) = (one.new_keys(count), two.new_keys(count));
            assert_eq!((one.first % 2, one.step), (1, 2));
            assert_eq!((two.first % 2, two.step), (0, 2));
        }
    }
}
