//! What a table has besides its rows: on a target that pghost makes it is there in the end, as
//! both servers tell.

mod kinds;

use std::time::Duration;

use pghost::{
    cluster::Binaries,
    conn::Connection,
    migrate::{Event, Exit},
    pg::QualifiedName,
};

use crate::{
    run::{journey::Writers, versions::two_servers},
    support::{
        Database, assert_same, migrate,
        moments::{drop_slot, until},
        nothing_is_left_open,
        program::{Program, is},
        server, spec, versions_to_test,
    },
};

const ROWS: u32 = 2_000;

/// What a table's definition says, one query for each kind of thing; `$t` stands for the table.
const SAYS: &[&str] = &[
    "SELECT concat_ws(' | ', relreplident, relrowsecurity, relforcerowsecurity, reloptions,
            (SELECT reloptions FROM pg_class s WHERE s.oid = c.reltoastrelid),
            obj_description(oid, 'pg_class')) AS line FROM pg_class c WHERE oid = $t",
    "SELECT concat_ws(' | ', attname, attstorage, attcompression, nullif(attstattarget, -1),
            attoptions, col_description(attrelid, attnum)) AS line
       FROM pg_attribute WHERE attrelid = $t AND attnum > 0",
    "SELECT concat_ws(' | ', pg_get_indexdef(indexrelid), indisclustered, indisreplident,
            obj_description(indexrelid, 'pg_class'),
            (SELECT string_agg(nullif(attstattarget, -1)::text, ',' ORDER BY attnum)
               FROM pg_attribute WHERE attrelid = indexrelid)) AS line
       FROM pg_index WHERE indrelid = $t",
    "SELECT concat_ws(' | ', conname, pg_get_constraintdef(oid), convalidated, condeferrable,
            obj_description(oid, 'pg_constraint')) AS line
       FROM pg_constraint WHERE conrelid = $t AND contype <> 'n'",
    "SELECT concat_ws(' | ', pg_get_triggerdef(oid), tgenabled,
            obj_description(oid, 'pg_trigger')) AS line
       FROM pg_trigger WHERE tgrelid = $t AND NOT tgisinternal",
    "SELECT concat_ws(' | ', polname, polcmd, polpermissive, polroles::regrole[],
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid),
            obj_description(oid, 'pg_policy')) AS line FROM pg_policy WHERE polrelid = $t",
    "SELECT concat_ws(' | ', acl.column, grantee::regrole, privilege_type, is_grantable) AS line
       FROM (SELECT '' AS column, relowner AS owner, (aclexplode(relacl)).*
               FROM pg_class WHERE oid = $t
              UNION ALL
             SELECT attname, 0, (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid = $t) acl
      WHERE grantee <> owner OR owner = 0 AND privilege_type = 'SELECT'",
    "SELECT concat_ws(' | ', pg_get_statisticsobjdef(oid), nullif(stxstattarget, -1),
            obj_description(oid, 'pg_statistic_ext')) AS line
       FROM pg_statistic_ext WHERE stxrelid = $t",
];

/// All that a server says of a table, with nothing left out of any name.
pub(crate) async fn says(database: &Database, table: &str) -> String {
    let table = QualifiedName::new("public", table).to_string().replace('\'', "''");
    let mut connection = database.connect().await;
    connection.query("SET search_path = ''").await.unwrap();
    let mut all = String::new();
    for sql in SAYS {
        let sql = sql.replace("$t", &format!("'{table}'::regclass"));
        let sql = format!("SELECT string_agg(line, chr(10) ORDER BY line) AS lines FROM ({sql}) q");
        let lines: Option<String> =
            connection.query(&sql).await.unwrap().row().unwrap().get("lines").unwrap();
        all += &format!("{}\n\n", lines.unwrap_or_default());
    }
    connection.close().await;
    all
}

pub(crate) fn assert_says(left: &str, right: &str) {
    let only = |x: &str, y: &str| {
        x.lines().filter(|l| !y.lines().any(|m| m == *l)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        left,
        right,
        "only left {:#?}\nonly right {:#?}",
        only(left, right),
        only(right, left)
    );
}

/// What the tables below need on both sides.
pub(crate) fn beside(role: &str) -> String {
    format!(
        "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 9);
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF TG_WHEN = 'BEFORE' THEN NEW.note := coalesce(NEW.note, '') || '!'; END IF;
                RETURN NEW; END $$;
         CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';
         DO $$ BEGIN CREATE ROLE \"{role}\"; EXCEPTION WHEN duplicate_object THEN END $$;"
    )
}

/// A table with one of everything. Its names begin with the table's, `$t`; `$r` is a role.
const EVERYTHING: &str = r#"
CREATE TABLE "$t" (
    id int CONSTRAINT "$t ON key" PRIMARY KEY, a int NOT NULL, b int, note text, big text,
    span int4range, "x ON public.other" int, up int CONSTRAINT up REFERENCES "$t",
    other int CONSTRAINT to_other REFERENCES other ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT "$t_unique" UNIQUE (b, a) INCLUDE (note) WITH (fillfactor = 60)
        DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT "$t_span" EXCLUDE USING gist (span WITH &&) WHERE (a > 0),
    CONSTRAINT positive CHECK (a > 0), CONSTRAINT twice CHECK (public.twice(a) <> 7) NO INHERIT
) WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_vacuum_threshold = 77);
INSERT INTO "$t" SELECT i, i, i % 10, 'note ' || i, repeat('big', i % 50), int4range(i * 10, i * 10 + 5),
    i, 1, i % 10 FROM generate_series(1, $n) i;
