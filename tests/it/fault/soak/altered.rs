//! Tables and columns of the source that exchange their names, go by another one for a moment, or
//! get another type, under a run. It may end with exit code 4; what it has committed is of the right
//! table and the right columns all the same.

use std::time::Duration;

use pghost::migrate::{CleanupSpec, cleanup};

use super::{Fault, Round, Soak, may_have_ended};
use crate::support::{limit::within, nobody_reads, own_servers::Own};

/// What marks a row as one of the right table, by columns of their own names.
pub(super) fn mark(table: &str) -> String {
    format!(
        "ALTER TABLE {table} ADD one int NOT NULL DEFAULT 1, ADD two int NOT NULL DEFAULT 2;
         CREATE TABLE {table}_shadow (LIKE {table} INCLUDING ALL);
         INSERT INTO {table}_shadow SELECT * FROM {table};
         UPDATE {table}_shadow SET one = 7, two = 7"
    )
}

/// The statements of one transaction, and of the one that takes it back.
fn statements(fault: Fault, table: &str) -> [String; 2] {
    let columns = format!(
        "ALTER TABLE {table} RENAME one TO three; ALTER TABLE {table} RENAME two TO one;
         ALTER TABLE {table} RENAME three TO two"
    );
    let retype = |kind: &str| format!("ALTER TABLE {table} ALTER one TYPE {kind}");
    match fault {
        Fault::Renamed => [
            format!("ALTER TABLE {table} RENAME TO {table}_away"),
            format!("ALTER TABLE {table}_away RENAME TO {table}"),
        ],
        Fault::TablesExchanged => {
            let exchange = format!(
                "ALTER TABLE {table} RENAME TO {table}_away;
                 ALTER TABLE {table}_shadow RENAME TO {table};
                 ALTER TABLE {table}_away RENAME TO {table}_shadow"
            );
            [exchange.clone(), exchange]
        }
        Fault::Retyped => [retype("bigint"), retype("int")],
        _ => [columns.clone(), columns],
    }
}

impl Soak {
    /// Alters the table, and soon makes it what it was.
    pub(super) async fn altered_for_a_moment(&mut self, fault: Fault, round: &mut Round) {
        round.alone().await;
        let [there, back] = statements(fault, round.table.name.as_str());
        self.two.source.sql(&there).await;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..1000))).await;
        self.two.source.sql(&back).await;
    }

    /// Alters the table, which must end the migration. Then it is cleaned up, and begins anew.
    pub(super) async fn altered_for_good(&mut self, fault: Fault, round: &mut Round) {
        round.alone().await;
        let table = round.table.name.as_str().to_owned();
        let [there, back] = statements(fault, &table);
        self.two.source.sql(&there).await;
        // The stream describes a table when it brings a row of it.
        self.two.source.sql(&format!("UPDATE {table} SET paid = paid WHERE id < 9")).await;
        loop {
            let run = match round.run.take() {
                Some(run) => run,
                None => self.migrate(round, "follow"),
            };
            let ended = run.ended().await;
            may_have_ended(&ended, true);
            assert_ne!(ended.code, Some(0), "{fault:?}: {:#?}", ended.notes);
            if ended.code == Some(4) {
                self.stopped += 1;
                break;
            }
        }
        self.nothing_wrong(round).await;
        self.two.source.sql(&back).await;
        self.begins_anew(round).await;
    }

    /// Whether there is a migration that knows its table: another one begins with what it finds.
    pub(super) async fn has_begun(&self, round: &Round) -> bool {
        let begun = format!(
            "SELECT EXISTS (SELECT FROM pghost.migration WHERE name = '{}' AND phase <> 'prepare')
                AS begun",
            round.name
        );
        let mut connection = self.two.target.connect().await;
        let answer = within("the ledger", connection.query(&begun)).await;
        connection.close().await;
        match answer {
            Ok(answer) => answer.row().unwrap().get("begun").unwrap(),
            // A run that fails before the first page unmakes its ledger, at any moment.
            Err(error) if error.sqlstate().is_some_and(|state| state.as_str() == "42P01") => false,
            Err(error) => panic!("{begun}: {error}"),
        }
    }

    /// None of the rows on the target is of another table or of a column of another name.
    pub(super) async fn nothing_wrong(&self, round: &Round) {
        let table = round.table.name.as_str();
        let made = format!("SELECT to_regclass('{table}') IS NOT NULL");
        if self.two.target.value(&made).await == "t" {
            let wrong = format!("SELECT count(*) FROM {table} WHERE one <> 1 OR two <> 2");
            let wrong = self.two.target.value(&wrong).await;
            assert_eq!(wrong, "0", "{} after {:?}", round.name, self.survived);
        }
    }

    pub(super) async fn begins_anew(&self, round: &Round) {
        let slot = format!("pghost_{}", round.name);
        nobody_reads(&self.two.source.config(), &slot).await;
        let config = Own::config;
        let (source, target) = (config(&self.two.source), config(&self.two.target));
        cleanup(&CleanupSpec::new(source, target, round.name.clone())).await.unwrap();
        let gone = format!("DROP TABLE IF EXISTS {}", round.table.name.as_str());
        self.two.target.sql(&gone).await;
    }
}

impl Round {
    /// Nobody writes while names lead elsewhere.
    async fn alone(&mut self) {
        self.altered = true;
        if let Some(workload) = self.workload.take() {
            workload.stop().await.unwrap();
        }
    }
}
