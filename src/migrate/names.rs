//! The names that are made from a table's name.

use crate::pg::QualifiedName;

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
