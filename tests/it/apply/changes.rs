//! Changes of every kind, at every moment of a run.

use crate::support::{
    moments::{Scenario, sums},
    some_releases,
};

/// A table with a value too big for its page, and as many rows as are wanted.
///
/// `big(n)` makes a value of 32 n bytes that does not compress.
pub(crate) const BIG: &str = "
CREATE FUNCTION big(n integer) RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT string_agg(md5(random()::text), '''') FROM generate_series(1, n)';
CREATE TABLE source (id integer PRIMARY KEY, n integer NOT NULL, a text, b text);
ALTER TABLE source ALTER b SET STORAGE EXTERNAL;
INSERT INTO source SELECT i, 0, big(300), CASE WHEN i % 3 > 0 THEN big(600) END
  FROM generate_series(1, 60) i;
CREATE TABLE target (LIKE source INCLUDING ALL);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_leaves_a_big_value_out_keeps_it() {
    for binaries in some_releases() {
        let changes = [
            "UPDATE source SET n = n + 1 WHERE id % 2 = 0",
            "UPDATE source SET n = n + 1, a = 'short' WHERE id % 5 = 0",
            "UPDATE source SET b = big(500) WHERE id % 7 = 0",
            "BEGIN; UPDATE source SET n = n + 1 WHERE id < 20; UPDATE source SET a = big(400)
              WHERE id < 10; UPDATE source SET n = n + 1, b = NULL WHERE id < 5; COMMIT",
            "BEGIN; DELETE FROM source WHERE id = 33; INSERT INTO source VALUES (33, 1, big(350));
             UPDATE source SET n = 2 WHERE id = 33; COMMIT",
        ];
        Scenario {
            what: "toast",
            tables: BIG,
            gate: "NEW.id = 30",
            between_pages: &changes,
            after_pages: &changes,
            afterwards: &changes,
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

/// The old key of a moved row is inserted again before its page is read: the page brings a row
/// of that key that is not the one that moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_row_never_takes_the_value_of_a_later_row_of_its_old_key() {
    for binaries in some_releases() {
        Scenario {
            what: "moved",
            tables: BIG,
            gate: "NEW.id = 30",
            between_pages: &[
                // Two steps into a page that has been read, and the old key anew.
                "UPDATE source SET id = 155 WHERE id = 50",
                "UPDATE source SET id = -1 WHERE id = 155",
                "INSERT INTO source VALUES (50, 1, big(310), big(610))",
                // One step, from a page that has been read into one that has not, and back.
                "UPDATE source SET id = 150 WHERE id = 5",
                "INSERT INTO source VALUES (5, 1, big(310))",
                "UPDATE source SET id = -2 WHERE id = 52",
                "UPDATE source SET id = 52 WHERE id = 53",
                "UPDATE source SET id = 53 WHERE id = 54",
                // A row that moves and is gone, and one that moves and is changed.
                "UPDATE source SET id = -3 WHERE id = 56",
                "DELETE FROM source WHERE id = -3",
                "UPDATE source SET id = -4, a = 'new' WHERE id = 57",
                "UPDATE source SET n = 5 WHERE id = -4",
            ],
            after_pages: &[
                // The rows that had to be fetched move on, others for the first time.
                "UPDATE source SET id = -10 WHERE id = -1",
                "UPDATE source SET id = -11 WHERE id = -10",
                "INSERT INTO source VALUES (-1, 7, big(320))",
                "UPDATE source SET id = 300 WHERE id = 3",
                "UPDATE source SET id = 3 WHERE id = 4",
                "UPDATE source SET id = -2 - 1000 WHERE id = -2",
                "DELETE FROM source WHERE id = -4",
                "UPDATE source SET id = -4 WHERE id = 300",
            ],
            afterwards: &[
                "UPDATE source SET id = id + 1000 WHERE id BETWEEN 10 AND 20",
                "BEGIN; UPDATE source SET id = 2000 WHERE id = 1; UPDATE source SET id = 1
                  WHERE id = 2; UPDATE source SET id = 2 WHERE id = 2000; COMMIT",
                "BEGIN; UPDATE source SET b = big(500) WHERE id = 30; UPDATE source SET id = 3000
                  WHERE id = 30; UPDATE source SET id = 3001 WHERE id = 3000; COMMIT",
                "BEGIN; DELETE FROM source WHERE id = 31; UPDATE source SET id = 31 WHERE id = 32;
                 UPDATE source SET n = 9 WHERE id = 31; COMMIT",
                "BEGIN; INSERT INTO source VALUES (4000, 1, big(300), big(300));
                 UPDATE source SET id = 4001 WHERE id = 4000;
                 UPDATE source SET id = 4002, n = 2 WHERE id = 4001; COMMIT",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

/// Two spellings of one number are one key to the server and two to whoever compares bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_spelled_anew_is_still_the_same_key() {
    let spelled = [
        "UPDATE source SET id = 5.00 WHERE id = 5",
        "UPDATE source SET id = 45.00 WHERE id = 45",
        "BEGIN; UPDATE source SET id = 6.0, n = 1 WHERE id = 6; UPDATE source SET id = 6.000
          WHERE id = 6; UPDATE source SET id = 6, a = 'x' WHERE id = 6; COMMIT",
        "BEGIN; UPDATE source SET id = 0 WHERE id = 7; UPDATE source SET id = 7.0 WHERE id = 8;
         UPDATE source SET id = 8.0 WHERE id = 0; COMMIT",
        "BEGIN; DELETE FROM source WHERE id = 9; INSERT INTO source VALUES (9.0, 9, big(300));
         COMMIT",
    ];
    let back = "UPDATE source SET id = trim_scale(id)";
    for binaries in some_releases() {
        Scenario {
            what: "spelled",
            tables: &BIG.replace("id integer", "id numeric"),
            gate: "NEW.id = 30",
            between_pages: &[
                // Fetched, so that the checkpoint is raised and what follows lies in between.
                "UPDATE source SET id = -1 WHERE id = 50",
                spelled[0],
                spelled[1],
                spelled[2],
                spelled[3],
                spelled[4],
                back,
            ],
            after_pages: &spelled,
            afterwards: &[back, &spelled.join(";"), back],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_and_rings_of_key_changes_end_as_on_the_source() {
    let chain = "UPDATE source SET id = id + 1 WHERE id >= 1000";
    let ring = "BEGIN; UPDATE source SET id = 999 WHERE id = 7;
                UPDATE source SET id = 7 WHERE id = 47; UPDATE source SET id = 47 WHERE id = 27;
                UPDATE source SET id = 27 WHERE id = 999; COMMIT";
    let changes = [
        "UPDATE source SET id = id + 1000 WHERE id % 10 = 1",
        chain,
        chain,
        ring,
        ring,
        "BEGIN; UPDATE source SET id = -id; UPDATE source SET id = -id, n = n + 1; COMMIT",
        "UPDATE source SET id = id - 1002 WHERE id > 1000",
    ];
    let small = "CREATE TABLE source (id integer PRIMARY KEY, n integer NOT NULL, a text);
                 INSERT INTO source SELECT i, i, i FROM generate_series(1, 60) i;
                 CREATE TABLE target (LIKE source INCLUDING ALL);";
    for binaries in some_releases() {
        for tables in [small, BIG] {
            Scenario {
                what: "rings",
                tables,
                gate: "NEW.id = 30",
                between_pages: &changes,
                after_pages: &changes,
                afterwards: &[&changes.join(";"), ring],
                ..Scenario::default()
            }
            .play(&binaries)
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_identity_tells_rows_apart() {
    let full = "ALTER TABLE source REPLICA IDENTITY FULL";
    // Another index than the primary key; the primary key's own column is then an ordinary one.
    let index = "ALTER TABLE source ADD u uuid NOT NULL DEFAULT gen_random_uuid();
                 CREATE UNIQUE INDEX source_u ON source (u);
                 ALTER TABLE source REPLICA IDENTITY USING INDEX source_u;
                 DROP TABLE target; CREATE TABLE target (LIKE source INCLUDING DEFAULTS);
                 ALTER TABLE target ADD PRIMARY KEY (u)";
    // Neither: a table without a primary key, every old row whole in the log.
    let only_unique = "ALTER TABLE source DROP CONSTRAINT source_pkey;
                       ALTER TABLE source ALTER id SET NOT NULL, ADD UNIQUE (id);
                       ALTER TABLE source REPLICA IDENTITY FULL";
    let changes = [
        "UPDATE source SET n = n + 1 WHERE id % 3 = 0",
        "UPDATE source SET id = id + 100, n = n + 1 WHERE id % 7 = 0",
        "UPDATE source SET id = id + 100 WHERE id % 11 = 0",
        "UPDATE source SET a = NULL WHERE id % 13 = 0",
        "UPDATE source SET b = big(290) WHERE id % 4 = 0",
        "DELETE FROM source WHERE id % 17 = 0",
        "INSERT INTO source (id, n) SELECT max(id) + 1, 0 FROM source",
    ];
    for binaries in some_releases() {
        for identity in [full, index, only_unique] {
            Scenario {
                what: "identity",
                tables: &format!("{BIG}; {identity}"),
                gate: "NEW.id = 30",
                between_pages: &changes,
                after_pages: &changes,
                afterwards: &changes,
                ..Scenario::default()
            }
            .play(&binaries)
            .await;
        }
        // Rows whose identity changes.
        let other = "UPDATE source SET u = gen_random_uuid() WHERE id % 5 = 0";
        Scenario {
            what: "identity",
            tables: &format!("{BIG}; {index}"),
            gate: "NEW.n = 0",
            between_pages: &[other, other],
            after_pages: &[other],
            afterwards: &[other],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

/// Then the log names the old key even though it did not change, and leaves it out of the new row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_stored_out_of_line_is_still_a_key() {
    let changes = [
        "UPDATE source SET n = n + 1 WHERE n % 2 = 0",
        "UPDATE source SET m = m + 100 WHERE n % 5 = 0",
        "UPDATE source SET k = big(66) WHERE n % 7 = 0",
        "UPDATE source SET k = big(66), m = m + 1, n = n + 1 WHERE n % 3 = 0",
        "DELETE FROM source WHERE n % 11 = 10",
        "INSERT INTO source SELECT big(66), 0, max(n) + 1, big(50) FROM source",
    ];
    for binaries in some_releases() {
        Scenario {
            what: "longkey",
            tables: "CREATE FUNCTION big(n integer) RETURNS text LANGUAGE sql VOLATILE AS
                        'SELECT string_agg(md5(random()::text), '''') FROM generate_series(1, n)';
                     CREATE TABLE source (k text, m integer, n integer, v text, PRIMARY KEY (k, m));
                     ALTER TABLE source ALTER k SET STORAGE EXTERNAL;
                     INSERT INTO source SELECT big(66), i % 3, i, big(50)
                       FROM generate_series(1, 40) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            key: "k, m",
            page_rows: 5,
            gate: "NEW.n % 7 = 0",
            between_pages: &changes,
            after_pages: &changes,
            afterwards: &changes,
        }
        .play(&binaries)
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncate_is_replayed_wherever_it_comes() {
    let again = "INSERT INTO source SELECT i, 9, 'again' FROM generate_series(20, 50, 3) i";
    for binaries in some_releases() {
        let in_one = format!(
            "BEGIN; UPDATE source SET n = 1; TRUNCATE source; {again}; UPDATE source SET n = 2
              WHERE id = 20; DELETE FROM source WHERE id = 23; COMMIT"
        );
        let twice = "BEGIN; TRUNCATE source; INSERT INTO source VALUES (1, 1); TRUNCATE source;
                     INSERT INTO source VALUES (1, 2); COMMIT";
        let with_others =
            "CREATE TABLE other (id integer); TRUNCATE other, source RESTART IDENTITY CASCADE";
        Scenario {
            what: "truncate",
            tables: "CREATE TABLE source (id integer PRIMARY KEY, n integer, a text);
                     INSERT INTO source SELECT i, i FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 30",
            between_pages: &["TRUNCATE source", again],
            after_pages: &["INSERT INTO source VALUES (1, 1)", &in_one],
            afterwards: &[
                "TRUNCATE source",
                again,
                &in_one,
                twice,
                with_others,
                again,
                "BEGIN; SAVEPOINT s; TRUNCATE source; ROLLBACK TO s; COMMIT",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
        // As the very last thing of the backfill, and rolled back in the middle of it.
        Scenario {
            what: "truncate",
            tables: "CREATE TABLE source (id integer PRIMARY KEY, n integer);
                     INSERT INTO source SELECT i, i FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 60",
            between_pages: &[
                "BEGIN; TRUNCATE source; ROLLBACK",
                "INSERT INTO source VALUES (61, 0)",
                "TRUNCATE source",
            ],
            afterwards: &["INSERT INTO source VALUES (60, 1)"],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_of_one_key_in_one_transaction_end_as_its_last() {
    let changes = [
        "BEGIN; INSERT INTO source VALUES (100, 1, 'a'); DELETE FROM source WHERE id = 100;
         INSERT INTO source VALUES (100, 2, NULL); COMMIT",
        "BEGIN; DELETE FROM source WHERE id = 100; INSERT INTO source VALUES (100, 3, '');
         DELETE FROM source WHERE id = 100; COMMIT",
        "BEGIN; INSERT INTO source VALUES (101, 1, 'a'); SAVEPOINT a; UPDATE source SET n = 2
          WHERE id = 101; SAVEPOINT b; DELETE FROM source; ROLLBACK TO b; INSERT INTO source
          VALUES (102, 1, 'b'); ROLLBACK TO a; UPDATE source SET a = 'c' WHERE id = 101; COMMIT",
        "BEGIN; UPDATE source SET n = n + 1; UPDATE source SET n = n + 1; UPDATE source SET id = id
          WHERE id < 5; UPDATE source SET a = a; COMMIT",
        "BEGIN; INSERT INTO source VALUES (103, 1, 'x'); UPDATE source SET id = 104 WHERE id = 103;
         DELETE FROM source WHERE id = 104; COMMIT",
        "BEGIN; DELETE FROM source; ROLLBACK",
        "DELETE FROM source WHERE id > 100",
    ];
    for binaries in some_releases() {
        Scenario {
            what: "onekey",
            tables: "CREATE TABLE source (id integer PRIMARY KEY, n integer, a text);
                     INSERT INTO source SELECT i, i FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 30",
            between_pages: &changes,
            after_pages: &changes,
            afterwards: &changes,
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_a_hundred_thousand_rows_is_one_transaction() {
    for binaries in some_releases() {
        let insert = "INSERT INTO source SELECT i, i FROM generate_series(-100000, -1) i";
        let events = Scenario {
            what: "large",
            tables: "CREATE TABLE source (id integer PRIMARY KEY, n integer);
                     INSERT INTO source SELECT i, i FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 30",
            between_pages: &[insert],
            afterwards: &[
                "BEGIN; UPDATE source SET n = n + 1; DELETE FROM source WHERE id % 10 > 0; COMMIT",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
        let (sum, table) = sums(&events);
        assert_eq!(sum, 100_000 + 100_060 + 54);
        assert_eq!((table.inserted, table.updated, table.deleted), (100_000, 100_060, 54));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_find_each_other_by_name() {
    let changes = [
        "INSERT INTO source (id, b, a) VALUES (100, 'b', 1), (101, NULL, NULL)",
        "UPDATE source SET b = upper(b), a = a + 1 WHERE id % 3 = 0",
        "UPDATE source SET id = id + 1000 WHERE id % 5 = 0",
        "DELETE FROM source WHERE id IN (1, 31, 101)",
    ];
    for binaries in some_releases() {
        let virtual_too = match binaries.version.major() {
            18.. => ", v integer GENERATED ALWAYS AS (a * 3) VIRTUAL",
            _ => "",
        };
        // Not only other columns and another order: attribute numbers with holes on both sides.
        let tables = format!(
            "CREATE TABLE source (gone integer, b text, id bigint PRIMARY KEY, gone2 text,
                 a integer, twice integer GENERATED ALWAYS AS (a * 2) STORED{virtual_too},
                 \"order\" text DEFAULT 'x');
             ALTER TABLE source DROP gone, DROP gone2;
             INSERT INTO source SELECT 'b' || i, i, i FROM generate_series(1, 60) i;
             CREATE TABLE target (twice integer GENERATED ALWAYS AS (a * 2) STORED{virtual_too},
                 extra text, a integer, gone text, more integer NOT NULL DEFAULT 7, \"order\" text,
                 id bigint GENERATED ALWAYS AS IDENTITY, b text, UNIQUE (id));
             ALTER TABLE target DROP gone, ADD made timestamptz NOT NULL DEFAULT now()"
        );
        let names = match binaries.version.major() {
            18.. => "id, a, b, \"order\", twice, v",
            _ => "id, a, b, \"order\", twice",
        };
        let server = crate::support::server(&binaries);
        let db = crate::support::Database::create(&server, "columns").await;
        db.sql(&tables).await;
        let spec = crate::support::spec(&db, &db, "source", "target");
        let views = format!(
            "CREATE VIEW s AS SELECT {names} FROM source; CREATE VIEW t AS SELECT {names} FROM target"
        );
        db.sql(&views).await;
        crate::support::migrate(&spec).await.unwrap();
        crate::support::assert_same((&db, "s"), (&db, "t"), "id").await;
        for change in changes {
            db.sql(change).await;
            crate::support::migrate(&spec)
                .await
                .unwrap_or_else(|failure| panic!("{change}: {failure}"));
            crate::support::assert_same((&db, "s"), (&db, "t"), "id").await;
        }
        let defaults = db
            .value("SELECT count(*) FROM target WHERE more = 7 AND extra IS NULL AND made <= now()")
            .await;
        assert_eq!(defaults, db.value("SELECT count(*) FROM source").await);
        crate::support::moments::drop_slot(&db, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_nothing_but_its_key_moves_too() {
    let changes = [
        "INSERT INTO source VALUES (1000, 'x'), (1001, 'y')",
        "UPDATE source SET id = id",
        "UPDATE source SET id = id + 2000 WHERE id % 3 = 0",
        "UPDATE source SET t = t || '!' WHERE id % 5 = 0",
        "BEGIN; DELETE FROM source WHERE id < 10; INSERT INTO source VALUES (4, 'back'); COMMIT",
    ];
    for binaries in some_releases() {
        Scenario {
            what: "onlykey",
            tables: "CREATE TABLE source (id integer, t text, PRIMARY KEY (t, id));
                     INSERT INTO source SELECT i, i % 4 FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 30",
            between_pages: &changes,
            after_pages: &["DELETE FROM source WHERE id >= 1000"],
            afterwards: &changes,
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_only_the_sequence_may_give_is_given_by_the_source() {
    for binaries in some_releases() {
        Scenario {
            what: "always",
            tables: "CREATE TABLE source (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                         n integer, a text);
                     INSERT INTO source (n) SELECT i FROM generate_series(1, 60) i;
                     CREATE TABLE target (LIKE source INCLUDING ALL)",
            gate: "NEW.id = 30",
            between_pages: &[
                "INSERT INTO source (n) VALUES (1), (2)",
                "UPDATE source SET n = 0 WHERE id % 4 = 0",
                "DELETE FROM source WHERE id % 5 = 0",
            ],
            after_pages: &["INSERT INTO source (n) VALUES (1), (2)"],
            afterwards: &[
                "INSERT INTO source (n) VALUES (1), (2)",
                "UPDATE source SET n = 1, a = 'x' WHERE id % 3 = 0",
                "INSERT INTO source OVERRIDING SYSTEM VALUE VALUES (-5, 5)",
                "DELETE FROM source WHERE id % 7 = 0",
            ],
            ..Scenario::default()
        }
        .play(&binaries)
        .await;
    }
}
