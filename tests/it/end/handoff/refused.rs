//! Handovers that can't be: each is refused before anything is made, with the reason.

use pghost::{
    config::Config,
    migrate::{Conninfo, Failure, MigrationSpec, Then},
};

use crate::support::{
    Database, migrate, selected, server, some_releases, spec, versions_to_test, whole_log,
};

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text, g int GENERATED ALWAYS AS (id + 1) STORED);
    INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 50) i";

/// A handover of `t` to another database.
fn handoff(from: &Database, to: &Database) -> MigrationSpec {
    MigrationSpec { then: Then::Handoff, ..spec(from, to, "t", "t") }
}

/// It is refused for this reason, and leaves no trace.
async fn refused(spec: &MigrationSpec, from: &Database, to: &Database, word: &str) -> Failure {
    let failure = migrate(spec).await.map(|_| word).unwrap_err();
    assert_eq!(failure.exit.code(), 2, "{word}: {failure}");
    assert!(failure.message.contains(word), "{word}: {failure}");
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
    assert_eq!(from.value(slots).await, "0", "{word}");
    let traces = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'pghost')
                       + (SELECT count(*) FROM pg_subscription WHERE subname LIKE 'pghost%' AND subdbid =
                           (SELECT oid FROM pg_database WHERE datname = current_database()))";
    assert_eq!(to.value(traces).await, "0", "{word}");
    failure
}

async fn bed(binaries: &pghost::cluster::Binaries) -> (Database, Database) {
    let server = server(binaries);
    let from = Database::create(&server, "unhanded").await;
    let to = Database::create(&server, "unhanded").await;
    from.sql(TABLE).await;
    (from, to)
}

#[tokio::test]
async fn what_a_subscription_can_not_do_is_refused() {
    for binaries in some_releases() {
        let (from, to) = bed(&binaries).await;
        let renamed = MigrationSpec { then: Then::Handoff, ..spec(&from, &to, "t", "u") };
        refused(&renamed, &from, &to, "public.t is to go to public.u").await;
        let same = MigrationSpec { target: from.config(), ..renamed.clone() };
        refused(&same, &from, &to, "one database").await;
        let new = MigrationSpec { ignore_new_columns: true, ..handoff(&from, &to) };
        refused(&new, &from, &to, "--ignore-new-columns").await;

        let named = Some(format!(r"{}\", from.name));
        let slot = Some(from.name.clone());
        let slashed = MigrationSpec { name: named, slot, ..handoff(&from, &to) };
        refused(&slashed, &from, &to, "has a backslash in its name").await;

        // Rows that it would not find.
        to.sql("CREATE TABLE t (id int NOT NULL UNIQUE, v text, g int GENERATED ALWAYS AS (id + 1) STORED)").await;
        let failure = refused(&handoff(&from, &to), &from, &to, "neither a primary key").await;
        to.sql(failure.hint.trim_start_matches("on the target: ")).await;
        to.sql("DROP TABLE t").await;

        let taken = "CREATE SUBSCRIPTION taken CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false)";
        to.sql(taken).await;
        let mut spec = handoff(&from, &to);
        spec.handoff.subscription = Some("taken".into());
        refused(&spec, &from, &to, "a subscription taken already").await;
        to.sql("ALTER SUBSCRIPTION taken SET (slot_name = NONE); DROP SUBSCRIPTION taken").await;
    }
}

#[tokio::test]
async fn a_publication_with_more_than_the_tables_is_refused() {
    for binaries in some_releases() {
        let (from, to) = bed(&binaries).await;
        from.sql(
            "CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE t, other",
        )
        .await;
        let mut spec = handoff(&from, &to);
        spec.publication = Some("p".into());
        refused(&spec, &from, &to, "public.other, which is not moved").await;
        if binaries.version.major() >= 18 {
            let set = "ALTER PUBLICATION p DROP TABLE other;
                       ALTER PUBLICATION p SET (publish_generated_columns = stored)";
            from.sql(set).await;
            refused(&spec, &from, &to, "generated column public.t.g").await;
        }
    }
}

#[tokio::test]
async fn a_conninfo_is_tried_from_the_target_and_its_password_not_shown() {
    for binaries in some_releases() {
        let (from, to) = bed(&binaries).await;
        let mut spec = handoff(&from, &to);
        let mut given = |text: &str| {
            spec.handoff.conninfo = Some(Conninfo::given(text).unwrap());
            spec.clone()
        };
        let nowhere = format!("host=127.0.0.1 port=1 password=sub5cription dbname={}", from.name);
        let failure = refused(&given(&nowhere), &from, &to, "could not connect").await;
        assert!(failure.hint.contains("--subscription-conninfo"), "{failure}");
        let elsewhere = "host=127.0.0.1 password=sub5cription dbname=elsewhere";
        refused(&given(elsewhere), &from, &to, "the database elsewhere").await;
        let log = whole_log(&from.server);
        assert!(
            !failure.to_string().contains("sub5cription") && !log.contains("sub5cription"),
            "{failure}"
        );
    }
}

/// Up to 15 a superuser is needed; from 16 on each right that is missing is named.
#[tokio::test]
async fn a_role_without_the_rights_is_refused_with_the_grants() {
    for binaries in some_releases() {
        let (from, to) = bed(&binaries).await;
        let role = format!("mover_{}", to.name);
        to.sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {} TO {role};
             GRANT CREATE ON SCHEMA public TO {role}",
            to.name
        ))
        .await;
        let target = Config { user: role.clone(), ..to.config() };
        let spec = MigrationSpec { target, ..handoff(&from, &to) };
        if binaries.version.major() < 16 {
            refused(&spec, &from, &to, "no superuser").await;
        } else {
            let failure = refused(&spec, &from, &to, "lacks rights").await;
            let grants = failure.hint.trim_start_matches("on the target: ").to_owned();
            assert_eq!(grants.matches("GRANT ").count(), 3, "{grants}");
            to.sql(&grants).await;
            let failure = refused(&spec, &from, &to, "password").await;
            assert!(failure.hint.contains("--subscription-conninfo"), "{failure}");
            to.sql(&format!(
                "REVOKE EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn),
                pg_replication_origin_progress(text, boolean) FROM {role}"
            ))
            .await;
        }
        to.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    }
}

/// That is a setting, which takes a server of its own.
#[tokio::test]
async fn a_target_without_workers_is_refused() {
    let Some(binaries) = selected(15).or_else(|| versions_to_test().pop()) else { return };
    let bed = super::bed::Bed::with(
        &(binaries.clone(), binaries),
        &[("max_logical_replication_workers", "0")],
    )
    .await;
    let failure = migrate(&bed.spec()).await.unwrap_err();
    assert!(failure.message.contains("max_logical_replication_workers is used up"), "{failure}");
}
