//! How the target reaches the source by itself: what a subscription keeps as its conninfo.
//!
//! Pure. The string goes to the target as it was given. A password is in it only if the user has
//! put it there: that of `--source` is never passed on.

use std::{fmt, io, path::Path};

use crate::config::{Config, ConfigError, FileText, Host, HostAddress, Password, Surroundings};

/// A conninfo. It may hold a password, so it can't be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Conninfo {
    text: String,
    password: Option<Password>,
    dbname: String,
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Conninfo(..)")
    }
}

impl Conninfo {
    /// Takes what was given, if it can be read. Nothing of this machine is added: the target reads
    /// it on its own.
    ///
    /// Errors: name the parameter that is wrong, never its value or the string.
    pub fn given(text: &str) -> Result<Self, ConfigError> {
        let config = bare(text)?;
        Ok(Self { text: text.to_owned(), password: config.password, dbname: config.dbname })
    }

    /// The source's own address, role and database, without its password.
    pub(super) fn of_source(source: &Config) -> Self {
        let mut pairs = Vec::new();
        let list = |of: &dyn Fn(&Host) -> String| {
            source.hosts.iter().map(of).collect::<Vec<_>>().join(",")
        };
        pairs.push((
            "host",
            list(&|host| match &host.address {
                HostAddress::Tcp { host, .. } => host.clone(),
                HostAddress::Unix(directory) => directory.display().to_string(),
            }),
        ));
        let has_address =
            |host: &Host| matches!(&host.address, HostAddress::Tcp { hostaddr: Some(_), .. });
        if source.hosts.iter().any(has_address) {
            pairs.push((
                "hostaddr",
                list(&|host| match &host.address {
                    HostAddress::Tcp { hostaddr: Some(address), .. } => address.to_string(),
                    _ => String::new(),
                }),
            ));
        }
        pairs.push(("port", list(&|host| host.port.to_string())));
        pairs.push(("user", source.user.clone()));
        pairs.push(("dbname", source.dbname.clone()));
        pairs.push(("sslmode", source.sslmode.to_string()));
        let pair = |(keyword, value): &(&str, String)| {
            format!("{keyword}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
        };
        let pairs: Vec<_> = pairs.iter().filter(|(_, v)| !v.is_empty()).map(pair).collect();
        Self { text: pairs.join(" "), password: None, dbname: source.dbname.clone() }
    }

    /// The string itself, for CREATE SUBSCRIPTION.
    pub(super) fn reveal(&self) -> &str {
        &self.text
    }

    /// The password in it.
    pub(super) const fn password(&self) -> Option<&Password> {
        self.password.as_ref()
    }

    /// The database that it leads to.
    pub(super) fn dbname(&self) -> &str {
        &self.dbname
    }

    /// A server's words without the password, should they hold it.
    pub(super) fn hide_in(&self, words: String) -> String {
        let password = self.password.as_ref().and_then(|p| std::str::from_utf8(p.reveal()).ok());
        match password.filter(|password| !password.is_empty()) {
            Some(password) => words.replace(password, "***"),
            None => words,
        }
    }
}

/// Reads a connection string without an environment, files or a user.
fn bare(text: &str) -> Result<Config, ConfigError> {
    let read_file = |_: &Path| -> io::Result<FileText> { Err(io::ErrorKind::NotFound.into()) };
    let nothing = Surroundings {
        env: &|_| None,
        read_file: &read_file,
        exists: &|_| false,
        os_user: Some("postgres"),
        home: None,
    };
    Config::parse(text, &nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stays_as_it_is_and_is_not_shown() {
        for text in [
            "host=h password=hunter2 dbname=shop",
            "postgres://ann:hunter2@h:5/shop?sslmode=require",
        ] {
            let conninfo = Conninfo::given(text).unwrap();
            assert_eq!((conninfo.reveal(), conninfo.dbname()), (text, "shop"));
            assert!(!format!("{conninfo:?}").contains("hunter2"));
            assert_eq!(conninfo.hide_in("a hunter2 b".into()), "a *** b");
        }
        let error = Conninfo::given("host=h password=hunter2 sslmode=hunter2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_sources_password_is_not_passed_on() {
        for (dsn, expected) in [
            (
                "postgres://ann:hunter2@a:1,b/shop",
                "host='a,b' port='1,5432' user='ann' dbname='shop' sslmode='prefer'",
            ),
            (
                "host=/tmp user=ann dbname=x password=hunter2 sslmode=disable",
                "host='/tmp' port='5432' user='ann' dbname='x' sslmode='disable'",
            ),
            (
                r"hostaddr=127.0.0.1 user='it\'s \\' dbname=x",
                r"hostaddr='127.0.0.1' port='5432' user='it\'s \\' dbname='x' sslmode='prefer'",
            ),
        ] {
            let source = bare(dsn).unwrap();
            let conninfo = Conninfo::of_source(&source);
            assert_eq!(conninfo.reveal(), expected);
            assert!(conninfo.password().is_none());
            assert_eq!(Conninfo::given(conninfo.reveal()).unwrap().dbname(), source.dbname);
        }
    }
}
