//! What a run rests on is changed in mid-run: the table by its name, columns by theirs, types, the
//! key. Nothing of another table, and nothing of a column of another name, is ever committed.

mod target;

use pghost::{
    backfill::Paging,
    cluster::Binaries,
    migrate::{Event, Exit, Failure, MigrationSpec, VerifySpec, verify},
};
use tokio::sync::watch;

use crate::support::{
    bed::Bed,
    migrate,
    moments::{Following, Gate, drop_slot, migrate_with, now},
    oldest_and_newest, selected, whole_log,
};

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, a int, b int);
    INSERT INTO source SELECT i, 1, 2 FROM generate_series(1, 60) i";
const PARTED: &str =
    "CREATE TABLE source (id int PRIMARY KEY, a int, b int) PARTITION BY RANGE (id);
    CREATE TABLE one PARTITION OF source FOR VALUES FROM (0) TO (31);
    CREATE TABLE two PARTITION OF source FOR VALUES FROM (31) TO (99);
    INSERT INTO source SELECT i, 1, 2 FROM generate_series(1, 60) i";
const BIG: &str = "CREATE TABLE source (id int PRIMARY KEY, a int, b bigint);
    INSERT INTO source SELECT i, 1, 2 FROM generate_series(1, 60) i";
const TARGET: &str = "CREATE TABLE target (id int PRIMARY KEY, a int, b int)";

const NAMES: &str = "ALTER TABLE source RENAME a TO x; ALTER TABLE source RENAME b TO a;
    ALTER TABLE source RENAME x TO b";

/// Something that is done while a page is held on its way, and what is said of it.
struct Altered {
    source: &'static str,
    target: &'static str,
    ignores_new: bool,
    harm: &'static str,
    says: &'static str,
    /// What makes all as it was, if anything does.
    back: Option<&'static str>,
}

const BASE: Altered = Altered {
    source: TABLE,
    target: TARGET,
    ignores_new: false,
    harm: NAMES,
    says: "renamed: a to b, b to a",
    back: Some(NAMES),
};

