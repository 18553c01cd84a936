//! The spelling of `--table`.
//!
//! ```text
//!   table   = name [ "=" name ]          where it goes; the same name if that is left out
//!   name    = part [ "." part ]          schema and name; `public` if only the name is given
//!   part    = bare | '"' quoted '"'
//!   bare    = one or more of anything but . = "
//!   quoted  = anything, a double quote doubled
//! ```
//!
//! Parts are letter for letter: unlike in SQL, `Orders` without quotes is `Orders`.

use crate::{migrate::TableSpec, pg::QualifiedName};

/// Names longer than this the server cuts off (`NAMEDATALEN` less one), and so finds another table.
const NAME_BYTES_MAX: usize = 63;

/// Why a table's spelling can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpellingError {
    #[error("a name is empty")]
    Empty,
    #[error("a double quote is not closed")]
    Unclosed,
    #[error("a double quote stands inside a name; a part is quoted as a whole or not at all")]
    StrayQuote,
    #[error("a name has more than two parts; a database is not named here")]
    TooManyParts,
    #[error("'=' stands there twice")]
    TooManyNames,
    #[error("a name is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads one table.
pub(super) fn parse(text: &str) -> Result<TableSpec, SpellingError> {
    let (source, rest) = parse_name(text)?;
    let Some(rest) = rest else {
        let target = source.clone();
        return Ok(TableSpec { source, target });
    };
    let (target, rest) = parse_name(rest)?;
    match rest {
        None => Ok(TableSpec { source, target }),
        Some(_) => Err(SpellingError::TooManyNames),
    }
}

/// What stands behind a part.
enum Next<'a> {
    Dot(&'a str),
    Equals(&'a str),
    End,
}

/// A name, and what follows its `=` if there is one.
fn parse_name(text: &str) -> Result<(QualifiedName, Option<&str>), SpellingError> {
    let (first, next) = parse_part(text)?;
    let rest = match next {
        Next::Dot(rest) => rest,
        Next::Equals(rest) => return Ok((QualifiedName::new("public", first), Some(rest))),
        Next::End => return Ok((QualifiedName::new("public", first), None)),
    };
    let (second, next) = parse_part(rest)?;
    match next {
        Next::Dot(_) => Err(SpellingError::TooManyParts),
        Next::Equals(rest) => Ok((QualifiedName::new(first, second), Some(rest))),
        Next::End => Ok((QualifiedName::new(first, second), None)),
    }
}

fn parse_part(text: &str) -> Result<(String, Next<'_>), SpellingError> {
    let (part, rest) = match text.strip_prefix('"') {
        Some(quoted) => parse_quoted(quoted)?,
        None => {
            let (bare, rest) = text.split_at(text.find(['.', '=', '"']).unwrap_or(text.len()));
            (bare.to_owned(), rest)
        }
    };
    if part.is_empty() && !rest.starts_with('"') {
        return Err(SpellingError::Empty);
    }
    if part.len() > NAME_BYTES_MAX {
        return Err(SpellingError::TooLong);
    }
    let mut letters = rest.chars();
    match letters.next() {
        None => Ok((part, Next::End)),
        Some('.') => Ok((part, Next::Dot(letters.as_str()))),
        Some('=') => Ok((part, Next::Equals(letters.as_str()))),
        Some(_) => Err(SpellingError::StrayQuote),
    }
}

/// The part up to its closing quote, and what follows.
fn parse_quoted(text: &str) -> Result<(String, &str), SpellingError> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"').ok_or(SpellingError::Unclosed)?;
        part.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                part.push('"');
                rest = after;
            }
            None => return Ok((part, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_letter_for_letter() {
        let table = [
            ("t", ("public", "t"), ("public", "t")),
            ("s.t", ("s", "t"), ("s", "t")),
            ("Sales.Order Item", ("Sales", "Order Item"), ("Sales", "Order Item")),
            ("t=u", ("public", "t"), ("public", "u")),
            ("s.t=u", ("s", "t"), ("public", "u")),
            ("t=s2.u", ("public", "t"), ("s2", "u")),
            (r#""a.b"."c=d""#, ("a.b", "c=d"), ("a.b", "c=d")),
            (r#"s."say ""hi""""#, ("s", r#"say "hi""#), ("s", r#"say "hi""#)),
            (r#""x"="y".z"#, ("public", "x"), ("y", "z")),
            (r#""""""#, ("public", "\""), ("public", "\"")),
            ("größe.ü", ("größe", "ü"), ("größe", "ü")),
        ];
        for (text, source, target) in table {
            let expected = TableSpec {
                source: QualifiedName::new(source.0, source.1),
                target: QualifiedName::new(target.0, target.1),
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_spellings_say_what_is_wrong() {
        let table = [
            ("", SpellingError::Empty),
            (".t", SpellingError::Empty),
            ("s.", SpellingError::Empty),
            ("t=", SpellingError::Empty),
            ("=u", SpellingError::Empty),
            ("\"\"", SpellingError::Empty),
            ("s..t", SpellingError::Empty),
            ("db.s.t", SpellingError::TooManyParts),
            ("t=u=v", SpellingError::TooManyNames),
            ("\"t", SpellingError::Unclosed),
            ("\"t\"\"", SpellingError::Unclosed),
            ("s\"t\"", SpellingError::StrayQuote),
            ("\"s\"t", SpellingError::StrayQuote),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_name_the_server_would_cut_off_is_refused() {
        assert!(parse(&"t".repeat(63)).is_ok());
        assert_eq!(parse(&"t".repeat(64)), Err(SpellingError::TooLong));
        assert_eq!(parse(&"ü".repeat(32)), Err(SpellingError::TooLong));
    }

    #[test]
    fn what_a_quoted_name_prints_reads_back() {
        for name in [QualifiedName::new("a.b\"", "=\"\""), QualifiedName::new("s", "t")] {
            assert_eq!(parse(&name.to_string()).map(|table| table.source), Ok(name));
        }
    }
}
