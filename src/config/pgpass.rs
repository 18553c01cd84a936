//! Password files: `.pgpass` and whatever `passfile` names.
//!
//! ```text
//! line  = "#" comment | host ":" port ":" database ":" user ":" password
//! field = "*" | *(character | "\" any character)        "\" takes ":" and "\" as they are
//! ```
//!
//! The first line that fits wins. As libpq's `passwordFromFile` (`fe-connect.c`) and
//! <https://www.postgresql.org/docs/18/libpq-pgpass.html>. Lines are bytes: nothing says in which
//! encoding such a file is. Whether the file may be trusted is decided here too, from what `stat`
//! said about it; opening it is the caller's work.

use std::io;
use std::path::Path;

use super::error::Warning;
use super::password::Password;
use super::surroundings::FileText;

/// What a line has to fit.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The host's name, else its address; `localhost` for the default socket directory.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The database.
    pub dbname: &'a str,
    /// The user.
    pub user: &'a str,
}

/// A password file that was read, or the reason why it is not used.
///
/// A file that is not there is no reason to say anything.
pub(super) fn usable(path: &Path, file: io::Result<FileText>) -> Result<Vec<u8>, Option<Warning>> {
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => None,
        _ => Some(Warning::PasswordFileUnreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    })?;
    if !file.is_file {
        return Err(Some(Warning::PasswordFileNotPlain(path.to_owned())));
    }
    if file.mode & OTHERS != 0 {
        return Err(Some(Warning::PasswordFileOpenToOthers(path.to_owned())));
    }
    Ok(file.bytes)
}

/// Every right of group and world, `S_IRWXG | S_IRWXO`.
const OTHERS: u32 = 0o077;

/// The password of the first line that fits.
///
/// Safe to call on untrusted bytes.
#[must_use]
pub fn find(file: &[u8], wanted: Wanted<'_>) -> Option<Password> {
    file.split(|&byte| byte == b'\n').find_map(|line| {
        // A file written on Windows ends its lines with CR LF; libpq strips any number of either.
        let line = trim_cr(line);
        if line.starts_with(b"#") {
            return None;
        }
        let port = wanted.port.to_string();
        let fields = [wanted.host, &port, wanted.dbname, wanted.user];
        let rest =
            fields.into_iter().try_fold(line, |rest, field| after_field(rest, field.as_bytes()))?;
        Some(Password::new(password(rest)))
    })
}

fn trim_cr(mut line: &[u8]) -> &[u8] {
    while let Some(shorter) = line.strip_suffix(b"\r") {
        line = shorter;
    }
    line
}

/// What follows the first field and its colon, if the field is `*` or spells `wanted`.
///
/// libpq's `pwdfMatchesString`: a backslash makes the next character stand for itself, so `\*` is
/// a host named `*`, and a colon after a backslash does not end the field.
fn after_field<'a>(line: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let mut rest = line;
    let mut wanted = wanted.iter();
    loop {
        let (&first, tail) = rest.split_first()?;
        let (byte, tail) = match first {
            b':' if wanted.as_slice().is_empty() => return Some(tail),
            b'\\' => tail.split_first().map(|(&byte, tail)| (byte, tail))?,
            byte => (byte, tail),
        };
        if wanted.next() != Some(&byte) {
            return None;
        }
        rest = tail;
    }
}

/// The last field: it ends at a bare colon or with the line, and a final backslash is itself.
fn password(field: &[u8]) -> Vec<u8> {
    let mut password = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b':' => break,
            b'\\' => password.push(bytes.next().unwrap_or(byte)),
            _ => password.push(byte),
        }
    }
    password
}

#[cfg(test)]
mod tests;
