//! From what was typed to what is meant.
//!
//! Pure: how a connection string is read and how many cores there are is handed in.

use super::{
    args::{self, Dsn},
    table,
    trusted::Trusted,
};
use crate::{
    backfill::Paging,
    config::{Config, ConfigError},
    demo,
    migrate::{
        CleanupSpec, Conninfo, CutoverSpec, Failure, HandoffSpec, MigrationSpec, StatusSpec,
        TableSpec, Then, Trust, VerifySpec, is_slot_name,
    },
};

/// The longest identifier (`NAMEDATALEN` less one).
const NAME_BYTES_MAX: usize = 63;

/// A migration that was asked for.
#[derive(Debug)]
pub(super) struct Migrate {
    /// What to do.
    pub(super) spec: MigrationSpec,
    /// What a person should see first.
    pub(super) warnings: Vec<String>,
}

/// A comparison that was asked for.
#[derive(Debug)]
pub(super) struct Verify {
    /// What to compare.
    pub(super) spec: VerifySpec,
    /// What a person should see first.
    pub(super) warnings: Vec<String>,
}

/// A look at a target's migrations.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) spec: StatusSpec,
    pub(super) json: bool,
}

/// What `pghost demo` means.
pub(super) fn demo(args: &args::Demo) -> demo::Options {
    demo::Options { rows: args.rows }
}

