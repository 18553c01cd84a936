//! COPY's text format: reading never panics, wherever the bytes are cut, and what is read and
//! written again reads the same.
//!
//! The first byte says where to cut; the rest are rows.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pghost::wire::{TextRow, TextRowWriter, TextRows};

fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else {
        return;
    };
    let mut rows = TextRows::new(bytes);
    let whole: Vec<_> = rows.by_ref().map_while(Result::ok).collect();
    let walked: usize = whole.iter().map(|row| row.as_bytes().len() + 1).sum();
    assert_eq!(walked + rows.rest().len(), bytes.len());
    assert_eq!(rows.rest().is_empty(), rows.clone().finish().is_ok());

    cut_anywhere(bytes, cut, &whole);
    for &row in &whole {
        assert_eq!(TextRow::parse(row.as_bytes()), Ok(row));
        let values = values(row);
        let written = write(&values);
        let mut again = TextRows::new(&written);
        let row = again.next().expect("a row").expect("what was written");
        assert_eq!(self::values(row), values);
        assert!(again.finish().is_ok());
        // What we write is what a server would, so it changes no more.
        assert_eq!(write(&self::values(row)), written);
    }
    let _ = TextRow::parse(bytes);
});

/// Rows that came in two pieces are the rows that came in one.
fn cut_anywhere(bytes: &[u8], cut: u8, whole: &[TextRow<'_>]) {
    let cut = usize::from(cut).min(bytes.len());
    let mut head = TextRows::new(&bytes[..cut]);
    let mut rows: Vec<_> = head.by_ref().map_while(Result::ok).collect();
    let tail = TextRows::new(&bytes[cut - head.rest().len()..]);
    rows.extend(tail.map_while(Result::ok));
    assert_eq!(rows, whole);
}

fn values(row: TextRow<'_>) -> Vec<Option<Vec<u8>>> {
    let fields = row.fields();
    fields
        .map(|field| {
            field.map(|field| {
                let value = field.unescape();
                assert!(value.len() <= field.raw().len());
                value.into_owned()
            })
        })
        .collect()
}

fn write(values: &[Option<Vec<u8>>]) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut row = TextRowWriter::new(&mut buffer);
    for value in values {
        row.field(value.as_deref());
    }
    row.end_row();
    buffer
}
