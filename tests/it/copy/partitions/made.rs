//! Partitioned targets that pghost makes, and what existing ones go without.

use super::{ROWS, SOURCE};
use crate::{
    finish::objects::{assert_says, notices, says},
    run::journey::Writers,
    support::{Database, assert_same, migrate, moments::drop_slot, server, spec, versions_to_test},
};

/// What the whole and single partitions have; two indexes of partitions are named by the server.
const MORE: &str = "CREATE TABLE other (id int PRIMARY KEY);
    CREATE UNIQUE INDEX by_day ON source (day, id); CREATE INDEX by_kind ON source (kind) WHERE n > 3;
    ALTER TABLE source ADD CONSTRAINT n_id UNIQUE (n, id, day), ADD CONSTRAINT positive CHECK (id > -99999),
        ADD CONSTRAINT to_other FOREIGN KEY (n) REFERENCES other;
    ALTER TABLE source DROP CONSTRAINT to_other, ADD CONSTRAINT to_other FOREIGN KEY (n) REFERENCES other DEFERRABLE;
    COMMENT ON TABLE source IS 'whole'; COMMENT ON INDEX by_day IS 'by day';
    CREATE INDEX source_jan_own ON source_jan (n, kind) WITH (fillfactor = 50);
    ALTER TABLE source_jan ADD CONSTRAINT jan_own CHECK (kind <> 'never'), ALTER kind SET NOT NULL,
        ALTER n SET DEFAULT 9, ALTER big SET STATISTICS 77;
    ALTER TABLE source_jan SET (fillfactor = 80); COMMENT ON TABLE elsewhere.feb IS 'short';
    ALTER TABLE elsewhere.feb ADD CONSTRAINT feb_own UNIQUE (id);
    CREATE STATISTICS elsewhere.feb_kinds ON kind, n FROM elsewhere.feb;
    GRANT SELECT ON source_rest TO PUBLIC;";

/// Bounds, levels and columns of the whole tree, by the names' ends.
const TREE: &str = "SELECT string_agg(concat_ws(' | ', replace(relid::text, 'target', 'source'),
        replace(parentrelid::text, 'target', 'source'), level, pg_get_expr(c.relpartbound, c.oid),
        pg_get_partkeydef(c.oid), c.relreplident, c.reloptions), chr(10) ORDER BY 1) FROM (
        SELECT * FROM pg_partition_tree('$t') ORDER BY level, relid::text) t JOIN pg_class c ON c.oid = t.relid";

const CHILDREN: &str = "SELECT string_agg(concat_ws(' ', replace(i.indrelid::regclass::text, 'target', 'source'),
        i.indisclustered, i.indisreplident, pg_get_indexdef(i.indexrelid, 1, false)), chr(10) ORDER BY
        i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid, 1, false), i.indisprimary, c.relname)
    FROM pg_partition_tree('$t') t JOIN pg_index i ON i.indrelid = t.relid JOIN pg_class c ON c.oid = i.indexrelid";

async fn tree(database: &Database, table: &str) -> String {
    let tree = database.value(&TREE.replace("$t", table)).await;
    tree + "\n" + &database.value(&CHILDREN.replace("$t", table)).await
}

