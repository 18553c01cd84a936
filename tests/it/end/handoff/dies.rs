//! Runs that die between any two steps of a handover.

use std::time::Duration;

use pghost::{
    cluster::StopMode,
    migrate::{self, Event, Failure, MigrationSpec, StepName, Then, VerifySpec},
};
use tokio::sync::watch;

use super::bed::{Bed, PAIRS, pair, step};
use crate::support::{
    migrate,
    moments::migrate_with,
    own_servers::{Own, Two},
    program::{Program, is},
};

/// In the order in which they are taken.
pub(crate) const STEPS: [StepName; 5] = [
    StepName::HandoffBegun,
    StepName::SubscriptionMade,
    StepName::OriginAdvanced,
    StepName::SubscriptionEnabled,
    StepName::SubscriptionApplied,
];

/// Runs until an event of this kind and dies there and then, as by SIGKILL: nothing more is sent,
/// and the sockets close. `false` if it came to its end before.
pub(crate) async fn dies_at(
    spec: &MigrationSpec,
    mut when: impl FnMut(&Event) -> bool + Send + 'static,
) -> bool {
    let spec = spec.clone();
    let run = tokio::spawn(async move {
        let (_stay, interrupt) = watch::channel(false);
        let mut listener = |event: &Event| {
            if when(event) {
                // A panic that is not told.
                std::panic::resume_unwind(Box::new("killed"));
            }
        };
        migrate::run(&spec, interrupt, &mut listener).await
    });
    match run.await {
        Ok(ended) => {
            ended.unwrap();
            false
        }
        Err(error) => {
            assert!(error.is_panic());
            true
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_that_dies_at_each_step_goes_on() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)) {
        let bed = Bed::make(&binaries).await;
        // In mid-copy, too, when the target is without its key, and before its indexes are made.
        for wanted in [StepName::PageRead, StepName::CheckpointPassed] {
            let died = dies_at(&bed.spec(), move |event| step(event) == Some(wanted)).await;
            assert!(died, "{wanted:?}");
        }
        for wanted in STEPS {
            let died = dies_at(&bed.spec(), move |event| step(event) == Some(wanted)).await;
            assert!(died, "{wanted:?}");
            bed.churns(10).await;
        }
        migrate(&bed.spec()).await.unwrap();
        let bed = bed.ends_equal().await;
        // The subscription brings the changes now, and both sides can be compared all the same.
        let spec = bed.spec();
        let verify = VerifySpec {
            source: spec.source,
            target: spec.target,
            tables: Vec::new(),
            name: spec.name,
            ledger: spec.ledger,
            slot: None,
            page_rows: None,
            list: 20,
            trust: spec.trust,
        };
        let (_stay, interrupt) = watch::channel(false);
        migrate::verify(&verify, interrupt, &mut |_: &Event| {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_that_is_killed_again_and_again_goes_on() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)) {
        let bed = Bed::make(&binaries).await;
        let run = || {
            let args = ["--table", "busy", "--name", "busy", "--then", "handoff"];
            Program::migrate_between(bed.two.source.dsn(), bed.two.target.dsn(), &args)
        };
        // It may be a step further by the time it is killed.
        for wanted in
            ["handoff_begun", "subscription_made", "origin_advanced", "subscription_enabled"]
        {
            let mut program = run();
            while let Some(event) = program.next().await {
                if is(&event, "step") && event["step"] == wanted {
                    break;
                }
            }
            program.kill();
            bed.churns(10).await;
        }
        run().ends_with(0).await.finished();
        bed.ends_equal().await;
    }
}

/// Before the subscription is enabled there is a way back: pghost applies again, and a later
/// handover begins at where it is then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_is_taken_back_until_the_subscription_is_enabled() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(1) {
        let bed = Bed::make(&binaries).await;
        let stop = MigrationSpec { then: Then::Stop, ..bed.spec() };
        for wanted in &STEPS[..3] {
            let wanted = *wanted;
            assert!(dies_at(&bed.spec(), move |event| step(event) == Some(wanted)).await);
            bed.churns(10).await;
            migrate(&stop).await.unwrap();
            let left = "SELECT (SELECT count(*) FROM pg_subscription)
                             + (SELECT count(*) FROM pghost.handoff)
                             + (SELECT count(*) FROM pg_replication_origin)";
            assert_eq!(bed.two.target.value(left).await, "0", "{wanted:?}");
        }
        let enabled = |event: &Event| step(event) == Some(StepName::SubscriptionEnabled);
        assert!(dies_at(&bed.spec(), enabled).await);
        let follow = MigrationSpec { then: Then::Follow, ..bed.spec() };
        let failure = migrate(&follow).await.unwrap_err();
        assert_eq!(failure.exit.code(), 2, "{failure}");
        // Stopping is what it does once it is handed over.
        migrate(&stop).await.unwrap();
        bed.ends_equal().await;
    }
}

/// A slot that is beyond the position would lose changes without a sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_somebody_has_moved_on_is_not_handed_over() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(1) {
        let bed = Bed::make(&binaries).await;
        for wanted in [StepName::HandoffBegun, StepName::SubscriptionMade, StepName::OriginAdvanced]
        {
            assert!(dies_at(&bed.spec(), move |event| step(event) == Some(wanted)).await);
            bed.churns(5).await;
            if wanted == StepName::OriginAdvanced {
                moves_on(&bed.two).await;
            }
        }
        let failure: Failure = migrate(&bed.spec()).await.unwrap_err();
        assert_eq!(failure.exit.code(), 4, "{failure}");
        assert!(failure.message.contains("ahead of the target"), "{failure}");
        let enabled = "SELECT subenabled FROM pg_subscription";
        assert_eq!(bed.two.target.value(enabled).await, "f");
    }
}

async fn moves_on(two: &Two) {
    let free = "SELECT NOT active FROM pg_replication_slots";
    two.source.until(free).await;
    let advance = "SELECT pg_replication_slot_advance('pghost_busy', pg_current_wal_lsn())";
    two.source.sql(advance).await;
}

/// Both servers crash after each step, and in the end the source does while the run goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_crash_in_a_handover_go_on_with_it() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(2) {
        let bed = Bed::make(&binaries).await;
        let crash = |server: &Own| server.restart(StopMode::Immediate, Duration::ZERO);
        for wanted in [StepName::HandoffBegun, StepName::SubscriptionMade, StepName::OriginAdvanced]
        {
            assert!(dies_at(&bed.spec(), move |event| step(event) == Some(wanted)).await);
            let crashing = [&bed.two.source, &bed.two.target].map(crash);
            crashing.into_iter().for_each(|crash| crash.join().unwrap());
        }
        let mut crashed = false;
        let events = migrate_with(&bed.spec(), |event| {
            if step(event) == Some(StepName::SubscriptionEnabled) {
                crashed = true;
                crash(&bed.two.source).join().unwrap();
            }
        })
        .await
        .unwrap();
        let waited = events.iter().any(|event| matches!(event, Event::Resumed { .. }));
        assert!(crashed && waited, "{events:#?}");
        bed.ends_equal().await;
    }
}
