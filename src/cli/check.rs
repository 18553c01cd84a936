//! What `pghost check` prints: findings, then the plan; for people or as JSON lines.

use std::fmt::Write as _;

use serde::Serialize;

use crate::migrate::{Checked, Failure, Finding, PhaseName, Planned, Severity};

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    /// One thing that was looked at.
    Finding(&'a Finding),
    /// One statement of the run.
    Plan(&'a Planned),
    /// The sum.
    Checked { name: &'a str, refused: usize, warnings: usize, ok: usize },
}

/// All that was found, and what would be done.
pub(super) fn text(checked: &Checked, as_json: bool) -> String {
    if as_json { json(checked) } else { for_people(checked) }
}

/// Errors: something would be refused.
pub(super) fn verdict(checked: &Checked) -> Result<(), Failure> {
    match checked.count(Severity::Refused) {
        0 => Ok(()),
        1 => Err(Failure::refused(
            format!("the migration {} would be refused, for one reason", checked.name),
            "mend what is marked as refused above, and check again",
        )),
        several => Err(Failure::refused(
            format!("the migration {} would be refused, for {several} reasons", checked.name),
            "mend what is marked as refused above, and check again",
        )),
    }
}

fn json(checked: &Checked) -> String {
    let sum = Line::Checked {
        name: &checked.name,
        refused: checked.count(Severity::Refused),
        warnings: checked.count(Severity::Warning),
        ok: checked.count(Severity::Ok),
    };
    let findings = checked.findings.iter().map(Line::Finding);
    let lines = findings.chain(checked.plan.iter().map(Line::Plan)).chain([sum]);
    // Strings and numbers: there is nothing in it that JSON could not hold.
    let lines: Vec<_> = lines.filter_map(|line| serde_json::to_string(&line).ok()).collect();
    lines.join("\n")
}

fn for_people(checked: &Checked) -> String {
    let mut text = format!(
        "{}: {} refused, {} warned of, {} as it should be; nothing was changed\n",
        checked.name,
        checked.count(Severity::Refused),
        checked.count(Severity::Warning),
        checked.count(Severity::Ok)
    );
    for finding in &checked.findings {
        let word = match finding.severity {
            Severity::Refused => "refused",
            Severity::Warning => "warning",
            Severity::Ok => "ok",
        };
        // Writing to a String cannot fail.
        let message = tame(&finding.message);
        let _ = write!(text, "\n{word:<8} {:<8} {message}", finding.server.as_str());
        if let Some(hint) = &finding.hint {
            let _ = write!(text, "\n{:<17} mend: {}", "", tame(hint));
        }
    }
    if !checked.plan.is_empty() {
        text += "\n\nWhat the migration would do, and the lock that each statement takes:";
    }
    let mut phase = None;
    for planned in &checked.plan {
        let word = if phase == Some(planned.phase) { "" } else { name(planned.phase) };
        phase = Some(planned.phase);
        let _ = write!(text, "\n{word:<8} {:<8} {};", planned.server.as_str(), tame(&planned.sql));
        let told = [planned.lock, planned.note];
        let told: Vec<_> = told.into_iter().flatten().collect();
        if !told.is_empty() {
            let _ = write!(text, "\n{:<17} -- {}", "", told.join(" "));
        }
    }
    text
}

fn name(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::Prepare => "prepare",
        PhaseName::Backfill => "backfill",
        PhaseName::CatchUp => "catch-up",
        PhaseName::Finish => "finish",
        _ => "",
    }
}

/// What a server has put into its names must not steer the terminal; lines stay below one another.
fn tame(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| line.replace(char::is_control, "")).collect();
    lines.join(&format!("\n{:<18}", ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::Side;

    fn finding(severity: Severity, message: &str, hint: Option<&str>) -> Finding {
        Finding {
            severity,
            about: "wal_level",
            server: Side::Source,
            table: None,
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }

    fn sample() -> Checked {
        Checked {
            name: "orders".into(),
            findings: vec![
                finding(Severity::Refused, "wal_level is replica\u{1b}[2J", Some("ALTER SYSTEM")),
                finding(Severity::Ok, "fine", None),
            ],
            plan: vec![Planned {
                phase: PhaseName::Prepare,
                server: Side::Target,
                table: Some("public.orders".into()),
                sql: "CREATE TABLE t (\n    id integer\n)".into(),
                lock: Some("ACCESS EXCLUSIVE"),
                note: Some("on the new table"),
            }],
        }
    }

    #[test]
    fn people_read_what_is_wrong_first_and_how_to_mend_it() {
        assert_eq!(
            text(&sample(), false),
            "orders: 1 refused, 0 warned of, 1 as it should be; nothing was changed\n\n\
             refused  source   wal_level is replica[2J\n                  mend: ALTER SYSTEM\n\
             ok       source   fine\n\n\
             What the migration would do, and the lock that each statement takes:\n\
             prepare  target   CREATE TABLE t (\n                      id integer\n\
             \x20                 );\n\
             \x20                 -- ACCESS EXCLUSIVE on the new table"
        );
    }

    #[test]
    fn scripts_read_a_line_for_each_finding_and_statement_and_the_sum() {
        let lines: Vec<serde_json::Value> =
            text(&sample(), true).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["finding", "finding", "plan", "checked"]);
        assert_eq!(lines[0]["severity"], "refused");
        assert_eq!(lines[0]["about"], "wal_level");
        assert_eq!(lines[0]["server"], "source");
        assert_eq!(lines[0]["hint"], "ALTER SYSTEM");
        assert!(lines[1]["hint"].is_null() && lines[1]["table"].is_null());
        assert_eq!(lines[2]["phase"], "prepare");
        assert_eq!(lines[2]["lock"], "ACCESS EXCLUSIVE");
        assert_eq!((lines[3]["refused"].as_u64(), lines[3]["ok"].as_u64()), (Some(1), Some(1)));
    }

    #[test]
    fn what_would_be_refused_is_a_refusal() {
        let failure = verdict(&sample()).unwrap_err();
        assert_eq!(failure.message, "the migration orders would be refused, for one reason");
        assert_eq!(failure.exit.code(), 2);
        let mut fine = sample();
        fine.findings.remove(0);
        assert_eq!(verdict(&fine), Ok(()));
    }
}
