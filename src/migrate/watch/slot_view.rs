//! What the slot's state means: whether the migration can still go on from it, how long it may
//! last, and what people should know of it.
//!
//! Pure: what the source says and the time are handed in.

use std::time::{Duration, Instant};

use crate::{migrate::Event, pg::Lsn, replication::Slot};

/// How often its state is told.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// How much a new look counts for the rate: the last minute's looks make most of it.
const NEW_SHARE: f64 = 0.1;

/// What the ledger knows of positions on the source.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::migrate) struct Known {
    /// What the target has, where the slot can't rightly be further than that.
    pub(in crate::migrate) applied: Option<Lsn>,
    /// The source's log was this long at some time.
    pub(in crate::migrate) seen: Option<Lsn>,
}

/// Why the migration can't go on from this slot; `None` if it can.
pub(in crate::migrate) fn why_lost(
    name: &str,
    slot: Option<&Slot>,
    database: &str,
    known: Known,
) -> Option<String> {
    let Some(slot) = slot else {
        return Some(format!("the slot {name} is gone from the source: somebody has dropped it"));
    };
    if slot.plugin.as_deref() != Some("pgoutput") || slot.database.as_deref() != Some(database) {
        return Some(format!("the slot {name} is not the one that pghost made"));
    }
    if !slot.usable {
        let why = match (slot.invalidation_reason.as_deref(), slot.wal_status.as_deref()) {
            (Some("idle_timeout"), _) => {
                "idle_timeout: it was not read for longer than idle_replication_slot_timeout".into()
            }
            (Some("wal_removed") | None, status) => format!(
                "wal_status {}: the log it needs is gone, since it would have been more than \
                 max_slot_wal_keep_size",
                status.unwrap_or_default()
            ),
            (Some(reason), _) => reason.to_owned(),
        };
        return Some(format!("the slot {name} was invalidated ({why})"));
    }
    // What it writes from now on comes under positions that count as applied, and a walsender that
    // is asked to start behind its log's end waits for the log to get there.
    if let (Some(end), Some(seen)) = (slot.wal_end, known.seen)
        && end < seen
    {
        return Some(format!(
            "the source's log ends at {end} and was at {seen} before: the source was put back to \
             an earlier state (a backup or a snapshot of its disks), and what the target has of \
             the time between is not there any more"
        ));
    }
    // Nothing is acknowledged before it is in the ledger, so a slot that is further was made
    // again or read by somebody else, or the ledger is an old one; the changes between are lost.
    match (slot.confirmed_flush, known.applied) {
        (Some(confirmed), Some(applied)) if confirmed > applied => Some(format!(
            "the slot {name} is at {confirmed}, ahead of the target at {applied}: it was made \
             again, or somebody else has read it, or the target was put back to an earlier state \
             (a backup, or a standby that had not received all)"
        )),
        _ => None,
    }
}

/// That the source keeps little for a slot.
pub(in crate::migrate) fn keeps_little(megabytes: u64, slot: &str) -> String {
    format!(
        "the source keeps at most {megabytes} MB of log for a slot (max_slot_wal_keep_size): if \
         more is written before the changes are read, the slot {slot} is lost, and the migration \
         with it; -1 keeps all"
    )
}

/// That the source does not keep a slot which nobody reads.
pub(in crate::migrate) fn keeps_not_idle(seconds: u64, slot: &str) -> String {
    format!(
        "the source gives up slots that nobody reads for {seconds} s \
         (idle_replication_slot_timeout): {slot} is kept from it while pghost runs, and not \
         between two runs; 0 turns that off"
    )
}

/// What has been seen of a slot.
#[derive(Debug)]
pub(in crate::migrate) struct SlotView {
    name: String,
    last: Option<(Instant, Lsn)>,
    bytes_per_second: f64,
    told: Option<(Instant, String)>,
    reader: Option<i32>,
}

impl SlotView {
    pub(in crate::migrate) const fn new(name: String) -> Self {
        Self { name, last: None, bytes_per_second: 0.0, told: None, reader: None }
    }

    /// Takes a look at the slot. `ours` if it may be pghost itself that reads it.
    pub(in crate::migrate) fn on(&mut self, slot: &Slot, ours: bool, now: Instant) -> Vec<Event> {
        self.measure(slot.wal_end, now);
        let mut events = Vec::new();
        let status = slot.wal_status.clone().unwrap_or_default();
        let is_news = self.told.as_ref().is_none_or(|(_, told)| *told != status);
        if is_news && status == "unreserved" {
            events.push(Event::Notice { message: self.about_to_be_lost() });
        }
        if !ours && slot.active_pid.is_some() && slot.active_pid != self.reader {
            let message = format!(
                "the slot {} is read by the server process {} of the source, which is not this \
                 run's: it may be an earlier run's that has not ended yet; if it is somebody \
                 else, stop it before it moves the slot on",
                self.name,
                slot.active_pid.unwrap_or_default()
            );
            events.push(Event::Notice { message });
        }
        self.reader = slot.active_pid.filter(|_| !ours);
        let due = self.told.as_ref().is_none_or(|(at, _)| now.duration_since(*at) >= TELL_AGAIN);
        if is_news || due {
            self.told = Some((now, status.clone()));
            events.push(self.event(slot, status));
        }
        events
    }

