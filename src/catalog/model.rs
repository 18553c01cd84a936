//! The shapes of tables and what belongs to them.

use super::partition::{Files, Partition, PartitionShape, changed, files};
use crate::{
    pg::{Ident, Oid, QualifiedName, ServerVersion},
    pgoutput::ReplicaIdentity,
    sql::Operators,
};

/// A table, as far as moving it needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its server's release, which some values' binary form depends on.
    pub release: ServerVersion,
    /// Its object id, on its own server only.
    pub oid: Oid,
    /// Its name.
    pub name: QualifiedName,
    /// `relkind`: `r` for a table, `p` for a partitioned one.
    pub kind: char,
    /// `relpersistence`: `p` for permanent; others are not in the log.
    pub persistence: char,
    /// How the log names the rows that change.
    pub replica_identity: ReplicaIdentity,
    /// Its columns in order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Its unique indexes.
    pub unique_indexes: Vec<UniqueIndex>,
    /// The planner's estimate of its rows: as dense as when it was last vacuumed or analyzed, in
    /// all the pages that it has now. `None` before.
    pub estimated_rows: Option<u64>,
    /// Its size in bytes with TOAST, without indexes.
    pub bytes: u64,
    /// Whether it has triggers other than internal ones, or rules.
    pub has_triggers: bool,
    /// Triggers and rules that fire whatever `session_replication_role` says.
    pub always_triggers: Vec<String>,
    /// Whether it inherits from another table or is inherited from.
    pub inherits: bool,
    /// The type of its rows, and of arrays of them: columns of other tables may be of these.
    pub row_types: [Oid; 2],
    /// What it is partitioned by, as PARTITION BY takes it.
    pub partition_key: Option<String>,
    /// Its partitions, at all levels, each after what it is a partition of.
    pub partitions: Vec<Partition>,
    /// What it is made of, to tell later whether it was rewritten.
    pub shape: Shape,
    /// The names of its exclusion constraints and foreign keys, and of what its partitions have of
    /// these and of unique indexes for themselves.
    pub foreign_or_exclusion: Vec<String>,
}

impl Table {
    /// The columns whose values travel: all but generated ones, which the target computes.
    pub fn stored_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|c| c.generated.is_none())
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &Ident) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == *name)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type, on its own server only for types that are not built in.
    pub type_oid: Oid,
    /// `atttypmod`: -1, or the type's modifier as Relation messages tell it.
    pub type_modifier: i32,
    /// Its type as SQL spells it, qualified and with its modifier: `character varying(20)`.
    pub type_name: String,
    /// What its values are compared as.
    pub base: BaseType,
    /// Whether it is declared NOT NULL, and all of its rows are known to be so.
    pub not_null: bool,
    /// The NOT NULL constraint that is NOT VALID (18 and later): rows may be NULL.
    pub unproven: Option<Ident>,
    /// The expression of its DEFAULT or of its generation.
    pub expression: Option<String>,
    /// GENERATED .. AS IDENTITY.
    pub identity: Option<Identity>,
    /// GENERATED ALWAYS AS (expression).
    pub generated: Option<Generated>,
    /// Its collation as SQL spells it, if it is not its type's own.
    pub collation: Option<String>,
    /// Which strings its collation takes for one, as the collation's locale and rules; `None` if it
    /// tells all strings apart.
    pub merges: Option<String>,
    /// The sequence that it owns and takes its values from (serial or identity).
    pub sequence: Option<QualifiedName>,
}

/// A column's type, or the one below it where it is a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseType {
    /// Its object id, on its own server only for types that are not built in.
    pub oid: Oid,
    /// As SQL spells it, qualified and with its modifier.
    pub name: String,
    /// The column's collation as SQL spells it, if it is not this type's own.
    pub collation: Option<String>,
    /// Whether it is an enum.
    pub is_enum: bool,
}

/// Who may give an identity column its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `a`: only the sequence, short of OVERRIDING SYSTEM VALUE.
    Always,
    /// `d`: the sequence where nothing is given.
    ByDefault,
}

/// How a generated column is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generated {
    /// `s`: computed when written.
    Stored,
    /// `v`: computed when read (18 and later).
    Virtual,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueIndex {
    /// Its name.
    pub name: String,
    /// Whether it is the primary key.
    pub primary: bool,
    /// Whether REPLICA IDENTITY USING INDEX names it.
    pub replica_identity: bool,
    /// Whether it is checked at once: not DEFERRABLE.
    pub immediate: bool,
    /// Whether it is valid and complete.
    pub valid: bool,
    /// Whether it has a WHERE.
    pub partial: bool,
    /// Whether it has expressions among its columns.
    pub expressions: bool,
    /// Whether it is a B-tree in its types' default order and its columns' collations.
    pub default_order: bool,
    /// Whether it takes no two values for one that its columns tell apart: by a collation or an
    /// operator class of its own.
    pub tells_apart: bool,
    /// Its key columns in order, without INCLUDE; empty where there are expressions.
    pub columns: Vec<Ident>,
    /// The operators it compares by, one for each column.
    pub operators: Vec<Operators>,
}

