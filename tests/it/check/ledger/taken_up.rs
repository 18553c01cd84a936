//! A ledger that another pghost has written, or this one on another server, is gone on with: the
//! migration ends equal from wherever it had come to.

use std::{env, fs, path::PathBuf};

use pghost::{catalog::load_table, cluster::Binaries, conn::Row, pg::QualifiedName};

use super::export::{DEATHS, DEFERRED, NAME, TABLES, THERE, changes, made_by, of_both};
use crate::{
    fault::killed_at_events::forget,
    support::{self, Database, assert_same, migrate, moments::sums, oldest_and_newest, server},
};

/// The layout that this version writes.
pub(super) const LAYOUT: u32 = 3;

/// Those that it can go on with, as files.
const KEPT: &[u32] = &[2];

/// The table that pghost makes, as it is before it has its key.
const MADE: &str = "CREATE TABLE source (id int NOT NULL, n int, v text);";

/// Both tables, which have the same names on both sides, and their keys.
const SIDES: &[[&str; 2]] = &[["source", "id"], ["pair", "a, b"]];

pub(super) fn file(layout: u32, what: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/check/ledger");
    tests.join(format!("layout_{layout}")).join(format!("{what}.sql"))
}

/// A migration that lives again: two databases as they were when the ledger was written.
pub(super) struct TakenUp {
    pub(super) from: Database,
    pub(super) to: Database,
}

impl TakenUp {
    /// Makes the ledger on servers that have never seen it, and both sides as it says they are.
    ///
    /// What it says of the servers themselves is rewritten, since these are others: which system and
    /// database the source is, where in the log things happened, and the object ids and files of
    /// tables and of the publication. All else is as it was written.
    pub(super) async fn make(binaries: &Binaries, ledger: &str) -> Self {
        let server = server(binaries);
        let from = Database::create(&server, "taken_up").await;
        let to = Database::create(&server, "taken_up").await;
        from.sql(TABLES).await;
        to.sql(&format!("{MADE}{THERE}{ledger}")).await;
        from.sql(&format!("CREATE PUBLICATION pghost_{NAME} FOR TABLE source, pair")).await;
        let slot = format!(
            "SELECT lsn FROM pg_create_logical_replication_slot('pghost_{NAME}', 'pgoutput')"
        );
        let start = from.value(&slot).await;
        let this = Self { from, to };
        // What pages have brought shows some changes that are in the stream as well.
        this.from.sql(&changes(1)).await;
        for (ordinal, [table, key]) in SIDES.iter().enumerate() {
            this.objects_of(ordinal).await;
            this.rows_of(ordinal, table, key).await;
            this.belongs(ordinal, table).await;
        }
        let copied = this.position().await;
        this.to.sql(&format!("UPDATE pghost.page SET lsn = '{copied}'")).await;
        this.reaches(&start).await;
        this
    }

    async fn position(&self) -> String {
        self.from.value("SELECT pg_current_wal_insert_lsn()").await
    }

    /// Makes the objects that the ledger calls done.
    async fn objects_of(&self, ordinal: usize) {
        let done = format!(
            "SELECT coalesce(string_agg(s || ';', '' ORDER BY kind <> 'key', position, n), '')
               FROM pghost.object, unnest(statements) WITH ORDINALITY u(s, n)
              WHERE done AND ordinal = {ordinal}"
        );
        self.to.sql(&self.to.value(&done).await).await;
    }

