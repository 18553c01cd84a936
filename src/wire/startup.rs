//! The messages of the startup phase, most of which have no type byte, and the protocol's versions.
//!
//! <https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-START-UP>. Authentication,
//! which comes next, is `auth`'s.

use std::fmt;

use super::{Reader, WireError, Writer};

/// The code of a CancelRequest (`CANCEL_REQUEST_CODE` in `pqcomm.h`).
const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
/// The code of an SSLRequest (`NEGOTIATE_SSL_CODE` in `pqcomm.h`).
const SSL_REQUEST: u32 = 1234 << 16 | 5679;

/// The protocol that both sides name in TLS's ALPN (`PG_ALPN_PROTOCOL` in `pqcomm.h`).
pub const ALPN_PROTOCOL: &[u8] = b"postgresql";

/// A version of the frontend/backend protocol as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// 3.0: every server.
    pub const V3_0: Self = Self(3 << 16);
    /// 3.2: servers from 18 on, with longer cancel keys.
    pub const V3_2: Self = Self(3 << 16 | 2);
}

/// `3.0`
impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

/// The server's answer to a version or to options that it does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version it speaks: all of it, not only the minor number that the documentation
    /// tells of (`SendNegotiateProtocolVersion` in `backend_startup.c`).
    pub version: ProtocolVersion,
    /// The first protocol option (`_pq_.*`) it does not know, of those that it names.
    pub unknown_option: Option<&'a str>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(body);
        let version = ProtocolVersion(r.u32("protocol version")?);
        let count = r.u32("number of unknown options")?;
        let mut unknown_option = None;
        // Each takes a byte at least, so the message's end ends this too.
        for _ in 0..count {
            let option = r.text("unknown option")?;
            unknown_option.get_or_insert(option);
        }
        r.finish("NegotiateProtocolVersion")?;
        Ok(Self { version, unknown_option })
    }
}

/// The answer to an SSLRequest, which is a single byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslResponse {
    /// `S`: TLS begins.
    Willing,
    /// `N`: go on without, or go.
    Unwilling,
}

impl SslResponse {
    /// Reads the byte. An `E` begins an ErrorResponse, of a server that could not even start a
    /// process: nobody vouches for its text, so nobody should see it (CVE-2024-10977).
    pub const fn parse(byte: u8) -> Result<Self, WireError> {
        match byte {
            b'S' => Ok(Self::Willing),
            b'N' => Ok(Self::Unwilling),
            _ => Err(WireError::Invalid("answer to SSLRequest")),
        }
    }
}

impl Writer {
    /// StartupMessage with its parameters: `user`, `database`, settings.
    pub fn startup(&mut self, version: ProtocolVersion, parameters: &[(&str, &str)]) {
        let mut m = self.untagged();
        m.u32(version.0);
        for (name, value) in parameters {
            m.cstr(name).cstr(value);
        }
        m.u8(0);
        m.finish();
    }

    /// SSLRequest.
    pub fn ssl_request(&mut self) {
        let mut m = self.untagged();
        m.u32(SSL_REQUEST);
        m.finish();
    }

    /// CancelRequest, which is sent on a connection of its own.
    pub fn cancel_request(&mut self, process_id: i32, key: &[u8]) {
        let mut m = self.untagged();
        m.u32(CANCEL_REQUEST).i32(process_id).bytes(key);
        m.finish();
    }
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
        let startup = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
        check(&|w| w.startup(ProtocolVersion::V3_0, &[("user", "u")]), startup);
        check(&|w| w.startup(ProtocolVersion::V3_2, &[]), b"\0\0\0\x09\0\x03\0\x02\0");
        check(&|w| w.ssl_request(), b"\0\0\0\x08\x04\xd2\x16\x2f");
        check(&|w| w.cancel_request(1, b"keys"), b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01keys");
    }

    #[test]
    fn a_negotiation_names_the_version_and_what_is_unknown() {
        let read = NegotiateProtocolVersion::parse;
        let plain = read(b"\0\x03\0\0\0\0\0\0").unwrap();
        assert_eq!((plain.version.to_string().as_str(), plain.unknown_option), ("3.0", None));
        let option = read(b"\0\x03\0\x02\0\0\0\x01_pq_.x\0").unwrap();
        assert_eq!(
            (option.version, option.unknown_option),
            (ProtocolVersion::V3_2, Some("_pq_.x"))
        );
        let wrong = [
            &b"\0\x03\0\0"[..],
            b"\0\x03\0\0\xff\xff\xff\xff",
            b"\0\x03\0\0\0\0\0\x01x",
            b"\0\x03\0\0\0\0\0\0x",
        ];
        for wrong in wrong {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_s_and_n_answer_an_ssl_request() {
        for byte in 0..=u8::MAX {
            let answer = SslResponse::parse(byte);
            assert_eq!(answer.is_ok(), matches!(byte, b'S' | b'N'), "{byte}");
        }
    }
}
