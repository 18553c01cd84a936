//! From settings to a [`Config`]: which source wins, what is left out, what can't be.
//!
//! ```text
//!   the connection string > the service > the environment > libpq's defaults
//! ```
//!
//! As libpq's `conninfo_add_defaults` and `pqConnectOptions2` (`fe-connect.c`), 18. What a single
//! word means is the business of `types`; what libpq can and pghost can't, that of `unsupported`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{ConfigError, Warning};
use super::hosts::{self, Host, HostAddress};
use super::keyword_value::is_space;
use super::parameter::{Origin, PARAMETERS, Setting, Settings, lookup};
use super::password::Password;
use super::pgpass::{self, Wanted};
use super::require_auth::RequireAuth;
use super::surroundings::Surroundings;
use super::types::{Keepalives, ProtocolVersion, RootCert, SslMode, SslNegotiation, Word};
use super::{Config, TlsVersion, keyword_value, service, unsupported, uri};

/// Directories in which packages, then builds from source, put the server's socket.
const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// What `pg_stat_activity` shows unless it is told otherwise.
const APPLICATION_NAME: &str = "pghost";

/// Reads a connection string with everything that stands in for what it leaves out.
pub(super) fn resolve(dsn: &str, around: &Surroundings<'_>) -> Result<Config, ConfigError> {
    let mut settings = match uri::strip_scheme(dsn) {
        Some(rest) => uri::parse(dsn, rest)?,
        None => keyword_value::parse(dsn)?,
    };
    refuse_other_spelling(&settings)?;
    // An empty name is a name too, of a service that no file has.
    let service = match settings.get("service") {
        Some(name) => Some(name.value.clone()),
        None => (around.env)("PGSERVICE"),
    };
    // No setting, this one, where it is the environment's.
    if let Some(name) = &service
        && holds_password(name)
    {
        return Err(other_spelling("service", Origin::Environment("PGSERVICE")));
    }
    if let Some(service) = service {
        service::add(&mut settings, &service, around)?;
    }
    add_environment(&mut settings, around);
    refuse_zero_bytes(&settings)?;
    refuse_other_spelling(&settings)?;
    build(&settings, around)
}

/// A zero byte would end the text early in the startup packet, and in libpq everywhere.
fn refuse_zero_bytes(settings: &Settings) -> Result<(), ConfigError> {
    let bad = PARAMETERS
        .iter()
        .find(|parameter| settings.text(parameter.name).is_some_and(|value| value.contains('\0')));
    match bad {
        Some(parameter) => Err(ConfigError::InvalidValue {
            name: parameter.name,
            origin: settings.origin(parameter.name),
            reason: "it holds a zero byte".to_owned(),
        }),
        None => Ok(()),
    }
}

/// `host=db;password=..` is how other libraries spell it. Here all of it would be the host, and
/// shown wherever a host is. No host's name has these letters.
///
/// Anywhere else only what surely is a password counts: names may have them.
fn refuse_other_spelling(settings: &Settings) -> Result<(), ConfigError> {
    let bad = PARAMETERS.iter().find(|parameter| {
        // A secret is shown nowhere.
        let value = settings.text(parameter.name).filter(|_| !parameter.secret);
        value.is_some_and(|value| match parameter.name {
            "host" => value.split(',').any(has_other_spelling) || holds_password(value),
            _ => holds_password(value),
        })
    });
    match bad {
        Some(parameter) => Err(ConfigError::InvalidValue {
            name: parameter.name,
            origin: settings.origin(parameter.name),
            reason:
                "it holds a ';' or '=', as where settings are parted by ';'; here it is a space \
                     ('host=db user=app'), or a URI"
                    .to_owned(),
        }),
        None => Ok(()),
    }
}

fn other_spelling(name: &'static str, origin: Origin) -> ConfigError {
    let reason = "it holds a ';' or '=', as where settings are parted by ';'; here it is a space \
                  ('host=db user=app'), or a URI";
    ConfigError::InvalidValue { name, origin, reason: reason.to_owned() }
}