    /// Brings the rows of the ledger's pages.
    async fn rows_of(&self, ordinal: usize, table: &str, key: &str) {
        let bound = |column: &str, operator: &str| {
            format!(
                "CASE WHEN {column} IS NULL THEN 'true' ELSE format('({key}) {operator} (%s)',
                     (SELECT string_agg(quote_literal(v), ', ' ORDER BY n)
                        FROM unnest({column}) WITH ORDINALITY u(v, n))) END"
            )
        };
        let pages = format!(
            "SELECT coalesce(string_agg({} || ' AND ' || {}, ' OR '), 'false')
               FROM pghost.page WHERE ordinal = {ordinal}",
            bound("lower_bound", ">"),
            bound("upper_bound", "<=")
        );
        let rows = format!(
            "SELECT coalesce(string_agg(format('INSERT INTO {table} SELECT (%L::{table}).*;', t),
                        ''), '') FROM {table} t WHERE {}",
            self.to.value(&pages).await
        );
        self.to.sql(&self.from.value(&rows).await).await;
    }

    /// Says which tables these are here, and that nothing has altered the source's.
    async fn belongs(&self, ordinal: usize, name: &str) {
        let mut connection = self.from.connect().await;
        let name = QualifiedName::new("public", name);
        let table = load_table(&mut connection, &name).await.unwrap().unwrap();
        let shape = format!("SELECT shape FROM pghost.migration_table WHERE ordinal = {ordinal}");
        let shape = self.to.value(&shape).await;
        let (columns, _) = shape.split_once(' ').unwrap();
        assert_eq!(columns, table.shape.columns, "what a shape is made of has changed");
        let sql = format!(
            "UPDATE pghost.migration_table
                SET source_oid = {}, shape = '{}', target_oid = '{name}'::regclass
              WHERE ordinal = {ordinal}",
            table.oid,
            table.shape.to_text()
        );
        self.to.sql(&sql).await;
    }

    /// Says which source this is, and brings both sides to where the ledger says they are.
    async fn reaches(&self, start: &str) {
        let identity = self.from.sql(
            "SELECT system_identifier::text AS system, timeline_id::text AS timeline,
                    current_database()::text AS database
               FROM pg_control_system(), pg_control_checkpoint()",
        );
        let identity = identity.await;
        let text = |row: &Row, column| row.get::<String>(column).unwrap();
        let row = identity.row().unwrap();
        self.to
            .sql(&format!(
                "UPDATE pghost.migration SET source_system_id = '{}', source_timeline = {},
                     source_database = '{}'",
                text(row, "system"),
                text(row, "timeline"),
                text(row, "database")
            ))
            .await;
        let publication = "SELECT format('%s:%s:%s', p.oid, p.xmin, p.pubowner)
                || string_agg(format(' %s:%s', r.oid, r.xmin), '' ORDER BY r.oid)
           FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
          GROUP BY p.oid, p.xmin, p.pubowner";
        let publication = self.from.value(publication).await;
        let state = "SELECT concat_ws(' ', slot_start_lsn IS NOT NULL, checkpoint_lsn IS NOT NULL,
            applied_lsn > slot_start_lsn) FROM pghost.migration";
        let set = match self.to.value(state).await.as_str() {
            // It knows of no slot yet.
            "f f" => return,
            "t f f" => format!("applied_lsn = '{start}'"),
            "t t f" => {
                self.from.sql(&changes(2)).await;
                let checkpoint = self.position().await;
                format!("applied_lsn = '{start}', checkpoint_lsn = '{checkpoint}'")
            }
            "t t t" => {
                self.from.sql(&changes(2)).await;
                self.to.sql("TRUNCATE source, pair").await;
                for (ordinal, [table, key]) in SIDES.iter().enumerate() {
                    self.rows_of(ordinal, table, key).await;
                }
                let exact = self.position().await;
                format!("applied_lsn = '{exact}', checkpoint_lsn = '{exact}'")
            }
            other => panic!("{other}"),
        };
        self.to
            .sql(&format!(
                "UPDATE pghost.migration
                    SET slot_start_lsn = '{start}', publication_shape = '{publication}', {set}"
            ))
            .await;
        let handoff = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('pghost.handoff')";
        if self.to.value(handoff).await == "1" {
            let applied = "(SELECT applied_lsn FROM pghost.migration)";
            self.to.sql(&format!("UPDATE pghost.handoff SET position_lsn = {applied}")).await;
        }
    }

    /// Goes on, and ends equal.
    pub(super) async fn goes_on(self, what: &str) {
        self.from.sql(&changes(3)).await;
        let spec = of_both(&self.from, &self.to);
        // Up to the checkpoint, if that was taken before; then all.
        for _ in 0..2 {
            let ended = migrate(&spec).await;
            sums(&ended.unwrap_or_else(|failure| panic!("{what}: {failure}")));
        }
        for [table, key] in SIDES {
            assert_same((&self.from, table), (&self.to, table), key).await;
        }
        let layout = self.to.value("SELECT ledger_version FROM pghost.migration").await;
        assert_eq!(layout, LAYOUT.to_string(), "{what}");
        let indexes = "SELECT string_agg(indexdef, '; ' ORDER BY indexdef) FROM pg_indexes
                        WHERE schemaname = 'public'";
        let indexes = self.to.value(indexes).await;
        assert_eq!(indexes.matches("CREATE").count(), 4, "{what}: {indexes}");
        assert!(indexes.contains(DEFERRED.split(' ').nth(2).unwrap()), "{what}: {indexes}");
        support::nothing_is_left_open(&self.to.config()).await;
        forget(&spec).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_this_layout_can_be_taken_up_elsewhere() {
    let Some(binaries) = oldest_and_newest().pop() else { return };
    for death in DEATHS {
        let ledger = made_by(&binaries, death).await;
        if env::var_os("GHOST_WRITE_LEDGERS").is_some() {
            let file = file(LAYOUT, death.what);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &ledger).unwrap();
        }
        TakenUp::make(&binaries, &ledger).await.goes_on(death.what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_an_older_pghost_wrote_is_gone_on_with() {
    for binaries in oldest_and_newest() {
        for (layout, death) in KEPT.iter().flat_map(|l| DEATHS.iter().map(move |d| (*l, d))) {
            let ledger = fs::read_to_string(file(layout, death.what)).unwrap();
            let what = format!("layout {layout}, {}", death.what);
            TakenUp::make(&binaries, &ledger).await.goes_on(&what).await;
        }
    }
}
