//! Connection strings in the form of a URI.
//!
//! ```text
//! uri       = ("postgresql://" | "postgres://") [userinfo "@"] [hosts] ["/" dbname] ["?" params]
//! userinfo  = user [":" password]
//! hosts     = [host] [":" port] *("," [host] [":" port])
//! host      = name | IPv4 | "[" IPv6 "]" | a socket directory, its slashes as %2F
//! params    = name "=" value *("&" name "=" value)
//! ```
//!
//! As libpq's `conninfo_uri_parse_options` (`fe-connect.c`), and deliberately no general URI
//! parser: several hosts are no URI at all. Names and values are percent-decoded after the text
//! was cut into its parts. Three declared differences:
//!
//!  - A bare `@` is refused in the host part and in the database's name. libpq would look up a host
//!    or a database named after half a password, and show it in its error; here the person is told
//!    to percent-encode. (An abstract socket is therefore `%40name`.)
//!  - What percent-decodes to something that is no UTF-8 is refused.
//!  - Nothing that is refused is quoted.

use super::error::ConfigError;
use super::parameter::{Origin, Settings, lookup, store};

/// The text after the scheme, if this is a URI.
pub(super) fn strip_scheme(dsn: &str) -> Option<&str> {
    dsn.strip_prefix("postgresql://").or_else(|| dsn.strip_prefix("postgres://"))
}

/// Reads a URI whose scheme is cut off; `dsn` is the whole string, for positions in errors.
pub(super) fn parse(dsn: &str, rest: &str) -> Result<Settings, ConfigError> {
    let uri = Uri { dsn };
    let mut settings = Settings::default();
    let (userinfo, rest) = split_userinfo(rest);
    if let Some(userinfo) = userinfo {
        let (user, password) = cut(userinfo, ':');
        uri.store_filled(&mut settings, "user", user)?;
        uri.store_filled(&mut settings, "password", password.unwrap_or(""))?;
    }
    let (hosts, path, query) = split_path_and_query(rest);
    let (hosts, ports) = uri.hosts(hosts)?;
    uri.store_filled_list(&mut settings, "host", &hosts)?;
    uri.store_filled_list(&mut settings, "port", &ports)?;
    uri.refuse_at_sign(path)?;
    // An empty name is left out, so that $PGDATABASE still counts.
    uri.store_filled(&mut settings, "dbname", path)?;
    if let Some(query) = query {
        uri.query(&mut settings, query)?;
    }
    Ok(settings)
}

const STRAY_AT: &str = "an '@' where none can be; in a user, password or database name, \
    write @ as %40, / as %2F, : as %3A and ? as %3F";

/// Userinfo ends at the first `@`, provided that no `/` comes before it.
fn split_userinfo(rest: &str) -> (Option<&str>, &str) {
    match rest.find(['@', '/']).and_then(|end| rest.split_at_checked(end)) {
        Some((userinfo, tail)) => match tail.strip_prefix('@') {
            Some(tail) => (Some(userinfo), tail),
            None => (None, rest),
        },
        None => (None, rest),
    }
}

/// Hosts and ports end at `/` or `?`, the path at `?`.
fn split_path_and_query(rest: &str) -> (&str, &str, Option<&str>) {
    // A bracketed address can hold neither, so brackets need no thought here.
    let (before, query) = cut(rest, '?');
    let (hosts, path) = cut(before, '/');
    (hosts, path.unwrap_or(""), query)
}

/// The text before the first `at`, and the text after it.
fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// What is left of the text from the first `at` on.
fn from(text: &str, at: char) -> Option<&str> {
    text.get(text.find(at)?..)
}

struct Uri<'a> {
    dsn: &'a str,
}

