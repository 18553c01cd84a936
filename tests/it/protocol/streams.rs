//! Real streams of every release, with every protocol version and option it knows: what is decoded
//! is what was written.
//!
//! ```text
//!   script ──> server ──> slot ──> walsender ──> Decoder ──> Resolver ──> transactions ──> Replica
//!     │           └─────────────────── SELECT, COPY binary ─────────────────── Oracle ────────┤
//!     └── the changes of each transaction ─────────────────────────────────────────────────────┘
//! ```
//!
//! The script runs once. Some streams are read meanwhile, which shows them transactions that have
//! not ended yet; the others read the same slots again afterwards. All must tell of the same
//! transactions, and each message must encode to the bytes it came in.

mod asked;
mod capture;
mod large;
mod oracle;
mod replica;
mod resolve;
mod script;
mod seen;
mod tables;

use std::sync::Arc;

use pghost::{
    cluster::{Binaries, Server},
    conn::{Connection, SessionKind},
    pg::{Ident, Lsn},
    pgoutput::{ProtoVersion, Streaming},
    replication::{NewSlot, Origins, StreamOptions, create_slot},
};

use self::{
    capture::{Capture, read},
    oracle::Oracle,
    replica::Replica,
    resolve::Transaction,
    script::{Expected, Scene, Script, line, lines},
};
use crate::support::{Database, moments::until, versions_to_test};

const SETTINGS: &[(&str, &str)] = &[
    // The smallest there is, so that large transactions need not be.
    ("logical_decoding_work_mem", "64kB"),
    ("max_prepared_transactions", "10"),
    ("autovacuum", "off"),
    ("track_commit_timestamp", "on"),
];

/// With every protocol version and streaming that a release knows: every pair of values of
/// `binary`, `two_phase` and `origin`. `messages` goes round.
fn combinations(database: &Database, publications: &[Ident]) -> Vec<StreamOptions> {
    let server = database.server.version();
    let mut combinations: Vec<StreamOptions> = Vec::new();
    let mut way = 0;
    for version in [ProtoVersion::V1, ProtoVersion::V2, ProtoVersion::V3, ProtoVersion::V4] {
        for streaming in [Streaming::Off, Streaming::On, Streaming::Parallel] {
            way += 1;
            for (row, (binary, two_phase, foreign)) in [
                (false, false, true),
                (false, true, false),
                (true, false, false),
                (true, true, true),
            ]
            .into_iter()
            .enumerate()
            {
                let options = StreamOptions {
                    version,
                    streaming,
                    binary,
                    two_phase: two_phase && version >= ProtoVersion::V3,
                    origins: if foreign || server.major() < 16 {
                        Origins::Any
                    } else {
                        Origins::None
                    },
                    messages: row % 2 == way % 2,
                    publications: publications.to_vec(),
                };
                if options.check(server).is_ok() && !combinations.contains(&options) {
                    combinations.push(options);
                }
            }
        }
    }
    combinations
}

/// Of those, the ones to read while the script runs: each way in which transactions can be sent.
fn is_live(options: &StreamOptions, before: &[StreamOptions]) -> bool {
    let way = |o: &StreamOptions| (o.version, o.streaming, o.two_phase);
    let sends = options.streaming != Streaming::Off || options.version == ProtoVersion::V1;
    sends && !before.iter().any(|other| way(other) == way(options))
}

/// A slot and where it begins.
#[derive(Clone)]
struct Slot {
    name: String,
    from: Lsn,
    two_phase: bool,
}

async fn make_slot(database: &Database, name: &str, two_phase: bool) -> Slot {
    let mut walsender =
        Connection::connect(&database.config(), SessionKind::Replication).await.unwrap();
    let slot = NewSlot { name, two_phase };
    let from = create_slot(&mut walsender, slot).await.unwrap().consistent_point;
    walsender.close().await;
    Slot { name: name.to_owned(), from, two_phase }
}

async fn make_publications(database: &Database) -> Vec<Ident> {
    database.sql(tables::SETUP).await;
    let mut names = Vec::new();
    for (since, name, what) in tables::PUBLICATIONS {
        if database.server.version().major() >= *since {
            let name = Ident::new(*name);
            database.sql(&format!("CREATE PUBLICATION {name} {what}")).await;
            names.push(name);
        }
    }
    names
}

/// Runs the script, reads it in every way, and gives all readings.
async fn captures(database: &Database) -> (Vec<Capture>, Vec<Scene>, Vec<String>) {
    let publications = make_publications(database).await;
    let combinations = combinations(database, &publications);
    let mut slots: Vec<Slot> = Vec::new();
    let mut live = Vec::new();
    let mut later = Vec::new();
    for (i, options) in combinations.iter().enumerate() {
        if is_live(options, &combinations[..i]) {
            let slot =
                make_slot(database, &format!("streams_{}", slots.len()), options.two_phase).await;
            slots.push(slot.clone());
            let reading = read(database.config(), slot.name, options.clone(), slot.from, true);
            live.push(tokio::spawn(reading));
        } else {
            later.push(options.clone());
        }
    }
    let streaming = "SELECT count(*) = {} FROM pg_stat_replication WHERE state = 'streaming'";
    until(database, &streaming.replace("{}", &live.len().to_string())).await;
    let (scenes, loose) = Script::new(database).await.play().await;
    let mut captures = Vec::new();
    for reading in live {
        captures.push(reading.await.unwrap());
    }
    for options in later {
        let slot = slots.iter().find(|slot| slot.two_phase == options.two_phase).unwrap();
        captures.push(read(database.config(), slot.name.clone(), options, slot.from, false).await);
    }
    (captures, scenes, loose)
}

