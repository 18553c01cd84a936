//! COPY's text format: rows as lines, read as views and written.
//!
//! ```text
//! field TAB field TAB .. field LF     a row; each byte that means something is escaped
//!
//! \N           NULL, when it is the whole field
//! \b \f \n \r \t \v                   backspace, form feed, line feed, carriage return, tabs
//! \0 .. \377   the byte of one to three octal digits
//! \x0 .. \xFF  the byte of one or two hexadecimal digits
//! \.           the end of the data in files: not on the wire, not within data
//! \c           any other byte c itself, so also a tab, a line feed or a backslash
//! ```
//!
//! Reading follows `CopyReadLineText` and `CopyReadAttributesText` (copyfromparse.c), narrowed to
//! what servers 14 to 18 send to a client: lines end in LF on every platform, and no `\.` comes
//! before CopyDone. So a bare carriage return and a `\.` are refused, where COPY FROM would take
//! them for another style of lines and for the end. Writing follows `CopyAttributeOutText`
//! (copyto.c), byte for byte.
//!
//! Not here: CSV, other delimiters and other NULL strings, and what the values mean. A row of a
//! table without columns is an empty line, which is also the row of one empty text: only the
//! table's shape tells them apart.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS>

use std::{borrow::Cow, iter::FusedIterator};

use bytes::{BufMut, BytesMut};

use super::{WireError, Writing, caps::COLUMNS_MAX};

/// What stands for NULL.
const NULL: &[u8] = br"\N";

/// Walks over rows that lie one behind the other, each ended by its line feed.
///
/// After an error, which does not go away by reading on, the walk is over.
#[derive(Clone, Debug)]
pub struct TextRows<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> TextRows<'a> {
    /// Walks over `bytes`: one CopyData message, or several, put together.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// What has not been walked over: once the walk is over, a row that has not ended.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses a row that has not ended, and what was not walked over.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Missing("end of a COPY row")) }
    }
}

impl<'a> Iterator for TextRows<'a> {
    type Item = Result<TextRow<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = match row_end(self.rest) {
            Ok(RowEnd::At(end)) => {
                let (bytes, from) = self.rest.split_at_checked(end)?;
                TextRow::of_fields(bytes).inspect(|_| self.rest = from.get(1..).unwrap_or_default())
            }
            Ok(RowEnd::Open | RowEnd::InEscape) => return None,
            Err(error) => Err(error),
        };
        self.failed = row.is_err();
        Some(row)
    }
}

impl FusedIterator for TextRows<'_> {}

/// One row, without the line feed that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRow<'a> {
    bytes: &'a [u8],
}

impl<'a> TextRow<'a> {
    /// Checks the bytes of one row, without its line feed.
    ///
    /// Errors: the row ends within them or inside an escape, holds a bare carriage return or a
    /// `\.`, or has more than [`COLUMNS_MAX`] fields.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        match row_end(bytes)? {
            RowEnd::Open => Self::of_fields(bytes),
            RowEnd::InEscape => Err(WireError::Missing("escape of a COPY row")),
            RowEnd::At(end) => {
                Err(WireError::Trailing { what: "COPY row", bytes: bytes.len() - end })
            }
        }
    }

    /// A row of these bytes, whose escapes and end have been checked.
    #[inline]
    fn of_fields(bytes: &'a [u8]) -> Result<Self, WireError> {
        let row = Self { bytes };
        // Fields are one more than tabs: where there are fewer bytes, nothing need be counted.
        let may_exceed = bytes.len() >= usize::from(COLUMNS_MAX);
        if may_exceed && row.fields().nth(usize::from(COLUMNS_MAX)).is_some() {
            return Err(WireError::Invalid("column count of a COPY row"));
        }
        Ok(row)
    }

    /// Its bytes as they came.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its fields in order, `None` for NULL: at least one, see the module on empty lines.
    #[inline]
    #[must_use]
    pub const fn fields(&self) -> TextFields<'a> {
        TextFields { rest: Some(self.bytes) }
    }
}

/// The fields of a row, in order.
#[derive(Clone, Debug)]
pub struct TextFields<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for TextFields<'a> {
    type Item = Option<TextField<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let from = self.rest.take()?;
        let mut raw = from;
        let mut escaped = false;
        let mut rest = from;
        while let Some((_, byte, after)) = split_at_first(rest, |b| (b == b'\t') | (b == b'\\')) {
            if byte == b'\t' {
                raw = from.get(..from.len() - after.len() - 1).unwrap_or_default();
                self.rest = Some(after);
                break;
            }
            escaped = true;
            rest = after.get(1..).unwrap_or_default();
        }
        Some((raw != NULL).then_some(TextField { raw, escaped }))
    }
}

impl FusedIterator for TextFields<'_> {}

/// One field that is not NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextField<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> TextField<'a> {
    /// As it came, escapes and all.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The value: borrowed unless something in it was escaped. Whether it is text in the
    /// session's encoding is not checked: escapes can make any byte.
    #[inline]
    #[must_use]
    pub fn unescape(&self) -> Cow<'a, [u8]> {
        if self.escaped { Cow::Owned(unescape(self.raw)) } else { Cow::Borrowed(self.raw) }
    }
}

