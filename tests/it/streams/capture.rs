//! One reading of a slot: from its start to the end of the script, every message decoded.

use std::time::Duration;

use pghost::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    pg::Lsn,
    pgoutput::encode,
    replication::{self, DurableLsn, StreamMessage, StreamOptions},
};

use super::{
    resolve::{Change, Resolver},
    seen::Seen,
};

/// Far longer than a whole script takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Capture {
    pub(super) options: StreamOptions,
    pub(super) live: bool,
    pub(super) resolver: Resolver,
    pub(super) seen: Seen,
    pub(super) messages: usize,
}

/// Reads up to the transaction that writes the last marker. Nothing is acknowledged, so that the
/// slot can be read again.
pub(super) async fn read(
    config: Config,
    slot: String,
    options: StreamOptions,
    from: Lsn,
    live: bool,
) -> Capture {
    let what = options.to_string();
    let reading = read_to_the_end(&config, &slot, options, from, live);
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => read.unwrap_or_else(|error| panic!("{what}: {error}")),
        Err(_) => panic!("{what}: the end never came"),
    }
}

async fn read_to_the_end(
    config: &Config,
    slot: &str,
    options: StreamOptions,
    from: Lsn,
    live: bool,
) -> Result<Capture, Error> {
    let walsender = Connection::connect(config, SessionKind::Replication).await?;
    options.check(walsender.server_version()?).unwrap();
    let from = DurableLsn::assertion(from);
    let mut stream = replication::start(walsender, slot, &options, from).await?;
    let mut decoder = stream.decoder();
    let (resolver, seen) = (Resolver::default(), Seen::default());
    let mut capture = Capture { options, live, resolver, seen, messages: 0 };
    loop {
        let chunk = stream.chunk().await?;
        for message in chunk.messages() {
            let StreamMessage::XLogData { payload, .. } = message.unwrap() else { continue };
            let in_block = decoder.in_block();
            let decoded = decoder.decode(payload).unwrap_or_else(|error| {
                panic!("{}: {error}: {}", capture.options, payload.escape_ascii())
            });
            assert_eq!(encode::to_bytes(&decoded), payload, "{decoded:?}");
            capture.messages += 1;
            capture.seen.take(&decoded, in_block);
            capture.resolver.take(&decoded);
        }
        if is_end(&capture.resolver) {
            stream.close().await?.close().await;
            capture.resolver.assert_at_rest();
            return Ok(capture);
        }
    }
}

fn is_end(resolver: &Resolver) -> bool {
    resolver.committed.last().is_some_and(
        |last| matches!(last.changes.last(), Some(Change::Insert { table, .. }) if table.name == "marker"),
    )
}
