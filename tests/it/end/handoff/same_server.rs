//! Handovers between two databases of one server, where a subscription that made its own slot
//! would wait for itself; and what else is cheap to look at there.

use std::process::Command;

use pghost::migrate::{self, Conninfo, Event, MigrationSpec, PhaseName, Then};
use tokio::sync::watch;

use super::bed::step;
use crate::support::{
    Database, assert_same, migrate as run,
    moments::{begins, drop_slot, now, until},
    server, some_releases, spec, whole_log,
};

/// A partitioned table and one with a sequence that nobody owns.
const TABLES: &str = "
CREATE SEQUENCE shared;
CREATE TABLE parted (id bigint GENERATED ALWAYS AS IDENTITY, day int, v text, PRIMARY KEY (id, day))
    PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TABLE plain (id int PRIMARY KEY DEFAULT nextval('shared'), few smallserial, v text);
INSERT INTO parted (day, v) SELECT i % 20, 'row ' || i FROM generate_series(1, 200) i;
INSERT INTO plain (v) SELECT 'row ' || i FROM generate_series(1, 200) i;";

/// Brings what the subscription still has to bring.
async fn brought(from: &Database, slot: &str) {
    let mark = from.value("SELECT pg_current_wal_insert_lsn()").await;
    from.sql("SELECT pg_logical_emit_message(true, 'test', 'mark')").await;
    let confirmed = format!(
        "SELECT confirmed_flush_lsn >= '{mark}' FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    until(from, &confirmed).await;
}

fn pghost(from: &Database, to: &Database, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pghost"));
    command.env("GHOST_SOURCE", from.dsn()).env("GHOST_TARGET", to.dsn()).args(args);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_of_one_server_and_their_sequences() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "handed").await;
        let to = Database::create(&server, "handed").await;
        from.sql(TABLES).await;
        to.sql("CREATE SEQUENCE shared").await;
        let mut spec =
            MigrationSpec { then: Then::Handoff, ..spec(&from, &to, "parted", "parted") };
        spec.tables.push(crate::support::spec(&from, &to, "plain", "plain").tables.remove(0));
        spec.handoff.subscription = Some(format!("sub_{}", from.name));
        // Whatever the target's log is to have: not that.
        let all = ["log_transaction_sample_rate = 1", "log_statement = 'all'"];
        for setting in all {
            to.sql(&format!("ALTER DATABASE {} SET {setting}", to.name)).await;
        }
        let conninfo = format!("{} password=n0t-us3d", keywords(&from));
        spec.handoff.conninfo = Some(Conninfo::given(&conninfo).unwrap());
        let events = run(&spec).await.unwrap();
        assert!(events.iter().any(|e| step(e) == Some(super::dies::STEPS[4])));
        let log = whole_log(&server);
        assert!(log.contains("ENABLE") && !log.contains("n0t-us3d"));

        from.sql(
            "UPDATE parted SET day = (day + 10) % 20, v = 'moved' WHERE id % 3 = 0;
             DELETE FROM plain WHERE id % 5 = 0; INSERT INTO plain (v) VALUES ('new')",
        )
        .await;
        brought(&from, &format!("pghost_{}", from.name)).await;
        assert_same((&from, "parted"), (&to, "parted"), "id, day").await;
        assert_same((&from, "plain"), (&to, "plain"), "id").await;

        let json = pghost(&from, &to, &["cutover-sequences", "--name", &from.name, "--json"]);
        let sequences: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(sequences.as_array().unwrap().len(), 3, "{json}");
        assert!(sequences.as_array().unwrap().iter().all(|s| s["moved"] == true), "{json}");
        assert_eq!(to.value("SELECT nextval('shared')").await, "1202");
        assert_eq!(to.value("SELECT nextval('plain_few_seq')").await, "1202");
        assert_eq!(
            to.value("SELECT nextval(pg_get_serial_sequence('parted', 'id'))").await,
            "1201"
        );
        let text = pghost(&from, &to, &["cutover-sequences", "--name", &from.name]);
        assert_eq!(text.matches("far enough").count(), 3, "{text}");

        let text = pghost(&from, &to, &["status", "--name", &from.name]);
        assert!(text.contains("enabled, and its worker has received"), "{text}");
        let text = pghost(&from, &to, &["cleanup", "--name", &from.name]);
        assert!(text.contains("note: the replication slot"), "{text}");
        // By tables, now that the ledger is gone.
        let text = pghost(&from, &to, &["cutover-sequences", "--table", "plain", "--gap", "2000"]);
        assert!(text.contains("public.shared set to 2,201, the source is at 201"), "{text}");

        // The slot can't go with it: that would wait for the walsender of the same server.
        let name = spec.handoff.subscription.unwrap();
        to.sql(&format!("ALTER SUBSCRIPTION {name} DISABLE")).await;
        to.sql(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")).await;
        to.sql(&format!("DROP SUBSCRIPTION {name}")).await;
        let free = "SELECT count(*) = 0 FROM pg_replication_slots
                     WHERE database = current_database() AND active";
        until(&from, free).await;
        from.sql(&format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name)).await;
    }
}

/// What the source has given out while it was followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_ends_with_the_sequences_as_they_are_then() {
    for binaries in some_releases() {
        let server = server(&binaries);
        let from = Database::create(&server, "followed_seq").await;
        let to = Database::create(&server, "followed_seq").await;
        from.sql("CREATE TABLE plain (id serial PRIMARY KEY); INSERT INTO plain SELECT FROM generate_series(1, 9)").await;
        let spec = MigrationSpec { then: Then::Follow, ..spec(&from, &to, "plain", "plain") };
        let (stop, interrupt) = watch::channel(false);
        migrate::run(&spec, interrupt, &mut |event: &Event| {
            if begins(event, PhaseName::Follow) {
                now(from.sql("INSERT INTO plain SELECT FROM generate_series(1, 30)"));
            }
            if let Event::CatchUp { changes, .. } = event {
                let _ = (*changes >= 30).then(|| stop.send(true));
            }
        })
        .await
        .unwrap();
        assert_eq!(to.value("SELECT nextval('plain_id_seq')").await, "40");
        drop_slot(&from, &spec).await;
    }
}

/// The database's connection string as keywords.
/// How a server that stands on this machine reaches a database.
pub(crate) fn keywords(database: &Database) -> String {
    let config = database.config();
    let host = &config.hosts[0];
    let pghost::config::HostAddress::Unix(directory) = &host.address else {
        return format!("host=127.0.0.1 port={} user=postgres dbname={}", host.port, database.name);
    };
    format!(
        "host={} port={} user=postgres dbname={}",
        directory.display(),
        host.port,
        database.name
    )
}
