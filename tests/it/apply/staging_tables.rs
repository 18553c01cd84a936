//! Changes by way of a staging table, for types and targets that such a table does not take as the
//! target does: nothing of it may stop a run.
//!
//! Each has more changes at once than go without a staging table, before the checkpoint and after
//! it, with deletes and with updates that leave a big value out.

use pghost::{
    conn::parse_dsn,
    migrate::{Event, MigrationSpec},
    pg::QualifiedName,
};

use crate::support::{
    bed::Bed,
    migrate,
    moments::{drop_slot, migrate_with, now},
    oldest_and_newest,
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
        (spec.page_rows, spec.verify) = (None, true);
        let again = changes.replace("[1-3]", "[6-8]").replace("[45]", "[90]");
        self.from.sql(&again).await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        self.is_equal().await;
        let target = &spec.tables[0].target;
        let left = self.to.value(&format!("SELECT count(*) FROM {target}")).await;
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

/// Names that pghost takes itself, or that must be quoted, and columns in another order than the
/// source's, some of them gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_places_of_columns_do_not_matter() {
    let long = "c".repeat(63);
    for binaries in oldest_and_newest() {
        let columns = format!(
            "touched int, \"pghost doing\" text, \"pghost number\" int, \"select\" text, \"a.b\" text,
             \"q\"\"q\" text, {long} text, v text, k text, t \"Other\".\"mood\""
        );
        let types = "CREATE SCHEMA \"Other\"; CREATE TYPE \"Other\".mood AS ENUM ('fine', 'sad')";
        let make = format!(
            "{types}; CREATE TABLE source (id int PRIMARY KEY, {columns});
             ALTER TABLE source ALTER {long} SET STORAGE EXTERNAL;
             INSERT INTO source SELECT i, 0, 'd', i, 's', 'ab', 'q', repeat(md5(i::text), 200), 'v', 'k', 'sad'
               FROM generate_series(1, 1500) i"
        );
        let mut bed = Bed::make(&binaries, "names", &make).await;
        bed.spec.tables[0].target = QualifiedName::new("public", "pghost_stage_0");
        let others: Vec<_> = columns.split(',').rev().collect();
        bed.to
            .sql(&format!(
                "{types}; CREATE TABLE pghost_stage_0 (gone int, more int NOT NULL DEFAULT 3, {},
                     gone_too text, id int PRIMARY KEY) WITH (fillfactor = 30);
                 ALTER TABLE pghost_stage_0 DROP gone, DROP gone_too;
                 CREATE FUNCTION to_nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                 CREATE TRIGGER to_nothing BEFORE INSERT OR UPDATE OR DELETE ON pghost_stage_0
                     FOR EACH ROW EXECUTE FUNCTION to_nothing()",
                others.join(", ")
            ))
            .await;
        let mut spec = MigrationSpec { page_rows: Some(100), ..bed.spec.clone() };
        for again in [false, true] {
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
            let all = format!(
                "id, touched, \"pghost doing\", \"pghost number\", \"select\", \"a.b\", \"q\"\"q\",
                 {long}, v, k, t"
            );
            let sum = |table: &str| {
                format!(
                    "SELECT concat(count(*), ' ', sum(hashtext(t::text))) FROM (SELECT {all} FROM {table}) t"
                )
            };
            let (there, here) = (sum("source"), sum("pghost_stage_0"));
            assert_eq!(bed.from.value(&there).await, bed.to.value(&here).await, "{again}");
            spec.page_rows = None;
            if !again {
                bed.from.sql(CHANGES).await;
            }
        }
        drop_slot(&bed.from, &spec).await;
    }
}

/// Tables that are nothing but their key, or have besides it only what is computed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_that_are_all_key_are_changed() {
    const MOVES: &str = "DELETE FROM source WHERE id::text ~ '[45]$';
        UPDATE source SET id = id + 10000 WHERE id::text ~ '[1-3]$' AND id < 10000";
    for binaries in oldest_and_newest() {
        for column in ["", ", g int GENERATED ALWAYS AS (id * 2) STORED"] {
            let make = format!(
                "CREATE TABLE source (id int PRIMARY KEY {column});
                 INSERT INTO source (id) SELECT generate_series(1, 1500)"
            );
            let bed = Bed::make(&binaries, "all_key", &make).await;
            bed.keeps_up(MOVES).await;
        }
    }
}

/// A role that may write the table, and make no temporary one of its types.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_usage_on_a_type_writes_all_the_same() {
    for binaries in oldest_and_newest() {
        let table = |name: &str| {
            format!(
                "CREATE TYPE mood AS ENUM ('fine', 'sad'); REVOKE USAGE ON TYPE mood FROM public;
                 CREATE TABLE {name} (id int PRIMARY KEY, touched int, m mood)"
            )
        };
        let make = format!(
            "{}; INSERT INTO source SELECT i, 0, 'sad' FROM generate_series(1, 1500) i",
            table("source")
        );
        let mut bed = Bed::make(&binaries, "usage", &make).await;
        let role = format!("plain_{}", bed.to.name);
        bed.to
            .sql(&format!(
                "{}; CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role};
                 GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON target TO {role}",
                table("target"),
                bed.to.name
            ))
            .await;
        bed.spec.target = parse_dsn(&format!("{} user={role}", bed.to.dsn())).unwrap();
        bed.keeps_up(CHANGES).await;
    }
}