/// The same bytes with each escape replaced by what it means.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, _, after)) = split_at_first(rest, |b| b == b'\\') {
        value.extend_from_slice(plain);
        // A row that ends in a lone backslash was refused, so there is always a byte.
        let Some((&c, after)) = after.split_first() else { return value };
        let (byte, after) = match c {
            b'0'..=b'7' => digits::<3>(after, c - b'0', |v, d| (d < 8).then_some(v << 3 | d)),
            b'x' => match after.split_first().and_then(|(&d, after)| Some((digit(d)?, after))) {
                Some((first, after)) => digits::<2>(after, first, |v, d| Some(v << 4 | d)),
                None => (b'x', after),
            },
            b'b' => (0x08, after),
            b'f' => (0x0c, after),
            b'n' => (b'\n', after),
            b'r' => (b'\r', after),
            b't' => (b'\t', after),
            b'v' => (0x0b, after),
            other => (other, after),
        };
        value.push(byte);
        rest = after;
    }
    value.extend_from_slice(rest);
    value
}

/// A number whose first of at most `MOST` digits has been read. What outgrows a byte loses its
/// high bits, as in the server.
fn digits<const MOST: usize>(
    mut rest: &[u8],
    first: u8,
    join: impl Fn(u8, u8) -> Option<u8>,
) -> (u8, &[u8]) {
    let mut value = first;
    for _ in 1..MOST {
        let Some((&c, after)) = rest.split_first() else { break };
        let Some(longer) = digit(c).and_then(|d| join(value, d)) else { break };
        (value, rest) = (longer, after);
    }
    (value, rest)
}

/// The value of a hexadecimal digit.
const fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

/// Where a row ends.
enum RowEnd {
    /// At the line feed that stands here.
    At(usize),
    /// Not within the bytes.
    Open,
    /// Not within the bytes, which end between a backslash and what it escapes.
    InEscape,
}

/// Looks for the line feed that ends the first row, and refuses what no server sends before it.
#[inline]
fn row_end(bytes: &[u8]) -> Result<RowEnd, WireError> {
    let mut rest = bytes;
    while let Some((_, byte, after)) =
        split_at_first(rest, |b| (b == b'\n') | (b == b'\\') | (b == b'\r'))
    {
        match (byte, after.split_first()) {
            (b'\n', _) => return Ok(RowEnd::At(bytes.len() - after.len() - 1)),
            (b'\r', _) => return Err(WireError::Invalid("line end of a COPY row")),
            (_, None) => return Ok(RowEnd::InEscape),
            (_, Some((b'.', _))) => return Err(WireError::Invalid("end-of-copy marker")),
            (_, Some((_, after))) => rest = after,
        }
    }
    Ok(RowEnd::Open)
}

/// The first byte that `is` one, with what stands before it and after it.
#[inline]
fn split_at_first(bytes: &[u8], is: impl Fn(u8) -> bool) -> Option<(&[u8], u8, &[u8])> {
    // Sixteen at a time, without a branch for each, is what compilers turn into vectors.
    let (chunks, _) = bytes.as_chunks::<16>();
    let plain = chunks
        .iter()
        .take_while(|c| c.iter().fold(0, |any, &b| any | u8::from(is(b))) == 0)
        .count();
    let (_, tail) = bytes.split_at_checked(plain * 16)?;
    let at = plain * 16 + tail.iter().position(|&b| is(b))?;
    let (before, from) = bytes.split_at_checked(at)?;
    let (&byte, after) = from.split_first()?;
    Some((before, byte, after))
}

/// A row that is being written; without [`TextRowWriter::end_row`] nothing of it stays.
#[derive(Debug)]
#[must_use = "a row without `end_row` is taken back"]
pub struct TextRowWriter<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    fields: usize,
    ended: bool,
}

impl<'a> TextRowWriter<'a> {
    /// Starts a row behind what is in `buffer`.
    #[inline]
    pub fn new(buffer: &'a mut BytesMut) -> Self {
        let start = buffer.len();
        Self { buffer, start, fields: 0, ended: false }
    }

    /// The next field's value, or NULL.
    ///
    /// A row of more fields than its table has columns, and a value with a zero byte, which no
    /// encoding of a server has in its text, are refused by the server.
    #[inline]
    pub fn field(&mut self, value: Option<&[u8]>) -> &mut Self {
        if self.fields > 0 {
            self.buffer.put_u8(b'\t');
        }
        self.fields += 1;
        match value {
            None => self.buffer.put_slice(NULL),
            Some(value) => self.escaped(value),
        }
        self
    }

    #[inline]
    fn escaped(&mut self, value: &[u8]) {
        let mut rest = value;
        let means_something = |b| matches!(b, 0x08..=b'\r' | b'\\');
        while let Some((plain, byte, after)) = split_at_first(rest, means_something) {
            self.buffer.put_slice(plain);
            let letter = match byte {
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0b => b'v',
                0x0c => b'f',
                b'\r' => b'r',
                other => other,
            };
            self.buffer.put_slice(&[b'\\', letter]);
            rest = after;
        }
        self.buffer.put_slice(rest);
    }

    /// Ends the row.
    #[inline]
    pub fn end_row(mut self) {
        self.buffer.put_u8(b'\n');
        self.ended = true;
    }
}

impl Drop for TextRowWriter<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.buffer.truncate(self.start);
        }
    }
}

impl Writing<'_> {
    /// Starts a row of COPY's text format inside a CopyData message.
    #[inline]
    pub fn text_row(&mut self) -> TextRowWriter<'_> {
        TextRowWriter::new(self.buffer_mut())
    }
}

#[cfg(test)]
mod tests;
