//! Rows: the TupleData part of Insert, Update and Delete.
//!
//! ```text
//! Int16 number of columns, then for each:
//!   'n'                    null
//!   'u'                    a big value that was not changed and is not sent
//!   't' Int32 length bytes text
//!   'b' Int32 length bytes binary, as the type's send function makes it
//! ```
//!
//! A tuple is walked once when its message is decoded. From then on it is a view of those bytes,
//! and reading its values can't fail.

use std::{fmt, iter::FusedIterator};

use super::error::Fault;
use crate::wire::Reader;

/// A row as it was sent: the columns that are published, in the order of their relation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    columns: u16,
    bytes: &'a [u8],
}

/// One column of a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum TupleValue<'a> {
    /// NULL.
    Null,
    /// The value is stored out of line and was not changed by this update, so it was not sent.
    Unchanged,
    /// What the type's output function printed.
    Text(&'a [u8]),
    /// What the type's send function made; only with the option `binary`.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// Reads a tuple as `logicalrep_write_tuple` (proto.c) writes it, checking all of it.
    #[inline(always)]
    pub(super) fn read(r: &mut Reader<'a>) -> Result<Self, Fault> {
        let columns = r.u16("number of columns")?;
        let mut start = *r;
        for _ in 0..columns {
            skip_value(r)?;
        }
        let length = start.rest().len() - r.rest().len();
        let bytes = start.bytes(length, "columns")?;
        Ok(Self { columns, bytes })
    }

    /// A tuple over columns that were written by the encoder.
    pub(super) const fn from_parts(columns: u16, bytes: &'a [u8]) -> Self {
        Self { columns, bytes }
    }

    /// How many columns it has.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.columns)
    }

    /// Whether it has no column: a table without any can have rows.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// Its values, from the first column to the last.
    #[inline]
    #[must_use]
    pub const fn values(&self) -> TupleValues<'a> {
        TupleValues { left: self.columns, reader: Reader::new(self.bytes) }
    }

    /// Its columns as they were sent, without the number before them.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Tuple<'a> {
    type Item = TupleValue<'a>;
    type IntoIter = TupleValues<'a>;

    #[inline]
    fn into_iter(self) -> TupleValues<'a> {
        self.values()
    }
}

impl fmt::Debug for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl<'a> TupleValue<'a> {
    /// The bytes of a value that was sent.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Null | Self::Unchanged => None,
            Self::Text(bytes) | Self::Binary(bytes) => Some(bytes),
        }
    }
}

impl fmt::Debug for TupleValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Unchanged => f.write_str("Unchanged"),
            Self::Text(bytes) => write!(f, "Text(\"{}\")", bytes.escape_ascii()),
            Self::Binary(bytes) => write!(f, "Binary(\"{}\")", bytes.escape_ascii()),
        }
    }
}

/// The values of a [`Tuple`].
#[derive(Clone, Debug)]
pub struct TupleValues<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for TupleValues<'a> {
    type Item = TupleValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<TupleValue<'a>> {
        self.left = self.left.checked_sub(1)?;
        match read_value(&mut self.reader) {
            Ok(value) => Some(value),
            Err(fault) => {
                debug_assert!(false, "a tuple is checked when it is read: {fault:?}");
                None
            }
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.left);
        (left, Some(left))
    }
}

impl ExactSizeIterator for TupleValues<'_> {}
impl FusedIterator for TupleValues<'_> {}

/// One column, as `logicalrep_read_tuple` (proto.c) reads it.
#[inline]
fn read_value<'a>(r: &mut Reader<'a>) -> Result<TupleValue<'a>, Fault> {
    match r.u8("kind of column")? {
        b'n' => Ok(TupleValue::Null),
        b'u' => Ok(TupleValue::Unchanged),
        b't' => read_bytes(r).map(TupleValue::Text),
        b'b' => read_bytes(r).map(TupleValue::Binary),
        byte => Err(Fault::Undefined("kind of column", byte)),
    }
}

/// The same without making a value of it: only where the column ends.
#[inline]
fn skip_value(r: &mut Reader<'_>) -> Result<(), Fault> {
    match r.u8("kind of column")? {
        b't' | b'b' => read_bytes(r).map(drop),
        b'n' | b'u' => Ok(()),
        byte => Err(Fault::Undefined("kind of column", byte)),
    }
}

#[inline]
fn read_bytes<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    let length = r.length("length of a column")?;
    Ok(r.bytes(length, "value of a column")?)
}
