//! What a server can make us hold, measured. One test at a time: it is the whole process that is
//! looked at.

use std::time::Duration;

use pghost::{
    conn::Error,
    pg::{Ident, Lsn},
    pgoutput::Message,
    replication::{self, DurableLsn, StreamMessage, StreamOptions},
    wire::Frames,
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    backend::{header, message, named},
    client::again,
    server::{Listener, session, soon},
    walk::{Kind, kind},
};

/// What a result may hold, in the bytes of its messages and 48 for each of them (`conn`'s own).
const RESULT_BYTES_MAX: usize = 256 * 1024 * 1024;
const OVERHEAD_BYTES: usize = 48;

/// How long a quarter of a gigabyte may take before it counts as hanging: each byte is looked at.
const LONG: Duration = Duration::from_mins(10);

/// Held by whoever fills the memory or measures it.
static MEMORY: Mutex<()> = Mutex::const_new(());

/// The bytes of this process that are in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn a_claimed_gigabyte_is_not_made_room_for() {
    let _alone = MEMORY.lock().await;
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    let before = resident();
    let claim = async {
        peer.play("> Q").await.unwrap();
        peer.send(&header(b'D', 1 << 30)).await.unwrap();
        // A part of it, so that there is something to double.
        peer.send(&vec![0; 1 << 20]).await.unwrap();
        std::future::pending::<()>().await;
    };
    let asked = async { tokio::join!(again(&mut connection), claim) };
    assert!(timeout(Duration::from_millis(300), asked).await.is_err());
    let grown = resident().saturating_sub(before);
    // Other tests have some of it.
    assert!(grown < 1 << 29, "{grown} bytes more");
}

/// A row of a COPY is one message, whatever its size, and goes through in parts.
#[tokio::test]
async fn a_large_row_of_a_copy_is_not_held_as_a_whole() {
    const ROW_BYTES: usize = 256 << 20;
    let _alone = MEMORY.lock().await;
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t TO STDOUT");
    let (copy, ()) = tokio::join!(connection.copy_out(), peer.say("> Q < H d"));
    let mut copy = copy.unwrap();
    let before = resident();
    let serving = async {
        let piece: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
        peer.send(&header(b'd', i32::try_from(ROW_BYTES + 4).unwrap())).await.unwrap();
        for _ in 0..ROW_BYTES / piece.len() {
            peer.send(&piece).await.unwrap();
        }
        peer.say("< d c").await;
    };
    let reading = async {
        let (mut bytes, mut most) = (0, 0);
        while let Some(frames) = copy.next().await.unwrap() {
            for frame in Frames::new(&frames) {
                assert_eq!(frame.tag, b'd');
                // The first and the last message are others.
                let within = frame.body.len() > 1000;
                let is_right =
                    |(at, byte): (usize, &u8)| usize::from(*byte) == (bytes + at) % (1 << 20) % 251;
                assert!(!within || frame.body.iter().enumerate().all(is_right), "at {bytes}");
                bytes += if within { frame.body.len() } else { 0 };
            }
            most = most.max(resident());
        }
        (bytes, most)
    };
    let work = async { tokio::join!(reading, serving).0 };
    let (bytes, most) = timeout(LONG, work).await.expect("this hangs");
    assert_eq!(bytes, ROW_BYTES);
    let grown = most.saturating_sub(before);
    // Other tests have some of it.
    assert!(grown < ROW_BYTES / 2, "{grown} bytes more");
    peer.say("< C Z").await;
    soon(copy.finish()).await.unwrap();
}

/// The start of XLogData with a message of somebody's in it, and of its prefix.
fn emitted(lsn: u64, bytes: usize) -> Vec<u8> {
    let head = [&b"w"[..], &lsn.to_be_bytes(), &[0; 16], b"M\0", &lsn.to_be_bytes()].concat();
    let length = i32::try_from(4 + head.len() + bytes).unwrap();
    [header(b'd', length), head].concat()
}

