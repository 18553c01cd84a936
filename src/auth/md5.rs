//! The old salted hash. It hides the password from a listener, and little more: whoever has the
//! server's stored hash can log in with it, and a listener can guess offline.
//!
//! `"md5" + hex(md5(hex(md5(password + user)) + salt))`, as libpq's `pg_md5_encrypt`.

use md5::{Digest, Md5};

/// How many bytes of salt an AuthenticationMD5Password brings.
pub(super) const SALT_BYTES: usize = 4;

/// The text that answers AuthenticationMD5Password.
pub(super) fn response(user: &str, password: &[u8], salt: &[u8]) -> String {
    let stored = hex(&[password, user.as_bytes()]);
    let salted = hex(&[stored.as_bytes(), salt]);
    format!("md5{salted}")
}

/// The digest of the pieces one after the other, in hexadecimal.
fn hex(pieces: &[&[u8]]) -> String {
    let mut digest = Md5::new();
    for piece in pieces {
        digest.update(piece);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_the_one_that_a_server_accepted() {
        assert_eq!(
            response("md5_user", b"password", &[0x2a, 0x3d, 0x8f, 0xe0]),
            "md562af4dd09bbb41884907a838a3233294"
        );
    }
}
