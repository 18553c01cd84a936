//! When a row that was seen to differ really does. Pure: what is seen goes in, a judgement comes
//! out.
//!
//! Both sides change while they are compared. A row that differs is looked at again and again; each
//! look is, in this order,
//!
//! ```text
//!   snapshot   which transactions the source shows
//!   source     its row, and a position after that
//!   ..         until the target has passed the position; meanwhile the source's row may be read
//!              some more times
//!   target     its row
//! ```
//!
//! - It is *equal* once the target has a value that the source was seen to have since the first
//!   look: the row is followed. That ends it for rows that change, and for those that were only
//!   late.
//! - It *differs* once neither side's row has been written anew over several looks, and what the
//!   source shows at the last includes what the target showed at the first. If the source has a
//!   row: it was this row at the target's first look too, since that lies between two looks that
//!   show this very version, and the target had another one or none. If it has none: the target's
//!   row outlived the position at which the source did not have it. So a difference that is told
//!   was there at one single position of the log.
//! - A row for which neither comes about within [`LOOKS_MAX`] looks differs if something of it
//!   stood still on the source all the time (a column's value, or that it is there at all) and was
//!   otherwise on the target at each look. Else it changes faster than it can be looked at, and
//!   nothing is said of it.
//!
//! The middle rule needs transactions on the source that write to come to an end: a commit is in
//! the log, and on the target, before it is visible, and with synchronous replication that can
//! take long. The last rule is for when one goes on and on.

use std::collections::HashSet;

use serde::Serialize;

use crate::pg::Snapshot;

/// How often a row is looked at.
pub(super) const LOOKS_MAX: u32 = 16;

/// How many values of the source's row are kept.
const SEEN_MAX: usize = 512;

/// A row as one side shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Another one for a row that was written anew.
    pub(super) version: String,
    /// The hash of each column.
    pub(super) columns: Vec<i64>,
}

/// In which way a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The source has it, the target has not.
    MissingOnTarget,
    /// The target has it, the source has not.
    ExtraOnTarget,
    /// Both have it, with other values.
    Different,
}

/// What is known of a row after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing yet.
    Open,
    /// The target follows.
    Equal,
    /// It differs, in these columns where both sides have it.
    Differs(Kind, Vec<usize>),
    /// It changes faster than it can be looked at.
    Moving,
}

/// A row that was seen to differ.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    /// Its key, as one of the sides has spelled it.
    pub(super) key: Vec<String>,
    looks: u32,
    seen: HashSet<Option<Vec<i64>>>,
    still: Option<Still>,
    doubt: Option<Doubt>,
}

/// The look, of a row that stands still, from which on its writer is told if it is in progress.
const TOLD_FROM: u32 = 3;

/// Since when neither side's row was written anew.
#[derive(Clone, Debug)]
struct Still {
    source: Option<String>,
    target: Option<String>,
    looks: u32,
    /// What the source showed at the third look.
    after: Option<Snapshot>,
}

/// What stood still on the source and was otherwise on the target, at every look.
#[derive(Clone, Debug)]
struct Doubt {
    source: Option<Vec<i64>>,
    of: Difference,
}

#[derive(Clone, Debug)]
enum Difference {
    Presence(Kind),
    Columns(Vec<usize>),
}

impl Suspect {
    pub(super) fn new(key: Vec<String>) -> Self {
        Self { key, looks: 0, seen: HashSet::new(), still: None, doubt: None }
    }

    /// How often it was looked at.
    pub(super) const fn looks(&self) -> u32 {
        self.looks
    }

    /// A value that the source's row had between two looks.
    pub(super) fn source_had(&mut self, source: Option<&Shown>) {
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(source.map(|row| row.columns.clone()));
        }
    }

    /// A look. `snapshot` was taken before it, on the source.
    pub(super) fn look(
        &mut self,
        snapshot: &Snapshot,
        source: Option<&Shown>,
        target: Option<&Shown>,
    ) -> Judgement {
        self.looks += 1;
        self.seen.insert(source.map(|row| row.columns.clone()));
        if self.seen.contains(&target.map(|row| row.columns.clone())) {
            return Judgement::Equal;
        }
        self.doubt = match self.doubt.take() {
            None if self.looks == 1 => Some(Doubt::new(source, target)),
            doubt => doubt.and_then(|doubt| doubt.stays(source, target)),
        };
        if self.stands_still(snapshot, source, target) {
            return Doubt::new(source, target).judgement();
        }
        match &self.doubt {
            _ if self.looks < LOOKS_MAX => Judgement::Open,
            Some(doubt) => doubt.judgement(),
            None => Judgement::Moving,
        }
    }

    /// Whether both sides have stood still for long enough.
    ///
    /// Whoever wrote what the target had at the first look had its xid by then. A snapshot's `xmax`
    /// is one more than the last xid that has *ended*, so it may lie below that one, and the
    /// writer, still waiting for a standby, not be told as in progress (`GetSnapshotData`). The
    /// position that the second look takes ends a transaction with a later xid; from the third look
    /// on the writer is either over or told.
    fn stands_still(
        &mut self,
        snapshot: &Snapshot,
        source: Option<&Shown>,
        target: Option<&Shown>,
    ) -> bool {
        let version = |row: Option<&Shown>| row.map(|row| row.version.clone());
        let (source, target) = (version(source), version(target));
        match &mut self.still {
            Some(still) if still.source == source && still.target == target => {
                still.looks += 1;
                if still.looks < TOLD_FROM {
                    return false;
                }
                let after = still.after.get_or_insert_with(|| snapshot.clone());
                snapshot.is_past(after)
            }
            _ => {
                self.still = Some(Still { source, target, looks: 1, after: None });
                false
            }
        }
    }
}

impl Doubt {
    fn new(source: Option<&Shown>, target: Option<&Shown>) -> Self {
        let of = match (source, target) {
            (Some(source), Some(target)) => Difference::Columns(
                (0..source.columns.len())
                    .filter(|&i| source.columns.get(i) != target.columns.get(i))
                    .collect(),
            ),
            (Some(_), None) => Difference::Presence(Kind::MissingOnTarget),
            (None, _) => Difference::Presence(Kind::ExtraOnTarget),
        };
        Self { source: source.map(|row| row.columns.clone()), of }
    }

    /// What of it holds for another look too.
    fn stays(mut self, source: Option<&Shown>, target: Option<&Shown>) -> Option<Self> {
        let holds = match &mut self.of {
            Difference::Presence(Kind::MissingOnTarget) => source.is_some() && target.is_none(),
            Difference::Presence(_) => source.is_none() && target.is_some(),
            Difference::Columns(columns) => {
                let (before, now) = (self.source.as_ref()?, &source?.columns);
                let target = &target?.columns;
                columns.retain(|&i| now.get(i) == before.get(i) && target.get(i) != before.get(i));
                !columns.is_empty()
            }
        };
        holds.then_some(self)
    }

    fn judgement(&self) -> Judgement {
        match &self.of {
            Difference::Presence(kind) => Judgement::Differs(*kind, Vec::new()),
            Difference::Columns(columns) => Judgement::Differs(Kind::Different, columns.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