/// What a table is made of.
///
/// An ALTER TABLE that rewrites a table changes its rows without a trace in the stream of
/// changes. It leaves its mark on the catalog: the table's file and the lines of its columns are
/// new. TRUNCATE and VACUUM FULL change only the file, ALTER .. SET STATISTICS only a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers, types and modifiers of the columns, as a hash.
    pub columns: String,
    /// Who wrote the columns' lines of the catalog, as a hash.
    pub column_writers: String,
    /// `relfilenode`.
    pub file: String,
    /// The same of its partitions.
    pub partitions: Vec<PartitionShape>,
}

impl Shape {
    /// As the ledger keeps it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let own = format!("{} {} {}", self.columns, self.column_writers, self.file);
        // Strings and numbers: there is nothing in it that JSON could not hold.
        match serde_json::to_string(&self.partitions) {
            Ok(partitions) if !self.partitions.is_empty() => format!("{own} {partitions}"),
            _ => own,
        }
    }

    /// The inverse; `None` if the text is not a shape.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        Some(Self {
            columns: parts.next()?.to_owned(),
            column_writers: parts.next()?.to_owned(),
            file: parts.next()?.to_owned(),
            partitions: match parts.next() {
                Some(partitions) => serde_json::from_str(partitions).ok()?,
                None => Vec::new(),
            },
        })
    }

    /// What became of the table since `before` that the stream of changes does not tell, as a
    /// clause that goes on after its name.
    #[must_use]
    pub fn altered_since(&self, before: &Self) -> Option<String> {
        if self.columns != before.columns
            || self.column_writers != before.column_writers && self.file != before.file
        {
            let what = "was altered on the source since the migration began; a rewrite of its \
                        rows is not in the stream of changes";
            return Some(what.to_owned());
        }
        changed(&self.partitions, &before.partitions)
    }

    /// Whether partitions have other files than `before`.
    #[must_use]
    pub fn files_since(&self, before: &Self) -> Files<'_> {
        files(&self.partitions, &before.partitions)
    }
}

/// Row security that the table's owner obeys, too.
pub const FORCE: &str = "FORCE ROW LEVEL SECURITY";

/// What a source table has besides its columns and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Valid indexes, those of constraints and the key's among them.
    pub indexes: Vec<ExtraIndex>,
    /// CHECK constraints and foreign keys.
    pub constraints: Vec<ExtraConstraint>,
    /// Extended statistics.
    pub statistics: Vec<ExtraStatistics>,
    /// Triggers that are not internal.
    pub triggers: Vec<ExtraTrigger>,
    /// Policies: the name, and `AS .. WITH CHECK ..`.
    pub policies: Vec<(Ident, String, Option<String>)>,
    /// Privileges of roles that are not the owner.
    pub grants: Vec<ExtraGrant>,
    /// Comments on the table (`None`) and its columns.
    pub comments: Vec<(Option<Ident>, String)>,
    /// REPLICA IDENTITY FULL.
    pub identity_full: bool,
    /// Whether it is partitioned.
    pub partitioned: bool,
    /// Of a partition: its indexes that belong to one of a table above it.
    pub inherited: Vec<InheritedIndex>,
    /// The sequences that its columns own.
    pub sequences: Vec<ExtraSequence>,
    /// Its NOT NULL constraints, which have names from 18 on.
    pub not_nulls: Vec<ExtraNotNull>,
    /// How its rows are stored, if not as a heap.
    pub access_method: Option<String>,
    /// The composite type that it is a table of (`CREATE TABLE .. OF`), as SQL spells it.
    pub of_type: Option<String>,
    /// Clauses of ALTER TABLE that switch row security on, for the owner too ([`FORCE`]).
    pub row_security: Vec<&'static str>,
}

/// A partition's index that belongs to one of a table above it, with which the server makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InheritedIndex {
    /// The topmost table that it comes from, as the source calls it.
    pub root_table: Option<QualifiedName>,
    /// That table's index.
    pub root: String,
    /// Its own name, and its constraint's.
    pub name: String,
    /// Its storage parameters as SET takes them.
    pub options: Option<String>,
    /// Those of the topmost index that it does not have, as RESET takes them.
    pub reset: Option<String>,
    /// Clauses of ALTER INDEX that set its columns' statistics targets.
    pub targets: Option<String>,
    /// The comment on the index.
    pub comment: Option<String>,
    /// The comment on its constraint.
    pub constraint_comment: Option<String>,
    /// Whether the partition's REPLICA IDENTITY names it.
    pub replica_identity: bool,
    /// Whether the partition was clustered on it.
    pub clustered: bool,
}

