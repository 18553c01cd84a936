//! What can be wrong with connection settings, and what is only worth a warning.
//!
//! No message quotes the connection string, and none quotes a value that may have been part of a
//! password: a stray `/`, `@` or space in a password moves its rest into the next field.

use std::io;
use std::path::PathBuf;

use super::parameter::Origin;

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A parameter that libpq does not know either.
    #[error("{origin} has the unknown parameter '{name}'")]
    UnknownParameter {
        /// Its name.
        name: String,
        /// Where it stands.
        origin: Origin,
    },
    /// An unknown parameter that may be the rest of a secret, so that it is not named.
    #[error(
        "what follows the value of '{after}' in the connection string is no known parameter; \
         a value with a space needs single quotes, one with '&' needs %26 in a URI"
    )]
    UnknownAfterSecret {
        /// The parameter before it.
        after: &'static str,
    },
    /// The text does not follow the grammar of connection strings.
    #[error("the connection string is malformed at character {position}: {problem}")]
    Syntax {
        /// The character, from 1.
        position: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A value outside what the parameter allows.
    #[error("'{name}' in {origin} is not valid: {reason}")]
    InvalidValue {
        /// The parameter.
        name: &'static str,
        /// Where it stands.
        origin: Origin,
        /// What is allowed.
        reason: String,
    },
    /// A parameter that pghost can't honour and must not ignore.
    #[error("'{name}' in {origin} can't be honoured: {reason}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// Where it stands.
        origin: Origin,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// Two parameters that contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// Lists of different lengths.
    #[error("{count} values of '{name}' do not match {hosts} hosts")]
    ListLength {
        /// The parameter.
        name: &'static str,
        /// How many values it has.
        count: usize,
        /// How many hosts there are.
        hosts: usize,
    },
    /// An environment variable that is no text.
    #[error("the environment variable {0} is not UTF-8")]
    NotUtf8(String),
    /// No user was given and the operating system's is not known.
    #[error("no user is given, and the name of the operating system's user is not known")]
    NoUser,
    /// The service is in none of the files.
    #[error("the service '{0}' is in no service file")]
    ServiceNotFound(String),
    /// The service file that was named can't be read.
    #[error("the service file {} can't be read", path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line of a service file is malformed.
    #[error("line {line} of the service file {} is malformed: {problem}", path.display())]
    ServiceSyntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl ConfigError {
    /// An unknown parameter of a connection string. It is named only when that can't be the rest
    /// of a password: not after a secret, and not unless it looks like a name.
    pub(super) fn unknown(name: String, after: Option<&'static str>, position: usize) -> Self {
        let is_name = name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match after {
            Some(after) => Self::UnknownAfterSecret { after },
            None if is_name && !name.is_empty() => {
                Self::UnknownParameter { name, origin: Origin::ConnectionString }
            }
            None => Self::Syntax {
                position,
                problem: "what stands here before an '=' is no name of a parameter",
            },
        }
    }
}

/// The longest unknown parameter that is named; libpq's longest has 25 characters.
const NAME_BYTES_MAX: usize = 40;

/// Something that did not stop the settings from being read, but that a person should see.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The password file may be read by others and is therefore not used, as with libpq.
    #[error(
        "the password file {} is ignored: others may read it; make its permissions 0600",
        .0.display()
    )]
    PasswordFileOpenToOthers(PathBuf),
    /// The password file is a directory, a pipe or the like.
    #[error("the password file {} is ignored: it is not a plain file", .0.display())]
    PasswordFileNotPlain(PathBuf),
    /// The password file exists but can't be read.
    #[error("the password file {} is ignored: {reason}", path.display())]
    PasswordFileUnreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
}
