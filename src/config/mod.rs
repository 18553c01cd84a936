//! Connection settings as libpq reads them: one string in, one [`Config`] out.
//!
//! Pure: the environment, the files and the machine's user are handed in as [`Surroundings`].
//! Nothing is looked up, opened or connected here, and no certificate is read.
//!
//! ```text
//!   "postgres://ann@db/shop"          "host=db user=ann dbname=shop"
//!            | uri                              | keyword_value
//!            +----------------+-----------------+
//!                             v
//!                         Settings  <-- service, PG* environment     (parameter)
//!                             |
//!                             v  resolve, hosts, unsupported
//!                          Config   <-- .pgpass, per host            (pgpass)
//! ```
//!
//! The reference is libpq 18: <https://www.postgresql.org/docs/18/libpq-connect.html> and
//! `src/interfaces/libpq/fe-connect.c`. Where pghost differs, the file that does says so:
//! `uri` (nothing that may be half a password is taken for a host), `hosts` (which addresses and
//! ports are read), `resolve` (the socket directory is asked for, and a mistake told at once),
//! `service` (LDAP, long lines), `unsupported` (what is ignored and what is refused). The rest is
//! held to libpq itself by `tests/it/protocol/libpq.rs`, where each difference stands with its
//! reason.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

mod error;
mod hosts;
mod keyword_value;
mod parameter;
mod password;
pub mod pgpass;
mod require_auth;
mod resolve;
mod service;
mod surroundings;
mod types;
mod unsupported;
mod uri;

use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigError, Warning};
pub use hosts::{DEFAULT_PORT, Host, HostAddress};
pub use parameter::Origin;
pub use password::Password;
pub use require_auth::{AuthMethod, RequireAuth};
pub use surroundings::{FileText, Surroundings};
pub use types::{
    ChannelBinding, Keepalives, LoadBalanceHosts, ProtocolVersion, RootCert, SslCertMode, SslMode,
    SslNegotiation, TargetSessionAttrs, TlsVersion,
};

/// Everything that is needed to connect, with every default filled in.
///
/// The fields have the names of libpq's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The servers to try, in order; at least one.
    pub hosts: Vec<Host>,
    /// The role.
    pub user: String,
    /// The password of the settings; [`Config::password_for`] knows those of the file too.
    pub password: Option<Password>,
    /// The database.
    pub dbname: String,
    /// What `pg_stat_activity` shows; `pghost` unless it was given.
    pub application_name: String,
    /// Command-line options for the server, such as `-c work_mem=64MB`.
    pub options: Option<String>,
    /// Whether and how strictly TLS is used. It says nothing about unix sockets, which never do.
    pub sslmode: SslMode,
    /// How TLS is begun.
    pub sslnegotiation: SslNegotiation,
    /// Against what the server's certificate is checked.
    pub sslrootcert: RootCert,
    /// The client's certificate; a file that does not exist means none. `None` is none as well.
    pub sslcert: Option<PathBuf>,
    /// The key for it; it must exist if the certificate does.
    pub sslkey: Option<PathBuf>,
    /// Whether the client's certificate is sent.
    pub sslcertmode: SslCertMode,
    /// Whether the host's name is sent in the open at the start of TLS; never for an address.
    pub sslsni: bool,
    /// The lowest version of TLS to accept.
    pub tls_min: TlsVersion,
    /// The highest version of TLS to accept.
    pub tls_max: Option<TlsVersion>,
    /// The lowest version of the protocol to accept.
    pub protocol_min: ProtocolVersion,
    /// The version of the protocol to ask for; never below the lowest.
    pub protocol_max: ProtocolVersion,
    /// Whether SCRAM is bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// By which methods the server may let us in.
    pub require_auth: RequireAuth,
    /// What kind of server will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// In which order the hosts are tried.
    pub load_balance_hosts: LoadBalanceHosts,
    /// How long each host may take; `None` is without end.
    pub connect_timeout: Option<Duration>,
    /// TCP keepalive.
    pub keepalives: Keepalives,
    /// `TCP_USER_TIMEOUT`; `None` is left to the system.
    pub tcp_user_timeout: Option<Duration>,
    /// What a person should be told about how these settings were found.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// Reads a URI or a key=value string; an empty one leaves everything to the surroundings.
    pub fn parse(dsn: &str, surroundings: &Surroundings<'_>) -> Result<Self, ConfigError> {
        resolve::resolve(dsn, surroundings)
    }

    /// `db at host:port as user`, for people; never a password.
    #[must_use]
    pub fn describe(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        format!("{} at {} as {}", self.dbname, hosts.join(", "), self.user)
    }

    /// The password to use at one of the hosts: that of the settings, else the password file's.
    #[must_use]
    pub fn password_for<'a>(&'a self, host: &'a Host) -> Option<&'a Password> {
        self.password.as_ref().or(host.password.as_ref())
    }
}

#[cfg(test)]
mod tests;
