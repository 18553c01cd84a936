//! Changes by way of a staging table, for types and targets that such a table does not take as the
//! target does: nothing of it may stop a run.
//!
//! Each has more changes at once than go without a staging table, before the checkpoint and after
//! it, with deletes and with updates that leave a big value out.

use pghost::migrate::{Event, MigrationSpec};

use crate::{
    bed::Bed,
    stage::{drop_slot, migrate_with, now},
    support::{migrate, oldest_and_newest},
};

/// More than are written one by one.
const CHANGES: &str = "
    UPDATE source SET touched = touched + 1 WHERE id::text ~ '[1-3]$';
    DELETE FROM source WHERE id::text ~ '[45]$'";

impl Bed {
    /// Moves it, with changes while pages are copied and after the checkpoint, and panics unless all
    /// of them arrive.
    async fn keeps_up(&self, changes: &str) {
        let mut spec = MigrationSpec { page_rows: Some(100), copy_jobs: 1, ..self.spec.clone() };
        let mut first = true;
        let on = |event: &Event| {
            if matches!(event, Event::Progress { .. }) && std::mem::take(&mut first) {
                now(self.from.sql(changes));
            }
        };
        let what = &self.from.name;
        migrate_with(&spec, on).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        self.is_equal().await;
        spec.page_rows = None;
        let again = changes.replace("[1-3]", "[6-8]").replace("[45]", "[90]");
        self.from.sql(&again).await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        self.is_equal().await;
        let left = self.to.value("SELECT count(*) FROM target").await;
        assert_eq!(left.parse::<u32>().unwrap(), 900, "{what}");
        drop_slot(&self.from, &spec).await;
    }
}

/// Every kind of type that can refuse NULL, and such that only hold one.
const TYPES: &str = "
    CREATE DOMAIN flag AS boolean NOT NULL;
    CREATE DOMAIN word AS text COLLATE \"C\" CHECK (VALUE IS NOT NULL);
    CREATE DOMAIN \"long word\" AS word CHECK (VALUE <> '');
    CREATE DOMAIN amount AS numeric(12,2) NOT NULL DEFAULT random() * 100;
    CREATE DOMAIN fixed AS char(4) NOT NULL;
    CREATE DOMAIN list AS int[] NOT NULL CHECK (cardinality(VALUE) > 0);
    CREATE DOMAIN flags AS flag[] NOT NULL;
    CREATE TYPE pair AS (a int, b flag);
    CREATE DOMAIN whole AS pair NOT NULL CHECK ((VALUE).a > 0);
    CREATE DOMAIN number AS int NOT NULL;
    CREATE TYPE numbers AS RANGE (SUBTYPE = number);
    CREATE DOMAIN span AS int4range CHECK (NOT isempty(VALUE) AND VALUE IS NOT NULL);
    CREATE TYPE mood AS ENUM ('fine', 'sad');
    CREATE DOMAIN moody AS mood NOT NULL;
    CREATE DOMAIN doc AS jsonb NOT NULL CHECK (jsonb_typeof(VALUE) = 'object')";

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id number, w word, touched amount, f flag, l \"long word\", c fixed, li list,
             fs flags, p whole, ps pair[], n numbers, s span, m moody, d doc, e word,
             nn int NOT NULL, g text GENERATED ALWAYS AS (id::text || l) STORED,
             PRIMARY KEY (id, w, m));
         ALTER TABLE {name} ALTER e SET STORAGE EXTERNAL"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_refuses_null_is_staged() {
    for binaries in oldest_and_newest() {
        for is_there in [false, true] {
            let bed =
                Bed::make(&binaries, "domains", &format!("{TYPES}; {}", table("source"))).await;
            bed.from
                .sql(
                    "INSERT INTO source SELECT i, 'w' || i, i, i % 2 = 0, 'l', 'c', ARRAY[i, NULL],
                     ARRAY[true]::flag[]::flags, ROW(i, true)::pair::whole, ARRAY[ROW(i, false)::pair],
                     numbers(i, i + 1), int4range(i, i + 2), 'sad', '{}', repeat(md5(i::text), 200), i
                     FROM generate_series(1, 1500) i",
                )
                .await;
            bed.to.sql(TYPES).await;
            if is_there {
                bed.to.sql(&table("target")).await;
            }
            bed.keeps_up(CHANGES).await;
        }
    }
}

/// The key itself may be a domain of any kind of type that has an order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_is_a_key_whatever_it_is_made_of() {
    const KEYS: &[(&str, &str)] = &[
        ("moment", "date '2000-01-01' + i"),
        ("code", "'c' || i"),
        ("steps", "ARRAY[i % 7, i]"),
        ("within", "int4range(i, i + 5)"),
    ];
    const TYPES: &str = "
        CREATE DOMAIN moment AS date NOT NULL;
        CREATE DOMAIN code AS varchar(20) COLLATE \"C\" NOT NULL;
        CREATE DOMAIN steps AS int[] NOT NULL;
        CREATE DOMAIN within AS int4range NOT NULL";
    for binaries in oldest_and_newest() {
        for (kind, value) in KEYS {
            let bed = Bed::make(&binaries, kind, TYPES).await;
            bed.to.sql(TYPES).await;
            bed.from
                .sql(&format!(
                    "CREATE TABLE source (k {kind} PRIMARY KEY, id int, touched int, e text);
                     ALTER TABLE source ALTER e SET STORAGE EXTERNAL;
                     INSERT INTO source SELECT {value}, i, 0, repeat(md5(i::text), 200)
                       FROM generate_series(1, 1500) i"
                ))
                .await;
            bed.keeps_up(CHANGES).await;
        }
    }
}

/// What forbids the staging table itself is no reason to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_staging_table_refuses_goes_without_one() {
    const FORBIDS: &str = "
        CREATE FUNCTION forbids() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no tables from queries'; END $$;
        CREATE EVENT TRIGGER forbids ON ddl_command_start WHEN TAG IN ('CREATE TABLE AS')
            EXECUTE FUNCTION forbids();
        ALTER EVENT TRIGGER forbids ENABLE ALWAYS";
    for binaries in oldest_and_newest() {
        let make = "CREATE TABLE source (id int PRIMARY KEY, touched int, e text);
            INSERT INTO source SELECT i, 0, 'e' FROM generate_series(1, 1500) i";
        let bed = Bed::make(&binaries, "forbidden", make).await;
        bed.to.sql(FORBIDS).await;
        bed.keeps_up(CHANGES).await;
    }
}
