//! The door to the ledger: every command looks whether it is pghost's own before it reads from it,
//! and a run that it is whole and of this version.

use super::{Failure, verdict::Sign};
use crate::{
    conn::{Connection, Error},
    ledger::{self, Access, Ledger, LedgerSchema, Migration, MigrationName, Unfit},
    pg::{Ident, SqlState},
};

/// The ledger is fit to be used, or is not there at all.
///
/// Errors: it is somebody else's, or not as pghost makes it.
pub(super) async fn is_fit(
    target: &mut Connection,
    ledger: &LedgerSchema,
    access: Access,
) -> Result<(), Failure> {
    let looked = ledger::inspect(target, ledger, access).await;
    let looked = looked
        .map_err(|error| Failure::refused_by("looking at the ledger on the target", &error))?;
    looked.map_err(|unfit| match &unfit {
        Unfit::Strange(what) => Failure::refused(
            format!("the ledger can't be used: {what}"),
            format!(
                "pghost uses only a ledger that it has made, of a role that it trusts. If this one \
                 is not needed, rename its schema (ALTER SCHEMA {ledger} RENAME TO ..) or drop it; \
                 if it is another role's, use that role, or keep one of your own beside it with \
                 --ledger-schema NAME; if it was altered, undo that"
            ),
        ),
        Unfit::Acting { role, acts_as } => {
            let (role, acts_as) = (Ident::new(role), Ident::new(acts_as));
            Failure::refused(
                unfit.to_string(),
                format!(
                    "log in as {acts_as} for --target; or act as who has logged in: add \
                     options=-crole=none to --target, or ALTER ROLE {role} RESET role"
                ),
            )
        }
        Unfit::Damaged(what) => {
            Failure::seen(Sign::Ledger, format!("the ledger can't be used: {what}"))
        }
        Unfit::Newer(what) => Failure {
            hint: "a newer pghost has made this ledger or brought it up to date: use that one \
                   (`pghost --version`), or another --ledger-schema for another migration"
                .into(),
            ..Failure::seen(Sign::Ledger, format!("the ledger can't be used: {what}"))
        },
    })
}

/// Loads the migration, if it is there.
///
/// Errors: only a part of the ledger is there, it is another version's, or it is not pghost's own.
pub(super) async fn load(
    target: &mut Connection,
    name: &MigrationName,
    access: Access,
) -> Result<Option<Migration>, Failure> {
    is_fit(target, &name.ledger, access).await?;
    let damaged = |what: &str| {
        let message = format!("the ledger of the migration {name} can't be used: {what}");
        Failure::seen(Sign::Ledger, message)
    };
    let failed = |error: Error| match error {
        Error::Result(what) => damaged(&what),
        error if is_missing(&error) => damaged(&error.to_string()),
        error => Failure::refused_by("reading the ledger on the target", &error),
    };
    let found = Ledger::of(target, name).load().await.map_err(failed)?;
    match Ledger::of(target, name).what_is_missing(found.is_some()).await.map_err(failed)? {
        Some(what) => Err(damaged(&what)),
        None => Ok(found),
    }
}

/// Whether a table or column is not there.
fn is_missing(error: &Error) -> bool {
    let code = error.sqlstate();
    code.is_some_and(|c| c.class() == "42" && c != SqlState::INSUFFICIENT_PRIVILEGE)
}
