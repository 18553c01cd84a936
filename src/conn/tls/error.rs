//! What can go wrong with TLS, before the session's first word.

use std::{io, path::PathBuf};

/// A TLS session that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server does without TLS, and we don't.
    #[error("the server does not speak TLS, which sslmode={sslmode} asks for")]
    NotOffered {
        /// The mode.
        sslmode: String,
    },
    /// The server answered the request for TLS with something else than yes or no. What it said
    /// is not shown: nobody vouches for it.
    #[error("the server answers the request for TLS with neither yes nor no")]
    Answer,
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// The server's certificate is not to be trusted.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// With sslnegotiation=direct, nothing says that it is Postgres that we talk to.
    #[error(
        "the server did not agree to speak Postgres's protocol in TLS (ALPN); \
         sslnegotiation=direct needs a server of Postgres 17 or later"
    )]
    NoAlpn,
    /// The root certificates are missing and wanted.
    #[error(
        "the root certificate file {} does not exist, and sslmode={sslmode} needs it; put it \
         there, name another by sslrootcert, or use sslrootcert=system for the system's roots",
        path.display()
    )]
    NoRoots {
        /// The file.
        path: PathBuf,
        /// The mode.
        sslmode: String,
    },
    /// No file of root certificates can be found.
    #[error(
        "sslmode={sslmode} needs root certificates, and there is no home directory to look \
         in; name a file by sslrootcert"
    )]
    NoRootsNamed {
        /// The mode.
        sslmode: String,
    },
    /// A file can't be read.
    #[error("can't read {what} {}: {source}", path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} {}: {problem}", path.display())]
    Content {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The client's certificate has no key.
    #[error(
        "the client certificate {} is there, but not its key {}",
        certificate.display(), key.display()
    )]
    NoKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The missing file.
        key: PathBuf,
    },
    /// Others can read the client's key.
    #[error(
        "the private key {} has group or world access; its permissions must be u=rw (0600) or \
         less if the file is yours, u=rw,g=r (0640) or less if it is root's",
        .0.display()
    )]
    KeyOpenToOthers(PathBuf),
    /// The system's root certificates can't be had.
    #[error("no root certificates of the system can be read: {0}")]
    NoSystemRoots(String),
    /// The settings ask for what the TLS library can't do.
    #[error("these TLS settings can't be used: {0}")]
    Settings(String),
}

/// Why a server's certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It can't be read.
    #[error("the server's certificate can't be read")]
    Malformed,
    /// Nobody we trust vouches for it.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(String),
    /// It is for another host.
    #[error(
        "the server's certificate is not for the host \"{host}\"; it names {names}. Name the \
         host as the certificate does (with hostaddr for its address), or use sslmode=verify-ca"
    )]
    WrongName {
        /// The host we meant.
        host: String,
        /// What the certificate has.
        names: String,
    },
    /// There is no name to compare with.
    #[error("sslmode=verify-full needs the host's name, and only an address is given (hostaddr)")]
    NoHost,
}
