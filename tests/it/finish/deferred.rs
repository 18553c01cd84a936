//! `--defer-indexes`: what an existing target goes without until the checkpoint comes back as it
//! was, whatever ends a run in between.

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    conn::Connection,
    migrate::{CleanupSpec, Event, Exit, MigrationSpec, TableSpec, cleanup, run},
    pg::QualifiedName,
};
use tokio::sync::watch;

use crate::{
    finish::objects::{assert_says, beside, everything, load, notices, says},
    support::{
        Database, assert_same, migrate,
        moments::{Gate, beside as beside_run, drop_slot, until},
        nothing_is_left_open,
        program::{Program, enters},
        server, some_releases, spec,
    },
};

/// Two databases with the same table; on the target it is empty.
async fn bed(binaries: &Binaries) -> (Database, Database, MigrationSpec) {
    let server = server(binaries);
    let from = Database::create(&server, "deferred").await;
    let to = Database::create(&server, "deferred").await;
    let role = format!("role of {}", from.name);
    for database in [&from, &to] {
        database.sql(&beside(&role)).await;
        database.sql(&everything("t", &role)).await;
    }
    to.sql("TRUNCATE t").await;
    let mut spec = spec(&from, &to, "t", "t");
    spec.page_rows = Some(300);
    spec.defer_indexes = true;
    (from, to, spec)
}

const SECONDARY: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass),
    (SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype IN ('f', 'x', 'u')))";

