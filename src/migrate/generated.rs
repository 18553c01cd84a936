//! Generated columns on both sides: no row brings their values, so each side computes its own.
//!
//! They are compared by their values, not by their definitions: how a server prints an expression
//! differs between releases, and the same expression may call a function that does something else.

use crate::{
    catalog::{Column, Table},
    pg::Ident,
};

/// The source's generated columns that the target has too, and those that it does not have.
pub(super) fn on_both(source: &Table, target: &Table) -> (Vec<Ident>, Vec<Ident>) {
    let generated = source.columns.iter().filter(|column| column.generated.is_some());
    let names = generated.map(|column| column.name.clone());
    names.partition(|name| target.column(name).is_some())
}

/// What a person should know of the generated columns of a target that is there: each with what to
/// do about it.
pub(super) fn differences(source: &Table, target: &Table) -> Vec<(String, String)> {
    let plain = target.name.plain();
    let told = |column: &Column| {
        let (name, mine) = (&column.name, column.expression.as_deref().unwrap_or_default());
        let Some(other) = target.column(name) else {
            return Some((
                format!(
                    "the target {plain} has no column {name}, which is generated on the source"
                ),
                format!(
                    "ALTER TABLE {} ADD COLUMN {name} {} GENERATED ALWAYS AS ({mine}) STORED",
                    target.name, column.type_name
                ),
            ));
        };
        let theirs = other.expression.as_deref().unwrap_or_default();
        if other.generated.is_none() {
            return Some((
                format!(
                    "the column {name} is generated on the source and an ordinary one of the \
                     target {plain}: nothing brings its values"
                ),
                format!("generate it there too, as {mine}"),
            ));
        }
        (theirs != mine).then(|| {
            (
                format!(
                    "the column {name} is generated as {mine} on the source and as {theirs} on the \
                     target {plain}"
                ),
                "see whether that is the same; --verify compares the values".to_owned(),
            )
        })
    };
    source.columns.iter().filter(|column| column.generated.is_some()).filter_map(told).collect()
}
