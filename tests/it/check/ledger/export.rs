//! A ledger as SQL: what a migration that died had written, for being taken up elsewhere, or by
//! another version of pghost.
//!
//! The files in `layout_N/` were written so by the version that made that layout, and stay as they
//! are. A new layout's are written by `GHOST_WRITE_LEDGERS=1 cargo test --test it ledger::taken_up`.

use pghost::{
    cluster::Binaries,
    migrate::{Conninfo, MigrationSpec, TableSpec, Then},
    pg::QualifiedName,
};
use serde_json::Value;

use crate::{
    end::handoff::keywords,
    fault::killed_at_events::{Moment, dies_when, is_of},
    support::{
        Database, migrate,
        moments::{drop_slot, now},
        server, spec,
    },
};

/// The migration's name; its slot and publication are called after it.
pub(super) const NAME: &str = "taken_up";

/// One table that pghost makes, and one that is there on the target.
pub(super) const TABLES: &str = r#"
    CREATE TABLE source (id int PRIMARY KEY, n int, v text);
    INSERT INTO source SELECT i, i % 7, 'row ' || i FROM generate_series(1, 60) i;
    CREATE INDEX ON source (n); ALTER TABLE source ADD CHECK (n > -1000);
    CREATE TABLE pair (a text COLLATE "C", b int, v text, PRIMARY KEY (a, b));
    INSERT INTO pair SELECT chr(97 + i % 3), i, 'it''s ' || i FROM generate_series(1, 40) i;"#;

/// The latter.
pub(super) const THERE: &str = r#"
    CREATE TABLE pair (a text COLLATE "C", b int, v text, PRIMARY KEY (a, b));"#;

/// What it has besides its key, and goes without until the checkpoint is passed.
pub(super) const DEFERRED: &str = "CREATE INDEX pair_v ON pair (v)";

/// Changes that can be made whenever and as often as one likes.
pub(super) fn changes(number: u32) -> String {
    format!(
        "UPDATE source SET n = n + 10 WHERE id % 5 = 0;
         UPDATE source SET id = id + {number}000 WHERE id % 11 = 3 AND id < 61;
         DELETE FROM source WHERE id % 17 = {number};
         INSERT INTO source VALUES ({number}00000, 1, 'new') ON CONFLICT DO NOTHING;
         UPDATE pair SET v = v || '{number}' WHERE b % 3 = 0;
         DELETE FROM pair WHERE b = {number};
         INSERT INTO pair VALUES ('b', {number}000, 'new') ON CONFLICT DO NOTHING"
    )
}

/// The migration of both tables, as every run of it is asked for.
pub(super) fn of_both(from: &Database, to: &Database) -> MigrationSpec {
    let mut spec = spec(from, to, "source", "source");
    let name = |name: &str| QualifiedName::new("public", name);
    spec.tables.push(TableSpec { source: name("pair"), target: name("pair") });
    spec.name = Some(NAME.into());
    spec.page_rows = Some(10);
    spec.defer_indexes = true;
    spec
}

/// Where a migration is when it dies.
pub(super) struct Death {
    /// The file's name.
    pub(super) what: &'static str,
    /// In which phase that is.
    phase: &'static str,
    /// At which event, or at which one after it has begun to follow; if none, an error ends it.
    at: Option<Moment>,
    then: Then,
}

const fn death(what: &'static str, phase: &'static str, at: Moment) -> Death {
    Death { what, phase, at: Some(at), then: Then::Stop }
}

pub(super) const DEATHS: &[Death] = &[
    death("prepared", "prepare", (&[("step", "slot_made")], 1)),
    death("copying", "backfill", (&[("event", "progress")], 5)),
    Death { what: "failed", phase: "backfill", at: None, then: Then::Stop },
    death("copied", "backfill", (&[("step", "checkpoint_taken")], 1)),
    death("catching_up", "catch_up", (&[("event", "phase"), ("phase", "catch_up")], 1)),
    death("finishing", "done", (&[("step", "object_made")], 1)),
    death("done", "done", (&[("event", "finished")], 1)),
    Death { then: Then::Follow, ..death("following", "done", (&[("event", "catch_up")], 2)) },
    Death {
        then: Then::Handoff,
        ..death("handing_over", "handoff", (&[("step", "handoff_begun")], 1))
    },
];