COMMIT;
ALTER TABLE "$t" ADD CONSTRAINT loose CHECK (note <> ' NOT VALID') NOT VALID,
    ADD CONSTRAINT "loose key" FOREIGN KEY (b) REFERENCES other (id) NOT VALID;
ALTER TABLE "$t" ALTER big SET STORAGE EXTERNAL, ALTER note SET COMPRESSION pglz,
    ALTER a SET STATISTICS 321, ALTER b SET (n_distinct = 10);
CREATE INDEX "$t USING btree (a)" ON "$t" USING btree (lower(note) COLLATE "C" text_pattern_ops DESC)
    INCLUDE (a) WHERE note <> ' USING btree ';
CREATE INDEX "$t_hash" ON "$t" USING hash ("x ON public.other") WITH (fillfactor = 50);
CREATE INDEX "$t_twice" ON "$t" (public.twice(a), (a + b)); ALTER INDEX "$t_twice" ALTER COLUMN 2 SET STATISTICS 55;
CREATE UNIQUE INDEX "$t_note" ON "$t" (a, "x ON public.other" NULLS FIRST);
ALTER TABLE "$t" CLUSTER ON "$t_note";
CREATE STATISTICS "$t FROM x" (dependencies, mcv) ON a, b, (a % 3) FROM "$t";
ALTER STATISTICS "$t FROM x" SET STATISTICS 44;
CREATE TRIGGER " ON public.other " BEFORE INSERT OR UPDATE OF note, "x ON public.other" ON "$t"
    FOR EACH ROW WHEN (NEW.note <> ' ON public.other ') EXECUTE FUNCTION stamp(' ON x ');
CREATE TRIGGER off AFTER DELETE OR TRUNCATE ON "$t" EXECUTE FUNCTION stamp();
ALTER TABLE "$t" DISABLE TRIGGER off;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON "$t" DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER many AFTER UPDATE ON "$t" REFERENCING OLD TABLE AS o NEW TABLE AS n
    FOR EACH STATEMENT EXECUTE FUNCTION stamp();
CREATE POLICY "see ON x" ON "$t" FOR SELECT TO "$r" USING (a % 2 = 0 OR note = 'it''s');
CREATE POLICY never ON "$t" AS RESTRICTIVE FOR UPDATE USING (true) WITH CHECK (b < 100);
ALTER TABLE "$t" ENABLE ROW LEVEL SECURITY;
GRANT SELECT, TRUNCATE ON "$t" TO "$r"; GRANT INSERT ON "$t" TO "$r" WITH GRANT OPTION;
GRANT SELECT ON "$t" TO PUBLIC; GRANT SELECT (note, "x ON public.other"), UPDATE (a) ON "$t" TO "$r";
COMMENT ON TABLE "$t" IS 'a table''s \ comment'; COMMENT ON COLUMN "$t".note IS E'two\nlines';
COMMENT ON INDEX "$t_hash" IS 'hash'; COMMENT ON CONSTRAINT positive ON "$t" IS 'positive';
COMMENT ON INDEX "$t ON key" IS 'key'; COMMENT ON CONSTRAINT "$t ON key" ON "$t" IS 'the key';
COMMENT ON CONSTRAINT "$t_unique" ON "$t" IS 'unique'; COMMENT ON TRIGGER off ON "$t" IS 'off';
COMMENT ON STATISTICS "$t FROM x" IS 'statistics'; COMMENT ON POLICY never ON "$t" IS 'never';
"#;

pub(crate) fn everything(table: &str, role: &str) -> String {
    EVERYTHING.replace("$t", table).replace("$r", role).replace("$n", &ROWS.to_string())
}

/// Writes to the table until stopped.
pub(crate) fn load(database: &Database, table: &str) -> Writers {
    let insert = format!(
        "INSERT INTO \"{table}\" SELECT i, i, i % 10, 'new', 'x', int4range(i * 10, i * 10 + 5), i, 1, 3
           FROM (SELECT 100000 + $n AS i) q"
    );
    let update =
        format!("UPDATE \"{table}\" SET note = 'changed $n' WHERE id = ($n * 37) % {ROWS}");
    let delete = format!("DELETE FROM \"{table}\" WHERE id = 1 + 100000 + ($n * 7)");
    Writers::start(database, &[&insert, &update, &delete])
}

