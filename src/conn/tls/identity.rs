//! The certificate that is shown to a server which asks for one.
//!
//! rustls would look it through as it does a server's, and refuse what it would not take from one,
//! such as a certificate of X.509's first version: `openssl x509 -req` makes those, and libpq shows
//! them. Whether it will do is for the server to say. Here it is only made sure that the key is its
//! own, as OpenSSL does it (`SSL_CTX_check_private_key`).

use std::sync::Arc;

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};
use x509_parser::parse_x509_certificate;

/// What to show.
///
/// Errors, as text: the key is of a kind that is not known, or another certificate's.
pub(super) fn shown(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<SingleCertAndKey, String> {
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    let own = certificates.first().ok_or("there is none")?;
    check_key(own, &*key)?;
    Ok(SingleCertAndKey::from(Arc::new(CertifiedKey::new(certificates, key))))
}

fn check_key(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> Result<(), String> {
    let (_, certificate) =
        parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    match key.public_key() {
        Some(public) if public.as_ref() != certificate.public_key().raw => {
            Err("the private key is another certificate's".to_owned())
        }
        _ => Ok(()),
    }
}
