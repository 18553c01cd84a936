//! COPY's binary format: reading never panics, and what is read and written again reads the same.
//!
//! An odd first byte puts a header before the rest, which then are rows; after an even one the
//! rest has its own.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pghost::wire::{BinaryRow, CopyBinaryReader, CopyBinaryWriter, Reader, WireError};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = BytesMut::new();
    if choice & 1 == 1 {
        CopyBinaryWriter::new(&mut bytes).header();
    }
    bytes.extend_from_slice(rest);

    let mut rows = Vec::new();
    let complete = read(&bytes, &mut rows);
    let written = write(&rows);
    let mut again = Vec::new();
    assert_eq!(read(&written, &mut again), Ok(()));
    assert_eq!(again, rows);
    // A header and a trailer have one form only, but for ignored flags and an extension.
    if complete.is_ok() && choice & 1 == 1 {
        assert_eq!(written, bytes);
    }
});

/// The rows up to the first error.
fn read<'a>(bytes: &'a [u8], rows: &mut Vec<BinaryRow<'a>>) -> Result<(), WireError> {
    let mut reader = CopyBinaryReader::new();
    let mut r = Reader::new(bytes);
    while let Some(row) = reader.row(&mut r)? {
        assert_eq!(row.fields().count(), usize::from(row.len()));
        rows.push(row);
    }
    reader.finish()
}

fn write(rows: &[BinaryRow<'_>]) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut copy = CopyBinaryWriter::new(&mut buffer);
    copy.header();
    for row in rows {
        let mut out = copy.row();
        for field in row.fields() {
            out.field(field);
        }
        out.end_row();
    }
    copy.trailer();
    buffer
}