const ALTERED: &[Altered] = &[
    BASE,
    Altered { source: PARTED, ..BASE },
    Altered {
        source: BIG,
        target: "CREATE TABLE target (id int PRIMARY KEY, a int, b bigint)",
        ..BASE
    },
    Altered {
        ignores_new: true,
        harm: "ALTER TABLE source RENAME a TO a_old; ALTER TABLE source ADD a int",
        says: "renamed: a to a_old",
        back: Some("ALTER TABLE source DROP a; ALTER TABLE source RENAME a_old TO a"),
        ..BASE
    },
    // The last one: what is left of the names stands in the same order.
    Altered {
        ignores_new: true,
        harm: "ALTER TABLE source RENAME b TO b_old; ALTER TABLE source ADD b int",
        says: "renamed: b to b_old",
        back: None,
        ..BASE
    },
    // Another table of the same name.
    Altered {
        harm: "CREATE TABLE shadow (LIKE source INCLUDING ALL);
               INSERT INTO shadow SELECT i, 7, 7 FROM generate_series(1, 60) i;
               ALTER TABLE source RENAME TO away; ALTER TABLE shadow RENAME TO source",
        says: "another table of the same name: it is called public.away now",
        back: Some("ALTER TABLE source RENAME TO shadow; ALTER TABLE away RENAME TO source"),
        ..BASE
    },
    // Of which its schema is to blame.
    Altered {
        harm: "CREATE SCHEMA other; CREATE TABLE other.source (LIKE source INCLUDING ALL);
               INSERT INTO other.source SELECT i, 7, 7 FROM generate_series(1, 60) i;
               ALTER SCHEMA public RENAME TO attic; ALTER SCHEMA other RENAME TO public",
        says: "it is called attic.source now",
        back: Some("ALTER SCHEMA public RENAME TO other; ALTER SCHEMA attic RENAME TO public"),
        ..BASE
    },
    // Rows of tables that inherit from it are read with its own.
    Altered {
        harm: "CREATE TABLE child () INHERITS (source); INSERT INTO child VALUES (57, 7, 7)",
        says: "inherit",
        back: Some("DROP TABLE child"),
        ..BASE
    },
    Altered {
        source: PARTED,
        harm: "CREATE TABLE three (LIKE source INCLUDING ALL); INSERT INTO three VALUES (100, 7, 7);
               ALTER TABLE source ATTACH PARTITION three FOR VALUES FROM (99) TO (200)",
        says: "has a partition more",
        back: None,
        ..BASE
    },
    Altered {
        harm: "ALTER TABLE source DROP CONSTRAINT source_pkey",
        says: "key",
        back: Some("ALTER TABLE source ADD PRIMARY KEY (id)"),
        ..BASE
    },
    Altered {
        source: "CREATE TABLE source (id int NOT NULL, a int, b int); CREATE UNIQUE INDEX ON source (id);
             INSERT INTO source SELECT i, 1, 2 FROM generate_series(1, 60) i;
             ALTER TABLE source REPLICA IDENTITY FULL",
        harm: "ALTER TABLE source ALTER id DROP NOT NULL; INSERT INTO source VALUES (NULL, 7, 7)",
        says: "a column of its key can be NULL",
        back: Some("DELETE FROM source WHERE id IS NULL; ALTER TABLE source ALTER id SET NOT NULL"),
        ..BASE
    },
    Altered {
        source: "CREATE TYPE pair AS (a int, b int); CREATE TABLE source (id int PRIMARY KEY, p pair[], a int DEFAULT 1);
             INSERT INTO source SELECT i, ARRAY[(1, 2)::pair] FROM generate_series(1, 60) i",
        target: "CREATE TYPE pair AS (a int, b int);
             CREATE TABLE target (id int PRIMARY KEY, p pair[], a int)",
        harm: "ALTER TYPE pair RENAME ATTRIBUTE a TO x; ALTER TYPE pair RENAME ATTRIBUTE b TO a;
               ALTER TYPE pair RENAME ATTRIBUTE x TO b",
        says: "a type that its columns are made of",
        back: Some(
            "ALTER TYPE pair RENAME ATTRIBUTE a TO x; ALTER TYPE pair RENAME ATTRIBUTE b TO a;
             ALTER TYPE pair RENAME ATTRIBUTE x TO b",
        ),
        ..BASE
    },
    Altered {
        source: "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN mine AS mood;
             CREATE TABLE source (id int PRIMARY KEY, m mine, a int DEFAULT 1);
             INSERT INTO source SELECT i, 'good' FROM generate_series(1, 60) i",
        target: "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN mine AS mood;
             CREATE TABLE target (id int PRIMARY KEY, m mine, a int)",
        harm: "ALTER TYPE mood RENAME VALUE 'good' TO 'x'; ALTER TYPE mood RENAME VALUE 'bad' TO 'good';
               ALTER TYPE mood RENAME VALUE 'x' TO 'bad'",
        says: "a type that its columns are made of",
        back: None,
        ..BASE
    },
];

/// Runs it while `harm` is done after some pages.
async fn altered(bed: &Bed, spec: &MigrationSpec, harm: &str) -> Result<(), Failure> {
    let gate = Gate::close(&bed.to, "target", 1, "NEW.id = 35").await;
    let script = async {
        gate.reached().await;
        bed.from.sql(harm).await;
        gate.open().await;
    };
    let (ended, ()) = tokio::join!(migrate_with(spec, |_| {}), script);
    ended.map(drop)
}

async fn make(binaries: &Binaries, source: &str, target: &str) -> (Bed, MigrationSpec) {
    let bed = Bed::make(binaries, "rests", source).await;
    bed.to.sql(target).await;
    let spec = MigrationSpec { page_rows: Some(10), copy_jobs: 1, ..bed.spec.clone() };
    (bed, spec)
}

