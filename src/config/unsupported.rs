//! What libpq can do and pghost can't: ignored where that changes nothing, refused where it would
//! weaken security or change what was asked for.
//!
//! Ignored:
//!
//!  - `gssencmode=disable` and `prefer`: without Kerberos libpq goes on too.
//!  - `krbsrvname`, `gsslib`, `gssdelegation`: they say how Kerberos is used if it is.
//!  - `oauth_*`: a server that insists on OAuth is refused by name when it asks.
//!  - `sslcompression`: as by every libpq whose OpenSSL is from this decade.
//!  - `sslpassword`: a key that needs it is refused when it is read.
//!  - `client_encoding`, `replication`: pghost sets both itself, connection by connection.
//!  - the variables `PGDATESTYLE`, `PGTZ` and `PGGEQO`, which are no parameters: a session's values
//!    must not be printed as somebody's shell likes it.
//!
//! Refused:
//!
//!  - `gssencmode=require`: the connection would not be encrypted by GSSAPI.
//!  - `sslcrl`, `sslcrldir` and a file `~/.postgresql/root.crl`: a revoked certificate would pass.
//!  - `sslcertmode=require`: a server that asks for no certificate would pass.
//!  - `sslkeylogfile`: the file would stay empty.
//!  - `requirepeer` with a socket: anybody's server would pass. (libpq ignores it over TCP.)
//!  - `scram_client_key`, `scram_server_key`: there would be no way to log in.

use super::error::ConfigError;
use super::hosts::HostAddress;
use super::parameter::{Settings, lookup};
use super::resolve::{invalid, word};
use super::surroundings::Surroundings;
use super::types::{RootCert, SslCertMode};
use super::{Config, types::Word};

/// Parameters that are refused whatever their value, unless it is empty.
const REFUSED: [(&str, &str); 5] = [
    ("sslcrl", "pghost does not read revocation lists, and a revoked certificate must not pass"),
    ("sslcrldir", "pghost does not read revocation lists, and a revoked certificate must not pass"),
    ("sslkeylogfile", "pghost does not write the keys of TLS sessions to files"),
    ("scram_client_key", "pghost logs in with passwords only; give the password"),
    ("scram_server_key", "pghost logs in with passwords only; give the password"),
];

/// Refuses what must not be ignored.
pub(super) fn refuse(
    settings: &Settings,
    config: &Config,
    around: &Surroundings<'_>,
) -> Result<(), ConfigError> {
    for (name, reason) in REFUSED {
        unless_empty(settings, name, reason)?;
    }
    if word::<GssEncMode>(settings, "gssencmode")? == Some(GssEncMode::Require) {
        let reason = "pghost does not encrypt by GSSAPI; use TLS, by sslmode";
        unless_empty(settings, "gssencmode", reason)?;
    }
    if config.hosts.iter().any(|host| matches!(host.address, HostAddress::Unix(_))) {
        let reason = "pghost does not check who runs the server at a socket";
        unless_empty(settings, "requirepeer", reason)?;
    }
    refuse_default_revocation_list(config, around)
}

fn unless_empty(settings: &Settings, name: &str, reason: &'static str) -> Result<(), ConfigError> {
    match (settings.filled(name), lookup(name)) {
        (Some(setting), Some(parameter)) => Err(ConfigError::Unsupported {
            name: parameter.name,
            origin: setting.origin.clone(),
            reason,
        }),
        _ => Ok(()),
    }
}

/// libpq reads `root.crl` unasked once it has root certificates from a file.
fn refuse_default_revocation_list(
    config: &Config,
    around: &Surroundings<'_>,
) -> Result<(), ConfigError> {
    let Some(home) = around.home else {
        return Ok(());
    };
    let list = home.join(".postgresql/root.crl");
    let checked = match &config.sslrootcert {
        RootCert::File(path) => (around.exists)(path),
        RootCert::System | RootCert::None => false,
    };
    let tcp = config.hosts.iter().any(|host| matches!(host.address, HostAddress::Tcp { .. }));
    if tcp && checked && config.sslmode.is_always_encrypted() && (around.exists)(&list) {
        return Err(ConfigError::Contradiction(format!(
            "there is a revocation list, {}, which pghost does not read; \
             a revoked certificate must not pass",
            list.display()
        )));
    }
    Ok(())
}

/// `sslcertmode`, whose third value is refused.
pub(super) fn ssl_cert_mode(settings: &Settings) -> Result<SslCertMode, ConfigError> {
    match settings.get("sslcertmode") {
        None => Ok(SslCertMode::default()),
        Some(setting) if setting.value == "require" => Err(invalid(
            "sslcertmode",
            setting,
            "pghost can't insist that the server asks for a certificate".to_owned(),
        )),
        Some(_) => Ok(word(settings, "sslcertmode")?.unwrap_or_default()),
    }
}

/// Whether GSSAPI encrypts the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GssEncMode {
    Disable,
    Prefer,
    Require,
}

impl Word for GssEncMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("disable", Self::Disable), ("prefer", Self::Prefer), ("require", Self::Require)];
}
