//! Questions, one at a time, none of which finds anything by a search path that others have set.
//!
//! A session's `search_path` is empty, and what is not qualified is found among what comes with
//! Postgres. But a function that runs in the session, a table's or an event trigger's, may set it,
//! as some do for convenience, to schemas in which yet others may make things; what is asked next
//! would be looked for there first. So it is set again on the way, in no further round trip, behind
//! everything that can run a function which does not come with Postgres. A query is such, too:
//! planning one evaluates what its tables' indexes are made of.
//!
//! Not here: what is queued by hand (`queue_query`, [`super::Pipeline`]), which has
//! [`super::PATH_AGAIN`] where it is needed.

use super::{Connection, Error, PATH_AGAIN, SessionKind, answer::Answer, rows::QueryResult};
use crate::{
    pg::Oid,
    wire::{Format, TransactionStatus},
};

/// Whose a session's `search_path` is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SearchPath {
    /// Whether it is set again at all.
    is_kept: bool,
    /// Whether others may have set it.
    is_unsure: bool,
}

impl SearchPath {
    /// It is set again from now on.
    pub(super) const fn keep(&mut self, kind: SessionKind) {
        // A walsender's commands run nobody's functions.
        self.is_kept = !matches!(kind, SessionKind::Replication);
    }

    /// Something else than a single statement has run.
    pub(super) const fn is_unsure(&mut self) {
        self.is_unsure = true;
    }

    /// A statement with this tag has run.
    pub(super) fn has_run(&mut self, tag: &str) {
        let first = tag.split(' ').next().unwrap_or_default();
        self.is_unsure |=
            !matches!(first, "BEGIN" | "SET" | "SHOW" | "LOCK" | "SAVEPOINT" | "RELEASE");
    }
}

impl Connection {
    /// Runs one or more statements and waits for their results.
    ///
    /// Errors: the server's, after which the session is ready again; or the connection's.
    pub async fn query(&mut self, sql: &str) -> Result<QueryResult, Error> {
        self.settle().await?;
        let sets = self.queue_path();
        self.queue_query(sql);
        self.after_path(sets, Answer::Query).await
    }

    /// Runs one statement with parameters given as text, and waits for its result.
    pub async fn query_with(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
    ) -> Result<QueryResult, Error> {
        let formats = vec![Format::Text; parameters.len()];
        let values: Vec<_> = parameters.iter().map(|p| p.map(str::as_bytes)).collect();
        self.query_bound(sql, &[], &formats, &values).await
    }

    /// Runs one statement, whatever its text: the server refuses several. For what another server,
    /// or anybody but us, has written.
    pub async fn query_single(&mut self, sql: &str) -> Result<QueryResult, Error> {
        self.query_with(sql, &[]).await
    }

    /// The same with parameters of given types and formats.
    pub async fn query_bound(
        &mut self,
        sql: &str,
        types: &[Oid],
        formats: &[Format],
        parameters: &[Option<&[u8]>],
    ) -> Result<QueryResult, Error> {
        self.settle().await?;
        let sets = self.queue_path();
        let writer = self.writer();
        writer.parse("", sql, types);
        let mut bind = writer.bind("", formats.iter().copied());
        for value in parameters {
            bind.value(*value);
        }
        bind.finish();
        writer.describe_portal();
        writer.execute();
        writer.sync();
        self.owe_ready();
        self.after_path(sets, Answer::Parse).await
    }

    /// For whoever sets a `search_path` of their own and wants it to stay.
    pub fn leave_search_path(&mut self) {
        *self.path() = SearchPath::default();
    }

    /// Queues that the search path be set again, if that is needed and possible.
    fn queue_path(&mut self) -> bool {
        let is_failed = self.status() == TransactionStatus::Failed;
        let path = self.path();
        if !path.is_kept || !path.is_unsure || is_failed {
            return false;
        }
        path.is_unsure = false;
        self.queue_query(PATH_AGAIN);
        true
    }

    /// The answer to what was queued behind that.
    async fn after_path(&mut self, sets: bool, answer: Answer) -> Result<QueryResult, Error> {
        let set = if sets { self.result().await.map(drop) } else { Ok(()) };
        let answered = self.answered(answer).await;
        set.and(answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_run_others_functions_makes_the_path_unsure() {
        let after = |tag: &str| {
            let mut path = SearchPath::default();
            path.has_run(tag);
            path.is_unsure
        };
        for tag in ["INSERT 0 1", "CREATE INDEX", "COPY 7", "COMMIT", "ROLLBACK", "DO", "SELECT 1"]
        {
            assert!(after(tag), "{tag}");
        }
        for tag in ["BEGIN", "SET", "SHOW", "LOCK TABLE"] {
            assert!(!after(tag), "{tag}");
        }
    }
}
