//! Positions in the write-ahead log.

use std::{fmt, str::FromStr};

/// A byte position in the write-ahead log, written `16/B374D848`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`, which no record has: Postgres's `InvalidXLogRecPtr`.
    pub const INVALID: Self = Self(0);

    /// How many bytes of log lie between `earlier` and this position; 0 if it is not earlier.
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a position of the form `hex/hex`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLsnError(String);

impl fmt::Display for ParseLsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a WAL position such as 16/B374D848", self.0)
    }
}

impl std::error::Error for ParseLsnError {}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    /// As `pg_lsn_in` reads it: one to eight hexadecimal digits on each side of one slash.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |s: &str| {
            let hex = (1..=8).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u64::from_str_radix(s, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(half(high)? << 32 | half(low)?)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_as_the_server_does() {
        for (value, text) in [
            (Lsn(0), "0/0"),
            (Lsn(0x16_B374_D848), "16/B374D848"),
            (Lsn(u64::MAX), "FFFFFFFF/FFFFFFFF"),
        ] {
            assert_eq!(value.to_string(), text);
            assert_eq!(text.parse(), Ok(value));
        }
        assert_eq!("a/b".parse(), Ok(Lsn(0xA_0000_000B)));
    }

    #[test]
    fn refuses_what_the_server_refuses() {
        for text in ["", "/", "0", "0/", "/0", "0/0/0", "+1/0", "123456789/0", "g/0", " 0/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }
}
