//! Watching the slot on a connection of its own for as long as a run lasts, so that a slot that is
//! lost ends a backfill at once and not hours later.
//!
//! What is seen is judged by `slot_view`. Where the source gives up slots that idle
//! (`idle_replication_slot_timeout`, 18), the slot is kept from idling here: nothing reads it while
//! pages are copied and indexes are built.

use std::time::{Duration, Instant};

use super::slot_view::{Known, SlotView, keeps_little, keeps_not_idle, why_lost};
use crate::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    ledger::Migration,
    migrate::{Event, Failure, desk::Desk, verdict::Sign},
    replication::{find_slot, touch_slot},
};

/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The most that is left to an idle slot, as a part of what it is given.
const PART_OF_TIMEOUT: u32 = 4;

/// The watch over one slot.
pub(in crate::migrate) struct SlotWatch<'a, 'l> {
    source: &'a Config,
    desk: &'a Desk<'l>,
    slot: String,
    system_id: String,
    database: String,
    /// As the run began.
    known: Known,
}

/// What the source does to slots.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    /// `None` without a limit.
    keeps_megabytes: Option<u64>,
    /// `None` if slots may idle for ever.
    idle: Option<Duration>,
}

impl<'a, 'l> SlotWatch<'a, 'l> {
    pub(in crate::migrate) fn new(
        source: &'a Config,
        migration: &Migration,
        desk: &'a Desk<'l>,
    ) -> Self {
        Self {
            source,
            desk,
            slot: migration.slot.clone(),
            system_id: migration.source.system_id.clone(),
            database: migration.source.database.clone(),
            known: Known { applied: migration.applied, seen: migration.seen() },
        }
    }

    /// Watches until the slot is lost, and says why. A source that is away is not this one's
    /// business: the run notices that itself.
    pub(in crate::migrate) async fn watch(self, tells_limits: bool) -> Failure {
        let mut view = SlotView::new(self.slot.clone());
        let mut session: Option<(Connection, Limits)> = None;
        let mut tells_limits = tells_limits;
        loop {
            if session.is_none() {
                match self.connect().await {
                    Ok(opened) => session = opened,
                    Err(error) => tracing::info!("watching the slot: {error}"),
                }
            }
            let mut pause = LOOK_AGAIN;
            if let Some((connection, limits)) = &mut session {
                if std::mem::take(&mut tells_limits) {
                    limits.tell(&self.slot, self.desk);
                }
                if let Some(idle) = limits.idle {
                    pause = pause.min(idle / PART_OF_TIMEOUT);
                }
                match self.look(connection, *limits, &mut view).await {
                    Ok(None) => {}
                    Ok(Some(why)) => return Failure::seen(Sign::Slot, why).in_mid_run(),
                    Err(error) => {
                        tracing::info!("watching the slot: {error}");
                        session = None;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// `None` if it is another server: settings with several hosts can lead elsewhere.
    async fn connect(&self) -> Result<Option<(Connection, Limits)>, Error> {
        let mut connection = Connection::connect(self.source, SessionKind::Source).await?;
        let sql = "SELECT pg_is_in_recovery() AS standby,
                (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
                (SELECT nullif(setting::bigint, -1) FROM pg_settings
                  WHERE name = 'max_slot_wal_keep_size') AS keeps,
                (SELECT nullif(setting::bigint, 0) FROM pg_settings
                  WHERE name = 'idle_replication_slot_timeout') AS idle";
        let result = connection.query(sql).await?;
        let row = result.row()?;
        if row.get::<bool>("standby")? || row.get::<String>("system_id")? != self.system_id {
            return Ok(None);
        }
        let idle: Option<u64> = row.get("idle")?;
        let limits =
            Limits { keeps_megabytes: row.get("keeps")?, idle: idle.map(Duration::from_secs) };
        Ok(Some((connection, limits)))
    }

    /// Looks once; gives the reason if the slot is lost.
    async fn look(
        &self,
        connection: &mut Connection,
        limits: Limits,
        view: &mut SlotView,
    ) -> Result<Option<String>, Error> {
        let was_streaming = self.desk.is_streaming();
        let slot = find_slot(connection, &self.slot).await?;
        let ours = was_streaming || self.desk.is_streaming();
        // Once it is read, the position moves on together with the target's.
        let applied = self.known.applied.filter(|_| !self.desk.has_streamed());
        let known = Known { applied, ..self.known };
        if let Some(why) = why_lost(&self.slot, slot.as_ref(), &self.database, known) {
            return Ok(Some(why));
        }
        if let Some(slot) = slot {
            for event in view.on(&slot, ours, Instant::now()) {
                self.desk.tell(&event);
            }
        }
        if limits.idle.is_some() && !ours {
            touch_slot(connection, &self.slot).await?;
        }
        Ok(None)
    }
}

impl Limits {
    /// What may cost the migration its slot is told once.
    fn tell(self, slot: &str, desk: &Desk<'_>) {
        if let Some(megabytes) = self.keeps_megabytes {
            desk.tell(&Event::Notice { message: keeps_little(megabytes, slot) });
        }
        if let Some(idle) = self.idle {
            desk.tell(&Event::Notice { message: keeps_not_idle(idle.as_secs(), slot) });
        }
    }
}
