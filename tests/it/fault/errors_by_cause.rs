//! What stops a run, by its genuine causes: rights that are taken away, columns that become too
//! narrow or go, constraints, and limits of a server. Each stops it with what the table of verdicts
//! says, and names the table; once it is mended the same command goes on, and both sides are equal.

use pghost::{
    cluster::Binaries,
    migrate::{
        Event, Exit, Failure, PhaseName,
        verdict::{Place, Sign, rule_of, rule_of_state},
    },
    pg::SqlState,
};
use tokio::task::JoinSet;

use crate::{
    fault::killed_at_events::forget,
    support::{
        Database,
        bed::Bed,
        migrate,
        moments::{begins, beside, migrate_with, now, until},
        oldest_and_newest,
    },
};

/// The last row is one that a column of fewer digits has no room for.
const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n numeric, v text);
    INSERT INTO source SELECT i, 0.25, 'row ' || i FROM generate_series(1, 1500) i;
    UPDATE source SET n = 5000.25 WHERE id = 1500";

/// Something that stops a run, where `{role}` is whose sessions those are.
struct Cause {
    /// Made on the source before the run, which has nothing but these changes to bring; else it is
    /// in its pages.
    changes: Option<&'static str>,
    on_source: bool,
    harm: &'static str,
    code: &'static str,
    says: &'static [&'static str],
    mend: &'static str,
}

