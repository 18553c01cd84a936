//! A password that can't be printed by accident.

use std::fmt;

/// A password: bytes, because a password file may hold any, and a role's password may be no UTF-8.
///
/// `Debug` and `Display` show a mask; only [`Password::reveal`] gives the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Keeps these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The password itself, for the authentication exchange.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let password = Password::new("geheim");
        assert_eq!(
            format!("{password} {password:?} {password:#?}"),
            "*** Password(***) Password(***)"
        );
        assert_eq!(password.reveal(), b"geheim");
    }
}
