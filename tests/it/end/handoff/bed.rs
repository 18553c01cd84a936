//! A busy table with everything that is hard about it, on servers of a test's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use pghost::{
    cluster::Binaries,
    conn::{Connection, SessionKind},
    migrate::{CleanupSpec, Event, MigrationSpec, StepName, TableSpec, Then, cleanup},
    pg::QualifiedName,
};
use tokio::task::JoinHandle;

use crate::support::{
    own_servers::{Own, Two},
    selected, whole_log,
};

/// From which release to which.
pub(super) const PAIRS: &[(u32, u32)] = &[(15, 15), (16, 18), (14, 17)];

/// The releases of a pair if both are among those to test.
pub(super) fn pair((from, to): (u32, u32)) -> Option<(Binaries, Binaries)> {
    selected(from).zip(selected(to))
}

/// A secondary unique index, a check, comments, grants, a serial column, values out of line; and a
/// function that changes a row or two, each time in another way.
const TABLE: &str = "
CREATE TABLE busy (
    id serial PRIMARY KEY,
    code text NOT NULL,
    n integer NOT NULL DEFAULT 0 CHECK (n >= 0),
    big text,
    changed timestamptz DEFAULT now()
);
ALTER TABLE busy ALTER big SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX busy_code ON busy (code);
CREATE INDEX busy_n ON busy (n) WHERE n > 3;
COMMENT ON TABLE busy IS 'it''s busy';
COMMENT ON COLUMN busy.big IS 'out of line';
GRANT SELECT, UPDATE (n) ON busy TO reader;
CREATE SEQUENCE codes;
INSERT INTO busy (code, big)
SELECT 'c' || nextval('codes'), repeat(md5(i::text), 100) FROM generate_series(1, 1500) i;
CREATE FUNCTION churn() RETURNS void LANGUAGE plpgsql AS $$
DECLARE a busy; b busy;
BEGIN
    SELECT * INTO a FROM busy WHERE id = (SELECT id FROM busy OFFSET floor(random() * 1200) LIMIT 1)
        FOR UPDATE SKIP LOCKED;
    CASE floor(random() * 12)::int
    WHEN 0, 1 THEN
        INSERT INTO busy (code, big) SELECT 'c' || nextval('codes'), repeat(md5(random()::text), 100);
    WHEN 3 THEN UPDATE busy SET big = repeat(md5(random()::text), 100) WHERE id = a.id;
    WHEN 4 THEN DELETE FROM busy WHERE id = a.id;
    WHEN 5 THEN UPDATE busy SET id = nextval('busy_id_seq') WHERE id = a.id;
    WHEN 6 THEN
        SELECT * INTO b FROM busy WHERE id <> a.id
            AND id = (SELECT id FROM busy OFFSET floor(random() * 1000) LIMIT 1) FOR UPDATE SKIP LOCKED;
        IF b.id IS NOT NULL THEN
            UPDATE busy SET code = 'swap ' || a.id WHERE id = a.id;
            UPDATE busy SET code = a.code WHERE id = b.id;
            UPDATE busy SET code = b.code WHERE id = a.id;
        END IF;
    ELSE UPDATE busy SET n = n + 1, changed = now() WHERE id = a.id;
    END CASE;
END $$";

/// Two servers, the table on the first one, and somebody who changes it all the while.
pub(super) struct Bed {
    pub(super) two: Two,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    churning: Vec<JoinHandle<()>>,
}

impl Bed {
    pub(super) async fn make(binaries: &(Binaries, Binaries)) -> Self {
        Self::with(binaries, &[]).await
    }

    /// With settings of the target's.
    pub(super) async fn with((from, to): &(Binaries, Binaries), target: &[(&str, &str)]) -> Self {
        let (tell, told) = mpsc::channel();
        let two = thread::scope(|scope| {
            scope.spawn(|| tell.send(Own::start(to, target)).unwrap());
            let source = Own::start(from, &[]);
            Two { source, target: told.recv().unwrap() }
        });
        for server in [&two.source, &two.target] {
            server.sql("CREATE ROLE reader").await;
        }
        two.source.sql(TABLE).await;
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let churning = (0..2)
            .map(|_| tokio::spawn(churn(two.source.config(), stop.clone(), done.clone())))
            .collect();
        Self { two, stop, done, churning }
    }

