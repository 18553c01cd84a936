//! Tables of unusual shapes, into targets that pghost makes.

use crate::support::{Database, migrate, moments::drop_slot, server, spec, versions_to_test};

/// A word for the database, what makes the table, and what is done between two runs.
struct Shape {
    what: &'static str,
    create: String,
    change: &'static str,
}

fn shapes() -> Vec<Shape> {
    let shape = |what, create: &str, change| Shape { what, create: create.to_owned(), change };
    let columns: Vec<_> = (2..=1600).map(|n| format!("c{n} int")).collect();
    let columns = columns.join(", ");
    // As many as a row of a page can hold: 24 bytes of its own and 8 for each make 8160. (A column
    // more, as in a staging table, is too many.)
    let wide: Vec<_> = (1..=1016).map(|n| format!("c{n} bigint NOT NULL DEFAULT 7")).collect();
    vec![
        shape("no_rows", "CREATE TABLE source (id int PRIMARY KEY, v text)", "SELECT"),
        shape(
            "one_row",
            "CREATE TABLE source (id int PRIMARY KEY, v text); INSERT INTO source VALUES (1, 'a')",
            "UPDATE source SET id = 2",
        ),
        shape(
            "only_the_key",
            "CREATE TABLE source (a int, b text, PRIMARY KEY (b, a));
             INSERT INTO source SELECT i % 7, i::text FROM generate_series(1, 3000) i",
            "UPDATE source SET a = 8 WHERE a = 3; DELETE FROM source WHERE a = 5",
        ),
        shape(
            "many_columns",
            &format!(
                "CREATE TABLE source (id int PRIMARY KEY, {columns});
                 INSERT INTO source (id, c2, c1600) SELECT i, i, -i FROM generate_series(1, 150) i"
            ),
            // A staging table would have one column more.
            "UPDATE source SET c800 = id, c2 = NULL WHERE id % 2 = 0;
             DELETE FROM source WHERE id % 3 = 0;
             INSERT INTO source (id, c3) SELECT i, i FROM generate_series(200, 239) i",
        ),
        shape(
            "wide_rows",
            &format!(
                "CREATE TABLE source (id bigint PRIMARY KEY, {});
                 INSERT INTO source SELECT generate_series(1, 120)",
                wide.join(", ")
            ),
            "UPDATE source SET c1016 = id WHERE id % 2 = 0; DELETE FROM source WHERE id % 3 = 0;
             INSERT INTO source SELECT generate_series(200, 239)",
        ),
        shape(
            "generated",
            "CREATE TABLE source (id int PRIMARY KEY, a int GENERATED ALWAYS AS (id * 2) STORED,
                 b text GENERATED ALWAYS AS ('row ' || id::numeric) STORED);
             INSERT INTO source SELECT i FROM generate_series(1, 1000) i",
            "UPDATE source SET id = id + 10000 WHERE id % 3 = 0",
        ),
        shape(
            "huge_rows",
            "CREATE TABLE source (id int PRIMARY KEY, v text, w bytea);
             INSERT INTO source SELECT i, repeat(md5(i::text), 1600000),
                 decode(repeat(md5((-i)::text), 100000), 'hex') FROM generate_series(1, 3) i",
            "UPDATE source SET w = NULL WHERE id = 2; INSERT INTO source VALUES (4, repeat('x', 50000000))",
        ),
    ]
}

/// One number for all rows and values; a text of them would be too long.
async fn sum(database: &Database, table: &str) -> String {
    let sql = format!(
        "SELECT concat(count(*), ' ', sum(hashtextextended(t::text, 0)::numeric)) FROM {table} t"
    );
    database.value(&sql).await
}

#[tokio::test]
async fn tables_of_every_shape_are_moved() {
    let versions = versions_to_test();
    for (at, binaries) in versions.iter().enumerate() {
        let server = server(binaries);
        // 50 MB take their time; the oldest and the newest release will do.
        let takes_huge_rows = at == 0 || at + 1 == versions.len();
        let shapes = shapes().into_iter().filter(|s| takes_huge_rows || s.what != "huge_rows");
        for Shape { what, create, change } in shapes {
            let from = Database::create(&server, what).await;
            let to = Database::create(&server, what).await;
            from.sql(&create).await;
            let spec = spec(&from, &to, "source", "target");
            for sql in ["SELECT", change] {
                from.sql(sql).await;
                let major = binaries.version.major();
                let moved = migrate(&spec).await;
                moved.unwrap_or_else(|failure| panic!("{major} {what} {sql}: {failure}"));
                let (source, target) = (sum(&from, "source").await, sum(&to, "target").await);
                assert_eq!(source, target, "{major} {what} {sql}");
            }
            drop_slot(&from, &spec).await;
        }
    }
}
