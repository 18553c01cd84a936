//! What becomes of single partitions of the source, and how they must be set up.

use pghost::migrate::{Event, Exit, TableSpec};
use pghost::pg::QualifiedName;

use super::{ROWS, SOURCE};
use crate::support::{
    Database, assert_same, migrate,
    moments::{drop_slot, migrate_with, now, until},
    nobody_reads,
    program::{Program, enters},
    server, spec, versions_to_test,
};

async fn bed(binaries: &pghost::cluster::Binaries) -> (Database, Database) {
    let server = server(binaries);
    let from = Database::create(&server, "parted").await;
    let to = Database::create(&server, "parted").await;
    from.sql(&format!("{SOURCE} {ROWS}")).await;
    to.sql(
        "CREATE TABLE target (id int, day date, kind text, big text, n int, PRIMARY KEY (id, day))",
    )
    .await;
    (from, to)
}

/// What is done once the checkpoint has been taken, and what the failure says of it.
const ENDS: &[(&str, &[&str])] = &[
    ("CREATE TABLE apr PARTITION OF source FOR VALUES FROM ('2026-04-01') TO ('2026-05-01')", &["public.apr"]),
    (
        "CREATE TABLE brought (LIKE source INCLUDING ALL); INSERT INTO brought VALUES (1, '2025-01-01');
         ALTER TABLE source ATTACH PARTITION brought FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')",
        &["public.brought", "more"],
    ),
    ("ALTER TABLE source DETACH PARTITION elsewhere.feb", &["elsewhere.feb", "lost"]),
    ("DROP TABLE elsewhere.mar_1", &["elsewhere.mar_1", "lost"]),
    (
        "ALTER TABLE source DETACH PARTITION source_jan; UPDATE source_jan SET n = 0;
         ALTER TABLE source ATTACH PARTITION source_jan FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')",
        &["public.source_jan", "detached"],
    ),
    ("ALTER TABLE source ALTER n TYPE bigint", &["altered"]),
    ("ALTER TABLE source ALTER n TYPE int USING n + 1", &["altered", "rewrite"]),
    ("TRUNCATE elsewhere.feb", &["elsewhere.feb", "TRUNCATE of its own"]),
    ("TRUNCATE source_mar", &["public.source_mar_0", "elsewhere.mar_1", "TRUNCATE of its own"]),
    ("TRUNCATE source; INSERT INTO source VALUES (1, '2024-01-03'); TRUNCATE source_jan", &["public.source_jan"]),
    ("VACUUM FULL source_rest", &["public.source_rest", "VACUUM FULL"]),
    ("ALTER TABLE source_jan REPLICA IDENTITY NOTHING", &["replica identity"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_partition_without_being_in_the_stream_stops_the_run() {
    for binaries in versions_to_test() {
        for (done, words) in ENDS {
            let (from, to) = bed(&binaries).await;
            let spec = spec(&from, &to, "source", "target");
            let mut first = true;
            let on = |event: &Event| {
                if let Event::Checkpoint { .. } = event
                    && std::mem::take(&mut first)
                {
                    for statement in done.split("; ") {
                        now(from.sql(statement));
                    }
                }
            };
            let failure = match migrate_with(&spec, on).await {
                Err(failure) => failure,
                // Committed after the checkpoint: the next run sees it.
                Ok(events) => {
                    migrate(&spec).await.map(|_| panic!("{done}: {events:?}")).unwrap_err()
                }
            };
            for word in *words {
                assert!(failure.message.contains(word), "{done}: {word}: {failure}");
            }
            assert_eq!(failure.exit, Exit::CannotResume, "{done}: {failure}");
            let again = migrate(&spec).await.unwrap_err();
            assert!(again.exit == Exit::CannotResume, "{done}: {again}");
            drop_slot(&from, &spec).await;
        }
    }
}

/// It does not wait for the next run; and a truncate of the whole is no harm.
#[tokio::test]
async fn a_partition_that_is_emptied_while_changes_are_followed_ends_the_run() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let args = ["--table", "source=target", "--name", &from.name, "--then", "follow"];
        let mut run = Program::migrate(&from, &to, &args);
        run.event(|event| enters(event, "follow")).await;
        from.sql("TRUNCATE source").await;
        from.sql("INSERT INTO source VALUES (1, '2024-01-03'), (2, '2024-02-03')").await;
        run.meets(until(&to, "SELECT count(*) = 2 FROM target")).await;
        from.sql("TRUNCATE source_jan").await;
        let ended = run.ends_with(4).await;
        let message = ended.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("public.source_jan") && message.contains("TRUNCATE"), "{message}");
        let slot = format!("pghost_{}", from.name);
        nobody_reads(&from.config(), &slot).await;
        from.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    }
}

