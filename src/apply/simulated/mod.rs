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
//! The decoder, the inbox, the folds, the accountant, the positions and the work that a fold comes
//! to (`work`) are the real ones. Mirrored, because the real ones speak to sockets in between, are
//!
//! - `Driver`'s decisions (`applier`): when the checkpoint is passed, which moved rows are fetched
//!   (`moved`, `is_ahead`, `fetch_waiting`), that the checkpoint is raised, what is handed over as
//!   a part, and where to stop;
//! - `Lanes` and `Lane` (`lanes`): which lane an entry goes to, what waits for all of them, and
//!   when a position is committed and durable;
//! - `Careful` and the new beginning after a conflict, and the journey around it all (`run`).
//!
//! What is changed there is to be changed here too. Left out: secondary unique indexes, values in
//! binary, spellings of equal keys, standbys.
//!
//! Three things are asked of every run (`check`): where the target is exact, it equals the source
//! at that position, at the checkpoint and after each transaction that follows; before that
//! nothing on the target is older than the position in the ledger says; and at the end every
//! change of the log is counted once.
//!
//! A simulator that finds nothing proves nothing, so each rule can be broken (`mistake`), and then
//! some run must fail.

mod applier;
mod check;
mod lanes;
mod message;
mod mistake;
mod run;
mod source;
mod target;
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
