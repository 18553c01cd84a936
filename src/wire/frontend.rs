//! The messages we send.

use super::{Reader, WireError, Writer, Writing};
use crate::pg::Oid;

/// How a value is written: as text, or in its type's own binary form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// As the type's output function writes it.
    Text,
    /// As the type's send function writes it.
    Binary,
}

impl Format {
    const fn code(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// Reads a format code.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u16("format code")? {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            _ => Err(WireError::Invalid("format code")),
        }
    }
}

impl Writer {
    /// PasswordMessage, SASLInitialResponse or SASLResponse: `auth` made the body.
    pub fn authentication_response(&mut self, body: &[u8]) {
        let mut m = self.message(b'p');
        m.bytes(body);
        m.finish();
    }

    /// Query: one string of one or more statements.
    pub fn query(&mut self, sql: &str) {
        let mut m = self.message(b'Q');
        m.cstr(sql);
        m.finish();
    }

    /// Parse: a statement under a name, with the types of its parameters as far as known.
    pub fn parse(&mut self, statement: &str, sql: &str, parameter_types: &[Oid]) {
        let mut m = self.message(b'P');
        m.cstr(statement).cstr(sql).u16(count(parameter_types.len()));
        for oid in parameter_types {
            m.u32(oid.0);
        }
        m.finish();
    }

    /// Bind, to the unnamed portal: see [`Bind`] for its steps. Results come as text.
    pub fn bind(
        &mut self,
        statement: &str,
        formats: impl ExactSizeIterator<Item = Format>,
    ) -> Bind<'_> {
        let mut m = self.message(b'B');
        m.cstr("").cstr(statement);
        let parameters = count(formats.len());
        m.u16(parameters);
        for format in formats {
            m.u16(format.code());
        }
        m.u16(parameters);
        Bind { message: m }
    }

    /// Describe of a statement.
    pub fn describe_statement(&mut self, statement: &str) {
        let mut m = self.message(b'D');
        m.u8(b'S').cstr(statement);
        m.finish();
    }

    /// Describe of the unnamed portal.
    pub fn describe_portal(&mut self) {
        let mut m = self.message(b'D');
        m.u8(b'P').cstr("");
        m.finish();
    }

    /// Execute of the unnamed portal, to its end.
    pub fn execute(&mut self) {
        let mut m = self.message(b'E');
        m.cstr("").i32(0);
        m.finish();
    }

    /// Close of a named statement.
    pub fn close_statement(&mut self, statement: &str) {
        let mut m = self.message(b'C');
        m.u8(b'S').cstr(statement);
        m.finish();
    }

    /// Sync: the end of a unit of the extended protocol; an error skips to here.
    pub fn sync(&mut self) {
        self.message(b'S').finish();
    }

    /// Flush: send the replies there are, without ending the unit.
    pub fn flush_request(&mut self) {
        self.message(b'H').finish();
    }

    /// CopyData with one whole payload.
    pub fn copy_data(&mut self, payload: &[u8]) {
        let mut m = self.message(b'd');
        m.bytes(payload);
        m.finish();
    }

    /// CopyDone: all of it was sent.
    pub fn copy_done(&mut self) {
        self.message(b'c').finish();
    }

    /// CopyFail: undo, for this reason.
    pub fn copy_fail(&mut self, reason: &str) {
        let mut m = self.message(b'f');
        m.cstr(&reason.replace('\0', " "));
        m.finish();
    }

    /// Terminate.
    pub fn terminate(&mut self) {
        self.message(b'X').finish();
    }
}

/// A Bind whose parameter values are being written: one [`Bind::value`] for each format.
#[derive(Debug)]
#[must_use = "a Bind without `finish` has no valid length"]
pub struct Bind<'a> {
    message: Writing<'a>,
}

impl Bind<'_> {
    /// The next parameter's bytes, or NULL.
    #[inline]
    pub fn value(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.message.value(value);
        self
    }

    /// Ends the message; results are asked for as text.
    #[inline]
    pub fn finish(mut self) {
        self.message.u16(0);
        self.message.finish();
    }
}

/// A count as the protocol writes it. Callers keep within 65,535, the protocol's limit; past it
/// the message would not match its own count and the server refuses it.
fn count(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_bytes() {
        let check = |write: &dyn Fn(&mut Writer), bytes: &[u8]| {
            let mut w = Writer::new();
            write(&mut w);
            assert_eq!(&w.buffer()[..], bytes);
        };
        check(&|w| w.parse("s", "q", &[Oid(23)]), b"P\0\0\0\x0es\0q\0\0\x01\0\0\0\x17");
        check(&|w| w.describe_statement("s"), b"D\0\0\0\x07Ss\0");
        check(&|w| w.sync(), b"S\0\0\0\x04");
        check(&|w| w.copy_fail("a\0b"), b"f\0\0\0\x08a b\0");
        check(&|w| w.execute(), b"E\0\0\0\x09\0\0\0\0\0");
        check(
            &|w| {
                let mut bind = w.bind("s", [Format::Text, Format::Binary].into_iter());
                bind.value(Some(b"1")).value(None);
                bind.finish();
            },
            b"B\0\0\0\x1a\0s\0\0\x02\0\0\0\x01\0\x02\0\0\0\x011\xff\xff\xff\xff\0\0",
        );
    }
}
