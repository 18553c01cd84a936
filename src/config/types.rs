//! The values that connection parameters can take.

use std::path::PathBuf;
use std::time::Duration;

/// A parameter whose value is one word of a list.
pub(super) trait Word: Sized + Copy + 'static {
    /// All words with their meaning.
    const WORDS: &'static [(&'static str, Self)];

    /// The meaning of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
    }

    /// The list, for errors.
    fn words() -> String {
        let words: Vec<_> = Self::WORDS.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }
}

macro_rules! words {
    ($type:ident: $($word:literal => $meaning:ident),+ $(,)?) => {
        impl Word for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$meaning)),+];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let word = Self::WORDS.iter().find(|(_, meaning)| meaning == self);
                f.write_str(word.map_or("", |(word, _)| word))
            }
        }
    };
}

/// Whether and how strictly TLS is used, from the weakest to the strictest.
///
/// <https://www.postgresql.org/docs/18/libpq-ssl.html#LIBPQ-SSL-PROTECTION>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Without first; with, if the server wants that.
    Allow,
    /// With first; without, if that fails. libpq's default.
    #[default]
    Prefer,
    /// Always; the certificate is checked only when there is a file of root certificates.
    Require,
    /// Always, and the certificate must be signed by a root that is trusted.
    VerifyCa,
    /// The same, and the certificate must name the host.
    VerifyFull,
}

words!(SslMode:
    "disable" => Disable,
    "allow" => Allow,
    "prefer" => Prefer,
    "require" => Require,
    "verify-ca" => VerifyCa,
    "verify-full" => VerifyFull,
);

impl SslMode {
    /// Whether a connection without TLS is impossible; libpq calls the others weak.
    #[must_use]
    pub fn is_always_encrypted(self) -> bool {
        self >= Self::Require
    }
}

/// How TLS is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SslNegotiation {
    /// By an SSLRequest, which the server answers with one byte.
    #[default]
    Postgres,
    /// At once, with ALPN `postgresql`; servers from 17 on.
    Direct,
}

words!(SslNegotiation: "postgres" => Postgres, "direct" => Direct);

/// The root certificates that a server's certificate is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    /// Those of the operating system; only with [`SslMode::VerifyFull`].
    System,
    /// Those of a file. When it does not exist, [`SslMode::VerifyCa`] and
    /// [`SslMode::VerifyFull`] fail and the other modes do not check the certificate; when it
    /// does, [`SslMode::Require`] checks like [`SslMode::VerifyCa`].
    File(PathBuf),
    /// None was named and there is no home directory to look in.
    None,
}

/// Whether a client certificate is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SslCertMode {
    /// Never, even if there is one.
    Disable,
    /// When the server asks and there is one.
    #[default]
    Allow,
}

words!(SslCertMode: "disable" => Disable, "allow" => Allow);

/// A version of TLS that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// A version of the frontend/backend protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtocolVersion {
    /// 3.0: every server.
    V3_0,
    /// 3.2: servers from 18 on; longer cancel keys.
    V3_2,
}

// libpq's pqParseProtocolVersion (fe-connect.c); there is no 3.1.
words!(ProtocolVersion: "3.0" => V3_0, "3.2" => V3_2, "latest" => V3_2);

/// Whether SCRAM is bound to the TLS channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// When the server offers it.
    #[default]
    Prefer,
    /// Always; every other way to log in is refused.
    Require,
}

words!(ChannelBinding: "disable" => Disable, "prefer" => Prefer, "require" => Require);

/// What kind of server will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetSessionAttrs {
    /// Any that lets us in.
    #[default]
    Any,
    /// One whose sessions can write.
    ReadWrite,
    /// One whose sessions can't write.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

words!(TargetSessionAttrs:
    "any" => Any,
    "read-write" => ReadWrite,
    "read-only" => ReadOnly,
    "primary" => Primary,
    "standby" => Standby,
    "prefer-standby" => PreferStandby,
);

impl TargetSessionAttrs {
    /// Whether it depends on what the server lets sessions do by default.
    #[must_use]
    pub const fn asks_for_writing(self) -> bool {
        matches!(self, Self::ReadWrite | Self::ReadOnly)
    }
}

/// In which order several hosts are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LoadBalanceHosts {
    /// As they were given.
    #[default]
    Disable,
    /// Shuffled, and so are the addresses of each.
    Random,
}

words!(LoadBalanceHosts: "disable" => Disable, "random" => Random);

/// TCP keepalive; what is `None` is left to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalives {
    /// Whether it is on; libpq's default is that it is.
    pub enabled: bool,
    /// How long a silence lasts before the first probe.
    pub idle: Option<Duration>,
    /// How long after an unanswered probe the next one is sent.
    pub interval: Option<Duration>,
    /// How many unanswered probes end the connection.
    pub count: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_what_it_prints() {
        for (word, mode) in SslMode::WORDS {
            assert_eq!(SslMode::from_word(&mode.to_string()), Some(*mode));
            assert_eq!(mode.to_string(), *word);
        }
        assert_eq!(SslMode::from_word("Require"), None);
        assert_eq!(SslMode::from_word(""), None);
        assert_eq!(LoadBalanceHosts::words(), "disable, random");
    }

    #[test]
    fn only_the_strict_modes_are_always_encrypted() {
        let strict: Vec<_> = SslMode::WORDS
            .iter()
            .filter(|(_, mode)| mode.is_always_encrypted())
            .map(|(word, _)| *word)
            .collect();
        assert_eq!(strict, ["require", "verify-ca", "verify-full"]);
    }
}
