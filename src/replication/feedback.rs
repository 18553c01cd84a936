//! What to tell the walsender, and when.
//!
//! Pure: the time is handed in. The position that the source may forget is a [`DurableLsn`],
//! which only the ledger makes; nothing that was merely received can be acknowledged.

use std::time::{Duration, Instant};

use super::StandbyStatusUpdate;
use crate::pg::{Lsn, PgTimestamp};

/// How often the walsender hears from us when nothing happens. A sixth of the default
/// `wal_sender_timeout` of 60 s, and native replication's `wal_receiver_status_interval`.
const INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two updates that nobody asked for: an update a batch would only
/// wake the walsender.
const SHORTEST: Duration = Duration::from_millis(200);

/// How long a walsender may say nothing at all before it is given up. Native replication gives it
/// one minute (`wal_receiver_timeout`); a large transaction can be decoded for longer than that.
const SILENCE: Duration = Duration::from_mins(2);

/// After this part of it the walsender is asked to answer: nothing else would make one speak that
/// has nothing to send.
const ASK_AFTER: u32 = 2;

/// A position up to which everything is on the target and will survive a crash there.
///
/// Made only by the ledger, from what one of its transactions has committed (`tests/tidy.rs`
/// holds that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurableLsn(Lsn);

impl DurableLsn {
    /// Asserts that `lsn` is durable on the target. Called only in `ledger`.
    #[must_use]
    pub const fn assertion(lsn: Lsn) -> Self {
        Self(lsn)
    }

    /// The position.
    #[must_use]
    pub const fn lsn(self) -> Lsn {
        self.0
    }
}

/// The state of one stream's acknowledgements.
#[derive(Debug)]
pub struct Feedback {
    received: Lsn,
    durable: DurableLsn,
    reported: Option<DurableLsn>,
    reply_owed: bool,
    last_sent: Option<Instant>,
    /// How long it may say nothing.
    silence: Duration,
    /// When something was last heard of the walsender.
    heard: Instant,
    /// Whether it was asked since.
    asked: bool,
}

impl Feedback {
    /// Starts with what the ledger says is durable.
    #[must_use]
    pub const fn new(durable: DurableLsn, now: Instant) -> Self {
        Self {
            received: durable.lsn(),
            durable,
            reported: None,
            reply_owed: false,
            last_sent: None,
            silence: SILENCE,
            heard: now,
            asked: false,
        }
    }

    /// Gives the walsender up after less than the two minutes it is given by itself.
    pub fn give_up_after(&mut self, silence: Duration) {
        self.silence = silence.min(SILENCE);
    }

    /// How long it may say nothing.
    #[must_use]
    pub const fn silence(&self) -> Duration {
        self.silence
    }

