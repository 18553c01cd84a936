//! What is on a server, as values: tables, columns, keys, types, and what belongs to a table.
//!
//! `query`, `extras`, `foundation`, `inherited`, `not_null`, `sequence`, `ordering` and `prefixes`
//! are the parts that ask a server; choosing a key, judging types and writing the definitions of a
//! table and of what belongs to it are pure. What follows from it for a run is `migrate`'s.

mod composition;
mod definition;
mod digest;
mod extras;
mod foundation;
mod inherited;
mod key;
mod model;
mod not_null;
mod object;
mod ordering;
mod owners;
mod partition;
mod prefixes;
mod query;
#[cfg(test)]
mod sample;
mod sequence;
mod types;

pub use composition::{
    Composition, Difference, Parts, compare as compare_composition, load_composition,
};
pub use definition::{Design, add_key, always_identities, create_partition, create_table};
pub use extras::{PGHOSTS_TRIGGER, load_extras, load_names, load_settings};
pub use foundation::{Foundation, Written, lock_target};
pub use inherited::{NamedPartition, inherited_objects};
pub use key::{
    Key, KeyRefusal, choose_key, explain_key, key_statement, matching_key, unusable_keys,
};
pub use model::{
    BaseType, Column, ExtraConstraint, ExtraGrant, ExtraIndex, ExtraNotNull, ExtraSequence,
    ExtraStatistics, ExtraTrigger, Extras, FORCE, Generated, Identity, InheritedIndex, Shape,
    Table, UniqueIndex,
};
pub use object::{Names, Object, ObjectKind, objects, partition_objects, take_identity};
pub use ordering::{load_key_order, load_ordering};
pub use owners::{Asked, ME, Named, Owned, OwnedKind, Owners, load_existing, load_owners};
pub use partition::{Files, Partition, PartitionShape, identity_statements, why_not_followed};
pub use prefixes::load_prefixes;
pub use query::{load_table, name_of_table, schema_exists};
pub use sequence::{NamedSequence, name_sequences, sequence_objects};
pub use types::{binary_is_safe, equal_means_same_bytes};
