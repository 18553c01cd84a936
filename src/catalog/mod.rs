//! What is on a server, as values: tables, columns, keys, types.
//!
//! [`load_table`] is the only part that asks a server; choosing a key, judging types and
//! writing a table's definition are pure. What follows from it for a run is `migrate`'s.

mod definition;
mod key;
mod model;
mod query;
mod types;

pub use definition::{add_key, create_table};
pub use key::{Key, KeyRefusal, choose_key, matching_key};
pub use model::{Column, Generated, Identity, OwnedSequence, Shape, Table, UniqueIndex};
pub use query::{load_table, schema_exists};
pub use types::binary_is_safe;
