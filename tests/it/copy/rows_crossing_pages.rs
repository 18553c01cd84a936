//! Rows that move across the bounds of pages, in both directions, while the backfill stands between
//! two pages: for every kind of key, with values that have gone wrong somewhere.

mod kinds;

use pghost::{backfill::Paging, cluster::Binaries, migrate::Event};

use crate::support::{
    Database, assert_same, migrate,
    moments::{Gate, beside, drop_slot, now, sums},
    oldest_and_newest, server, spec, versions_to_test,
};

/// What tells the rows apart.
#[derive(Clone, Copy, Debug)]
enum By {
    PrimaryKey,
    /// A unique index that the replica identity names, beside another primary key.
    ReplicaIdentity,
    /// A unique index of a table without a primary key, under REPLICA IDENTITY FULL.
    UniqueIndex,
}

/// A kind of key.
struct Kind<'a> {
    what: &'a str,
    /// Made in both databases first.
    before: &'a str,
    /// The key's columns with their types, in the key's order.
    columns: &'a [(&'a str, &'a str)],
    /// A query for keys, at least 24 of them, in any order.
    keys: &'a str,
    by: By,
    paging: Paging,
}

/// A primary key, paged as is best.
const fn kind<'a>(what: &'a str, columns: &'a [(&'a str, &'a str)], keys: &'a str) -> Kind<'a> {
    Kind { what, before: "", columns, keys, by: By::PrimaryKey, paging: Paging::Auto }
}

impl<'a> Kind<'a> {
    const fn before(self, before: &'a str) -> Self {
        Self { before, ..self }
    }

    const fn by(self, by: By) -> Self {
        Self { by, ..self }
    }

    const fn paging(self, paging: Paging) -> Self {
        Self { paging, ..self }
    }

    fn names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Makes the table on both sides; gives how many keys there are in the pool.
    async fn make(&self, from: &Database, to: &Database) -> u32 {
        let names = self.names();
        let columns: Vec<_> =
            self.columns.iter().map(|(n, t)| format!("{n} {t} NOT NULL")).collect();
        let columns = columns.join(", ");
        let (of_source, of_target) = match self.by {
            By::PrimaryKey => {
                let key = format!("ALTER TABLE @ ADD PRIMARY KEY ({names})");
                (key.clone(), key)
            }
            By::ReplicaIdentity => {
                let key = format!("CREATE UNIQUE INDEX the_key ON @ ({names})");
                let primary = "ALTER TABLE @ ADD PRIMARY KEY (nr)";
                let identity = "ALTER TABLE @ REPLICA IDENTITY USING INDEX the_key";
                (format!("{primary}; {key}; {identity}"), key)
            }
            By::UniqueIndex => {
                let key = format!("CREATE UNIQUE INDEX the_key ON @ ({names})");
                (format!("{key}; ALTER TABLE @ REPLICA IDENTITY FULL"), key)
            }
        };
        let table = |name: &str, then: &str| {
            format!(
                "DROP TABLE IF EXISTS {name}, pool; CREATE TABLE {name} ({columns}, nr integer NOT NULL, v text);
                 {}",
                then.replace('@', name)
            )
        };
        to.sql(&table("target", &of_target)).await;
        from.sql(&format!(
            "{}; CREATE TABLE pool ({columns}, nr integer, UNIQUE ({names}));
             INSERT INTO pool {} ON CONFLICT DO NOTHING;
             UPDATE pool p SET nr = o.nr FROM (
                 SELECT ctid AS row, row_number() OVER (ORDER BY {names}) AS nr FROM pool) o
              WHERE p.ctid = o.row;
             INSERT INTO source SELECT {names}, nr, 'v' || nr FROM pool WHERE nr % 3 > 0",
            table("source", &of_source),
            self.keys
        ))
        .await;
        let pool = from.value("SELECT count(*) FROM pool").await.parse().unwrap();
        assert!(pool >= 24, "{}: {pool} keys are too few", self.what);
        pool
    }

    /// Changes across the bounds, by the rows' numbers (which stay) and the places of keys in
    /// their order. Every third place is free at first, and all of these again at the end.
    fn changes(&self, pool: u32) -> Vec<String> {
        let names = self.names();
        let key = |place: u32| format!("(SELECT {names} FROM pool WHERE nr = {place})");
        let to = |row: u32, place: u32| {
            format!("UPDATE source SET ({names}) = {}, v = v || '>' WHERE nr = {row}", key(place))
        };
        let new = |row: u32, place: u32| {
            format!("INSERT INTO source SELECT {names}, {row}, 'new' FROM pool WHERE nr = {place}")
        };
        let gone = |row: u32| format!("DELETE FROM source WHERE nr = {row}");
        let free = pool / 3;
        // Low places are copied, high ones are not; there is something of each at either end.
        let (low, high) = (|i: u32| 3 * i, |i: u32| 3 * (free - i));
        let last = if pool.is_multiple_of(3) { pool - 1 } else { pool };
        vec![
            // Up, down, and back again.
            to(4, high(0)),
            to(high(2) - 1, low(1)),
            to(4, 4),
            to(high(2) - 1, high(2) - 1),
            // An exchange of a copied and an uncopied key, and one of both ends of the key.
            [to(5, low(1)), to(high(1) - 1, 5), to(5, high(1) - 1)].join("; "),
            ["BEGIN".into(), to(1, low(1)), to(last, 1), to(1, last), "COMMIT".into()].join("; "),
            // New rows on either side, and others under the keys of rows that are gone.
            new(1001, low(1)),
            new(1002, high(0)),
            gone(7),
            new(1003, 7),
            gone(high(2) - 2),
            new(1004, high(2) - 2),
            // A row that takes the key which another one has just left, on the other side.
            to(1001, high(1)),
            new(1005, low(1)),
            gone(1002),
            to(2, high(0)),
            new(1006, 2),
            // One transaction in which rows come, move and go.
            [
                "BEGIN".into(),
                gone(1005),
                to(1006, low(1)),
                new(1007, 2),
                to(1007, high(2)),
                new(1008, 2),
                gone(1008),
                to(1007, 2),
                "COMMIT".into(),
            ]
            .join("; "),
            "UPDATE source SET v = v || '.' WHERE nr % 2 = 0".into(),
            // All places that were free are free again.
            [gone(1001), gone(1006), to(1007, low(1)), to(2, 2), gone(1007)].join("; "),
            "UPDATE source SET nr = CASE nr WHEN 1003 THEN 7 ELSE nr - 1004 + ".to_owned()
                + &format!("{} END WHERE nr IN (1003, 1004)", high(2) - 2),
        ]
    }

