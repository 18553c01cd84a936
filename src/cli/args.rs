//! What was typed. Needs only the text; what it means is found in [`super::options`].

use std::{fmt, path::PathBuf, time::Duration};

use clap::{Arg, Parser, Subcommand, ValueEnum};

use super::{after_help, duration, trusted::Trusted, values};
use crate::ledger::LedgerSchema;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "pghost",
    version,
    about = "Moves very large, busy Postgres tables without ever holding a long snapshot",
    after_help = after_help::ALL,
    arg_required_else_help = false
)]
pub(super) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,

    /// How progress is shown
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "HOW",
        default_value = "auto",
        display_order = 100
    )]
    pub(super) progress: Progress,

    /// Read options from this TOML file; the command line and GHOST_ variables win
    ///
    /// Keys are the names of the options without their dashes: table = ["orders"],
    /// page-rows = 5000, defer-indexes = true. What a command has no option for is left to the
    /// others, so that one file can serve all.
    #[arg(long, global = true, value_name = "FILE", display_order = 99, verbatim_doc_comment)]
    pub(super) config: Option<PathBuf>,

    /// How much is logged to stderr
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "LEVEL",
        default_value = "warn",
        display_order = 101
    )]
    pub(super) log: Level,

    /// Write every message to and from the servers to this file, passwords masked
    ///
    /// The file holds the rows too, and grows as fast as they travel. One line a message:
    /// time, number of the connection, F(rontend) or B(ackend), length, name, fields.
    #[arg(long, global = true, value_name = "FILE", display_order = 102, verbatim_doc_comment)]
    pub(super) trace_protocol: Option<PathBuf>,
}

impl Args {
    /// How progress is shown, however that was asked for.
    pub(super) fn shown(&self) -> Progress {
        match &self.command {
            Command::Check(check) if check.json => Progress::Json,
            _ => self.progress,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Watch it work: two throwaway servers, a busy table, a migration. Needs no arguments
    #[command(after_help = after_help::DEMO)]
    Demo(Demo),
    /// Look at both servers: what would stop or hurt a migration, how to mend it, what it would do
    #[command(after_help = after_help::CHECK)]
    Check(Box<Check>),
    /// Copy tables to another server and keep up with their changes; resumes a run that stopped
    #[command(after_help = after_help::MIGRATE)]
    Migrate(Box<Migrate>),
    /// Show where the migrations that a target knows of stand
    #[command(after_help = after_help::STATUS)]
    Status(Status),
    /// Set the target's sequences ahead of the source's, for the moment applications change over
    CutoverSequences(CutoverSequences),
    /// Compare tables of both sides page by page, also while they change; name the rows that differ
    #[command(after_help = after_help::VERIFY)]
    Verify(Box<Verify>),
    /// Remove all that pghost made for a migration: slot, publication, ledger; never a table
    #[command(after_help = after_help::CLEANUP)]
    Cleanup(Cleanup),
    /// Print what completes commands and options in a shell
    #[command(after_help = after_help::COMPLETIONS)]
    Completions(Completions),
    /// Print the manual, for man(1)
    #[command(after_help = after_help::MAN)]
    Man(Man),
}

/// `pghost check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// What `migrate` would be asked for.
    #[command(flatten)]
    pub(super) migrate: Migrate,

    /// As JSON on stdout, one object a line; the same as --progress json
    #[arg(long)]
    pub(super) json: bool,
}

/// `pghost completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

/// `pghost man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The command to tell of [default: what they have in common]
    #[arg(value_name = "COMMAND")]
    pub(super) command: Option<String>,
}

/// `pghost status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// The source, to be asked too: how far behind it is, how its slot is [default: not asked]
    #[arg(long, value_name = "DSN", env = "GHOST_SOURCE", hide_env_values = true)]
    pub(super) source: Option<Dsn>,

    /// The target, which holds the ledger
    #[arg(long, value_name = "DSN", env = "GHOST_TARGET", hide_env_values = true)]
    pub(super) target: Option<Dsn>,

    /// Only this migration
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,

    /// The schema of the target that holds the ledger: another one for another owner
    #[arg(long, value_name = "NAME", value_parser = values::schema, default_value = "pghost")]
    pub(super) ledger_schema: LedgerSchema,

    /// As JSON: one object a migration, in an array
    #[arg(long)]
    pub(super) json: bool,
}

/// `pghost verify`. Takes what `migrate` takes, so that one command line serves both.
#[derive(Debug, clap::Args)]
#[command(mut_args(for_verify))]
pub(super) struct Verify {
    /// What `migrate` is asked for.
    #[command(flatten)]
    pub(super) migrate: Migrate,

    /// How many rows that differ are named, in each table
    #[arg(long, value_name = "N", default_value = "20")]
    pub(super) list: usize,
}

