//! Connection service files: named groups of settings.
//!
//! ```text
//! # a comment
//! [name]
//! host=db.example.org
//! port=5433
//! ```
//!
//! As libpq's `parseServiceInfo` and `parseServiceFile` (`fe-connect.c`) and
//! <https://www.postgresql.org/docs/18/libpq-pgservice.html>. Values are neither quoted nor
//! escaped, and no space may stand around the `=`. `ldap:` lines, which libpq reads when it was
//! built with LDAP, are refused; a line may be longer than libpq's buffer of 1023 bytes.

use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::parameter::{Origin, Settings, lookup};
use super::surroundings::Surroundings;

/// Where the system's file is looked for when `PGSYSCONFDIR` is not set: what Debian's and Red
/// Hat's packages, and a build from source, have compiled in (`pg_config --sysconfdir`).
const SYSTEM_DIRECTORIES: [&str; 3] =
    ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc"];

/// Adds the settings of a service to those that are given already, which win.
///
/// The person's file is read first and the system's only if it does not have the service. A file
/// named by `PGSERVICEFILE` must be there, the others may be missing.
pub(super) fn add(
    settings: &mut Settings,
    name: &str,
    around: &Surroundings<'_>,
) -> Result<(), ConfigError> {
    for (path, required) in files(around) {
        let file = match (around.read_file)(&path) {
            Ok(file) => file,
            Err(error) if !required && is_missing(&error) => continue,
            Err(source) => return Err(ConfigError::ServiceFile { path, source }),
        };
        let text = String::from_utf8(file.bytes).map_err(|_| ConfigError::ServiceFile {
            path: path.clone(),
            source: io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"),
        })?;
        if add_group(settings, &path, &text, name)? {
            return Ok(());
        }
    }
    Err(ConfigError::ServiceNotFound(name.to_owned()))
}

/// The files in the order in which they are read, and whether they must exist.
fn files(around: &Surroundings<'_>) -> Vec<(PathBuf, bool)> {
    let mut files = Vec::new();
    // A variable counts even when it is empty, as for libpq.
    if let Some(path) = (around.env)("PGSERVICEFILE") {
        files.push((PathBuf::from(path), true));
    } else if let Some(home) = around.home {
        files.push((home.join(".pg_service.conf"), false));
    }
    match (around.env)("PGSYSCONFDIR") {
        Some(directory) => files.push((format!("{directory}/pg_service.conf").into(), false)),
        None => files
            .extend(SYSTEM_DIRECTORIES.map(|dir| (Path::new(dir).join("pg_service.conf"), false))),
    }
    files
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads the first group of that name; answers whether there is one.
fn add_group(
    settings: &mut Settings,
    path: &Path,
    text: &str,
    name: &str,
) -> Result<bool, ConfigError> {
    let mut found = false;
    for (place, line) in text.lines().enumerate() {
        let line = line.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let malformed = |problem| ConfigError::ServiceSyntax {
            path: path.to_owned(),
            line: place + 1,
            problem,
        };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found {
                break;
            }
            // Like libpq: what follows the bracket is not looked at.
            found = header.strip_prefix(name).is_some_and(|rest| rest.starts_with(']'));
            continue;
        }
        if !found {
            continue;
        }
        if line.starts_with("ldap") {
            return Err(malformed("pghost does not look services up by LDAP"));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(malformed("an '=' is missing"));
        };
        if key == "service" {
            return Err(malformed("a service can't name another service"));
        }
        let origin = Origin::ServiceFile { path: path.to_owned(), line: place + 1 };
        match lookup(key) {
            Some(parameter) => settings.set_if_absent(parameter, value.to_owned(), origin),
            None => {
                return Err(ConfigError::UnknownParameter { name: key.to_owned(), origin });
            }
        }
    }
    Ok(found)
}
