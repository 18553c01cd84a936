//! The ledger as a run begins with it: whole and of this version, or told apart from that.

use super::{Failure, verdict::Sign};
use crate::{
    conn::{Connection, Error},
    ledger::{self, Migration},
    pg::SqlState,
};

/// Loads the migration, if it is there.
///
/// Errors: only a part of the ledger is there, or it is another version's.
pub(super) async fn load(
    target: &mut Connection,
    name: &str,
) -> Result<Option<Migration>, Failure> {
    let damaged = |what: &str| {
        let message = format!("the ledger of the migration {name} can't be used: {what}");
        Failure::seen(Sign::Ledger, message)
    };
    let failed = |error: Error| match error {
        Error::Result(what) => damaged(&what),
        error if is_missing(&error) => damaged(&error.to_string()),
        error => Failure::refused_by("reading the ledger on the target", &error),
    };
    let found = ledger::load(target, name).await.map_err(failed)?;
    match ledger::what_is_missing(target, name, found.is_some()).await.map_err(failed)? {
        Some(what) => Err(damaged(&what)),
        None => Ok(found),
    }
}

/// Whether a table or column is not there.
fn is_missing(error: &Error) -> bool {
    let code = error.sqlstate();
    code.is_some_and(|c| c.class() == "42" && c != SqlState::INSUFFICIENT_PRIVILEGE)
}
