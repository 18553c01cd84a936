//! With TLS or without, and which of them first.
//!
//! Pure. As libpq's `init_allowed_encryption_methods` and `select_next_encryption_method`
//! (`fe-connect.c`), less GSSAPI:
//!
//! | sslmode | over a unix socket | over TCP |
//! |---|---|---|
//! | disable | plain | plain |
//! | allow | plain | plain, then TLS |
//! | prefer | plain | TLS, then plain |
//! | require, verify-ca, verify-full | plain | TLS |

use crate::config::SslMode;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    /// Not at all.
    Plain,
    /// By TLS.
    Tls,
}

/// What to try, one connection each, until a server lets us in.
pub(super) const fn attempts(sslmode: SslMode, is_unix: bool) -> &'static [Encryption] {
    use Encryption::{Plain, Tls};
    match sslmode {
        _ if is_unix => &[Plain],
        SslMode::Disable => &[Plain],
        SslMode::Allow => &[Plain, Tls],
        SslMode::Prefer => &[Tls, Plain],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Tls],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_modes_never_go_without_tls_over_tcp() {
        for mode in [SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull] {
            assert_eq!(attempts(mode, false), [Encryption::Tls]);
        }
        assert_eq!(attempts(SslMode::Disable, false), [Encryption::Plain]);
        assert_eq!(attempts(SslMode::Allow, false), [Encryption::Plain, Encryption::Tls]);
        assert_eq!(attempts(SslMode::Prefer, false), [Encryption::Tls, Encryption::Plain]);
    }

    #[test]
    fn unix_sockets_are_never_encrypted() {
        for mode in [SslMode::Disable, SslMode::Prefer, SslMode::VerifyFull] {
            assert_eq!(attempts(mode, true), [Encryption::Plain]);
        }
    }
}
