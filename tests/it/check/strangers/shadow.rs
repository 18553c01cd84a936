//! A function of a superuser's that sets `search_path` for its session, as some do, to a schema in
//! which somebody else may create: there stand a function, operator, view and domain for everything
//! that Postgres has itself. Nothing that pghost asks later is found there.

use std::time::Duration;

use pghost::{
    cluster::Server,
    migrate::{self, CleanupSpec, CutoverSpec, MigrationSpec, StatusSpec, TableSpec, Trust},
    pg::QualifiedName,
};
use tokio::task::JoinHandle;

use super::attacker::{Attacker, verify};
use crate::support::{Database, assert_same, migrate as run, oldest_and_newest, server, spec};

/// Makes a shadow of whatever in `pg_catalog` can have one.
const SHADOWS: &str = "
CREATE FUNCTION m.step(bigint) RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN PERFORM m.take_shadow(); RETURN NULL; END $$;
CREATE AGGREGATE m.count(*) (SFUNC = m.step, STYPE = bigint);
DO $make$
DECLARE f record; body text; name text;
BEGIN
  FOR f IN SELECT proname, proretset, oidvectortypes(proargtypes) AS takes,
                  format_type(prorettype, NULL) AS gives
             FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
  LOOP
    body := CASE WHEN f.proretset OR f.gives = 'void' THEN 'RETURN' ELSE 'RETURN NULL' END;
    BEGIN
      EXECUTE format('CREATE FUNCTION m.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS
                          $f$ BEGIN PERFORM m.take_shadow(); %s; END $f$', f.proname, f.takes,
                     CASE WHEN f.proretset THEN 'SETOF' END, f.gives, body);
    EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  FOR f IN SELECT o.oid, oprname, format_type(oprleft, NULL) AS l, oprleft = 0 AS prefix,
                  format_type(oprright, NULL) AS r, format_type(oprresult, NULL) AS gives
             FROM pg_catalog.pg_operator o WHERE oprnamespace = 'pg_catalog'::regnamespace
  LOOP
    name := 'op_' || f.oid;
    BEGIN
      EXECUTE format('CREATE FUNCTION m.%I(%s%s) RETURNS %s LANGUAGE plpgsql AS
                          $f$ BEGIN PERFORM m.take_shadow(); RETURN NULL; END $f$', name,
                     CASE WHEN NOT f.prefix THEN f.l || ', ' END, f.r, f.gives);
      EXECUTE format('CREATE OPERATOR m.%s (FUNCTION = m.%I, %s RIGHTARG = %s)', f.oprname, name,
                     CASE WHEN NOT f.prefix THEN 'LEFTARG = ' || f.l || ',' END, f.r);
    EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  FOR f IN SELECT relname FROM pg_catalog.pg_class
            WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
  LOOP
    BEGIN
      EXECUTE format('CREATE VIEW m.%1$I AS SELECT * FROM pg_catalog.%1$I WHERE m.evil_shadow(1);
                      GRANT SELECT ON m.%1$I TO public', f.relname);
    EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
  FOR f IN SELECT typname FROM pg_catalog.pg_type
            WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0
  LOOP
    BEGIN
      EXECUTE format('CREATE DOMAIN m.%1$I AS pg_catalog.%1$I CHECK (m.evil_shadow(1))', f.typname);
    EXCEPTION WHEN OTHERS THEN NULL; END;
  END LOOP;
END $make$;
GRANT USAGE ON SCHEMA m TO public";

/// The superuser's own, which do no harm by themselves.
const SETS: &str = "
CREATE FUNCTION sets(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.set_config('search_path', 'm, pg_catalog', false); RETURN true; END $$;
CREATE FUNCTION sets_too() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_catalog.set_config('search_path', 'm, pg_catalog', false); END $$;
CREATE TYPE public.mood AS ENUM ('good', 'bad'); CREATE DOMAIN public.short AS text;";

/// With whatever of a table runs a function: a check, a generated column, an index and its
/// predicate, statistics, a default of one column more.
const TABLE: &str = "
CREATE TABLE NAME (id serial PRIMARY KEY, v int CHECK (public.sets(v)), w public.short, big text,
    at date DEFAULT '2020-01-01', mood public.mood DEFAULT 'good',
    g bool GENERATED ALWAYS AS (public.sets(v)) STORED);
ALTER TABLE NAME ALTER big SET STORAGE EXTERNAL;
CREATE INDEX ON NAME (v) WHERE public.sets(1);
CREATE INDEX ON NAME ((public.sets(v)));
CREATE STATISTICS ON v, (public.sets(v)) FROM NAME;";

const STATISTICS: &str = "CREATE STATISTICS ON v";

async fn make(database: &Database, name: &str) {
    // A name is needed up to 15.
    let all = TABLE.replace(STATISTICS, &format!("CREATE STATISTICS s_{name} ON v"));
    one_by_one(database, &all.replace("NAME", name)).await;
}

/// Each in a session of its own: the path is set for the test's own ones as well.
async fn one_by_one(database: &Database, all: &str) {
    for sql in all.split(';').filter(|sql| !sql.trim().is_empty()) {
        database.sql(sql).await;
    }
}

/// Few changes, and many.
const CHANGES: &str = "
INSERT INTO NAME (v, w, big) SELECT i, 'later', repeat('y', 3000) FROM generate_series(1, 3) i;
UPDATE NAME SET v = v + 1 WHERE id % 2 = 0;
UPDATE NAME SET id = -id WHERE id IN (3, 5, 7);
DELETE FROM NAME WHERE id % 13 = 0;
UPDATE NAME SET w = 'last' WHERE id = 4";

/// A database with the shadows in a schema `m` of mallory's.
async fn shadowed(mallory: &Attacker, database: &Database, fires: bool) {
    mallory.evil(database, "shadow").await;
    mallory.sql(database, &format!("SET search_path = pg_catalog; {SHADOWS}")).await;
    let made = "SELECT count(*) > 2000 FROM pg_proc WHERE pronamespace = 'm'::regnamespace";
    assert_eq!(database.value(made).await, "t");
    database.sql(SETS).await;
    if fires {
        database
            .sql("CREATE EVENT TRIGGER sets ON ddl_command_end EXECUTE FUNCTION sets_too()")
            .await;
    }
}

/// Somebody who works on the source until he is stopped.
fn busy(from: &Database) -> JoinHandle<()> {
    let from = from.clone();
    tokio::spawn(async move {
        for round in 0.. {
            for table in ["there", "made"] {
                let moved = format!(
                    "UPDATE {table} SET id = 1000 + {round} WHERE id = (SELECT min(id) FROM {table})"
                );
                let changed = format!("UPDATE {table} SET v = v + 1 WHERE id % 2 = {round} % 2");
                one_by_one(&from, &format!("{moved}; {changed}")).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn whole_journey(server: &std::sync::Arc<Server>, fires: bool) {
    let from = Database::create(server, "shadow").await;
    let to = Database::create(server, "shadow").await;
    let mallory = Attacker::make(&from, &to).await;
    shadowed(&mallory, &from, fires).await;
    shadowed(&mallory, &to, fires).await;
    for name in ["there", "made"] {
        make(&from, name).await;
        from.sql(&format!(
            "INSERT INTO {name} (v, w, big) SELECT i, 'row ' || i, repeat('x', 3000) FROM generate_series(1, 120) i"
        ))
        .await;
    }
    make(&to, "there").await;
    to.sql("ALTER TABLE there ADD more bool DEFAULT public.sets(1)").await;

    let spec = spec(&from, &to, "none", "none");
    let both = ["there", "made"].map(|name| QualifiedName::new("public", name));
    let tables = both.map(|name| TableSpec { source: name.clone(), target: name });
    let mut spec = MigrationSpec {
        tables: tables.to_vec(),
        page_rows: Some(20),
        defer_indexes: fires,
        ..spec
    };
    let checked = migrate::check(&spec).await.unwrap();
    assert_eq!(checked.count(migrate::Severity::Refused), 0, "{:#?}", checked.findings);
    mallory.assert_is_nobody().await;
    mallory.alone().await;
    let busy = busy(&from);
    run(&spec).await.unwrap();
    busy.abort();
    mallory.assert_is_nobody().await;
    for name in ["there", "made"] {
        one_by_one(&from, &CHANGES.replace("NAME", name)).await;
    }
    spec.verify = true;
    mallory.alone().await;
    run(&spec).await.unwrap();
    mallory.assert_is_nobody().await;
    from.sql("TRUNCATE made").await;
    mallory.alone().await;
    run(&spec).await.unwrap();
    mallory.assert_is_nobody().await;
    verify(&spec).await.unwrap();
    mallory.assert_is_nobody().await;
    let columns = "(SELECT id, v, w, big, at, mood, g FROM there)";
    assert_same((&from, columns), (&to, columns), "id").await;

    let (source, target, name) = (from.config(), to.config(), spec.name.clone());
    let (ledger, trust) = (spec.ledger.clone(), Trust::default());
    let status = StatusSpec {
        target: target.clone(),
        source: Some(source.clone()),
        name: None,
        ledger: ledger.clone(),
    };
    migrate::status(&status).await.unwrap();
    let cutover = CutoverSpec {
        source,
        target,
        name: name.clone(),
        ledger,
        tables: Vec::new(),
        gap: 9,
        trust,
    };
    migrate::cutover_sequences(&cutover, &mut |_| {}).await.unwrap();
    mallory.alone().await;
    let cleanup = CleanupSpec::new(from.config(), to.config(), name.unwrap());
    migrate::cleanup(&cleanup).await.unwrap();
    mallory.assert_is_nobody().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_path_that_a_function_of_ours_has_set_leads_nowhere() {
    for binaries in oldest_and_newest() {
        Box::pin(whole_journey(&server(&binaries), false)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_that_an_event_trigger_has_set() {
    for binaries in oldest_and_newest() {
        Box::pin(whole_journey(&server(&binaries), true)).await;
    }
}
