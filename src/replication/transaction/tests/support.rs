//! An assembler that is told messages as short words.

use crate::{
    pg::{Lsn, Oid, PgTimestamp, Xid},
    pgoutput::{
        Begin, BeginPrepare, Commit, CommitPrepared, Insert, LogicalMessage, Message, Origin,
        Prepare, Relation, ReplicaIdentity, RollbackPrepared, StreamAbort, StreamCommit,
        StreamStart, TupleValue,
        encode::{ColumnsBuf, TupleBuf, to_bytes},
    },
    replication::transaction::{AssembleError, Assembler, Limits, Taken, simulated::MemorySpill},
};

/// An assembler and where it spills to.
pub(super) fn assembler(limits: Limits) -> (Assembler<MemorySpill>, MemorySpill) {
    let spill = MemorySpill::default();
    (Assembler::new(spill.clone(), limits), spill)
}

/// Says messages, a word each, and gives what is handed on in the same words.
///
/// `B7` `C` Begin, Commit; `i5` the insert of a number outside of a block; `i5/8` inside of one,
/// under subtransaction 8; `r5`, `r5/8` a relation; `m5`, `m5/8` a transactional message, `n5`
/// one that is not; `O` an origin; `S7+` and `S7-` Stream Start, first or not; `E` Stream Stop;
/// `A7/8` Stream Abort; `c7` Stream Commit; `b7` `P7` `K7` `r7!` `p7` two phases. A position other
/// than 100 stands behind `@`.
pub(super) fn say(
    assembler: &mut Assembler<MemorySpill>,
    words: &str,
) -> Result<String, AssembleError> {
    let mut out = Vec::new();
    for word in words.split_whitespace() {
        with_message(word, |message| {
            let payload = to_bytes(&message);
            match assembler.take(message, &payload)? {
                Taken::Nothing => {}
                Taken::Now(message) => out.push(show(&message)),
                Taken::Whole(mut replay) => {
                    while let Some(message) = replay.advance()? {
                        out.push(show(&message));
                    }
                }
            }
            Ok::<_, AssembleError>(())
        })?;
    }
    Ok(out.join(" "))
}

/// The message that a word stands for.
pub(super) fn with_message<T>(word: &str, then: impl FnOnce(Message<'_>) -> T) -> T {
    let (word, at) = word.split_once('@').unwrap_or((word, "100"));
    let lsn = Lsn(at.parse().unwrap());
    let (kind, rest) = word.split_at(1);
    let (first, second) = match rest.split_once('/') {
        Some((first, second)) => (first, Some(Xid(second.parse().unwrap()))),
        None => (rest, None),
    };
    let number = first.trim_end_matches(['+', '-', '!']).parse().unwrap_or(0);
    let (xid, time, end) = (Xid(number), PgTimestamp(5), Lsn(lsn.0 + 8));
    let text = number.to_string();
    let row = TupleBuf::from_iter([TupleValue::Text(text.as_bytes())]);
    let columns = ColumnsBuf::default();
    let gid = "g";
    let (commit_lsn, commit_time) = (lsn, time);
    let prepare = Prepare { prepare_lsn: lsn, end_lsn: end, prepare_time: time, xid, gid };
    then(match kind {
        "B" => Message::Begin(Begin { final_lsn: lsn, commit_time, xid }),
        "C" => Message::Commit(Commit { commit_lsn, end_lsn: end, commit_time }),
        "i" => Message::Insert(Insert { xid: second, relation: Oid(1), new: row.tuple() }),
        "r" if rest.ends_with('!') => Message::RollbackPrepared(RollbackPrepared {
            prepare_end_lsn: lsn,
            rollback_end_lsn: end,
            prepare_time: time,
            rollback_time: time,
            xid,
            gid,
        }),
        "r" => Message::Relation(Relation {
            xid: second,
            oid: Oid(number),
            namespace: "public",
            name: "t",
            replica_identity: ReplicaIdentity::Default,
            columns: columns.columns(),
        }),
        "m" | "n" => Message::Logical(LogicalMessage {
            xid: second,
            transactional: kind == "m",
            lsn,
            prefix: &text,
            content: b"",
        }),
        "O" => Message::Origin(Origin { commit_lsn: lsn, name: "elsewhere" }),
        "S" => Message::StreamStart(StreamStart { xid, first: rest.ends_with('+') }),
        "E" => Message::StreamStop,
        "A" => {
            let subxid = second.unwrap();
            Message::StreamAbort(StreamAbort { xid, subxid, info: None })
        }
        "c" => Message::StreamCommit(StreamCommit { xid, commit_lsn, end_lsn: end, commit_time }),
        "b" => Message::BeginPrepare(BeginPrepare {
            prepare_lsn: lsn,
            end_lsn: end,
            prepare_time: time,
            xid,
            gid,
        }),
        "P" => Message::Prepare(prepare),
        "p" => Message::StreamPrepare(prepare),
        "K" => Message::CommitPrepared(CommitPrepared {
            commit_lsn,
            end_lsn: end,
            commit_time,
            xid,
            gid,
        }),
        other => panic!("{other}"),
    })
}

/// The word for a message that was handed on.
pub(super) fn show(message: &Message<'_>) -> String {
    let at = |lsn: Lsn| if lsn.0 == 100 { String::new() } else { format!("@{}", lsn.0) };
    let of = |xid: Option<Xid>| xid.map_or(String::new(), |xid| format!("/{xid}"));
    match message {
        Message::Begin(m) => format!("B{}{}", m.xid, at(m.final_lsn)),
        Message::Commit(m) => {
            assert_eq!(m.end_lsn.0, m.commit_lsn.0 + 8);
            format!("C{}", at(m.commit_lsn))
        }
        Message::Insert(m) => {
            let value = m.new.values().next().and_then(|value| value.bytes()).unwrap();
            format!("i{}{}", value.escape_ascii(), of(m.xid))
        }
        Message::Relation(m) => format!("r{}{}", m.oid, of(m.xid)),
        Message::Logical(m) => {
            format!("{}{}{}", if m.transactional { 'm' } else { 'n' }, m.prefix, of(m.xid))
        }
        Message::Origin(_) => "O".into(),
        Message::BeginPrepare(m) => format!("b{}{}", m.xid, at(m.prepare_lsn)),
        Message::Prepare(m) => format!("P{}{}", m.xid, at(m.prepare_lsn)),
        Message::CommitPrepared(m) => format!("K{}", m.xid),
        Message::RollbackPrepared(m) => format!("r{}!", m.xid),
        other => panic!("{other:?} is not handed on"),
    }
}
