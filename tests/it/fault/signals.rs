//! Signals to the program itself, while it is held by something that does not end: the first one
//! is heeded at the next safe point, the second one at once.

use pghost::conn::Connection;

use crate::support::{
    bed::Bed,
    moments::{Gate, until},
    oldest_and_newest,
    own_servers::Two,
    program::{Program, enters, is},
    proxy::Proxy,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, 'row ' || i FROM generate_series(1, 4000) i";

const STOPPING: &str = "stopping at the next safe point";

/// A commit that is on its way to the target, which a lock holds up, is waited for; but not for
/// whoever says so twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_signal_ends_a_run_that_is_held_at_once() {
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "signals", TABLE).await;
        let Bed { from, to, .. } = &bed;
        let args = ["--table", "source=target", "--name", &from.name];
        Program::migrate(from, to, &args).ends_with(0).await;
        let follow = [&args[..], &["--then", "follow"]].concat();
        for (number, (first, second)) in
            [("-INT", "-INT"), ("-TERM", "-TERM"), ("-INT", "-TERM")].into_iter().enumerate()
        {
            let number = u32::try_from(number).unwrap();
            let when = format!("NEW.v = 'held {number}'");
            let gate = Gate::close(to, "target", number, &when).await;
            let mut run = Program::migrate(from, to, &follow);
            run.event(|event| enters(event, "follow")).await;
            from.sql(&format!("UPDATE source SET v = 'held {number}' WHERE id = 7")).await;
            run.meets(gate.reached()).await;
            run.signal(first);
            run.note(STOPPING).await;
            run.signal(second);
            // The gate is still closed.
            let ended = run.ends_with(1).await;
            assert!(!ended.events.iter().any(|event| is(event, "finished")), "{:?}", ended.events);
            gate.open().await;
            Program::migrate(from, to, &args).ends_with(0).await.finished();
            bed.is_equal().await;
        }
        bed.ends().await;
    }
}

/// An index is being built: the build is ended on the server too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_told_to_stop_while_it_builds_an_index_stops_and_goes_on() {
    let held = "CREATE FUNCTION held(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(7); RETURN id; END $$";
    for binaries in oldest_and_newest() {
        let bed = Bed::make(&binaries, "finishes", TABLE).await;
        let Bed { from, to, .. } = &bed;
        from.sql(&format!("{held}; CREATE INDEX ON source (held(id))")).await;
        to.sql(held).await;
        let mut holder: Connection = to.connect().await;
        holder.query("SELECT pg_advisory_lock(7)").await.unwrap();
        let builds = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'
            AND datname = current_database() AND wait_event_type = 'Lock'";
        let args = ["--table", "source=target", "--name", &from.name];
        let mut run = Program::migrate(from, to, &args);
        run.event(|event| enters(event, "finish")).await;
        run.meets(until(to, builds)).await;
        run.signal("-TERM");
        let ended = run.ends_with(1).await;
        assert_eq!(ended.error()["message"], "interrupted");
        until(to, &format!("SELECT NOT ({builds})")).await;
        holder.query("SELECT pg_advisory_unlock(7)").await.unwrap();
        Program::migrate(from, to, &args).ends_with(0).await.finished();
        let indexes =
            "SELECT count(*) FROM pg_index WHERE indrelid = 'target'::regclass AND indisvalid";
        assert_eq!(to.value(indexes).await, "2");
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_told_to_stop_while_it_compares_stops_and_goes_on() {
    for binaries in oldest_and_newest() {
        let two = Two::start(&binaries);
        two.source.sql(TABLE).await;
        let proxy = Proxy::start(two.target.port).await;
        let (from, to) = (two.source.dsn(), two.target.dsn_by(proxy.port));
        let args =
            ["--table", "source=target", "--name", "compares", "--verify", "--page-rows", "2"];
        let mut run = Program::migrate_between(from, &to, &args);
        run.event(|event| enters(event, "verify")).await;
        proxy.hold(true);
        run.signal("-TERM");
        run.note(STOPPING).await;
        proxy.hold(false);
        let ended = run.ends_with(1).await;
        assert_eq!(ended.error()["message"], "interrupted");
        assert!(!ended.events.iter().any(|event| is(event, "verified")), "{:?}", ended.events);
        let ended = Program::migrate_between(from, &to, &args[..5]).ends_with(0).await;
        assert!(ended.events.iter().any(|event| is(event, "verified")), "{:?}", ended.events);
        two.nothing_is_left_open().await;
    }
}
