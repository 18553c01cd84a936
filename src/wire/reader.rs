//! Turning received bytes into values, without trusting them.
//!
//! Every failure names the field that was being read. Nothing here panics, and a count that the
//! peer sent is never used to size anything: callers read items one by one until the bytes end.

use super::caps::COLUMNS_MAX;

/// Bytes that do not have the shape the protocol gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ended inside a field.
    #[error("the message ends inside its field '{0}'")]
    Missing(&'static str),
    /// Bytes are left over after the last field.
    #[error("{bytes} bytes are left over after the end of {what}")]
    Trailing {
        /// The message or structure that had ended.
        what: &'static str,
        /// How many bytes follow it.
        bytes: usize,
    },
    /// A field holds something that the protocol does not allow there.
    #[error("the field '{0}' holds a value that the protocol does not allow")]
    Invalid(&'static str),
}

/// A cursor over the bytes of one message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes.
    #[inline]
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(WireError::Missing(field))?;
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(WireError::Missing(field))?;
        self.rest = tail;
        Ok(*head)
    }

    /// The next byte.
    #[inline]
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int16`, unsigned.
    #[inline]
    pub fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int16`, signed.
    #[inline]
    pub fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int32`, unsigned.
    #[inline]
    pub fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int32`, signed.
    #[inline]
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int64`, unsigned.
    #[inline]
    pub fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    /// A big-endian `Int64`, signed.
    #[inline]
    pub fn i64(&mut self, field: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(field)?))
    }

    /// An `Int32` that counts the bytes after it; negative is refused.
    #[inline]
    pub fn length(&mut self, field: &'static str) -> Result<usize, WireError> {
        usize::try_from(self.i32(field)?).map_err(|_| WireError::Invalid(field))
    }

    /// A count of columns, refused beyond what a server can have.
    #[inline]
    pub fn columns(&mut self, field: &'static str) -> Result<u16, WireError> {
        match self.u16(field)? {
            count if count <= COLUMNS_MAX => Ok(count),
            _ => Err(WireError::Invalid(field)),
        }
    }

    /// A value as in DataRow and Bind: an `Int32` length, -1 for NULL, then the bytes.
    #[inline]
    pub fn value(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, WireError> {
        match self.i32(field)? {
            -1 => Ok(None),
            n => {
                let n = usize::try_from(n).map_err(|_| WireError::Invalid(field))?;
                self.bytes(n, field).map(Some)
            }
        }
    }

    /// Bytes up to a zero byte, which is consumed and not returned.
    pub fn cstr(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let end = self.rest.iter().position(|&b| b == 0).ok_or(WireError::Missing(field))?;
        let text = self.bytes(end, field)?;
        self.u8(field)?;
        Ok(text)
    }

    /// The same as UTF-8 text, which `client_encoding` makes sure of once a session is set up.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.cstr(field)?).map_err(|_| WireError::Invalid(field))
    }

    /// Refuses left-over bytes: a message that is longer than its fields is not understood.
    pub const fn finish(self, what: &'static str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(WireError::Trailing { what, bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_fields_in_order() {
        let mut r = Reader::new(b"\x01\x00\x02\xff\xff\xff\xff\x00\x00\x00\x01ahoi\0x");
        assert_eq!(r.u8("a"), Ok(1));
        assert_eq!(r.u16("b"), Ok(2));
        assert_eq!(r.value("c"), Ok(None));
        assert_eq!(r.value("d"), Ok(Some(&b"a"[..])));
        assert_eq!(r.text("e"), Ok("hoi"));
        assert_eq!(r.finish("m"), Err(WireError::Trailing { what: "m", bytes: 1 }));
    }

    #[test]
    fn a_short_message_names_its_field() {
        assert_eq!(Reader::new(b"\0\0\0").i32("size"), Err(WireError::Missing("size")));
        assert_eq!(Reader::new(b"abc").cstr("name"), Err(WireError::Missing("name")));
        assert_eq!(Reader::new(b"\0\0\0\x05ab").value("v"), Err(WireError::Missing("v")));
    }

    #[test]
    fn negative_lengths_are_refused() {
        assert_eq!(Reader::new(b"\xff\xff\xff\xfe").value("v"), Err(WireError::Invalid("v")));
        assert_eq!(Reader::new(b"\xff\xff\xff\xff").length("n"), Err(WireError::Invalid("n")));
    }
}
