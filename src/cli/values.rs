//! What options take besides texts and lengths of time: numbers within bounds, and names that can
//! be seen to be wrong before any server is asked.

use crate::ledger::LedgerSchema;

/// The most pages or lanes at once. Each takes a connection, and servers seldom allow more.
const COPY_JOBS_MAX: usize = 100;

/// As the server takes it for a schema's name.
pub(super) fn schema(text: &str) -> Result<LedgerSchema, String> {
    let fits = (1..=63).contains(&text.len()) && !text.contains(char::is_control);
    match fits && !text.starts_with("pg_") && text != "information_schema" {
        true => Ok(LedgerSchema::new(text)),
        false => Err("the name of a schema that a role may make is needed".into()),
    }
}

pub(super) fn at_least_one(text: &str) -> Result<u64, String> {
    // The server counts rows in a bigint.
    let rows = text.parse().ok().filter(|n| (1..=i64::MAX as u64).contains(n));
    rows.ok_or_else(|| "a whole number from 1 on is needed".into())
}

pub(super) fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok().filter(|n| (1..=COPY_JOBS_MAX).contains(n));
    jobs.ok_or_else(|| format!("a whole number from 1 to {COPY_JOBS_MAX} is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_size() {
        assert!(at_least_one("0").is_err() && at_least_one("-1").is_err());
        assert!(at_least_one("9223372036854775808").is_err());
        assert_eq!(at_least_one("1"), Ok(1));
        assert!(jobs("0").is_err() && jobs("101").is_err());
        assert_eq!(jobs("100"), Ok(100));
    }

    #[test]
    fn a_schema_that_no_role_may_make_holds_no_ledger() {
        for wrong in ["", "pg_toast", "information_schema", "a\0b", &"a".repeat(64)] {
            assert!(schema(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(schema("le \"dger"), Ok(LedgerSchema::new("le \"dger")));
    }
}
