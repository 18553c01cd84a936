//! A handover by a role that is no superuser, where Postgres allows it.

use pghost::{
    config::Config,
    migrate::{CleanupSpec, Conninfo, MigrationSpec, StatusSpec},
};

use super::bed::{Bed, pair};
use crate::support::{migrate, whole_log};

/// The walsender needs a password; the subscription has it from its conninfo alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_no_superuser_hands_over() {
    for binaries in [(16, 18), (14, 17)].into_iter().filter_map(pair) {
        let bed = Bed::make(&binaries).await;
        let (source, target) = (&bed.two.source, &bed.two.target);
        source
            .sql(
                "CREATE ROLE mover LOGIN REPLICATION PASSWORD 'hunter2';
                 GRANT CREATE ON DATABASE postgres TO mover; ALTER TABLE busy OWNER TO mover",
            )
            .await;
        source.server(|server| {
            server
                .set_hba(
                    "host all postgres all trust\nlocal all postgres trust\n\
                     host all mover all scram-sha-256\nhost replication mover all scram-sha-256\n",
                )
                .unwrap();
        });
        target
            .sql(
                "CREATE ROLE mover LOGIN; GRANT CREATE ON SCHEMA public TO mover;
                 GRANT CREATE ON DATABASE postgres TO mover; GRANT pg_create_subscription TO mover;
                 GRANT EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn),
                     pg_replication_origin_progress(text, boolean) TO mover",
            )
            .await;
        let as_mover = |config: Config| Config { user: "mover".into(), ..config };
        let mut spec = bed.spec();
        spec.source = as_mover(spec.source);
        spec.source.password = Some(pghost::config::Password::new("hunter2"));
        spec.target = as_mover(spec.target);
        let without = migrate(&spec).await.unwrap_err();
        assert_eq!(without.exit.code(), 2, "{without}");
        let conninfo = format!(
            "host=127.0.0.1 port={} user=mover dbname=postgres password=hunter2",
            source.port
        );
        // A statement that fails is in the log with all that it says, unless the role may keep it
        // out.
        let nowhere = conninfo.replace(&source.port.to_string(), "1");
        spec.handoff.conninfo = Some(Conninfo::given(&nowhere).unwrap());
        let is_logged = || target.server(|server| whole_log(server)).contains("hunter2");
        target.sql("GRANT SET ON PARAMETER log_min_error_statement TO mover").await;
        let refused = migrate(&spec).await.unwrap_err();
        assert!(refused.exit.code() == 2 && !is_logged(), "{refused}");
        target.sql("REVOKE SET ON PARAMETER log_min_error_statement FROM mover").await;
        migrate(&spec).await.unwrap_err();
        assert!(is_logged(), "that is what docs/fine-print.md says");
        spec.handoff.conninfo = Some(Conninfo::given(&conninfo).unwrap());
        migrate(&MigrationSpec { ..spec }).await.unwrap();
        let owner = "SELECT subowner::regrole FROM pg_subscription";
        assert_eq!(target.value(owner).await, "mover");
        bed.ends_equal().await;
    }
}

/// A function that makes its owner superuser as soon as anybody runs it who may; what the test
/// itself does is spared.
const BAIT: &str = "CREATE ROLE mallory LOGIN; CREATE SCHEMA m AUTHORIZATION mallory;
    GRANT USAGE ON SCHEMA m TO public; SET SESSION AUTHORIZATION mallory;
    CREATE FUNCTION m.evil(integer) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('application_name') <> 'test' THEN
            EXECUTE 'ALTER ROLE mallory SUPERUSER';
        END IF;
        RETURN true;
    EXCEPTION WHEN insufficient_privilege THEN RETURN true;
    END $$";

/// A whole handover beside a stranger's function: a superuser is refused before anything is made,
/// and with the rights of a role that is none there is nothing to be got.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_beside_strangers_runs_nothing_with_a_superusers_rights() {
    for binaries in [(18, 18), (14, 18)].into_iter().filter_map(pair) {
        let bed = Bed::make(&binaries).await;
        let (source, target) = (&bed.two.source, &bed.two.target);
        for server in [source, target] {
            server.sql(BAIT).await;
            let mover =
                "CREATE ROLE mover LOGIN REPLICATION; GRANT CREATE ON DATABASE postgres TO mover;
                 GRANT CREATE ON SCHEMA public TO mover";
            server.sql(mover).await;
        }
        source.sql("ALTER TABLE busy ADD CHECK (m.evil(n)); ALTER TABLE busy OWNER TO mover").await;
        target
            .sql(
                "GRANT pg_create_subscription TO mover;
                 GRANT EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn),
                     pg_replication_origin_progress(text, boolean) TO mover",
            )
            .await;
        let is_nobody = async || {
            for server in [source, target] {
                let is = "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'";
                assert_eq!(server.value(is).await, "f");
            }
        };
        let mut spec = bed.spec();
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit.code(), 2, "{failure}");
        assert!(failure.hint.contains("--trust-owner mallory"), "{failure}");
        let made = "SELECT (SELECT count(*) FROM pg_replication_slots) || ' '
                        || (SELECT count(*) FROM pg_publication)";
        assert_eq!(source.value(made).await, "0 0");
        let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost'";
        assert_eq!(target.value(made).await, "0");
        is_nobody().await;

        for config in [&mut spec.source, &mut spec.target] {
            config.user = "mover".into();
        }
        spec.handoff.conninfo = Some(
            Conninfo::given(&format!(
                "host=127.0.0.1 port={} user=mover password=none dbname=postgres",
                source.port
            ))
            .unwrap(),
        );
        target.sql("GRANT SET ON PARAMETER log_min_error_statement TO mover").await;
        source.server(|server| {
            let hba = "host all postgres all trust\nlocal all postgres trust\n\
                       host all mover all scram-sha-256\nhost replication mover all scram-sha-256\n";
            server.set_hba(hba).unwrap();
        });
        source.sql("ALTER ROLE mover PASSWORD 'none'").await;
        spec.source.password = Some(pghost::config::Password::new("none"));
        migrate(&spec).await.unwrap();
        is_nobody().await;

        let status = StatusSpec {
            target: spec.target.clone(),
            source: Some(spec.source.clone()),
            name: None,
            ledger: spec.ledger.clone(),
        };
        assert_eq!(pghost::migrate::status(&status).await.unwrap().len(), 1);
        let bed = bed.ends_equal().await;
        let cleanup = CleanupSpec::new(spec.source.clone(), spec.target.clone(), "busy");
        pghost::migrate::cleanup(&cleanup).await.unwrap();
        for server in [&bed.two.source, &bed.two.target] {
            let is = "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'";
            assert_eq!(server.value(is).await, "f");
        }
    }
}
