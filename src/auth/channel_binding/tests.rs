//! Certificates of every kind of signature that OpenSSL 3.0 makes for a server, and damaged ones.
//!
//! Made by `openssl req -x509 -nodes -days 36500 -subj /CN=localhost -outform DER` with `-newkey`,
//! the digest and, for PSS, `-sigopt rsa_padding_mode:pss`; their keys were thrown away.

use super::*;

macro_rules! certificate {
    ($name:literal) => {
        &include_bytes!(concat!("../testdata/", $name, ".der"))[..]
    };
}

#[test]
fn the_hash_is_that_of_the_signature_and_never_weaker_than_sha_256() {
    let cases = [
        ("RSA, MD5", certificate!("rsa-md5"), Hash::Sha256),
        ("RSA, SHA-1", certificate!("rsa-sha1"), Hash::Sha256),
        ("RSA, SHA-224", certificate!("rsa-sha224"), Hash::Sha224),
        ("RSA, SHA-256", certificate!("rsa-sha256"), Hash::Sha256),
        ("RSA, SHA-512", certificate!("rsa-sha512"), Hash::Sha512),
        ("PSS, SHA-1", certificate!("pss-sha1"), Hash::Sha256),
        ("PSS, SHA-256", certificate!("pss-sha256"), Hash::Sha256),
        ("PSS, SHA-384", certificate!("pss-sha384"), Hash::Sha384),
        ("ECDSA, SHA-256", certificate!("ecdsa-sha256"), Hash::Sha256),
        ("ECDSA, SHA-384", certificate!("ecdsa-sha384"), Hash::Sha384),
        ("ECDSA, SHA-512", certificate!("ecdsa-sha512"), Hash::Sha512),
    ];
    for (name, certificate, expected) in cases {
        assert_eq!(signature_hash(certificate), Ok(expected), "{name}");
    }
}

#[test]
fn the_binding_is_the_hash_of_the_whole_certificate() {
    let cases = [
        (certificate!("rsa-sha224"), 28),
        (certificate!("rsa-sha256"), 32),
        (certificate!("ecdsa-sha384"), 48),
        (certificate!("rsa-sha512"), 64),
    ];
    for (certificate, bytes) in cases {
        assert_eq!(tls_server_end_point(certificate).unwrap().len(), bytes);
    }
    // As `openssl dgst -sha384` has it; PostgreSQL 15 took it in a login.
    let binding = tls_server_end_point(certificate!("recorded-ecdsa-sha384")).unwrap();
    let hex: String = binding.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "1da568fce5d3a8466fff37d61b4c6864add32c091b481075\
         eaca22d0f2894104a16383a5aa9f8ef4f31a39f67edadf99"
    );
}

#[test]
fn a_signature_without_a_hash_has_no_binding() {
    let error = tls_server_end_point(certificate!("ed25519"));
    assert_eq!(error, Err(ChannelBindingError::NoHash));
}

#[test]
fn what_is_no_certificate_is_refused() {
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("text", b"-----BEGIN CERTIFICATE-----"),
        ("an empty sequence", b"\x30\x00"),
        ("a length without end", b"\x30\x80\x30\x00\x00\x00"),
        ("a length of four bytes", b"\x30\x84\x00\x00\x00\x01\x00"),
        ("a length beyond the end", b"\x30\x82\xff\xff\x30"),
    ] {
        let error = tls_server_end_point(bytes);
        assert!(matches!(error, Err(ChannelBindingError::Malformed(_))), "{name}: {error:?}");
    }
}

#[test]
fn cut_and_damaged_certificates_never_panic() {
    for certificate in [certificate!("pss-sha384"), certificate!("ecdsa-sha256")] {
        for length in 0..certificate.len() {
            let cut = certificate.get(..length).unwrap();
            assert!(matches!(signature_hash(cut), Err(ChannelBindingError::Malformed(_))));
        }
        for place in 0..certificate.len() {
            for byte in [0, 1, 0x30, 0x7f, 0x80, 0x83, 0xa0, 0xff] {
                let mut damaged = certificate.to_vec();
                damaged[place] = byte;
                let _ = tls_server_end_point(&damaged);
            }
        }
    }
}
