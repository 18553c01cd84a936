//! `tls-server-end-point`: what ties a login to the TLS channel it runs in.
//!
//! The binding is the hash of the server's certificate, by the hash function of the certificate's
//! own signature (RFC 5929, section 4.1); libpq's `pgtls_get_peer_certificate_hash`. To find that
//! function, the certificate is walked just far enough to see its signature's algorithm. This is
//! no parser of certificates, and it checks nothing about them: that is the work of TLS.
//!
//! ```text
//! Certificate         ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm, BIT STRING }
//! AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }
//! RSASSA-PSS-params   ::= SEQUENCE { [0] hashAlgorithm AlgorithmIdentifier DEFAULT sha1, .. }
//! ```

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::wire::{Reader, WireError};

/// Why a certificate has no channel binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelBindingError {
    /// The bytes are no DER certificate.
    #[error("the server's certificate can't be read")]
    Malformed(#[from] WireError),
    /// The signature's algorithm comes without a hash function of its own (Ed25519, Ed448), or with
    /// one that is not known here. RFC 5929 leaves the binding undefined, and Postgres fails there.
    #[error("the server's certificate is signed in a way that has no channel binding")]
    NoHash,
}

/// The channel binding for the server's certificate, in DER as it came in the TLS handshake.
///
/// Safe to call on untrusted bytes.
pub fn tls_server_end_point(certificate: &[u8]) -> Result<Vec<u8>, ChannelBindingError> {
    let hash = signature_hash(certificate)?;
    Ok(match hash {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// A hash function that a channel binding can be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Object identifiers as DER has them, after tag and length. MD5 and SHA-1 are replaced by SHA-256,
/// as RFC 5929 says.
const SIGNATURES: [(&[u8], Hash); 15] = [
    // 1.2.840.113549.1.1: md5, sha1, sha256, sha384, sha512, sha224 WithRSAEncryption
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", Hash::Sha256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", Hash::Sha256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", Hash::Sha256),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c", Hash::Sha384),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d", Hash::Sha512),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e", Hash::Sha224),
    // 1.2.840.10045.4: ecdsa-with-SHA1, then 3.1 to 3.4: SHA224, SHA256, SHA384, SHA512
    (b"\x2a\x86\x48\xce\x3d\x04\x01", Hash::Sha256),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x01", Hash::Sha224),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x02", Hash::Sha256),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x03", Hash::Sha384),
    (b"\x2a\x86\x48\xce\x3d\x04\x03\x04", Hash::Sha512),
    // 1.2.840.10040.4.3: dsa-with-sha1; 2.16.840.1.101.3.4.3.1, .2: dsa-with-sha224, sha256
    (b"\x2a\x86\x48\xce\x38\x04\x03", Hash::Sha256),
    (b"\x60\x86\x48\x01\x65\x03\x04\x03\x01", Hash::Sha224),
    (b"\x60\x86\x48\x01\x65\x03\x04\x03\x02", Hash::Sha256),
    // 1.2.840.113549.1.1.2: md2WithRSAEncryption; as broken as MD5, and treated alike
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02", Hash::Sha256),
];

/// 1.2.840.113549.1.1.10: RSASSA-PSS, whose hash function is one of its parameters.
const RSASSA_PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";

const HASHES: [(&[u8], Hash); 6] = [
    // 1.2.840.113549.2.5: md5; 1.3.14.3.2.26: sha1
    (b"\x2a\x86\x48\x86\xf7\x0d\x02\x05", Hash::Sha256),
    (b"\x2b\x0e\x03\x02\x1a", Hash::Sha256),
    // 2.16.840.1.101.3.4.2.1 to 4: sha256, sha384, sha512, sha224
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x01", Hash::Sha256),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x02", Hash::Sha384),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x03", Hash::Sha512),
    (b"\x60\x86\x48\x01\x65\x03\x04\x02\x04", Hash::Sha224),
];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0]`, constructed and context-specific: a PSS signature's hash algorithm.
const HASH_ALGORITHM: u8 = 0xa0;

fn signature_hash(certificate: &[u8]) -> Result<Hash, ChannelBindingError> {
    let mut outer = Reader::new(certificate);
    let mut fields = Reader::new(element(&mut outer, SEQUENCE, "certificate")?);
    element(&mut fields, SEQUENCE, "tbsCertificate")?;
    let mut algorithm = Reader::new(element(&mut fields, SEQUENCE, "signatureAlgorithm")?);
    let oid = element(&mut algorithm, OBJECT_IDENTIFIER, "algorithm")?;
    if oid == RSASSA_PSS {
        return pss_hash(algorithm);
    }
    find(&SIGNATURES, oid)
}

/// The hash function in the parameters of RSASSA-PSS; left out, it is SHA-1 (RFC 4055, 3.1).
fn pss_hash(mut parameters: Reader<'_>) -> Result<Hash, ChannelBindingError> {
    let mut fields = Reader::new(element(&mut parameters, SEQUENCE, "RSASSA-PSS-params")?);
    if fields.rest().first() != Some(&HASH_ALGORITHM) {
        return Ok(Hash::Sha256);
    }
    let mut hash = Reader::new(element(&mut fields, HASH_ALGORITHM, "hashAlgorithm")?);
    let mut algorithm = Reader::new(element(&mut hash, SEQUENCE, "hashAlgorithm")?);
    find(&HASHES, element(&mut algorithm, OBJECT_IDENTIFIER, "algorithm")?)
}

fn find(table: &[(&[u8], Hash)], oid: &[u8]) -> Result<Hash, ChannelBindingError> {
    table
        .iter()
        .find(|(known, _)| *known == oid)
        .map(|(_, hash)| *hash)
        .ok_or(ChannelBindingError::NoHash)
}

/// The content of the next element, which must have this tag.
fn element<'a>(
    reader: &mut Reader<'a>,
    tag: u8,
    field: &'static str,
) -> Result<&'a [u8], WireError> {
    if reader.u8(field)? != tag {
        return Err(WireError::Invalid(field));
    }
    let length = element_length(reader, field)?;
    reader.bytes(length, field)
}

/// A DER length: below 128 one byte, else the number of bytes that follow, then those.
///
/// Certificates are shorter than 2^24, so three bytes will do; and DER has no other forms.
fn element_length(reader: &mut Reader<'_>, field: &'static str) -> Result<usize, WireError> {
    let first = reader.u8(field)?;
    let bytes = match first {
        0..=0x7f => return Ok(usize::from(first)),
        0x81..=0x83 => reader.bytes(usize::from(first & 0x7f), field)?,
        _ => return Err(WireError::Invalid(field)),
    };
    Ok(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests;
