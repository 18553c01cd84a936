//! A look now and then, on sessions of its own, for whom the run waits: a lock is waited for
//! without end, since whoever has it may be right to hold the run up, but people should know.
//!
//! It is looked where nothing moves; and now and then anyway, as one table may stand while others
//! move. That asks the server for no lock of its own until one of its sessions waits for one.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use super::blocked_view::{BlockedView, Blocker};
use crate::{
    config::Config,
    conn::{Connection, Error, Row, SessionKind},
    ledger::{self, MigrationName},
    migrate::{MigrationSpec, desk::Desk},
};

/// How often it is looked.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// At how many times one is a look, whatever moves.
const LOOK_ANYWAY: u32 = 15;
/// From how many seconds on a wait is long.
const LONG: u32 = 7;

/// What is watched.
pub(in crate::migrate) struct BlockWatch<'a, 'l> {
    pub(in crate::migrate) spec: &'a MigrationSpec,
    pub(in crate::migrate) migration: MigrationName,
    pub(in crate::migrate) desk: &'a Desk<'l>,
}

impl BlockWatch<'_, '_> {
    /// Watches without end. What can't be looked at is looked at again later: whether servers can
    /// be reached, others find out.
    pub(in crate::migrate) async fn watch(self) -> Infallible {
        let standby = async {
            match &self.spec.copy_from {
                Some(standby) => self.watch_one("standby", standby).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = self.watch_one("source", &self.spec.source) => never,
            never = self.watch_one("target", &self.spec.target) => never,
            never = standby => never,
        }
    }

    async fn watch_one(&self, side: &'static str, config: &Config) -> Infallible {
        let mut view = BlockedView::new(side);
        let (mut session, mut seen, mut passed_over) = (None, self.desk.moves(), 0);
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let moves = self.desk.moves();
            let moved = std::mem::replace(&mut seen, moves) != moves;
            passed_over += 1;
            if moved && passed_over < LOOK_ANYWAY {
                continue;
            }
            passed_over = 0;
            match self.look(config, &mut session).await {
                Ok(blockers) => {
                    for event in view.on(&blockers, Instant::now()) {
                        self.desk.tell(&event);
                    }
                }
                Err(error) => {
                    tracing::info!("looking for locks on the {side}: {error}");
                    session = None;
                }
            }
        }
    }

    /// Who is in the way at this moment.
    async fn look(
        &self,
        config: &Config,
        session: &mut Option<Connection>,
    ) -> Result<Vec<Blocker>, Error> {
        let connection = match session {
            Some(connection) => connection,
            None => session.insert(Connection::connect(config, SessionKind::Sql).await?),
        };
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity
            WHERE wait_event_type = 'Lock' AND datname = current_database()) AS waits";
        if !connection.query(waits).await?.row()?.get::<bool>("waits")? {
            return Ok(Vec::new());
        }
        let found = connection.query(&who_is_in_the_way(&self.migration)).await?;
        found.rows().iter().map(blocker).collect()
    }
}

/// A line for each process that holds sessions of the run up and is none of them. Who waits for a
/// row has its table's name in a lock on the row, which it holds while it waits for the other
/// transaction.
fn who_is_in_the_way(migration: &MigrationName) -> String {
    let ours = ledger::processes(migration);
    format!(
        "WITH ours AS ({ours}), waiting AS (
            SELECT w.pid, w.waitstart, coalesce(w.relation,
                       (SELECT t.relation FROM pg_locks t
                         WHERE t.pid = w.pid AND t.locktype = 'tuple' LIMIT 1)) AS relation
              FROM pg_locks w
             WHERE NOT w.granted AND w.pid IN (SELECT pid FROM ours)
               AND w.waitstart < clock_timestamp() - interval '{LONG} s')
         SELECT b.pid,
                max(floor(extract(epoch FROM clock_timestamp() - w.waitstart)))::bigint AS seconds,
                string_agg(DISTINCT n.nspname || '.' || c.relname, ', ') AS tables,
                max(a.usename::text) AS usename, max(a.application_name) AS application_name,
                max(a.backend_type) AS backend_type, max(a.state) AS state,
                max(floor(extract(epoch FROM clock_timestamp() - a.xact_start)))::bigint AS open,
                max(array_to_string(pg_blocking_pids(b.pid), ', ')) AS behind
           FROM waiting w
          CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b
           LEFT JOIN pg_class c ON c.oid = w.relation
           LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_stat_activity a ON a.pid = b.pid
          WHERE b.pid NOT IN (SELECT pid FROM ours)
          GROUP BY b.pid ORDER BY b.pid"
    )
}

fn blocker(row: &Row) -> Result<Blocker, Error> {
    Ok(Blocker {
        pid: row.get("pid")?,
        seconds: row.get("seconds")?,
        tables: row.get("tables")?,
        user: row.get("usename")?,
        application: row.get("application_name")?,
        kind: row.get("backend_type")?,
        state: row.get("state")?,
        open_seconds: row.get("open")?,
        behind: row.get("behind")?,
    })
}
