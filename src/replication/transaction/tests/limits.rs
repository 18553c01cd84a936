//! Each limit, at it and one past it, and what goes wrong with files.

use super::support::{assembler, say};
use crate::{
    pg::Xid,
    pgoutput::{Message, encode::to_bytes},
    replication::transaction::{
        AssembleError, Assembler, Limits, SpillError, Taken,
        simulated::{MemorySpill, change_bytes},
    },
};

#[test]
fn one_transaction_too_many_is_an_error() {
    let (mut assembler, _) = assembler(Limits { open: 3, ..Limits::default() });
    say(&mut assembler, "S1+ E S2+ E S3+ E").unwrap();
    // One that ended makes room.
    say(&mut assembler, "c2 S4+ E S1- E").unwrap();
    let error = say(&mut assembler, "S5+").unwrap_err();
    assert_eq!(error.to_string(), "more than 3 streamed transactions are open at once");
}

#[test]
fn the_default_limits_allow_what_they_say() {
    let Limits { memory, open, aborted } = Limits::default();
    assert_eq!((memory, open, aborted), (16 << 20, 512, 200_000));
    let (mut assembler, _) = assembler(Limits::default());
    for xid in 1..=512 {
        say(&mut assembler, &format!("S{xid}+ i{xid}/{xid} E")).unwrap();
    }
    assert_eq!(assembler.memory(), memory, "a segment each, and one transaction had to spill");
    assert!(say(&mut assembler, "S513+").is_err());
}

#[test]
fn the_transaction_with_most_memory_goes_to_a_file() {
    // Four segments of 100 bytes; an insert of one digit takes 8 + 18 of them.
    let (mut assembler, spill) = assembler(Limits { memory: 400, ..Limits::default() });
    say(&mut assembler, "S7+ i1/7 E S8+ i1/8 i2/8 i3/8 i4/8 E S9+ i1/9 E").unwrap();
    assert_eq!((assembler.memory(), assembler.spilled(), spill.files()), (400, 0, 0));
    say(&mut assembler, "S7- i2/7 i3/7 E").unwrap();
    assert_eq!((assembler.spilled(), spill.files()), (0, 0));
    say(&mut assembler, "S7- i4/7 E").unwrap();
    assert_eq!((assembler.spilled(), spill.files()), (4 * 26, 1));
    let out = say(&mut assembler, "S8- i5/8 E c8 c7 c9").unwrap();
    assert_eq!(out, "B8 i1 i2 i3 i4 i5 C B7 i1 i2 i3 i4 C B9 i1 C");
    assert_eq!((assembler.memory(), spill.files()), (400, 0));
}

#[test]
fn what_was_rolled_back_at_the_end_is_cut_off_the_file() {
    let (mut assembler, spill) = assembler(Limits { memory: 0, ..Limits::default() });
    say(&mut assembler, "S7+ i1/7 i2/8 i3/9 i4/8 E").unwrap();
    assert_eq!(assembler.spilled(), 4 * 26);
    // 9 lies before what is left of 8.
    say(&mut assembler, "A7/9").unwrap();
    assert_eq!(assembler.spilled(), 4 * 26);
    say(&mut assembler, "A7/8").unwrap();
    assert_eq!(assembler.spilled(), 26);
    assert_eq!(say(&mut assembler, "S7- i5/7 E c7").unwrap(), "B7 i1 i5 C");
    assert_eq!(spill.files(), 0);
}

/// Keeps rows of many subtransactions, of which every second is rolled back.
fn many_subtransactions(limits: Limits, count: u32) -> (Assembler<MemorySpill>, MemorySpill) {
    let (mut assembler, spill) = assembler(limits);
    say(&mut assembler, "S7+ i0/7").unwrap();
    for n in 1..=count {
        say(&mut assembler, &format!("i{n}/{}", 7 + n * 64)).unwrap();
    }
    say(&mut assembler, "i0/7 E").unwrap();
    for n in (2..=count).step_by(2) {
        say(&mut assembler, &format!("A7/{}", 7 + n * 64)).unwrap();
    }
    (assembler, spill)
}

#[test]
fn subtransactions_beyond_the_limit_are_dropped_by_writing_the_rest_anew() {
    // At the limit nothing is rewritten, one past it everything is.
    for (aborted, spilled) in [(50, 0), (49, 26 + 26 + 5 * 26 + 45 * 27)] {
        let limits = Limits { aborted, ..Limits::default() };
        let (mut assembler, spill) = many_subtransactions(limits, 100);
        assert_eq!(assembler.spilled(), spilled);
        assert_eq!(spill.files(), usize::from(spilled > 0));
        let odd: Vec<_> = (1..100).step_by(2).map(|n| format!("i{n}")).collect();
        let left = format!("B7 i0 {} i0 i5 C", odd.join(" "));
        assert_eq!(say(&mut assembler, "S7- i5/7 E c7").unwrap(), left);
        assert_eq!(spill.files(), 0);
    }
}

