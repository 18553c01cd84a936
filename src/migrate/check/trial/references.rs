//! What foreign keys refer to in a trial: tables that are tried, and what stands in for those that
//! are not. Pure.

use super::{
    Trial,
    asked::{Reference, Referred},
    chunk::{StandIn, Tried},
};
use crate::{
    migrate::{
        Failure,
        check::finding::{At, Findings},
    },
    pg::Ident,
};

impl Trial<'_> {
    /// Whether what a foreign key refers to can be in the trial, or is known to be missing.
    pub(super) fn can_stand_in(&self, reference: &Reference) -> bool {
        let referred = self.referred.iter().find(|referred| referred.name == reference.parent);
        referred.is_none_or(|referred| !referred.exists || referred.may_read)
    }

    /// What a chunk's tables refer to outside of it.
    pub(super) fn stand_ins(&self, chunk: &[Tried]) -> Vec<StandIn> {
        let mut all = Vec::new();
        for reference in chunk.iter().flat_map(|tried| &tried.references) {
            let parent = &reference.parent;
            if chunk.iter().any(|tried| tried.table.source.name == *parent) {
                continue;
            }
            let tried = self.tried.iter().position(|tried| tried.table.source.name == *parent);
            let referred = self.referred.iter().find(|referred| referred.name == *parent);
            let stand_in = match (tried, referred) {
                (Some(at), _) => StandIn::Tried(at),
                (None, Some(referred)) if referred.exists && referred.may_read => {
                    let name = self.moved.iter().find(|(source, _)| source == parent);
                    let Some((_, name)) = name else { continue };
                    let keys = self.keys(referred);
                    StandIn::Like(referred.name.clone(), name.clone(), keys)
                }
                _ => continue,
            };
            if !all.contains(&stand_in) {
                all.push(stand_in);
            }
        }
        all
    }

    /// The keys of a table that is there that foreign keys of the trial refer to, as constraints.
    pub(super) fn keys(&self, referred: &Referred) -> Vec<String> {
        let mut keys = Vec::new();
        let references = self.tried.iter().flat_map(|tried| &tried.references);
        for reference in references.filter(|reference| reference.parent == referred.name) {
            let columns: Vec<_> = reference.columns.iter().map(|[_, parent, ..]| parent).collect();
            let is_it = |key: &&Vec<String>| {
                key.len() == columns.len() && key.iter().all(|column| columns.contains(&column))
            };
            let Some(key) = referred.unique.iter().find(is_it) else { continue };
            let list: Vec<_> = key.iter().map(|column| Ident::new(column).to_string()).collect();
            let period = if reference.is_period { " WITHOUT OVERLAPS" } else { "" };
            let key = format!("UNIQUE ({}{period})", list.join(", "));
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    /// Foreign keys to tables that are there need a right which nothing in the trial does.
    pub(super) fn privileges(&self, findings: &mut Findings) {
        for tried in self.tried.iter().filter(|tried| tried.recipe.is_some()) {
            for reference in &tried.references {
                let referred = self.referred.iter().find(|r| r.name == reference.parent);
                let Some(referred) = referred.filter(|r| r.exists && !r.may_refer) else {
                    continue;
                };
                let failure = Failure::refused(
                    format!(
                        "the role may not refer to {} on the target, as the foreign key {} of {} \
                         does",
                        referred.name.plain(),
                        reference.name,
                        tried.table.target_name.plain()
                    ),
                    format!("{} on the target", referred.grant),
                );
                findings.refuse(At::target("privileges").of(&tried.table.source.name), failure);
            }
        }
    }
}
