//! The demo, small: real servers, a real migration, a live workload.

use pghost::{
    demo::{self, Options},
    migrate::{Event, Exit, PhaseName},
};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_moves_while_it_is_written_to_and_both_sides_are_equal() {
    let (_keep, interrupt) = watch::channel(false);
    let mut ends = 0;
    let mut listener = |event: &Event| ends += usize::from(matches!(event, Event::Finished { .. }));
    let mut out = Vec::new();
    let ended = demo::run(Options { rows: 20_000 }, interrupt, &mut listener, &mut out).await;
    let report = String::from_utf8(out).unwrap();
    assert_eq!(ended, Ok(()), "{report}");
    assert!(report.contains("all values: equal"), "{report}");
    assert_eq!(ends, 2, "it migrates once while the workload writes and once after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_demo_ends_with_exit_code_1_and_without_a_report() {
    let (interrupt, interrupted) = watch::channel(false);
    let mut listener = |event: &Event| {
        if matches!(event, Event::Phase { phase: PhaseName::Backfill }) {
            interrupt.send_replace(true);
        }
    };
    let mut out = Vec::new();
    let ended = demo::run(Options { rows: 20_000 }, interrupted, &mut listener, &mut out).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.exit, Exit::Stopped);
    assert!(failure.state.contains("removed"), "{failure}");
    assert!(out.is_empty());
}
