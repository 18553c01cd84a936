//! The lines of the table of verdicts that are no code which a target can be made to raise: at the
//! slot, on the wire, and where the two sides do not fit. What becomes of the run is what the table
//! says, in its words; nothing is left open; and doing what it says helps.

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    conn::{Connection, SessionKind, parse_dsn},
    ledger::{Ledger, MigrationName},
    migrate::{
        Event, Exit, Failure, MigrationSpec, PhaseName,
        verdict::{Place, RULES, Sign, rule_of},
    },
    pg::Ident,
    replication::{StreamOptions, start},
};
use tokio::sync::watch;

use crate::{
    check::refusals::refused,
    fault::killed_at_events::forget,
    support::{
        Database,
        bed::Bed,
        limit::within,
        migrate,
        moments::{begins, migrate_with, now},
        nothing_is_left_open, oldest_and_newest,
        own_servers::{Own, Two},
        proxy::Proxy,
    },
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 600) i";

impl Bed {
    /// A run, with something done as it begins to catch up.
    async fn with<F>(&self, what: impl FnOnce() -> F + Send) -> Result<Vec<Event>, Failure>
    where
        F: Future<Output = ()> + Send,
    {
        self.when(|event| begins(event, PhaseName::CatchUp), what).await
    }

    /// The same at another moment.
    async fn when<F>(
        &self,
        is_time: impl Fn(&Event) -> bool + Send + Sync,
        what: impl FnOnce() -> F + Send,
    ) -> Result<Vec<Event>, Failure>
    where
        F: Future<Output = ()> + Send,
    {
        let mut what = Some(what);
        migrate_with(&self.spec, |event| {
            if is_time(event)
                && let Some(what) = what.take()
            {
                now(what());
            }
        })
        .await
    }

    /// It has ended as the table says.
    async fn judged(&self, sign: Sign, place: Place, ended: Result<Vec<Event>, Failure>) -> String {
        let message = as_the_table_says(sign, place, ended);
        self.nothing_is_left_open().await;
        message
    }

    async fn goes_on(self) {
        for _ in 0..2 {
            migrate(&self.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
        self.ends().await;
    }
}

/// Panics unless it has; gives the message.
pub(crate) fn as_the_table_says(
    sign: Sign,
    place: Place,
    ended: Result<Vec<Event>, Failure>,
) -> String {
    let failure = ended.map(|_| "it ended well").unwrap_err();
    let rule = RULES.iter().find(|rule| rule.sign == sign && rule.place == place).unwrap();
    assert_eq!(failure.exit, Exit::from(rule.verdict), "{failure}");
    assert_eq!(failure.hint, rule.next, "{failure}");
    if let Sign::State(code) = sign {
        assert!(failure.message.contains(code), "no {code} in {failure}");
    }
    failure.message
}

/// Any line, as long as nothing was made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_before_anything_was_made_is_refused() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "judged", TABLE).await;
        let mut spec = bed.spec.clone();
        spec.target.dbname = "nowhere".into();
        let at_first = rule_of(Sign::AtFirst);
        assert_eq!(Exit::from(at_first.verdict), Exit::Refused);
        refused(&bed.from, &bed.to, &spec, &["3D000", at_first.next]).await;
        bed.nothing_is_left_open().await;
    }
}

/// Something is done to the slot just before it is read. If the watch over it looks in between, it is
/// the one that tells, and another run is made.
async fn the_slot_is_met(binaries: &Binaries, harm: &str, sign: Sign) {
    for _ in 0..20 {
        let bed = Bed::make(binaries, "judged", TABLE).await;
        let slot = format!("pghost_{}", bed.from.name);
        let harm = harm.replace("SLOT", &format!("'{slot}'"));
        let ended = bed.with(async || drop(bed.from.sql(&harm).await)).await;
        let by_watch = ended.as_ref().is_err_and(|failure| failure.sqlstate.is_none());
        bed.judged(if by_watch { Sign::Slot } else { sign }, Place::Slot, ended).await;
        let left = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        bed.from.sql(&format!("{left} WHERE slot_name = '{slot}'")).await;
        if !by_watch {
            return;
        }
    }
    panic!("the watch was always the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_dropped_before_it_is_read_cannot_be_made_good() {
    for binaries in oldest_and_newest() {
        let drops = "SELECT pg_drop_replication_slot(SLOT)";
        the_slot_is_met(&binaries, drops, Sign::State("42704")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_is_dropped_in_mid_run_cannot_be_made_good() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "judged", TABLE).await;
        let is_time = |event: &Event| matches!(event, Event::Progress { .. });
        let ended = bed.when(is_time, async || {
            bed.from.sql(&format!("DROP PUBLICATION \"pghost_{}\"", bed.from.name)).await;
            bed.from.sql("DELETE FROM source WHERE id < 10").await;
        });
        let message = bed.judged(Sign::Slot, Place::Slot, ended.await).await;
        assert!(message.contains("has no publication"), "{message}");
        forget(&bed.spec).await;
    }
}

/// Dropped, and a physical one made in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_of_another_kind_is_not_ours() {
    for binaries in oldest_and_newest() {
        let harm = "SELECT pg_drop_replication_slot(SLOT);
            SELECT pg_create_physical_replication_slot(SLOT)";
        the_slot_is_met(&binaries, harm, Sign::State("55000")).await;
    }
}

