//! Target tables that pghost makes: their keys are built once the rows are there.

use pghost::{
    cluster::Binaries,
    conn::{Connection, parse_dsn},
    migrate::Exit,
};

use crate::support::{
    Database, assert_same, migrate as run,
    moments::{drop_slot, until},
    program::Program,
    server, spec, versions_to_test,
};

const ROWS: u32 = 40_000;

/// A table to be moved, and a database without it.
async fn bed(binaries: &Binaries) -> (Database, Database) {
    let server = server(binaries);
    let from = Database::create(&server, "made").await;
    let to = Database::create(&server, "made").await;
    from.sql(&format!(
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL);
         INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, {ROWS}) i"
    ))
    .await;
    (from, to)
}

fn migrate(from: &Database, to: &Database) -> Program {
    let args = ["--table", "t", "--name", &from.name, "--page-rows", "500"];
    Program::migrate(from, to, &args)
}

/// A run, and a session that lets rows be written to the new table, and no key be built. The run can't
/// have come to it before: its slot waits for a transaction of this test's.
pub(crate) async fn held_off_the_key(
    (from, to): (&Database, &Database),
    table: &str,
    begins: impl FnOnce() -> Program,
) -> (Program, Connection) {
    let mut open = from.connect().await;
    open.query("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    let mut run = begins();
    let is_made = format!("SELECT to_regclass('public.{table}') IS NOT NULL");
    run.meets(until(to, &is_made)).await;
    let mut holder = to.connect().await;
    let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE");
    holder.query(&lock).await.unwrap();
    open.query("COMMIT").await.unwrap();
    open.close().await;
    (run, holder)
}

pub(crate) const IS_WAITING: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%'";
const HAS_KEY: &str = "SELECT count(*) > 0 FROM pg_index
    WHERE indrelid = 't'::regclass AND indisprimary AND indisvalid";

async fn pages(to: &Database) -> String {
    let sql = "SELECT string_agg(concat_ws(' ', number, row_count, xmin), ',' ORDER BY number)
                 FROM pghost.page";
    to.value(sql).await
}

/// Goes on after a run that ended while it was building the key.
async fn goes_on(from: &Database, to: &Database, pages_before: &str) {
    assert_eq!(to.value(HAS_KEY).await, "f");
    from.sql("UPDATE t SET v = 'changed' WHERE id % 1000 = 0; DELETE FROM t WHERE id = 7").await;
    let ended = migrate(from, to).ends_with(0).await;
    ended.finished();
    assert_eq!(to.value(HAS_KEY).await, "t");
    assert_eq!(pages(to).await, pages_before);
    assert_same((from, "t"), (to, "t"), "id").await;
    let slot = format!("SELECT pg_drop_replication_slot('pghost_{}')", from.name);
    from.sql(&slot).await;
}

#[tokio::test]
async fn a_run_that_is_killed_while_it_builds_the_key_goes_on() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let begins = || migrate(&from, &to);
        let (mut run, mut holder) = held_off_the_key((&from, &to), "t", begins).await;
        run.meets(until(&to, IS_WAITING)).await;
        let before = pages(&to).await;
        run.kill();
        // The server notices that its client is gone, and gives the build up.
        until(&to, &format!("SELECT NOT ({IS_WAITING})")).await;
        holder.query("COMMIT").await.unwrap();
        goes_on(&from, &to, &before).await;
    }
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_while_it_builds_the_key_stops_and_goes_on() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let begins = || migrate(&from, &to);
        let (mut run, mut holder) = held_off_the_key((&from, &to), "t", begins).await;
        run.meets(until(&to, IS_WAITING)).await;
        let before = pages(&to).await;
        run.signal("-INT");
        run.ends_with(1).await;
        holder.query("COMMIT").await.unwrap();
        goes_on(&from, &to, &before).await;
    }
}

