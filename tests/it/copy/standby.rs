//! Pages read from a hot standby.

mod elsewhere;

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use pghost::{
    cluster::{Binaries, Server, StopMode},
    conn::Connection,
    migrate::{self, Event, Severity, Side},
};

use crate::{
    copy::rows_crossing_pages::words_from_a_standby,
    support::{
        Database, assert_same,
        login_servers::settings,
        migrate,
        moments::{Gate, beside, migrate_with, until},
        nothing_is_left_open, oldest_and_newest, server, spec, versions_to_test,
    },
};

/// A primary and its standby.
struct Pair {
    primary: Arc<Server>,
    standby: Arc<Server>,
}

/// Makes a standby by copying the primary's directory while it is stopped: not every release here
/// comes with pg_basebackup.
fn pair(binaries: &Binaries) -> Pair {
    // Recovery conflicts come at once; a vacuum that nobody asked for would end the tests' own queries.
    let at_once = [("max_standby_streaming_delay", "0"), ("hot_standby_feedback", "off")];
    let mut primary = Server::start(binaries, &[("autovacuum", "off")]).unwrap();
    let mut standby = Server::start(binaries, &at_once).unwrap();
    primary.stop(StopMode::Fast).unwrap();
    standby.stop(StopMode::Fast).unwrap();
    let (from, to) = (primary.data_dir(), standby.data_dir().to_owned());
    let settings = fs::read_to_string(to.join("pghost.conf")).unwrap();
    let aside = to.with_extension("aside");
    fs::rename(&to, &aside).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(aside).unwrap();
    let port = primary.port();
    let conninfo = format!("primary_conninfo = 'host=127.0.0.1 port={port} user=postgres'\n");
    // Written over, so that it keeps its owner.
    fs::write(to.join("pghost.conf"), settings + &conninfo).unwrap();
    fs::write(to.join("standby.signal"), "").unwrap();
    primary.start_again().unwrap();
    standby.start_again().unwrap();
    Pair { primary: Arc::new(primary), standby: Arc::new(standby) }
}

