//! Networks that are gone without a word: nothing is acknowledged any more and nothing closes, as
//! behind a cable that was pulled or a firewall that has forgotten. TCP's own timers notice, whose
//! settings are given in the connection string here, since their defaults take minutes.

use pghost::{
    cluster::Binaries,
    conn::parse_dsn,
    migrate::{Event, MigrationSpec, PhaseName},
};

use crate::support::{
    moments::{begins, migrate_with, now, sums},
    oldest_and_newest,
    own_servers::Two,
    proxy::Proxy,
};

/// Noticed within three seconds, whether something was sent or not.
const TIMERS: &str =
    "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=2500";

const TABLE: &str = "CREATE TABLE source (id int PRIMARY KEY, v text);
    INSERT INTO source SELECT i, repeat('v', 200) FROM generate_series(1, 2000) i";

const CHANGES: &str = "UPDATE source SET v = v || '!' WHERE id % 3 = 0;
    UPDATE source SET id = -id WHERE id % 7 = 0";

/// Which server's network.
#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Target,
}

/// Loses the network once among the pages and once among the changes; each time the run notices,
/// goes on by new connections, and in the end all is there.
async fn is_lost(binaries: &Binaries, side: Side) {
    let two = Two::start(binaries);
    two.source.sql(TABLE).await;
    let server = match side {
        Side::Source => &two.source,
        Side::Target => &two.target,
    };
    let proxy = Proxy::start(server.port).await;
    let config = parse_dsn(&format!("{}?{TIMERS}", server.dsn_by(proxy.port))).unwrap();
    let spec = match side {
        Side::Source => MigrationSpec { source: config, ..two.spec() },
        Side::Target => MigrationSpec { target: config, ..two.spec() },
    };
    let (mut pages, mut changes, mut reasons) = (true, true, Vec::new());
    let events = migrate_with(&spec, |event| {
        let is_time = match event {
            Event::Progress { pages_done: 5.., .. } => std::mem::take(&mut pages),
            event if begins(event, PhaseName::CatchUp) => std::mem::take(&mut changes),
            _ => false,
        };
        if is_time {
            now(two.source.sql(CHANGES));
            proxy.lose();
        }
        if let Event::Waiting { reason, .. } = event {
            reasons.push(reason.clone());
        }
    });
    let events = events.await.unwrap();
    assert!(!pages && !changes);
    assert!(reasons.len() >= 2, "{reasons:?}");
    // Not that the other end has closed: TCP has given up.
    assert!(reasons.iter().all(|reason| reason.contains("timed out")), "{reasons:?}");
    sums(&events);
    migrate_with(&spec, |_| {}).await.unwrap();
    two.are_equal().await;
    two.nothing_is_left_open().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_whose_network_is_gone_without_a_word_is_noticed() {
    for binaries in oldest_and_newest() {
        is_lost(&binaries, Side::Source).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_whose_network_is_gone_without_a_word_is_noticed() {
    for binaries in oldest_and_newest() {
        is_lost(&binaries, Side::Target).await;
    }
}
