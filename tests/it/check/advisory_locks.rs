//! Advisory locks of pghost's names in the hands of somebody else: anybody who can connect may take
//! them. No run waits for one without a word and an end, and who holds it is told as what it is.

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    conn::{Connection, parse_dsn},
    migrate::{Event, Exit, Failure, StepName},
};

use crate::support::{
    Database,
    bed::Bed,
    connect, migrate,
    moments::{migrate_with, now},
    oldest_and_newest, status, whole_log,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 100) i";

async fn make_bed(binaries: &Binaries) -> Bed {
    let bed = Bed::make(binaries, "held", TABLE).await;
    bed.from.sql(&format!("CREATE ROLE low_{} LOGIN", bed.from.name)).await;
    bed
}

impl Bed {
    /// A session of a role that may only connect.
    async fn low(&self, database: &Database) -> Connection {
        let dsn = database.dsn_as(&format!("low_{}", self.from.name));
        connect(&parse_dsn(&dsn).unwrap()).await
    }

    /// It is refused, and told who holds the lock; that is not called a pghost.
    fn names_low(&self, failure: &Failure, pid: i32) {
        let text = failure.to_string();
        let who = format!("pid {pid} (role low_{}, application_name \"", self.from.name);
        assert!(text.contains(&who), "{who}: {text}");
        assert!(!text.contains("another pghost"), "{text}");
        assert!(text.contains(&format!("pg_terminate_backend({pid})")), "{text}");
    }
}

/// Holds one of pghost's locks, as low or as anybody.
async fn hold(session: &mut Connection, how: &str, what: &str) {
    let lock = format!("SELECT {how}(hashtextextended('pghost {what}', 0)) AS got");
    session.query(&lock).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_a_migrations_lock_is_named() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let mut low = bed.low(&bed.to).await;
        let pid = low.process_id();
        let name = bed.from.name.clone();
        hold(&mut low, "pg_advisory_lock", &format!("migration {name}")).await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        bed.names_low(&failure, pid);
        low.close().await;
        migrate(&bed.spec).await.unwrap();
        // Nor if it says that it is one: it could not write to the ledger.
        let mut low = bed.low(&bed.to).await;
        low.query("SET application_name = 'pghost'").await.unwrap();
        hold(&mut low, "pg_advisory_lock", &format!("migration {name}")).await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        bed.names_low(&failure, low.process_id());
        assert!(!status(&bed.to.config(), None).await.unwrap()[0].running);
        low.close().await;
        // The slot's lock, on the source.
        let mut low = bed.low(&bed.from).await;
        hold(&mut low, "pg_advisory_lock", &format!("slot pghost_{name}")).await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        bed.names_low(&failure, low.process_id());
        low.close().await;
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_the_writers_lock_is_named_and_waited_for_only_so_long() {
    for binaries in oldest_and_newest() {
        let mut bed = make_bed(&binaries).await;
        bed.spec.wait_for_server = Duration::ZERO;
        let writer = format!("writer {}", bed.from.name);
        let mut low = bed.low(&bed.to).await;
        let pid = low.process_id();
        hold(&mut low, "pg_advisory_lock", &writer).await;
        let mut notices = Vec::new();
        let failure = migrate_with(&bed.spec, |event| {
            if let Event::Notice { message } = event {
                notices.push(message.clone());
            }
        });
        let failure = failure.await.map(drop).unwrap_err();
        bed.names_low(&failure, pid);
        let told = notices.iter().any(|text| text.contains(&format!("pid {pid} (role low_")));
        assert!(told && !notices.concat().contains("an earlier run's"), "{notices:?}");
        low.close().await;
        // It is taken once a run has looked: its sessions don't wait for it.
        let mut low = Some(bed.low(&bed.to).await);
        let ended = migrate_with(&bed.spec, |event| {
            if matches!(event, Event::Step { step: StepName::LedgerMade, .. }) {
                now(hold(low.as_mut().unwrap(), "pg_advisory_lock", &writer));
            }
        });
        let failure = ended.await.map(drop).unwrap_err();
        let pid = low.as_ref().unwrap().process_id();
        bed.names_low(&failure, pid);
        low.take().unwrap().close().await;
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}

/// And gives back nothing that it has not taken, of which the server would warn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_runs_writer_is_waited_for_without_a_warning() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let mut earlier = Some(bed.to.connect().await);
        let writer = format!("writer {}", bed.from.name);
        let session = earlier.as_mut().unwrap();
        session.query("SET application_name = 'pghost'").await.unwrap();
        hold(session, "pg_advisory_lock_shared", &writer).await;
        let mut told = false;
        let ended = migrate_with(&bed.spec, |event| {
            if let Event::Notice { message } = event
                && message.contains("an earlier run's sessions")
            {
                told = true;
                now(earlier.take().unwrap().close());
            }
        });
        ended.await.unwrap();
        assert!(told);
        let log = whole_log(&bed.to.server);
        assert!(!log.contains("you don't own a lock"));
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_the_ledgers_lock_is_named_before_anything_is_made() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let mut low = bed.low(&bed.to).await;
        hold(&mut low, "pg_advisory_lock", "ledger").await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        bed.names_low(&failure, low.process_id());
        let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(bed.to.value(made).await, "0");
        let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(bed.from.value(slots).await, "0");
        low.close().await;
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readers_lock_is_not_waited_for() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let mut low = bed.low(&bed.from).await;
        hold(&mut low, "pg_advisory_lock", &format!("reader {}", bed.from.name)).await;
        migrate(&bed.spec).await.unwrap();
        low.close().await;
        bed.ends().await;
    }
}
