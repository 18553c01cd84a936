//! SASLprep: one password, however it was typed.
//!
//! RFC 4013, with the exception that libpq and the server make (`pg_saslprep` in
//! `src/common/saslprep.c`): a password that is no UTF-8, or that holds what SASLprep prohibits,
//! is used as it is. So is one of which nothing would be left.

use std::borrow::Cow;

/// The bytes that go into PBKDF2.
pub(super) fn prepare(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password).map(stringprep::saslprep) {
        Ok(Ok(prepared)) if !prepared.is_empty() => match prepared {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
        _ => Cow::Borrowed(password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_prepared_as_the_rfc_and_the_server_do() {
        // The first five are RFC 4013, section 3.
        let cases: [(&str, &[u8], &[u8]); 10] = [
            ("soft hyphen mapped to nothing", "I\u{ad}X".as_bytes(), b"IX"),
            ("no transformation", b"user", b"user"),
            ("case preserved", b"USER", b"USER"),
            ("NFKC of an ordinal", "\u{aa}".as_bytes(), b"a"),
            ("NFKC of a roman numeral", "\u{2168}".as_bytes(), b"IX"),
            ("prohibited: as it is", b"\x07", b"\x07"),
            ("both directions: as it is", "\u{627}1".as_bytes(), "\u{627}1".as_bytes()),
            ("no UTF-8: as it is", b"\xff\xc2", b"\xff\xc2"),
            ("a space of another kind", "a\u{a0}b".as_bytes(), b"a b"),
            ("nothing left: as it is", "\u{ad}".as_bytes(), "\u{ad}".as_bytes()),
        ];
        for (name, typed, prepared) in cases {
            assert_eq!(prepare(typed), prepared, "{name}");
        }
    }
}
