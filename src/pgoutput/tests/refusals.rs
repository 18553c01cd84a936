//! What is refused, and with which words.

use super::samples::{in_block, outside};
use crate::{
    pgoutput::{DecodeError, Decoder, MessageKind, ProtoVersion, Streaming},
    wire::WireError,
};

#[test]
fn bytes_without_a_defined_meaning_are_refused() {
    use MessageKind as Kind;
    let cases: &[(&[u8], MessageKind, &str, u8)] = &[
        (b"C\x01", Kind::Commit, "flags", 1),
        (b"P\x80", Kind::Prepare, "flags", 0x80),
        (b"p\x01", Kind::StreamPrepare, "flags", 1),
        (b"K\x01", Kind::CommitPrepared, "flags", 1),
        (b"r\x01", Kind::RollbackPrepared, "flags", 1),
        (b"c\0\0\0\x07\x01", Kind::StreamCommit, "flags", 1),
        (b"M\x02", Kind::Logical, "flags", 2),
        (b"S\0\0\0\x07\x02", Kind::StreamStart, "first segment", 2),
        (b"T\0\0\0\x01\x04", Kind::Truncate, "options", 4),
        (b"R\0\0\0\x01a\0b\0x", Kind::Relation, "replica identity", b'x'),
        (b"R\0\0\0\x01a\0b\0d\0\x01\x03", Kind::Relation, "flags of a column", 3),
        (b"I\0\0\0\x01K", Kind::Insert, "mark of the new row", b'K'),
        (b"U\0\0\0\x01X", Kind::Update, "mark of the old row", b'X'),
        (b"U\0\0\0\x01K\0\0O", Kind::Update, "mark of the new row", b'O'),
        (b"D\0\0\0\x01N", Kind::Delete, "mark of the old row", b'N'),
        (b"I\0\0\0\x01N\0\x01x", Kind::Insert, "kind of column", b'x'),
    ];
    for &(bytes, message, field, byte) in cases {
        let refused = DecodeError::Undefined { message, field, byte };
        assert_eq!(outside().decode(bytes), Err(refused), "{}", bytes.escape_ascii());
    }
}

#[test]
fn values_that_can_not_be_are_refused() {
    let zero = b"\0\0\0\0\0\0\0\0";
    let one = b"\0\0\0\0\0\0\0\x01";
    let cases: &[(&[&[u8]], &str)] = &[
        (&[b"B", zero], "final_lsn"),
        (&[b"C\0", zero], "commit_lsn"),
        (&[b"C\0", one, zero], "end_lsn"),
        (&[b"b", zero], "prepare_lsn"),
        (&[b"b", one, zero], "end_lsn"),
        (&[b"b", one, one, one, b"\0\0\0\0"], "xid"),
        (&[b"K\0", zero], "commit_lsn"),
        (&[b"r\0", zero], "prepare_end_lsn"),
        (&[b"r\0", one, zero], "rollback_end_lsn"),
        (&[b"S\0\0\0\0"], "xid"),
        (&[b"A\0\0\0\x07\0\0\0\0"], "subxid"),
        (&[b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff"], "length of a column"),
        (&[b"I\0\0\0\x01N\0\x01b\x80\0\0\0"], "length of a column"),
        (&[b"T\xff\xff\xff\xff\0"], "number of relations"),
        (&[b"M\0", zero, b"p\0\xff\xff\xff\xff"], "length of the content"),
        (&[b"M\0", zero, b"\xff\0\0\0\0\0"], "prefix"),
        (&[b"R\0\0\0\x01\xff\0b\0d\0\0"], "schema"),
        (&[b"R\0\0\0\x01a\0\xff\0d\0\0"], "name of the relation"),
        (&[b"R\0\0\0\x01a\0b\0d\0\x01\0\xff\0"], "name of a column"),
        (&[b"O", zero, b"\xff\0"], "name of the origin"),
    ];
    for &(parts, field) in cases {
        let bytes = parts.concat();
        match outside().decode(&bytes) {
            Err(DecodeError::Malformed { wire: WireError::Invalid(named), .. }) => {
                assert_eq!(named, field, "{}", bytes.escape_ascii())
            }
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }
    let in_block = in_block().decode(b"I\0\0\0\0\0\0\x40\x01N\0\0");
    assert!(in_block.is_err(), "a change of no transaction");
}

#[test]
fn a_count_beyond_the_message_costs_nothing_and_is_refused() {
    for bytes in [
        &b"I\0\0\0\x01N\xff\xff"[..],
        b"T\x7f\xff\xff\xff\0\0\0\0\x01",
        b"R\0\0\0\x01a\0b\0d\xff\xff",
        b"M\0\0\0\0\0\0\0\0\x01p\0\x7f\xff\xff\xff",
    ] {
        let refused = outside().decode(bytes);
        let missing =
            matches!(refused, Err(DecodeError::Malformed { wire: WireError::Missing(_), .. }));
        assert!(missing, "{}: {refused:?}", bytes.escape_ascii());
    }
}

#[test]
fn messages_of_a_later_version_are_refused() {
    for &kind in MessageKind::ALL {
        for version in [ProtoVersion::V1, ProtoVersion::V2, ProtoVersion::V3] {
            let mut decoder = Decoder::new(version, Streaming::On);
            let tag = [kind.tag()];
            let refused = decoder.decode(&tag);
            let too_new = DecodeError::TooNew { message: kind, version };
            let expected = version < kind.since() && kind != MessageKind::StreamAbort;
            assert_eq!(refused == Err(too_new), expected, "{kind} under {version}");
        }
    }
}

#[test]
fn stream_messages_are_refused_when_streaming_is_off() {
    for kind in [
        MessageKind::StreamStart,
        MessageKind::StreamStop,
        MessageKind::StreamCommit,
        MessageKind::StreamPrepare,
    ] {
        let mut decoder = Decoder::new(ProtoVersion::V4, Streaming::Off);
        let refused = DecodeError::NotStreaming(kind);
        assert_eq!(decoder.decode(&[kind.tag()]), Err(refused));
    }
}

#[test]
fn only_changes_and_descriptions_stand_inside_a_block() {
    for &kind in MessageKind::ALL {
        let stays_out = "BCScAbPKrp".contains(char::from(kind.tag()));
        let refused = in_block().decode(&[kind.tag()]) == Err(DecodeError::InsideBlock(kind));
        assert_eq!(refused, stays_out, "{kind}");
    }
    let stop = DecodeError::OutsideBlock(MessageKind::StreamStop);
    assert_eq!(outside().decode(b"E"), Err(stop));
}

#[test]
fn errors_name_the_message_the_field_and_what_was_found() {
    let v1 = || Decoder::new(ProtoVersion::V1, Streaming::Off);
    let off = Decoder::new(ProtoVersion::V2, Streaming::Off);
    for (mut decoder, bytes, text) in [
        (v1(), &b""[..], "the message is empty"),
        (v1(), b"\x00", r"the message type '\x00' is unknown"),
        (v1(), b"P", "Prepare came under protocol version 1, but exists only since version 3"),
        (off, b"E", "Stream Stop came although streaming was not asked for"),
        (in_block(), b"B", "Begin came inside a streamed block"),
        (outside(), b"E", "Stream Stop came outside a streamed block"),
        (
            v1(),
            b"I\0\0\0\x01N\0\x01t\0\0\0\x02a",
            "Insert: the message ends inside its field 'value of a column'",
        ),
        (
            v1(),
            b"D\0\0\0\x01N",
            "Delete: the field 'mark of the old row' holds the undefined byte 0x4e",
        ),
    ] {
        let error = decoder.decode(bytes).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}