fn has_other_spelling(host: &str) -> bool {
    !hosts::is_socket_directory(host) && host.contains([';', '='])
}

/// `;password=`, `; Pwd =`.
fn holds_password(value: &str) -> bool {
    value.split(';').skip(1).filter_map(|part| part.split_once('=')).any(|(name, _)| {
        matches!(name.trim().to_ascii_lowercase().as_str(), "password" | "pwd" | "passwd" | "pass")
    })
}

/// A variable that is set counts even when it is empty, as for libpq.
fn add_environment(settings: &mut Settings, around: &Surroundings<'_>) {
    for parameter in PARAMETERS {
        let Some(variable) = parameter.env else {
            continue;
        };
        if let Some(value) = (around.env)(variable) {
            settings.set_if_absent(parameter, value, Origin::Environment(variable));
        }
        // PGREQUIRESSL=1 is how sslmode=require was said before 8.1; PGSSLMODE goes before it.
        if parameter.name == "sslmode"
            && (around.env)("PGREQUIRESSL").is_some_and(|value| value.starts_with('1'))
        {
            let origin = Origin::Environment("PGREQUIRESSL");
            settings.set_if_absent(parameter, "require".to_owned(), origin);
        }
    }
}

fn build(settings: &Settings, around: &Surroundings<'_>) -> Result<Config, ConfigError> {
    let default_host = default_host(around);
    let user = match (settings.text("user"), around.os_user) {
        (Some(user), _) => user.to_owned(),
        (None, Some(user)) if !user.is_empty() => user.to_owned(),
        (None, _) => return Err(ConfigError::NoUser),
    };
    let dbname = settings.text("dbname").unwrap_or(&user).to_owned();
    let sslrootcert = root_certificates(settings, around);
    let sslmode = ssl_mode(settings, &sslrootcert)?;
    let (tls_min, tls_max) = tls_versions(settings)?;
    let (protocol_min, protocol_max) = protocol_versions(settings)?;
    let mut config = Config {
        hosts: hosts::hosts(settings, &default_host)?,
        password: settings.text("password").map(Password::new),
        application_name: application_name(settings),
        options: settings.text("options").map(str::to_owned),
        sslnegotiation: ssl_negotiation(settings, sslmode)?,
        sslcert: file(settings, around, "sslcert", "postgresql.crt"),
        sslkey: file(settings, around, "sslkey", "postgresql.key"),
        sslcertmode: unsupported::ssl_cert_mode(settings)?,
        // Nothing but a 1 is yes.
        sslsni: settings.get("sslsni").is_none_or(|setting| setting.value.starts_with('1')),
        tls_min,
        tls_max,
        protocol_min,
        protocol_max,
        channel_binding: word(settings, "channel_binding")?.unwrap_or_default(),
        require_auth: require_auth(settings)?,
        target_session_attrs: word(settings, "target_session_attrs")?.unwrap_or_default(),
        load_balance_hosts: word(settings, "load_balance_hosts")?.unwrap_or_default(),
        connect_timeout: seconds(settings, "connect_timeout")?,
        keepalives: keepalives(settings)?,
        tcp_user_timeout: positive(settings, "tcp_user_timeout")?.map(milliseconds),
        sslmode,
        sslrootcert,
        user,
        dbname,
        warnings: Vec::new(),
    };
    unsupported::refuse(settings, &config, around)?;
    if config.password.is_none() {
        add_file_passwords(&mut config, settings, around, &default_host);
    }
    Ok(config)
}

/// libpq has one socket directory compiled in; here the machine is asked which one it uses.
fn default_host(around: &Surroundings<'_>) -> HostAddress {
    let directory = SOCKET_DIRECTORIES
        .into_iter()
        .find(|directory| cfg!(unix) && (around.exists)(Path::new(directory)));
    match directory {
        Some(directory) => HostAddress::Unix(PathBuf::from(directory)),
        None => HostAddress::Tcp { host: "localhost".to_owned(), hostaddr: None },
    }
}