pub(crate) fn notices(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Notice { message } => Some(message.as_str()),
            _ => None,
        })
        .collect()
}

/// Moves a table with everything, and compares what both servers say.
async fn moves(from: &Database, to: &Database, source: &str, target: &str) {
    let role = format!("role of {}", from.name);
    from.sql(&beside(&role)).await;
    if from.name != to.name {
        to.sql(&beside(&role)).await;
    }
    from.sql(&everything(source, &role)).await;
    let writers = load(from, source);
    let mut spec = spec(from, to, source, target);
    spec.page_rows = Some(300);
    let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
    let left_out: Vec<_> =
        notices(&events).into_iter().filter(|n| n.contains("left out")).collect();
    assert!(left_out.is_empty(), "{left_out:#?}");
    for doing in
        ["validating constraint ", "analyzing public.", "commenting on public.", "making index "]
    {
        assert!(
            notices(&events).iter().any(|told| told.starts_with(doing)),
            "{doing}: {events:#?}"
        );
    }
    let expected = says(from, source).await.replace(source, target);
    assert!(expected.lines().count() > 40, "{expected}");
    assert_says(&expected, &says(to, target).await);
    let open = "SELECT count(*) FROM pghost.object WHERE NOT done";
    assert_eq!(to.value(open).await, "0");

    // Later runs apply changes to the table as it is now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(writers.stop().await > 0);
    let sql =
        format!("INSERT INTO \"{source}\" (id, a, b, up, other) VALUES (-1, 1000000, 1, -1, 1)");
    from.sql(&sql).await;
    // A session of the first run that is still there would be told of.
    nothing_is_left_open(&to.config()).await;
    let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(notices(&events).is_empty(), "{events:?}");
    assert_same((from, &format!("\"{source}\"")), (to, &format!("\"{target}\"")), "id").await;
    assert_says(&expected, &says(to, target).await);
    drop_slot(from, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_a_table_has_is_made_on_the_target() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "objects").await;
        let to = Database::create(&server, "objects").await;
        moves(&from, &to, "t", "t").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_to_the_newest_release_and_to_the_oldest() {
    for (from, to) in [(14, 18), (18, 14)] {
        if let Some((from, to)) = two_servers(from, to).await {
            moves(&from, &to, "t", "t").await;
        }
    }
}

/// In one schema, where the source has all the names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_and_names_that_are_taken() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let db = Database::create(&server, "hostile").await;
        moves(&db, &db, "a ON b USING c", "b'(x) FROM d").await;
    }
}