/// Somebody reads the slot and acknowledges nothing: it is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_another_session_reads_is_waited_for() {
    for binaries in oldest_and_newest() {
        let mut bed = Bed::make(&binaries, "judged", TABLE).await;
        migrate(&bed.spec).await.unwrap();
        bed.from.sql("UPDATE source SET v = v || '!'").await;
        let slot = format!("pghost_{}", bed.from.name);
        let config = bed.from.config();
        let walsender = Connection::connect(&config, SessionKind::Replication).await.unwrap();
        let options = StreamOptions::plain(vec![Ident::new(&slot)]);
        let mut ledger = bed.to.connect().await;
        let name = MigrationName::new(&bed.spec.ledger, bed.spec.name.clone().unwrap());
        let from = Ledger::of(&mut ledger, &name).durable_position().await.unwrap();
        let mut reader = Some(start(walsender, &slot, &options, from).await.unwrap());
        bed.spec.stall = Duration::from_secs(1);
        let mut reasons = Vec::new();
        let ended = migrate_with(&bed.spec, |event| {
            if let Event::Waiting { reason, .. } = event {
                reasons.push(reason.clone());
                drop(reader.take_if(|_| reason.contains("55006")));
            }
        });
        ended.await.unwrap();
        assert!(reader.is_none(), "{reasons:?}");
        ledger.close().await;
        bed.goes_on().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_somebody_else_writes_to_stops_the_run() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "judged", TABLE).await;
        migrate(&bed.spec).await.unwrap();
        bed.to.sql("DELETE FROM target WHERE id = 7").await;
        bed.from.sql("UPDATE source SET v = 'changed' WHERE id < 10").await;
        let ended = migrate(&bed.spec).await;
        let message = bed.judged(Sign::Diverged, Place::Anywhere, ended).await;
        assert!(message.contains("public.target"), "{message}");
        bed.to.sql("INSERT INTO target VALUES (7, 'row 7')").await;
        bed.goes_on().await;
    }
}

/// Of either side. The source's slot goes with its database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_dropped_in_mid_run_stops_it() {
    for binaries in oldest_and_newest() {
        for is_source in [true, false] {
            let bed = Bed::make(&binaries, "judged", TABLE).await;
            let (gone, left) = if is_source { (&bed.from, &bed.to) } else { (&bed.to, &bed.from) };
            let postgres = Database { name: "postgres".into(), ..gone.clone() };
            let is_time = |event: &Event| matches!(event, Event::Progress { .. });
            let ended = bed.when(is_time, async || {
                postgres.sql(&format!("DROP DATABASE \"{}\" WITH (FORCE)", gone.name)).await;
            });
            as_the_table_says(Sign::State("3D000"), Place::Anywhere, ended.await);
            nothing_is_left_open(&left.config()).await;
            let slots =
                "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
                          WHERE database = current_database()";
            assert_eq!(left.value(slots).await, if is_source { "0" } else { "1" });
        }
    }
}

/// Fires whoever writes.
const KEEPS_AWAY: &str = "
    CREATE FUNCTION keeps_away() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER keeps_away BEFORE INSERT ON target FOR EACH ROW
        WHEN (NEW.id IN (599, -777)) EXECUTE FUNCTION keeps_away();
    ALTER TABLE target ENABLE ALWAYS TRIGGER keeps_away";

