//! Settings that lead now to the primary and now to its standby: several hosts, or one name with
//! several addresses. A proxy stands for them.

use pghost::{
    conn::parse_dsn,
    migrate::{Event, PhaseName},
};

use super::{Pair, TABLE, pair};
use crate::support::{
    assert_same,
    moments::{begins, drop_slot, migrate_with, until},
    oldest_and_newest,
    proxy::Proxy,
    spec,
};

/// A run by a proxy that leads to the standby from a moment on, until the run says that it waits
/// for another one; its reasons for waiting.
async fn led_astray(
    pair: &Pair,
    cuts: bool,
    is_time: impl Fn(&Event) -> bool + Send + Sync,
) -> Vec<String> {
    let (from, to, standby) = pair.databases().await;
    from.sql(TABLE).await;
    until(&standby, "SELECT to_regclass('source') IS NOT NULL").await;
    until(&standby, "SELECT count(*) > 0 FROM source").await;
    let port = pair.primary.port();
    let proxy = Proxy::start(port).await;
    let dsn = pair.primary.tcp_dsn(&from.name);
    let by_proxy = dsn.replace(&format!(":{port}"), &format!(":{}", proxy.port));
    let mut spec = spec(&from, &to, "source", "target");
    spec.source = parse_dsn(&by_proxy).unwrap();
    spec.page_rows = Some(1000);
    let (mut is_first, mut reasons) = (true, Vec::new());
    let ended = migrate_with(&spec, |event| {
        if let Event::Waiting { reason, .. } = event {
            if reason.contains("is a standby") {
                proxy.lead_to(port);
            }
            reasons.push(reason.clone());
        } else if is_time(event) && std::mem::take(&mut is_first) {
            proxy.lead_to(pair.standby.port());
            if cuts {
                proxy.cut();
            }
        }
    });
    ended.await.unwrap_or_else(|failure| panic!("{failure}"));
    assert_same((&from, "source"), (&to, "target"), "id").await;
    drop_slot(&from, &spec).await;
    reasons
}

/// The primary is away, and meanwhile its standby answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_answers_for_the_source_in_mid_run_is_waited_out() {
    for binaries in oldest_and_newest() {
        let is_time = |event: &Event| matches!(event, Event::Progress { pages_done: 3.., .. });
        let reasons = led_astray(&pair(&binaries), true, is_time).await;
        assert!(reasons.iter().any(|r| r == "the source is a standby"), "{reasons:?}");
    }
}

/// Only the walsender comes to the standby, which has no such slot, or, from 17 on, a copy of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_the_standby_does_not_have_is_not_gone() {
    for binaries in oldest_and_newest() {
        let is_time = |event: &Event| begins(event, PhaseName::CatchUp);
        let reasons = led_astray(&pair(&binaries), false, is_time).await;
        let told = "reached for reading changes is a standby of the source";
        assert!(reasons.iter().any(|reason| reason.contains(told)), "{reasons:?}");
    }
}
