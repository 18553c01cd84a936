//! Partitioned tables, on either side and on both: rows that cross partitions, and what becomes of
//! single partitions, of which the stream tells nothing.

mod made;
mod source;

use crate::support::{moments::Scenario, versions_to_test};

/// A source of ranges, lists and hashes, in two schemas, with a default; one partition has its
/// columns in another order, and one that was dropped.
pub(crate) const SOURCE: &str = "CREATE SCHEMA IF NOT EXISTS elsewhere;
    CREATE TABLE source (id int, day date, kind text, big text, n int DEFAULT 5, PRIMARY KEY (id, day))
        PARTITION BY RANGE (day);
    CREATE TABLE source_jan PARTITION OF source FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
    CREATE TABLE elsewhere.feb (gone int, big text, n int, day date NOT NULL, kind text, id int NOT NULL);
    ALTER TABLE elsewhere.feb DROP gone;
    ALTER TABLE source ATTACH PARTITION elsewhere.feb FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
    CREATE TABLE source_mar PARTITION OF source FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')
        PARTITION BY HASH (id);
    CREATE TABLE source_mar_0 PARTITION OF source_mar FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE elsewhere.mar_1 PARTITION OF source_mar FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE source_rest PARTITION OF source DEFAULT;
    ALTER TABLE source ALTER big SET STORAGE EXTERNAL;";

pub(crate) const ROWS: &str = "INSERT INTO source SELECT i, '2024-01-01'::date + i, 'kind ' || i % 4,
        repeat('big ' || i, CASE WHEN i % 5 = 0 THEN 800 ELSE 1 END), i FROM generate_series(1, 150) i;";

const ORDINARY: &str =
    "CREATE TABLE target (id int, day date, kind text, big text, n int, PRIMARY KEY (id, day));";

const OTHERWISE: &str = "CREATE TABLE target (id int, day date, kind text, big text, n int, PRIMARY KEY (id, day))
        PARTITION BY HASH (id, day);
    CREATE TABLE target_0 PARTITION OF target FOR VALUES WITH (MODULUS 3, REMAINDER 0);
    CREATE TABLE target_1 PARTITION OF target FOR VALUES WITH (MODULUS 3, REMAINDER 1) PARTITION BY RANGE (id);
    CREATE TABLE target_1_low PARTITION OF target_1 FOR VALUES FROM (MINVALUE) TO (75);
    CREATE TABLE target_1_high PARTITION OF target_1 DEFAULT;
    CREATE TABLE target_2 (n int, big text, id int NOT NULL, kind text, day date NOT NULL);
    ALTER TABLE target ATTACH PARTITION target_2 FOR VALUES WITH (MODULUS 3, REMAINDER 2);";

/// Changes that cross partitions, keep big values, and come back.
const CHANGES: [&[&str]; 3] = [
    &[
        "UPDATE source SET day = day + 31 WHERE id % 7 = 0",
        "UPDATE source SET n = -n WHERE id % 5 = 0",
        "UPDATE source SET id = id + 1000 WHERE id BETWEEN 20 AND 60 AND id % 5 = 0",
        "UPDATE source SET day = '2024-03-05' WHERE id IN (2, 140, 145)",
        "DELETE FROM source WHERE id % 11 = 0",
        "INSERT INTO source VALUES (77, '2024-01-03', 'again', repeat('new', 2000)), (11, '2024-03-03', 'x', 'y')",
    ],
    &[
        "UPDATE source SET day = day - 31 WHERE id % 7 = 0",
        "BEGIN; UPDATE source SET day = '2024-02-10' WHERE id = 5; UPDATE source SET n = 1 WHERE id = 5;
         UPDATE source SET day = '2024-01-10' WHERE id = 5; COMMIT",
        "UPDATE source SET id = id - 1000, kind = 'back' WHERE id > 1000",
        "UPDATE source SET big = 'small' WHERE id % 10 = 0",
    ],
    &[
        "UPDATE source SET day = day + 60 WHERE id % 3 = 0",
        "UPDATE source SET id = -id WHERE id % 10 = 5",
        "BEGIN; DELETE FROM source WHERE id = 4; INSERT INTO source VALUES (4, '2024-03-20', 'four', 'big'); COMMIT",
    ],
];

async fn play(what: &str, tables: &str) {
    for binaries in versions_to_test() {
        let scenario = Scenario {
            what,
            tables: &format!("{tables} {ROWS}"),
            key: "id, day",
            gate: "NEW.id = 55",
            between_pages: CHANGES[0],
            after_pages: CHANGES[1],
            afterwards: CHANGES[2],
            ..Scenario::default()
        };
        scenario.play(&binaries).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_partitions_to_one_table() {
    play("to_one", &format!("{SOURCE} {ORDINARY}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_table_to_partitions() {
    let source =
        "CREATE TABLE source (id int, day date, kind text, big text, n int, PRIMARY KEY (id, day));
        ALTER TABLE source ALTER big SET STORAGE EXTERNAL;";
    play("to_many", &format!("{source} {OTHERWISE}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_partitions_to_other_partitions() {
    play("to_others", &format!("{SOURCE} {OTHERWISE}")).await;
}

/// The old rows are whole, and the identity is each partition's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_full_and_under_an_index_on_every_partition() {
    let leaves = ["source_jan", "elsewhere.feb", "source_mar_0", "elsewhere.mar_1", "source_rest"];
    let of_leaves = |identity: &str| -> String {
        leaves
            .iter()
            .map(|leaf| format!("ALTER TABLE {leaf} REPLICA IDENTITY {identity};"))
            .collect()
    };
    let all_full = format!("ALTER TABLE source REPLICA IDENTITY FULL; {}", of_leaves("FULL"));
    play("full", &format!("{SOURCE} {all_full} {OTHERWISE}")).await;
    // Wider than it need be on the partitions.
    play("wide", &format!("{SOURCE} {} {ORDINARY}", of_leaves("FULL"))).await;
    let by_index = "ALTER TABLE source ALTER n SET NOT NULL;
        CREATE UNIQUE INDEX by ON source (day, id); ALTER TABLE source REPLICA IDENTITY USING INDEX by;
        DO $$ DECLARE s text; BEGIN FOR s IN SELECT format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I',
            i.indrelid::regclass, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE c.relkind = 'i' AND EXISTS (SELECT FROM pg_partition_ancestors(c.oid) a WHERE a.relid = 'by'::regclass)
            LOOP EXECUTE s; END LOOP; END $$;";
    play("by_index", &format!("{SOURCE} {by_index} {ORDINARY}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_of_the_whole_comes_in_the_stream() {
    for binaries in versions_to_test() {
        for (between_pages, after_pages) in [
            (["TRUNCATE source", CHANGES[0][5]].as_slice(), [CHANGES[0][0]].as_slice()),
            (&["SELECT 1"], &["TRUNCATE source", CHANGES[0][5], CHANGES[0][0]]),
        ] {
            let scenario = Scenario {
                what: "emptied",
                tables: &format!("{SOURCE} {OTHERWISE} {ROWS}"),
                key: "id, day",
                gate: "NEW.id = 55",
                between_pages,
                after_pages,
                afterwards: &["TRUNCATE source", CHANGES[0][5]],
                ..Scenario::default()
            };
            scenario.play(&binaries).await;
        }
    }
}
