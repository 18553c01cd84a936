//! The files of TLS: root certificates, the client's certificate and its key.
//!
//! As libpq's `initialize_SSL` (`fe-secure-openssl.c`) has it. Read anew for every connection:
//! whoever renews a certificate need not restart a migration that follows for weeks.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{error::TlsError, verifier::Roots};
use crate::config::{Config, RootCert, SslCertMode, SslMode};

const ROOTS: &str = "the root certificate file";
const CERTIFICATE: &str = "the client certificate";
const KEY: &str = "the private key";

/// No file of certificates or keys is longer; all the world's public roots take 200 kB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The trusted roots; `None` when there are none and none are needed.
pub(super) fn roots(config: &Config) -> Result<Option<Roots>, TlsError> {
    let is_needed = config.sslmode >= SslMode::VerifyCa;
    let sslmode = || config.sslmode.to_string();
    match &config.sslrootcert {
        RootCert::System => system_roots().map(Some),
        RootCert::None if is_needed => Err(TlsError::NoRootsNamed { sslmode: sslmode() }),
        RootCert::None => Ok(None),
        RootCert::File(path) => match read(ROOTS, path)? {
            Some(bytes) => roots_of(path, &bytes).map(Some),
            None if is_needed => Err(TlsError::NoRoots { path: path.clone(), sslmode: sslmode() }),
            None => Ok(None),
        },
    }
}

fn roots_of(path: &Path, bytes: &[u8]) -> Result<Roots, TlsError> {
    let certificates = certificates(ROOTS, path, bytes)?;
    let (roots, unusable) = Roots::new(certificates);
    if roots.is_empty() {
        let problem = format!("none of its {unusable} certificates can serve as a root");
        return Err(TlsError::Content { what: ROOTS, path: path.to_owned(), problem });
    }
    if unusable > 0 {
        tracing::warn!("{unusable} certificates of {} can't serve as roots", path.display());
    }
    Ok(roots)
}

/// Those that OpenSSL would find too: `SSL_CERT_FILE`, `SSL_CERT_DIR`, the system's places.
fn system_roots() -> Result<Roots, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    // One that can't be used is no reason to do without the others.
    let (roots, _) = Roots::new(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(|| "none found".into(), ToString::to_string);
        return Err(TlsError::NoSystemRoots(why));
    }
    Ok(roots)
}

/// The client's certificate with what vouches for it, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's certificate and key; `None` when there is no certificate. Whether one is wanted is
/// for the server to say.
pub(super) fn identity(config: &Config) -> Result<Option<Identity>, TlsError> {
    let Some(path) = config.sslcert.as_ref().filter(|_| config.sslcertmode == SslCertMode::Allow)
    else {
        return Ok(None);
    };
    let Some(bytes) = read(CERTIFICATE, path)? else {
        return Ok(None);
    };
    let certificates = certificates(CERTIFICATE, path, &bytes)?;
    let missing = || TlsError::NoKey {
        certificate: path.clone(),
        key: config.sslkey.clone().unwrap_or_else(|| PathBuf::from("(no path)")),
    };
    let key_path = config.sslkey.as_ref().ok_or_else(missing)?;
    let key = read(KEY, key_path)?.ok_or_else(missing)?;
    check_rights(key_path)?;
    let key = private_key(key_path, &key)?;
    Ok(Some((certificates, key)))
}

/// A file's bytes; `None` if there is no such file.
fn read(what: &'static str, path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::File { what, path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(None),
            _ => return Err(failed(error)),
        },
    };
    // A pipe would hang and a device never end.
    if !metadata.is_file() {
        let problem = "it is not a regular file".to_owned();
        return Err(TlsError::Content { what, path: path.to_owned(), problem });
    }
    if metadata.len() > FILE_BYTES_MAX {
        let problem = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(TlsError::Content { what, path: path.to_owned(), problem });
    }
    fs::read(path).map(Some).map_err(failed)
}

fn certificates(
    what: &'static str,
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem| TlsError::Content { what, path: path.to_owned(), problem };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(content("there is no certificate in it (PEM is expected)".to_owned()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(content(error.to_string())),
    }
}

/// In PEM, or in DER as libpq takes it too.
fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let content = |problem: &str| {
        let (what, path, problem) = (KEY, path.to_owned(), problem.to_owned());
        TlsError::Content { what, path, problem }
    };
    let text = String::from_utf8_lossy(bytes);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(content(
            "it is encrypted, and pghost can't ask for its password; decrypt it \
                            with `openssl pkey` into a file that only you can read",
        ));
    }
    if let Ok(key) = PrivateKeyDer::from_pem_slice(bytes) {
        return Ok(key);
    }
    PrivateKeyDer::try_from(bytes.to_vec())
        .map_err(|_| content("there is no private key in it (PEM or DER is expected)"))
}

/// A key that others can read is no secret. libpq's rule, from `initialize_SSL`.
fn check_rights(path: &Path) -> Result<(), TlsError> {
    let metadata = fs::metadata(path).map_err(|source| TlsError::File {
        what: KEY,
        path: path.to_owned(),
        source,
    })?;
    // Root may give a key to a group of services to read.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden == 0 {
        Ok(())
    } else {
        Err(TlsError::KeyOpenToOthers(path.to_owned()))
    }
}
