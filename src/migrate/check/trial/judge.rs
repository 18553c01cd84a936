//! What it means for a run that a step of the trial has failed, and what to do about it. Pure.

use super::{
    scratch::Scratch,
    steps::{Does, Step},
};
use crate::{
    catalog::ObjectKind,
    migrate::{
        Failure,
        check::finding::{At, Findings},
        objects::may_be_missing,
    },
    pg::{QualifiedName, SqlState},
    wire::ServerError,
};

/// What is known besides the error.
#[derive(Debug)]
pub(super) struct About<'a> {
    /// The source's table, and its name on the target.
    pub(super) source: &'a QualifiedName,
    pub(super) target: &'a QualifiedName,
    /// Statements that bring the extensions that its definition needs and the target lacks.
    pub(super) extensions: &'a [String],
    /// Whether the target's release is older than the source's.
    pub(super) target_is_older: bool,
    pub(super) scratch: &'a Scratch,
    /// The target's event triggers that fire for it.
    pub(super) event_triggers: Option<&'a str>,
}

const AS_ON_THE_SOURCE: &str = "make what the message names on the target, as it is on the source";
/// Added to what would only stop the run when all rows are there.
const ALL_THE_SAME: &str = "; with --no-trial the run begins all the same, and stops at it once \
                            all rows are there";

/// Notes what a failed step means.
pub(super) fn note(
    step: &Step,
    statement: usize,
    error: &ServerError,
    about: &About<'_>,
    findings: &mut Findings,
) {
    let at = At::target(super::TRIAL);
    let at = if step.ordinal.is_some() { at.of(about.source) } else { at };
    let table = about.target.plain();
    let what = describe(step, &table);
    let statement = step.statements.get(statement).map(|sql| one_line(sql)).unwrap_or_default();
    let statement = about.scratch.shown(&statement);
    let said = about.scratch.shown(&error.to_string());
    if let Some(why) = not_judged(error.code) {
        findings.warn(at, format!("{what} could not be tried: {said}"), why);
        return;
    }
    let mut refuse = |message: String, hint: String| {
        let failure = Failure::refused(message, hint);
        findings.refuse(at, Failure { sqlstate: error.code, ..failure });
    };
    match step.does {
        // The role may make them, as was asked, so it is an event trigger that objects; as it would
        // to the ledger's schema.
        Does::Schemas => refuse(
            format!("the trial could not be made: {said}; {statement}"),
            format!("{}; or give --no-trial", what_to_do(error, about)),
        ),
        Does::StandIn | Does::Empties => findings.warn(
            at,
            format!("the trial could not be made: {said}; {statement}"),
            "mend what the message names to have all checked beforehand",
        ),
        Does::Copy => findings.warn(
            at,
            format!("rows of {table} could not be tried on the target: {said}"),
            "mend what the message names to have that checked beforehand",
        ),
        Does::Setting => findings.warn(
            at,
            format!("the target leaves out a setting of {table}: {said}; {statement}"),
            "the target's release, or its build, does not know it; no row depends on it",
        ),
        Does::Table => refuse(
            format!("{table} can't be made on the target: {said}; {statement}"),
            format!(
                "{}; or make the table by hand, with what the message misses",
                what_to_do(error, about)
            ),
        ),
        Does::Rows => {
            let source = about.source.plain();
            let message =
                format!("rows of the source's {source} can't be written to {table}: {said}");
            refuse(message, rows_hint(error, about));
        }
        Does::Object(kind) if error.code.is_some_and(|code| may_be_missing(kind, code)) => {
            let message = format!("{what} would be left out: {said}; {statement}");
            findings.warn(at, message, format!("{AS_ON_THE_SOURCE}, to have it made"));
        }
        Does::Object(_) => refuse(
            format!("{what} can't be made on the target: {said}; {statement}"),
            format!("{}{ALL_THE_SAME}", what_to_do(error, about)),
        ),
    }
}

/// Why an error says nothing about the run, if it doesn't: a lock that somebody else has, and
/// limits of time and memory that a trial of everything meets sooner.
fn not_judged(code: Option<SqlState>) -> Option<&'static str> {
    let code = code?;
    match (code.as_str(), code.class()) {
        ("55P03", _) => Some("see who holds the lock (pg_locks), and check again"),
        ("57014", _) => Some("it took too long for a trial; see that it ends at all"),
        (_, "53") => Some("raise what the message names, and check again"),
        (_, "40") => Some("check again"),
        _ => None,
    }
}

/// An object and its table, or the table, for people.
fn describe(step: &Step, table: &str) -> String {
    match step.does {
        Does::Object(ObjectKind::Analyze) => format!("ANALYZE of {table}"),
        Does::Object(kind) => format!("the {} {} of {table}", kind.as_str(), step.name),
        _ => table.to_owned(),
    }
}

/// Whether the error was met by a function that looks for something by the search_path.
fn is_within_a_function(error: &ServerError) -> bool {
    let code = error.code.map(|code| code.class() == "42").unwrap_or_default();
    code && error.context.as_deref().is_some_and(|context| context.contains("function"))
}

const SEARCH_PATH: &str = "pghost's search_path is empty, as pg_dump's is, so that a function \
                           finds nothing by it that is not qualified: ALTER FUNCTION .. SET \
                           search_path = .. on the target, with the schemas that it needs";

fn what_to_do(error: &ServerError, about: &About<'_>) -> String {
    let code = error.code.map_or_else(String::new, |code| code.as_str().to_owned());
    let is_missing = ["42704", "42883", "3F000", "42P01", "42703"].contains(&code.as_str());
    if is_missing && !about.extensions.is_empty() {
        return format!("{} on the target", about.extensions.join("; "));
    }
    if is_within_a_function(error) {
        return SEARCH_PATH.to_owned();
    }
    if let (Some(names), "P0001" | "2F003") = (about.event_triggers, code.as_str()) {
        return format!(
            "if it is an event trigger ({names}) that objects, ALTER EVENT TRIGGER .. \
                        DISABLE meanwhile"
        );
    }
    match code.as_str() {
        "42601" | "0A000" | "22023" if about.target_is_older => {
            "the target's release is older than the source's and does not know that: use a target \
             of the source's release, or change it on the source"
                .to_owned()
        }
        "42883" if about.target_is_older => format!(
            "{AS_ON_THE_SOURCE}; if it is built in there, the target's release does not have it"
        ),
        "42P17" if error.message.contains("IMMUTABLE") => {
            "ALTER FUNCTION .. IMMUTABLE on the target, as it is on the source".to_owned()
        }
        "42501" => "grant the role of the target what the message asks for".to_owned(),
        _ if is_missing => AS_ON_THE_SOURCE.to_owned(),
        _ => "mend what the message names".to_owned(),
    }
}

fn rows_hint(error: &ServerError, about: &About<'_>) -> String {
    if is_within_a_function(error) {
        return SEARCH_PATH.to_owned();
    }
    let target = about.target;
    match error.code.map(|code| code.as_str().to_owned()).as_deref() {
        Some("23502") => format!(
            "ALTER TABLE {target} ALTER COLUMN .. DROP NOT NULL on the target, or give the rows a \
             value on the source"
        ),
        Some("23514") if error.message.starts_with("no partition of relation") => format!(
            "make a partition for them on the target (PARTITION OF {target} ..), or a DEFAULT one"
        ),
        Some("23514") => format!(
            "ALTER TABLE {target} DROP CONSTRAINT .. on the target, or mend the rows on the source"
        ),
        _ => "mend the rows on the source, or what refuses them on the target".to_owned(),
    }
}

fn one_line(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}
