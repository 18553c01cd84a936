//! COPY's binary format: the header, rows as views, the trailer; read and written.
//!
//! ```text
//! header   PGCOPY LF FF CR LF 00    the signature: 11 bytes that a careless transfer would change
//!          Int32                    flags: bits 16 to 31 are critical, 0 to 15 can be ignored
//!          Int32 length, bytes      the header extension, which is passed over
//! rows     Int16 number of fields, then for each:
//!            Int32 length, bytes    as the type's send function makes it; length -1 is NULL
//! trailer  Int16 -1                 nothing follows it
//! ```
//!
//! Servers 14 to 18 send each row whole, in a CopyData message of its own: the header comes with
//! the first row (or, without rows, with the trailer). So a message that ends inside a row is
//! refused. A client may cut its messages anywhere; ours end between rows too.
//!
//! Not here: what the bytes of a field mean, and whether all rows have as many fields: the format
//! leaves that to who knows the table.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT>

use bytes::{BufMut, BytesMut};

use super::{Reader, WireError, Writing, caps::COLUMNS_MAX};

/// `BinarySignature` in copyto.c.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The flags that a reader must know to understand the rest. Bit 16 was "with OIDs", which no
/// supported server writes; none of the others has a meaning.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// The longest header extension that is passed over. Postgres writes an empty one; 64 KiB is
/// what it reads from the wire at once (`RAW_BUF_SIZE` in copyfrom_internal.h), and far more than
/// the few chunks that the format reserves the area for.
pub const HEADER_EXTENSION_MAX: usize = 64 * 1024;

/// The number of fields of a row whose fields are still being written: nobody accepts it.
const UNFINISHED: i16 = i16::MIN;

/// Reads a COPY's messages in their order, and knows where in the format they are. An error is the
/// end of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyBinaryReader {
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the header.
    #[default]
    Header,
    /// Before a row or the trailer.
    Rows,
    /// After the trailer.
    End,
}

impl CopyBinaryReader {
    /// Starts before the header.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next row of a message; `None` at the end of the message, with or without the trailer.
    ///
    /// Errors: another signature, critical flags, an extension longer than
    /// [`HEADER_EXTENSION_MAX`], a row of more than [`COLUMNS_MAX`] fields, a message that ends
    /// inside any of them, and bytes after the trailer.
    #[inline]
    pub fn row<'a>(&mut self, r: &mut Reader<'a>) -> Result<Option<BinaryRow<'a>>, WireError> {
        if r.is_empty() {
            return Ok(None);
        }
        match self.place {
            Place::Header => {
                header(r)?;
                self.place = Place::Rows;
                self.row(r)
            }
            Place::Rows => {
                let row = BinaryRow::read(r)?;
                if row.is_none() {
                    self.place = Place::End;
                    r.finish(TRAILER)?;
                }
                Ok(row)
            }
            Place::End => r.finish(TRAILER).map(|()| None),
        }
    }

    /// Refuses a COPY that ended without its trailer.
    pub const fn finish(self) -> Result<(), WireError> {
        match self.place {
            Place::End => Ok(()),
            Place::Header => Err(WireError::Missing("COPY signature")),
            Place::Rows => Err(WireError::Missing(TRAILER)),
        }
    }
}

/// The trailer's name in errors.
const TRAILER: &str = "COPY trailer";

fn header(r: &mut Reader<'_>) -> Result<(), WireError> {
    if r.bytes(SIGNATURE.len(), "COPY signature")? != SIGNATURE {
        return Err(WireError::Invalid("COPY signature"));
    }
    if r.u32("COPY flags")? & CRITICAL_FLAGS != 0 {
        return Err(WireError::Invalid("COPY flags"));
    }
    let length = r.length("COPY header extension")?;
    if length > HEADER_EXTENSION_MAX {
        return Err(WireError::Invalid("COPY header extension"));
    }
    r.bytes(length, "COPY header extension")?;
    Ok(())
}

