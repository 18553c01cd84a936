//! The whole algorithm without a server: a source that writes a log, pages read from it at any
//! moment, and the replay of the log into a target, with crashes on either side. A seed makes a
//! run, always the same one; thousands take seconds.
//!
//! ```text
//!   Source ── bytes of pgoutput ──> Walsender ──> Decoder ──> Inbox ──> Fold ──> entries
//!      └───── pages, fetched rows ─────────┐                                       │
//!   Target <── rows and ledger <───────────┴──── lanes, each at its own pace <─────┘
//! ```
//!
//! The decoder, the inbox, the folds, the accountant and the positions are the real ones. Mirrored,
//! because the real ones speak to sockets in between, are
//!
//! - `Driver`'s decisions (`applier`): when the checkpoint is passed, which moved rows are fetched
//!   (`moved`, `is_ahead`, `fetch_waiting`), and that the checkpoint is raised;
//! - what an entry asks of a lax and of a strict target (`write`), as `writer` sorts them;
//! - the journey around it (`run`): publication, slot, pages, checkpoint.
//!
//! A change of those there is to be made here too. The lanes are the simulator's own, and stand for
//! any number of connections that commit independently. What they rely on:
//!
//! - before the checkpoint a key always goes to the same lane, and the position that is stored is
//!   one that every lane has committed; lanes may be ahead of it when all is lost;
//! - a truncate, a move of a row on the target and the checkpoint wait for all lanes;
//! - after the checkpoint there is one transaction for rows and position.
//!
//! Three things are asked of every run (`check`): where the target is exact, it equals the source
//! at that position, at the checkpoint and after each transaction that follows; before that
//! nothing on the target is older than the position in the ledger says; and at the end every
//! change of the log is counted once.
//!
//! A simulator that finds nothing proves nothing, so each rule can be broken (`mistake`), and then
//! it must find that.

mod applier;
mod check;
mod lanes;
mod message;
mod mistake;
mod run;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod walsender;
mod world;
mod write;

use std::{collections::BTreeMap, rc::Rc};

/// A row's values, in the order of the target's columns.
type Row = Vec<Option<String>>;

/// The rows of a table by their key.
type Rows = BTreeMap<String, Rc<Row>>;

/// The rows of all tables.
type State = Vec<Rows>;

/// The columns: the key, a small value and two that can be stored out of line.
const COLUMNS: [&str; 4] = ["id", "small", "big", "wide"];

/// Why a run is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// The target is not what the source was.
    Unequal(String),
    /// The position in the ledger says more than is on the target.
    NotCovered(String),
    /// Something was refused: a statement, or a message.
    Refused(String),
    /// A row is there already.
    Conflict(String),
    /// The changes that were counted are not those of the log.
    Miscounted(String),
    /// It does not come to an end.
    Endless,
}

type Outcome<T> = Result<T, Failure>;
