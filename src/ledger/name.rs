//! Which ledger, and which migration in it: all that must be known before the ledger is asked.

use std::fmt;

use super::locks::Key;
use crate::pg::Ident;

const DEFAULT: &str = "pghost";

/// The schema of the target that holds a ledger. `Display` is as SQL spells it: quoted, but for the
/// default, which needs no quotes.
///
/// One ledger belongs to one role: a second owner in the same database has one of its own, with
/// migrations and locks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSchema(Ident);

impl LedgerSchema {
    /// A ledger in the schema of this name, letter for letter.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Ident::new(name))
    }

    /// The schema's name without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The key of an advisory lock in the name of something of this ledger. The default ledger's
    /// are those of every release before there could be another.
    pub(super) fn key(&self, what: &str) -> Key {
        match *self == Self::default() {
            true => Key::new(&format!("pghost {what}")),
            // No key of the default ledger has a quote here.
            false => Key::new(&format!("pghost {self} {what}")),
        }
    }
}

impl Default for LedgerSchema {
    fn default() -> Self {
        Self::new(DEFAULT)
    }
}

impl fmt::Display for LedgerSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            DEFAULT => f.write_str(DEFAULT),
            _ => self.0.fmt(f),
        }
    }
}

/// A migration's name, with the ledger that knows it. `Display` is the name alone, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationName {
    /// The ledger.
    pub ledger: LedgerSchema,
    /// The name, unique in that ledger.
    pub name: String,
}

impl MigrationName {
    /// A migration of a ledger.
    pub fn new(ledger: &LedgerSchema, name: impl Into<String>) -> Self {
        Self { ledger: ledger.clone(), name: name.into() }
    }

    /// The name alone.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for MigrationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_ledger_shares_no_lock_with_the_first() {
        let (first, second) = (LedgerSchema::default(), LedgerSchema::new("a\"b"));
        assert_eq!(first.key("migration x"), Key::new("pghost migration x"));
        assert_eq!(second.key("migration x"), Key::new("pghost \"a\"\"b\" migration x"));
        let alike = LedgerSchema::new("migration x");
        assert_ne!(alike.key("writer"), first.key("migration x writer"));
    }
}
