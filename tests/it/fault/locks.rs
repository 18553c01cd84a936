//! Locks of the target that are not to be had: a deadlock, a lock_timeout and a cancelled statement,
//! each made by the server itself, in a page and in the catch-up. They pass, and the run goes on.

use pghost::{cluster::Binaries, migrate::Event};
use tokio::sync::watch;

use crate::support::{
    bed::Bed,
    migrate,
    moments::{Gate, migrate_with, sums, until},
    oldest_and_newest,
};

/// So many rows that those at the beginning of a page are in the table already, not in a COPY's
/// buffer of a thousand, when the run comes to the gate near its end.
const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, n int, v text);
    INSERT INTO source SELECT i, 0, 'row ' || i FROM generate_series(1, 2400) i";

/// With a table to write to on the target.
async fn make_bed(binaries: &Binaries) -> Bed {
    let mut bed = Bed::make(binaries, "locks", TABLE).await;
    bed.to.sql("CREATE TABLE target (id int PRIMARY KEY, n int, v text)").await;
    (bed.spec.page_rows, bed.spec.copy_jobs, bed.spec.apply_jobs) = (Some(1200), 1, 1);
    bed
}

impl Bed {
    /// Runs beside a script, which is told when the run waits; goes on by itself after a fault of
    /// this code; all is equal then, and nothing is left open.
    async fn outlives<F: Future<Output = ()>>(
        &self,
        code: &str,
        script: impl FnOnce(watch::Receiver<bool>) -> F,
    ) {
        let (mut reasons, (tell, waits)) = (Vec::new(), watch::channel(false));
        let run = migrate_with(&self.spec, |event| {
            if let Event::Waiting { reason, .. } = event {
                reasons.push(reason.clone());
                tell.send_replace(true);
            }
        });
        let (ended, ()) = tokio::join!(run, script(waits));
        let events = ended.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(reasons.iter().any(|reason| reason.contains(code)), "{code}: {reasons:?}");
        sums(&events);
        self.is_equal().await;
        self.nothing_is_left_open().await;
    }

    /// What is to be brought by another run.
    async fn change(&self) {
        self.from.sql("UPDATE source SET n = 1, v = v || '!' WHERE id > 1200").await;
    }

    /// Holds the run at a row of the second page, and later among the changes.
    async fn gate(&self, number: u32) -> Gate {
        Gate::close(&self.to, "target", number, &format!("NEW.id = 2381 AND NEW.n = {number}"))
            .await
    }
}

/// The run holds a row, which another session waits for, and wants the ledger, which that one holds.
async fn deadlock(bed: &Bed, gate: Gate, ledger: &str) {
    gate.reached().await;
    let mut other = bed.to.connect().await;
    other.query(&format!("SET deadlock_timeout = '1h'; BEGIN; {ledger}")).await.unwrap();
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event = 'transactionid' AND application_name = 'test'";
    let open = async {
        until(&bed.to, waits).await;
        gate.open().await;
    };
    // Whether the row is there then or not is undone.
    let (_, ()) = tokio::join!(other.query("INSERT INTO target (id) VALUES (1201)"), open);
    other.query("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        // The run's session looks first, and so is the victim.
        let soon = format!("ALTER DATABASE \"{}\" SET deadlock_timeout = '50ms'", bed.to.name);
        bed.to.sql(&soon).await;
        let gate = bed.gate(0).await;
        let page = "LOCK TABLE pghost.page IN EXCLUSIVE MODE";
        bed.outlives("40P01", |_| deadlock(&bed, gate, page)).await;
        bed.change().await;
        let gate = bed.gate(1).await;
        let position = "SELECT FROM pghost.migration FOR UPDATE";
        bed.outlives("40P01", |_| deadlock(&bed, gate, position)).await;
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}

/// pghost's own sessions have no lock_timeout, whatever the role has; a function of the target may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_timeout_is_waited_out() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        let guard =
            "CREATE FUNCTION guard() RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '20ms' AS
                 $$ BEGIN PERFORM pg_catalog.pg_advisory_xact_lock_shared(7); RETURN true; END $$;
             ALTER TABLE target ADD CHECK (CASE WHEN id = 2381 THEN public.guard() ELSE true END)";
        bed.to.sql(guard).await;
        for _ in 0..2 {
            let mut holder = bed.to.connect().await;
            holder.query("SELECT pg_advisory_lock(7)").await.unwrap();
            let script = async |mut waits: watch::Receiver<bool>| {
                waits.wait_for(|waits| *waits).await.unwrap();
                holder.close().await;
            };
            bed.outlives("55P03", script).await;
            bed.change().await;
        }
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_somebody_cancels_is_tried_again() {
    for binaries in oldest_and_newest() {
        let bed = make_bed(&binaries).await;
        for number in [0, 1] {
            let gate = bed.gate(number).await;
            let script = async |mut waits: watch::Receiver<bool>| {
                gate.reached().await;
                let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event = 'advisory'";
                bed.to.sql(cancel).await;
                waits.wait_for(|waits| *waits).await.unwrap();
                gate.open().await;
            };
            bed.outlives("57014", script).await;
            bed.change().await;
        }
        migrate(&bed.spec).await.unwrap();
        bed.ends().await;
    }
}
