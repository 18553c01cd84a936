//! The target table's definition, written from the source's catalog.
//!
//! Only what the rows need: columns, types, collations, nullability, defaults, identity,
//! generation; and, for when the rows are there, the key. What the table has besides is not made
//! here.

use super::{
    model::{Column, ExtraNotNull, Generated, Identity, Table},
    not_null::in_definition,
    partition::Partition,
    sequence::{NamedSequence, with_names},
};
use crate::{
    catalog::Key,
    pg::{Ident, QualifiedName},
};

/// What a table's definition is written from.
#[derive(Clone, Copy, Debug)]
pub struct Design<'a> {
    /// The columns, as the source has them.
    pub columns: &'a [Column],
    /// The columns of the key.
    pub key: &'a Key,
    /// The sequences of its columns, and of the whole table's where it is a partition.
    pub sequences: &'a [NamedSequence<'a>],
    /// Its NOT NULL constraints.
    pub not_nulls: &'a [ExtraNotNull],
    /// How its rows are stored, if not as a heap; as SQL spells it.
    pub access_method: Option<&'a str>,
    /// The target's release.
    pub major: u32,
}

/// The statements that make `target` like `source`, without its key: the sequences of its columns,
/// the table, and the sequences' ownership.
#[must_use]
pub fn create_table(source: &Table, design: Design<'_>, target: &QualifiedName) -> Vec<String> {
    with_sequences(design, design.sequences, target, source.partition_key.as_ref())
}

/// The statements that make a partition: as a table by itself, whose columns may be defined
/// otherwise than the whole table's and stand in another order; then it is attached. `pg_dump` does
/// the same. `own` are the sequences of its own columns.
#[must_use]
pub fn create_partition(
    partition: &Partition,
    design: Design<'_>,
    own: &[NamedSequence<'_>],
    (name, parent): (&QualifiedName, &QualifiedName),
) -> Vec<String> {
    let mut statements = with_sequences(design, own, name, partition.key.as_ref());
    let bound = &partition.bound;
    statements.push(format!("ALTER TABLE ONLY {parent} ATTACH PARTITION {name} {bound}"));
    statements
}

fn with_sequences(
    design: Design<'_>,
    own: &[NamedSequence<'_>],
    name: &QualifiedName,
    partition_key: Option<&String>,
) -> Vec<String> {
    let mut statements: Vec<_> = own.iter().filter_map(NamedSequence::create).collect();
    let line = |column: &Column| format!("    {}", design.column_line(column));
    let lines: Vec<_> = design.columns.iter().map(line).collect();
    let by = partition_key.map(|key| format!(" PARTITION BY {key}")).unwrap_or_default();
    let using = design.access_method.map(|name| format!(" USING {name}")).unwrap_or_default();
    statements.push(format!("CREATE TABLE {name} (\n{}\n){by}{using}", lines.join(",\n")));
    statements.extend(own.iter().flat_map(|sequence| sequence.settle(name)));
    statements
}

/// The statement that gives `target` the source's key. It waits until the rows are there: to sort
/// them once takes half of what it takes to put each into its place.
#[must_use]
pub fn add_key(source: &Table, key: &Key, target: &QualifiedName) -> String {
    let columns: Vec<_> = key.columns.iter().map(|c| c.name.to_string()).collect();
    let is_primary = source.unique_indexes.iter().any(|i| i.primary && i.name == key.index);
    let kind = if is_primary { "PRIMARY KEY" } else { "UNIQUE" };
    format!("ALTER TABLE {target} ADD {kind} ({})", columns.join(", "))
}

impl Design<'_> {
    fn column_line(&self, column: &Column) -> String {
        let mut line = format!("{} {}", column.name, column.type_name);
        if let Some(collation) = &column.collation {
            line += &format!(" COLLATE {collation}");
        }
        let expression = column.expression.as_ref().map(|text| with_names(text, self.sequences));
        match (column.generated, expression) {
            (Some(kind), Some(expression)) => {
                let kind = match kind {
                    Generated::Stored => "STORED",
                    Generated::Virtual => "VIRTUAL",
                };
                line += &format!(" GENERATED ALWAYS AS ({expression}) {kind}");
            }
            (None, Some(expression)) => line += &format!(" DEFAULT {expression}"),
            _ => {}
        }
        if let Some(identity) = column.identity {
            line += &self.identity(column, identity);
        }
        line + &in_definition(&column.name, column.not_null, self.not_nulls, self.major)
    }

    /// Nothing for a partition's column that shares the whole table's sequence (from 17 on): it
    /// gets that when it is attached.
    fn identity(&self, column: &Column, identity: Identity) -> String {
        let own = |s: &&NamedSequence<'_>| {
            s.sequence.identity && column.sequence.as_ref() == Some(&s.sequence.name)
        };
        let Some(NamedSequence { sequence, name }) = self.sequences.iter().find(own) else {
            return String::new();
        };
        let who = match identity {
            Identity::Always if self.is_in_key(&column.name) => "ALWAYS",
            // The source can give a column that is always generated a new value by SET ..
            // DEFAULT; an update here must be able to set it. Keys are only inserted.
            Identity::Always | Identity::ByDefault => "BY DEFAULT",
        };
        let options = &sequence.options;
        format!(" GENERATED {who} AS IDENTITY (SEQUENCE NAME {name} {options})")
    }

    fn is_in_key(&self, name: &Ident) -> bool {
        self.key.columns.iter().any(|column| column.name == *name)
    }
}