/// What happens to partitions that does not touch their rows is no obstacle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_the_rows_alone_is_nothing() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let spec = spec(&from, &to, "source", "target");
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        for done in [
            "VACUUM ANALYZE source",
            "CREATE INDEX ON source (kind)",
            "GRANT SELECT ON source_jan TO PUBLIC",
            "ALTER TABLE source_rest ALTER n SET STATISTICS 5",
            "ALTER TABLE source_jan RENAME TO january",
            "REINDEX TABLE source_rest",
        ] {
            from.sql(done).await;
            from.sql("UPDATE source SET n = n + 1 WHERE id % 3 = 0").await;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{done}: {failure}"));
            assert_same((&from, "source"), (&to, "target"), "id, day").await;
        }
        // The ledger can be told that a new file is no harm.
        from.sql("VACUUM FULL january").await;
        let failure = migrate(&spec).await.unwrap_err();
        let hint = &failure.hint;
        assert!(hint.contains("UPDATE"), "{failure}");
        let sql = &hint[hint.find("UPDATE").unwrap()..hint.find("; and give").unwrap()];
        to.sql(sql).await;
        from.sql("UPDATE source SET n = n + 1 WHERE id % 3 = 0").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "source"), (&to, "target"), "id, day").await;
        drop_slot(&from, &spec).await;
    }
}

/// Each refusal names the statements that mend it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_that_do_not_tell_the_key_are_refused() {
    for binaries in versions_to_test() {
        for wrong in [
            "ALTER TABLE source_jan REPLICA IDENTITY NOTHING; ALTER TABLE elsewhere.mar_1 REPLICA IDENTITY NOTHING",
            "ALTER TABLE source REPLICA IDENTITY FULL; ALTER TABLE source_jan REPLICA IDENTITY FULL",
            "ALTER TABLE source_rest ALTER n SET NOT NULL; CREATE UNIQUE INDEX other ON source_rest (id, n);
             ALTER TABLE source_rest REPLICA IDENTITY USING INDEX other",
            "CREATE UNIQUE INDEX by ON source (day, id); ALTER TABLE source REPLICA IDENTITY USING INDEX by",
        ] {
            let (from, to) = bed(&binaries).await;
            from.sql(wrong).await;
            let spec = spec(&from, &to, "source", "target");
            let failure = migrate(&spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            let sql = failure.hint.strip_prefix("on the source: ").unwrap();
            from.sql(sql).await;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{wrong}: {failure}"));
            from.sql("DELETE FROM source WHERE id % 2 = 0; UPDATE source SET day = day + 31 WHERE id % 3 = 0").await;
            migrate(&spec).await.unwrap_or_else(|failure| panic!("{wrong}: {failure}"));
            assert_same((&from, "source"), (&to, "target"), "id, day").await;
            drop_slot(&from, &spec).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_must_bring_changes_under_the_name_of_the_table() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        from.sql("CREATE PUBLICATION whole FOR TABLE source").await;
        let mut spec = spec(&from, &to, "source", "target");
        spec.publication = Some("whole".into());
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Refused, "{failure}");
        assert!(failure.message.contains("under the names of its partitions"), "{failure}");
        from.sql(&failure.hint).await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        from.sql("DELETE FROM source WHERE id % 2 = 0").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "source"), (&to, "target"), "id, day").await;
        drop_slot(&from, &spec).await;

        // A partition by itself, whose changes would come under another name.
        let mut part = spec.clone();
        part.name = Some(format!("{}_part", from.name));
        part.tables = vec![TableSpec {
            source: QualifiedName::new("public", "source_jan"),
            target: QualifiedName::new("public", "january"),
        }];
        from.sql("CREATE PUBLICATION \"both\" FOR TABLE source, source_jan WITH (publish_via_partition_root = true);
                  CREATE PUBLICATION alone FOR TABLE source_jan WITH (publish_via_partition_root = true)").await;
        for publication in ["whole", "both"] {
            part.publication = Some(publication.into());
            let failure = migrate(&part).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains("public.source_jan"), "{failure}");
        }
        part.publication = Some("alone".into());
        migrate(&part).await.unwrap_or_else(|failure| panic!("{failure}"));
        from.sql("UPDATE source SET n = 0 WHERE id < 10; DELETE FROM source WHERE id = 3").await;
        migrate(&part).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "source_jan"), (&to, "january"), "id, day").await;
        drop_slot(&from, &part).await;

        part.publication = None;
        part.name = Some(format!("{}_two", from.name));
        part.tables.extend(spec.tables.clone());
        to.sql("TRUNCATE target; DROP TABLE january").await;
        let failure = migrate(&part).await.unwrap_err();
        assert!(failure.message.contains("both are named"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_fits_no_partition_is_named() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        to.sql("DROP TABLE target; CREATE TABLE target (id int, day date, kind text, big text, n int,
                    PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
                CREATE TABLE t1 PARTITION OF target FOR VALUES FROM ('2024-01-01') TO ('2024-06-01')").await;
        from.sql("INSERT INTO source VALUES (7000, '2031-05-05')").await;
        let mut spec = spec(&from, &to, "source", "target");
        // It would meet the row before any page does.
        spec.trial = false;
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped);
        assert!(
            failure.message.contains("2031-05-05") && failure.message.contains("no partition"),
            "{failure}"
        );
        to.sql(
            "CREATE TABLE t2 PARTITION OF target FOR VALUES FROM ('2031-01-01') TO ('2032-01-01')",
        )
        .await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        // The same in the stream.
        from.sql("UPDATE source SET day = '2033-03-03' WHERE id = 7000").await;
        let failure = migrate(&spec).await.unwrap_err();
        assert!(
            failure.message.contains("2033-03-03") && failure.message.contains("no partition"),
            "{failure}"
        );
        to.sql("CREATE TABLE t3 PARTITION OF target DEFAULT").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "source"), (&to, "target"), "id, day").await;
        drop_slot(&from, &spec).await;
    }
}
