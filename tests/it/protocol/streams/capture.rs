//! One reading of a slot: from its start to the end of the script, every message decoded.

use std::time::Duration;

use pghost::{
    config::Config,
    conn::{Connection, Error, SessionKind},
    pg::Lsn,
    pgoutput::{Message, Streaming, encode},
    replication::{
        self, Assembler, DurableLsn, Limits, SpillDirectory, StreamMessage, StreamOptions, Taken,
    },
};

use super::{
    resolve::{Change, Resolver},
    seen::Seen,
};

/// Far longer than a whole script takes.
const PATIENCE: Duration = Duration::from_mins(10);

pub(super) struct Capture {
    pub(super) options: StreamOptions,
    pub(super) live: bool,
    pub(super) resolver: Resolver,
    pub(super) seen: Seen,
    pub(super) messages: usize,
    /// What the assembler hands on, which must tell of the same transactions.
    assembled: Resolver,
    /// The most that it had in files.
    spilled: u64,
}

/// So little that streamed transactions go to files.
const MEMORY: usize = 16 * 1024;

impl Capture {
    fn assemble(&mut self, assembler: &mut Assembler, payload: &[u8], message: Message<'_>) {
        match assembler.take(message, payload).unwrap() {
            Taken::Nothing => {}
            Taken::Now(message) => self.assembled.take(&message),
            Taken::Whole(mut replay) => {
                while let Some(message) = replay.advance().unwrap() {
                    self.assembled.take(&message);
                }
            }
        }
        self.spilled = self.spilled.max(assembler.spilled());
    }

    fn assert_the_assembler_agrees(&self, assembler: &Assembler) {
        let what = &self.options;
        self.assembled.assert_at_rest();
        assert!(assembler.is_empty(), "{what}");
        assert!(self.assembled.committed == self.resolver.committed, "{what}");
        assert_eq!(self.assembled.loose, self.resolver.loose, "{what}");
        // Read live, large transactions come in blocks, of which some are kept.
        let streams = self.options.streaming != Streaming::Off;
        assert!(!(self.live && streams) || self.spilled > 0, "{what}");
    }
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
    let assembled = Resolver::default();
    let mut capture = Capture { options, live, resolver, seen, messages: 0, assembled, spilled: 0 };
    let spill = SpillDirectory::open(&std::env::temp_dir()).unwrap();
    let limits = Limits { memory: MEMORY, ..Limits::default() };
    let mut assembler = Assembler::new(spill, limits);
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
            capture.assemble(&mut assembler, payload, decoded);
        }
        if is_end(&capture.resolver) {
            stream.close().await?.close().await;
            capture.resolver.assert_at_rest();
            capture.assert_the_assembler_agrees(&assembler);
            return Ok(capture);
        }
    }
}

fn is_end(resolver: &Resolver) -> bool {
    resolver.committed.last().is_some_and(
        |last| matches!(last.changes.last(), Some(Change::Insert { table, .. }) if table.name == "marker"),
    )
}