/// An option of `migrate` as `verify` takes it.
fn for_verify(option: Arg) -> Arg {
    let help = match option.get_id().as_str() {
        "list" => return option,
        "source" => "The source",
        "target" => "The target",
        "tables" => {
            "A table, and what it is called on the target; may be given several times \
             [default: all of the migration]"
        }
        "name" => {
            "The migration that brings the target the changes [default: made from the first table]"
        }
        "slot" => {
            "The slot that a native subscription reads after the handoff [default: the migration's]"
        }
        "ledger_schema" => "The schema of the target that holds the ledger",
        "trust_owners" | "trust_all_owners" => return option,
        "page_rows" => "Rows that are compared at once [default: as many as take 0.3 s]",
        _ => return option.help_heading(NOT_FOR_VERIFY),
    };
    option.help(help).long_help(help)
}

/// Above the options that mean nothing to `verify`.
const NOT_FOR_VERIFY: &str = "Of migrate, so that one command line serves both (no meaning here)";

/// `pghost cleanup`.
#[derive(Debug, clap::Args)]
pub(super) struct Cleanup {
    /// The source
    #[arg(long, value_name = "DSN", env = "GHOST_SOURCE", hide_env_values = true)]
    pub(super) source: Option<Dsn>,

    /// The target
    #[arg(long, value_name = "DSN", env = "GHOST_TARGET", hide_env_values = true)]
    pub(super) target: Option<Dsn>,

    /// The migration
    #[arg(long, value_name = "NAME")]
    pub(super) name: String,

    /// The schema of the target that holds the ledger: another one for another owner
    #[arg(long, value_name = "NAME", value_parser = values::schema, default_value = "pghost")]
    pub(super) ledger_schema: LedgerSchema,

    /// The slot to remove, if `migrate` was told to call it so [default: pghost_NAME]
    #[arg(long, value_name = "SLOT")]
    pub(super) slot: Option<String>,

    /// The publication to remove [default: pghost_NAME]
    #[arg(long, value_name = "PUBLICATION")]
    pub(super) publication: Option<String>,

    /// The subscription to remove that a handover began with [default: pghost_NAME]
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(super) subscription: Option<String>,

    /// Only say what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Whose code may run.
    #[command(flatten)]
    pub(super) trusted: Trusted,
}

/// `pghost cutover-sequences`.
#[derive(Debug, clap::Args)]
pub(super) struct CutoverSequences {
    /// The source
    #[arg(long, value_name = "DSN", env = "GHOST_SOURCE", hide_env_values = true)]
    pub(super) source: Option<Dsn>,

    /// The target
    #[arg(long, value_name = "DSN", env = "GHOST_TARGET", hide_env_values = true)]
    pub(super) target: Option<Dsn>,

    /// The migration whose tables' sequences are set
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,

    /// The schema of the target that holds the ledger: another one for another owner
    #[arg(long, value_name = "NAME", value_parser = values::schema, default_value = "pghost")]
    pub(super) ledger_schema: LedgerSchema,

    /// Tables instead, where the ledger was cleaned up; may be given several times
    #[arg(long = "table", value_name = "S.T[=S2.T2]")]
    pub(super) tables: Vec<String>,

    /// How many values ahead of the source's sequences those of the target are set
    ///
    /// What the source still gives out between this command and the change-over must be less,
    /// with what its sessions hold back (CACHE) and the 32 values that a crash may skip.
    #[arg(long, value_name = "N", default_value = "1000", verbatim_doc_comment)]
    pub(super) gap: u64,

    /// As JSON: one object a sequence, in an array
    #[arg(long)]
    pub(super) json: bool,

    /// Whose code may run.
    #[command(flatten)]
    pub(super) trusted: Trusted,
}

/// `pghost demo`.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Rows in the demo's table
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = values::at_least_one)]
    pub(super) rows: u64,
}

