//! TLS to a server, with the choices that libpq makes.
//!
//! ```text
//!   Config ── files ──> Tls ── start(tcp) ──> TlsStream, and the server's certificate
//!                        └─ verifier, names: is this the server that we meant?
//! ```
//!
//! rustls does the work. Not here: whether TLS is tried at all, and in which order
//! (`encryption`), and what ties a login to the certificate (`auth`'s channel binding).

mod error;
mod files;
mod identity;
mod names;
mod verifier;

use std::{io, sync::Arc};

pub use error::{CertificateError, TlsError};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Error;
use crate::{
    config::{Config, Host, HostAddress, SslMode, SslNegotiation, TlsVersion},
    wire::ALPN_PROTOCOL,
};
use verifier::{Checks, Verifier};

/// How TLS is spoken to one host.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    /// For SNI alone; the certificate's names are compared by the verifier.
    name: ServerName<'static>,
    negotiation: SslNegotiation,
}

impl Tls {
    /// Reads the files that the settings name.
    ///
    /// Errors: one is missing, can't be read, or is open to others.
    pub(super) fn load(config: &Config, host: &Host) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let host_name = match &host.address {
            HostAddress::Tcp { host, .. } => host.as_str(),
            HostAddress::Unix(_) => "",
        };
        let roots = files::roots(config)?;
        let checks = match (&roots, config.sslmode) {
            (None, _) => Checks::Nothing,
            (Some(_), SslMode::VerifyFull) => Checks::ChainAndName(host_name.to_owned()),
            // Roots that are there are used, whatever the mode: libpq's "backward compatibility".
            (Some(_), _) => Checks::Chain,
        };
        let verifier = Verifier {
            checks,
            roots: roots.unwrap_or_default(),
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(config))
            .map_err(|error| TlsError::Settings(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut client = match files::identity(config)? {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => builder.with_client_cert_resolver(Arc::new(
                identity::shown(certificates, key, &provider).map_err(|problem| {
                    TlsError::Settings(format!("the client certificate: {problem}"))
                })?,
            )),
        };
        client.alpn_protocols = vec![ALPN_PROTOCOL.to_vec()];
        let name = sni(config, host_name);
        client.enable_sni = name.is_some();
        Ok(Self {
            config: Arc::new(client),
            name: name.unwrap_or_else(|| ServerName::from(std::net::Ipv4Addr::UNSPECIFIED)),
            negotiation: config.sslnegotiation,
        })
    }

    /// Whether TLS begins without asking first.
    pub(super) fn is_direct(&self) -> bool {
        self.negotiation == SslNegotiation::Direct
    }

    /// The handshake.
    ///
    /// Errors: it fails, the certificate is refused, or the server answers as no Postgres.
    pub(super) async fn start(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, TlsError> {
        let connector = TlsConnector::from(self.config.clone());
        let stream = connector.connect(self.name.clone(), tcp).await.map_err(handshake_error)?;
        // rustls has refused any protocol but ours; servers before 17 name none.
        if self.is_direct() && stream.get_ref().1.alpn_protocol().is_none() {
            return Err(TlsError::NoAlpn);
        }
        Ok(stream)
    }
}

/// The server's certificate, in DER.
pub(super) fn server_certificate(stream: &TlsStream<TcpStream>) -> Option<&[u8]> {
    stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
}

/// The name that is sent in the open: never an address, as libpq.
fn sni(config: &Config, host: &str) -> Option<ServerName<'static>> {
    if !config.sslsni {
        return None;
    }
    match ServerName::try_from(host.to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Some(name),
        _ => None,
    }
}

fn versions(config: &Config) -> Vec<&'static rustls::SupportedProtocolVersion> {
    let all =
        [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    all.into_iter()
        .filter(|(version, _)| {
            *version >= config.tls_min && config.tls_max.is_none_or(|max| *version <= max)
        })
        .map(|(_, version)| version)
        .collect()
}

/// An error of a socket in mid-session. With TLS 1.3 a server looks at our certificate only after
/// the handshake, so that its no can come as late as this.
pub(super) fn or_io(error: io::Error) -> Error {
    match error.get_ref() {
        Some(inner) if inner.is::<rustls::Error>() => handshake_error(error).into(),
        _ => error.into(),
    }
}

/// What tokio-rustls wraps: rustls's verdict, ours within it, or the socket's own error.
fn handshake_error(error: io::Error) -> TlsError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
            match other.0.downcast_ref::<CertificateError>() {
                Some(ours) => ours.clone().into(),
                None => TlsError::Handshake(other.to_string()),
            }
        }
        Some(rustls) => TlsError::Handshake(rustls.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            TlsError::Handshake("the server closed the connection".to_owned())
        }
        None => TlsError::Handshake(error.to_string()),
    }
}
