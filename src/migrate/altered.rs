//! How a table on the source differs from what it was when the migration began, in words.
//!
//! The stream brings rows and no commands, so a table that was altered ends the migration; except
//! that new columns can be left out. Pure.

use crate::{
    catalog::{Shape, Table},
    ledger::TableRecord,
    pg::Ident,
};

/// How it differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// It has these columns besides, and nothing else is different.
    Added(Vec<Ident>),
    /// In another way: a clause that goes on after its name.
    Other(String),
}

/// Compares a table with what it was. `prefixes` are the shapes of its first columns, and `target`
/// is the table that its rows go to, whose types tell what they were.
pub(super) fn difference(
    now: &Table,
    prefixes: &[Shape],
    record: &TableRecord,
    target: Option<&Table>,
) -> Difference {
    let other = |what: String| Difference::Other(format!("was altered on the source: {what}"));
    let Some(before) = Shape::from_text(&record.shape) else {
        return Difference::Other("has a line in the ledger that can't be read".into());
    };
    let names: Vec<_> = now.stored_columns().map(|column| column.name.clone()).collect();
    let gone = listed(record.columns.iter().filter(|name| !names.contains(name)));
    let new: Vec<_> = names.iter().filter(|name| !record.columns.contains(name)).cloned().collect();
    // The first columns are those that it had, by name and in their order: new ones come after.
    let in_place = names.starts_with(&record.columns);
    let same = prefixes.iter().find(|prefix| prefix.columns == before.columns);
    match same {
        Some(same) if was_rewritten(same, &before) => other(
            "its rows were rewritten (ALTER TABLE .. TYPE .. USING, say), of which the stream of \
             changes tells nothing"
                .into(),
        ),
        Some(_) if in_place && now.shape.partitions.is_empty() && !new.is_empty() => {
            Difference::Added(new)
        }
        // Its partitions have them, too.
        Some(_) if in_place && !new.is_empty() => {
            other(format!("added: {}, to a partitioned table", listed(new.iter())))
        }
        Some(same) if in_place => {
            let partitions = now.shape.partitions.clone();
            let now = Shape { partitions, ..same.clone() };
            now.altered_since(&before).map_or(Difference::None, Difference::Other)
        }
        // The same columns in the same places under other names.
        Some(_) => {
            let pairs = record.columns.iter().zip(&names).filter(|(old, new)| old != new);
            let pairs: Vec<_> =
                pairs.map(|(old, new)| format!("{} to {}", old.as_str(), new.as_str())).collect();
            other(format!("renamed: {}", pairs.join(", ")))
        }
        None => {
            let mut parts = Vec::new();
            if !gone.is_empty() {
                parts.push(format!("dropped: {gone}"));
            }
            if !new.is_empty() {
                parts.push(format!("added: {}", listed(new.iter())));
            }
            parts.extend(retyped(now, target));
            if parts.is_empty() {
                parts.push("the type of a column is another".into());
            }
            other(parts.join("; "))
        }
    }
}

/// A rewrite gives the table another file and its columns other lines in the catalog.
fn was_rewritten(now: &Shape, before: &Shape) -> bool {
    now.column_writers != before.column_writers && now.file != before.file
}

fn listed<'a>(names: impl Iterator<Item = &'a Ident>) -> String {
    names.map(Ident::as_str).collect::<Vec<_>>().join(", ")
}

/// The columns whose types are not those of the target.
fn retyped(now: &Table, target: Option<&Table>) -> Option<String> {
    let columns: Vec<_> = now
        .stored_columns()
        .filter_map(|column| {
            let there = target?.column(&column.name)?;
            (there.type_name != column.type_name).then(|| {
                let (name, now) = (column.name.as_str(), &column.type_name);
                format!("{name} is {now} (on the target {})", there.type_name)
            })
        })
        .collect();
    (!columns.is_empty()).then(|| format!("of another type: {}", columns.join(", ")))
}
