//! Which release a server is.

use std::fmt;

/// A server's release in the form of `server_version_num`: 150018 is 15.18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(u32);

impl ServerVersion {
    /// The oldest release pghost works with.
    pub const OLDEST: Self = Self(140_000);

    /// From `server_version_num`.
    #[must_use]
    pub const fn from_num(num: u32) -> Self {
        Self(num)
    }

    /// From the `server_version` parameter, whose tail distributions extend freely
    /// (`15.18 (Debian 15.18-0+deb12u1)`, `18beta1`).
    #[must_use]
    pub fn from_parameter(text: &str) -> Option<Self> {
        let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
        let major = digits(text);
        let minor = text.strip_prefix(&major)?.strip_prefix('.').map(digits).unwrap_or_default();
        let major: u32 = major.parse().ok().filter(|m| (10..1000).contains(m))?;
        Some(Self(major * 10_000 + minor.parse().unwrap_or(0)))
    }

    /// The major release, for example 15.
    #[must_use]
    pub const fn major(self) -> u32 {
        self.0 / 10_000
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.0 % 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_servers_report() {
        for (text, major, shown) in [
            ("15.18 (Debian 15.18-0+deb12u1)", 15, "15.18"),
            ("18.4", 18, "18.4"),
            ("19devel", 19, "19.0"),
            ("18beta1", 18, "18.0"),
        ] {
            let version = ServerVersion::from_parameter(text).unwrap();
            assert_eq!((version.major(), version.to_string().as_str()), (major, shown));
        }
        assert_eq!(ServerVersion::from_parameter("x"), None);
        assert_eq!(ServerVersion::from_parameter("9.6.1"), None);
        assert!(ServerVersion::from_num(140_023) >= ServerVersion::OLDEST);
    }
}
