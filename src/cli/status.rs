//! What `pghost status` and `pghost cleanup` print.

use std::fmt::Write as _;

use super::progress::{bytes, count};
use crate::migrate::{Cleaned, CleanupSpec, MigrationStatus, SourceStatus};

/// Where migrations stand, for people or as JSON.
pub(super) fn text(found: &[MigrationStatus], as_json: bool) -> String {
    if as_json {
        // Strings and numbers: there is nothing in it that JSON could not hold.
        return serde_json::to_string_pretty(found).unwrap_or_default();
    }
    if found.is_empty() {
        return "no migration is known to this target".to_owned();
    }
    let blocks: Vec<_> = found.iter().map(block).collect();
    blocks.join("\n\n")
}

fn block(migration: &MigrationStatus) -> String {
    let what = match migration.phase {
        "prepare" => "was begun, and nothing is copied yet",
        "backfill" => "is copying pages",
        "catch_up" => "is catching up with what changed meanwhile",
        "handoff" => "is being handed over to a subscription",
        "handed_off" => "was handed over to a subscription; pghost applies nothing any more",
        _ => "has passed its checkpoint; the target can be brought up to date again",
    };
    let who = if migration.running { "a pghost is at it" } else { "no pghost is at it" };
    let mut text = format!("{}: {what}; {who}", migration.name);
    let or_none = |lsn: &Option<String>| lsn.clone().unwrap_or_else(|| "none yet".into());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n  slot {}, publication {}\n  checkpoint {}, applied up to {}",
        migration.slot,
        migration.publication,
        or_none(&migration.checkpoint_lsn),
        or_none(&migration.applied_lsn)
    );
    if let Some(source) = &migration.source {
        let _ = write!(text, "\n  {}", of_source(source));
    }
    if let Some(failure) = &migration.last_failure {
        let (at, message, next) = (&failure.at, &failure.message, &failure.next);
        let _ = write!(text, "\n  the last run ended {at}: {message}\n    next: {next}");
    }
    for wish in &migration.wishes {
        let value = wish.value.as_ref().map(|value| format!(" {value}")).unwrap_or_default();
        let host = wish.host.as_ref().map(|host| format!(" from {host}")).unwrap_or_default();
        let (name, role, at) = (&wish.wish, &wish.role, &wish.at);
        let _ = write!(text, "\n  wished by {role}{host} at {at}: {name}{value}");
    }
    if let Some(subscription) = &migration.subscription {
        let state = match (subscription.enabled, subscription.running) {
            (None, _) => "not there".to_owned(),
            (Some(false), _) => "disabled".to_owned(),
            (Some(true), None) => "enabled; whether its worker runs is not told".to_owned(),
            (Some(true), Some(false)) => "enabled, and its worker does not run just now".to_owned(),
            (Some(true), Some(true)) => format!(
                "enabled, and its worker has received up to {}",
                subscription.received_lsn.as_deref().unwrap_or("nothing yet")
            ),
        };
        let (name, from) = (&subscription.name, &subscription.from_lsn);
        let _ = write!(text, "\n  subscription {name}, from {from} on: {state}");
    }
    for table in &migration.tables {
        let rows = count(table.rows_copied);
        let all = match (table.backfilled, table.estimated_rows) {
            (true, _) => "all rows copied".to_owned(),
            (false, None) => "rows copied so far".to_owned(),
            (false, Some(about)) => format!("of about {} rows copied so far", count(about)),
        };
        let _ = write!(
            text,
            "\n  {} -> {}: {rows} {all}; {} inserted, {} updated, {} deleted, {} truncated since",
            table.source,
            table.target,
            count(table.inserted),
            count(table.updated),
            count(table.deleted),
            count(table.truncated)
        );
    }
    text
}

fn of_source(source: &SourceStatus) -> String {
    if let Some(error) = &source.error {
        return format!("the source could not be asked: {error}");
    }
    if let Some(lost) = &source.lost {
        return format!("{lost}: this migration can't go on");
    }
    let mut text = match source.lag_bytes {
        Some(lag) => format!("{} of the source's log behind", bytes(lag)),
        None => "the source is there".to_owned(),
    };
    if let Some(slot) = &source.slot {
        let reader = if slot.active { "is read" } else { "is not read just now" };
        let status = slot.wal_status.as_deref().unwrap_or("unknown");
        let kept = bytes(slot.retained_bytes.unwrap_or(0));
        let _ = write!(text, "; the slot {reader} and keeps {kept} of log ({status})");
        if let Some(safe) = slot.safe_bytes {
            let _ = write!(text, ", lost after {} more", bytes(safe));
        }
    }
    text
}