impl Pair {
    /// A database on both, and another on the primary that the table goes to.
    async fn databases(&self) -> (Database, Database, Database) {
        let from = Database::create(&self.primary, "standby").await;
        let to = Database::create(&self.primary, "standby").await;
        let on_standby = Database { server: self.standby.clone(), name: from.name.clone() };
        let maintenance = Database { server: self.standby.clone(), name: "postgres".into() };
        let is_there =
            format!("SELECT count(*) = 1 FROM pg_database WHERE datname = '{}'", from.name);
        until(&maintenance, &is_there).await;
        (from, to, on_standby)
    }
}

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text NOT NULL);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 20000) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_come_from_the_standby_once_it_has_replayed_the_slots_start() {
    for binaries in versions_to_test() {
        let pair = pair(&binaries);
        comes_from_the_standby(&pair, TABLE).await;
        // Read from the root, as the primary's are.
        let parted = TABLE.replacen(';', " PARTITION BY RANGE (id);
            CREATE TABLE low PARTITION OF source FOR VALUES FROM (0) TO (9000) PARTITION BY RANGE (id);
            CREATE TABLE lowest PARTITION OF low DEFAULT; CREATE TABLE rest PARTITION OF source DEFAULT;", 1);
        comes_from_the_standby(&pair, &parted).await;
    }
}

async fn comes_from_the_standby(pair: &Pair, table: &str) {
    let (from, to, standby) = pair.databases().await;
    from.sql(table).await;
    let is_there = "SELECT to_regclass('source') IS NOT NULL";
    until(&standby, is_there).await;
    // It receives all, and shows nothing newer for a while.
    standby.sql("SELECT pg_wal_replay_pause()").await;
    from.sql("INSERT INTO source SELECT i, 'late' FROM generate_series(20001, 20100) i").await;
    let mut spec = spec(&from, &to, "source", "target");
    spec.copy_from = Some(standby.config());
    spec.page_rows = Some(500);
    let mut waited = false;
    let events = migrate_with(&spec, |event: &Event| {
        if let Event::Notice { message } = event
            && message.contains("waiting for the standby")
        {
            waited = true;
            // The slot is there: what comes now is in it, and may be in pages too.
            crate::support::moments::now(
                from.sql("UPDATE source SET v = 'changed' WHERE id % 100 = 0"),
            );
            crate::support::moments::now(standby.sql("SELECT pg_wal_replay_resume()"));
        }
    });
    events.await.unwrap();
    assert!(waited);
    assert_same((&from, "source"), (&to, "target"), "id").await;
    // Pages tell where they were read: the standby's replay position is in the ledger.
    let start = to
        .value(
            "SELECT min(lsn) >= min(slot_start_lsn)
                                FROM pghost.page, pghost.migration",
        )
        .await;
    assert_eq!(start, "t");
    crate::support::moments::drop_slot(&from, &spec).await;
}

/// The primary drops the database while a page is under way. What the standby says of it is no end
/// that a server would come back from.
async fn its_primary_drops_the_database(pair: &Pair) {
    let (from, to, standby) = pair.databases().await;
    from.sql(TABLE).await;
    to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
    until(&standby, "SELECT to_regclass('source') IS NOT NULL").await;
    let mut spec = spec(&from, &to, "source", "target");
    (spec.page_rows, spec.copy_jobs) = (Some(100), 1);
    spec.copy_from = Some(standby.config());
    let gate = Gate::close(&to, "target", 1, "NEW.id = 550").await;
    let script = async {
        gate.reached().await;
        let [primary, replayed] =
            [&from, &standby].map(|db| Database { name: "postgres".into(), ..db.clone() });
        primary.sql(&format!("DROP DATABASE {} WITH (FORCE)", from.name)).await;
        let sql = format!("SELECT count(*) = 0 FROM pg_database WHERE datname = '{}'", from.name);
        until(&replayed, &sql).await;
        gate.open().await;
    };
    let failure = Box::pin(beside(&spec, |_| {}, script)).await.unwrap_err();
    assert_eq!((failure.exit.code(), failure.verdict), (1, migrate::Verdict::Stop), "{failure}");
    assert!(failure.message.contains("57P04"), "{failure}");
    assert!(failure.hint.contains("rename or restore the database"), "{failure}");
    nothing_is_left_open(&to.config()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_cross_bounds_and_the_database_goes_while_pages_come_from_the_standby() {
    for binaries in oldest_and_newest() {
        let pair = pair(&binaries);
        let (from, to, standby) = pair.databases().await;
        words_from_a_standby(&from, &to, &standby).await;
        its_primary_drops_the_database(&pair).await;
    }
}

/// The standby has the source's catalog, and an index by a collation of it, but a library of its
/// own; here it is the same, and what the catalog says of it is not.
async fn a_key_that_its_library_may_order_otherwise(pair: &Pair) {
    let (from, to, standby) = pair.databases().await;
    let mut connection = from.connect().await;
    let german = "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk')";
    if connection.query(german).await.is_err() {
        return; // a build without ICU
    }
    connection.close().await;
    from.sql(
        "CREATE TABLE source (k text COLLATE german PRIMARY KEY);
         CREATE TABLE other (id int PRIMARY KEY, k text COLLATE german);
         UPDATE pg_collation SET collversion = 'old' WHERE collname = 'german'",
    )
    .await;
    let is_there = "SELECT EXISTS (SELECT FROM pg_collation WHERE collversion = 'old')";
    until(&standby, is_there).await;
    for (table, refused) in [("source", true), ("other", false)] {
        let mut spec = spec(&from, &to, table, "target");
        spec.copy_from = Some(standby.config());
        let checked = migrate::check(&spec).await.unwrap();
        let on = |side: Side| {
            let is_it = |f: &&migrate::Finding| {
                f.about == "collation" && f.server == side && f.severity == Severity::Refused
            };
            checked.findings.iter().find(is_it)
        };
        for side in [Side::Source, Side::Standby] {
            assert_eq!(on(side).is_some(), refused, "{table}, {side:?}: {:#?}", checked.findings);
        }
        if let Some(finding) = on(Side::Standby) {
            assert!(
                finding.message.contains("german") && finding.message.contains("old"),
                "{finding:?}"
            );
            assert!(finding.hint.as_ref().unwrap().contains("--copy-from"), "{finding:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_the_standby_gives_up_is_read_again() {
    for (turn, binaries) in versions_to_test().iter().enumerate() {
        let pair = pair(binaries);
        let (from, to, standby) = pair.databases().await;
        // A page of 20 MB, more than sockets hold: its snapshot stands while the target waits.
        from.sql(
            "CREATE TABLE source (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
             INSERT INTO source SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i",
        )
        .await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
        until(&standby, "SELECT to_regclass('source') IS NOT NULL").await;
        let mut spec = spec(&from, &to, "source", "target");
        spec.copy_from = Some(standby.config());
        spec.page_rows = Some(1_000_000);
        let gate = Gate::close(&to, "target", 1, "NEW.id = 100").await;
        // What the target lets the page wait for is no time of its snapshot.
        let (mut holder, mut began) = (to.connect().await, Instant::now());
        if turn == 0 {
            holder.query("BEGIN; LOCK TABLE target IN EXCLUSIVE MODE").await.unwrap();
        }
        let script = async {
            if turn == 0 {
                until(&to, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                began = Instant::now();
                holder.query("ROLLBACK").await.unwrap();
            }
            gate.reached().await;
            // A lock that the page's own on the standby is in the way of; replay waits for nobody.
            from.sql("UPDATE source SET v = 'changed' WHERE id % 50 = 0").await;
            from.sql("BEGIN; LOCK TABLE source; COMMIT").await;
            let end = from.value("SELECT pg_current_wal_flush_lsn()").await;
            // A session that can't be told, because it waits for us to read, holds replay up; one
            // that can be is ended.
            let conflict = format!(
                "SELECT pg_last_wal_receive_lsn() >= '{end}' AND pg_last_wal_replay_lsn() < '{end}'
                     OR confl_lock > 0
                   FROM pg_stat_database_conflicts WHERE datname = current_database()"
            );
            until(&standby, &conflict).await;
            gate.open().await;
        };
        let events = Box::pin(beside(&spec, |_| {}, script)).await.unwrap();
        let Some(Event::Finished { longest_snapshot_seconds, .. }) = events.last() else {
            panic!("not finished: {events:?}");
        };
        let most = began.elapsed().as_secs_f64();
        assert!(*longest_snapshot_seconds <= most, "{longest_snapshot_seconds} of {most}");
        holder.close().await;
        let conflicts = "SELECT confl_lock > 0 FROM pg_stat_database_conflicts
                          WHERE datname = current_database()";
        until(&standby, conflicts).await;
        assert_same((&from, "source"), (&to, "target"), "id").await;
        crate::support::moments::drop_slot(&from, &spec).await;
    }
}

#[tokio::test]
async fn only_a_standby_of_the_source_will_do() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let pair = pair(&binaries);
    let (from, to, standby) = pair.databases().await;
    from.sql(TABLE).await;
    until(&standby, "SELECT to_regclass('source') IS NOT NULL").await;
    let other = Database::create(&server(&binaries), "stranger").await;
    let mut spec = spec(&from, &to, "source", "target");
    for (config, words) in [
        (other.config(), "no standby of the source"),
        (from.config(), "not a standby"),
        (settings(&standby.server.dsn("postgres")), "names the database postgres"),
    ] {
        spec.copy_from = Some(config);
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit.code(), 2, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    let mut connection: Connection = to.connect().await;
    let made = "SELECT to_regnamespace('pghost') IS NULL AS untouched";
    let result = connection.query(made).await.unwrap();
    assert!(result.row().unwrap().get::<bool>("untouched").unwrap());
    a_key_that_its_library_may_order_otherwise(&pair).await;
}

#[tokio::test]
async fn no_page_is_taken_from_a_standby_that_was_promoted_meanwhile() {
    for binaries in versions_to_test() {
        let pair = pair(&binaries);
        let (from, to, standby) = pair.databases().await;
        from.sql(TABLE).await;
        to.sql("CREATE TABLE target (id int PRIMARY KEY, v text)").await;
        until(&standby, "SELECT to_regclass('source') IS NOT NULL").await;
        until(&standby, "SELECT count(*) > 0 FROM source").await;
        let mut spec = spec(&from, &to, "source", "target");
        spec.copy_from = Some(standby.config());
        spec.page_rows = Some(100);
        spec.copy_jobs = 1;
        let gate = Gate::close(&to, "target", 1, "NEW.id = 150").await;
        let script = async {
            gate.reached().await;
            standby.sql("SELECT pg_promote()").await;
            // Rows of a history that the source knows nothing of.
            standby.sql("UPDATE source SET v = 'another history'").await;
            gate.open().await;
        };
        let failure = Box::pin(beside(&spec, |_| {}, script)).await.unwrap_err();
        assert_eq!(failure.exit.code(), 1, "{failure}");
        assert!(failure.message.contains("promoted"), "{failure}");
        // It goes on with the source's own pages.
        spec.copy_from = None;
        migrate(&spec).await.unwrap();
        assert_same((&from, "source"), (&to, "target"), "id").await;
        crate::support::moments::drop_slot(&from, &spec).await;
    }
}
