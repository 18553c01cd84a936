//! Whether a server's certificate is to be trusted: libpq's answer, reached by webpki.
//!
//! webpki walks the chain. It is stricter than OpenSSL in two ways that matter here, because
//! Postgres's own documentation shows how to make such certificates
//! (<https://www.postgresql.org/docs/18/ssl-tcp.html#SSL-CERTIFICATE-CREATION>): a self-signed
//! certificate that serves as its own root, and one without extensions, which is of X.509's first
//! version. The first is taken when it stands among the roots itself, the second when a root has
//! signed it directly, see [`direct`].
//!
//! Pure: files are read elsewhere, and the time is handed in. Not here: whether the names fit
//! (`names`), and what ties a login to the certificate (`auth`'s channel binding).

use std::{fmt, sync::Arc};

use rustls::{
    DigitallySignedStruct, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage, RawPublicKeyEntity, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, x509::X509Version};

use super::{error::CertificateError, names::Names};

/// What is checked of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    /// Nothing: the connection is private, but with whom is not known.
    Nothing,
    /// That a trusted root vouches for it.
    Chain,
    /// The same, and that it names this host.
    ChainAndName(String),
}

/// The trusted roots, in DER.
#[derive(Clone, Default)]
pub(super) struct Roots {
    certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.certificates.len())
    }
}

impl Roots {
    /// Those of the certificates that can serve as roots, and how many can't.
    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> (Self, usize) {
        let given = certificates.len();
        let usable = |root: &CertificateDer<'_>| anchor_from_trusted_cert(root).is_ok();
        let certificates: Vec<_> = certificates.into_iter().filter(usable).collect();
        let unusable = given - certificates.len();
        (Self { certificates }, unusable)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Those whose time it is. webpki does not ask that of a root; OpenSSL does.
    fn valid(&self, now: UnixTime) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.certificates.iter().filter(move |root| {
            parse(root).is_ok_and(|root| check_dates(&root, now, "the root").is_ok())
        })
    }
}

/// Checks a server's certificate as the settings say.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) checks: Checks,
    pub(super) roots: Roots,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let parsed = parse(certificate)?;
        match &self.checks {
            Checks::Nothing => Ok(()),
            Checks::Chain => self.chain(certificate, &parsed, intermediates, now),
            Checks::ChainAndName(host) => {
                self.chain(certificate, &parsed, intermediates, now)?;
                let names = Names::of(&parsed);
                if host.is_empty() {
                    return Err(CertificateError::NoHost);
                }
                if names.match_host(host) {
                    return Ok(());
                }
                Err(CertificateError::WrongName { host: host.clone(), names: names.describe() })
            }
        }
    }

    fn chain(
        &self,
        certificate: &CertificateDer<'_>,
        parsed: &X509Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let roots: Vec<_> = self.roots.valid(now).collect();
        let is_pinned = roots.iter().any(|root| root.as_ref() == certificate.as_ref());
        if is_pinned && parsed.subject().as_raw() == parsed.issuer().as_raw() {
            return serves(parsed, now);
        }
        let issuers: Vec<_> = roots.into_iter().filter(|root| may_issue(root)).collect();
        let anchors: Vec<TrustAnchor<'_>> =
            issuers.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
        let verified = EndEntityCert::try_from(certificate).and_then(|end_entity| {
            end_entity
                .verify_for_usage(
                    self.algorithms.all,
                    &anchors,
                    intermediates,
                    now,
                    KeyUsage::server_auth(),
                    None,
                    None,
                )
                .map(drop)
        });
        match verified {
            Ok(()) => Ok(()),
            Err(webpki::Error::CaUsedAsEndEntity | webpki::Error::UnsupportedCertVersion) => {
                direct(parsed, &issuers, self.algorithms, now)
            }
            Err(error) => Err(CertificateError::Untrusted(why(&error))),
        }
    }
}

/// Whether a root's word counts for others: a certificate that was put among the roots to be
/// trusted itself must not be able to vouch for anybody else. X.509's first version can't say so;
/// OpenSSL believes it if it is self-signed.
fn may_issue(root: &CertificateDer<'_>) -> bool {
    let Ok(root) = parse(root) else { return false };
    if root.version() != X509Version::V3 {
        return root.subject().as_raw() == root.issuer().as_raw();
    }
    let is_authority = matches!(root.basic_constraints(), Ok(Some(found)) if found.value.ca);
    let may_sign = match root.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.key_cert_sign()),
        Err(_) => false,
    };
    is_authority && may_sign
}

