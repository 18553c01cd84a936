//! What is compared, and what comes of it.

use std::time::Duration;

use super::suspect::Kind;
use crate::{
    pg::{Ident, QualifiedName},
    sql::{Hashing, KeyColumn},
};

/// Two tables that should be equal.
#[derive(Clone, Debug)]
pub struct VerifyTable {
    /// On the source.
    pub source: QualifiedName,
    /// On the target.
    pub target: QualifiedName,
    /// The key as the source's index has it.
    pub source_key: Vec<KeyColumn>,
    /// The same columns in the same order, as the target compares them.
    pub target_key: Vec<KeyColumn>,
    /// The places of the key's columns in the order in which the target's index has them.
    pub target_walk: Vec<usize>,
    /// Whether both sides order the key alike.
    pub same_order: bool,
    /// The columns that are compared.
    pub columns: Vec<Ident>,
    /// The types of these on the target, as a value is to be read that was written by the source.
    pub target_types: Vec<String>,
    /// Whether the two servers' own hashes of a text are not the same.
    pub portable_hash: bool,
    /// Rows in a page, if it was given.
    pub page_rows: Option<u64>,
}

impl VerifyTable {
    /// How whole rows are hashed.
    #[must_use]
    pub fn hashing(&self) -> Hashing<'_> {
        Hashing { columns: &self.columns, portable: self.portable_hash }
    }

    /// How rows are hashed of which only the key matters.
    pub(super) const fn no_columns(&self) -> Hashing<'_> {
        Hashing { columns: &[], portable: self.portable_hash }
    }

    /// The target's key in the order of its index.
    pub(super) fn walk(&self) -> Vec<KeyColumn> {
        self.target_walk.iter().filter_map(|&i| self.target_key.get(i).cloned()).collect()
    }

    /// A key's values in the order of the target's index.
    pub(super) fn walk_values(&self, values: &[String]) -> Vec<String> {
        self.target_walk.iter().filter_map(|&i| values.get(i).cloned()).collect()
    }
}

/// How far it is, and what is found.
#[derive(Clone, Debug)]
pub enum VerifyProgress {
    /// So many rows and pages are compared.
    Page {
        /// Rows of the source.
        rows: u64,
        /// Pages.
        pages: u64,
        /// Of all rows that there are to walk along, the target's too where that is needed.
        walked: u64,
        /// How often each row is walked past: once or twice.
        passes: u64,
    },
    /// A statement on the source has taken so long.
    SnapshotHeld(Duration),
    /// A row differs.
    Differs(DifferentRow),
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferentRow {
    /// Its key.
    pub key: Vec<(Ident, String)>,
    /// How.
    pub kind: Kind,
    /// In which columns, where both sides have it.
    pub columns: Vec<Ident>,
}

/// What a comparison of two tables found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The source's rows.
    pub rows: u64,
    /// Pages they were compared in.
    pub pages: u64,
    /// Rows that differ.
    pub different: u64,
    /// Rows whose values the two servers spell differently: written to the target now, they would
    /// be what is there.
    pub respelled: u64,
    /// Rows of which nothing can be said: they change faster than they can be looked at.
    pub moving: u64,
}
