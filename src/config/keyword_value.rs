//! Connection strings in the form `keyword = value ...`.
//!
//! ```text
//! settings = *(space) [pair *(1*space pair)] *(space)
//! pair     = keyword *(space) "=" *(space) value
//! value    = *(character but space) | "'" *(character but "'") "'"
//! ```
//!
//! Within a value, quoted or not, a backslash takes the character after it as it is. As libpq's
//! `conninfo_parse` (`fe-connect.c`); what is refused is never quoted, since an unquoted password
//! with a space puts its rest where a keyword is expected.

use std::iter::Peekable;
use std::str::Chars;

use super::error::ConfigError;
use super::parameter::{Origin, Settings, lookup, store};

/// Reads the string.
pub(super) fn parse(dsn: &str) -> Result<Settings, ConfigError> {
    let mut text = Text { chars: dsn.chars().peekable(), taken: 0 };
    refuse_other_schemes(dsn)?;
    let mut settings = Settings::default();
    let mut after_secret = None;
    loop {
        text.skip_spaces();
        if text.chars.peek().is_none() {
            return Ok(settings);
        }
        let position = text.taken + 1;
        let keyword = text.keyword().map_err(|error| match after_secret {
            Some(after) => ConfigError::UnknownAfterSecret { after },
            None => error,
        })?;
        let value = text.value()?;
        if !store(&mut settings, &keyword, value, Origin::ConnectionString) {
            return Err(ConfigError::unknown(keyword, after_secret, position));
        }
        after_secret = lookup(&keyword).filter(|p| p.secret).map(|p| p.name);
    }
}

/// `postgre://` or ` postgres://` would be read as a keyword up to the first `=`.
fn refuse_other_schemes(dsn: &str) -> Result<(), ConfigError> {
    let word = dsn.trim_start().split(['=', '\'']).next();
    match word.is_some_and(|word| word.contains("://")) {
        false => Ok(()),
        true => Err(ConfigError::Syntax {
            position: 1,
            problem: "a URI starts with postgresql:// or postgres://, and with no space before it",
        }),
    }
}

/// The characters of the string, with a count for errors.
struct Text<'a> {
    chars: Peekable<Chars<'a>>,
    taken: usize,
}

impl Text<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        self.taken += 1;
        Some(next)
    }

    fn next_if(&mut self, wanted: impl FnOnce(char) -> bool) -> Option<char> {
        let next = self.chars.next_if(|c| wanted(*c))?;
        self.taken += 1;
        Some(next)
    }

    fn skip_spaces(&mut self) {
        while self.next_if(is_space).is_some() {}
    }

    /// An error at the next character.
    fn error(&self, problem: &'static str) -> ConfigError {
        ConfigError::Syntax { position: self.taken + 1, problem }
    }

    /// A keyword and the `=` after it.
    fn keyword(&mut self) -> Result<String, ConfigError> {
        let mut keyword = String::new();
        while let Some(c) = self.next_if(|c| c != '=' && !is_space(c)) {
            keyword.push(c);
        }
        self.skip_spaces();
        match self.next_if(|c| c == '=') {
            Some(_) => Ok(keyword),
            None => Err(self.error(
                "an '=' is missing after a keyword; a value with a space needs single quotes",
            )),
        }
    }

    fn value(&mut self) -> Result<String, ConfigError> {
        self.skip_spaces();
        let start = self.error("the quoted value that starts here has no closing quote");
        let quoted = self.next_if(|c| c == '\'').is_some();
        let mut value = String::new();
        loop {
            match self.next_if(|c| quoted || !is_space(c)) {
                None if quoted => return Err(start),
                None => return Ok(value),
                Some('\'') if quoted => return Ok(value),
                // A backslash at the very end stands for nothing.
                Some('\\') => value.extend(self.next()),
                Some(c) => value.push(c),
            }
        }
    }
}

/// C's `isspace` in the C locale, which is what libpq splits at.
pub(super) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

#[cfg(test)]
mod tests;