const fn page(
    on_source: bool,
    harm: &'static str,
    (code, says): (&'static str, &'static [&'static str]),
    mend: &'static str,
) -> Cause {
    Cause { changes: None, on_source, harm, code, says, mend }
}

const fn change(
    changes: &'static str,
    harm: &'static str,
    (code, says): (&'static str, &'static [&'static str]),
    mend: &'static str,
) -> Cause {
    Cause { changes: Some(changes), on_source: false, harm, code, says, mend }
}

const PAGE: &str = "reading page ";
const WRITES_PAGE: &str = "writing page ";
const TARGET: &str = "public.target";
/// In the place of a server's code: a type that rounds or cuts would take values without a word.
const ALTERED: &str = "altered";

/// One after the other, of one migration.
const CAUSES: &[Cause] = &[
    page(
        true,
        "REVOKE SELECT ON source FROM {role}",
        ("42501", &[PAGE, "of public.source (keys "]),
        "GRANT SELECT ON source TO {role}",
    ),
    page(
        false,
        "REVOKE INSERT ON target FROM {role}",
        ("42501", &[WRITES_PAGE, "of public.target (keys "]),
        "GRANT INSERT ON target TO {role}",
    ),
    page(
        false,
        "ALTER TABLE target RENAME v TO w",
        ("42703", &[WRITES_PAGE, TARGET, "\"v\""]),
        "ALTER TABLE target RENAME w TO v",
    ),
    page(
        false,
        "ALTER TABLE target RENAME TO elsewhere",
        ("42P01", &[WRITES_PAGE, TARGET]),
        "ALTER TABLE elsewhere RENAME TO target",
    ),
    page(
        false,
        "ALTER TABLE target ADD CONSTRAINT small CHECK (id < 0) NOT VALID",
        ("23514", &[WRITES_PAGE, TARGET, "small"]),
        "ALTER TABLE target DROP CONSTRAINT small",
    ),
    page(
        false,
        "ALTER TABLE target ADD more int NOT NULL DEFAULT 1;
         ALTER TABLE target ALTER more DROP DEFAULT",
        ("23502", &[WRITES_PAGE, TARGET, "more"]),
        "ALTER TABLE target DROP more",
    ),
    // The last page of all.
    page(
        false,
        "ALTER TABLE target ALTER n TYPE numeric(4, 2)",
        (ALTERED, &["page ", TARGET, "its columns are others"]),
        "ALTER TABLE target ALTER n TYPE numeric",
    ),
    // Before the checkpoint.
    change(
        "UPDATE source SET v = 'too long for twelve' WHERE id < 9",
        "ALTER TABLE target ALTER v TYPE varchar(12)",
        (ALTERED, &[TARGET, "was altered: its columns are others"]),
        "ALTER TABLE target ALTER v TYPE text",
    ),
    // And from here on after it.
    change(
        "UPDATE source SET v = 'forbidden' WHERE id = 7",
        "ALTER TABLE target ADD CONSTRAINT allowed CHECK (v <> 'forbidden')",
        ("23514", &["writing changes", TARGET, "allowed"]),
        "ALTER TABLE target DROP CONSTRAINT allowed",
    ),
    change(
        "INSERT INTO source SELECT i, 1.25, NULL FROM generate_series(-2000, -1) i",
        "ALTER TABLE target ALTER v SET NOT NULL",
        ("23502", &["writing changes", TARGET, "\"v\""]),
        "ALTER TABLE target ALTER v DROP NOT NULL",
    ),
    change(
        "UPDATE source SET v = 'x' WHERE id = 7; DELETE FROM source WHERE id = 8",
        "ALTER TABLE target RENAME v TO w",
        ("42703", &["writing changes", TARGET, "\"v\""]),
        "ALTER TABLE target RENAME w TO v",
    ),
    change(
        "DELETE FROM source WHERE id = 9",
        "ALTER TABLE target RENAME TO elsewhere",
        ("42P01", &["writing changes", TARGET]),
        "ALTER TABLE elsewhere RENAME TO target",
    ),
    change(
        "UPDATE source SET v = 'y' WHERE id = 7",
        "REVOKE UPDATE ON target FROM {role}",
        ("42501", &["writing changes", TARGET]),
        "GRANT UPDATE ON target TO {role}",
    ),
    change(
        "DELETE FROM source WHERE id = 10",
        "ALTER ROLE {role} NOREPLICATION",
        ("42501", &["reading changes from the source"]),
        "ALTER ROLE {role} REPLICATION",
    ),
];

/// With a role that may do on both sides what it must and nothing more.
async fn make_bed(binaries: &Binaries, table: &str) -> Bed {
    let mut bed = Bed::make(binaries, "causes", table).await;
    let (from, to, role) = (&bed.from.name, &bed.to.name, bed.role());
    let may = format!(
        "CREATE ROLE {role} LOGIN REPLICATION; ALTER TABLE source OWNER TO {role};
         GRANT CREATE ON DATABASE {from}, {to} TO {role}"
    );
    bed.from.sql(&may).await;
    bed.to.sql(&format!("GRANT ALL ON SCHEMA public TO {role}")).await;
    bed.spec.source.user.clone_from(&role);
    bed.spec.target.user = role;
    (bed.spec.page_rows, bed.spec.copy_jobs) = (Some(25), 1);
    bed
}

impl Bed {
    /// Whose sessions those are.
    fn role(&self) -> String {
        format!("{}_mover", self.from.name)
    }

    /// A run with something done at a moment.
    async fn harmed_by(
        &self,
        is_time: impl Fn(&Event) -> bool + Send + Sync,
        db: &Database,
        sql: &str,
    ) -> Result<Vec<Event>, Failure> {
        let mut sql = Some(sql);
        let ended = migrate_with(&self.spec, |event| {
            if is_time(event)
                && let Some(sql) = sql.take()
            {
                now(db.sql(sql));
            }
        })
        .await;
        assert_eq!(sql, None, "the moment never came: {ended:?}");
        ended
    }

    async fn stops_by(&self, cause: &Cause) {
        if let Some(changes) = cause.changes {
            self.from.sql(changes).await;
        }
        let db = if cause.on_source { &self.from } else { &self.to };
        let [harm, mend] = [cause.harm, cause.mend].map(|sql| sql.replace("{role}", &self.role()));
        let is_time = |event: &Event| match cause.changes {
            None => matches!(event, Event::Progress { .. }),
            Some(_) => begins(event, PhaseName::CatchUp),
        };
        let ended = self.harmed_by(is_time, db, &harm).await;
        self.stopped(ended, cause.code, cause.says).await;
        db.sql(&mend).await;
        if cause.changes.is_some() {
            // All of them, so that the next ones are the first that come.
            migrate(&self.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
    }

    /// It has ended with this code as the table says. Gives the failure.
    async fn stopped(
        &self,
        ended: Result<Vec<Event>, Failure>,
        code: &str,
        says: &[&str],
    ) -> Failure {
        let failure = ended.map(|_| (code, says)).unwrap_err();
        let state = SqlState::from_bytes(code.as_bytes());
        let rule = state
            .map_or_else(|| rule_of(Sign::Reshaped), |state| rule_of_state(state, Place::Anywhere));
        assert_eq!(failure.sqlstate, state, "{failure}");
        assert_eq!((failure.exit, failure.verdict), (Exit::Stopped, rule.verdict), "{failure}");
        // An index has a way to go on without it, too.
        assert!(failure.hint.starts_with(rule.next), "{failure}");
        assert!(failure.state.contains("stay"), "{failure}");
        for part in says {
            assert!(failure.message.contains(part), "no {part} in {failure}");
        }
        self.nothing_is_left_open().await;
        failure
    }

    /// The rows that were copied have nothing in it.
    async fn with_a_column_made_again(&self) {
        let is_time = |event: &Event| matches!(event, Event::Progress { .. });
        let ended = self.harmed_by(is_time, &self.to, "ALTER TABLE target DROP v").await;
        self.stopped(ended, "42703", &["writing page ", "public.target", "\"v\""]).await;
        self.to.sql("ALTER TABLE target ADD v text").await;
        let failure = migrate(&self.spec).await.map(|_| "it ended well").unwrap_err();
        assert_eq!(
            (failure.exit, &*failure.hint),
            (Exit::CannotResume, rule_of(Sign::Emptied).next)
        );
        let says = "\"v\" of the target public.target is another one";
        assert!(failure.message.contains(says), "{failure}");
        forget(&self.spec).await;
        self.to.sql("DROP TABLE target").await;
    }

    /// What was copied of a column that has gone would not come again with another.
    async fn lacks_a_column(&self) {
        self.to.sql("ALTER TABLE target RENAME v TO w").await;
        let failure = migrate(&self.spec).await.map(|_| "it ended well").unwrap_err();
        assert_eq!(failure.exit, Exit::CannotResume, "{failure}");
        assert!(
            failure.message.contains("public.target has no column \"v\" any more"),
            "{failure}"
        );
        assert!(!failure.hint.contains("ADD COLUMN"), "{failure}");
        self.to.sql("ALTER TABLE target RENAME w TO v").await;
    }

    async fn goes_to_its_end(&self) {
        for _ in 0..2 {
            migrate(&self.spec).await.unwrap_or_else(|failure| panic!("{failure}"));
        }
        self.ends().await;
    }
}

async fn one_after_the_other(binaries: Binaries) {
    let bed = make_bed(&binaries, TABLE).await;
    bed.with_a_column_made_again().await;
    for cause in CAUSES {
        bed.stops_by(cause).await;
    }
    bed.lacks_a_column().await;
    bed.goes_to_its_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_taken_away_or_too_narrow_stops_the_run_until_it_is_mended() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(one_after_the_other(binaries));
    }
    scenes.join_all().await;
}

/// Sorted by several processes together, which goes by files however little it is.
async fn indexes(binaries: Binaries) {
    const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n int, u int);
        INSERT INTO source SELECT i, i, i FROM generate_series(1, 30000) i;
        CREATE INDEX on_n ON source (n); CREATE UNIQUE INDEX on_u ON source (u)";
    let mut bed = make_bed(&binaries, TABLE).await;
    bed.spec.page_rows = Some(5000);
    let set = |what: &str| format!("ALTER DATABASE {} {what}", bed.to.name);
    bed.to.sql(&set("SET min_parallel_table_scan_size = 0")).await;
    let [limit, no_limit] = ["SET temp_file_limit = '100kB'", "RESET temp_file_limit"].map(set);

    bed.to.sql(&limit).await;
    let ended = migrate(&bed.spec).await;
    let says = ["building the key of public.target", "temp_file_limit"];
    bed.stopped(ended, "53400", &says).await;
    bed.to.sql(&no_limit).await;

    let is_time = |event: &Event| matches!(event, Event::Checkpoint { .. });
    let ended = bed.harmed_by(is_time, &bed.to, &limit).await;
    let failure = bed.stopped(ended, "53400", &["CREATE ", "public.target", "temp_file_limit"]);
    assert!(failure.await.hint.contains("skipped = 'by hand'"));
    bed.to.sql(&no_limit).await;

    // Rows that the source does not have.
    bed.to.sql("INSERT INTO target VALUES (-1, 0, 7)").await;
    let ended = migrate(&bed.spec).await;
    bed.stopped(ended, "23505", &["making index on_u of public.target", "(u)=(7)"]).await;
    bed.to.sql("DELETE FROM target WHERE id = -1").await;

    // A build that somebody cancels, and one whose session somebody ends.
    let mut holder = bed.to.connect().await;
    holder.query("BEGIN; LOCK TABLE target IN ROW EXCLUSIVE MODE").await.unwrap();
    let mut reasons = Vec::new();
    let script = async {
        for end in ["pg_cancel_backend", "pg_terminate_backend"] {
            let builds = "FROM pg_stat_activity WHERE datname = current_database()
                AND query LIKE 'CREATE UNIQUE INDEX%' AND wait_event_type = 'Lock'";
            until(&bed.to, &format!("SELECT count(*) > 0 {builds}")).await;
            bed.to.sql(&format!("SELECT {end}(pid) {builds}")).await;
            until(&bed.to, &format!("SELECT count(*) = 0 {builds}")).await;
        }
        holder.query("COMMIT").await.unwrap();
    };
    let on = |event: &Event| {
        if let Event::Waiting { reason, .. } = event {
            reasons.push(reason.clone());
        }
    };
    beside(&bed.spec, on, script).await.unwrap();
    holder.close().await;
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    for (reason, code) in reasons.iter().zip(["57014", "57P01"]) {
        assert!(
            reason.contains(code) && reason.contains("index on_u of public.target"),
            "{reasons:?}"
        );
    }
    let made = "SELECT count(*) FROM pg_index WHERE indrelid = 'target'::regclass AND indisvalid";
    assert_eq!(bed.to.value(made).await, "3");
    bed.goes_to_its_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_cannot_be_built_stops_the_run_until_it_can() {
    let mut scenes = JoinSet::new();
    for binaries in oldest_and_newest() {
        scenes.spawn(indexes(binaries));
    }
    scenes.join_all().await;
}
