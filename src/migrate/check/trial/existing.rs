//! Targets that are there: what of them is tried, by a copy.
//!
//! A copy has the target's partitions, so that a row that fits none of them is found, and what
//! `--defer-indexes` takes away is made on it by the statements that bring it back. Of its foreign
//! keys those to tables that are moved are tried; of the others the catalog is asked whether we may
//! make them again.

use super::{
    Trial,
    asked::{self, Reference},
    failed,
};
use crate::{
    catalog::Object,
    migrate::{
        Failure,
        check::finding::{At, Findings},
        defer,
        plan::PlannedTable,
        servers::Servers,
    },
    pg::QualifiedName,
};

/// What is tried of a target that is there.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// What comes back, where `--defer-indexes` takes it away.
    pub(super) deferred: Option<Vec<Object>>,
    /// Its partitions, by their places among them, with their names in the trial.
    pub(super) partitions: Vec<(usize, QualifiedName)>,
    /// The foreign keys among what comes back, as of the source's tables.
    pub(super) references: Vec<Reference>,
}

impl Trial<'_> {
    /// Finds out what of a target that is there is tried. `planned` are all tables of the trial.
    pub(super) async fn existing(
        &mut self,
        servers: &mut Servers,
        table: &PlannedTable,
        defer_indexes: bool,
        planned: &[PlannedTable],
        findings: &mut Findings,
    ) -> Result<Existing, Failure> {
        let mut existing = Existing::default();
        let Some(target) = &table.target else { return Ok(existing) };
        let most = self.most_partitions(table);
        if target.partitions.len() <= most {
            let named = target.partitions.iter().map(|p| self.scratch.name(&p.name)).enumerate();
            existing.partitions = named.collect();
        }
        if !defer_indexes || table.target_key.is_none() {
            return Ok(existing);
        }
        let mut places: Vec<_> = (planned.iter())
            .map(|other| (other.target_name.clone(), self.scratch.name(&other.target_name)))
            .collect();
        places.extend((existing.partitions.iter()).filter_map(|(at, name)| {
            Some((target.partitions.get(*at)?.name.clone(), name.clone()))
        }));
        let objects = defer::elsewhere(&mut servers.target, table, &places).await;
        existing.deferred = Some(objects.map_err(|error| failed(&error))?);
        let partitions = target.partitions.iter().map(|partition| partition.oid.to_string());
        let oids: Vec<_> = partitions.chain([target.oid.to_string()]).collect();
        let oids = format!("{{{}}}", oids.join(","));
        let all = asked::references(&mut servers.target, &oids).await;
        let all = all.map_err(|error| failed(&error))?;
        may_be_made_again(servers, table, &all, findings).await?;
        let of_source = |mut reference: Reference| {
            let parent = planned.iter().find(|t| t.target_name == reference.parent)?;
            // Rows are asked for orphans on the source, which must have all columns; a partition's
            // own key is not asked for: which rows are in it there nobody knows.
            let known = reference.columns.iter().all(|[child, other, ..]| {
                let has = |t: &PlannedTable, name: &str| {
                    t.source.columns.iter().any(|column| column.name.as_str() == name)
                };
                has(table, child) && has(parent, other)
            });
            reference.is_valid &= known && reference.child == target.oid;
            reference.child = table.source.oid;
            reference.child_name = table.source.name.clone();
            reference.parent = parent.source.name.clone();
            Some(reference)
        };
        existing.references = all.into_iter().filter_map(of_source).collect();
        Ok(existing)
    }
}

/// Refuses what the role could drop and not make again: it refers to tables of others.
async fn may_be_made_again(
    servers: &mut Servers,
    table: &PlannedTable,
    references: &[Reference],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut parents: Vec<_> = references.iter().map(|r| r.parent.clone()).collect();
    parents.sort();
    parents.dedup();
    let referred = asked::referred(&mut servers.target, &parents).await;
    for referred in referred.map_err(|error| failed(&error))?.iter().filter(|r| !r.may_refer) {
        let names = references.iter().filter(|r| r.parent == referred.name);
        let names: Vec<_> = names.map(|reference| reference.name.as_str()).collect();
        let failure = Failure::refused(
            format!(
                "the role may drop, but not make again, what refers to {} on the target: the \
                 foreign key {} of {} (--defer-indexes)",
                referred.name.plain(),
                names.join(", "),
                table.target_name.plain()
            ),
            format!("{} on the target", referred.grant),
        );
        findings.refuse(At::target("privileges").of(&table.source.name), failure);
    }
    Ok(())
}
