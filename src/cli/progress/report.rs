//! What a person reads when a run is over.

use std::fmt::Write;

use super::numbers::{duration, grouped};
use crate::migrate::{Event, TableReport};

const COLUMNS: [&str; 6] =
    ["rows copied", "inserted", "updated", "deleted", "truncated", "skipped"];

/// The report; `None` for events that are not `finished`.
pub(super) fn report(event: &Event) -> Option<String> {
    let Event::Finished {
        name,
        checkpoint_lsn,
        applied_lsn,
        tables,
        changes_received,
        seconds,
        longest_snapshot_seconds,
    } = event
    else {
        return None;
    };
    let mut text = format!("migration {name}: done in {}\n\n", duration(seconds.total));
    write_tables(&mut text, tables);
    let mut times = vec![
        format!("backfill {}", duration(seconds.backfill)),
        format!("catch-up {}", duration(seconds.catch_up)),
        format!("finish {}", duration(seconds.finish)),
    ];
    if seconds.verify > 0.0 {
        times.push(format!("verify {}", duration(seconds.verify)));
    }
    let lines = [
        ("changes received", sum(tables, *changes_received)),
        ("times", times.join(", ")),
        ("longest snapshot", duration(*longest_snapshot_seconds)),
        ("checkpoint", checkpoint_lsn.to_string()),
        ("position", format!("{applied_lsn}: the target is what the source was here")),
    ];
    for (label, value) in lines {
        let _ = write!(text, "\n{label:<16}  {value}");
    }
    Some(text)
}

/// Names to the left, numbers to the right, each column as wide as it must be.
fn write_tables(text: &mut String, tables: &[TableReport]) {
    let name = |table: &TableReport| {
        if table.source == table.target {
            table.source.clone()
        } else {
            format!("{} -> {}", table.source, table.target)
        }
    };
    let names: Vec<_> = tables.iter().map(name).collect();
    let cells: Vec<_> = tables.iter().map(|t| counts(t).map(grouped)).collect();
    let first = names.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    let first = first.max("table".len());
    let mut widths = COLUMNS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut line = |name: &str, cells: &[String; 6]| {
        let _ = write!(text, "{name:<first$}");
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    };
    line("table", &COLUMNS.map(str::to_owned));
    for (name, cells) in names.iter().zip(&cells) {
        line(name, cells);
    }
}

fn counts(table: &TableReport) -> [u64; 6] {
    [
        table.rows_copied,
        table.inserted,
        table.updated,
        table.deleted,
        table.truncated,
        table.skipped,
    ]
}

/// Every change that was received is told somewhere; if it is not, that is said too.
fn sum(tables: &[TableReport], received: u64) -> String {
    let mut total = [0; 6];
    for table in tables {
        for (sum, count) in total.iter_mut().zip(counts(table)) {
            *sum += count;
        }
    }
    let [_, changes @ ..] = total;
    let [_, labels @ ..] = COLUMNS;
    let parts: Vec<_> = changes
        .iter()
        .zip(labels)
        .map(|(count, label)| format!("{} {label}", grouped(*count)))
        .collect();
    let told: u64 = changes.iter().sum();
    let sign = if told == received { "=" } else { "!=" };
    format!("{} {sign} {}", grouped(received), parts.join(" + "))
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_report_reads_like_this() {
        let text = report(&sample::finished()).unwrap();
        assert_eq!(text, include_str!("golden/report.txt").trim_end());
    }

    #[test]
    fn changes_that_are_told_nowhere_show() {
        let none = "0 inserted + 0 updated + 0 deleted + 0 truncated + 0 skipped";
        assert_eq!(sum(&[], 0), format!("0 = {none}"));
        assert_eq!(sum(&[], 3), format!("3 != {none}"));
    }
}