/// What `pghost migrate` means.
///
/// Errors: the first thing that is missing or can't be read, as a refusal.
pub(super) fn migrate(
    args: args::Migrate,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
    cores: usize,
) -> Result<Migrate, Failure> {
    check_names(&args)?;
    let source = server("source", args.source, &parse_dsn)?;
    let target = server("target", args.target, &parse_dsn)?;
    let copy_from = match args.copy_from {
        Some(dsn) => Some(read("copy-from", &dsn, &parse_dsn)?),
        None => None,
    };
    let tables = tables(&args.tables)?;
    if tables.is_empty() && args.name.is_none() {
        return Err(Failure::refused(
            "it is not said which table to move",
            "give --table SCHEMA.TABLE, or --name of a migration that exists",
        ));
    }
    if let Some(slot) = args.slot.as_deref().filter(|slot| !is_slot_name(slot)) {
        return Err(Failure::refused(
            format!("{slot:?} can't be the name of a slot"),
            "give --slot 1 to 63 of the letters a-z, 0-9 and _",
        ));
    }
    let handoff = handoff(args.then, args.subscription, args.subscription_conninfo)?;
    let mut warnings = Vec::new();
    let all = [Some(&source), Some(&target), copy_from.as_ref()];
    for warning in all.into_iter().flatten().flat_map(|config| &config.warnings) {
        let warning = warning.to_string();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    let spec = MigrationSpec {
        source,
        target,
        copy_from,
        tables,
        name: args.name,
        publication: args.publication,
        slot: args.slot,
        ledger: args.ledger_schema,
        paging: match args.paging {
            args::Paging::Auto => Paging::Auto,
            args::Paging::Keyset => Paging::Keyset,
            args::Paging::Range => Paging::Range,
        },
        page_rows: args.page_rows,
        copy_jobs: args.copy_jobs.unwrap_or_else(|| default_copy_jobs(cores)),
        apply_jobs: args.apply_jobs.unwrap_or_else(|| default_apply_jobs(cores)),
        defer_indexes: args.defer_indexes,
        target_owner: args.target_owner,
        target_tablespace: args.target_tablespace,
        trial: !args.no_trial,
        verify: args.verify,
        then: match args.then {
            args::Then::Stop => Then::Stop,
            args::Then::Follow => Then::Follow,
            args::Then::Handoff => Then::Handoff,
        },
        handoff,
        wait_for_server: args.wait_for_server,
        stall: MigrationSpec::STALL,
        ignore_new_columns: args.ignore_new_columns,
        trust: args.trusted.into(),
    };
    Ok(Migrate { spec, warnings })
}

fn handoff(
    then: args::Then,
    subscription: Option<String>,
    conninfo: Option<Dsn>,
) -> Result<HandoffSpec, Failure> {
    check_name("--subscription", subscription.as_deref())?;
    if then != args::Then::Handoff && subscription.is_some() {
        return Err(Failure::refused(
            "--subscription is for --then handoff only",
            "give --then handoff too, or leave it out",
        ));
    }
    let given = conninfo.filter(|dsn| !dsn.0.trim().is_empty());
    let conninfo = given.map(|dsn| Conninfo::given(&dsn.0)).transpose().map_err(|error| {
        Failure::refused(
            format!("the subscription's conninfo can't be used: {error}"),
            "mend --subscription-conninfo, or GHOST_SUBSCRIPTION_CONNINFO, which stands for it",
        )
    })?;
    Ok(HandoffSpec { subscription, conninfo })
}

/// What `pghost cutover-sequences` means.
pub(super) fn cutover_sequences(
    args: args::CutoverSequences,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Result<CutoverSpec, Failure> {
    check_name("--name", args.name.as_deref())?;
    let tables = tables(&args.tables)?;
    if args.name.is_some() != tables.is_empty() {
        return Err(Failure::refused(
            "it is not said whose sequences are meant",
            "give either --name of a migration, or --table SCHEMA.TABLE",
        ));
    }
    Ok(CutoverSpec {
        source: server("source", args.source, &parse_dsn)?,
        target: server("target", args.target, &parse_dsn)?,
        name: args.name,
        ledger: args.ledger_schema,
        tables,
        gap: args.gap,
        trust: trust(args.trusted)?,
    })
}

/// What `pghost verify` means.
///
/// Errors: as [`migrate`], whose options it takes: what is wrong there is wrong here.
pub(super) fn verify(
    args: args::Verify,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
    cores: usize,
) -> Result<Verify, Failure> {
    if args.migrate.tables.is_empty() && args.migrate.name.is_none() {
        return Err(Failure::refused(
            "it is not said which table to compare",
            "give --table SCHEMA.TABLE, or --name of a migration that exists",
        ));
    }
    let Migrate { spec, mut warnings } = migrate(args.migrate, parse_dsn, cores)?;
    if spec.copy_from.is_some() {
        // Who named it wants the source to be spared.
        let what = "both sides are compared on the source itself, not on --copy-from";
        warnings.push(what.into());
    }
    let MigrationSpec { source, target, tables, name, ledger, slot, page_rows, trust, .. } = spec;
    let list = args.list;
    let spec = VerifySpec { source, target, tables, name, ledger, slot, page_rows, list, trust };
    Ok(Verify { spec, warnings })
}

/// What `pghost cleanup` means.
pub(super) fn cleanup(
    args: args::Cleanup,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Result<CleanupSpec, Failure> {
    check_name("--name", Some(&args.name))?;
    Ok(CleanupSpec {
        source: server("source", args.source, &parse_dsn)?,
        target: server("target", args.target, &parse_dsn)?,
        name: args.name,
        ledger: args.ledger_schema,
        slot: args.slot,
        publication: args.publication,
        subscription: args.subscription,
        dry_run: args.dry_run,
        trust: trust(args.trusted)?,
    })
}

/// What `pghost status` means.
pub(super) fn status(
    args: args::Status,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Result<Status, Failure> {
    check_name("--name", args.name.as_deref())?;
    let source = args.source.filter(|dsn| !dsn.0.trim().is_empty());
    let source = source.map(|dsn| read("source", &dsn, &parse_dsn)).transpose()?;
    let target = server("target", args.target, parse_dsn)?;
    let ledger = args.ledger_schema;
    Ok(Status { spec: StatusSpec { target, source, name: args.name, ledger }, json: args.json })
}

/// Two at least, since one reads while the other writes; four at most, since the servers have
/// other things to do.
fn default_copy_jobs(cores: usize) -> usize {
    cores.clamp(2, 4)
}

/// The walsender that everything waits for has a core to itself, and one lane takes what another
/// core can. On two cores a second lane made a million deletes take 3.7 s instead of 3.4 and a
/// million inserts 6.5 s instead of 5.8 (`cargo bench --bench catch_up`).
fn default_apply_jobs(cores: usize) -> usize {
    (cores / 2).clamp(1, 4)
}

fn server(
    side: &str,
    dsn: Option<Dsn>,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Result<Config, Failure> {
    let variable = format!("GHOST_{}", side.to_ascii_uppercase());
    // An empty string would be a server found in PG* variables alone; who sets GHOST_SOURCE=
    // means to unset it.
    let Some(Dsn(dsn)) = dsn.filter(|dsn| !dsn.0.trim().is_empty()) else {
        return Err(Failure::refused(
            format!("the {side} is missing"),
            format!("give --{side} 'postgres://user@host/database', or set {variable}"),
        ));
    };
    read(side, &Dsn(dsn), parse_dsn)
}

fn read(
    side: &str,
    Dsn(dsn): &Dsn,
    parse_dsn: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Result<Config, Failure> {
    parse_dsn(dsn).map_err(|error| {
        Failure::refused(
            format!("the {side} can't be used: {error}"),
            format!("mend --{side}, or the variable that stands for it, or what the message names"),
        )
    })
}

fn tables(texts: &[String]) -> Result<Vec<TableSpec>, Failure> {
    let mut tables: Vec<TableSpec> = Vec::new();
    for text in texts {
        if looks_like_a_server(text) {
            return Err(Failure::refused(
                "--table was given what looks like a connection string",
                "servers are given with --source and --target, tables as SCHEMA.TABLE",
            ));
        }
        let table = table::parse(text).map_err(|error| {
            Failure::refused(
                format!("--table {text:?} can't be read: {error}"),
                "spell it SCHEMA.TABLE or SCHEMA.TABLE=SCHEMA2.TABLE2, with double quotes around \
                 a part that has a dot, '=' or double quote in it",
            )
        })?;
        if tables.iter().any(|other| other.source == table.source) {
            return Err(Failure::refused(
                format!("the table {} is given twice", table.source.plain()),
                "name each table once",
            ));
        }
        if tables.iter().any(|other| other.target == table.target) {
            return Err(Failure::refused(
                format!("two tables are to go to {}", table.target.plain()),
                "give each table a target of its own",
            ));
        }
        tables.push(table);
    }
    Ok(tables)
}

/// A connection string in the wrong place; it must not be shown, here or by a server that looks
/// for a table of that name.
fn looks_like_a_server(text: &str) -> bool {
    !text.starts_with('"') && (text.contains("://") || text.contains("password="))
}

fn check_names(args: &args::Migrate) -> Result<(), Failure> {
    check_name("--name", args.name.as_deref())?;
    check_name("--publication", args.publication.as_deref())?;
    check_name("--target-owner", args.target_owner.as_deref())?;
    check_name("--target-tablespace", args.target_tablespace.as_deref())?;
    check_trusted(&args.trusted)
}

fn trust(trusted: Trusted) -> Result<Trust, Failure> {
    check_trusted(&trusted)?;
    Ok(trusted.into())
}

fn check_trusted(trusted: &Trusted) -> Result<(), Failure> {
    trusted.trust_owners.iter().try_for_each(|owner| check_name("--trust-owner", Some(owner)))
}

fn check_name(option: &str, name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Failure::refused(
        format!("{option} has {} bytes", name.len()),
        format!("give it a name of 1 to {NAME_BYTES_MAX} bytes"),
    ))
}

#[cfg(test)]
mod tests;