/// A role of a test's own, and a tablespace within the data directory.
async fn role_and_space(to: &Database) -> (String, String) {
    let (role, space) = (format!("owner of {}", to.name), format!("space of {}", to.name));
    to.sql(&format!("CREATE ROLE \"{role}\"; GRANT CREATE ON SCHEMA public TO \"{role}\"")).await;
    let mut connection = to.connect().await;
    connection.query("SET allow_in_place_tablespaces = on").await.unwrap();
    connection.query(&format!("CREATE TABLESPACE \"{space}\" LOCATION ''")).await.unwrap();
    connection.close().await;
    (role, space)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owner_and_tablespace_are_as_asked_for() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        from.sql("ALTER TABLE t ADD n bigserial, ADD UNIQUE (n); CREATE INDEX t_v ON t (v)").await;
        let (role, space) = role_and_space(&to).await;
        let mut spec = spec(&from, &to, "t", "t");
        spec.target_owner = Some(role.clone());
        spec.target_tablespace = Some(space.clone());
        // Later runs write to what is that role's, with a superuser's rights.
        let failure = run(&spec).await.unwrap_err();
        assert!(failure.hint.contains("--trust-owner 'owner of"), "{failure}");
        spec.trust.owners.push(role.clone());
        run(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        let says = to
            .value(
                "SELECT string_agg(concat_ws('/', relname, pg_get_userbyid(relowner), spcname), ' ' ORDER BY relname)
                   FROM pg_class c LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
                  WHERE relnamespace = 'public'::regnamespace AND relkind <> 'S'",
            )
            .await;
        let all: Vec<_> =
            ["t", "t_n_key", "t_pkey", "t_v"].map(|t| format!("{t}/{role}/{space}")).into();
        assert_eq!(says, all.join(" "));
        let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't_n_seq'";
        assert_eq!(to.value(owner).await, role);
        from.sql("DELETE FROM t WHERE id % 2 = 0").await;
        run(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_or_a_tablespace_that_is_not_there_is_refused() {
    for binaries in versions_to_test() {
        let (from, to) = bed(&binaries).await;
        let (role, space) = role_and_space(&to).await;
        let mut mover = spec(&from, &to, "t", "t");
        mover.target_owner = Some("nobody 'here".into());
        let mut cases = vec![(mover.clone(), "no role nobody 'here")];
        mover.target_owner = None;
        mover.target_tablespace = Some("nowhere".into());
        cases.push((mover.clone(), "no tablespace nowhere"));
        // A role without rights.
        let user = format!("mover of {}", to.name);
        to.sql(&format!(
            "CREATE ROLE \"{user}\" LOGIN; GRANT CREATE ON DATABASE \"{}\" TO \"{user}\";
             GRANT CREATE ON SCHEMA public TO \"{user}\"",
            to.name
        ))
        .await;
        mover.target = parse_dsn(&format!("{} user='{user}'", to.dsn())).unwrap();
        mover.target_tablespace = Some(space);
        cases.push((mover.clone(), "may not use the tablespace"));
        mover.target_tablespace = None;
        mover.target_owner = Some(role.clone());
        cases.push((mover.clone(), "has not the rights of"));
        to.sql(&format!("REVOKE CREATE ON SCHEMA public FROM \"{role}\"")).await;
        if binaries.version.major() < 15 {
            to.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
        }
        let may_not_own = (mover.clone(), "may not own tables in the schema");
        for (at, (spec, word)) in cases.iter().chain([&may_not_own]).enumerate() {
            if at == 4 {
                to.sql(&format!("GRANT \"{role}\" TO \"{user}\"")).await;
            }
            let failure = run(spec).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Refused, "{failure}");
            assert!(failure.message.contains(word), "{word}: {failure}");
            assert_eq!(
                to.value("SELECT count(*) FROM pg_class WHERE relname IN ('t', 'migration')").await,
                "0"
            );
        }
        // With the rights of a member it goes.
        to.sql(&format!("GRANT CREATE ON SCHEMA public TO \"{role}\"")).await;
        run(&mover).await.unwrap_or_else(|failure| panic!("{failure}"));
        assert_same((&from, "t"), (&to, "t"), "id").await;
        drop_slot(&from, &mover).await;
    }
}
