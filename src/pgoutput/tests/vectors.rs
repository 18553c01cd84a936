//! The samples, byte for byte, and what happens to one with a byte too few or too many.

use super::samples::{all, in_block, outside};
use crate::{
    pg::Oid,
    pgoutput::{
        DecodeError, Decoder, Message, MessageKind, OwnedRelation, ProtoVersion, ReplicaIdentity,
        Streaming, TupleValue, encode::to_bytes,
    },
    wire::WireError,
};

#[test]
fn every_message_means_what_its_bytes_say() {
    for mut sample in all() {
        let message = sample.decoder.decode(sample.bytes);
        assert_eq!(message, Ok(sample.message), "{}", sample.name);
        assert_eq!(to_bytes(&sample.message), sample.bytes, "{}", sample.name);
    }
}

#[test]
fn every_kind_of_message_has_a_sample() {
    for &kind in MessageKind::ALL {
        let has_one = all().iter().any(|sample| sample.message.kind() == kind);
        assert!(has_one, "{kind}");
    }
}

#[test]
fn a_message_that_ends_early_is_refused_wherever_it_ends() {
    for sample in all() {
        for end in 0..sample.bytes.len() {
            let mut decoder = sample.decoder.clone();
            match decoder.decode(&sample.bytes[..end]) {
                Err(DecodeError::Empty) => assert_eq!(end, 0),
                Err(DecodeError::Malformed { message, wire: WireError::Missing(_) }) => {
                    assert_eq!(message, sample.message.kind())
                }
                other => panic!("{} cut after {end} bytes: {other:?}", sample.name),
            }
        }
    }
}

#[test]
fn a_message_that_ends_late_is_refused() {
    for mut sample in all() {
        let longer = [sample.bytes, b"\0"].concat();
        let refused = DecodeError::Malformed {
            message: sample.message.kind(),
            wire: WireError::Trailing { what: "the message", bytes: 1 },
        };
        assert_eq!(sample.decoder.decode(&longer), Err(refused), "{}", sample.name);
    }
}

#[test]
fn no_single_wrong_byte_makes_the_decoder_panic() {
    for sample in all() {
        for at in 0..sample.bytes.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = sample.bytes.to_vec();
                bytes[at] = byte;
                // What is still a message must be one that the encoder can write.
                if let Ok(message) = sample.decoder.clone().decode(&bytes) {
                    let again = to_bytes(&message);
                    let mut decoder = sample.decoder.clone();
                    assert_eq!(decoder.decode(&again), Ok(message), "{}", sample.name);
                }
            }
        }
    }
}

#[test]
fn a_block_begins_and_ends_and_rows_have_an_xid_only_inside() {
    let mut decoder = outside();
    assert!(!decoder.in_block());
    decoder.decode(b"S\0\0\0\x07\x01").unwrap();
    assert!(decoder.in_block());
    decoder.decode(b"I\0\0\0\x08\0\0\x40\x01N\0\0").unwrap();
    decoder.decode(b"E").unwrap();
    assert!(!decoder.in_block());
    decoder.decode(b"I\0\0\x40\x01N\0\0").unwrap();
}

#[test]
fn a_refused_message_leaves_the_decoder_as_it_was() {
    for (mut decoder, inside) in [(outside(), false), (in_block(), true)] {
        for refused in [&b"S\0\0\0\x07\x02"[..], b"Ex", b"?", b""] {
            decoder.decode(refused).unwrap_err();
            assert_eq!(decoder.in_block(), inside, "{refused:?}");
        }
    }
}

#[test]
fn an_unasked_stream_abort_is_let_through() {
    for version in [ProtoVersion::V1, ProtoVersion::V2, ProtoVersion::V4] {
        let mut decoder = Decoder::new(version, Streaming::Off);
        let message = decoder.decode(b"A\0\0\0\x07\0\0\0\x08").unwrap();
        assert_eq!(message.kind(), MessageKind::StreamAbort, "{version}");
    }
}

#[test]
fn a_stream_abort_says_more_only_under_version_4_and_parallel() {
    let long = b"A\0\0\0\x07\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02";
    for (version, streaming, says_more) in [
        (ProtoVersion::V4, Streaming::Parallel, true),
        (ProtoVersion::V4, Streaming::On, false),
        (ProtoVersion::V2, Streaming::Parallel, false),
    ] {
        let mut decoder = Decoder::new(version, streaming);
        assert_eq!(decoder.decode(long).is_ok(), says_more, "{version}");
        assert_eq!(decoder.decode(&long[..9]).is_ok(), !says_more, "{version}");
    }
}

#[test]
fn values_of_a_row_come_in_order_and_are_counted() {
    let mut decoder = outside();
    let message = decoder.decode(b"I\0\0\x40\x01N\0\x03t\0\0\0\x01anb\0\0\0\x02bc");
    let Ok(Message::Insert(insert)) = message else {
        panic!("{message:?}");
    };
    let mut values = insert.new.values();
    assert_eq!((insert.new.len(), insert.new.is_empty(), values.len()), (3, false, 3));
    assert_eq!(values.next(), Some(TupleValue::Text(b"a")));
    assert_eq!(values.len(), 2);
    assert_eq!(values.next().map(|v| v.bytes()), Some(None));
    assert_eq!(values.next().and_then(|v| v.bytes()), Some(&b"bc"[..]));
    assert_eq!((values.next(), values.next()), (None, None));
    assert_eq!(insert.new.as_bytes(), b"t\0\0\0\x01anb\0\0\0\x02bc");
    assert_eq!(format!("{:?}", insert.new), r#"[Text("a"), Null, Binary("bc")]"#);
}

#[test]
fn a_cached_relation_is_equal_to_one_that_says_the_same() {
    let bytes = b"R\0\0\x40\x01public\0orders\0i\0\x01\x01id\0\0\0\0\x14\xff\xff\xff\xff";
    let mut decoder = outside();
    let Ok(Message::Relation(relation)) = decoder.decode(bytes) else {
        panic!("not a relation");
    };
    let cached = OwnedRelation::from(relation);
    assert_eq!(cached, relation);
    assert_eq!(cached.oid, Oid(0x4001));
    assert_eq!(cached.replica_identity, ReplicaIdentity::Index);
    for (at, byte) in [(4, 2), (5, b'q'), (12, b'p'), (19, b'd'), (22, 0), (23, b'j'), (33, 0)] {
        let mut other = bytes.to_vec();
        other[at] = byte;
        let Ok(Message::Relation(other)) = decoder.decode(&other) else {
            panic!("byte {at} made it something else");
        };
        assert_ne!(cached, other, "byte {at}");
    }
}
