//! Driving an assembler: with what a server sends, and with anything.

use super::{Choices, MemorySpill, Script, Step, messages::gid};
use crate::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, BeginPrepare, Commit, CommitPrepared, Decoder, Insert, LogicalMessage, Message,
        Origin, Prepare, ProtoVersion, RollbackPrepared, StreamAbort, StreamCommit, StreamStart,
        Streaming, TupleValue,
        encode::{TupleBuf, to_bytes},
    },
    replication::transaction::{AssembleError, Assembler, Limits, Taken},
};

/// Puts the transactions of a script together, checking the limits on the way.
pub fn assemble(script: &Script, limits: Limits) -> Result<Vec<Vec<u8>>, AssembleError> {
    let spill = MemorySpill::default();
    let mut assembler = Assembler::new(spill.clone(), limits);
    let new_decoder = || Decoder::new(ProtoVersion::V4, Streaming::On);
    let mut decoder = new_decoder();
    let mut out = Vec::new();
    for step in &script.steps {
        let Step::Message(payload) = step else {
            assembler.reset();
            decoder = new_decoder();
            assert!(assembler.is_empty() && spill.files() == 0);
            continue;
        };
        let message = decoder.decode(payload).expect("the encoder's messages");
        match assembler.take(message, payload)? {
            Taken::Nothing => {}
            Taken::Now(message) => out.push(to_bytes(&message)),
            Taken::Whole(mut replay) => {
                while let Some(message) = replay.advance()? {
                    out.push(to_bytes(&message));
                }
            }
        }
        assert!(assembler.memory() <= limits.memory);
        assert!(spill.files() <= assembler.open());
    }
    assert_eq!(assembler.open(), script.open);
    drop(assembler);
    assert_eq!(spill.files(), 0);
    Ok(out)
}

/// Any messages in any order: each is answered, and after an error nothing is taken.
pub fn torment(mut choices: Choices<'_>) {
    let limits = Limits { open: 2, ..choices.limits() };
    let spill = MemorySpill::with_room(choices.below(4) * 100);
    let mut assembler = Assembler::new(spill, limits);
    while !choices.0.is_empty() {
        let (kind, xid, subxid) = (choices.byte(), choices.below(3), choices.below(4));
        let gid = gid(Xid(1));
        let text = "y".repeat(choices.below(60));
        let row = TupleBuf::from_iter([TupleValue::Text(text.as_bytes())]);
        let message = any_message(kind, [xid, subxid], &gid, &row);
        let payload = to_bytes(&message);
        if let Err(error) = take(&mut assembler, message, &payload, &mut choices) {
            assert!(!error.to_string().is_empty());
            let again = assembler.take(message, &payload);
            assert!(matches!(again, Err(AssembleError::Stopped | AssembleError::Unfinished)));
            assembler.reset();
            assert!(assembler.is_empty());
        }
        assert!(assembler.memory() <= limits.memory && assembler.open() <= limits.open);
    }
}

/// Takes a message, and what it makes whole to its end or not quite.
fn take(
    assembler: &mut Assembler<MemorySpill>,
    message: Message<'_>,
    payload: &[u8],
    choices: &mut Choices<'_>,
) -> Result<(), AssembleError> {
    let Taken::Whole(mut replay) = assembler.take(message, payload)? else { return Ok(()) };
    let patience = if choices.below(4) == 0 { choices.below(3) } else { usize::MAX };
    let mut taken = 0;
    while taken < patience && replay.advance()?.is_some() {
        taken += 1;
    }
    Ok(())
}

fn any_message<'a>(
    kind: u8,
    [xid, subxid]: [usize; 2],
    gid: &'a str,
    row: &'a TupleBuf,
) -> Message<'a> {
    let id = |n: usize| Xid(u32::try_from(n).unwrap_or(0) + 1);
    let (lsn, time, inner) = (Lsn(7 + u64::from(kind / 128)), PgTimestamp(0), id(subxid));
    let xid = id(xid);
    let begin = BeginPrepare { prepare_lsn: lsn, end_lsn: lsn, prepare_time: time, xid, gid };
    let prepare = Prepare { prepare_lsn: lsn, end_lsn: lsn, prepare_time: time, xid, gid };
    let (commit_lsn, end_lsn, commit_time) = (lsn, lsn, time);
    let of_block = (!kind.is_multiple_of(3)).then_some(inner);
    match kind % 25 {
        0 => Message::Begin(Begin { final_lsn: lsn, commit_time, xid }),
        1 => Message::Commit(Commit { commit_lsn, end_lsn, commit_time }),
        2 => Message::Origin(Origin { commit_lsn: lsn, name: "o" }),
        3 => Message::Logical(LogicalMessage {
            xid: of_block,
            transactional: kind < 128,
            lsn,
            prefix: "p",
            content: b"c",
        }),
        4..=8 => Message::Insert(Insert { xid: of_block, relation: Oid(1), new: row.tuple() }),
        9 | 10 => Message::StreamStart(StreamStart { xid, first: true }),
        11 | 12 => Message::StreamStart(StreamStart { xid, first: false }),
        13..=15 => Message::StreamStop,
        16 => Message::StreamCommit(StreamCommit { xid, commit_lsn, end_lsn, commit_time }),
        17..=19 => Message::StreamAbort(StreamAbort { xid, subxid: inner, info: None }),
        20 => Message::BeginPrepare(begin),
        21 => Message::Prepare(prepare),
        22 => Message::StreamPrepare(prepare),
        23 => {
            Message::CommitPrepared(CommitPrepared { commit_lsn, end_lsn, commit_time, xid, gid })
        }
        _ => Message::RollbackPrepared(RollbackPrepared {
            prepare_end_lsn: lsn,
            rollback_end_lsn: lsn,
            prepare_time: time,
            rollback_time: time,
            xid,
            gid,
        }),
    }
}
