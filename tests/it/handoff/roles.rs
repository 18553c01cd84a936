//! A handover by a role that is no superuser, where Postgres allows it.

use pghost::{
    config::Config,
    migrate::{Conninfo, MigrationSpec},
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
