//! What happens to the source between the last page and the checkpoint, as SQL. All of it runs on
//! the server, so that making the changes costs no traffic.

/// Changes to be caught up with.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The tables that it changes.
    pub(crate) tables: &'static [&'static str],
    /// Makes the changes.
    pub(crate) sql: String,
}

/// A row that is changed as applications change theirs: two of nine columns, the key left alone.
const UPDATE: &str = "UPDATE orders SET amount = amount + 1, updated_at = clock_timestamp()";

/// All of them, for `orders` of `rows` rows; in one-row transactions half as many changes.
pub(crate) fn all(rows: u64) -> Vec<Workload> {
    let (half, batches) = (rows / 2, 1000);
    let batch = (rows / batches).max(1);
    let hot = (rows / 500).max(1);
    // Each turn of the loop commits; the table's order is not the order of the changes.
    let each = |count: u64, statement: &str| {
        format!(
            "DO $$ DECLARE k bigint;
             BEGIN FOR i IN 0..{} LOOP {statement}; COMMIT; END LOOP; END $$",
            count.saturating_sub(1)
        )
    };
    // The key first: a condition that calls random() is asked anew for every row.
    let one_of = |rows| format!("k := 1 + floor(random() * {rows}); {UPDATE} WHERE id = k");
    let range = format!("id > i * {batch} AND id <= (i + 1) * {batch}");
    let orders = |name, sql| Workload { name, tables: &["orders"], sql };
    vec![
        orders("one-row updates", each(half, &one_of(rows))),
        orders("updates, one transaction", UPDATE.to_owned()),
        orders("updates, 1000 transactions", each(batches, &format!("{UPDATE} WHERE {range}"))),
        orders(
            "inserts, 1000 transactions",
            each(
                batches,
                &format!(
                    "INSERT INTO orders SELECT id + {rows}, reference, note, amount, tags, details,
                            paid, created_at, updated_at FROM orders WHERE {range}"
                ),
            ),
        ),
        orders(
            "deletes, 1000 transactions",
            each(batches, &format!("DELETE FROM orders WHERE {range}")),
        ),
        orders("updates of hot rows", each(half, &one_of(hot))),
        Workload {
            name: "TPC-B",
            tables: &["accounts", "tellers", "branches", "history"],
            sql: each(
                rows / 5,
                "SELECT 1 + floor(random() * 100000), 1 + floor(random() * 10), 1,
                        floor(random() * 10001) - 5000 INTO a, t, b, d;
                 UPDATE accounts SET abalance = abalance + d WHERE aid = a;
                 UPDATE tellers SET tbalance = tbalance + d WHERE tid = t;
                 UPDATE branches SET bbalance = bbalance + d WHERE bid = b;
                 INSERT INTO history (tid, bid, aid, delta, mtime)
                 VALUES (t, b, a, d, clock_timestamp())",
            )
            .replace("DECLARE k bigint;", "DECLARE a int; t int; b int; d int;"),
        },
    ]
}

/// A table for one transaction of many GB.
pub(crate) const HUGE: &str = "
    CREATE TABLE huge (id bigint PRIMARY KEY, v text NOT NULL);
    ALTER TABLE huge ALTER v SET STORAGE EXTERNAL";

/// One transaction of so many GB, in rows of some 10 KB.
pub(crate) fn huge(gigabytes: u64) -> Workload {
    let rows = gigabytes * 100_000;
    Workload {
        name: "one huge transaction",
        tables: &["huge"],
        sql: format!(
            "INSERT INTO huge SELECT i, repeat(md5(i::text), 312)
               FROM generate_series(1, {rows}) i"
        ),
    }
}

/// pgbench's tables at scale 1; its history has a key here, without which nothing can tell two
/// rows apart.
pub(crate) const TPC_B: &str = "
    CREATE TABLE branches (bid int PRIMARY KEY, bbalance int NOT NULL, filler char(88));
    CREATE TABLE tellers (tid int PRIMARY KEY, bid int NOT NULL, tbalance int NOT NULL,
                          filler char(84));
    CREATE TABLE accounts (aid int PRIMARY KEY, bid int NOT NULL, abalance int NOT NULL,
                           filler char(84));
    CREATE TABLE history (hid bigserial PRIMARY KEY, tid int, bid int, aid int, delta int,
                          mtime timestamptz, filler char(22));
    INSERT INTO branches VALUES (1, 0, '');
    INSERT INTO tellers SELECT t, 1, 0, '' FROM generate_series(1, 10) t;
    INSERT INTO accounts SELECT a, 1, 0, '' FROM generate_series(1, 100000) a";