/// One row, read field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BinaryRow<'a> {
    count: u16,
    fields: &'a [u8],
}

impl<'a> BinaryRow<'a> {
    /// Reads one row and checks all of it; `None` for the trailer.
    #[inline]
    fn read(r: &mut Reader<'a>) -> Result<Option<Self>, WireError> {
        let count = match r.i16("field count of a COPY row")? {
            -1 => return Ok(None),
            n => u16::try_from(n).ok().filter(|&n| n <= COLUMNS_MAX),
        };
        let count = count.ok_or(WireError::Invalid("field count of a COPY row"))?;
        let mut start = *r;
        for _ in 0..count {
            r.value("field of a COPY row")?;
        }
        let length = start.rest().len() - r.rest().len();
        let fields = start.bytes(length, "field of a COPY row")?;
        Ok(Some(Self { count, fields }))
    }

    /// How many fields it has.
    #[must_use]
    pub const fn len(&self) -> u16 {
        self.count
    }

    /// Whether it has none, as the rows of a table without columns.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its fields in order, `None` for NULL.
    #[inline]
    pub fn fields(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut r = Reader::new(self.fields);
        (0..self.count).map_while(move |_| r.value("field of a COPY row").ok())
    }
}

/// Writes a COPY: the header, rows, the trailer. Where its messages end is up to the caller.
#[derive(Debug)]
pub struct CopyBinaryWriter<'a> {
    buffer: &'a mut BytesMut,
}

impl<'a> CopyBinaryWriter<'a> {
    /// Writes behind what is in `buffer`.
    pub const fn new(buffer: &'a mut BytesMut) -> Self {
        Self { buffer }
    }

    /// The header, once: no flags, no extension.
    pub fn header(&mut self) {
        self.buffer.put_slice(SIGNATURE);
        self.buffer.put_slice(&[0; 8]);
    }

    /// Starts a row.
    #[inline]
    pub fn row(&mut self) -> BinaryRowWriter<'_> {
        let start = self.buffer.len();
        self.buffer.put_i16(UNFINISHED);
        BinaryRowWriter { buffer: self.buffer, start, count: 0, ended: false }
    }

    /// The trailer, once, after which nothing comes.
    pub fn trailer(&mut self) {
        self.buffer.put_i16(-1);
    }
}

/// A row that is being written; without [`BinaryRowWriter::end_row`] nothing of it stays.
#[derive(Debug)]
#[must_use = "a row without `end_row` is taken back"]
pub struct BinaryRowWriter<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    count: usize,
    ended: bool,
}

impl BinaryRowWriter<'_> {
    /// The next field's bytes, or NULL.
    #[inline]
    pub fn field(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.count += 1;
        // A length beyond `i32` becomes one that nobody accepts.
        let length = value.map_or(-1, |v| i32::try_from(v.len()).unwrap_or(i32::MIN));
        self.buffer.put_i32(length);
        self.buffer.put_slice(value.unwrap_or_default());
        self
    }

    /// Ends the row. A row of more fields than [`COLUMNS_MAX`] keeps its impossible number of
    /// them, so the server refuses it.
    #[inline]
    pub fn end_row(mut self) {
        let count = i16::try_from(self.count).ok();
        let count = count.filter(|_| self.count <= usize::from(COLUMNS_MAX)).unwrap_or(UNFINISHED);
        if let Some(field) = self.buffer.get_mut(self.start..self.start + 2) {
            field.copy_from_slice(&count.to_be_bytes());
        }
        self.ended = true;
    }
}

impl Drop for BinaryRowWriter<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.buffer.truncate(self.start);
        }
    }
}

impl Writing<'_> {
    /// Writes COPY's binary format inside a CopyData message.
    #[inline]
    pub const fn copy_binary(&mut self) -> CopyBinaryWriter<'_> {
        CopyBinaryWriter::new(self.buffer_mut())
    }
}

#[cfg(test)]
mod tests;
