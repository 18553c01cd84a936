//! Rows that move with a big value that the log leaves out, in a run that is stopped on its way.

use pghost::migrate::{self, Event, Exit};
use tokio::sync::watch;

use crate::{
    apply::changes::BIG,
    support::{
        Database, assert_same, migrate,
        moments::{Gate, drop_slot, now, sums},
        server, some_releases, spec,
    },
};

/// Each run is stopped as soon as it has raised the checkpoint for a row that it fetched, or at
/// its end; in between the fetched rows move on, and their old keys come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_fetched_is_known_for_it_in_later_runs() {
    let changes = [
        "UPDATE source SET id = -10 WHERE id = -1; INSERT INTO source VALUES (-1, 1, big(310))",
        "UPDATE source SET id = -11 WHERE id = -10; INSERT INTO source VALUES (-10, 1, big(310));
         UPDATE source SET id = 500 WHERE id = 3",
        "UPDATE source SET id = -1000 - id WHERE id < 0",
        "UPDATE source SET id = 600 + id WHERE id BETWEEN 5 AND 20",
        "DELETE FROM source WHERE id BETWEEN -990 AND -989; UPDATE source SET n = n + 1",
    ];
    for binaries in some_releases() {
        let server = server(&binaries);
        let db = Database::create(&server, "fetched").await;
        db.sql(BIG).await;
        let mut spec = spec(&db, &db, "source", "target");
        spec.page_rows = Some(10);
        spec.copy_jobs = 1;
        let mut gate = Some(Gate::close(&db, "target", 1, "NEW.id = 30").await);
        let mut changes = changes.into_iter();
        let mut stopped = 0;
        loop {
            let (stop, interrupt) = watch::channel(false);
            let mut checkpoints = 0;
            let first = gate.is_some();
            let mut listener = |event: &Event| {
                if let Event::Checkpoint { .. } = event {
                    checkpoints += 1;
                    // A later run takes no checkpoint of its own: its first one is a raised one.
                    if checkpoints > u32::from(first) {
                        let _ = stop.send(true);
                    }
                    changes.next().into_iter().for_each(|sql| {
                        now(db.sql(sql));
                    });
                }
            };
            let run = migrate::run(&spec, interrupt, &mut listener);
            let between_pages = async {
                if let Some(gate) = gate.take() {
                    gate.reached().await;
                    db.sql("UPDATE source SET id = 155 WHERE id = 50").await;
                    db.sql("UPDATE source SET id = -1 WHERE id = 155").await;
                    db.sql("INSERT INTO source VALUES (50, 1, big(310))").await;
                    gate.open().await;
                }
            };
            match tokio::join!(run, between_pages).0 {
                Ok(()) => break,
                Err(failure) => assert_eq!(failure.exit, Exit::Stopped, "{failure}"),
            }
            stopped += 1;
        }
        assert!(stopped > 0, "the checkpoint was never raised");
        for change in changes {
            db.sql(change).await;
        }
        sums(&migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}")));
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}
