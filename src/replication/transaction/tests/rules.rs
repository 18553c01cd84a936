//! Each rule as a conversation: what comes, and what is handed on or said.

use super::support::{assembler, say, with_message};
use crate::{
    pgoutput::encode::to_bytes,
    replication::transaction::{AssembleError, Limits, Taken},
};

/// With much memory, with a little, and with none.
fn all_limits() -> impl Iterator<Item = Limits> {
    [1 << 20, 160, 0].into_iter().map(|memory| Limits { memory, ..Limits::default() })
}

/// The same, and with everything written anew after each rollback of a subtransaction.
fn all_limits_and_rewriting() -> impl Iterator<Item = Limits> {
    all_limits().chain(all_limits().map(|limits| Limits { aborted: 0, ..limits }))
}

#[test]
fn what_is_handed_on() {
    let cases = [
        ("an ordinary transaction goes through", "B7 O r1 i1 m2 C", "B7 O r1 i1 m2 C"),
        ("a streamed one comes when it commits", "S7+ i1/7 E S7- i2/7 E c7@50", "B7@50 i1 i2 C@50"),
        (
            "in the order of commits",
            "S7+ i1/7 E S8+ i2/8 E B9 i3 C S7- i4/7 E c8 c7",
            "B9 i3 C B8 i2 C B7 i1 i4 C",
        ),
        ("an origin is of the first block", "S7+ O i1/8 E A7/8 S7- i2/9 E c7", "B7 O i2 C"),
        ("a block can be empty", "S7+ E c7", "B7 C"),
        (
            "relations are handed on in their place",
            "S7+ r1/8 i1/8 E A7/8 S7- r1/9 i2/9 E c7",
            "B7 r1 i2 C",
        ),
        ("all can be rolled back", "S7+ i1/7 i2/8 E A7/8 A7/7 B9 i3 C", "B9 i3 C"),
        ("an xid may come again after that", "S7+ i1/7 E A7/7 S7+ i2/7 E c7", "B7 i2 C"),
        (
            "a subtransaction is rolled back alone",
            "S7+ i1/7 i2/8 i3/7 i4/9 E S7- i5/8 i6/7 E A7/8 c7",
            "B7 i1 i3 i4 i6 C",
        ),
        (
            "those inside it are named on their own, and first",
            "S7+ i1/7 i2/8 i3/9 i4/8 i5/10 E A7/9 A7/10 A7/8 S7- i6/7 E c7",
            "B7 i1 i6 C",
        ),
        (
            "however much of it there was",
            "S7+ i1/8 i2/9 i3/9 i4/9 i5/9 i6/8 i7/8 E A7/9 A7/8 S7- i8/7 i9/10 E A7/10 c7",
            "B7 i8 C",
        ),
        ("one that was not sent changes nothing", "S7+ i1/7 E A7/99 c7", "B7 i1 C"),
        ("an abort of what is not held means nothing", "A7/7 A7/8 B9 C A7/8", "B9 C"),
        ("messages of no transaction come at once", "n1 S7+ i1/7 n2/7 E n3 A7/7", "n1 n2/7 n3"),
        ("also inside of one", "B7 i1 n2 i3 C", "B7 i1 n2 i3 C"),
        ("prepared transactions go through", "b7 O i1 P7 K7 b8 P8 r8!", "b7 O i1 P7 K7 b8 P8 r8!"),
        ("streamed ones too", "S7+ i1/7 i2/8 E A7/8 p7@60 r7!", "b7@60 i1 P7@60 r7!"),
        ("a message that is transactional waits", "S7+ m1/7 E c7", "B7 m1 C"),
    ];
    for limits in all_limits_and_rewriting() {
        for (name, comes, handed_on) in cases {
            let (mut assembler, spill) = assembler(limits);
            assert_eq!(say(&mut assembler, comes).unwrap(), handed_on, "{name}");
            assert!(assembler.is_empty(), "{name}");
            assert_eq!((assembler.spilled(), spill.files()), (0, 0), "{name}");
        }
    }
}