/// An empty name counts as none: pghost's sessions can always be told from others.
fn application_name(settings: &Settings) -> String {
    settings
        .text("application_name")
        .or_else(|| settings.text("fallback_application_name"))
        .unwrap_or(APPLICATION_NAME)
        .to_owned()
}

/// The value of a parameter that takes one word of a list. An empty one is refused, as by libpq.
pub(super) fn word<T: Word>(settings: &Settings, name: &str) -> Result<Option<T>, ConfigError> {
    let Some(setting) = settings.get(name) else {
        return Ok(None);
    };
    match T::from_word(&setting.value) {
        Some(meaning) => Ok(Some(meaning)),
        None => Err(invalid(name, setting, format!("it takes one of {}", T::words()))),
    }
}

/// An error about a value; the value is not shown, `reason` says what is allowed.
pub(super) fn invalid(name: &str, setting: &Setting, reason: String) -> ConfigError {
    ConfigError::InvalidValue {
        name: lookup(name).map_or("parameter", |parameter| parameter.name),
        origin: setting.origin.clone(),
        reason,
    }
}

fn ssl_mode(settings: &Settings, roots: &RootCert) -> Result<SslMode, ConfigError> {
    let given = word::<SslMode>(settings, "sslmode")?;
    if *roots != RootCert::System {
        return Ok(given.unwrap_or_default());
    }
    // Anybody can get a certificate from a public authority: only its name says something.
    match given {
        None | Some(SslMode::VerifyFull) => Ok(SslMode::VerifyFull),
        Some(weak) => Err(ConfigError::Contradiction(format!(
            "sslmode={weak} is too weak for sslrootcert=system; use sslmode=verify-full"
        ))),
    }
}

fn ssl_negotiation(settings: &Settings, mode: SslMode) -> Result<SslNegotiation, ConfigError> {
    let negotiation = word(settings, "sslnegotiation")?.unwrap_or_default();
    if negotiation == SslNegotiation::Direct && !mode.is_always_encrypted() {
        return Err(ConfigError::Contradiction(format!(
            "sslmode={mode} is too weak for sslnegotiation=direct; \
             use sslmode=require, verify-ca or verify-full"
        )));
    }
    Ok(negotiation)
}

fn root_certificates(settings: &Settings, around: &Surroundings<'_>) -> RootCert {
    match settings.text("sslrootcert") {
        Some("system") => RootCert::System,
        Some(path) => RootCert::File(PathBuf::from(path)),
        None => match around.home {
            Some(home) => RootCert::File(home.join(".postgresql/root.crt")),
            None => RootCert::None,
        },
    }
}

/// A file of `~/.postgresql` unless another was named.
fn file(
    settings: &Settings,
    around: &Surroundings<'_>,
    name: &str,
    default: &str,
) -> Option<PathBuf> {
    match (settings.text(name), around.home) {
        (Some(path), _) => Some(PathBuf::from(path)),
        (None, Some(home)) => Some(home.join(".postgresql").join(default)),
        (None, None) => None,
    }
}

/// libpq knows TLS 1.0 and 1.1 too. As the lowest version they are allowed and mean 1.2; as the
/// highest they would leave nothing that pghost speaks.
fn tls_versions(settings: &Settings) -> Result<(TlsVersion, Option<TlsVersion>), ConfigError> {
    let read = |name| match settings.filled(name) {
        None => Ok(None),
        Some(setting) => match setting.value.to_ascii_lowercase().as_str() {
            "tlsv1.3" => Ok(Some(TlsVersion::V1_3)),
            "tlsv1.2" => Ok(Some(TlsVersion::V1_2)),
            "tlsv1" | "tlsv1.1" if name == "ssl_min_protocol_version" => Ok(None),
            _ => Err(invalid(name, setting, "it takes TLSv1.2 or TLSv1.3".to_owned())),
        },
    };
    let min = read("ssl_min_protocol_version")?.unwrap_or(TlsVersion::V1_2);
    let max = read("ssl_max_protocol_version")?;
    if max.is_some_and(|max| max < min) {
        return Err(ConfigError::Contradiction(
            "ssl_min_protocol_version is above ssl_max_protocol_version".to_owned(),
        ));
    }
    Ok((min, max))
}

