//! The walsender side: slots, the stream, and what we tell it of our progress.
//!
//! ```text
//!   create_slot ──> start ──> ReplicationStream ──┬─ chunks of XLogData and keepalives
//!                                                 └─ status updates, decided by Feedback
//! ```
//!
//! What the stream's payload means is `pgoutput`'s; what may be acknowledged is `ledger`'s. Where
//! large transactions come in blocks, `transaction` makes whole ones of them.

mod checkpoint;
mod feedback;
mod message;
mod options;
mod slot;
mod stream;
pub mod transaction;

pub use checkpoint::take_checkpoint;
pub use feedback::{DurableLsn, Feedback};
pub use message::{MessageError, StandbyStatusUpdate, StreamMessage};
pub use options::{OptionError, Origins, StreamOptions};
pub use slot::{
    CreatedSlot, NewSlot, Slot, SystemIdentity, create_slot, drop_slot, find_slot, identify_system,
    touch_slot,
};
pub use stream::{Chunk, ReplicationStream, start};
pub use transaction::{AssembleError, Assembler, Limits, Replay, SpillDirectory, Taken};
