//! A throwaway server's configuration and addresses, as text.

use std::{
    fmt::Write,
    net::TcpListener,
    path::Path,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use super::ClusterError;

/// The file of our settings, which `postgresql.conf` includes as its last line.
pub(super) const FILE: &str = "pghost.conf";

/// What a throwaway server differs in from any other: it may lose its data in a crash of the
/// machine, and it is one end of logical replication.
const DEFAULTS: [(&str, &str); 11] = [
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "100"),
    ("shared_buffers", "128MB"),
    ("fsync", "off"),
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("max_wal_size", "2GB"),
    ("log_line_prefix", "%m [%p] %q%a "),
    ("log_timezone", "UTC"),
    // Debian's unpacked packages come without the compiler's library.
    ("jit", "off"),
];

/// The ports servers are given: 8192 of them from here on. Below 32768, where Linux begins to
/// take ports for outgoing connections (macOS at 49152), so that a server that restarts finds
/// its port still free.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 8192;

/// The port of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    /// A free one, that can be another as well.
    Ours(u16),
    /// The one the settings ask for.
    Given(u16),
}

impl Port {
    pub(super) fn choose(settings: &[(&str, &str)]) -> Result<Self, ClusterError> {
        let given = settings.iter().rev().find(|(name, _)| *name == "port");
        let Some((name, value)) = given else {
            return Ok(Self::Ours(free_port()));
        };
        match value.parse() {
            Ok(port) if port > 0 => Ok(Self::Given(port)),
            _ => Err(ClusterError::Setting {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
                why: "a port is a number from 1 to 65535",
            }),
        }
    }

    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Ours(port) | Self::Given(port) => port,
        }
    }

    pub(super) const fn is_ours_to_choose(self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

/// A port nobody listens on at this moment. Processes begin at places of their own, and go on
/// from there, so that two of them seldom want the same one.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // An odd factor spreads neighbouring process ids over the range.
    let spread = process::id().wrapping_mul(2_654_435_761) >> 16;
    let start = u16::try_from(spread).unwrap_or(0);
    let mut port = FIRST_PORT;
    for _ in 0..PORTS {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        port = FIRST_PORT + n % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            break;
        }
    }
    port
}

/// The settings, of which the last of a name counts: the defaults, the caller's, and those a
/// server could not be found or watched without.
pub(super) fn text(port: u16, sock: &Path, settings: &[(&str, &str)]) -> String {
    let (port, sock) = (port.to_string(), sock.display().to_string());
    let fixed = [
        ("port", port.as_str()),
        ("unix_socket_directories", &sock),
        ("log_destination", "stderr"),
        ("logging_collector", "off"),
        ("lc_messages", "C"),
    ];
    let mut text = String::new();
    for (name, value) in DEFAULTS.iter().chain(settings).chain(&fixed) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
    text
}

/// A value in quotes, inside which both doubled quotes and backslashes have a meaning
/// (`GUC_scanstr` in Postgres's `guc-file.l`).
fn quoted(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
    format!("'{value}'")
}

/// A connection string in key=value form.
pub(super) fn dsn(sock: &Path, port: u16, dbname: &str) -> String {
    let quote = |value: &str| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"));
    let host = quote(&sock.display().to_string());
    format!("host={host} port={port} user=postgres dbname={}", quote(dbname))
}

/// A connection URI.
pub(super) fn tcp_dsn(port: u16, dbname: &str) -> String {
    let mut uri = format!("postgresql://postgres@127.0.0.1:{port}/");
    for byte in dbname.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_settings_come_after_the_defaults_and_before_the_fixed_ones() {
        let settings = [("wal_level", "replica"), ("port", "1"), ("a.b", "it's \\ 1\n2")];
        let text = text(5433, Path::new("/s"), &settings);
        let at = |line: &str| text.find(line).unwrap_or_else(|| panic!("{line} in {text}"));
        assert!(at("wal_level = 'logical'\n") < at("wal_level = 'replica'\n"));
        assert!(at("port = '1'\n") < at("port = '5433'\n"));
        at("a.b = 'it''s \\\\ 1\\n2'\n");
        at("unix_socket_directories = '/s'\n");
    }

    #[test]
    fn addresses_are_quoted_as_libpq_reads_them() {
        assert_eq!(
            dsn(Path::new("/tmp/s"), 5433, "it's \\"),
            r"host='/tmp/s' port=5433 user=postgres dbname='it\'s \\'"
        );
        assert_eq!(tcp_dsn(5433, "a b/ü"), "postgresql://postgres@127.0.0.1:5433/a%20b%2F%C3%BC");
    }

    #[test]
    fn a_given_port_is_kept_and_a_chosen_one_is_free() {
        assert_eq!(Port::choose(&[("port", "5")]).unwrap(), Port::Given(5));
        for wrong in ["0", "65536", "x"] {
            assert!(Port::choose(&[("port", wrong)]).is_err());
        }
        let (a, b) = (Port::choose(&[]).unwrap(), Port::choose(&[]).unwrap());
        assert_ne!(a, b);
        assert!(a.is_ours_to_choose());
        assert!((FIRST_PORT..FIRST_PORT + PORTS).contains(&a.number()));
    }
}
