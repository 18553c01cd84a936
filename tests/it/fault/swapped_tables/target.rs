//! What the rows rest on at the target: that it is not altered under the run, that nothing fires on
//! them, and that types are made of what they are made of on the source.

use pghost::migrate::{Event, Exit, Finding, check};

use super::{TABLE, TARGET, make};
use crate::support::{
    bed::Bed,
    migrate,
    moments::{Following, migrate_with, now},
    oldest_and_newest, whole_log,
};

/// Something that is done to the target, and what takes it back.
const RESHAPED: &[(&str, &str, &str)] = &[
    (
        "ALTER TABLE target RENAME a TO x; ALTER TABLE target RENAME b TO a;
         ALTER TABLE target RENAME x TO b",
        "its columns are others",
        "ALTER TABLE target RENAME a TO x; ALTER TABLE target RENAME b TO a;
         ALTER TABLE target RENAME x TO b",
    ),
    (
        "CREATE TABLE other (LIKE target INCLUDING ALL); ALTER TABLE target RENAME TO away;
         ALTER TABLE other RENAME TO target",
        "another table of the same name",
        "DROP TABLE target; ALTER TABLE away RENAME TO target",
    ),
    (
        "ALTER TABLE target ALTER b TYPE numeric(4, 1)",
        "its columns are others",
        "ALTER TABLE target ALTER b TYPE int",
    ),
    ("ALTER TABLE target SET UNLOGGED", "of another kind", "ALTER TABLE target SET LOGGED"),
    (
        "CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN RAISE WARNING '{called}'; RETURN NEW; END $$;
         CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON target FOR EACH ROW EXECUTE FUNCTION evil();
         ALTER TABLE target ENABLE ALWAYS TRIGGER evil",
        "has a trigger or rule now that fires",
        "DROP FUNCTION evil CASCADE",
    ),
    (
        "CREATE TABLE seen (id int);
         CREATE RULE evil AS ON UPDATE TO target DO ALSO INSERT INTO seen VALUES (1);
         ALTER TABLE target ENABLE ALWAYS RULE evil",
        "has a trigger or rule now that fires",
        "DROP TABLE seen CASCADE",
    ),
];

/// Neither pages nor changes go into a target that was altered under the run, and nothing fires on
/// them: what its owner has made since the look would run with our rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_a_target_that_was_altered() {
    for binaries in oldest_and_newest() {
        let (bed, spec) = make(&binaries, &TABLE.replace("60", "1500"), TARGET).await;
        let called = format!("called in {}", bed.to.name);
        let harms: Vec<_> =
            RESHAPED.iter().map(|(harm, ..)| harm.replace("{called}", &called)).collect();
        // One after the other, each some pages further.
        for (harm, (_, says, back)) in harms.iter().zip(RESHAPED) {
            let mut sql = Some(harm);
            let ended = migrate_with(&spec, |event| {
                if matches!(event, Event::Progress { .. })
                    && let Some(sql) = sql.take()
                {
                    now(bed.to.sql(sql));
                }
            });
            let failure = ended.await.unwrap_err();
            assert_eq!(failure.exit, Exit::Stopped, "{harm}: {failure}");
            assert!(failure.message.contains(says), "{harm}: {failure}");
            bed.to.sql(back).await;
        }
        migrate(&spec).await.unwrap();
        bed.is_equal().await;
        for (harm, (_, says, back)) in harms.iter().zip(RESHAPED) {
            let run = Following::start(&spec).await;
            bed.to.sql(harm).await;
            bed.from.sql("UPDATE source SET b = b + 1 WHERE id < 9").await;
            let failure = run.failed().await;
            assert_eq!(failure.exit, Exit::Stopped, "{harm}: {failure}");
            assert!(failure.message.contains(says), "{harm}: {failure}");
            bed.to.sql(back).await;
            migrate(&spec).await.unwrap();
            bed.is_equal().await;
        }
        assert!(!whole_log(&bed.to.server).contains(&format!("WARNING:  {called}")));
        bed.ends().await;
    }
}

/// Types of one name that are made of other things on both sides, and what mends the target's.
const COMPOSED: &[(&str, &str, &str, &str, &str)] = &[
    (
        "CREATE TYPE t AS (city text, street text)",
        "CREATE TYPE t AS (street text, city text)",
        "('Rome', 'Via Appia')::t",
        "fields (city text, street text) on the source and (street text, city text)",
        "ALTER TYPE t DROP ATTRIBUTE street; ALTER TYPE t ADD ATTRIBUTE street text",
    ),
    (
        "CREATE TYPE t AS (n int)",
        "CREATE TYPE t AS (n bigint)",
        "ROW(1)::t",
        "(n integer) on the source and (n bigint)",
        "ALTER TYPE t ALTER ATTRIBUTE n TYPE int",
    ),
    (
        "CREATE TYPE t AS ENUM ('a', 'b')",
        "CREATE TYPE t AS ENUM ('b')",
        "'a'::t",
        "lacks labels on the target: 'a'",
        "ALTER TYPE t ADD VALUE 'a'",
    ),
    (
        "CREATE DOMAIN t AS varchar(9)",
        "CREATE DOMAIN t AS char(9)",
        "'a'::t",
        "is made of character varying(9) on the source and of character(9)",
        "DROP DOMAIN t; CREATE DOMAIN t AS varchar(9)",
    ),
    (
        "CREATE TYPE t AS RANGE (subtype = timestamp)",
        "CREATE TYPE t AS RANGE (subtype = timestamptz)",
        "'[2020-01-01,2021-01-01)'::t",
        "is made of timestamp without time zone on the source",
        "DROP TYPE t; CREATE TYPE t AS RANGE (subtype = timestamp)",
    ),
    (
        "CREATE TYPE t AS (n int)",
        "CREATE DOMAIN t AS text",
        "ROW(1)::t",
        "is of another kind",
        "DROP DOMAIN t; CREATE TYPE t AS (n int)",
    ),
];

/// However deep in a column's type they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_of_one_name_that_are_made_of_other_things_are_refused() {
    for binaries in oldest_and_newest() {
        for (source, target, value, says, mend) in COMPOSED {
            let own = "CREATE TYPE outer_one AS (x int, inner_ones t[])";
            let table =
                |name: &str| format!("CREATE TABLE {name} (id int PRIMARY KEY, o outer_one)");
            let insert = format!(
                "INSERT INTO source SELECT i, (i, ARRAY[{value}])::outer_one FROM generate_series(1, 9) i"
            );
            let all = format!("{source}; {own}; {}; {insert}", table("source"));
            let bed = Bed::make(&binaries, "composed", &all).await;
            bed.to.sql(target).await;
            bed.to.sql(own).await;
            // A target that is to be made, and one that is there.
            for is_there in [false, true] {
                if is_there {
                    bed.to.sql(&table("target")).await;
                }
                let failure = migrate(&bed.spec).await.unwrap_err();
                assert_eq!(failure.exit, Exit::Refused, "{source}: {failure}");
                assert!(failure.message.contains(says), "{source}: {failure}");
                let checked = check(&bed.spec).await.unwrap();
                let told = |finding: &Finding| finding.message.contains(says);
                assert!(checked.findings.iter().any(told), "{source}: {:#?}", checked.findings);
            }
            bed.to.sql("DROP TABLE target; DROP TYPE outer_one").await;
            bed.to.sql(mend).await;
            bed.to.sql(own).await;
            migrate(&bed.spec).await.unwrap();
            bed.ends().await;
        }
    }
}
