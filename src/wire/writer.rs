//! Building messages.
//!
//! A message's length is written last: until then it stands as `FF FF FF FF`, which no peer
//! accepts, so a message that was abandoned half way can never be taken for a shorter valid one.

use bytes::{BufMut, BytesMut};

/// Appends messages to a buffer that is sent later.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been written and not taken yet.
    #[must_use]
    pub const fn buffer(&self) -> &BytesMut {
        &self.buffer
    }

    /// The same, for sending and for dropping what was sent.
    pub const fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Starts a message with a type byte; its length is filled in by [`Writing::finish`].
    #[inline]
    pub fn message(&mut self, tag: u8) -> Writing<'_> {
        self.buffer.put_u8(tag);
        self.untagged()
    }

    /// Starts a message of the startup phase, which has no type byte.
    #[inline]
    pub fn untagged(&mut self) -> Writing<'_> {
        let start = self.buffer.len();
        self.buffer.put_slice(&[0xff; 4]);
        Writing { buffer: &mut self.buffer, start }
    }
}

/// A message, or a length-prefixed value within one, that is being written.
#[derive(Debug)]
#[must_use = "a message without `finish` has no valid length"]
pub struct Writing<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
}

impl Writing<'_> {
    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.buffer.put_u8(value);
        self
    }

    /// A big-endian `Int16`.
    #[inline]
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.buffer.put_u16(value);
        self
    }

    /// A big-endian `Int32`.
    #[inline]
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.buffer.put_i32(value);
        self
    }

    /// A big-endian `Int32`, unsigned.
    #[inline]
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.buffer.put_u32(value);
        self
    }

    /// A big-endian `Int64`, unsigned.
    #[inline]
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.buffer.put_u64(value);
        self
    }

    /// A big-endian `Int64`.
    #[inline]
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.buffer.put_i64(value);
        self
    }

    /// Bytes as they are.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.put_slice(bytes);
        self
    }

    /// Text and its closing zero byte. Text with a zero byte inside would be cut short by the
    /// peer; callers check it where it comes from.
    #[inline]
    pub fn cstr(&mut self, text: &str) -> &mut Self {
        self.buffer.put_slice(text.as_bytes());
        self.buffer.put_u8(0);
        self
    }

    /// A value as in Bind: its length, then its bytes; -1 for NULL.
    ///
    /// A value beyond `i32` can't be: it came in a frame whose length is an `i32`.
    #[inline]
    pub fn value(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.i32(-1),
            Some(bytes) => {
                self.buffer.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
                self.bytes(bytes)
            }
        }
    }

    /// Where the formats inside a message append to it.
    #[inline]
    pub(super) const fn buffer_mut(&mut self) -> &mut BytesMut {
        self.buffer
    }

    /// How many bytes this message has so far, its length field included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether nothing but the length field is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() <= 4
    }

    /// Fills in the length. A message that has outgrown the protocol (2 GiB) keeps its
    /// impossible length, so the peer refuses it.
    #[inline]
    pub fn finish(self) {
        if let Ok(length) = i32::try_from(self.len())
            && let Some(field) = self.buffer.get_mut(self.start..self.start + 4)
        {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_its_length_but_not_its_tag() {
        let mut w = Writer::new();
        let mut m = w.message(b'Q');
        m.cstr("select 1");
        m.finish();
        assert_eq!(&w.buffer()[..], b"Q\0\0\0\x0dselect 1\0");
    }

    #[test]
    fn an_abandoned_message_can_not_be_taken_for_a_whole_one() {
        let mut w = Writer::new();
        let _ = w.message(b'Q').cstr("drop table");
        assert_eq!(&w.buffer()[..5], b"Q\xff\xff\xff\xff");
    }

    #[test]
    fn values_are_length_prefixed() {
        let mut w = Writer::new();
        let mut m = w.untagged();
        m.value(None).value(Some(b"ab"));
        m.finish();
        assert_eq!(&w.buffer()[..], b"\0\0\0\x0e\xff\xff\xff\xff\0\0\0\x02ab");
    }
}