impl Uri<'_> {
    /// An error at the start of a piece of the string.
    fn error(&self, piece: &str, problem: &'static str) -> ConfigError {
        ConfigError::Syntax { position: self.position(piece), problem }
    }

    /// The character of the string at which a piece of it starts, from 1.
    fn position(&self, piece: &str) -> usize {
        // Pieces are slices of `dsn`, so their addresses tell where they stand.
        let offset = piece.as_ptr().addr().saturating_sub(self.dsn.as_ptr().addr());
        let before = self.dsn.get(..offset).unwrap_or(self.dsn);
        before.chars().count() + 1
    }

    fn refuse_at_sign(&self, piece: &str) -> Result<(), ConfigError> {
        match from(piece, '@') {
            Some(at) => Err(self.error(at, STRAY_AT)),
            None => Ok(()),
        }
    }

    /// Cuts the list into what `host` and `port` would hold in a key=value string.
    fn hosts<'a>(&self, list: &'a str) -> Result<(Vec<&'a str>, Vec<&'a str>), ConfigError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        for item in list.split(',') {
            let (host, port) = if let Some(inner) = item.strip_prefix('[') {
                let Some((address, after)) = inner.split_once(']') else {
                    return Err(self.error(item, "an IPv6 address without its closing ']'"));
                };
                if address.is_empty() {
                    return Err(self.error(item, "an empty IPv6 address"));
                }
                match (after.is_empty(), after.strip_prefix(':')) {
                    (true, _) => (address, ""),
                    (false, Some(port)) => (address, port),
                    (false, None) => {
                        return Err(self.error(after, "only ':', '/', '?' or ',' may follow a ']'"));
                    }
                }
            } else {
                let (host, port) = cut(item, ':');
                (host, port.unwrap_or(""))
            };
            self.refuse_at_sign(item)?;
            hosts.push(host);
            ports.push(port);
        }
        Ok((hosts, ports))
    }

    fn query(&self, settings: &mut Settings, query: &str) -> Result<(), ConfigError> {
        let mut after_secret = None;
        if query.is_empty() {
            return Ok(());
        }
        // A final '&' ends the last pair and starts none.
        let query = query.strip_suffix('&').unwrap_or(query);
        for pair in query.split('&') {
            let (raw_name, value) = match (pair.split_once('='), after_secret) {
                (Some(pair), _) => pair,
                (None, Some(after)) => return Err(ConfigError::UnknownAfterSecret { after }),
                (None, None) => return Err(self.error(pair, "a parameter without '='")),
            };
            if value.contains('=') {
                return Err(self.error(pair, "a second '=' in one parameter; write it as %3D"));
            }
            let name = self.decode(raw_name)?;
            let value = self.decode(value)?;
            let (name, value) = match (name.as_str(), value.as_str()) {
                ("ssl", "true") => ("sslmode".to_owned(), "require".to_owned()),
                _ => (name, value),
            };
            if !store(settings, &name, value, Origin::ConnectionString) {
                // This '@' may be the one that was to end a password with a '?' in it.
                if let Some(at) = from(query, '@') {
                    return Err(self.error(at, STRAY_AT));
                }
                return Err(ConfigError::unknown(name, after_secret, self.position(pair)));
            }
            after_secret = lookup(&name).filter(|p| p.secret).map(|p| p.name);
        }
        Ok(())
    }

    fn store_filled(
        &self,
        settings: &mut Settings,
        name: &str,
        raw: &str,
    ) -> Result<(), ConfigError> {
        if !raw.is_empty() {
            store(settings, name, self.decode(raw)?, Origin::ConnectionString);
        }
        Ok(())
    }

    /// Stores a list unless it is one empty item, which says nothing.
    fn store_filled_list(
        &self,
        settings: &mut Settings,
        name: &str,
        items: &[&str],
    ) -> Result<(), ConfigError> {
        if items.iter().all(|item| item.is_empty()) && items.len() == 1 {
            return Ok(());
        }
        let mut decoded = Vec::with_capacity(items.len());
        for item in items {
            decoded.push(self.decode(item)?);
        }
        store(settings, name, decoded.join(","), Origin::ConnectionString);
        Ok(())
    }

    /// Percent-decoding, as libpq's `conninfo_uri_decode` does it from 17 on: spaces around the
    /// text are skipped, spaces within it are refused.
    fn decode(&self, raw: &str) -> Result<String, ConfigError> {
        let text = raw.trim_matches(' ');
        if let Some(space) = from(text, ' ') {
            return Err(self.error(space, "a space within a name or value; write it as %20"));
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((plain, encoded)) = rest.split_once('%') {
            bytes.extend_from_slice(plain.as_bytes());
            let code = encoded.split_at_checked(2);
            let problem = match code.and_then(|(digits, tail)| Some((hex_byte(digits)?, tail))) {
                Some((0, _)) => "%00 is forbidden",
                Some((byte, tail)) => {
                    bytes.push(byte);
                    rest = tail;
                    continue;
                }
                None => BAD_PERCENT,
            };
            return Err(self.error(from(rest, '%').unwrap_or(rest), problem));
        }
        bytes.extend_from_slice(rest.as_bytes());
        String::from_utf8(bytes)
            .map_err(|_| self.error(raw, "percent-encoded bytes that are no UTF-8"))
    }
}

const BAD_PERCENT: &str =
    "a '%' needs two hexadecimal digits after it; a percent sign itself is %25";

/// Two hexadecimal digits; `from_str_radix` alone would take a sign.
fn hex_byte(code: &str) -> Option<u8> {
    code.bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(code, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
