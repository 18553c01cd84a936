//! The names that are made from a table's name, and what a name says of who has made something.

use super::Failure;
use crate::{
    ledger::{Migration, MigrationName},
    pg::QualifiedName,
};

/// The longest name of a slot (`NAMEDATALEN` less one); the default names add `pghost_`.
const NAME_BYTES_MAX: usize = 63;

/// The default name of a migration: its first table's, in the letters that slots may have.
#[must_use]
pub fn default_name(table: &QualifiedName) -> String {
    let text = match table.schema.as_str() {
        "public" => table.name.as_str().to_owned(),
        schema => format!("{schema}_{}", table.name.as_str()),
    };
    let letter = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_') => c,
        _ => '_',
    };
    text.chars().map(letter).take(NAME_BYTES_MAX - "pghost_".len()).collect()
}

/// Whether the server takes this as a slot's name (`ReplicationSlotValidateName`).
#[must_use]
pub fn is_slot_name(name: &str) -> bool {
    let letter = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(letter)
}

/// A migration's slot and publication may be removed from the source: they are called as pghost
/// calls its own, or as the command line says (`slot`, `publication`). The ledger's word is not
/// enough: it is the target's, and the source need not trust that.
pub(super) fn may_remove(
    migration: &Migration,
    slot: Option<&str>,
    publication: Option<&str>,
) -> Result<(), Failure> {
    let name = &migration.name;
    is_name_of("slot", (&migration.slot, name), slot)?;
    match migration.publication_made {
        true => is_name_of("publication", (&migration.publication, name), publication),
        false => Ok(()),
    }
}

/// The same for one of them; `what` is also the option that names it.
pub(super) fn is_name_of(
    what: &str,
    (name, migration): (&str, &MigrationName),
    given: Option<&str>,
) -> Result<(), Failure> {
    let own = format!("pghost_{migration}");
    if given == Some(name) || given.is_none() && name == own {
        return Ok(());
    }
    Err(Failure::refused(
        format!(
            "the ledger says that the {what} of the migration {migration} is {name}, which pghost \
             can't know to be its own: by itself it would call it {own}"
        ),
        format!("if it is the migration's and may be removed, say so: --{what} {name}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_slot_letters() {
        assert_eq!(default_name(&QualifiedName::new("public", "yolos")), "yolos");
        assert_eq!(default_name(&QualifiedName::new("Sales", "Order Item")), "sales_order_item");
        let long = default_name(&QualifiedName::new("public", "ü".repeat(80)));
        assert!(is_slot_name(&format!("pghost_{long}")));
        assert!(!is_slot_name("") && !is_slot_name("A") && !is_slot_name(&"a".repeat(64)));
    }
}
