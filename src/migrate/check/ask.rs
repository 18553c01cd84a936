//! `pghost check`: the look that a run takes before it begins, with all that it finds, and what the
//! run would do. Changes nothing on either server.

use super::{
    finding::{At, Finding, Findings, Severity},
    look::look,
    owners,
    plan::{Planned, plan},
    strangers,
};
use crate::{
    conn::Error,
    ledger::{Access, Ledger, Migration, MigrationName, Phase},
    migrate::{
        Failure, MigrationSpec, load_ledger,
        persist::in_bounded_time,
        preflight, resume,
        servers::{self, Servers},
    },
};

/// What a check has found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The migration's name.
    pub name: String,
    /// All that was looked at, what is worst first.
    pub findings: Vec<Finding>,
    /// What the run would do, in order; empty where it would go on with one that was begun, or
    /// where not all tables are known.
    pub plan: Vec<Planned>,
}

impl Checked {
    /// How many findings are of a kind.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Looks at everything that could stop or hurt a migration.
///
/// Errors: the look itself has failed; what stands in the way of a migration is a finding.
pub async fn check(spec: &MigrationSpec) -> Result<Checked, Failure> {
    let spec = &in_bounded_time(spec);
    let name = preflight::name_of(spec)?;
    let mut findings = Findings::for_check();
    let mut planned = Vec::new();
    if let Some(mut servers) = servers::look(spec, &mut findings).await? {
        planned = look_at_all(spec, &mut servers, &name, &mut findings).await?;
        let Servers { source, target, walsender, .. } = servers;
        source.close().await;
        target.close().await;
        if let Some(walsender) = walsender {
            walsender.close().await;
        }
    }
    Ok(Checked { name: name.to_string(), findings: findings.into_list(), plan: planned })
}

async fn look_at_all(
    spec: &MigrationSpec,
    servers: &mut Servers,
    name: &MigrationName,
    findings: &mut Findings,
) -> Result<Vec<Planned>, Failure> {
    let failed = |error: Error| Failure::refused_by("reading the ledger on the target", &error);
    let at = At::target("ledger");
    if let Some(holders) = Ledger::of(&mut servers.target, name).who_runs().await.map_err(failed)? {
        findings.refuse(at, Failure::is_run(name, &holders));
        return Ok(Vec::new());
    }
    let loaded = load_ledger::load(&mut servers.target, name, Access::Write).await;
    let Some(found) = findings.take(at, loaded)? else {
        return Ok(Vec::new());
    };
    let both = (&mut servers.source, &mut servers.target);
    let owners = owners::before_run(spec, both, found.as_ref(), findings).await?;
    if findings.are_refused_for(strangers::ABOUT) {
        // Whatever else would be asked of the tables may run that code.
        return Ok(Vec::new());
    }
    if let Some(migration) = found {
        look_at_old(spec, servers, &migration, findings).await?;
        return Ok(Vec::new());
    }
    match look(spec, servers, (name.clone(), &owners), findings).await? {
        Some(new) => plan(servers, &new, findings).await,
        None => Ok(Vec::new()),
    }
}

/// A migration that was begun: whether it can go on.
async fn look_at_old(
    spec: &MigrationSpec,
    servers: &mut Servers,
    migration: &Migration,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (at, name) = (At::both("migration"), &migration.name);
    if migration.phase == Phase::Prepare {
        findings.warn(
            at,
            format!("an earlier run of {name} ended before anything was copied"),
            "`pghost migrate` clears its beginnings away first; to have all of it checked now, \
             `pghost cleanup` does the same",
        );
        return Ok(());
    }
    if migration.phase >= Phase::Handoff {
        let same = resume::is_the_same(spec, servers, migration).await;
        if findings.take(at, same)?.is_some() {
            findings.ok(at, format!("{name} was handed over, or is just being"));
        }
        return Ok(());
    }
    let resumed = resume::check(spec, servers, migration).await;
    if findings.take(at, resumed)?.is_some() {
        let phase = migration.phase.as_str();
        findings
            .ok(at, format!("{name} was begun, and can go on where it stopped (phase {phase})"));
    }
    Ok(())
}
