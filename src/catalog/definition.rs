//! The target table's definition, written from the source's catalog.
//!
//! Only what the rows need: columns, types, collations, nullability, defaults, identity,
//! generation; and, for when the rows are there, the key. What the table has besides is not made
//! here.

use super::model::{Column, Generated, Identity, Table};
use crate::{catalog::Key, pg::QualifiedName, sql::quote_literal};

/// The statements that make `target` like `source`, without its key: the sequences of serial
/// columns, the table, and the sequences' ownership.
#[must_use]
pub fn create_table(source: &Table, key: &Key, target: &QualifiedName) -> Vec<String> {
    let mut statements = Vec::new();
    let mut lines = Vec::new();
    let mut owners = Vec::new();
    for column in &source.columns {
        let sequence = serial_sequence(column, target);
        if let (Some(sequence), Some(owned)) = (&sequence, &column.sequence) {
            statements.push(format!("CREATE SEQUENCE {sequence} {}", owned.options));
            owners.push(format!("ALTER SEQUENCE {sequence} OWNED BY {target}.{}", column.name));
        }
        let in_key = key.columns.iter().any(|k| k.name == column.name);
        lines.push(format!("    {}", column_line(column, sequence.as_ref(), in_key)));
    }
    let by = source.partition_key.as_ref().map(|key| format!(" PARTITION BY {key}"));
    let by = by.unwrap_or_default();
    statements.push(format!("CREATE TABLE {target} (\n{}\n){by}", lines.join(",\n")));
    statements.append(&mut owners);
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

/// The names that `target` takes with its columns' sequences.
pub fn names_taken(source: &Table, target: &QualifiedName) -> impl Iterator<Item = String> {
    let owned = source.columns.iter().filter(|column| column.sequence.is_some());
    let sequences = owned.map(|column| sequence_name(column, target).name.as_str().to_owned());
    [target.name.as_str().to_owned()].into_iter().chain(sequences)
}

/// The sequence that a serial column gets on the target.
fn serial_sequence(column: &Column, target: &QualifiedName) -> Option<QualifiedName> {
    let serial = column.identity.is_none() && column.expression.is_some();
    column.sequence.as_ref().filter(|_| serial).map(|_| sequence_name(column, target))
}

/// A column's sequence, as CREATE TABLE names it.
fn sequence_name(column: &Column, target: &QualifiedName) -> QualifiedName {
    // `makeObjectName`: both parts are cut evenly so that the whole fits into 63 bytes.
    let (table, name) = (target.name.as_str(), column.name.as_str());
    let (mut table_bytes, mut name_bytes) = (table.len(), name.len());
    while table_bytes + name_bytes + "_".len() + "_seq".len() > 63 {
        if table_bytes > name_bytes { table_bytes -= 1 } else { name_bytes -= 1 }
    }
    let table = &table[..table.floor_char_boundary(table_bytes)];
    let name = &name[..name.floor_char_boundary(name_bytes)];
    QualifiedName::new(target.schema.as_str(), format!("{table}_{name}_seq"))
}

fn column_line(column: &Column, sequence: Option<&QualifiedName>, in_key: bool) -> String {
    let mut line = format!("{} {}", column.name, column.type_name);
    if let Some(collation) = &column.collation {
        line += &format!(" COLLATE {collation}");
    }
    match (column.generated, &column.expression, sequence) {
        (Some(kind), Some(expression), _) => {
            let kind = match kind {
                Generated::Stored => "STORED",
                Generated::Virtual => "VIRTUAL",
            };
            line += &format!(" GENERATED ALWAYS AS ({expression}) {kind}");
        }
        (_, _, Some(sequence)) => {
            let name = quote_literal(&sequence.to_string());
            line += &format!(" DEFAULT nextval({name}::regclass)");
        }
        (_, Some(expression), None) => line += &format!(" DEFAULT {expression}"),
        _ => {}
    }
    if let Some(identity) = column.identity {
        // The source can give a column that is always generated a new value by SET .. DEFAULT;
        // an update here must be able to set it. Keys are only inserted.
        let who = match identity {
            Identity::Always if in_key => "ALWAYS",
            Identity::Always | Identity::ByDefault => "BY DEFAULT",
        };
        let options = column.sequence.as_ref().map(identity_options).unwrap_or_default();
        line += &format!(" GENERATED {who} AS IDENTITY{options}");
    }
    if column.not_null {
        line += " NOT NULL";
    }
    line
}

/// CREATE SEQUENCE's options without the type, which an identity column takes from its own.
fn identity_options(sequence: &super::OwnedSequence) -> String {
    sequence
        .options
        .find("INCREMENT")
        .map_or_else(String::new, |start| format!(" ({})", &sequence.options[start..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{OwnedSequence, UniqueIndex},
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
        id.sequence = Some(OwnedSequence {
            name: QualifiedName::new("public", "a_id_seq"),
            options: "AS integer INCREMENT 1".into(),
        });
        let mut name = column("na\"me", "text");
        name.collation = Some("pg_catalog.\"C\"".into());
        name.expression = Some("'x'::text".into());
        let mut twice = column("twice", "integer");
        twice.generated = Some(Generated::Stored);
        twice.expression = Some("(id * 2)".into());
        let mut serial = column("n", "bigint");
        serial.identity = Some(Identity::ByDefault);
        let table = table(vec![id, name, twice, serial]);
        let key =
            Key { index: "a_pkey".into(), columns: vec![KeyColumn::builtin("id", 23, "integer")] };
        let target = QualifiedName::new("s", "b");
        assert_eq!(add_key(&table, &key, &target), r#"ALTER TABLE "s"."b" ADD PRIMARY KEY ("id")"#);
        let statements = create_table(&table, &key, &target);
        assert_eq!(
            statements,
            [
                r#"CREATE SEQUENCE "s"."b_id_seq" AS integer INCREMENT 1"#,
                "CREATE TABLE \"s\".\"b\" (\n    \
                 \"id\" integer DEFAULT nextval('\"s\".\"b_id_seq\"'::regclass) NOT NULL,\n    \
                 \"na\"\"me\" text COLLATE pg_catalog.\"C\" DEFAULT 'x'::text,\n    \
                 \"twice\" integer GENERATED ALWAYS AS ((id * 2)) STORED,\n    \
                 \"n\" bigint GENERATED BY DEFAULT AS IDENTITY\n)",
                r#"ALTER SEQUENCE "s"."b_id_seq" OWNED BY "s"."b"."id""#,
            ]
        );
    }
}
