//! Both sides' fingerprints, side by side.

use crate::{
    conn::{Connection, Error},
    pg::{Ident, QualifiedName},
    sql::{self, Hashing, Rows},
};

/// What a table's rows amount to, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// How many rows there are.
    pub rows: u64,
    /// The sum of the rows' hashes, as the server printed it; it is only ever compared.
    pub hash: String,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The source's rows.
    pub source: Fingerprint,
    /// The target's rows.
    pub target: Fingerprint,
}

impl Comparison {
    /// Whether both sides hold the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.source == self.target
    }
}

/// Compares all rows of two tables by their values' text in the given columns; both servers work
/// at the same time. The tables may hold these columns in different orders, and others besides.
///
/// Errors: the source's, else the target's. Either session is ready for its next request, unless
/// it is the one whose connection broke.
pub async fn compare(
    source: &mut Connection,
    source_table: &QualifiedName,
    target: &mut Connection,
    target_table: &QualifiedName,
    columns: &[Ident],
) -> Result<Comparison, Error> {
    // Both are waited for even if one fails: left in mid-reply the other could not be used again.
    let (source, target) = tokio::join!(
        fingerprint(source, source_table, columns),
        fingerprint(target, target_table, columns),
    );
    Ok(Comparison { source: source?, target: target? })
}

async fn fingerprint(
    connection: &mut Connection,
    table: &QualifiedName,
    columns: &[Ident],
) -> Result<Fingerprint, Error> {
    let hashing = Hashing { columns, portable: false };
    let sql = sql::fingerprint(table, &[], Rows::Between(None, None), hashing);
    let result = connection.query(&sql).await?;
    let row = result.row()?;
    Ok(Fingerprint { rows: row.get("row_count")?, hash: row.get("hash")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(rows: u64, hash: &str) -> Fingerprint {
        Fingerprint { rows, hash: hash.to_owned() }
    }

    #[test]
    fn sides_are_equal_when_both_count_and_hash_are() {
        let equal = |target| {
            let source = fingerprint(2, "-7");
            Comparison { source, target }.is_equal()
        };
        assert!(equal(fingerprint(2, "-7")));
        assert!(!equal(fingerprint(3, "-7")) && !equal(fingerprint(2, "7")));
    }
}
