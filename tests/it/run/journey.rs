//! The whole journey, under writes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pghost::migrate::Event;

use crate::support::{Database, assert_same, migrate, server, spec, versions_to_test};

/// Runs statements over and over, `$n` standing for a running number, until stopped.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<u64>>,
}

impl Writers {
    pub(crate) fn start(database: &Database, statements: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = |sql: &&str| {
            let (database, sql, stop) = (database.clone(), (*sql).to_owned(), stop.clone());
            tokio::spawn(async move {
                let mut connection = database.connect().await;
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let sql = sql.replace("$n", &n.to_string());
                    // Two writers may want the same key, or a row that moves to another partition.
                    if let Err(error) = connection.query(&sql).await {
                        let code = error.sqlstate().map(|c| c.to_string()).unwrap_or_default();
                        assert!(
                            ["23505", "40P01", "40001"].contains(&code.as_str()),
                            "{sql}: {error}"
                        );
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                n
            })
        };
        Self { tasks: statements.iter().map(task).collect(), stop }
    }

    pub(crate) async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = 0;
        for task in self.tasks {
            sum += task.await.unwrap();
        }
        sum
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_test_bed_ends_with_both_tables_equal() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let db = Database::create(&server, "yolos").await;
        db.sql(
            "CREATE TABLE yolos (id serial PRIMARY KEY);
             CREATE TABLE yolos2 (id serial PRIMARY KEY);
             INSERT INTO yolos SELECT generate_series(1, 50000);
             SELECT setval('yolos_id_seq', 50000);
             CREATE PUBLICATION pub_on_yolos FOR TABLE yolos",
        )
        .await;
        let writers = Writers::start(
            &db,
            &[
                "INSERT INTO yolos DEFAULT VALUES",
                "DELETE FROM yolos WHERE id = ($n * 7919) % 50000",
                "UPDATE yolos SET id = 1000000 + id WHERE id = ($n * 104729) % 50000",
                "UPDATE yolos SET id = id - 1000000
                  WHERE id = 1000000 + (($n - 50) * 104729) % 50000",
            ],
        );
        let mut spec = spec(&db, &db, "yolos", "yolos2");
        spec.publication = Some("pub_on_yolos".into());
        spec.page_rows = Some(5000);
        let events = migrate(&spec).await.unwrap();
        assert!(writers.stop().await > 0);
        migrate(&spec).await.unwrap();
        assert_same((&db, "yolos"), (&db, "yolos2"), "id").await;
        let Some(Event::Finished { tables, changes_received, .. }) = events.last() else {
            panic!("not finished: {events:?}");
        };
        let t = &tables[0];
        assert_eq!(*changes_received, t.inserted + t.updated + t.deleted + t.truncated + t.skipped);
        assert!(t.rows_copied >= 40_000, "{t:?}");
    }
}
