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
    let (hosts, ports, rest) = uri.hosts(rest)?;
    let (path, query) = cut(rest, '?');
    let path = path.strip_prefix('/').unwrap_or(path);
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

/// The text before the first `at`, and the text after it.
fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// The text before the first of some characters, and the rest with it.
fn split_at_any<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
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

    /// Cuts off what `host` and `port` would hold in a key=value string; and the rest, which is
    /// empty or begins with `/` or `?`.
    fn hosts<'a>(
        &self,
        text: &'a str,
    ) -> Result<(Vec<&'a str>, Vec<&'a str>, &'a str), ConfigError> {
        let (mut hosts, mut ports, mut item) = (Vec::new(), Vec::new(), text);
        loop {
            let (host, rest) = self.host(item)?;
            let (port, rest) = match rest.strip_prefix(':') {
                Some(port) => split_at_any(port, &['/', '?', ',']),
                None => ("", rest),
            };
            self.refuse_at_sign(host)?;
            self.refuse_at_sign(port)?;
            hosts.push(host);
            ports.push(port);
            match rest.strip_prefix(',') {
                Some(next) => item = next,
                None => return Ok((hosts, ports, rest)),
            }
        }
    }

    /// One host and the rest. What stands in brackets is not looked at, as in libpq: a socket
    /// directory in them needs no `%2F`.
    fn host<'a>(&self, text: &'a str) -> Result<(&'a str, &'a str), ConfigError> {
        let Some(inner) = text.strip_prefix('[') else {
            return Ok(split_at_any(text, &[':', '/', '?', ',']));
        };
        let Some((address, rest)) = inner.split_once(']') else {
            return Err(self.error(text, "an IPv6 address without its closing ']'"));
        };
        if address.is_empty() {
            return Err(self.error(text, "an empty IPv6 address"));
        }
        if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
            return Err(self.error(rest, "only ':', '/', '?' or ',' may follow a ']'"));
        }
        Ok((address, rest))
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
        for (place, item) in items.iter().enumerate() {
            // libpq decodes the list as a whole: only the spaces around that are skipped.
            let item = if place == 0 { item.trim_start_matches(' ') } else { item };
            let last = place + 1 == items.len();
            let item = if last { item.trim_end_matches(' ') } else { item };
            decoded.push(self.decode_trimmed(item)?);
        }
        store(settings, name, decoded.join(","), Origin::ConnectionString);
        Ok(())
    }

    /// Percent-decoding, as libpq's `conninfo_uri_decode` does it from 17 on: spaces around the
    /// text are skipped, spaces within it are refused.
    fn decode(&self, raw: &str) -> Result<String, ConfigError> {
        self.decode_trimmed(raw.trim_matches(' '))
    }

    fn decode_trimmed(&self, text: &str) -> Result<String, ConfigError> {
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
            .map_err(|_| self.error(text, "percent-encoded bytes that are no UTF-8"))
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