#[test]
fn more_runs_than_are_remembered_are_dropped_all_the_same() {
    for aborted in [300, usize::MAX] {
        let limits = Limits { memory: 20_000, aborted, ..Limits::default() };
        let (mut assembler, _) = many_subtransactions(limits, 10_000);
        let out = say(&mut assembler, "c7").unwrap();
        assert_eq!(out.split(' ').count(), 2 + 2 + 5_000);
        // The others too, from the first to the last, between changes that stay.
        let (mut assembler, _) = many_subtransactions(limits, 10_000);
        for n in (1..10_000).step_by(2) {
            say(&mut assembler, &format!("A7/{}", 7 + n * 64)).unwrap();
        }
        assert_eq!(say(&mut assembler, "c7").unwrap(), "B7 i0 i0 C");
    }
}

#[test]
fn messages_of_any_length_are_kept() {
    // Around the size of a segment, and around that of a piece read from a file.
    for memory in [0, 400_000, 16 << 20] {
        let (mut assembler, _) = assembler(Limits { memory, ..Limits::default() });
        say(&mut assembler, "S7+").unwrap();
        let lengths = [0, 1, 65_500, 65_512, 65_520, 65_536, 65_544, 200_000, 3, 130_000, 2];
        for length in lengths {
            let content = vec![b'z'; length];
            let message = logical(Some(Xid(7)), &content);
            assembler.take(message, &to_bytes(&message)).unwrap();
        }
        say(&mut assembler, "E").unwrap();
        let mut found = Vec::new();
        super::support::with_message("c7", |commit| {
            let Taken::Whole(mut replay) = assembler.take(commit, b"").unwrap() else { panic!() };
            while let Some(message) = replay.advance().unwrap() {
                if let Message::Logical(m) = message {
                    assert!(m.content.iter().all(|&byte| byte == b'z'));
                    found.push(m.content.len());
                }
            }
        });
        assert_eq!(found, lengths);
    }
}

fn logical(xid: Option<Xid>, content: &[u8]) -> Message<'_> {
    Message::Logical(crate::pgoutput::LogicalMessage {
        xid,
        transactional: true,
        lsn: crate::pg::Lsn(1),
        prefix: "p",
        content,
    })
}

#[test]
fn a_full_disk_stops_the_stream() {
    let spill = MemorySpill::with_room(60);
    let mut assembler = Assembler::new(spill, Limits { memory: 0, ..Limits::default() });
    let error = say(&mut assembler, "S7+ i1/7 i2/7 i3/7").unwrap_err();
    let AssembleError::Spill(error) = error else { panic!("{error}") };
    assert!(error.is_full());
    assert!(matches!(error, SpillError::Write { wanted: 18, held: 60, .. }));
    assert!(matches!(say(&mut assembler, "E"), Err(AssembleError::Stopped)));
}

#[test]
fn what_does_not_come_back_as_it_was_is_an_error() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("cannot read", |file| file.truncate(20)),
        ("what was kept of the transaction 7 is damaged", |file| file[0] = 0xff),
        ("what was kept of the transaction 7 is damaged", |file| file[3] += 1),
        ("what was kept of the transaction 7 can't be decoded: ", |file| file[8] = b'B'),
    ];
    for (said, damage) in damages {
        let (mut assembler, spill) = assembler(Limits { memory: 0, ..Limits::default() });
        say(&mut assembler, "S7+ i1/7 E").unwrap();
        spill.damage(damage);
        let error = say(&mut assembler, "c7").unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(say(&mut assembler, "n1").is_err());
    }
}

#[test]
fn nothing_comes_behind_what_was_damaged() {
    let (mut assembler, spill) = assembler(Limits { memory: 0, ..Limits::default() });
    say(&mut assembler, "S7+ i1/7 i2/7 E").unwrap();
    spill.damage(|file| file[8] = b'B');
    super::support::with_message("c7", |commit| {
        let Taken::Whole(mut replay) = assembler.take(commit, b"").unwrap() else { panic!() };
        assert!(matches!(replay.advance(), Ok(Some(Message::Begin(_)))));
        assert!(matches!(replay.advance(), Err(AssembleError::Undecodable { .. })));
        assert!(matches!(replay.advance(), Err(AssembleError::Stopped)));
    });
}

#[test]
fn the_simulated_changes_differ_inside_a_block() {
    for number in 0..40 {
        let (plain, block) = (change_bytes(number, None), change_bytes(number, Some(Xid(9))));
        assert_eq!(block.len(), plain.len() + 4);
    }
}