fn cleanup_spec(from: &Database, to: &Database, dry_run: bool) -> CleanupSpec {
    let (source, target) = (from.config(), to.config());
    CleanupSpec { dry_run, ..CleanupSpec::new(source, target, &from.name) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_dropped_comes_back_as_it_was() {
    for binaries in some_releases() {
        let (from, to, spec) = bed(&binaries).await;
        to.sql(
            "CREATE UNIQUE INDEX t_ri ON t (a); ALTER TABLE t REPLICA IDENTITY USING INDEX t_ri",
        )
        .await;
        let before = says(&to, "t").await;
        assert_ne!(to.value(SECONDARY).await, "1 0");
        let writers = load(&from, "t");
        let gate = Gate::close(&to, "t", 1, "NEW.id = 700").await;
        let with_gate = says(&to, "t").await;
        let script = async {
            gate.reached().await;
            assert_eq!(to.value(SECONDARY).await, "1 0");
            assert_eq!(
                to.value("SELECT relreplident FROM pg_class WHERE oid = 't'::regclass").await,
                "f"
            );
            gate.open().await;
        };
        let events =
            beside_run(&spec, |_| {}, script).await.unwrap_or_else(|failure| panic!("{failure}"));
        let told =
            notices(&events).into_iter().find(|n| n.contains("until the checkpoint")).unwrap();
        assert!(
            told.contains("public.t") && told.contains("t_unique") && told.contains("to_other"),
            "{told}"
        );
        assert_says(&with_gate, &says(&to, "t").await);
        to.sql("ALTER TABLE t DROP CONSTRAINT gate_1").await;
        assert_says(&before, &says(&to, "t").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        writers.stop().await;
        nothing_is_left_open(&to.config()).await;
        assert!(notices(&migrate(&spec).await.unwrap()).is_empty());
        assert_says(&before, &says(&to, "t").await);
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_dropped_is_refused_and_all_is_as_before() {
    for binaries in some_releases() {
        let (from, to, spec) = bed(&binaries).await;
        to.sql("ALTER TABLE t DROP CONSTRAINT t_unique, ADD CONSTRAINT t_unique UNIQUE (b, a);
                CREATE TABLE refers (b int, a int, CONSTRAINT refers_to_t FOREIGN KEY (b, a) REFERENCES t (b, a))")
            .await;
        let before = says(&to, "t").await;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("refers_to_t"), "{failure}");
        assert_says(&before, &says(&to, "t").await);
        let ledger = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(to.value(ledger).await, "0");

        // Without the option all is in the way, and the hint says so.
        let mut plain = spec.clone();
        plain.defer_indexes = false;
        let failure = migrate(&plain).await.unwrap_err();
        assert!(failure.hint.contains("--defer-indexes"), "{failure}");
        assert_eq!(failure.exit, Exit::Refused);
        // Indexes that are not unique are no obstacle, and stay.
        to.sql("ALTER TABLE t DROP CONSTRAINT t_unique CASCADE, DROP CONSTRAINT t_span, DROP CONSTRAINT up,
                    DROP CONSTRAINT to_other, DROP CONSTRAINT \"loose key\"; DROP INDEX t_note").await;
        let before = says(&to, "t").await;
        migrate(&plain).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_says(&before, &says(&to, "t").await);
        drop_slot(&from, &spec).await;
    }
}

/// Two tables, one of which refers to what the other goes without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_refer_to_each_other_go_without_together() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "together").await;
        let to = Database::create(&server, "together").await;
        let tables = "CREATE TABLE one (id int PRIMARY KEY, code text CONSTRAINT code UNIQUE);
            CREATE TABLE two (id int PRIMARY KEY, code text CONSTRAINT of_one REFERENCES one (code) ON UPDATE CASCADE)";
        from.sql(tables).await;
        to.sql(tables).await;
        from.sql(
            "INSERT INTO one SELECT i, 'c' || i FROM generate_series(1, 500) i;
                  INSERT INTO two SELECT i, 'c' || i FROM generate_series(1, 500) i",
        )
        .await;
        let named = |name: &str| {
            let name = QualifiedName::new("public", name);
            TableSpec { source: name.clone(), target: name }
        };
        let mut spec = spec(&from, &to, "one", "one");
        spec.tables = vec![named("one"), named("two")];
        spec.defer_indexes = true;
        let before = (says(&to, "one").await, says(&to, "two").await);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_says(&before.0, &says(&to, "one").await);
        assert_says(&before.1, &says(&to, "two").await);
        drop_slot(&from, &spec).await;
    }
}

/// Holds the making of the slot: it waits for every open transaction.
async fn hold_the_slot(from: &Database) -> Connection {
    let mut holder = from.connect().await;
    holder.query("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    holder
}

/// Before the first page: undone by the run itself, by the next one, or by a cleanup.
#[tokio::test]
async fn before_the_first_page_all_comes_back_at_once() {
    for binaries in some_releases() {
        let (from, to, _) = bed(&binaries).await;
        let before = says(&to, "t").await;
        let args = ["--table", "t", "--name", &from.name, "--defer-indexes"];
        let bare = "SELECT count(*) = 1 FROM pg_index WHERE indrelid = 't'::regclass";
        let no_writers = "SELECT count(*) = 0 FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pghost'";

        let mut holder = hold_the_slot(&from).await;
        let mut run = Program::migrate(&from, &to, &args);
        run.meets(until(&to, bare)).await;
        run.signal("-INT");
        run.ends_with(1).await;
        assert_says(&before, &says(&to, "t").await);

        let mut run = Program::migrate(&from, &to, &args);
        run.meets(until(&to, bare)).await;
        run.kill();
        holder.query("ROLLBACK").await.unwrap();
        until(&to, no_writers).await;
        until(&from, no_writers).await;
        let would = cleanup(&cleanup_spec(&from, &to, true)).await.unwrap();
        assert_eq!(to.value(bare).await, "t");
        let done = cleanup(&cleanup_spec(&from, &to, false)).await.unwrap();
        assert_eq!(would, done);
        assert!(done.made_again[0].contains("t_unique") && done.left.is_empty(), "{done:?}");
        assert_says(&before, &says(&to, "t").await);

        holder.query("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
        let mut run = Program::migrate(&from, &to, &args);
        run.meets(until(&to, bare)).await;
        run.kill();
        holder.query("ROLLBACK").await.unwrap();
        Program::migrate(&from, &to, &args).ends_with(0).await.finished();
        assert_says(&before, &says(&to, "t").await);
        assert_same((&from, "t"), (&to, "t"), "id").await;
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}

/// A request to cancel that comes before the statement does nothing; so the next one must follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_told_to_stop_just_before_it_makes_the_slot_does() {
    for binaries in some_releases() {
        let (from, to, spec) = bed(&binaries).await;
        let before = says(&to, "t").await;
        let mut holder = hold_the_slot(&from).await;
        for _ in 0..8 {
            let (stop, interrupt) = watch::channel(false);
            let mut on = |event: &Event| {
                if let Event::Notice { message } = event
                    && message.starts_with("dropped until")
                {
                    stop.send_replace(true);
                }
            };
            let failure = run(&spec, interrupt, &mut on).await.unwrap_err();
            assert_eq!(failure.message, "interrupted");
            assert_says(&before, &says(&to, "t").await);
        }
        holder.query("ROLLBACK").await.unwrap();
    }
}

/// Killed in a page, then while an index is built; and cleaned up in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_between_dropping_and_building_goes_on() {
    for binaries in some_releases() {
        let (from, to, _) = bed(&binaries).await;
        let slow = "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(77); RETURN n; END $$;
             CREATE INDEX t_slow ON t (slow(a))";
        to.sql(slow).await;
        let before = says(&to, "t").await;
        let gate = Gate::close(&to, "t", 1, "NEW.id = 700").await;
        let args = ["--table", "t", "--name", &from.name, "--defer-indexes", "--page-rows", "300"];
        let mut run = Program::migrate(&from, &to, &args);
        run.meets(gate.reached()).await;
        run.kill();
        gate.open().await;
        to.sql("ALTER TABLE t DROP CONSTRAINT gate_1").await;
        from.sql(
            "UPDATE t SET note = 'while it was dead' WHERE id % 50 = 0; DELETE FROM t WHERE id = 9",
        )
        .await;

        let mut holder = to.connect().await;
        holder.query("SELECT pg_advisory_lock(77)").await.unwrap();
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'
            AND datname = current_database() AND query LIKE 'CREATE INDEX%'";
        // The name alone resumes.
        let mut run = Program::migrate(&from, &to, &["--name", &from.name, "--copy-jobs", "2"]);
        run.event(|event| enters(event, "finish")).await;
        run.meets(until(&to, waits)).await;
        run.kill();
        nothing_is_left_open(&to.config()).await;
        nothing_is_left_open(&from.config()).await;

        // What it says would have been lost with the ledger is all that is missing.
        let said = cleanup(&cleanup_spec(&from, &to, true)).await.unwrap();
        assert!(said.left[0].contains("CREATE INDEX \"t_slow\""), "{said:?}");
        holder.query("SELECT pg_advisory_unlock(77)").await.unwrap();
        let cleaned = cleanup(&cleanup_spec(&from, &to, false)).await.unwrap();
        assert_eq!(cleaned, said);
        let sql = &cleaned.left[0];
        to.sql(&sql[sql.find("BEGIN").unwrap()..]).await;
        assert_says(&before, &says(&to, "t").await);

        // And without the cleanup it goes on.
        to.sql("TRUNCATE t").await;
        holder.query("SELECT pg_advisory_lock(77)").await.unwrap();
        let mut run = Program::migrate(&from, &to, &args);
        run.event(|event| enters(event, "finish")).await;
        run.meets(until(&to, waits)).await;
        run.kill();
        until(&to, &format!("SELECT NOT ({waits})")).await;
        holder.query("SELECT pg_advisory_unlock(77)").await.unwrap();
        let events = Program::migrate(&from, &to, &args).ends_with(0).await;
        events.finished();
        assert_says(&before, &says(&to, "t").await);
        assert_same((&from, "t"), (&to, "t"), "id").await;
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}

/// Indexes of an existing target stay where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_comes_back_to_its_tablespace() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "space").await;
        let to = Database::create(&server, "space").await;
        let space = format!("space of {}", to.name);
        let mut connection = to.connect().await;
        connection.query("SET allow_in_place_tablespaces = on").await.unwrap();
        connection.query(&format!("CREATE TABLESPACE \"{space}\" LOCATION ''")).await.unwrap();
        connection.close().await;
        let table = "CREATE TABLE t (id int PRIMARY KEY, a int)";
        from.sql(&format!("{table}; INSERT INTO t SELECT i, i FROM generate_series(1, 100) i"))
            .await;
        to.sql(&format!(
            "{table}; CREATE INDEX here ON t (a); CREATE INDEX there ON t (a) TABLESPACE \"{space}\";
             ALTER TABLE t ADD CONSTRAINT over UNIQUE (a) USING INDEX TABLESPACE \"{space}\";
             ALTER DATABASE \"{}\" SET default_tablespace = '{space}'", to.name
        ))
        .await;
        let where_sql = "SELECT string_agg(concat_ws(' ', relname, spcname), ', ' ORDER BY relname) FROM pg_class c
            LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE relname IN ('here', 'there', 'over')";
        let before = to.value(where_sql).await;
        assert_eq!(before, format!("here, over {space}, there {space}"));
        let mut spec = spec(&from, &to, "t", "t");
        spec.defer_indexes = true;
        let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(to.value(where_sql).await, before);
        let done = |e: &&Event| matches!(e, Event::Index { phase, .. } if phase == "done");
        assert_eq!(events.iter().filter(done).count(), 3, "{events:?}");
        drop_slot(&from, &spec).await;
    }
}