/// A sequence that a column owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraSequence {
    /// Its name.
    pub name: QualifiedName,
    /// The name as `regclass` prints it, by which expressions call it.
    pub spelled: String,
    /// The column.
    pub column: Ident,
    /// Whether it is an identity column's.
    pub identity: bool,
    /// Whether it is not logged.
    pub unlogged: bool,
    /// The type of its values.
    pub type_name: String,
    /// Its options as CREATE SEQUENCE takes them, without the type.
    pub options: String,
    /// The comment.
    pub comment: Option<String>,
    /// Privileges of roles that are not the owner.
    pub grants: Vec<ExtraGrant>,
}

/// A NOT NULL constraint of 18 and later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraNotNull {
    /// Its name.
    pub name: Ident,
    /// The column.
    pub column: Ident,
    /// NO INHERIT.
    pub no_inherit: bool,
    /// Whether all rows are known to fulfil it.
    pub validated: bool,
    /// The comment.
    pub comment: Option<String>,
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraIndex {
    /// Its name, and its constraint's.
    pub name: String,
    /// Whether it is unique.
    pub unique: bool,
    /// What follows ` USING ` in its definition.
    pub using: String,
    /// The definition of its constraint, if it has one.
    pub constraint: Option<String>,
    /// Its storage parameters as SET takes them.
    pub options: Option<String>,
    /// The tablespace that it is to be built in; empty for the database's own, `None` for the
    /// session's.
    pub tablespace: Option<String>,
    /// Clauses of ALTER INDEX that set its columns' statistics targets.
    pub targets: Option<String>,
    /// The comment on the index.
    pub comment: Option<String>,
    /// The comment on its constraint.
    pub constraint_comment: Option<String>,
    /// Whether the table was clustered on it.
    pub clustered: bool,
    /// Whether REPLICA IDENTITY names it.
    pub replica_identity: bool,
}

/// A CHECK constraint or a foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraConstraint {
    /// Its name.
    pub name: Ident,
    /// Its definition; of a foreign key, what stands before the referenced table.
    pub head: String,
    /// Of a foreign key: the referenced table and what stands behind it.
    pub reference: Option<(QualifiedName, String)>,
    /// Whether all rows are known to fulfil it.
    pub validated: bool,
    /// The comment on it.
    pub comment: Option<String>,
}

/// Extended statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraStatistics {
    /// Their schema, which need not be the table's.
    pub schema: String,
    /// The name.
    pub name: String,
    /// What stands between the name and ` FROM `.
    pub of: String,
    /// The statistics target, if it is set.
    pub target: Option<i32>,
    /// The comment.
    pub comment: Option<String>,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraTrigger {
    /// Its name.
    pub name: Ident,
    /// Whether it is a constraint trigger.
    pub constraint: bool,
    /// `BEFORE INSERT OR UPDATE OF a`.
    pub events: String,
    /// What follows the table in its definition.
    pub rest: String,
    /// `tgenabled`.
    pub enabled: char,
    /// The comment.
    pub comment: Option<String>,
}

/// Privileges of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraGrant {
    /// The role, quoted, or PUBLIC.
    pub role: String,
    /// One privilege: `SELECT`.
    pub privilege: String,
    /// The column, if it is not of the whole table.
    pub column: Option<Ident>,
    /// Whether it may be passed on.
    pub grantable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_changes_the_file_and_the_columns_lines_together() {
        let shape = |columns: &str, writers: &str, file: &str| Shape {
            columns: columns.into(),
            column_writers: writers.into(),
            file: file.into(),
            partitions: Vec::new(),
        };
        let before = shape("c", "w", "f");
        assert_eq!(Shape::from_text(&before.to_text()), Some(before.clone()));
        for (after, altered) in [
            (shape("c", "w", "f"), false),
            (shape("c", "w", "g"), false), // TRUNCATE, VACUUM FULL
            (shape("c", "x", "f"), false), // SET STATISTICS
            (shape("c", "x", "g"), true),  // ALTER TYPE .. USING
            (shape("d", "x", "f"), true),  // ADD COLUMN
        ] {
            assert_eq!(after.altered_since(&before).is_some(), altered, "{after:?}");
        }
        let partition = PartitionShape {
            name: "a \"b\".c d".into(),
            oid_and_file: (1, 2),
            writer: "3".into(),
            attached_by: "4".into(),
            column_writers: "5".into(),
        };
        let parted = Shape { partitions: vec![partition], ..before.clone() };
        assert_eq!(Shape::from_text(&parted.to_text()), Some(parted.clone()));
        assert!(parted.altered_since(&before).is_some() && before.altered_since(&parted).is_some());
    }
}