/// None of the rows that were committed is of another table or a column of another name.
async fn nothing_wrong(bed: &Bed, what: &str) {
    let of = |what: &str| format!("SELECT count(*) FROM target WHERE {what}");
    assert_eq!(
        bed.to.value(&of("to_jsonb(target) ->> 'a' IS DISTINCT FROM '1'")).await,
        "0",
        "{what}"
    );
    assert_ne!(bed.to.value(&of("true")).await, "0", "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_of_another_table_or_column_is_committed() {
    for binaries in oldest_and_newest() {
        for (at, case) in ALTERED.iter().enumerate() {
            for paging in [Paging::Keyset, Paging::Auto] {
                // By walking or by arithmetic, in turn.
                if (at % 2 == 0) != (paging == Paging::Auto) {
                    continue;
                }
                let (bed, mut spec) = make(&binaries, case.source, case.target).await;
                (spec.paging, spec.ignore_new_columns) = (paging, case.ignores_new);
                let failure = altered(&bed, &spec, case.harm).await.unwrap_err();
                assert_eq!(failure.exit, Exit::CannotResume, "{}: {failure}", case.harm);
                assert!(failure.message.contains(case.says), "{}: {failure}", case.harm);
                nothing_wrong(&bed, case.harm).await;
                let pages = bed.to.value("SELECT max(number) FROM pghost.page").await;
                assert!(["2", "3"].contains(&pages.as_str()), "{}: {pages}", case.harm);
                if let Some(back) = case.back {
                    bed.from.sql(back).await;
                    migrate(&spec).await.unwrap();
                    bed.ends().await;
                } else {
                    drop_slot(&bed.from, &spec).await;
                }
            }
        }
    }
}

/// What the rows do not rest on may be done at any time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_no_harm_stops_nothing() {
    let harmless = "CREATE INDEX ON source (a); REINDEX TABLE source; ANALYZE source;
        ALTER TABLE source ALTER a SET STATISTICS 7; COMMENT ON TABLE source IS 'x';
        GRANT SELECT ON source TO PUBLIC; ALTER TABLE source ADD CHECK (a > 0);
        ALTER TABLE source ALTER a SET DEFAULT 5; ALTER TABLE source SET (fillfactor = 90);
        ALTER TABLE source ADD UNIQUE (b, id); ALTER TYPE mood RENAME TO temper;
        ALTER TYPE temper ADD VALUE 'so so' BEFORE 'bad'; DELETE FROM source WHERE id = 3";
    let source = "CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE source (id int PRIMARY KEY, a int, b int, m mood);
        INSERT INTO source SELECT i, 1, 2, 'bad' FROM generate_series(1, 60) i";
    let target = "CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE target (id int PRIMARY KEY, a int, b int, m mood)";
    for binaries in oldest_and_newest() {
        let (bed, spec) = make(&binaries, source, target).await;
        let gate = Gate::close(&bed.to, "target", 1, "NEW.id = 35").await;
        let script = async {
            gate.reached().await;
            for sql in harmless.split(';') {
                bed.from.sql(sql).await;
            }
            bed.from.sql("REINDEX INDEX CONCURRENTLY source_pkey").await;
            gate.open().await;
        };
        let (ended, ()) = tokio::join!(migrate_with(&spec, |_| {}), script);
        ended.unwrap();
        bed.ends().await;
    }
}

/// A view that takes the table's place is not read: its functions would run with our rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_takes_the_tables_place_is_not_read() {
    for binaries in oldest_and_newest() {
        for paging in [Paging::Keyset, Paging::Auto] {
            let (bed, mut spec) = make(&binaries, TABLE, TARGET).await;
            spec.paging = paging;
            let called = format!("called in {}", bed.from.name);
            let harm = format!(
                "CREATE FUNCTION evil() RETURNS bool LANGUAGE plpgsql
                     AS $$ BEGIN RAISE WARNING '{called}'; RETURN true; END $$;
                 ALTER TABLE source RENAME TO away;
                 CREATE VIEW source AS SELECT id, 7 AS a, 7 AS b FROM away WHERE evil()"
            );
            let failure = altered(&bed, &spec, &harm).await.unwrap_err();
            assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
            assert!(failure.hint.contains("RENAME TO \"source\""), "{failure}");
            assert!(!whole_log(&bed.from.server).contains(&format!("WARNING:  {called}")));
            nothing_wrong(&bed, "view").await;
            bed.from.sql("DROP VIEW source; ALTER TABLE away RENAME TO source").await;
            migrate(&spec).await.unwrap();
            bed.ends().await;
        }
    }
}

