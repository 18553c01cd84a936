//! Settings from end to end, on a made-up machine.

mod printed;
mod sources;
mod values;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, FileText, Surroundings};

/// A machine with Debian's socket directory, a user and a home.
#[derive(Clone)]
struct Machine {
    env: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, FileText>,
    directories: Vec<PathBuf>,
    user: Option<&'static str>,
    home: Option<&'static str>,
}

fn machine() -> Machine {
    Machine {
        env: BTreeMap::new(),
        files: BTreeMap::new(),
        directories: vec!["/var/run/postgresql".into(), "/tmp".into()],
        user: Some("os"),
        home: Some("/home/os"),
    }
}

impl Machine {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.file_with_mode(path, text, 0o100_600)
    }

    fn file_with_mode(mut self, path: &str, text: &str, mode: u32) -> Self {
        let file = FileText { bytes: text.as_bytes().to_vec(), mode, is_file: true };
        self.files.insert(PathBuf::from(path), file);
        self
    }

    fn parse(&self, dsn: &str) -> Result<Config, ConfigError> {
        let exists = |path: &Path| {
            self.files.contains_key(path) || self.directories.iter().any(|known| known == path)
        };
        let read_file = |path: &Path| {
            let found = self.files.get(path).cloned();
            found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        let around = Surroundings {
            env: &|name| self.env.get(name).cloned(),
            read_file: &read_file,
            exists: &exists,
            os_user: self.user,
            home: self.home.map(Path::new),
        };
        Config::parse(dsn, &around)
    }

    fn config(&self, dsn: &str) -> Config {
        self.parse(dsn).unwrap()
    }

    fn describe(&self, dsn: &str) -> String {
        self.config(dsn).describe()
    }

    /// The error with its causes.
    fn error(&self, dsn: &str) -> String {
        let error = self.parse(dsn).unwrap_err();
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    /// The password for each host.
    fn passwords(&self, dsn: &str) -> Vec<Option<String>> {
        let config = self.config(dsn);
        let reveal = |host| {
            let password = config.password_for(host)?;
            Some(String::from_utf8(password.reveal().to_vec()).unwrap())
        };
        config.hosts.iter().map(reveal).collect()
    }
}