/// Whether a certificate that is trusted is one for a server, today.
fn serves(parsed: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let untrusted = |why: &str| Err(CertificateError::Untrusted(why.to_owned()));
    check_dates(parsed, now, "it")?;
    if let Ok(Some(usage)) = parsed.extended_key_usage()
        && !(usage.value.server_auth || usage.value.any)
    {
        return untrusted("it is not meant for servers");
    }
    if parsed.extensions().iter().any(|e| e.critical && e.parsed_extension().unsupported()) {
        return untrusted("it has a critical extension that is not known here");
    }
    Ok(())
}

/// Takes a certificate that a root has signed without anybody in between, whatever webpki thinks
/// of its form. (One that an intermediate has signed stays refused.)
fn direct(
    parsed: &X509Certificate<'_>,
    roots: &[&CertificateDer<'static>],
    algorithms: WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), CertificateError> {
    serves(parsed, now)?;
    for root in roots {
        let root = parse(root)?;
        // A root whose word counts only for some names is for webpki to judge.
        let is_limited = !matches!(root.name_constraints(), Ok(None));
        let is_issuer = root.subject().as_raw() == parsed.issuer().as_raw();
        if is_issuer && !is_limited && has_signed(&root, parsed, algorithms) {
            return Ok(());
        }
    }
    Err(CertificateError::Untrusted("no trusted root has signed it".to_owned()))
}

/// Whether the root's key made the certificate's signature.
fn has_signed(
    root: &X509Certificate<'_>,
    certificate: &X509Certificate<'_>,
    algorithms: WebPkiSupportedAlgorithms,
) -> bool {
    let key = SubjectPublicKeyInfoDer::from(root.public_key().raw);
    let Ok(key) = RawPublicKeyEntity::try_from(&key) else {
        return false;
    };
    let said = &certificate.signature_algorithm;
    algorithms.all.iter().any(|algorithm| {
        // The DER of an AlgorithmIdentifier begins with its OID, which must be the one that the
        // certificate names.
        let oid = said.algorithm.as_bytes();
        let named = algorithm.signature_alg_id();
        named.as_ref().get(2..).is_some_and(|rest| rest.starts_with(oid))
            && key
                .verify_signature(
                    *algorithm,
                    certificate.tbs_certificate.as_ref(),
                    &certificate.signature_value.data,
                )
                .is_ok()
    })
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(CertificateError::Malformed),
    }
}

fn check_dates(
    certificate: &X509Certificate<'_>,
    now: UnixTime,
    what: &str,
) -> Result<(), CertificateError> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::Untrusted(format!("{what} is not valid yet")));
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Untrusted(format!("{what} has expired")));
    }
    Ok(())
}

/// webpki's verdict in words; the rest are rare enough for its own names.
fn why(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnknownIssuer => {
            "no trusted root (sslrootcert) that is valid today has signed it".to_owned()
        }
        webpki::Error::CertExpired { .. } => "it has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "it is not valid yet".to_owned(),
        webpki::Error::RequiredEkuNotFoundContext(_) => "it is not meant for servers".to_owned(),
        other => format!("{other:?}"),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>, // Only for SNI: it can't hold all that libpq takes.
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.check(end_entity, intermediates, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(rustls::CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }

    /// By the certificate's key alone: whether the certificate is trusted was asked before, and
    /// rustls's own would refuse some forms that were taken.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = rustls::CertificateError::BadEncoding;
        let parsed = parse(certificate).map_err(|_| bad.clone())?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| bad)?;
        let schemes = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let candidates = schemes.map_or(&[][..], |(_, algorithms)| algorithms);
        // TLS 1.2 names ECDSA without a curve, so that there can be several.
        if candidates.iter().any(|a| key.verify_signature(*a, message, signed.signature()).is_ok())
        {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(rustls::CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = rustls::CertificateError::BadEncoding;
        let parsed = parse(certificate).map_err(|_| bad)?;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
