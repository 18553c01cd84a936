//! Rows of COPY's text format: escapes, row ends, refusals, roundtrips.

use proptest::{collection::vec, option, prelude::*};

use super::*;

fn values(row: TextRow<'_>) -> Vec<Option<Vec<u8>>> {
    row.fields().map(|field| field.map(|field| field.unescape().into_owned())).collect()
}

fn read(row: &[u8]) -> Vec<Option<Vec<u8>>> {
    values(TextRow::parse(row).unwrap())
}

fn write<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut row = TextRowWriter::new(&mut buffer);
    for value in values {
        row.field(value);
    }
    row.end_row();
    buffer
}

#[test]
fn escapes_are_read_as_copy_from_reads_them() {
    for (raw, value) in [
        (&b"plain"[..], &b"plain"[..]),
        (b"", b""),
        (br"\b\f\n\r\t\v", b"\x08\x0c\n\r\t\x0b"),
        (br"\\", b"\\"),
        (br"\\N", br"\N"),
        (br"\\x00ff", br"\x00ff"),
        (br"\NN", b"NN"),
        (br"a\N", b"aN"),
        (br"\\.", br"\."),
        (br"\q\ \~", b"q ~"),
        (b"\\\n", b"\n"),
        (b"\\\r", b"\r"),
        (b"a\\\tb", b"a\tb"),
        (br"\0", b"\0"),
        (br"\7a", b"\x07a"),
        (br"\101\1012", b"AA2"),
        (br"\18\188", b"\x018\x0188"),
        (br"\377", b"\xff"),
        (br"\400\777", b"\0\xff"),
        (br"\8\9", b"89"),
        (br"\x41\x4a\x4A", b"AJJ"),
        (br"\x4g\x412", b"\x04gA2"),
        (br"\x", b"x"),
        (br"\xg", b"xg"),
        (br"\X41", b"X41"),
        (b"\x00\x01\x08\x0b\x0c\x7f\xff", b"\x00\x01\x08\x0b\x0c\x7f\xff"),
    ] {
        assert_eq!(read(raw), [Some(value.to_vec())], "{:?}", raw.escape_ascii().to_string());
    }
}

#[test]
fn only_a_field_with_escapes_is_copied() {
    let row = TextRow::parse(b"plain\ta\\tb").unwrap();
    let fields: Vec<_> = row.fields().map(|field| field.unwrap()).collect();
    assert!(matches!(fields[0].unescape(), Cow::Borrowed(b"plain")));
    assert!(matches!(fields[1].unescape(), Cow::Owned(_)));
    assert_eq!(fields[1].raw(), br"a\tb");
}

#[test]
fn tabs_split_fields_and_null_is_a_whole_field() {
    let some = |text: &[u8]| Some(text.to_vec());
    assert_eq!(read(b"1\t\\N\t"), [some(b"1"), None, some(b"")]);
    assert_eq!(read(b"\t"), [some(b""), some(b"")]);
    assert_eq!(read(b"\\N"), [None]);
    // Longer than what is looked at together, with an escape across its edge.
    assert_eq!(read(b"fifteen bytes..\\\t\t0123456789abcdefX\t\\N")[0], some(b"fifteen bytes..\t"));
    assert_eq!(read(b"fifteen bytes..\\\t\t0123456789abcdefX\t\\N").len(), 3);
}

#[test]
fn rows_end_at_line_feeds_that_are_not_escaped() {
    let bytes = b"1\ta\n2\tb\\\nc\n\n3\thalf";
    let mut rows = TextRows::new(bytes);
    let mut next = || rows.next().map(|row| row.unwrap().as_bytes());
    assert_eq!(next(), Some(&b"1\ta"[..]));
    assert_eq!(next(), Some(&b"2\tb\\\nc"[..]));
    assert_eq!(next(), Some(&b""[..]));
    assert_eq!(next(), None);
    assert_eq!(rows.rest(), b"3\thalf");
    assert_eq!(rows.finish(), Err(WireError::Missing("end of a COPY row")));
}