/// `pghost migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// The server to copy from: postgres://user@host/database, or 'host=... dbname=...'
    #[arg(long, value_name = "DSN", env = "GHOST_SOURCE", hide_env_values = true)]
    pub(super) source: Option<Dsn>,

    /// The server to copy to, spelled like the source
    #[arg(long, value_name = "DSN", env = "GHOST_TARGET", hide_env_values = true)]
    pub(super) target: Option<Dsn>,

    /// Read pages from this hot standby of the source; changes still come from the source
    #[arg(long, value_name = "DSN")]
    pub(super) copy_from: Option<Dsn>,

    /// A table, and where it goes if its name changes; may be given several times
    ///
    /// 'public.' may be left out. Names are taken letter for letter; nothing is folded to
    /// lower case. A part in double quotes may hold dots, '=' and doubled quotes:
    /// '"My.Schema".orders'.
    #[arg(long = "table", value_name = "S.T[=S2.T2]", verbatim_doc_comment)]
    pub(super) tables: Vec<String>,

    /// The migration's name [default: made from the first table]
    ///
    /// The slot, the publication and the lines in the ledger are called after it. With the
    /// name of a migration that exists, the tables may be left out.
    #[arg(long, value_name = "NAME", verbatim_doc_comment)]
    pub(super) name: Option<String>,

    /// Use this existing publication [default: pghost makes its own]
    #[arg(long, value_name = "PUBLICATION")]
    pub(super) publication: Option<String>,

    /// The replication slot to make [default: pghost_NAME]
    #[arg(long, value_name = "SLOT")]
    pub(super) slot: Option<String>,

    /// How pages are cut
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    pub(super) paging: Paging,

    /// Rows in a page, which is what one short transaction reads [default: chosen by row size]
    #[arg(long, value_name = "N", value_parser = values::at_least_one)]
    pub(super) page_rows: Option<u64>,

    /// Pages copied at once, of all tables [default: the number of cores, between 2 and 4]
    #[arg(long, value_name = "N", value_parser = values::jobs)]
    pub(super) copy_jobs: Option<usize>,

    /// Sessions that apply changes at once, up to the checkpoint [default: half the cores, 1 to 4]
    #[arg(long, value_name = "N", value_parser = values::jobs)]
    pub(super) apply_jobs: Option<usize>,

    /// Drop secondary indexes and constraints of existing targets; make them again at the end
    ///
    /// Indexes besides the key, unique and exclusion constraints and foreign keys are kept in the
    /// ledger meanwhile, and built anew, several at a time, once the checkpoint is passed.
    /// Tables that pghost makes are always treated so.
    #[arg(long, verbatim_doc_comment)]
    pub(super) defer_indexes: bool,

    /// Who owns the tables that pghost makes [default: as on the source, where that can be]
    #[arg(long, value_name = "ROLE")]
    pub(super) target_owner: Option<String>,

    /// Where the tables that pghost makes and their indexes go [default: the database's]
    #[arg(long, value_name = "TABLESPACE")]
    pub(super) target_tablespace: Option<String>,

    /// Do not first make all tables with all they have on trial, which is rolled back
    ///
    /// The trial finds what could not be made in the end: an extension or a function that the
    /// target lacks, a row that it refuses. It needs CREATE on the target database.
    #[arg(long, verbatim_doc_comment)]
    pub(super) no_trial: bool,

    /// Compare both sides before the end; exit code 3 if they differ
    #[arg(long)]
    pub(super) verify: bool,

    /// What happens once the target has caught up
    #[arg(long, value_enum, value_name = "WHAT", default_value = "stop")]
    pub(super) then: Then,

    /// The native subscription that --then handoff makes [default: pghost_NAME]
    #[arg(long, value_name = "SUBSCRIPTION")]
    pub(super) subscription: Option<String>,

    /// How the target server is to reach the source [default: as --source, without its password]
    ///
    /// Kept by the target in its catalog, with the password if it has one. Nothing of this
    /// machine is added to it.
    #[arg(
        long,
        value_name = "DSN",
        env = "GHOST_SUBSCRIPTION_CONNINFO",
        hide_env_values = true,
        verbatim_doc_comment
    )]
    pub(super) subscription_conninfo: Option<Dsn>,

    /// How long to wait for a server that goes away in mid-run: 300, 30s, 5m, 1h30m; 0 for not
    ///
    /// Counts anew whenever something has moved forward, so that a long run outlives many
    /// restarts.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration::parse,
        default_value = "5m",
        verbatim_doc_comment
    )]
    pub(super) wait_for_server: Duration,

    /// Go on when a table gets new columns on the source; they are not copied
    #[arg(long)]
    pub(super) ignore_new_columns: bool,

    /// The schema of the target that holds the ledger: another one for another owner
    #[arg(long, value_name = "NAME", value_parser = values::schema, default_value = "pghost")]
    pub(super) ledger_schema: LedgerSchema,

    /// Whose code may run.
    #[command(flatten)]
    pub(super) trusted: Trusted,
}

/// A connection string as it was typed. It may hold a password, so that it can't be shown.
#[derive(Clone)]
pub(super) struct Dsn(pub(super) String);

impl From<String> for Dsn {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dsn(..)")
    }
}

/// `--paging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Paging {
    /// By arithmetic where the key is a single integer, else by walking its index
    Auto,
    /// By walking the key's index
    Keyset,
    /// By arithmetic, for a key that is a single integer
    Range,
}

/// `--then`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Then {
    /// The run ends; the slot stays, and the same command catches up again
    Stop,
    /// Changes are applied until SIGINT or SIGTERM
    Follow,
    /// A native subscription goes on from there, with the same slot
    Handoff,
}

/// `--progress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Progress {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars, where stderr is a terminal that can show them
    Bar,
    /// Lines on stderr
    Plain,
    /// JSON on stdout, one object a line
    Json,
    /// Nothing but errors
    Off,
}

/// `--log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Level {
    /// Nothing
    Off,
    /// What failed
    Error,
    /// What may matter
    Warn,
    /// What is done
    Info,
    /// What the servers say besides
    Debug,
    /// Everything
    Trace,
}

#[cfg(test)]
mod tests;