/// The role and the tables of `moves`, with something missing on the target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_target_lacks_is_left_out_and_told() {
    for binaries in versions_to_test() {
        let source = server(&binaries);
        let target = std::sync::Arc::new(pghost::cluster::Server::start(&binaries, &[]).unwrap());
        let from = Database::create(&source, "lacks").await;
        let to = Database::create(&target, "lacks").await;
        let role = format!("role of {}", from.name);
        from.sql(&beside(&role)).await;
        to.sql("CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2'")
            .await;
        from.sql(&everything("t", &role)).await;
        from.sql("CREATE TRIGGER a AFTER INSERT ON t EXECUTE FUNCTION suppress_redundant_updates_trigger();
                  ALTER TABLE t ENABLE ALWAYS TRIGGER a")
            .await;
        let spec = spec(&from, &to, "t", "t");
        let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let left_out: Vec<_> =
            notices(&events).into_iter().filter(|n| n.starts_with("left out")).collect();
        for (what, why) in [
            ("foreign key to_other of public.t", "42P01"),
            ("foreign key loose key of public.t", "42P01"),
            ("trigger  ON public.other  of public.t", "42883"),
            ("trigger off of public.t", "42883"),
            ("trigger late of public.t", "42883"),
            ("trigger many of public.t", "42883"),
            ("firing of trigger a of public.t", "disabled"),
            ("policy see ON x of public.t", "42704"),
            (&format!("grant \"{role}\" of public.t"), "42704"),
        ] {
            let told = left_out.iter().filter(|n| n.contains(what) && n.contains(why)).count();
            assert_eq!(told, 1, "{what}: {left_out:#?}");
        }
        assert_eq!(left_out.len(), 9, "{left_out:#?}");
        let made = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint
                     WHERE conrelid = 't'::regclass AND contype IN ('c', 'f')";
        assert_eq!(to.value(made).await, "loose positive twice up");
        assert_eq!(
            to.value(
                "SELECT string_agg(concat(tgname, tgenabled), ' ') FROM pg_trigger WHERE NOT tgisinternal"
            )
            .await,
            "aD"
        );
        // Left out for good: nothing is tried again.
        nothing_is_left_open(&to.config()).await;
        assert!(notices(&migrate(&spec).await.unwrap()).is_empty());
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_fails_stops_the_run_and_the_next_one_goes_on() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "fails").await;
        let to = Database::create(&server, "fails").await;
        let twice =
            "CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2'";
        from.sql(twice).await;
        from.sql("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 99) i;
                  CREATE INDEX first ON t (a); ALTER TABLE t ADD CONSTRAINT second CHECK (twice(a) > 0);
                  COMMENT ON TABLE t IS 'third'")
            .await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.trial = false;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        for part in ["check constraint second of public.t", "ADD CONSTRAINT", "42883", "twice"] {
            assert!(failure.message.contains(part), "{part}: {failure}");
        }
        assert!(failure.hint.contains("pghost.object"), "{failure}");
        let first = to.value("SELECT 'first'::regclass::oid").await;
        from.sql("UPDATE t SET a = a + 1").await;
        assert!(migrate(&spec).await.is_err());
        to.sql(twice).await;
        migrate(&spec).await.unwrap();
        assert_eq!(to.value("SELECT 'first'::regclass::oid").await, first);
        assert_says(&says(&from, "t").await, &says(&to, "t").await);
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

/// A table whose second index can be held while it is built.
async fn bed(binaries: &Binaries) -> (Database, Database, Connection) {
    let server = server(binaries);
    let from = Database::create(&server, "killed").await;
    let to = Database::create(&server, "killed").await;
    let slow = |body: &str| {
        format!(
            "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
                 $$ BEGIN {body} RETURN n; END $$"
        )
    };
    from.sql(&slow("")).await;
    to.sql(&slow("PERFORM pg_catalog.pg_advisory_xact_lock_shared(77);")).await;
    from.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         INSERT INTO t SELECT i, i FROM generate_series(1, 500) i;
         CREATE INDEX i1 ON t (a); CREATE INDEX i2 ON t (slow(a)); CREATE INDEX i3 ON t (a DESC);
         ALTER TABLE t ADD UNIQUE (a), ADD CHECK (a > 0)",
    )
    .await;
    let mut holder = to.connect().await;
    holder.query("SELECT pg_advisory_lock(77)").await.unwrap();
    (from, to, holder)
}

const IS_WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory'
    AND datname = current_database() AND query LIKE 'CREATE INDEX%'";
const INDEXES: &str = "SELECT string_agg(relname || ' ' || oid, ' ' ORDER BY relname) FROM pg_class
    WHERE relname IN ('i1', 'i2', 'i3')";

#[tokio::test]
async fn a_run_that_ends_between_two_objects_goes_on() {
    let versions = versions_to_test();
    for binaries in &versions {
        for told in [false, true] {
            let (from, to, mut holder) = bed(binaries).await;
            // A trial would build the index, too.
            let args = ["--table", "t", "--name", &from.name, "--copy-jobs", "1", "--no-trial"];
            let mut run = Program::migrate(&from, &to, &args);
            run.meets(until(&to, IS_WAITING)).await;
            if told {
                // Once is enough: it is said every second.
                if std::ptr::eq(binaries, &versions[0]) {
                    let event = run.event(|e| is(e, "index") && e["index"] == "i2").await;
                    assert_eq!(event["table"], "public.t");
                    assert!(
                        event["phase"].as_str().unwrap().starts_with("building index"),
                        "{event}"
                    );
                }
                run.signal("-INT");
                run.ends_with(1).await.error();
            } else {
                run.kill();
            }
            until(&to, &format!("SELECT NOT ({IS_WAITING})")).await;
            let before = to.value(INDEXES).await;
            assert!(before.starts_with("i1 ") && !before.contains("i2"), "{before}");
            from.sql("UPDATE t SET a = a + 1000 WHERE id % 10 = 0; DELETE FROM t WHERE id = 7")
                .await;
            holder.query("SELECT pg_advisory_unlock(77)").await.unwrap();
            let ended = Program::migrate(&from, &to, &args).ends_with(0).await;
            ended.finished();
            let done = |e: &&serde_json::Value| {
                is(e, "index") && e["phase"] == "done" && e["percent"] == 100.0
            };
            let built: Vec<_> = ended.events.iter().filter(done).map(|e| &e["index"]).collect();
            assert_eq!(built, ["i2", "i3", "t_a_key"]);
            let after = to.value(INDEXES).await;
            assert!(after.starts_with(&before) && after.contains("i3"), "{before}, {after}");
            assert_says(&says(&from, "t").await, &says(&to, "t").await);
            assert_same((&from, "t"), (&to, "t"), "id").await;
            let slot = format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name);
            from.sql(&slot).await;
        }
    }
}