    /// Moves the table from one database to the other. Pages are of three rows, and one in the
    /// middle is held while the changes are made.
    async fn play(&self, from: &Database, to: &Database, standby: Option<&Standby<'_>>) {
        let pool = self.make(from, to).await;
        let changes = self.changes(pool);
        let mut spec = spec(from, to, "source", "target");
        spec.name = Some(format!("{}_{}", from.name, self.what));
        spec.page_rows = Some(3);
        spec.copy_jobs = 1;
        spec.paging = self.paging;
        spec.copy_from = standby.map(|standby| standby.database.config());
        let middle = pool / 6 * 3 + 1;
        let gate = Gate::close(to, "target", 1, &format!("nr = {middle}")).await;
        let script = async {
            gate.reached().await;
            let halfway = format!("SELECT count(*) > 5 AND max(nr) < {middle} FROM target");
            assert_eq!(to.value(&halfway).await, "t", "{}: not in the middle", self.what);
            if let Some(Standby { database, stands_still: true }) = standby {
                database.sql("SELECT pg_wal_replay_pause()").await;
            }
            for change in &changes {
                from.sql(change).await;
            }
            gate.open().await;
        };
        // Once more between the last page and the first change that is applied.
        let mut checkpoints = 0;
        let on = |event: &Event| {
            if let Event::Checkpoint { .. } = event {
                checkpoints += 1;
                let again = changes.iter().filter(|_| checkpoints == 1);
                again.for_each(|change| {
                    now(from.sql(change));
                });
            }
        };
        let major = from.server.version().major();
        let failed = |failure| panic!("{major}, {}: {failure}", self.what);
        sums(&beside(&spec, on, script).await.unwrap_or_else(failed));
        if let Some(standby) = standby {
            let maintenance = Database { name: "postgres".into(), ..standby.database.clone() };
            maintenance.sql("SELECT pg_wal_replay_resume()").await;
        }
        for _ in 0..2 {
            sums(&migrate(&spec).await.unwrap_or_else(failed));
            assert_same((from, "source"), (to, "target"), "nr").await;
            for change in &changes {
                from.sql(change).await;
            }
        }
        drop_slot(from, &spec).await;
    }
}

/// Where pages are read instead of the source.
#[derive(Clone, Copy)]
struct Standby<'a> {
    database: &'a Database,
    /// Whether it replays nothing while the changes are made, so that the pages that follow show
    /// none of them.
    stands_still: bool,
}

/// Keys that are words cross bounds while pages are read from a standby, which shows the changes as
/// late as it likes.
pub(crate) async fn words_from_a_standby(from: &Database, to: &Database, standby: &Database) {
    for kind in kinds::words() {
        let stands_still = match kind.what {
            "libc" | "identity" => true,
            "full" => false,
            _ => continue,
        };
        from.sql(kind.before).await;
        to.sql(kind.before).await;
        let standby = Standby { database: standby, stands_still };
        kind.play(from, to, Some(&standby)).await;
    }
}

/// Plays kinds of keys on a release; collations of ICU are the build's choice, and a kind that needs
/// one is left out without.
async fn play(binaries: &Binaries, kinds: &[Kind<'_>]) {
    let server = server(binaries);
    let from = Database::create(&server, "crossing").await;
    let to = Database::create(&server, "crossing").await;
    for kind in kinds {
        let mut connection = from.connect().await;
        let there = connection.query(kind.before).await;
        connection.close().await;
        match there {
            Ok(_) => {
                to.sql(kind.before).await;
                kind.play(&from, &to, None).await;
            }
            Err(error) => assert!(kind.before.contains("icu"), "{}: {error}", kind.what),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn integers_cross_bounds() {
    for binaries in versions_to_test() {
        play(&binaries, &kinds::integers()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_times_cross_bounds() {
    for binaries in oldest_and_newest() {
        play(&binaries, &kinds::numbers_and_times()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_cross_bounds() {
    for binaries in oldest_and_newest() {
        play(&binaries, &kinds::words()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_else_crosses_bounds() {
    for binaries in oldest_and_newest() {
        play(&binaries, &kinds::everything_else()).await;
    }
}