#[test]
fn a_cut_anywhere_loses_nothing() {
    let bytes = b"1\ta\\\\\n\\N\\N\tlonger than sixteen bytes\\\n\n\n";
    let whole: Vec<_> = TextRows::new(bytes).collect();
    assert_eq!(whole.len(), 3);
    for cut in 0..=bytes.len() {
        let mut head = TextRows::new(&bytes[..cut]);
        let mut rows: Vec<_> = head.by_ref().collect();
        rows.extend(TextRows::new(&bytes[cut - head.rest().len()..]));
        assert_eq!(rows, whole, "cut at {cut}");
    }
}

#[test]
fn what_no_server_sends_is_refused() {
    let line_end = WireError::Invalid("line end of a COPY row");
    let marker = WireError::Invalid("end-of-copy marker");
    for (bytes, error) in [
        (&b"1\r\n"[..], line_end),
        (b"1\r", line_end),
        (b"a\rb\n", line_end),
        (b"\\.\n", marker),
        (b"1\t\\.\n", marker),
        (b"\\\\\\.", marker),
    ] {
        let mut rows = TextRows::new(bytes);
        assert_eq!(rows.next(), Some(Err(error)), "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(rows.next(), None);
        assert_eq!(rows.rest(), bytes);
        assert!(rows.finish().is_err());
    }
}

#[test]
fn one_row_is_one_row() {
    let trailing = WireError::Trailing { what: "COPY row", bytes: 2 };
    assert_eq!(TextRow::parse(b"1\n2"), Err(trailing));
    assert_eq!(TextRow::parse(b"1\\"), Err(WireError::Missing("escape of a COPY row")));
    assert!(TextRow::parse(b"1\\\\").is_ok());
}

#[test]
fn fields_are_counted() {
    let most = usize::from(COLUMNS_MAX);
    for (fields, fine) in [(most, true), (most + 1, false)] {
        for value in [&b""[..], b"12", b"\t"] {
            let bytes = write(vec![Some(value); fields]);
            let row = TextRows::new(&bytes).next().unwrap();
            assert_eq!(row.is_ok(), fine, "{fields}");
        }
    }
    // Tabs that are escaped separate nothing.
    assert!(TextRow::parse(&b"\\\t".repeat(most + 1)).is_ok());
}

#[test]
fn rows_are_written_as_copy_to_writes_them() {
    let values = [Some(&b"1"[..]), None, Some(b""), Some(b"\x08\x0c\n\r\t\x0b\\"), Some(br"\N")];
    assert_eq!(&write(values)[..], b"1\t\\N\t\t\\b\\f\\n\\r\\t\\v\\\\\t\\\\N\n");
    assert_eq!(
        &write([Some(&b"\x01\x07\x0e\x1f\x7f\xc3\xa4"[..])])[..],
        b"\x01\x07\x0e\x1f\x7f\xc3\xa4\n"
    );
    assert_eq!(&write([Some(br"\.".as_slice())])[..], b"\\\\.\n");
}

#[test]
fn a_row_that_was_abandoned_leaves_nothing() {
    let mut writer = crate::wire::Writer::new();
    let mut message = writer.message(b'd');
    let mut row = message.text_row();
    row.field(Some(b"1"));
    row.end_row();
    message.text_row().field(Some(b"2"));
    message.finish();
    assert_eq!(&writer.buffer()[..], b"d\0\0\0\x061\n");
}

/// Bytes among which those that mean something are frequent.
fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let meaningful: &[u8] = b"\\\\\\\\\t\n\r\x08\x0b\x0cN.x0178afn ";
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(meaningful)];
    vec(byte, 0..length)
}

proptest! {
    #[test]
    fn what_is_written_is_read(rows in vec(vec(option::of(bytes(40)), 1..20), 0..8)) {
        let mut buffer = BytesMut::new();
        for row in &rows {
            let mut out = TextRowWriter::new(&mut buffer);
            for value in row {
                out.field(value.as_deref());
            }
            out.end_row();
        }
        let mut read = TextRows::new(&buffer);
        for row in rows {
            prop_assert_eq!(values(read.next().unwrap().unwrap()), row);
        }
        prop_assert_eq!(read.finish(), Ok(()));
    }

    #[test]
    fn what_is_read_means_the_same_when_it_is_written_again(line in bytes(200)) {
        for row in TextRows::new(&line).map_while(Result::ok) {
            let read = values(row);
            let written = write(read.iter().map(Option::as_deref));
            let again = TextRows::new(&written).next().unwrap().unwrap();
            prop_assert_eq!(values(again), read);
        }
    }
}
