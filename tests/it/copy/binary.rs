//! Rows travel in binary where every type is safe between the two servers, and as text where one is
//! not; what one of them can't hold is said, not changed.

use pghost::migrate::Exit;

use crate::{
    run::versions::two_servers,
    support::{
        Database, assert_same,
        bed::Bed,
        migrate,
        moments::{Following, Gate, beside, drop_slot, until},
        oldest_and_newest, server, spec, versions_to_test,
    },
};

/// What pghost's session does that writes a page.
const COPY: &str = "SELECT string_agg(query, chr(10)) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query ~ '^COPY'";

/// What its session on the source does that reads the changes.
const STREAM: &str = "SELECT coalesce(max(query), '') FROM pg_stat_activity
    WHERE datname = current_database() AND query ~ '^START_REPLICATION'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_changes_come_in_binary_unless_a_type_is_not_safe() {
    for binaries in oldest_and_newest() {
        for (source, target, binary) in [
            ("n numeric(10,2), a timestamptz[]", "", true),
            ("i interval, j interval[]", "", true),
            ("t text, o oid", "", false),
            ("t text", ", acl aclitem", false),
        ] {
            let tables = format!(
                "CREATE TABLE source (id integer PRIMARY KEY, {source});
                 INSERT INTO source (id) SELECT generate_series(1, 9)"
            );
            let Bed { from, to, spec } = Bed::make(&binaries, "binary", &tables).await;
            to.sql(&format!("CREATE TABLE target (id integer PRIMARY KEY, {source}{target})"))
                .await;
            let gate = Gate::close(&to, "target", 1, "NEW.id = 5").await;
            let script = async {
                gate.reached().await;
                // The source may be through with its page; it sends what the target reads.
                let copy = to.value(COPY).await;
                assert!(copy.contains("FROM STDIN"), "{source}: {copy:?}");
                assert_eq!(copy.contains("FORMAT binary"), binary, "{source}: {copy}");
                gate.open().await;
            };
            beside(&spec, |_| {}, script).await.unwrap();
            let following = Following::start(&spec).await;
            until(&from, &format!("SELECT ({STREAM}) <> ''")).await;
            let stream = from.value(STREAM).await;
            assert_eq!(stream.contains("binary 'true'"), binary, "{source}: {stream}");
            following.end().await;
            drop_slot(&from, &spec).await;
        }
    }
}

const ENDLESS: &str = "CREATE TABLE source (id integer PRIMARY KEY, i interval, a interval[]);
    INSERT INTO source VALUES (1, '1 day', '{}'), (2, 'infinity', '{1 mon}'),
        (3, '-infinity', '{infinity,-infinity,NULL}')";

/// In binary it is the greatest interval there is, which 14 to 16 take for a number of years.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_interval_is_said_to_be_too_much_for_an_old_release() {
    let Some((from, to)) = two_servers(18, 14).await else {
        return;
    };
    from.sql(ENDLESS).await;
    let mut spec = spec(&from, &to, "source", "target");
    // The trial meets such a row before anything begins.
    let failure = migrate(&spec).await.unwrap_err();
    assert!(failure.exit == Exit::Refused && failure.message.contains("infinity"), "{failure}");
    // Without one, each row that the target can't hold stops its page.
    spec.trial = false;
    for mend in [
        "UPDATE source SET i = '2 days' WHERE id = 2",
        "UPDATE source SET i = '3 days', a = '{3 mons}' WHERE id = 3",
    ] {
        let failure = migrate(&spec).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stopped, "{failure}");
        assert!(failure.message.contains("infinity"), "{failure}");
        assert_eq!(to.value("SELECT count(*) FROM target").await, "0");
        from.sql(mend).await;
    }
    migrate(&spec).await.unwrap();
    assert_same((&from, "source"), (&to, "target"), "id").await;
    drop_slot(&from, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_interval_that_comes_as_a_change_stops_the_run() {
    let Some((from, to)) = two_servers(18, 14).await else {
        return;
    };
    from.sql(
        "CREATE TABLE source (id integer PRIMARY KEY, i interval, a interval[]);
              INSERT INTO source VALUES (1, '1 day', '{1 mon}')",
    )
    .await;
    let spec = spec(&from, &to, "source", "target");
    migrate(&spec).await.unwrap();
    assert_same((&from, "source"), (&to, "target"), "id").await;
    from.sql("UPDATE source SET a = '{-infinity}'").await;
    let failure = migrate(&spec).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Stopped, "{failure}");
    assert!(failure.message.contains("-infinity"), "{failure}");
    assert_eq!(to.value("SELECT a FROM target").await, "{\"1 mon\"}");
    drop_slot(&from, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_interval_arrives_where_it_is_known() {
    for binaries in versions_to_test().into_iter().filter(|b| b.version.major() >= 17) {
        let db = Database::create(&server(&binaries), "endless").await;
        db.sql(ENDLESS).await;
        let spec = spec(&db, &db, "source", "target");
        migrate(&spec).await.unwrap();
        db.sql("UPDATE source SET i = -i, a = a || i").await;
        migrate(&spec).await.unwrap();
        assert_same((&db, "source"), (&db, "target"), "id").await;
        drop_slot(&db, &spec).await;
    }
}
