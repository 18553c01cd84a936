//! Results, as the few types that catalogs and the ledger need.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use crate::pg::{Lsn, Oid, Snapshot};

/// All that one Query message, or one execution, gave: a result for each statement.
#[derive(Clone, Debug, Default)]
pub struct QueryResult {
    /// In the order of the statements.
    pub statements: Vec<StatementResult>,
}

impl QueryResult {
    /// The rows of the last statement.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        self.statements.last().map_or(&[], |s| &s.rows)
    }

    /// The only row of the last statement.
    ///
    /// Errors: there is none, or more than one.
    pub fn row(&self) -> Result<&Row, Error> {
        match self.rows() {
            [row] => Ok(row),
            rows => Err(Error::Result(format!("one row expected, {} came", rows.len()))),
        }
    }
}

/// What one statement gave.
#[derive(Clone, Debug, Default)]
pub struct StatementResult {
    /// Its rows, if it returns any.
    pub rows: Vec<Row>,
    /// What was done, for example `INSERT 0 5`.
    pub tag: String,
    /// How many rows the tag counts.
    pub affected: u64,
}

/// One row, its values as the text the server sent.
#[derive(Clone, Debug)]
pub struct Row {
    pub(super) names: Arc<[String]>,
    pub(super) values: Vec<Option<Bytes>>,
}

impl Row {
    /// The value of a column, by name.
    ///
    /// Errors: no such column, NULL where `T` is not an `Option`, or text that is not a `T`.
    pub fn get<T: FromText>(&self, column: &str) -> Result<T, Error> {
        let value = (self.names.iter().position(|n| n == column))
            .and_then(|i| self.values.get(i))
            .ok_or_else(|| Error::Result(format!("there is no column {column}")))?;
        let text = match value {
            None => None,
            Some(bytes) => Some(
                std::str::from_utf8(bytes)
                    .map_err(|_| Error::Result(format!("column {column} is not UTF-8")))?,
            ),
        };
        T::from_text(text).ok_or_else(|| Error::Result(format!("column {column} holds {text:?}")))
    }

    /// The values from a place on, as text.
    ///
    /// Errors: one is NULL, or not UTF-8.
    pub fn texts(&self, first: usize) -> Result<Vec<String>, Error> {
        let text = |value: &Option<Bytes>| {
            let value = value.as_ref().ok_or_else(|| Error::Result("a value is NULL".into()))?;
            String::from_utf8(value.to_vec())
                .map_err(|_| Error::Result("a value is not UTF-8".into()))
        };
        self.values.iter().skip(first).map(text).collect()
    }

    /// All values in order, as the bytes that came; `None` for NULL.
    #[must_use]
    pub fn values(&self) -> &[Option<Bytes>] {
        &self.values
    }
}

/// A type that can be read from a value's text.
pub trait FromText: Sized {
    /// The value, or `None` if the text (or NULL, as `None`) is not one.
    fn from_text(text: Option<&str>) -> Option<Self>;
}

impl FromText for String {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text.map(ToOwned::to_owned)
    }
}

impl FromText for bool {
    fn from_text(text: Option<&str>) -> Option<Self> {
        match text? {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        }
    }
}

impl<T: FromText> FromText for Option<T> {
    fn from_text(text: Option<&str>) -> Option<Self> {
        match text {
            None => Some(None),
            some => T::from_text(some).map(Some),
        }
    }
}

macro_rules! from_text_by_parsing {
    ($($type:ty),*) => {$(
        impl FromText for $type {
            fn from_text(text: Option<&str>) -> Option<Self> {
                text?.parse().ok()
            }
        }
    )*};
}

from_text_by_parsing!(i16, i32, i64, u16, u32, u64, usize, f64, char, Lsn, Snapshot);

impl FromText for Oid {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text?.parse().ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Option<&'static str>) -> Row {
        Row {
            names: Arc::new(["c".to_owned()]),
            values: vec![value.map(|v| Bytes::from_static(v.as_bytes()))],
        }
    }

    #[test]
    fn values_are_read_by_name_and_type() {
        assert_eq!(row(Some("16/B")).get::<Lsn>("c").unwrap(), Lsn(0x16_0000_000B));
        assert!(row(Some("t")).get::<bool>("c").unwrap());
        assert_eq!(row(None).get::<Option<i32>>("c").unwrap(), None);
        assert_eq!(row(Some("7")).get::<Option<i32>>("c").unwrap(), Some(7));
    }

    #[test]
    fn what_can_not_be_read_is_an_error_that_names_the_column() {
        for error in [
            row(None).get::<i32>("c").unwrap_err(),
            row(Some("x")).get::<i32>("c").unwrap_err(),
            row(Some("x")).get::<String>("other").unwrap_err(),
        ] {
            assert!(error.to_string().contains("column"), "{error}");
        }
    }
}
