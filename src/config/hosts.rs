//! Which servers to try: `host`, `hostaddr` and `port` as lists that belong together.
//!
//! As the first half of libpq's `pqConnectOptions2` (`fe-connect.c`). Looking names up and trying
//! them in turn is the connection's work. Two declared differences:
//!
//!  - A wrong port or address is told of at once, wherever in its list it stands; libpq reads each
//!    when it is that host's turn. A port is a number, also where a password file names it.
//!  - `hostaddr` takes addresses in full. libpq leaves them to the system, which also reads
//!    `127.1` and zones such as `fe80::1%eth0`; pghost does so in `host`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::keyword_value::is_space;
use super::parameter::{Setting, Settings};
use super::password::Password;

/// What a server listens on unless it was told otherwise.
pub const DEFAULT_PORT: u16 = 5432;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where it is.
    pub address: HostAddress,
    /// Its port, which is also part of a socket's name.
    pub port: u16,
    /// The password that the password file has for it; a password of the settings goes before it,
    /// see [`Config::password_for`](super::Config::password_for).
    pub password: Option<Password>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// Over TCP.
    Tcp {
        /// The name: looked up unless there is an address, and what a certificate must name.
        host: String,
        /// The address, when it was given; nothing is looked up then.
        hostaddr: Option<IpAddr>,
    },
    /// Over a socket in this directory; one that starts with `@` is in Linux's abstract namespace.
    Unix(PathBuf),
}

impl Host {
    /// The socket itself, for a server that is not reached over TCP (`UNIXSOCK_PATH` in
    /// `pqcomm.h`). A path that starts with `@` names an abstract socket: without the `@`, after a
    /// zero byte.
    #[must_use]
    pub fn socket_path(&self) -> Option<PathBuf> {
        match &self.address {
            HostAddress::Tcp { .. } => None,
            HostAddress::Unix(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
        }
    }
}

/// `host:port` for people: `db:5432`, `[::1]:5432`, `/run/postgresql:5432`, `db (10.0.0.1):5432`.
impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            HostAddress::Unix(directory) => write!(f, "{}", directory.display())?,
            HostAddress::Tcp { host, hostaddr } => match hostaddr {
                Some(address) if host.is_empty() && address.is_ipv6() => write!(f, "[{address}]")?,
                Some(address) if host.is_empty() => write!(f, "{address}")?,
                Some(address) => write!(f, "{host} ({address})")?,
                None if host.contains(':') => write!(f, "[{host}]")?,
                None => f.write_str(host)?,
            },
        }
        write!(f, ":{}", self.port)
    }
}

/// Brings the three lists together. `default` stands in for a host that is not named.
pub(super) fn hosts(settings: &Settings, default: &HostAddress) -> Result<Vec<Host>, ConfigError> {
    let addresses = list(settings, "hostaddr");
    let names = list(settings, "host");
    let count = match (addresses.len(), names.len()) {
        (0, names) => names.max(1),
        (addresses, _) => addresses,
    };
    if !names.is_empty() && names.len() != count {
        return Err(ConfigError::ListLength { name: "hostaddr", count, hosts: names.len() });
    }
    let ports = ports(settings, count)?;
    let mut hosts = Vec::with_capacity(count);
    for (place, port) in ports.into_iter().enumerate() {
        let name = names.get(place).copied().unwrap_or("");
        let address = match addresses.get(place).copied().unwrap_or("") {
            "" if name.is_empty() => default.clone(),
            "" if is_socket_directory(name) => HostAddress::Unix(PathBuf::from(name)),
            "" => HostAddress::Tcp { host: name.to_owned(), hostaddr: None },
            address => HostAddress::Tcp {
                host: name.to_owned(),
                hostaddr: Some(parse_address(settings, address)?),
            },
        };
        hosts.push(Host { address, port, password: None });
    }
    Ok(hosts)
}

/// The host that a line of a password file names: the name, else the address. The default socket
/// directory and no host at all are `localhost` there, also when an address was given beside the
/// directory (libpq's `passwordFromFile`).
pub(super) fn password_file_host(host: &Host, default: &HostAddress) -> String {
    let name = match &host.address {
        HostAddress::Unix(directory) => directory.display().to_string(),
        HostAddress::Tcp { host, hostaddr: Some(address) } if host.is_empty() => {
            address.to_string()
        }
        HostAddress::Tcp { host, .. } => host.clone(),
    };
    match default {
        // Letter for letter: a path with a slash at its end is an equal `Path`, and not libpq's.
        HostAddress::Unix(directory) if directory.as_os_str() == name.as_str() => {
            "localhost".to_owned()
        }
        _ => name,
    }
}

/// libpq's `is_unixsock_path`.
pub(super) fn is_socket_directory(name: &str) -> bool {
    name.starts_with('@') || Path::new(name).is_absolute()
}

fn list<'a>(settings: &'a Settings, name: &str) -> Vec<&'a str> {
    match settings.text(name) {
        Some(text) => text.split(',').collect(),
        None => Vec::new(),
    }
}

/// A port for each of `count` hosts: one for all of them, or one each; an empty one is the default.
fn ports(settings: &Settings, count: usize) -> Result<Vec<u16>, ConfigError> {
    let Some(setting) = settings.filled("port") else {
        return Ok(vec![DEFAULT_PORT; count]);
    };
    let ports = setting
        .value
        .split(',')
        .map(|port| parse_port(setting, port))
        .collect::<Result<Vec<_>, _>>()?;
    match ports.as_slice() {
        [port] => Ok(vec![*port; count]),
        _ if ports.len() == count => Ok(ports),
        _ => Err(ConfigError::ListLength { name: "port", count: ports.len(), hosts: count }),
    }
}

/// The value is not shown: what stands after a ':' in a URI may be half a password.
fn parse_port(setting: &Setting, text: &str) -> Result<u16, ConfigError> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    match text.trim_matches(is_space).parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ConfigError::InvalidValue {
            name: "port",
            origin: setting.origin.clone(),
            reason: "a port is a number from 1 to 65535 (in a URI, '/' and '@' \
                     in a password must be written %2F and %40)"
                .to_owned(),
        }),
    }
}

fn parse_address(settings: &Settings, text: &str) -> Result<IpAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::InvalidValue {
        name: "hostaddr",
        origin: settings.origin("hostaddr"),
        reason: "it takes IPv4 and IPv6 addresses, without zones; names go into 'host'".to_owned(),
    })
}
