//! The names of all connection parameters that libpq 18 knows, and the values given for them.
//!
//! Not what the values mean: `resolve` reads them, once all sources have spoken.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// One parameter, as in libpq's `PQconninfoOptions` (`fe-connect.c`).
#[derive(Debug)]
pub(super) struct Parameter {
    /// Its name in a connection string and in a service file.
    pub(super) name: &'static str,
    /// The environment variable that stands in for it.
    pub(super) env: Option<&'static str>,
    /// Whether its value must never be shown.
    pub(super) secret: bool,
}

const fn known(name: &'static str) -> Parameter {
    Parameter { name, env: None, secret: false }
}

const fn known_env(name: &'static str, env: &'static str) -> Parameter {
    Parameter { name, env: Some(env), secret: false }
}

const fn secret(name: &'static str, env: Option<&'static str>) -> Parameter {
    Parameter { name, env, secret: true }
}

/// <https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS> and
/// <https://www.postgresql.org/docs/18/libpq-envars.html>.
pub(super) const PARAMETERS: &[Parameter] = &[
    known_env("application_name", "PGAPPNAME"),
    known_env("channel_binding", "PGCHANNELBINDING"),
    known_env("client_encoding", "PGCLIENTENCODING"),
    known_env("connect_timeout", "PGCONNECT_TIMEOUT"),
    known_env("dbname", "PGDATABASE"),
    known("fallback_application_name"),
    known_env("gssdelegation", "PGGSSDELEGATION"),
    known_env("gssencmode", "PGGSSENCMODE"),
    known_env("gsslib", "PGGSSLIB"),
    known_env("host", "PGHOST"),
    known_env("hostaddr", "PGHOSTADDR"),
    known("keepalives"),
    known("keepalives_count"),
    known("keepalives_idle"),
    known("keepalives_interval"),
    known_env("krbsrvname", "PGKRBSRVNAME"),
    known_env("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    known_env("max_protocol_version", "PGMAXPROTOCOLVERSION"),
    known_env("min_protocol_version", "PGMINPROTOCOLVERSION"),
    known("oauth_client_id"),
    secret("oauth_client_secret", None),
    known("oauth_issuer"),
    known("oauth_scope"),
    known_env("options", "PGOPTIONS"),
    known_env("passfile", "PGPASSFILE"),
    secret("password", Some("PGPASSWORD")),
    known_env("port", "PGPORT"),
    known("replication"),
    known_env("require_auth", "PGREQUIREAUTH"),
    known_env("requirepeer", "PGREQUIREPEER"),
    secret("scram_client_key", None),
    secret("scram_server_key", None),
    known_env("service", "PGSERVICE"),
    known_env("sslcert", "PGSSLCERT"),
    known_env("sslcertmode", "PGSSLCERTMODE"),
    known_env("sslcompression", "PGSSLCOMPRESSION"),
    known_env("sslcrl", "PGSSLCRL"),
    known_env("sslcrldir", "PGSSLCRLDIR"),
    known_env("sslkey", "PGSSLKEY"),
    known("sslkeylogfile"),
    known_env("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    known_env("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    known_env("sslmode", "PGSSLMODE"),
    known_env("sslnegotiation", "PGSSLNEGOTIATION"),
    secret("sslpassword", None),
    known_env("sslrootcert", "PGSSLROOTCERT"),
    known_env("sslsni", "PGSSLSNI"),
    known_env("target_session_attrs", "PGTARGETSESSIONATTRS"),
    known("tcp_user_timeout"),
    known_env("user", "PGUSER"),
];

/// The parameter of that name. Names are compared letter for letter, as libpq does.
pub(super) fn lookup(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|known| known.name == name)
}

/// Where a value was found, for errors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The connection string itself.
    ConnectionString,
    /// An environment variable.
    Environment(&'static str),
    /// A line of a service file.
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionString => f.write_str("the connection string"),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::ServiceFile { path, line } => {
                write!(f, "line {line} of the service file {}", path.display())
            }
        }
    }
}

/// A value as it was given, already unquoted and percent-decoded.
///
/// No `Debug`: it may be a password.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// The values of one or more sources.
#[derive(Clone, Default)]
pub(super) struct Settings {
    values: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// Stores a value; a parameter given twice in one source counts as given last.
    pub(super) fn set(&mut self, parameter: &Parameter, value: String, origin: Origin) {
        self.values.insert(parameter.name, Setting { value, origin });
    }

    /// Stores a value unless a source that was asked earlier has one.
    pub(super) fn set_if_absent(&mut self, parameter: &Parameter, value: String, origin: Origin) {
        self.values.entry(parameter.name).or_insert(Setting { value, origin });
    }

    /// The value as it was given, even when it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        debug_assert!(lookup(name).is_some(), "{name} is not in the table");
        self.values.get(name)
    }

    /// The value unless it is empty: for most parameters libpq takes an empty value for none.
    pub(super) fn filled(&self, name: &str) -> Option<&Setting> {
        self.get(name).filter(|setting| !setting.value.is_empty())
    }

    /// The text of [`Settings::filled`].
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.filled(name).map(|setting| setting.value.as_str())
    }

    /// Where a parameter's value was found.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.get(name).map_or(Origin::ConnectionString, |setting| setting.origin.clone())
    }

    /// All names and values, in the order of the names.
    #[cfg(test)]
    pub(super) fn pairs(&self) -> Vec<(&'static str, &str)> {
        self.values.iter().map(|(name, setting)| (*name, setting.value.as_str())).collect()
    }
}

/// Stores one `name` and `value` of a connection string.
///
/// `ssl=true` is what JDBC writes, `requiressl` what libpq 7.x read; both still mean what they
/// meant (libpq's `conninfo_uri_parse_params` and `conninfo_storeval`).
pub(super) fn store(settings: &mut Settings, name: &str, value: String, origin: Origin) -> bool {
    let (name, value) = match name {
        "requiressl" if value.starts_with('1') => ("sslmode", "require".to_owned()),
        "requiressl" => ("sslmode", "prefer".to_owned()),
        _ => (name, value),
    };
    let Some(parameter) = lookup(name) else {
        return false;
    };
    settings.set(parameter, value, origin);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parameter_and_no_variable_stands_twice_in_the_table() {
        let mut names: Vec<_> = PARAMETERS.iter().map(|p| p.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARAMETERS.len());
        let mut variables: Vec<_> = PARAMETERS.iter().filter_map(|p| p.env).collect();
        let all = variables.len();
        variables.sort_unstable();
        variables.dedup();
        assert_eq!(variables.len(), all);
    }

    #[test]
    fn the_last_value_of_one_source_wins_and_the_first_source_asked_wins() {
        let user = lookup("user").unwrap();
        let mut settings = Settings::default();
        settings.set(user, "a".to_owned(), Origin::ConnectionString);
        settings.set(user, "b".to_owned(), Origin::ConnectionString);
        settings.set_if_absent(user, "c".to_owned(), Origin::Environment("PGUSER"));
        assert_eq!(settings.text("user"), Some("b"));
    }
}