/// What was removed, or would be.
pub(super) fn removed(spec: &CleanupSpec, cleaned: &Cleaned) -> String {
    if *cleaned == Cleaned::default() {
        return format!("nothing is left of {}; no table was touched", spec.name);
    }
    let (remove, make, be) = match spec.dry_run {
        true => ("would remove", "would make again", "would be"),
        false => ("removed", "made again", "was"),
    };
    let removed = cleaned.removed.iter().map(|what| format!("{remove} {what}"));
    let made = cleaned.made_again.iter().map(|what| format!("{make} {what}"));
    let left = cleaned.left.iter().map(|what| format!("note: {what}"));
    let mut lines: Vec<_> = removed.chain(made).chain(left).collect();
    let what = if cleaned.made_again.is_empty() { "table" } else { "row" };
    lines.push(format!("no {what} {be} touched"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use crate::migrate::{FailureStatus, SlotStatus, SubscriptionStatus, TableStatus, WishStatus};

    fn sample() -> MigrationStatus {
        MigrationStatus {
            name: "orders".into(),
            phase: "backfill",
            running: true,
            slot: "pghost_orders".into(),
            publication: "pghost_orders".into(),
            checkpoint_lsn: None,
            applied_lsn: Some("0/16B3748".into()),
            subscription: None,
            source: None,
            last_failure: None,
            wishes: Vec::new(),
            tables: vec![TableStatus {
                source: "public.orders".into(),
                target: "sales.orders".into(),
                rows_copied: 1_234_567,
                estimated_rows: None,
                backfilled: false,
                inserted: 0,
                updated: 0,
                deleted: 0,
                truncated: 0,
            }],
        }
    }

    #[test]
    fn who_wishes_what_is_told() {
        let wish = |value: Option<&str>, host: Option<&str>| WishStatus {
            wish: "rate".into(),
            value: value.map(str::to_owned),
            role: "app".into(),
            host: host.map(str::to_owned),
            at: "2026-12-01T04:00:00Z".into(),
        };
        let wishes = vec![wish(Some("20MB/s"), Some("10.0.0.7")), wish(None, None)];
        let text = text(&[MigrationStatus { wishes, ..sample() }], false);
        for line in [
            "\n  wished by app from 10.0.0.7 at 2026-12-01T04:00:00Z: rate 20MB/s\n",
            "\n  wished by app at 2026-12-01T04:00:00Z: rate\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn people_read_where_a_migration_stands() {
        assert_eq!(
            text(from_ref(&sample()), false),
            "orders: is copying pages; a pghost is at it\n  \
             slot pghost_orders, publication pghost_orders\n  \
             checkpoint none yet, applied up to 0/16B3748\n  \
             public.orders -> sales.orders: 1,234,567 rows copied so far; \
             0 inserted, 0 updated, 0 deleted, 0 truncated since"
        );
        assert_eq!(text(&[], false), "no migration is known to this target");
        let subscription = |enabled, running| SubscriptionStatus {
            name: "orders_sub".into(),
            from_lsn: "0/16B3748".into(),
            enabled,
            running,
            received_lsn: (running == Some(true)).then(|| "0/2000000".into()),
        };
        for (enabled, running, words) in [
            (Some(true), Some(true), "enabled, and its worker has received up to 0/2000000"),
            (Some(true), Some(false), "enabled, and its worker does not run just now"),
            (Some(true), None, "enabled; whether its worker runs is not told"),
            (Some(false), Some(false), "disabled"),
            (None, Some(false), "not there"),
        ] {
            let subscription = Some(subscription(enabled, running));
            let of = MigrationStatus { phase: "handed_off", subscription, ..sample() };
            let line = format!("\n  subscription orders_sub, from 0/16B3748 on: {words}\n");
            assert!(text(&[of], false).contains(&line), "{line}");
        }
    }

    #[test]
    fn what_the_source_says_and_how_the_last_run_ended_is_told() {
        let slot = SlotStatus {
            wal_status: Some("extended".into()),
            active: false,
            retained_bytes: Some(5 << 20),
            safe_bytes: Some(1 << 30),
        };
        let well =
            SourceStatus { lag_bytes: Some(3 << 20), slot: Some(slot), ..Default::default() };
        let error = |text: &str| SourceStatus { error: Some(text.into()), ..Default::default() };
        let lost = SourceStatus { lost: Some("the slot s is gone".into()), ..Default::default() };
        for (source, words) in [
            (
                well,
                "3.0 MiB of the source's log behind; the slot is not read just now and keeps \
                 5.0 MiB of log (extended), lost after 1.0 GiB more",
            ),
            (error("no answer"), "the source could not be asked: no answer"),
            (lost, "the slot s is gone: this migration can't go on"),
        ] {
            let mut of = MigrationStatus { source: Some(source), ..sample() };
            of.tables[0].estimated_rows = Some(2_000_000);
            let shown = text(&[of], false);
            assert!(shown.contains(&format!("\n  {words}\n")), "{shown}");
            assert!(shown.contains("1,234,567 of about 2,000,000 rows copied so far"), "{shown}");
        }
        let failure = FailureStatus {
            at: "2026-11-28T03:00:00Z".into(),
            message: "the disk is full".into(),
            next: "make room".into(),
        };
        let of = MigrationStatus { last_failure: Some(failure), ..sample() };
        let words =
            "the last run ended 2026-11-28T03:00:00Z: the disk is full\n    next: make room";
        assert!(text(&[of], false).contains(words));
    }

    #[test]
    fn scripts_read_an_array_of_objects() {
        let read: serde_json::Value = serde_json::from_str(&text(&[sample()], true)).unwrap();
        assert_eq!(read[0]["phase"], "backfill");
        assert!(read[0]["checkpoint_lsn"].is_null());
        assert_eq!(read[0]["tables"][0]["rows_copied"], 1_234_567);
        assert_eq!(text(&[], true), "[]");
    }
}
