//! How the bounds of pages are found: by walking the key's index, or by arithmetic.
//!
//! ```text
//!   keyset   the key that stands N rows further, read from the index
//!            any key; pages of exactly N rows; every entry of the index is read once more, and
//!            where vacuum has not marked the table's pages all-visible, every row too
//!   range    N keys further, by arithmetic; where that finds pages less than half full, keyset
//!            one integer column; pages of at most N rows; next to nothing is read
//! ```
//!
//! `auto` is range for one integer column and keyset for everything else. On a busy table, which
//! is what all this is for, the walk of keyset reads most rows twice (seen on 15, in memory: 58,000
//! rows of 280 bytes take 19 ms to be read as a page, and their bound 9 ms to be found, 3 ms once
//! the table was vacuumed). And where keys are sparse or stand in clumps, range itself walks the
//! index, since arithmetic can't tell how many rows lie before a bound that is far away: a page of
//! unknown size is a snapshot of unknown length. So range is never the worse of the two by more
//! than the pages that are less than full.
//!
//! Pure.

use crate::sql::KeyColumn;

/// How the bounds of pages are found, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Whichever is better for the key.
    Auto,
    /// By walking the key's index.
    Keyset,
    /// By arithmetic, which only a single integer column allows.
    Range,
}

impl Paging {
    /// Whether pages of this key are cut by arithmetic.
    ///
    /// Errors: arithmetic was asked for, and why this key does not allow it.
    pub fn is_arithmetic(self, key: &[KeyColumn]) -> Result<bool, String> {
        let obstacle = match key {
            [only] if only.is_integer() => None,
            [only] => Some(format!("its key {} is {}, not an integer", only.name, only.type_name)),
            several => Some(format!("its key has {} columns", several.len())),
        };
        match (self, obstacle) {
            (Self::Range, Some(obstacle)) => Err(obstacle),
            (Self::Auto | Self::Range, None) => Ok(true),
            (Self::Auto, Some(_)) | (Self::Keyset, _) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_for_a_single_integer() {
        let integer = |name, oid| KeyColumn::builtin(name, oid, "integer");
        let text = KeyColumn::builtin("k", 25, "text");
        for oid in [20, 21, 23] {
            let key = [integer("k", oid)];
            let ways = [Paging::Auto, Paging::Keyset, Paging::Range];
            assert_eq!(
                ways.map(|way| way.is_arithmetic(&key)),
                [Ok(true), Ok(false), Ok(true)],
                "{oid}"
            );
        }
        for (key, why) in [
            (vec![text.clone()], "its key \"k\" is text, not an integer"),
            // oid is a number too, but an unsigned one.
            (vec![KeyColumn::builtin("k", 26, "oid")], "its key \"k\" is oid, not an integer"),
            (vec![integer("a", 23), integer("b", 23)], "its key has 2 columns"),
        ] {
            assert_eq!(Paging::Auto.is_arithmetic(&key), Ok(false));
            assert_eq!(Paging::Keyset.is_arithmetic(&key), Ok(false));
            assert_eq!(Paging::Range.is_arithmetic(&key), Err(why.to_owned()));
        }
    }
}