/// In a page; among the changes before the checkpoint, and after it; in batches of few rows and of
/// many. One that comes in mid-run is seen before it fires; one that somebody has made since the
/// target was exact is told by what it keeps away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_keeps_rows_away_stops_the_run() {
    const MANY: &str = "INSERT INTO source SELECT i, 'new' FROM generate_series(-1300, -700) i";
    const FEW: &str = "INSERT INTO source VALUES (-776, 'new'), (-777, 'new')";
    for binaries in oldest_and_newest() {
        for (in_page, is_exact, changes) in [
            (true, false, "SELECT"),
            (false, false, FEW),
            (false, false, MANY),
            (false, true, FEW),
            (false, true, MANY),
        ] {
            let mut bed = Bed::make(&binaries, "judged", TABLE).await;
            (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(10), 1);
            let mut sign = Sign::Reshaped;
            if is_exact {
                migrate(&bed.spec).await.unwrap();
                bed.to.sql(KEEPS_AWAY).await;
                sign = Sign::Counts;
            }
            let mut pages = 0;
            let ended = migrate_with(&bed.spec, |event| {
                let catches_up = begins(event, PhaseName::CatchUp);
                let first = matches!(event, Event::Progress { .. }) && pages == 0;
                pages += u32::from(first);
                // Keys of the first page, which is copied.
                if if is_exact { catches_up } else { first } {
                    now(bed.from.sql(changes));
                }
                if !is_exact && if in_page { first } else { catches_up } {
                    now(bed.to.sql(KEEPS_AWAY));
                }
            });
            let message = bed.judged(sign, Place::Anywhere, ended.await).await;
            assert!(message.contains("public.target"), "{message}");
            // No position has gone on without the rows: once they may, they come.
            bed.to.sql("DROP TRIGGER keeps_away ON target").await;
            bed.goes_on().await;
        }
    }
}

/// One bit of damage on the way, where nothing protects it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_damaged_on_the_way_stops_the_run() {
    for binaries in oldest_and_newest() {
        let mut bed = Bed::make(&binaries, "judged", TABLE).await;
        let proxy = Proxy::start(bed.from.server.port()).await;
        let by_proxy = format!("{}?sslmode=disable", bed.from.dsn_by(proxy.port));
        bed.spec.source = parse_dsn(&by_proxy).unwrap();
        let ended = bed.with(async || proxy.damage()).await;
        bed.judged(Sign::Garbled, Place::Anywhere, ended).await;
        bed.spec.source = bed.from.config();
        bed.goes_on().await;
    }
}

/// A commit that is in the log and waits for a synchronous standby, which never comes; a big value
/// that the log does not hold would have to be fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_the_source_does_not_show_is_waited_for() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        let table = "CREATE TABLE source (id int PRIMARY KEY, v text);
            ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
            INSERT INTO source SELECT i, repeat(i::text, 3000) FROM generate_series(1, 20) i";
        two.source.sql(table).await;
        let spec = MigrationSpec { stall: Duration::from_secs(1), ..two.spec() };
        let (tell, mut waits) = watch::channel(String::new());
        let mut mover = None;
        let run = migrate_with(&spec, |event| {
            if let Event::Progress { .. } = event
                && mover.is_none()
            {
                mover = Some(now(moves_unseen(&two.source)));
            }
            if let Event::Waiting { reason, .. } = event {
                tell.send_replace(reason.clone());
            }
        });
        let script = async {
            let unseen = waits.wait_for(|reason| reason.contains("does not show it for 1 s"));
            drop(within("waiting for what is not shown", unseen).await.unwrap());
            two.source.standby_names("").await;
        };
        let (ended, ()) = tokio::join!(run, script);
        ended.unwrap();
        mover.unwrap().await.unwrap();
        migrate_with(&spec, |_| {}).await.unwrap();
        two.are_equal().await;
        two.nothing_is_left_open().await;
    }
}

/// Moves a row in a transaction that is logged, and shown once nobody waits for a standby any more.
async fn moves_unseen(source: &Own) -> tokio::task::JoinHandle<()> {
    source.standby_names("nobody").await;
    let of_task = source.clone();
    let mover = tokio::spawn(async move {
        of_task.sql("UPDATE source SET id = 100 WHERE id = 5").await;
    });
    source.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
    mover
}