/// The identity columns that can't be GENERATED ALWAYS as long as changes are applied.
pub fn always_identities<'a>(
    columns: &'a [Column],
    key: &'a Key,
) -> impl Iterator<Item = &'a Ident> {
    let in_key = |column: &Column| key.columns.iter().any(|k| k.name == column.name);
    let always = columns.iter().filter(|c| c.identity == Some(Identity::Always));
    always.filter(move |column| !in_key(column)).map(|column| &column.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{ExtraSequence, UniqueIndex},
        pg::Oid,
        sql::KeyColumn,
    };

    fn column(name: &str, type_name: &str) -> Column {
        Column::sample(name, Oid(0), type_name)
    }

    fn table(columns: Vec<Column>) -> Table {
        let key = UniqueIndex { primary: true, ..UniqueIndex::sample("a_pkey", &["id"]) };
        Table { columns, unique_indexes: vec![key], ..Table::sample("a") }
    }

    #[test]
    fn a_table_is_written_with_its_columns_and_its_key() {
        let mut id = column("id", "integer");
        id.not_null = true;
        id.expression = Some("nextval('public.a_id_seq'::regclass)".into());
        id.sequence = Some(QualifiedName::new("public", "a_id_seq"));
        let mut name = column("na\"me", "text");
        name.collation = Some("pg_catalog.\"C\"".into());
        name.expression = Some("'x'::text".into());
        let mut twice = column("twice", "integer");
        twice.generated = Some(Generated::Stored);
        twice.expression = Some("(id * 2)".into());
        let mut serial = column("n", "bigint");
        serial.identity = Some(Identity::ByDefault);
        serial.sequence = Some(QualifiedName::new("public", "a_n_seq"));
        let sequences = ["id", "n"].map(|column| ExtraSequence {
            name: QualifiedName::new("public", format!("a_{column}_seq")),
            spelled: format!("public.a_{column}_seq"),
            column: Ident::new(column),
            identity: column == "n",
            unlogged: false,
            type_name: "integer".into(),
            options: "INCREMENT 1".into(),
            comment: None,
            grants: Vec::new(),
        });
        let name_of = |s: &ExtraSequence| format!("b_{}_seq", s.column.as_str());
        let sequences: Vec<_> = (sequences.iter())
            .map(|s| NamedSequence { sequence: s, name: QualifiedName::new("s", name_of(s)) })
            .collect();
        let table = table(vec![id, name, twice, serial]);
        let key =
            Key { index: "a_pkey".into(), columns: vec![KeyColumn::builtin("id", 23, "integer")] };
        let target = QualifiedName::new("s", "b");
        assert_eq!(add_key(&table, &key, &target), r#"ALTER TABLE "s"."b" ADD PRIMARY KEY ("id")"#);
        let (columns, sequences) = (&table.columns, &sequences);
        let design = Design {
            columns,
            key: &key,
            sequences,
            not_nulls: &[],
            access_method: None,
            major: 18,
        };
        let statements = create_table(&table, design, &target);
        assert_eq!(
            statements,
            [
                r#"CREATE SEQUENCE "s"."b_id_seq" AS integer INCREMENT 1"#,
                "CREATE TABLE \"s\".\"b\" (\n    \
                 \"id\" integer DEFAULT nextval('\"s\".\"b_id_seq\"'::regclass) NOT NULL,\n    \
                 \"na\"\"me\" text COLLATE pg_catalog.\"C\" DEFAULT 'x'::text,\n    \
                 \"twice\" integer GENERATED ALWAYS AS ((id * 2)) STORED,\n    \
                 \"n\" bigint GENERATED BY DEFAULT AS IDENTITY \
                 (SEQUENCE NAME \"s\".\"b_n_seq\" INCREMENT 1)\n)",
                r#"ALTER SEQUENCE "s"."b_id_seq" OWNED BY "s"."b"."id""#,
            ]
        );
    }
}
