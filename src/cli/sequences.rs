//! What `pghost cutover-sequences` prints.

use super::progress::count;
use crate::migrate::SequenceReport;

/// What became of each sequence, for people or as JSON.
pub(super) fn text(reports: &[SequenceReport], as_json: bool) -> String {
    if as_json {
        // Strings and numbers: there is nothing in it that JSON could not hold.
        return serde_json::to_string_pretty(reports).unwrap_or_default();
    }
    if reports.is_empty() {
        return "no sequence feeds a column of these tables".to_owned();
    }
    let lines: Vec<_> = reports.iter().map(line).collect();
    lines.join("\n")
}

fn line(report: &SequenceReport) -> String {
    let of = format!("{}.{}", report.table, report.column);
    let value = |value: Option<i64>| value.map_or_else(|| "its start".to_owned(), number);
    let Some(target) = &report.target else {
        return format!("{of}: not set: {}", report.problem.as_deref().unwrap_or_default());
    };
    let (at, source) = (value(report.target_value), value(report.source_value));
    let problem = report.problem.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match (report.moved, &report.problem) {
        (true, _) => format!("{of}: {target} set to {at}, the source is at {source}{problem}"),
        (false, None) => {
            format!("{of}: {target} stays at {at}, far enough: the source is at {source}")
        }
        (false, Some(_)) => format!("{of}: {target} is not set{problem}"),
    }
}

fn number(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", count(value.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sequence_has_its_line() {
        let moved = SequenceReport {
            table: "public.orders".into(),
            column: "id".into(),
            source: "public.orders_id_seq".into(),
            target: Some("public.orders_id_seq".into()),
            source_value: Some(1_234),
            target_value: Some(2_234),
            moved: true,
            problem: None,
        };
        assert_eq!(
            line(&moved),
            "public.orders.id: public.orders_id_seq set to 2,234, the source is at 1,234"
        );
        let stays = SequenceReport { moved: false, source_value: None, ..moved.clone() };
        assert_eq!(
            line(&stays),
            "public.orders.id: public.orders_id_seq stays at 2,234, far enough: the source is at \
             its start"
        );
        let problem = Some("no rights".to_owned());
        let failed = SequenceReport { moved: false, problem, ..moved.clone() };
        assert_eq!(line(&failed), "public.orders.id: public.orders_id_seq is not set: no rights");
        let json: serde_json::Value = serde_json::from_str(&text(&[moved], true)).unwrap();
        assert_eq!((&json[0]["moved"], &json[0]["target_value"]), (&true.into(), &2_234.into()));
        assert!(text(&[], false).starts_with("no sequence"));
    }
}
