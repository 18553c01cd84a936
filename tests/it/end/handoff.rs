//! Handing the slot over to a native subscription: nothing lost, nothing twice, wherever the run
//! dies, on the releases that people move between.

mod bed;
mod dies;
mod origin;
mod refused;
mod roles;
mod same_server;

pub(crate) use same_server::keywords;

use std::time::Duration;

use pghost::{
    cluster::StopMode,
    ledger::LedgerSchema,
    migrate::{CutoverSpec, PhaseName, Trust, cutover_sequences},
};
use serde_json::Value;

use crate::support::{
    moments::begins,
    program::{Program, enters, is},
    status,
};
use bed::{Bed, PAIRS, pair};
pub(crate) use dies::{STEPS, dies_at};

/// One command under load compares both sides and hands over; then the source crashes before the
/// slot's new position is anywhere on its disk, and both sides stay equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_table_is_handed_over_and_stays_equal() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)) {
        let bed = Bed::make(&binaries).await;
        let (from, to) = (&bed.two.source.dsn().to_owned(), &bed.two.target.dsn().to_owned());
        let args = ["--table", "busy", "--name", "busy", "--verify", "--then", "handoff"];
        let args = [&args[..], &["--page-rows", "200"]].concat();
        let ended = Program::migrate_between(from, to, &args).ends_with(0).await;
        ended.finished();
        all_rows_were_equal_before_the_handoff(&ended.events);

        let restarted = bed.two.source.restart(StopMode::Immediate, Duration::ZERO);
        restarted.join().unwrap();
        bed.churns(50).await;
        let bed = bed.ends_equal().await;
        assert_eq!(bed.definitions(&bed.two.source).await, bed.definitions(&bed.two.target).await);

        let found = status(&bed.two.target.config(), Some("busy")).await.unwrap();
        let subscription = found[0].subscription.as_ref().unwrap();
        assert_eq!((found[0].phase, subscription.name.as_str()), ("handed_off", "pghost_busy"));
        assert_eq!((subscription.enabled, subscription.running), (Some(true), Some(true)));

        // The same command once more has nothing to do, and copies nothing.
        let again = Program::migrate_between(from, to, &args).ends_with(0).await;
        assert!(!again.events.iter().any(|event| is(event, "progress")));
        // Nothing applies any more that was handed over.
        let follow = ["--name", "busy", "--then", "follow"];
        let refused = Program::migrate_between(from, to, &follow).ends_with(2).await;
        assert!(refused.error()["message"].as_str().unwrap().contains("handed over"));

        sequences_go_ahead(&bed).await;
        bed.cleanup_leaves_the_subscription().await;
    }
}

/// Every row was compared, in pages, and nothing was left open.
fn all_rows_were_equal_before_the_handoff(events: &[Value]) {
    let at = |wanted: &dyn Fn(&Value) -> bool| {
        let at = events.iter().position(wanted);
        at.unwrap_or_else(|| panic!("it never came, but {events:#?}"))
    };
    let verified = at(&|event| is(event, "verified"));
    assert!(at(&|event| enters(event, "verify")) < verified);
    assert!(verified < at(&|event| enters(event, "handoff")));
    let told = &events[verified];
    let number = |field: &str| told[field].as_u64().unwrap();
    assert!(number("rows") > 1000 && number("pages") >= number("rows") / 200, "{told}");
    let open = ["different_rows", "respelled_rows", "moving_rows"].map(number);
    assert_eq!((told["table"].as_str(), open), (Some("public.busy"), [0; 3]));
}

async fn sequences_go_ahead(bed: &Bed) {
    let last = "SELECT last_value FROM busy_id_seq";
    let number = |text: String| text.parse::<i64>().unwrap();
    let given = number(bed.two.source.value(last).await);
    let spec = CutoverSpec {
        source: bed.two.source.config(),
        target: bed.two.target.config(),
        name: Some("busy".into()),
        ledger: LedgerSchema::default(),
        tables: Vec::new(),
        gap: 500,
        trust: Trust::default(),
    };
    for moved in [true, false] {
        let mut reports = Vec::new();
        cutover_sequences(&spec, &mut |all| reports.extend_from_slice(all)).await.unwrap();
        assert_eq!((reports.len(), reports[0].moved), (1, moved), "{reports:?}");
        assert_eq!(number(bed.two.target.value(last).await), given + 500);
    }
}

/// The phase is told, and its steps in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_tells_its_steps() {
    for binaries in PAIRS.iter().filter_map(|majors| pair(*majors)).take(1) {
        let bed = Bed::make(&binaries).await;
        let events = crate::support::migrate(&bed.spec()).await.unwrap();
        let at = events.iter().position(|event| begins(event, PhaseName::Handoff)).unwrap();
        let steps: Vec<_> = events[at..].iter().filter_map(bed::step).collect();
        assert_eq!(steps, STEPS);
        bed.ends_equal().await;
    }
}
