//! The schemas that stand for the target's during a trial. Pure.
//!
//! One for each of the target's, so that no two names meet there that don't meet in the end.

use crate::pg::{Ident, QualifiedName};

/// The schemas, with names that nothing else has.
#[derive(Clone, Debug)]
pub(super) struct Scratch {
    /// The target's schema, and what stands for it.
    pub(super) schemas: Vec<(Ident, Ident)>,
    random: String,
}

impl Scratch {
    /// `random` is what makes the names nobody else's.
    pub(super) const fn new(random: String) -> Self {
        Self { schemas: Vec::new(), random }
    }

    /// What stands for a schema.
    pub(super) fn schema(&mut self, real: &Ident) -> Ident {
        if let Some((_, stands)) = self.schemas.iter().find(|(schema, _)| schema == real) {
            return stands.clone();
        }
        let stands = Ident::new(format!("pghost_trial_{}_{}", self.random, self.schemas.len() + 1));
        self.schemas.push((real.clone(), stands.clone()));
        stands
    }

    /// The same of what lies in one.
    pub(super) fn name(&mut self, real: &QualifiedName) -> QualifiedName {
        QualifiedName { schema: self.schema(&real.schema), name: real.name.clone() }
    }

    /// A text with the target's schemas in their place, for people.
    pub(super) fn shown(&self, text: &str) -> String {
        // The longest names first: one ends in a number that another begins with.
        self.schemas.iter().rev().fold(text.to_owned(), |text, (real, stands)| {
            text.replace(&stands.to_string(), &real.to_string())
                .replace(stands.as_str(), real.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_the_targets_schemas() {
        let mut scratch = Scratch::new("a1".into());
        let all: Vec<_> = (0..11)
            .map(|n| scratch.name(&QualifiedName::new(format!("s {n}"), "t")).to_string())
            .collect();
        assert_eq!(scratch.name(&QualifiedName::new("s 0", "t")).to_string(), all[0]);
        assert_eq!(scratch.schemas.len(), 11);
        for (n, name) in all.iter().enumerate() {
            assert_eq!(scratch.shown(name), format!("\"s {n}\".\"t\""));
            assert_eq!(scratch.shown(&name.replace('"', "")), format!("s {n}.t"));
        }
    }
}