    fn about_to_be_lost(&self) -> String {
        format!(
            "the slot {} holds back more log than the source will keep and is lost at its next \
             checkpoint, and the migration with it: ALTER SYSTEM SET max_slot_wal_keep_size = -1 \
             and SELECT pg_reload_conf() on the source, now",
            self.name
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn measure(&mut self, wal_end: Option<Lsn>, now: Instant) {
        let Some(end) = wal_end else { return };
        if let Some((at, before)) = self.last {
            let seconds = now.saturating_duration_since(at).as_secs_f64();
            let rate = end.bytes_since(before) as f64 / seconds.max(1e-3);
            let is_first = self.bytes_per_second == 0.0;
            let share = if is_first { 1.0 } else { NEW_SHARE };
            self.bytes_per_second += (rate - self.bytes_per_second) * share;
        }
        self.last = Some((now, end));
    }

    #[expect(clippy::cast_precision_loss, reason = "for display")]
    fn event(&self, slot: &Slot, wal_status: String) -> Event {
        let retained = slot.wal_end.zip(slot.restart_lsn);
        let safe_bytes = slot.safe_wal_size.map(|size| u64::try_from(size).unwrap_or(0));
        let rate = self.bytes_per_second;
        let seconds_left = safe_bytes.filter(|_| rate > 0.0).map(|safe| safe as f64 / rate);
        Event::Slot {
            slot: self.name.clone(),
            wal_status,
            retained_bytes: retained.map_or(0, |(end, start)| end.bytes_since(start)),
            safe_bytes,
            bytes_per_second: rate,
            seconds_left,
            source_lsn: slot.wal_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            plugin: Some("pgoutput".into()),
            database: Some("shop".into()),
            active_pid: None,
            wal_status: Some("reserved".into()),
            invalidation_reason: None,
            confirmed_flush: Some(Lsn(100)),
            restart_lsn: Some(Lsn(90)),
            wal_end: Some(Lsn(1_000)),
            safe_wal_size: None,
            failover: None,
            usable: true,
        }
    }

    fn why(slot: Option<&Slot>, applied: Option<u64>) -> String {
        let known = Known { applied: applied.map(Lsn), seen: Some(Lsn(1_000)) };
        why_lost("s", slot, "shop", known).unwrap_or_default()
    }

    #[test]
    fn a_slot_is_lost_in_these_ways_and_no_other() {
        assert_eq!(why(Some(&slot()), Some(100)), "");
        assert_eq!(why(Some(&slot()), None), "");
        assert!(why(None, None).contains("dropped"));
        assert!(why(Some(&slot()), Some(99)).contains("ahead"));
        let restored = Slot { wal_end: Some(Lsn(999)), ..slot() };
        assert!(why(Some(&restored), Some(100)).contains("earlier state"));
        let unknown = Slot { wal_end: None, ..slot() };
        assert_eq!(why(Some(&unknown), Some(100)), "");
        let other = Slot { database: Some("else".into()), ..slot() };
        assert!(why(Some(&other), None).contains("not the one"));
        let lost = Slot { usable: false, wal_status: Some("lost".into()), ..slot() };
        assert!(why(Some(&lost), None).contains("max_slot_wal_keep_size"));
        let idle = Slot { invalidation_reason: Some("idle_timeout".into()), ..lost };
        assert!(why(Some(&idle), None).contains("idle_replication_slot_timeout"));
    }

    #[test]
    fn the_time_left_is_what_the_source_keeps_at_the_rate_it_writes() {
        let (mut view, now) = (SlotView::new("s".into()), Instant::now());
        let first = Slot { safe_wal_size: Some(5_000), ..slot() };
        let [Event::Slot { seconds_left, retained_bytes, .. }] = &view.on(&first, false, now)[..]
        else {
            panic!("one event");
        };
        assert_eq!((*seconds_left, *retained_bytes), (None, 910));
        let later = Slot { safe_wal_size: Some(4_000), wal_end: Some(Lsn(2_000)), ..slot() };
        let events = view.on(&later, false, now + TELL_AGAIN);
        let [Event::Slot { bytes_per_second, seconds_left, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((*bytes_per_second, *seconds_left), (100.0, Some(40.0)));
    }

    #[test]
    fn it_is_told_now_and_then_and_at_once_when_it_is_in_danger() {
        let (mut view, now) = (SlotView::new("s".into()), Instant::now());
        assert_eq!(view.on(&slot(), false, now).len(), 1);
        assert_eq!(view.on(&slot(), false, now + TELL_AGAIN / 2).len(), 0);
        let danger = Slot { wal_status: Some("unreserved".into()), ..slot() };
        let events = view.on(&danger, false, now + TELL_AGAIN / 2);
        assert!(matches!(&events[..], [Event::Notice { .. }, Event::Slot { .. }]), "{events:?}");
        assert_eq!(view.on(&danger, false, now + TELL_AGAIN).len(), 0);
    }

    #[test]
    fn another_reader_is_told_once() {
        let (mut view, now) = (SlotView::new("s".into()), Instant::now());
        view.on(&slot(), false, now);
        let read = Slot { active_pid: Some(7), ..slot() };
        assert!(matches!(&view.on(&read, false, now)[..], [Event::Notice { .. }]));
        assert_eq!(view.on(&read, false, now).len(), 0);
        assert_eq!(view.on(&read, true, now).len(), 0);
    }
}
