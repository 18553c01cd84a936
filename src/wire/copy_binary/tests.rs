//! COPY's binary format: header, rows, trailer, refusals, roundtrips.

use proptest::{collection::vec, option, prelude::*};

use super::*;

type Row = Vec<Option<Vec<u8>>>;

/// Everything that these messages hold, as one COPY.
fn read(messages: &[&[u8]]) -> Result<Vec<Row>, WireError> {
    let mut reader = CopyBinaryReader::new();
    let mut rows = Vec::new();
    for message in messages {
        let mut r = Reader::new(message);
        while let Some(row) = reader.row(&mut r)? {
            assert_eq!(row.fields().count(), usize::from(row.len()));
            rows.push(row.fields().map(|field| field.map(<[u8]>::to_vec)).collect());
        }
    }
    reader.finish().map(|()| rows)
}

fn header(flags: u32, extension: usize) -> Vec<u8> {
    let length = u32::try_from(extension).unwrap().to_be_bytes();
    [&SIGNATURE[..], &flags.to_be_bytes(), &length, &vec![7; extension]].concat()
}

#[test]
fn messages_have_their_bytes() {
    let mut buffer = BytesMut::new();
    let mut copy = CopyBinaryWriter::new(&mut buffer);
    copy.header();
    let mut row = copy.row();
    row.field(Some(b"ab")).field(None).field(Some(b""));
    row.end_row();
    copy.trailer();
    let bytes: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\
        \0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\
        \xff\xff";
    assert_eq!(&buffer[..], bytes);
    assert_eq!(read(&[bytes]), Ok(vec![vec![Some(b"ab".to_vec()), None, Some(vec![])]]));
}

#[test]
fn messages_end_between_rows_as_servers_send_them() {
    let first = [&header(0, 0)[..], b"\0\x01\0\0\0\x01a"].concat();
    let rows = Ok(vec![vec![Some(b"a".to_vec())], vec![None]]);
    assert_eq!(read(&[&first, b"\0\x01\xff\xff\xff\xff", b"\xff\xff"]), rows);
    // A table without rows, and one without columns.
    assert_eq!(read(&[&[&header(0, 0)[..], b"\xff\xff"].concat()]), Ok(vec![]));
    assert_eq!(read(&[&header(0, 0), b"", b"\0\0\0\0", b"\xff\xff"]), Ok(vec![vec![], vec![]]));
}

#[test]
fn critical_flags_are_refused_and_others_ignored() {
    for bit in 0..32 {
        let read = read(&[&header(1 << bit, 0), b"\xff\xff"]);
        let expected = if bit < 16 { Ok(vec![]) } else { Err(WireError::Invalid("COPY flags")) };
        assert_eq!(read, expected, "bit {bit}");
    }
}

#[test]
fn header_extensions_are_passed_over_up_to_a_length() {
    for (length, fine) in
        [(0, true), (5, true), (HEADER_EXTENSION_MAX, true), (HEADER_EXTENSION_MAX + 1, false)]
    {
        assert_eq!(read(&[&header(0, length), b"\xff\xff"]).is_ok(), fine, "{length}");
    }
}

#[test]
fn fields_are_counted() {
    let most = usize::from(COLUMNS_MAX);
    for (fields, fine) in [(most, true), (most + 1, false), (usize::from(u16::MAX), false)] {
        let mut buffer = BytesMut::new();
        let mut copy = CopyBinaryWriter::new(&mut buffer);
        copy.header();
        let mut row = copy.row();
        for _ in 0..fields {
            row.field(None);
        }
        row.end_row();
        copy.trailer();
        assert_eq!(read(&[&buffer]).is_ok(), fine, "{fields}");
    }
    for (count, fine) in [(COLUMNS_MAX, true), (COLUMNS_MAX + 1, false)] {
        let row = [&count.to_be_bytes()[..], &vec![0xff; usize::from(count) * 4]].concat();
        assert_eq!(read(&[&header(0, 0), &row, b"\xff\xff"]).is_ok(), fine, "{count}");
    }
}

#[test]
fn what_is_not_the_format_is_refused() {
    let start = header(0, 0);
    let invalid = WireError::Invalid;
    let missing = WireError::Missing;
    let count = "field count of a COPY row";
    let field = "field of a COPY row";
    for (messages, error) in [
        (&[][..], missing("COPY signature")),
        (&[&b"PGCOPY\n"[..]][..], missing("COPY signature")),
        (&[b"PGCOPY\n\xff\n\0\0\0\0\0\0\0\0\0\0"], invalid("COPY signature")),
        (&[&start[..13]], missing("COPY flags")),
        (&[&start[..18]], missing("COPY header extension")),
        (&[b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff"], invalid("COPY header extension")),
        (&[b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x02a"], missing("COPY header extension")),
        (&[&start], missing("COPY trailer")),
        (&[&start, b"\0\x01\xff\xff\xff\xff"], missing("COPY trailer")),
        (&[&start, b"\0"], missing(count)),
        (&[&start, b"\xff\xfe"], invalid(count)),
        (&[&start, b"\x80\0"], invalid(count)),
        (&[&start, b"\0\x02\0\0\0\x01a"], missing(field)),
        (&[&start, b"\0\x01\0\0\0\x02a", b"a"], missing(field)),
        (&[&start, b"\0\x01\xff\xff\xff\xfe"], invalid(field)),
        (&[&start, b"\0\x01\x7f\xff\xff\xff"], missing(field)),
    ] {
        assert_eq!(read(messages), Err(error), "{messages:?}");
    }
}

#[test]
fn nothing_follows_the_trailer() {
    let trailing = |bytes| Err(WireError::Trailing { what: TRAILER, bytes });
    let start = header(0, 0);
    assert_eq!(read(&[&start, b"\xff\xff\0"]), trailing(1));
    assert_eq!(read(&[&start, b"\xff\xff", b"\xff\xff"]), trailing(2));
    assert_eq!(read(&[&start, b"\xff\xff", b""]), Ok(vec![]));
}

#[test]
fn a_row_that_was_abandoned_leaves_nothing() {
    let mut writer = crate::wire::Writer::new();
    let mut message = writer.message(b'd');
    let mut copy = message.copy_binary();
    copy.row().field(Some(b"1"));
    copy.trailer();
    message.finish();
    assert_eq!(&writer.buffer()[..], b"d\0\0\0\x06\xff\xff");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in vec(vec(option::of(vec(any::<u8>(), 0..40)), 0..20), 0..8),
    ) {
        let mut buffer = BytesMut::new();
        let mut copy = CopyBinaryWriter::new(&mut buffer);
        copy.header();
        for row in &rows {
            let mut out = copy.row();
            for value in row {
                out.field(value.as_deref());
            }
            out.end_row();
        }
        copy.trailer();
        prop_assert_eq!(read(&[&buffer]), Ok(rows));
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        let _ = read(&[&bytes]);
        let _ = read(&[&header(0, 0), &bytes]);
    }
}
