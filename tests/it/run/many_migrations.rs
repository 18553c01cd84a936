//! Many migrations at the same time, from one database to one other: each has a slot, a publication
//! and lines in the ledger of its own, and none disturbs another.

use pghost::migrate::{CleanupSpec, Failure, MigrationSpec, cleanup};
use tokio::task::JoinSet;

use crate::{
    run::journey::Writers,
    support::{Database, assert_same, migrate, server, spec, status, versions_to_test},
};

const MANY: u32 = 4;
const ROWS: u32 = 2000;

fn table(i: u32) -> String {
    format!("many_{i}")
}

/// Each moves a table of its own to one of another name, made by pghost.
fn each(from: &Database, to: &Database) -> Vec<MigrationSpec> {
    let one = |i| {
        let (source, target) = (table(i), format!("moved_{i}"));
        let name = Some(format!("{}_{i}", from.name));
        MigrationSpec { name, page_rows: Some(250), ..spec(from, to, &source, &target) }
    };
    (0..MANY).map(one).collect()
}

/// All at once; also the first thing that they do, making the ledger's schema.
async fn all(specs: &[MigrationSpec]) -> Result<(), Failure> {
    let mut runs = JoinSet::new();
    for spec in specs {
        let spec = spec.clone();
        runs.spawn(async move { migrate(&spec).await });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap()?;
    }
    Ok(())
}

async fn are_equal(from: &Database, to: &Database) {
    for i in 0..MANY {
        assert_same((from, &table(i)), (to, &format!("moved_{i}")), "id").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_side_by_side_do_not_disturb_each_other() {
    for binaries in versions_to_test() {
        let server = server(&binaries);
        let from = Database::create(&server, "beside").await;
        let to = Database::create(&server, "beside").await;
        let mut changes = Vec::new();
        for i in 0..MANY {
            let name = table(i);
            from.sql(&format!(
                "CREATE TABLE {name} (id serial PRIMARY KEY, v int);
                 INSERT INTO {name} (v) SELECT i FROM generate_series(1, {ROWS}) i"
            ))
            .await;
            changes.push(format!(
                "BEGIN; UPDATE {name} SET v = v + 1 WHERE id % 50 = $n % 50;
                 UPDATE {name} SET id = -$n WHERE id = $n;
                 INSERT INTO {name} (v) VALUES ($n); DELETE FROM {name} WHERE id = 2 * $n; COMMIT"
            ));
        }
        let changes: Vec<_> = changes.iter().map(String::as_str).collect();
        let writers = Writers::start(&from, &changes);
        let specs = each(&from, &to);
        all(&specs).await.unwrap();
        assert!(writers.stop().await > 0);
        // Once more, up to the last change.
        all(&specs).await.unwrap();
        are_equal(&from, &to).await;

        let known = status(&to.config(), None).await.unwrap();
        assert_eq!(known.len(), MANY as usize, "{known:?}");
        // One of them ends; the others go on as if it had never been.
        let of =
            |i: usize| CleanupSpec::new(from.config(), to.config(), specs[i].name.clone().unwrap());
        assert!(cleanup(&of(0)).await.unwrap().removed.len() >= 2);
        assert_eq!(status(&to.config(), None).await.unwrap().len(), MANY as usize - 1);
        from.sql(&format!("UPDATE {} SET v = -1 WHERE id = 1999", table(3))).await;
        all(&specs[1..]).await.unwrap();
        are_equal(&from, &to).await;
        for i in 1..specs.len() {
            cleanup(&of(i)).await.unwrap();
        }
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(to.value(left).await, "0");
    }
}