/// Drives a migration until it dies, and gives its ledger.
pub(super) async fn made_by(binaries: &Binaries, death: &Death) -> String {
    let server = server(binaries);
    let from = Database::create(&server, "dies").await;
    let to = Database::create(&server, "dies").await;
    from.sql(TABLES).await;
    to.sql(&format!("{THERE}{DEFERRED}")).await;
    let mut spec = of_both(&from, &to);
    spec.then = death.then;
    spec.handoff.conninfo = Some(Conninfo::given(&keywords(&from)).unwrap());
    let Some(moment) = death.at else {
        // The trial would find it first.
        spec.trial = false;
        to.sql("ALTER TABLE pair ADD CHECK (b <> 39)").await;
        migrate(&spec).await.unwrap_err();
        drop_slot(&from, &spec).await;
        return export(&to).await;
    };
    let (source, mut seen, mut follows) = (from.clone(), 0, death.then != Then::Follow);
    let is_of_phase = |event: &Value, phase| event["event"] == "phase" && event["phase"] == phase;
    let died = dies_when(spec.clone(), move |event| {
        let begins_following = is_of_phase(event, "follow");
        if begins_following || is_of_phase(event, "catch_up") {
            now(source.sql(&changes(if begins_following { 2 } else { 1 })));
        }
        follows |= begins_following;
        seen += usize::from(follows && is_of(event, moment));
        seen == moment.1
    });
    assert!(died.await, "{} never came", death.what);
    let phase = to.value("SELECT phase FROM pghost.migration").await;
    assert_eq!(phase, death.phase, "{}", death.what);
    drop_slot(&from, &spec).await;
    export(&to).await
}

/// What makes a table of the ledger: its columns, and what they are held to.
const CREATE: &str = "
    SELECT format(E'CREATE TABLE pghost.%I (\\n%s,\\n%s)%s;', c.relname,
        (SELECT string_agg('    ' || concat_ws(' ', quote_ident(a.attname),
                    format_type(a.atttypid, a.atttypmod),
                    'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid),
                    CASE WHEN a.attnotnull THEN 'NOT NULL' END), E',\\n' ORDER BY a.attnum)
           FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT string_agg('    ' || pg_get_constraintdef(k.oid), E',\\n' ORDER BY k.contype DESC)
           FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'f')),
        ' WITH (' || array_to_string(c.reloptions, ', ') || ')')
      FROM pg_class c WHERE c.oid = 'pghost.$table'::regclass";

/// What writes its rows: a query for the query that gives them.
const ROWS: &str = "
    SELECT format('SELECT coalesce(string_agg(format(%L, %s), E''\\n'' ORDER BY t), '''')
                     FROM pghost.$table t',
        format(E'INSERT INTO pghost.$table (%s)\\n    VALUES (%s);',
            string_agg(quote_ident(attname), ', ' ORDER BY attnum),
            string_agg('%L', ', ' ORDER BY attnum)),
        string_agg('t.' || quote_ident(attname), ', ' ORDER BY attnum))
      FROM pg_attribute
     WHERE attrelid = 'pghost.$table'::regclass AND attnum > 0 AND NOT attisdropped";

/// The whole ledger, by nothing but the catalog: whatever layout it has.
pub(super) async fn export(target: &Database) -> String {
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname <> 'migration',
                                                         relname <> 'migration_table', relname)
                    FROM pg_class WHERE relnamespace = 'pghost'::regnamespace AND relkind = 'r'";
    let tables = target.value(tables).await;
    let (mut made, mut filled) = ("CREATE SCHEMA pghost;\n".to_owned(), String::new());
    for table in tables.split(' ') {
        made += &target.value(&CREATE.replace("$table", table)).await;
        made.push('\n');
        let rows = target.value(&ROWS.replace("$table", table)).await;
        filled += &target.value(&rows).await;
        filled.push('\n');
    }
    made + &filled
}
