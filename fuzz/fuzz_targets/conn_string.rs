//! Connection strings, service files, environments and password files never panic; what is read
//! can be printed in both forms and read again, to the same settings.
//!
//! Input: a connection string, then, each after a zero byte, the text of a service file, lines of
//! an environment as `NAME=value`, and the text of a password file.

#![no_main]

use std::fmt::Display;
use std::io;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pghost::config::{Config, FileText, HostAddress, RootCert, Surroundings, TlsVersion};

fuzz_target!(|data: &str| {
    let mut pieces = data.splitn(4, '\0');
    let mut piece = || pieces.next().unwrap_or_default();
    let (dsn, service, environment, passwords) = (piece(), piece(), piece(), piece());
    let read_file = |path: &Path| {
        let text = match path.to_str() {
            Some("/service") => service,
            Some("/home/os/.pgpass") => passwords,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(FileText { bytes: text.as_bytes().to_vec(), mode: 0o600, is_file: true })
    };
    let env = |name: &str| {
        let mut lines = environment.lines().filter_map(|line| line.split_once('='));
        match lines.find(|(known, _)| *known == name) {
            Some((_, value)) => Some(value.to_owned()),
            None if name == "PGSERVICEFILE" => Some("/service".to_owned()),
            None => None,
        }
    };
    let surroundings = Surroundings {
        env: &env,
        read_file: &read_file,
        exists: &|path| path == Path::new("/tmp"),
        os_user: Some("os"),
        home: Some(Path::new("/home/os")),
    };
    match Config::parse(dsn, &surroundings) {
        Err(error) => drop(format!("{error} {error:?}")),
        Ok(mut config) => {
            assert!(!config.hosts.is_empty());
            assert!(config.hosts.iter().all(|host| host.port > 0));
            let _ = format!("{} {config:?}", config.describe());
            // These are of the files, which are not there when it is read again.
            config.warnings.clear();
            config.hosts.iter_mut().for_each(|host| host.password = None);
            let settings = settings(&config);
            let bare = Surroundings {
                env: &|_| None,
                read_file: &|_| Err(io::ErrorKind::NotFound.into()),
                ..surroundings
            };
            for text in [key_value(&settings), uri(&settings)] {
                let again = Config::parse(&text, &bare).expect("what was printed");
                assert_eq!(again, config, "{text}");
            }
        }
    }
});

/// Everything a configuration holds, as parameters.
fn settings(config: &Config) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("user", config.user.clone()),
        ("dbname", config.dbname.clone()),
        ("application_name", config.application_name.clone()),
        ("sslmode", config.sslmode.to_string()),
        ("sslnegotiation", config.sslnegotiation.to_string()),
        ("sslcertmode", config.sslcertmode.to_string()),
        ("sslsni", u8::from(config.sslsni).to_string()),
        ("ssl_min_protocol_version", tls(config.tls_min)),
        ("min_protocol_version", config.protocol_min.to_string()),
        ("max_protocol_version", config.protocol_max.to_string()),
        ("channel_binding", config.channel_binding.to_string()),
        ("require_auth", config.require_auth.to_string()),
        ("target_session_attrs", config.target_session_attrs.to_string()),
        ("load_balance_hosts", config.load_balance_hosts.to_string()),
        ("keepalives", u8::from(config.keepalives.enabled).to_string()),
    ];
    let mut some = |name, value: Option<String>| settings.extend(value.map(|value| (name, value)));
    let path = |path: &Path| path.to_str().expect("it was text").to_owned();
    let password = config.password.as_ref().map(|password| password.reveal().to_vec());
    some("password", password.map(|bytes| String::from_utf8(bytes).expect("it was text")));
    some("options", config.options.clone());
    some("sslcert", config.sslcert.as_deref().map(path));
    some("sslkey", config.sslkey.as_deref().map(path));
    some(
        "sslrootcert",
        match &config.sslrootcert {
            RootCert::System => Some("system".to_owned()),
            RootCert::File(file) => Some(path(file)),
            RootCert::None => None,
        },
    );
    some("ssl_max_protocol_version", config.tls_max.map(tls));
    let seconds = |time: std::time::Duration| time.as_secs().to_string();
    some("connect_timeout", config.connect_timeout.map(seconds));
    some("keepalives_idle", config.keepalives.idle.map(seconds));
    some("keepalives_interval", config.keepalives.interval.map(seconds));
    some("keepalives_count", config.keepalives.count.map(|count| count.to_string()));
    some("tcp_user_timeout", config.tcp_user_timeout.map(|time| time.as_millis().to_string()));

    let hosts = config.hosts.iter().map(|host| match &host.address {
        HostAddress::Unix(directory) => (path(directory), String::new()),
        HostAddress::Tcp { host, hostaddr } => {
            (host.clone(), hostaddr.map(|address| address.to_string()).unwrap_or_default())
        }
    });
    let (hosts, addresses): (Vec<_>, Vec<_>) = hosts.unzip();
    settings.push(("host", hosts.join(",")));
    if addresses.iter().any(|address| !address.is_empty()) {
        settings.push(("hostaddr", addresses.join(",")));
    }
    settings.push(("port", list(config.hosts.iter().map(|host| host.port))));
    settings
}

fn tls(version: TlsVersion) -> String {
    match version {
        TlsVersion::V1_2 => "TLSv1.2".to_owned(),
        TlsVersion::V1_3 => "TLSv1.3".to_owned(),
    }
}

fn list(items: impl Iterator<Item = impl Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn key_value(settings: &[(&str, String)]) -> String {
    let pairs = settings.iter().map(|(name, value)| {
        let value = value.replace('\\', r"\\").replace('\'', r"\'");
        format!("{name}='{value}' ")
    });
    pairs.collect()
}

/// What has a place of its own in a URI is put there; the rest are its parameters.
fn uri(settings: &[(&str, String)]) -> String {
    let get = |name: &str| {
        let found = settings.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let hosts = get("host").split(',').zip(get("port").split(','));
    let hosts = list(hosts.map(|(host, port)| format!("{}:{port}", percent(host))));
    let mut text = format!(
        "postgres://{}:{}@{hosts}/{}?",
        percent(get("user")),
        percent(get("password")),
        percent(get("dbname"))
    );
    let placed = ["user", "password", "host", "port", "dbname"];
    for (name, value) in settings.iter().filter(|(name, _)| !placed.contains(name)) {
        text.push_str(&format!("{name}={}&", percent(value)));
    }
    text
}

/// Every byte but letters and digits of ASCII, percent-encoded.
fn percent(value: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(encode).collect()
}
