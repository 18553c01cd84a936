//! Two databases of one shared server, and a migration between them that has not been run yet.
//!
//! What is a module's own, such as how its runs go on, it adds in an `impl Bed` of its own.

use pghost::{
    cluster::Binaries,
    migrate::{MigrationSpec, TableSpec},
};

use crate::{
    fault::killed_at_events::forget,
    support::{self, Database, assert_same, server, spec},
};

/// Where a table goes from and to, and how.
pub(crate) struct Bed {
    pub(crate) from: Database,
    pub(crate) to: Database,
    /// Of `source` to `target`.
    pub(crate) spec: MigrationSpec,
}

impl Bed {
    /// Makes both, and the source's tables; those of the target are pghost's to make, or the test's.
    pub(crate) async fn make(binaries: &Binaries, what: &str, tables: &str) -> Self {
        let server = server(binaries);
        let from = Database::create(&server, what).await;
        let to = Database::create(&server, what).await;
        from.sql(tables).await;
        let spec = spec(&from, &to, "source", "target");
        Self { from, to, spec }
    }

    /// Panics unless each table of the migration holds the same rows on both sides.
    pub(crate) async fn is_equal(&self) {
        for TableSpec { source, target } in &self.spec.tables {
            let (source, target) = (source.name.as_str(), target.name.as_str());
            assert_same((&self.from, source), (&self.to, target), "(t.*)::text").await;
        }
    }

    /// Panics unless both databases are rid of every session of pghost's, and of what it held.
    pub(crate) async fn nothing_is_left_open(&self) {
        for database in [&self.from, &self.to] {
            support::nothing_is_left_open(&database.config()).await;
        }
    }

    /// Panics unless both sides are equal, nothing is left open, and slot, publication and ledger are
    /// there to be removed.
    pub(crate) async fn ends(&self) {
        self.is_equal().await;
        self.nothing_is_left_open().await;
        let cleaned = forget(&self.spec).await;
        assert_eq!(cleaned.removed.len(), 3, "{cleaned:?}");
    }
}
