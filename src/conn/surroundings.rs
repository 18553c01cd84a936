//! Connection settings read on a real machine: its environment, its files, its user.

use std::{cell::RefCell, env, fs, io, os::unix::fs::PermissionsExt, path::Path};

use crate::config::{Config, ConfigError, FileText, Surroundings};

/// Reads a URI or key=value string with this process's environment, as libpq would.
///
/// Errors: names the parameter that is wrong, never its value or the string.
pub fn parse_dsn(dsn: &str) -> Result<Config, ConfigError> {
    let user = operating_system_user();
    let home = env::home_dir();
    let unreadable = RefCell::new(None);
    let variable = |name: &str| {
        let value = env::var_os(name)?.into_string();
        // A password left out in silence would look like one that was never given.
        value.map_err(|_| unreadable.replace(Some(name.to_owned()))).ok()
    };
    let config = Config::parse(
        dsn,
        &Surroundings {
            env: &variable,
            read_file: &read_file,
            exists: &Path::exists,
            os_user: user.as_deref(),
            home: home.as_deref(),
        },
    )?;
    match unreadable.into_inner() {
        Some(name) => Err(ConfigError::NotUtf8(name)),
        None => Ok(config),
    }
}

fn read_file(path: &Path) -> io::Result<FileText> {
    let metadata = fs::metadata(path)?;
    let is_file = metadata.is_file();
    // A pipe would hang and a device never end.
    let bytes = if is_file { fs::read(path)? } else { Vec::new() };
    Ok(FileText { bytes, mode: metadata.permissions().mode() & 0o7777, is_file })
}

/// The name behind our user id: from the password database as libpq does it, and from the
/// environment where that has no line for us (users of a directory service).
fn operating_system_user() -> Option<String> {
    let uid = fs::metadata("/proc/self").ok().map(|m| {
        use std::os::unix::fs::MetadataExt;
        m.uid().to_string()
    });
    let from_passwd = uid.and_then(|uid| {
        let passwd = fs::read_to_string("/etc/passwd").ok()?;
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        })
    });
    from_passwd.or_else(|| env::var("USER").or_else(|_| env::var("LOGNAME")).ok())
}