fn writers(database: &Database) -> Writers {
    Writers::start(
        database,
        &[
            "UPDATE source SET day = '2024-01-01'::date + ($n * 37) % 100 WHERE id = ($n * 7) % 150",
            "INSERT INTO source VALUES (2000 + $n, '2024-01-01'::date + $n % 120, 'new', 'x', $n % 9 + 1)",
            "UPDATE source SET kind = 'changed $n' WHERE id = ($n * 13) % 150",
            "DELETE FROM source WHERE id = 2000 + $n * 3 - 60",
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_target_becomes_the_same_partitions() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "tree").await;
        let to = Database::create(&server, "tree").await;
        from.sql(&format!("{SOURCE} {MORE} INSERT INTO other SELECT generate_series(0, 200);"))
            .await;
        from.sql(ROWS).await;
        from.sql(
            "ALTER TABLE source_rest CLUSTER ON source_rest_day_id_idx;
             ALTER TABLE source_jan REPLICA IDENTITY FULL",
        )
        .await;
        to.sql(
            "CREATE SCHEMA elsewhere; CREATE TABLE other (id int PRIMARY KEY);
                INSERT INTO other SELECT generate_series(0, 200)",
        )
        .await;
        let writers = writers(&from);
        let mut spec = spec(&from, &to, "source", "source");
        spec.page_rows = Some(20);
        let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let left_out =
            notices(&events).iter().any(|n| n.contains("left out") || n.contains("leaves out"));
        assert!(!left_out, "{events:?}");
        writers.stop().await;
        for table in ["source", "source_jan", "source_rest"] {
            assert_says(&says(&from, table).await, &says(&to, table).await);
        }
        assert_eq!(tree(&from, "source").await, tree(&to, "source").await);
        let own = "SELECT concat_ws(' ', (SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint
                WHERE conrelid = 'elsewhere.feb'::regclass AND conname LIKE 'feb_own%'),
            (SELECT stxname FROM pg_statistic_ext WHERE stxnamespace = 'elsewhere'::regnamespace),
            (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'source_jan'::regclass),
            (SELECT attnotnull FROM pg_attribute WHERE attrelid = 'source_jan'::regclass AND attname = 'kind'))";
        assert_eq!(from.value(own).await, "feb_own feb_kinds 9 t");
        assert_eq!(to.value(own).await, "feb_own feb_kinds 9 t");
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let feb = "(SELECT id, day, kind, n, big FROM elsewhere.feb)";
        for table in ["source", "source_jan", feb, "source_mar_0", "source_rest"] {
            assert_same((&from, table), (&to, table), "id, day").await;
        }
        drop_slot(&from, &spec).await;
    }
}

/// Beside the source, where all names are taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_beside_their_source_get_names_like_the_target() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let db = Database::create(&server, "beside").await;
        db.sql(&format!("{SOURCE} {ROWS}")).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        db.sql("UPDATE source SET day = day + 31 WHERE id % 3 = 0").await;
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let names = "SELECT string_agg(relid::text, ' ' ORDER BY level, relid::text COLLATE \"C\")
                       FROM pg_partition_tree('target')";
        assert_eq!(
            db.value(names).await,
            "target elsewhere.target_feb target_jan target_mar target_rest elsewhere.target_mar_1 target_mar_0"
        );
        assert_same((&db, "source"), (&db, "target"), "id, day").await;
        drop_slot(&db, &spec).await;
    }
}

/// `--defer-indexes` on a partitioned target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_go_without_their_indexes_and_get_them_back() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "bare").await;
        let to = Database::create(&server, "bare").await;
        for database in [&from, &to] {
            database
                .sql(&format!("{SOURCE} {MORE} INSERT INTO other SELECT generate_series(0, 200)"))
                .await;
        }
        from.sql(ROWS).await;
        to.sql(
            "ALTER TABLE source_rest CLUSTER ON source_rest_day_id_idx;
                ALTER TABLE source_jan REPLICA IDENTITY USING INDEX source_jan_day_id_idx",
        )
        .await;
        let (before, before_jan) = (says(&to, "source").await, says(&to, "source_jan").await);
        let tree_before = tree(&to, "source").await;
        let mut spec = spec(&from, &to, "source", "source");
        let refused = migrate(&spec).await.unwrap_err();
        assert!(refused.hint.contains("--defer-indexes"), "{refused}");
        spec.defer_indexes = true;
        let writers = writers(&from);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        writers.stop().await;
        assert_says(&before, &says(&to, "source").await);
        assert_says(&before_jan, &says(&to, "source_jan").await);
        assert_eq!(tree_before, tree(&to, "source").await);
        migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "source"), (&to, "source"), "id, day").await;
        drop_slot(&from, &spec).await;
    }
}