/// From 18 on a NOT NULL may be NOT VALID, and the catalog calls the column NOT NULL all the same: a
/// key that holds NULLs would be walked past them, by pages and by the comparison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_not_null_is_not_valid_is_refused() {
    let Some(binaries) = selected(18) else { return };
    let of = |name: &str| {
        format!(
            "CREATE TABLE {name} (u int, a text); CREATE UNIQUE INDEX {name}_u ON {name} (u);
             ALTER TABLE {name} ADD CONSTRAINT nn NOT NULL u NOT VALID"
        )
    };
    let lost = "INSERT INTO source SELECT i, 'x' FROM generate_series(1, 60) i;
        INSERT INTO source VALUES (NULL, 'lost'), (NULL, 'lost')";
    // The constraint is added when they are there.
    let source = of("source").replace("; ALTER", &format!("; {lost}; ALTER"));
    for identity in ["USING INDEX source_u", "FULL"] {
        let bed = Bed::make(&binaries, "unproven", &source).await;
        bed.from.sql(&format!("ALTER TABLE source REPLICA IDENTITY {identity}")).await;
        for paging in [Paging::Keyset, Paging::Auto] {
            let spec = MigrationSpec { paging, page_rows: Some(10), ..bed.spec.clone() };
            let failure = migrate(&spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains("a column of it can be NULL"), "{failure}");
            assert!(failure.hint.contains("VALIDATE CONSTRAINT \"nn\""), "{failure}");
        }
        let failure = compared(&bed).await;
        assert!(failure.message.contains("a column of it can be NULL"), "{failure}");
        // The target's key is no better.
        bed.from.sql("DELETE FROM source WHERE u IS NULL").await;
        bed.from.sql("ALTER TABLE source VALIDATE CONSTRAINT nn").await;
        bed.to.sql(&of("target")).await;
        let failure = migrate(&bed.spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("a column of it can be NULL"), "{failure}");
        assert!(failure.hint.contains("VALIDATE CONSTRAINT \"nn\""), "{failure}");
        bed.to.sql("ALTER TABLE target VALIDATE CONSTRAINT nn").await;
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}

/// What `pghost verify` says of both tables.
async fn compared(bed: &Bed) -> Failure {
    let spec = VerifySpec {
        source: bed.from.config(),
        target: bed.to.config(),
        tables: bed.spec.tables.clone(),
        name: None,
        ledger: bed.spec.ledger.clone(),
        slot: None,
        page_rows: None,
        list: 1,
        trust: bed.spec.trust.clone(),
    };
    let (_stay, interrupt) = watch::channel(false);
    verify(&spec, interrupt, &mut |_: &Event| {}).await.unwrap_err()
}