/// Panics unless a stream told of the script's transactions, all of them and nothing else.
fn check_scenes(capture: &Capture, scenes: &[Scene]) {
    let options = &capture.options;
    let mut committed = capture.resolver.committed.iter();
    for scene in scenes {
        let expected = match &scene.expected {
            _ if scene.tagged && options.origins == Origins::None => continue,
            Expected::Lines(expected) => {
                let wanted = |line: &&String| options.messages || !line.starts_with("message ");
                expected.iter().filter(wanted).cloned().collect()
            }
            Expected::Many(_) => vec![],
        };
        if expected.is_empty() && matches!(scene.expected, Expected::Lines(_)) {
            continue;
        }
        let found = committed.next().unwrap_or_else(|| panic!("{options}: no {}", scene.sql));
        let what = format!("{options}: {}", scene.sql);
        assert_eq!(found.origin.is_some(), scene.tagged, "{what}");
        match scene.expected {
            Expected::Lines(_) => assert_eq!(lines(found, options.messages), expected, "{what}"),
            Expected::Many(count) => {
                let changes = found.changes.iter().filter(|change| !change.is_message()).count();
                assert_eq!(changes, count, "{what}");
            }
        }
    }
    assert_eq!(committed.next(), None, "{options}");
}

/// What `capture` would have read with another stream's origins and messages.
fn seen_with(capture: &Capture, options: &StreamOptions) -> Vec<Transaction> {
    let mut transactions = capture.resolver.committed.clone();
    transactions.retain(|t| t.origin.is_none() || options.origins == Origins::Any);
    for transaction in &mut transactions {
        transaction.changes.retain(|change| !change.is_message() || options.messages);
    }
    transactions.retain(|t| !t.changes.is_empty());
    transactions
}

/// Panics unless a stream told of the same transactions as one that was asked for everything.
fn check_same(capture: &Capture, whole: &Capture) {
    let options = &capture.options;
    let expected = seen_with(whole, options);
    for (ours, theirs) in capture.resolver.committed.iter().zip(&expected) {
        for (ours, theirs) in ours.changes.iter().zip(&theirs.changes) {
            assert_eq!(ours, theirs, "{options}");
        }
        assert_eq!(ours, theirs, "{options}");
    }
    assert_eq!(capture.resolver.committed.len(), expected.len(), "{options}");
}

async fn check_replica(database: &Database, capture: &Capture) {
    let mut replica = Replica::default();
    capture.resolver.committed.iter().for_each(|transaction| replica.apply(transaction));
    let mut oracle = Oracle::of(database).await;
    for table in replica.tables.values() {
        oracle.check(table, capture.options.binary).await;
    }
    let expected = match database.server.version().major() {
        14 => 18,
        15..18 => 20,
        _ => 22,
    };
    assert_eq!(replica.tables.len(), expected, "{:?}", replica.tables.keys());
}

async fn play(binaries: &Binaries) {
    let server = Arc::new(Server::start(binaries, SETTINGS).unwrap());
    let database = Database::create(&server, "streams").await;
    let (captures, scenes, loose) = captures(&database).await;
    for capture in &captures {
        let options = &capture.options;
        seen::check(&capture.seen, options, capture.live);
        check_scenes(capture, &scenes);
        let whole = |other: &&Capture| {
            let o = &other.options;
            o.binary == options.binary && o.origins == Origins::Any && o.messages
        };
        check_same(capture, captures.iter().find(whole).unwrap());
        let told: Vec<_> = capture.resolver.loose.iter().map(line).collect();
        assert_eq!(told, if options.messages { loose.clone() } else { vec![] }, "{options}");
        // 14 sends transactions of which nothing is published.
        let major = server.version().major();
        assert_eq!(capture.resolver.empty > 0, major == 14, "{}", capture.resolver.empty);
    }
    for binary in [false, true] {
        let whole = |c: &&Capture| c.options.binary == binary && c.options.origins == Origins::Any;
        check_replica(&database, captures.iter().find(whole).unwrap()).await;
    }
    let whole = captures.iter().find(|c| c.options.origins == Origins::Any).unwrap();
    Oracle::of(&database).await.check_times(&whole.resolver.committed).await;
    let unasked: usize = captures.iter().map(|capture| capture.resolver.unasked).sum();
    assert!(unasked == 0 || server.version().major() == 18, "{unasked}");
    let messages: usize = captures.iter().map(|capture| capture.messages).sum();
    eprintln!(
        "{}: {} streams, {messages} messages, {unasked} of them Stream Aborts of nothing",
        server.version(),
        captures.len()
    );
}

#[tokio::test]
async fn streams_decode_to_what_was_written_with_every_version_and_option() {
    for binaries in versions_to_test() {
        play(&binaries).await;
    }
}
