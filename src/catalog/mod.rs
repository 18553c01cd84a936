//! What is on a server, as values: tables, columns, keys, types, and what belongs to a table.
//!
//! `query`, `extras`, `foundation`, `ordering` and `prefixes` are the parts that ask a server;
//! choosing a key, judging types and writing the definitions of a table and of what belongs to it
//! are pure. What follows from it for a run is `migrate`'s.

mod definition;
mod digest;
mod extras;
mod foundation;
mod key;
mod model;
mod object;
mod ordering;
mod partition;
mod prefixes;
mod query;
#[cfg(test)]
mod sample;
mod types;

pub use definition::{add_key, create_table, names_taken};
pub use extras::{load_extras, load_names, load_settings};
pub use foundation::Foundation;
pub use key::{
    Key, KeyRefusal, choose_key, explain_key, key_statement, matching_key, unusable_keys,
};
pub use model::{
    BaseType, Column, ExtraConstraint, ExtraGrant, ExtraIndex, ExtraStatistics, ExtraTrigger,
    Extras, FORCE, Generated, Identity, InheritedIndex, OwnedSequence, Shape, Table, UniqueIndex,
};
pub use object::{Names, Object, ObjectKind, objects, partition_objects, take_identity};
pub use ordering::{load_key_order, load_ordering};
pub use partition::{
    Files, Partition, PartitionShape, create_partition, identity_statements, own_columns,
    why_not_followed,
};
pub use prefixes::load_prefixes;
pub use query::{load_table, name_of_table, schema_exists};
pub use types::{binary_is_safe, equal_means_same_bytes};