/// What happens while changes are followed, and what is said of it.
const FOLLOWED: &[Altered] = &[
    BASE,
    Altered { source: PARTED, ..BASE },
    Altered {
        source: BIG,
        target: "CREATE TABLE target (id int PRIMARY KEY, a int, b bigint)",
        ..BASE
    },
    // As if nothing had been, but for what was written meanwhile.
    Altered {
        harm: "ALTER TABLE source RENAME a TO x; ALTER TABLE source RENAME b TO a;
               ALTER TABLE source RENAME x TO b; UPDATE source SET b = 1 WHERE id < 9;
               ALTER TABLE source RENAME a TO x; ALTER TABLE source RENAME b TO a;
               ALTER TABLE source RENAME x TO b",
        says: "renamed: ",
        ..BASE
    },
    Altered {
        ignores_new: true,
        harm: "ALTER TABLE source RENAME b TO b_old; ALTER TABLE source ADD b int",
        says: "renamed: b to b_old",
        ..BASE
    },
    Altered {
        ignores_new: true,
        harm: "ALTER TABLE source RENAME a TO a_old; ALTER TABLE source ADD a int",
        says: "renamed: a to a_old",
        ..BASE
    },
    // Of which the description in the stream says nothing.
    Altered {
        source: "CREATE TABLE source (id int NOT NULL, a int, b int); CREATE UNIQUE INDEX ON source (id);
             INSERT INTO source SELECT i, 1, 2 FROM generate_series(1, 60) i;
             ALTER TABLE source REPLICA IDENTITY FULL",
        harm: "ALTER TABLE source ALTER id DROP NOT NULL",
        says: "a column of its key can be NULL",
        ..BASE
    },
    Altered {
        source: "CREATE TYPE pair AS (x int, y int);
             CREATE TABLE source (id int PRIMARY KEY, a int, p pair);
             INSERT INTO source SELECT i, 1, (1, 2)::pair FROM generate_series(1, 60) i",
        target: "CREATE TYPE pair AS (x int, y int);
             CREATE TABLE target (id int PRIMARY KEY, a int, p pair)",
        harm: "ALTER TYPE pair ADD ATTRIBUTE z int; ANALYZE source",
        says: "a type that its columns are made of",
        ..BASE
    },
    Altered {
        harm: "CREATE TABLE shadow (LIKE source INCLUDING ALL);
               INSERT INTO shadow SELECT i, 7, 7 FROM generate_series(1, 60) i;
               ALTER TABLE source RENAME TO away; ALTER TABLE shadow RENAME TO source;
               UPDATE away SET id = id WHERE id < 9",
        says: "it is called public.away now",
        ..BASE
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_of_another_table_or_column_is_applied() {
    for binaries in oldest_and_newest() {
        for case in FOLLOWED {
            let (bed, mut spec) = make(&binaries, case.source, case.target).await;
            spec.ignore_new_columns = case.ignores_new;
            let run = Following::start(&spec).await;
            for sql in case.harm.split(';') {
                bed.from.sql(sql).await;
            }
            bed.from.sql("UPDATE source SET id = id WHERE id > 30").await;
            let failure = run.failed().await;
            assert_eq!(failure.exit, Exit::CannotResume, "{}: {failure}", case.harm);
            assert!(failure.message.contains(case.says), "{}: {failure}", case.harm);
            nothing_wrong(&bed, case.harm).await;
            drop_slot(&bed.from, &spec).await;
        }
    }
}

/// A row whose big value the stream leaves out is fetched from the table that it is of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_fetched_from_another_table() {
    let source = "CREATE TABLE source (id int PRIMARY KEY, a int, v text);
        ALTER TABLE source ALTER v SET STORAGE EXTERNAL;
        INSERT INTO source SELECT i, 1, repeat('x', 2100) FROM generate_series(1, 60) i";
    // Its page was read before, and the checkpoint is still to come.
    let moved = "UPDATE source SET id = id + 100 WHERE id = 5";
    let swapped = "CREATE TABLE shadow (LIKE source INCLUDING ALL);
        INSERT INTO shadow VALUES (105, 7, 'other'); ALTER TABLE source RENAME TO away;
        ALTER TABLE shadow RENAME TO source";
    for binaries in oldest_and_newest() {
        let target = "CREATE TABLE target (id int PRIMARY KEY, a int, v text)";
        let (bed, spec) = make(&binaries, source, target).await;
        let gate = Gate::close(&bed.to, "target", 1, "NEW.id = 35").await;
        let script = async {
            gate.reached().await;
            bed.from.sql(moved).await;
            gate.open().await;
        };
        let mut swap = Some(swapped);
        let run = migrate_with(&spec, |event| {
            if matches!(event, Event::Checkpoint { .. })
                && let Some(swap) = swap.take()
            {
                now(bed.from.sql(swap));
            }
        });
        let (ended, ()) = tokio::join!(run, script);
        let failure = ended.unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        assert!(failure.message.contains("it is called public.away now"), "{failure}");
        nothing_wrong(&bed, "fetched").await;
        bed.from
            .sql("ALTER TABLE source RENAME TO shadow; ALTER TABLE away RENAME TO source")
            .await;
        migrate(&spec).await.unwrap();
        bed.ends().await;
    }
}