#[test]
fn what_is_refused() {
    let cases = [
        ("C", "Commit came outside of a transaction"),
        ("P7", "Prepare came outside of a transaction"),
        ("i1", "Insert came outside of a transaction"),
        ("r1", "Relation came outside of a transaction"),
        ("m1", "Message came outside of a transaction"),
        ("O", "Origin came outside of a transaction"),
        ("E", "Stream Stop came outside of a transaction"),
        ("B7 B8", "Begin came inside a transaction"),
        ("B7 b8", "Begin Prepare came inside a transaction"),
        ("B7 S8+", "Stream Start came inside a transaction"),
        ("B7 E", "Stream Stop came inside a transaction"),
        ("B7 A8/8", "Stream Abort came inside a transaction"),
        ("B7 c8", "Stream Commit came inside a transaction"),
        ("B7 p8", "Stream Prepare came inside a transaction"),
        ("B7 K8", "Commit Prepared came inside a transaction"),
        ("B7 P7", "Prepare came inside a transaction"),
        ("b7 C", "Commit came inside a prepared transaction"),
        ("b7 r8!", "Rollback Prepared came inside a prepared transaction"),
        ("S7+ S8+", "Stream Start came inside a streamed block"),
        ("S7+ B8", "Begin came inside a streamed block"),
        ("S7+ C", "Commit came inside a streamed block"),
        ("S7+ c7", "Stream Commit came inside a streamed block"),
        ("S7+ A7/7", "Stream Abort came inside a streamed block"),
        ("S7+ i1", "Insert came inside a streamed block without a transaction"),
        ("B7 i1 O", "Origin came behind a change of its transaction"),
        ("B7 O O", "Origin came behind a change of its transaction"),
        ("S7+ i1/7 O", "Origin came behind a change of its transaction"),
        ("S7+ E S7- O", "Origin came behind a change of its transaction"),
        ("B7@5 C@6", "Commit is at 0/6, but its transaction was said to end at 0/5"),
        ("b7@5 P7@6", "Prepare is at 0/6, but its transaction was said to end at 0/5"),
        ("b7 P8", "Prepare names the transaction 8, but 7 was begun"),
        ("S7-", "Stream Start names the transaction 7, of which no block came"),
        ("c7", "Stream Commit names the transaction 7, of which no block came"),
        ("p7", "Stream Prepare names the transaction 7, of which no block came"),
        ("S7+ E c7 c7", "Stream Commit names the transaction 7, of which no block came"),
        ("S7+ E A7/7 S7-", "Stream Start names the transaction 7, of which no block came"),
        ("S7+ E S7+", "Stream Start begins the transaction 7, of which a block came already"),
        ("S7+ E B7", "Begin begins the transaction 7, of which a block came already"),
        ("S7+ E b7", "Begin Prepare begins the transaction 7, of which a block came already"),
        (
            "S7+ i1/8 E A7/8 S7- i2/8",
            "a change of the subtransaction 8 of 7 came after its Stream Abort",
        ),
    ];
    for limits in all_limits() {
        for (comes, said) in cases {
            let (mut assembler, _) = assembler(limits);
            assert_eq!(say(&mut assembler, comes).unwrap_err().to_string(), said, "{comes}");
            // Whatever comes then: something was not understood.
            let stopped = say(&mut assembler, "n1").unwrap_err();
            assert!(matches!(stopped, AssembleError::Stopped), "{comes}");
            assembler.reset();
            assert_eq!(say(&mut assembler, "B7 i1 C").unwrap(), "B7 i1 C", "{comes}");
        }
    }
}

#[test]
fn a_replay_that_is_dropped_early_stops_everything() {
    for taken in 0..4 {
        let (mut assembler, _) = assembler(Limits::default());
        say(&mut assembler, "S7+ i1/7 i2/7 E").unwrap();
        with_message("c7", |commit| {
            let payload = to_bytes(&commit);
            let Taken::Whole(mut replay) = assembler.take(commit, &payload).unwrap() else {
                panic!("it committed")
            };
            (0..taken).for_each(|_| assert!(replay.advance().unwrap().is_some()));
        });
        assert!(!assembler.is_empty());
        for words in ["B8", "n1", "A7/7"] {
            let error = say(&mut assembler, words).unwrap_err();
            // The fourth message is Commit.
            assert!(matches!(error, AssembleError::Unfinished), "{taken}: {error}");
        }
    }
}

#[test]
fn a_replay_that_was_taken_to_its_commit_is_whole() {
    let (mut assembler, _) = assembler(Limits::default());
    say(&mut assembler, "S7+ i1/7 E").unwrap();
    with_message("c7", |commit| {
        let payload = to_bytes(&commit);
        let Taken::Whole(mut replay) = assembler.take(commit, &payload).unwrap() else {
            panic!("it committed")
        };
        (0..3).for_each(|_| assert!(replay.advance().unwrap().is_some()));
    });
    assert!(assembler.is_empty());
    assert_eq!(say(&mut assembler, "B8 C").unwrap(), "B8 C");
}

#[test]
fn a_new_connection_begins_anew_wherever_the_old_one_ended() {
    for limits in all_limits() {
        for before in ["S7+ i1/7 E", "S7+ i1/7", "S7+ i1/7 E S8+ i2/8 E B9 i3", "b7 i1", "B7"] {
            let (mut assembler, spill) = assembler(limits);
            say(&mut assembler, before).unwrap();
            assert!(!assembler.is_empty(), "{before}");
            assembler.reset();
            assert!(assembler.is_empty(), "{before}");
            assert_eq!((assembler.open(), assembler.memory(), spill.files()), (0, 0, 0));
            let again = say(&mut assembler, "S7+ i1/7 E c7").unwrap();
            assert_eq!(again, "B7 i1 C", "{before}");
        }
    }
}

#[test]
fn what_is_open_is_held_until_it_ends() {
    let (mut assembler, _) = assembler(Limits::default());
    for (words, open, is_empty) in [
        ("B6 i1", 0, false),
        ("C", 0, true),
        ("S7+ i1/7", 1, false),
        ("E", 1, false),
        ("B9 C", 1, false),
        ("S8+ E", 2, false),
        ("A7/9", 2, false),
        ("A7/7", 1, false),
        ("p8", 0, true),
    ] {
        say(&mut assembler, words).unwrap();
        assert_eq!((assembler.open(), assembler.is_empty()), (open, is_empty), "{words}");
    }
}