    /// Something has come from the walsender.
    pub const fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = false;
    }

    /// Whether it has said nothing for too long.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= self.silence
    }

    fn is_to_ask(&self, now: Instant) -> bool {
        !self.asked && now.saturating_duration_since(self.heard) >= self.silence / ASK_AFTER
    }

    /// Something of the stream up to `lsn` has arrived.
    pub fn received(&mut self, lsn: Lsn) {
        self.received = self.received.max(lsn);
    }

    /// The server wants an answer.
    pub const fn reply_requested(&mut self) {
        self.reply_owed = true;
    }

    /// The ledger has committed up to here.
    pub fn durable(&mut self, durable: DurableLsn) {
        self.durable = self.durable.max(durable);
    }

    /// How far the stream has been received.
    #[must_use]
    pub const fn received_lsn(&self) -> Lsn {
        self.received
    }

    /// The update to send now, if one is due.
    pub fn due(&mut self, now: Instant, wall_clock: PgTimestamp) -> Option<StandbyStatusUpdate> {
        let since = self.last_sent.map(|sent| now.saturating_duration_since(sent));
        let news = self.reported != Some(self.durable);
        let due = match since {
            None => true,
            Some(_) if self.is_to_ask(now) => true,
            Some(since) => self.reply_owed || since >= INTERVAL || news && since >= SHORTEST,
        };
        due.then(|| self.update(now, wall_clock))
    }

    /// The update that is sent in any case, such as the last one before the stream ends.
    pub fn update(&mut self, now: Instant, wall_clock: PgTimestamp) -> StandbyStatusUpdate {
        let ask = self.is_to_ask(now);
        self.asked |= ask;
        self.last_sent = Some(now);
        self.reported = Some(self.durable);
        self.reply_owed = false;
        StandbyStatusUpdate {
            // Having written everything that was sent keeps the walsender from asking again and
            // again (`WalSndKeepaliveIfNecessary`); it does not move the slot.
            written: self.received.max(self.durable.lsn()),
            flushed: self.durable.lsn(),
            applied: self.durable.lsn(),
            sent_at: wall_clock,
            reply_requested: ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feedback() -> (Feedback, Instant) {
        let now = Instant::now();
        (Feedback::new(DurableLsn::assertion(Lsn(100)), now), now)
    }

    #[test]
    fn a_walsender_that_says_nothing_is_asked_once_and_then_given_up() {
        let (mut feedback, start) = feedback();
        let mut asked = Vec::new();
        for second in 0..120 {
            let now = start + Duration::from_secs(second);
            assert!(!feedback.is_silent(now));
            if feedback.due(now, PgTimestamp(0)).is_some_and(|u| u.reply_requested) {
                asked.push(second);
            }
        }
        assert_eq!(asked, [60]);
        assert!(feedback.is_silent(start + SILENCE));
        feedback.heard(start + SILENCE);
        assert!(!feedback.is_silent(start + SILENCE * 2 - Duration::from_millis(1)));
        let later = start + SILENCE + SILENCE / ASK_AFTER;
        assert!(feedback.due(later, PgTimestamp(0)).unwrap().reply_requested);
    }

    #[test]
    fn it_can_be_given_less_time_and_never_more() {
        let (mut feedback, start) = feedback();
        feedback.give_up_after(SILENCE * 3);
        assert!(!feedback.is_silent(start + SILENCE / 2) && feedback.is_silent(start + SILENCE));
        feedback.give_up_after(Duration::from_secs(4));
        feedback.due(start, PgTimestamp(0));
        assert!(feedback.due(start + Duration::from_secs(1), PgTimestamp(0)).is_none());
        let asks = feedback.due(start + Duration::from_secs(2), PgTimestamp(0)).unwrap();
        assert!(asks.reply_requested && !feedback.is_silent(start + Duration::from_secs(3)));
        assert!(feedback.is_silent(start + Duration::from_secs(4)));
    }

    #[test]
    fn what_was_received_is_never_reported_as_flushed() {
        let (mut feedback, now) = feedback();
        feedback.received(Lsn(500));
        let update = feedback.due(now, PgTimestamp(0)).unwrap();
        assert_eq!((update.written, update.flushed), (Lsn(500), Lsn(100)));
    }

    #[test]
    fn a_request_is_answered_at_once_with_an_unchanged_position() {
        let (mut feedback, now) = feedback();
        assert!(feedback.due(now, PgTimestamp(0)).is_some());
        assert!(feedback.due(now, PgTimestamp(0)).is_none());
        feedback.reply_requested();
        assert_eq!(feedback.due(now, PgTimestamp(0)).unwrap().flushed, Lsn(100));
        assert!(feedback.due(now, PgTimestamp(0)).is_none());
    }

    #[test]
    fn updates_come_at_intervals_and_sooner_with_news() {
        let (mut feedback, now) = feedback();
        feedback.due(now, PgTimestamp(0));
        feedback.durable(DurableLsn::assertion(Lsn(200)));
        assert!(feedback.due(now + Duration::from_millis(10), PgTimestamp(0)).is_none());
        let later = now + SHORTEST;
        assert_eq!(feedback.due(later, PgTimestamp(0)).unwrap().flushed, Lsn(200));
        assert!(feedback.due(later + Duration::from_secs(9), PgTimestamp(0)).is_none());
        assert!(feedback.due(later + INTERVAL, PgTimestamp(0)).is_some());
    }

    #[test]
    fn an_older_position_never_takes_the_place_of_a_newer_one() {
        let (mut feedback, now) = feedback();
        feedback.durable(DurableLsn::assertion(Lsn(50)));
        assert_eq!(feedback.due(now, PgTimestamp(0)).unwrap().flushed, Lsn(100));
    }
}
