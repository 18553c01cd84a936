//! How far the indexes are that are being built, as events.

use std::time::Duration;

use crate::conn::{Connection, Error, QueryResult};
use crate::migrate::Event;

/// How often people are told.
pub(in crate::migrate) const TELL_AGAIN: Duration = Duration::from_secs(1);

/// An index that a session is building.
#[derive(Clone, Debug)]
pub(in crate::migrate) struct Building {
    /// The session's process on the server.
    pub(in crate::migrate) pid: i32,
    /// The table.
    pub(in crate::migrate) table: String,
    /// The index, or its constraint.
    pub(in crate::migrate) index: String,
}

impl Building {
    fn event(&self, phase: String, percent: Option<f64>) -> Event {
        Event::Index { table: self.table.clone(), index: self.index.clone(), phase, percent }
    }

    /// It is built.
    pub(in crate::migrate) fn done(&self) -> Event {
        self.event("done".into(), Some(100.0))
    }
}

/// An event for each index that the server says something of; none where it does not tell.
pub(in crate::migrate) async fn how_far(
    target: &mut Connection,
    building: &[Building],
) -> Result<Vec<Event>, Error> {
    let pids: Vec<_> = building.iter().map(|b| b.pid.to_string()).collect();
    let sql = format!(
        "SELECT pid, phase, CASE
                WHEN tuples_total > 0 THEN 100.0 * tuples_done / tuples_total
                WHEN blocks_total > 0 THEN 100.0 * blocks_done / blocks_total END AS percent
           FROM pg_stat_progress_create_index WHERE pid IN ({}) ORDER BY pid",
        pids.join(", ")
    );
    let mut events = Vec::new();
    let answer = Error::if_answered(target.query(&sql).await)?;
    for row in answer.iter().flat_map(QueryResult::rows) {
        let pid: i32 = row.get("pid")?;
        let percent: Option<f64> = row.get("percent")?;
        if let Some(building) = building.iter().find(|b| b.pid == pid) {
            events.push(building.event(row.get("phase")?, percent.map(|p| p.min(100.0))));
        }
    }
    Ok(events)
}