    /// Lets it be changed so many times more.
    pub(super) async fn churns(&self, times: u64) {
        let enough = self.done.load(Ordering::Relaxed) + times;
        while self.done.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) fn spec(&self) -> MigrationSpec {
        let name = || QualifiedName::new("public", "busy");
        MigrationSpec {
            name: Some("busy".into()),
            tables: vec![TableSpec { source: name(), target: name() }],
            page_rows: Some(200),
            then: Then::Handoff,
            ..self.two.spec()
        }
    }

    /// Ends the changing, lets the subscription bring all of it, and compares.
    pub(super) async fn ends_equal(mut self) -> Self {
        self.stop.store(true, Ordering::Relaxed);
        for churning in std::mem::take(&mut self.churning) {
            churning.await.unwrap();
        }
        self.is_equal("busy").await;
        let log = self.two.target.server(|server| whole_log(server));
        // 23505 of up to 17, and the conflicts that 18 counts. A batch of pghost's own that meets an
        // exchange of two rows' values writes change by change then.
        let bad = |line: &&str| {
            !line.contains("] pghost ")
                && ["duplicate key", "conflict", "could not find row"]
                    .iter()
                    .any(|w| line.contains(w))
        };
        let found: Vec<_> = log.lines().filter(bad).collect();
        assert!(found.is_empty(), "{found:#?}");
        self
    }

    /// Panics unless the subscription brings both sides to be equal.
    pub(super) async fn is_equal(&self, table: &str) {
        let mark = self.two.source.value("SELECT pg_current_wal_insert_lsn()").await;
        self.two.source.sql("SELECT pg_logical_emit_message(true, 'test', 'mark')").await;
        let confirmed = format!(
            "SELECT confirmed_flush_lsn >= '{mark}' FROM pg_replication_slots
              WHERE slot_name = 'pghost_busy'"
        );
        self.two.source.until(&confirmed).await;
        let rows = format!(
            "SELECT count(*) || coalesce(string_agg(md5(t::text), chr(10) ORDER BY id), '')
               FROM {table} t"
        );
        let (here, there) =
            (self.two.source.value(&rows).await, self.two.target.value(&rows).await);
        assert!(here == there, "{:.10} and {:.10} rows, or other ones", here, there);
    }

    /// What the table is, besides its rows.
    pub(super) async fn definitions(&self, of: &Own) -> String {
        of.value(
            "SELECT concat_ws(chr(10),
                (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod),
                            attnotnull, attstorage, pg_get_expr(adbin, adrelid),
                            col_description(attrelid, attnum), attacl), chr(10) ORDER BY attnum)
                   FROM pg_attribute a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                  WHERE attrelid = 'busy'::regclass AND attnum > 0),
                (SELECT string_agg(pg_get_indexdef(indexrelid), chr(10) ORDER BY indexrelid::regclass::text)
                   FROM pg_index WHERE indrelid = 'busy'::regclass),
                (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), chr(10) ORDER BY conname)
                   FROM pg_constraint WHERE conrelid = 'busy'::regclass AND contype <> 'n'),
                obj_description('busy'::regclass),
                (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM pg_class, unnest(relacl) a
                  WHERE oid = 'busy'::regclass AND a::text LIKE 'reader=%'))",
        )
        .await
    }

    /// The ledger goes; slot, publication and subscription stay, and go on.
    pub(super) async fn cleanup_leaves_the_subscription(&self) {
        let spec = CleanupSpec::new(self.two.source.config(), self.two.target.config(), "busy");
        let cleaned = cleanup(&spec).await.unwrap();
        assert_eq!(cleaned.removed.len(), 1, "{cleaned:?}");
        assert!(cleaned.left[0].contains("pghost_busy of the target needs them"), "{cleaned:?}");
        let schema = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(self.two.target.value(schema).await, "0");
        self.two.source.sql("SELECT churn() FROM generate_series(1, 20)").await;
        self.is_equal("busy").await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Changes rows until told to stop, also over a restart.
async fn churn(config: pghost::config::Config, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::connect(&config, SessionKind::Sql).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let session = "SET search_path = public; SET application_name = 'test'";
        let mut ready = connection.query(session).await.is_ok();
        connection.leave_search_path();
        while ready && !stop.load(Ordering::Relaxed) {
            // Two that exchange values may deadlock, and a restart ends the session.
            match connection.query("SELECT churn()").await {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                Err(error) => ready = error.sqlstate().is_some() && !error.is_unreachable(),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        connection.close().await;
    }
}

/// The handover's steps among the events.
pub(super) fn step(event: &Event) -> Option<StepName> {
    match event {
        Event::Step { step, .. } => Some(*step),
        _ => None,
    }
}
