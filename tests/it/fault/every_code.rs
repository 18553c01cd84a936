//! Every code of the table of verdicts, raised wherever a run meets it: on either server, and in
//! each of its phases. What becomes of the run, its exit code, what it says, that it goes on where
//! it stopped, and that nothing is left open.
//!
//! A code can be had at will: the key's type compares itself by a function that raises it for as
//! long as it stands in a table. Faults that come about by themselves are `verdicts`' and others'.

use pghost::{
    cluster::Binaries,
    migrate::{
        Event, Exit, PhaseName, Verdict,
        verdict::{Place, RULES, Rule, Sign},
    },
};
use tokio::task::JoinSet;

use crate::support::{
    Database,
    bed::Bed,
    moments::{begins, migrate_with, now},
    oldest_and_newest,
};

/// A number in a row, with an order of its own.
const KEY: &str = "CREATE TABLE trouble (code text); CREATE TYPE key AS (n int);
    CREATE FUNCTION compare(a key, b key) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
        DECLARE wanted text; BEGIN
            SELECT code INTO wanted FROM public.trouble;
            IF wanted IS NOT NULL THEN RAISE EXCEPTION 'provoked' USING ERRCODE = wanted; END IF;
            RETURN sign((a).n - (b).n); END $$";

/// The operators of a B-tree, by their strategies.
const OPERATORS: [(&str, &str); 5] =
    [("<", "lt"), ("<=", "le"), ("=", "eq"), (">=", "ge"), (">", "gt")];

const TABLE: &str = "CREATE TABLE source (k key PRIMARY KEY, v text);
    INSERT INTO source SELECT ROW(i)::key, 'row ' || i FROM generate_series(1, 30) i;
    CREATE INDEX ON source (k, v)";

fn order() -> String {
    let mut all = KEY.to_owned();
    let mut class = "CREATE OPERATOR CLASS key DEFAULT FOR TYPE key USING btree AS".to_owned();
    for (strategy, (operator, name)) in (1..).zip(OPERATORS) {
        all += &format!(
            ";CREATE FUNCTION {name}(a key, b key) RETURNS boolean IMMUTABLE LANGUAGE plpgsql
                  AS $$ BEGIN RETURN public.compare(a, b) {operator} 0; END $$;
              CREATE OPERATOR {operator} (LEFTARG = key, RIGHTARG = key, FUNCTION = {name})"
        );
        class += &format!(" OPERATOR {strategy} {operator},");
    }
    format!("{all}; {class} FUNCTION 1 compare(key, key)")
}

/// Where the key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// The source, where a page is read.
    Read,
    /// The target, where a page is written.
    Written,
    /// The target, where the key is built.
    Key,
    /// The target, where a change is applied.
    Applied,
    /// The target, where another index is built.
    Index,
    /// The source, where rows are compared.
    Verified,
}

use Spot::{Applied, Index, Key, Read, Verified, Written};

impl Spot {
    /// Whether the next thing that compares a key stands at this spot.
    fn is_next(self, event: &Event) -> bool {
        match self {
            Read | Written | Key => begins(event, PhaseName::Backfill),
            Applied => matches!(event, Event::Checkpoint { .. }),
            Index => begins(event, PhaseName::Finish),
            Verified => begins(event, PhaseName::Verify),
        }
    }
}

/// A spot, and a table that moves past it, once for each code.
struct Scene {
    spot: Spot,
    bed: Bed,
}

impl Scene {
    async fn make(binaries: &Binaries, spot: Spot) -> Self {
        let mut bed = Bed::make(binaries, "places", &format!("{}; {TABLE}", order())).await;
        bed.to.sql(&order()).await;
        (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(10), 1);
        bed.spec.verify = spot == Verified;
        Self { spot, bed }
    }

    const fn troubled(&self) -> &Database {
        match self.spot {
            Read | Verified => &self.bed.from,
            Written | Key | Applied | Index => &self.bed.to,
        }
    }

    async fn meets(&self, code: &str, rule: &Rule) {
        let what = format!("{code} at {:?}", self.spot);
        // Not a TRUNCATE, which would wait for whoever has met it.
        let (end, trouble) =
            ("DELETE FROM trouble", format!("INSERT INTO trouble VALUES ('{code}')"));
        if self.spot == Written {
            self.bed.to.sql("CREATE TABLE target (k key PRIMARY KEY, v text)").await;
        }
        let (mut came, mut waited) = (false, Vec::new());
        let ended = migrate_with(&self.bed.spec, |event| {
            if self.spot == Applied && matches!(event, Event::Progress { pages_done: 1, .. }) {
                now(self.bed.from.sql("UPDATE source SET v = v || '!' WHERE (k).n % 7 = 3"));
            }
            if !came && self.spot.is_next(event) {
                came = true;
                now(self.troubled().sql(&trouble));
            }
            if let Event::Waiting { reason, .. } = event {
                waited.push(reason.clone());
                now(self.troubled().sql(end));
            }
        });
        let ended = ended.await;
        assert!(came, "{what}: the moment never came");
        self.troubled().sql(end).await;
        match (rule.verdict, ended) {
            (Verdict::Retry, Ok(_)) => {
                assert_eq!(waited.len(), 1, "{what}: {waited:?}");
                assert!(waited[0].contains(code) && waited[0].contains("provoked"), "{waited:?}");
            }
            (Verdict::Stop, Err(failure)) => {
                assert_eq!(failure.exit, Exit::Stopped, "{what}: {failure}");
                // An index has a way to go on without it, too.
                assert!(failure.hint.starts_with(rule.next), "{what}: {failure}");
                assert_eq!(failure.hint.contains("skipped"), self.spot == Index, "{failure}");
                assert_eq!(
                    failure.sqlstate.map(|s| s.to_string()).as_deref(),
                    Some(code),
                    "{what}"
                );
                assert!(failure.message.contains("provoked"), "{what}: {failure}");
                assert!(waited.is_empty(), "{what}: {waited:?}");
                self.bed.nothing_is_left_open().await;
                migrate_with(&self.bed.spec, |_| {}).await.unwrap();
            }
            (verdict, ended) => panic!("{what}, {verdict:?}: {:?} {waited:?}", ended.map(|_| ())),
        }
        self.bed.ends().await;
        self.bed.to.sql("DROP TABLE target").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_has_the_verdict_that_the_table_says() {
    let mut scenes = JoinSet::new();
    let all = [Read, Applied, Written, Key, Index, Verified];
    for (release, binaries) in oldest_and_newest().into_iter().rev().enumerate() {
        // On the oldest one of each side: there are many codes.
        for spot in if release == 0 { &all[..] } else { &all[..2] } {
            let (binaries, spot) = (binaries.clone(), *spot);
            scenes.spawn(async move {
                let scene = Scene::make(&binaries, spot).await;
                for rule in RULES {
                    match rule.sign {
                        Sign::State(code) if rule.place == Place::Anywhere => {
                            scene.meets(&format!("{code:0<5}"), rule).await;
                        }
                        Sign::Other => scene.meets("XX000", rule).await,
                        _ => {}
                    }
                }
            });
        }
    }
    scenes.join_all().await;
}