/// libpq 18 asks for 3.0 unless told otherwise: some poolers drop what they do not know.
fn protocol_versions(
    settings: &Settings,
) -> Result<(ProtocolVersion, ProtocolVersion), ConfigError> {
    let read = |name| word::<ProtocolVersion>(settings, name);
    let min = read("min_protocol_version")?.unwrap_or(ProtocolVersion::V3_0);
    let max = read("max_protocol_version")?;
    if max.is_some_and(|max| max < min) {
        return Err(ConfigError::Contradiction(
            "min_protocol_version is above max_protocol_version".to_owned(),
        ));
    }
    Ok((min, max.unwrap_or(ProtocolVersion::V3_0).max(min)))
}

fn require_auth(settings: &Settings) -> Result<RequireAuth, ConfigError> {
    match settings.filled("require_auth") {
        None => Ok(RequireAuth::default()),
        Some(setting) => RequireAuth::parse(&setting.value)
            .map_err(|reason| invalid("require_auth", setting, reason)),
    }
}

/// A whole number, as libpq's `pqParseIntParam`: spaces around it and a sign are fine, nothing at
/// all is not.
///
/// libpq reads most of them when it has a socket they are for. Here a mistake is told at once.
fn integer(settings: &Settings, name: &str) -> Result<Option<i32>, ConfigError> {
    let Some(setting) = settings.get(name) else {
        return Ok(None);
    };
    match setting.value.trim_matches(is_space).parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(invalid(name, setting, "it takes a whole number".to_owned())),
    }
}

/// The same; zero and less mean that the system, or nobody, decides.
fn positive(settings: &Settings, name: &str) -> Result<Option<u32>, ConfigError> {
    let number = integer(settings, name)?.unwrap_or(0);
    Ok(u32::try_from(number).ok().filter(|number| *number > 0))
}

fn seconds(settings: &Settings, name: &str) -> Result<Option<Duration>, ConfigError> {
    Ok(positive(settings, name)?.map(|seconds| Duration::from_secs(seconds.into())))
}

fn milliseconds(number: u32) -> Duration {
    Duration::from_millis(number.into())
}

fn keepalives(settings: &Settings) -> Result<Keepalives, ConfigError> {
    Ok(Keepalives {
        enabled: integer(settings, "keepalives")? != Some(0),
        idle: seconds(settings, "keepalives_idle")?,
        interval: seconds(settings, "keepalives_interval")?,
        count: positive(settings, "keepalives_count")?,
    })
}

/// Looks every host up in the password file, which is read once.
fn add_file_passwords(
    config: &mut Config,
    settings: &Settings,
    around: &Surroundings<'_>,
    default_host: &HostAddress,
) {
    let path = match (settings.text("passfile"), around.home) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => home.join(".pgpass"),
        (None, None) => return,
    };
    let file = match pgpass::usable(&path, (around.read_file)(&path)) {
        Ok(file) => file,
        Err(warning) => return config.warnings.extend::<Option<Warning>>(warning),
    };
    let find = |host: &Host| {
        let name = hosts::password_file_host(host, default_host);
        let wanted =
            Wanted { host: &name, port: host.port, dbname: &config.dbname, user: &config.user };
        pgpass::find(&file, wanted).filter(|password| !password.reveal().is_empty())
    };
    let passwords: Vec<_> = config.hosts.iter().map(find).collect();
    for (host, password) in config.hosts.iter_mut().zip(passwords) {
        host.password = password;
    }
}
