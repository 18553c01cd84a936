//! Two servers of a test's own, which can be restarted, crashed and stopped under a run.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use pghost::{
    backfill::Paging,
    cluster::{Binaries, ClusterError, Server, StopMode},
    config::Config,
    conn::{Connection, QueryResult, parse_dsn},
    ledger::LedgerSchema,
    migrate::{HandoffSpec, MigrationSpec, TableSpec, Then, Trust},
    pg::QualifiedName,
};

use crate::support::{self, limit::within};

/// A server that several may restart.
#[derive(Clone)]
pub(crate) struct Own {
    server: Arc<Mutex<Server>>,
    dsn: String,
    pub(crate) port: u16,
}

impl Own {
    pub(crate) fn start(binaries: &Binaries, settings: &[(&str, &str)]) -> Self {
        let server = Server::start(binaries, settings).unwrap();
        let (dsn, port) = (server.tcp_dsn("postgres"), server.port());
        Self { server: Arc::new(Mutex::new(server)), dsn, port }
    }

    pub(crate) fn dsn(&self) -> &str {
        &self.dsn
    }

    /// The same by another port, such as a proxy's.
    pub(crate) fn dsn_by(&self, port: u16) -> String {
        self.dsn.replace(&format!(":{}", self.port), &format!(":{port}"))
    }

    pub(crate) fn config(&self) -> Config {
        parse_dsn(&self.dsn).unwrap()
    }

    pub(crate) async fn connect(&self) -> Connection {
        support::connect(&self.config()).await
    }

    pub(crate) async fn sql(&self, sql: &str) -> QueryResult {
        support::query(&self.config(), sql).await
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        support::value(&self.config(), sql).await
    }

    /// Waits until a query gives true.
    pub(crate) async fn until(&self, sql: &str) {
        let mut connection = self.connect().await;
        let looking = Box::pin(async {
            loop {
                let result = connection.query(sql).await.unwrap();
                if result.row().unwrap().values()[0].as_deref() == Some(b"t") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        within(sql, looking).await;
        connection.close().await;
    }

    /// Stops it and starts it again after a while, beside whatever goes on here.
    pub(crate) fn restart(&self, how: StopMode, after: Duration) -> JoinHandle<()> {
        let server = self.server.clone();
        thread::spawn(move || {
            let mut server = server.lock().unwrap();
            server.stop(how).unwrap();
            thread::sleep(after);
            start_again(&mut server);
        })
    }

    /// Which standbys commits wait for. When this returns, they do.
    pub(crate) async fn standby_names(&self, names: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await;
        self.server(|server| server.reload().unwrap());
        // The checkpointer has all sessions wait, or none, when it comes to it.
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while !names.is_empty() {
            let mut trial = self.connect().await;
            let pid = trial.process_id();
            let commit = "SELECT pg_logical_emit_message(true, 'test', 'trial')";
            tokio::select! {
                committed = trial.query(commit) => drop(committed.unwrap()),
                () = self.until(waits) => {
                    self.sql(&format!("SELECT pg_terminate_backend({pid}, 60000)")).await;
                    break;
                }
            }
        }
    }

    pub(crate) fn stop(&self, how: StopMode) {
        self.server.lock().unwrap().stop(how).unwrap();
    }

    pub(crate) fn start_again(&self) {
        start_again(&mut self.server.lock().unwrap());
    }

    pub(crate) fn server<T>(&self, with: impl FnOnce(&mut Server) -> T) -> T {
        with(&mut self.server.lock().unwrap())
    }
}

/// Starts a server that was stopped. Its port was anybody's meanwhile, and is given back soon.
fn start_again(server: &mut Server) {
    for _ in 0..100 {
        match server.start_again() {
            Err(ClusterError::NotStarted { log, .. }) if log.contains("already in use") => {
                thread::sleep(Duration::from_millis(100));
            }
            started => return started.unwrap(),
        }
    }
    panic!("somebody has the port {}", server.port());
}

/// A source and a target.
pub(crate) struct Two {
    pub(crate) source: Own,
    pub(crate) target: Own,
}

impl Two {
    pub(crate) fn start(binaries: &Binaries) -> Self {
        Self::with(binaries, &[], &[])
    }

    /// Starts both at once.
    pub(crate) fn with(
        binaries: &Binaries,
        source: &[(&str, &str)],
        target: &[(&str, &str)],
    ) -> Self {
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| tell.send(Own::start(binaries, target)).unwrap());
            let source = Own::start(binaries, source);
            Self { source, target: told.recv().unwrap() }
        })
    }

    pub(crate) fn spec(&self) -> MigrationSpec {
        let name = |name| QualifiedName::new("public", name);
        MigrationSpec {
            source: self.source.config(),
            target: self.target.config(),
            copy_from: None,
            tables: vec![TableSpec { source: name("source"), target: name("target") }],
            name: Some("outage".into()),
            publication: None,
            slot: None,
            ledger: LedgerSchema::default(),
            page_rows: Some(50),
            copy_jobs: 2,
            apply_jobs: 2,
            defer_indexes: false,
            target_owner: None,
            target_tablespace: None,
            paging: Paging::Auto,
            trial: true,
            verify: false,
            then: Then::Stop,
            handoff: HandoffSpec::default(),
            wait_for_server: Duration::from_secs(60),
            stall: MigrationSpec::STALL,
            ignore_new_columns: false,
            trust: Trust::default(),
        }
    }

    /// Panics unless both tables hold the same rows.
    pub(crate) async fn are_equal(&self) {
        let rows = |table: &str| {
            format!("SELECT coalesce(string_agg(t::text, chr(10) ORDER BY id), '') FROM {table} t")
        };
        let source = self.source.value(&rows("source")).await;
        let target = self.target.value(&rows("target")).await;
        if source != target {
            let only = |a: &str, b: &str| {
                let b: std::collections::HashSet<_> = b.lines().collect();
                let of_a = a.lines().filter(|line| !b.contains(line));
                of_a.take(3).map(|l| l.chars().take(200).collect()).collect::<Vec<String>>()
            };
            panic!("source {:#?}, target {:#?}", only(&source, &target), only(&target, &source));
        }
    }

    /// Panics unless both servers are rid of every session of pghost's, and of what it held.
    pub(crate) async fn nothing_is_left_open(&self) {
        for server in [&self.source, &self.target] {
            support::nothing_is_left_open(&server.config()).await;
        }
    }
}