/// Anybody may write messages of a gigabyte with `pg_logical_emit_message`: its prefix can be long,
/// and its content.
#[tokio::test]
async fn a_long_message_of_somebody_is_not_held() {
    const BYTES: usize = 200 << 20;
    let _alone = MEMORY.lock().await;
    let listener = Listener::unix();
    let (connection, mut peer) = session(&listener).await;
    let options = StreamOptions { messages: true, ..StreamOptions::plain(vec![Ident::new("p")]) };
    let starting = replication::start(connection, "slot", &options, DurableLsn::assertion(Lsn(1)));
    let (stream, ()) = tokio::join!(starting, peer.say("> Q < W"));
    let mut stream = stream.unwrap();
    let before = resident();
    let content = i32::try_from(BYTES).unwrap().to_be_bytes();
    let messages = [
        ([&b"short\0"[..], &content].concat(), b'x', &b""[..]),
        ([&b"of zeros\0"[..], &content].concat(), 0, b""),
        (Vec::new(), b'p', b"\0\0\0\0\x03abc"),
    ];
    let serving = async {
        for (lsn, (head, filling, end)) in (2..).zip(&messages) {
            let bytes = head.len() + BYTES + end.len();
            peer.send(&[emitted(lsn, bytes), head.clone()].concat()).await.unwrap();
            for _ in 0..BYTES >> 20 {
                peer.send(&vec![*filling; 1 << 20]).await.unwrap();
            }
            let keepalive = [&b"k"[..], &lsn.to_be_bytes(), &[0; 9]].concat();
            peer.send(&[*end, &message(b'd', &keepalive)].concat()).await.unwrap();
        }
    };
    let reading = async {
        let (mut seen, mut most, mut decoder) = (Vec::new(), 0, stream.decoder());
        while seen.len() < 2 * messages.len() {
            let chunk = stream.chunk().await.unwrap();
            for message in chunk.messages() {
                seen.push(match message.unwrap() {
                    StreamMessage::Keepalive { wal_end, .. } => ('k', wal_end),
                    StreamMessage::XLogData { payload, .. } => match decoder.decode(payload) {
                        Ok(Message::Logical(message)) => ('M', message.lsn),
                        other => panic!("{other:?}"),
                    },
                });
            }
            most = most.max(resident());
        }
        (seen, most)
    };
    let work = async { tokio::join!(reading, serving).0 };
    let (seen, most) = timeout(LONG, work).await.expect("this hangs");
    let all = [2, 3, 4].map(|lsn| [('M', Lsn(lsn)), ('k', Lsn(lsn))]).concat();
    assert_eq!(seen, all);
    let grown = most.saturating_sub(before);
    // Other tests have some of it.
    assert!(grown < BYTES / 2, "{grown} bytes more");
}

/// A result of one row after the other, up to exactly this many bytes.
async fn result_of(bytes: usize) -> Result<(), Error> {
    const ROW_BYTES: usize = 1 << 20;
    let row = |bytes: usize| {
        let value = i32::try_from(bytes - 6).unwrap();
        let head = [&[0, 1][..], &value.to_be_bytes()].concat();
        message(b'D', &[head, vec![b'x'; bytes - 6]].concat())
    };
    let counted = |message: &[u8]| message.len() - 5 + OVERHEAD_BYTES;
    // Each row has one value, which takes some memory besides its bytes.
    let value_bytes = size_of::<Option<bytes::Bytes>>();
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    let (shape, end) = (named("T"), [named("C"), named("Z")]);
    let others = counted(&shape) + counted(&end[0]) + counted(&end[1]);
    let whole_row = row(ROW_BYTES);
    let each = counted(&whole_row) + value_bytes;
    let rows = (bytes - others) / each - 1;
    let last = row(bytes - others - rows * each - OVERHEAD_BYTES - value_bytes);
    let serving = async {
        peer.play("> Q").await.unwrap();
        peer.put(&shape);
        for _ in 0..rows {
            if peer.send(&whole_row).await.is_err() {
                return;
            }
        }
        let _ = peer.send(&[last, end.concat()].concat()).await;
    };
    let work = async { tokio::join!(again(&mut connection), serving).0 };
    timeout(LONG, work).await.expect("this hangs")
}

#[tokio::test]
async fn a_result_is_held_up_to_its_cap() {
    let _alone = MEMORY.lock().await;
    result_of(RESULT_BYTES_MAX).await.unwrap();
    let error = result_of(RESULT_BYTES_MAX + 1).await.unwrap_err();
    assert!(matches!(error, Error::ResultTooLarge { limit: RESULT_BYTES_MAX }), "{error}");
}

/// A server that talks and never reads, while we have much to say.
#[tokio::test]
async fn a_flood_is_not_held_without_bounds() {
    let _alone = MEMORY.lock().await;
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t FROM STDIN");
    let (copy, ()) = tokio::join!(connection.copy_in(), peer.say("> Q < G"));
    let mut copy = copy.unwrap();
    let notices = [&b"M"[..], &[b'x'; 1 << 20], b"\0\0"].concat();
    let notices = message(b'N', &notices);
    let flood = async {
        while peer.send(&notices).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let frames = message(b'd', &vec![b'x'; 30_000]).repeat(300);
    let work = async {
        tokio::select! {
            sent = copy.forward(&frames) => sent,
            () = flood => unreachable!(),
        }
    };
    let error = timeout(LONG, work).await.expect("this hangs").unwrap_err();
    assert!(matches!(error, Error::Flooded { .. }), "{error}");
    assert!(soon(copy.finish()).await.is_err());
    assert_eq!(kind(&soon(again(&mut connection)).await.unwrap_err()), Kind::Poisoned);
}
