//! What a run would do: its statements in order, with the lock that each takes and on which server.
//!
//! What is made is written by those who make it; here it is only put into order. The locks are
//! those of the documentation's table of lock modes, seen to be right on every release.

use serde::Serialize;

use super::{
    finding::{At, Findings, Side},
    look::NewMigration,
};
use crate::{
    catalog::{Names, Object, ObjectKind, add_key},
    conn::Error,
    migrate::{
        Failure, PhaseName, defer, make_table,
        plan::{PlannedTable, order_of_making},
        publication::create_publication,
        servers::Servers,
        still,
    },
    pg::{Ident, QualifiedName},
    replication::NewSlot,
};

/// One statement of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// When it comes.
    pub phase: PhaseName,
    /// On which server.
    pub server: Side,
    /// The table that it concerns, as it is called there.
    pub table: Option<String>,
    /// The statement; `..` stands for what is only known then.
    pub sql: String,
    /// The lock that it takes on the table, in the documentation's words; `null` for none.
    pub lock: Option<&'static str>,
    /// What else is to be known of it.
    pub note: Option<&'static str>,
}

const NEW_TABLE: &str = "on the new table, which nobody uses yet";
const BY_PAGE: &str = "for one page";
const BY_BATCH: &str = "for one batch of changes";
const UNTIL_THEN: &str = "the target is empty";
const WAITS: &str = "waits for every transaction that is open on the source";
const ONE_BY_ONE: &str = "in a transaction of its own, once the target is exact";
const AFTER_PAGES: &str = "once all rows are copied";
const ON_BOTH: &str = "on both tables";
const IF_THE_SOURCE_DOES: &str = "only if the source's table is truncated";

/// Writes the plan of a migration that could begin.
pub(super) async fn plan(
    servers: &mut Servers,
    new: &NewMigration,
    findings: &mut Findings,
) -> Result<Vec<Planned>, Failure> {
    let mut plan = Plan::default();
    plan.add(PhaseName::Prepare, Side::Target, None, "CREATE SCHEMA IF NOT EXISTS pghost")
        .notes("and its tables, which are the ledger; nobody else's are touched");
    let moved: Vec<_> =
        new.tables.iter().map(|t| (t.source.name.clone(), t.target_name.clone())).collect();
    let mut names = Names::default();
    let mut later: Vec<(&PlannedTable, Vec<Object>)> = Vec::new();
    // In the order in which they are made.
    let (mut missing, existing): (Vec<_>, Vec<_>) =
        new.tables.iter().partition(|table| table.target.is_none());
    let order = order_of_making(new.tables.iter());
    missing.sort_by_key(|table| order.iter().position(|ordinal| *ordinal == table.ordinal));
    for table in missing {
        let found = make_table::recipe(servers, &new.made, table, (&moved, &mut names)).await;
        let at = At::target("target_table").of(&table.source.name);
        let Some(recipe) = findings.take(at, found)? else { continue };
        for statement in recipe.statements {
            plan.add(PhaseName::Prepare, Side::Target, Some(&table.target_name), statement.sql)
                .locks("ACCESS EXCLUSIVE")
                .notes(NEW_TABLE);
        }
        later.push((table, recipe.objects));
    }
    for table in existing {
        let mut objects = Vec::new();
        if new.made.defer_indexes && table.target_key.is_some() {
            let failed = |error: Error| Failure::refused_by("looking at the target", &error);
            let gone = defer::what_goes(&mut servers.target, table).await.map_err(failed)?;
            for sql in gone.0 {
                plan.add(PhaseName::Prepare, Side::Target, Some(&table.target_name), sql)
                    .locks("ACCESS EXCLUSIVE")
                    .notes(UNTIL_THEN);
            }
            objects = gone.1;
        }
        later.push((table, objects));
    }
    leave_out_what_acts(servers, &mut later, findings).await?;
    plan.source(new);
    for (table, objects) in &later {
        plan.rows(table, objects);
    }
    for (table, objects) in &later {
        plan.objects(&table.target_name, objects);
    }
    Ok(plan.list)
}

/// Takes out what would act on applied changes, where the role can't keep it still.
async fn leave_out_what_acts(
    servers: &mut Servers,
    later: &mut [(&PlannedTable, Vec<Object>)],
    findings: &mut Findings,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the target", &error);
    let acts = |object: &&Object| still::why_left_out(object.kind).is_some();
    let any = later.iter().any(|(_, objects)| objects.iter().any(|object| acts(&object)));
    let target = &mut servers.target;
    if !any || still::refusal(target).await.map_err(failed)?.is_none() {
        return Ok(());
    }
    let grant = still::grant(target).await.map_err(failed)?;
    for (table, objects) in later {
        let left: Vec<_> = objects.iter().filter(acts).map(|object| object.name.clone()).collect();
        if left.is_empty() {
            continue;
        }
        objects.retain(|object| {
            let validates = object.kind == ObjectKind::Validation && left.contains(&object.name);
            !acts(&object) && !validates
        });
        findings.warn(
            At::target("triggers").of(&table.source.name),
            format!(
                "{} is left without foreign keys and triggers that would act on the changes which \
                 are applied, since the role may not set session_replication_role: {}",
                table.target_name.plain(),
                left.join(", ")
            ),
            format!(
                "{grant}; or make them at the change-over, from the statements that a run tells"
            ),
        );
    }
    Ok(())
}

#[derive(Default)]
struct Plan {
    list: Vec<Planned>,
}

impl Planned {
    fn locks(&mut self, lock: impl Into<Option<&'static str>>) -> &mut Self {
        self.lock = lock.into();
        self
    }

    fn notes(&mut self, note: &'static str) -> &mut Self {
        self.note = Some(note);
        self
    }
}

impl Plan {
    fn add(
        &mut self,
        phase: PhaseName,
        server: Side,
        table: Option<&QualifiedName>,
        sql: impl Into<String>,
    ) -> &mut Planned {
        let table = table.map(QualifiedName::plain);
        let (lock, note) = (None, None);
        let at = self.list.len();
        self.list.push(Planned { phase, server, table, sql: sql.into(), lock, note });
        &mut self.list[at]
    }

    /// What is made on the source: the publication, then the slot.
    fn source(&mut self, new: &NewMigration) {
        if new.makes_publication {
            let sql = create_publication(&new.publication, &new.tables);
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            self.add(PhaseName::Prepare, Side::Source, None, sql)
                .locks("SHARE UPDATE EXCLUSIVE")
                .notes("on each of the tables, for a moment; reading and writing go on");
        }
        let slot = NewSlot { name: &new.slot, two_phase: false };
        self.add(PhaseName::Prepare, Side::Source, None, slot.to_string()).notes(WAITS);
    }

    /// The pages, the key after them, and the changes.
    fn rows(&mut self, table: &PlannedTable, objects: &[Object]) {
        let columns: Vec<_> = table.columns().iter().map(Ident::to_string).collect();
        let columns = columns.join(", ");
        let (source, target) = (&table.source.name, &table.target_name);
        let key: Vec<_> = table.key_names().iter().map(Ident::to_string).collect();
        let key = key.join(", ");
        let sql = format!("COPY (SELECT {columns} FROM {source} WHERE ({key}) .. ) TO STDOUT");
        self.add(PhaseName::Backfill, Side::Source, Some(source), sql)
            .locks("ACCESS SHARE")
            .notes(BY_PAGE);
        let sql = format!("COPY {target} ({columns}) FROM STDIN");
        self.add(PhaseName::Backfill, Side::Target, Some(target), sql)
            .locks("ROW EXCLUSIVE")
            .notes(BY_PAGE);
        if table.target.is_none() {
            let made = objects.iter().filter(|object| object.kind == ObjectKind::Key);
            let mut statements: Vec<_> =
                made.flat_map(|object| object.statements.clone()).collect();
            if statements.is_empty() {
                statements.push(add_key(&table.source, &table.key, target));
            }
            for sql in statements {
                let lock = lock_of(ObjectKind::Key, &sql);
                self.add(PhaseName::Backfill, Side::Target, Some(target), sql)
                    .locks(lock)
                    .notes(AFTER_PAGES);
            }
        }
        for sql in [
            format!("INSERT INTO {target} ({columns}) .. ON CONFLICT ({key}) DO UPDATE .."),
            format!("UPDATE {target} SET .."),
            format!("DELETE FROM {target} .."),
        ] {
            self.add(PhaseName::CatchUp, Side::Target, Some(target), sql)
                .locks("ROW EXCLUSIVE")
                .notes(BY_BATCH);
        }
        self.add(PhaseName::CatchUp, Side::Target, Some(target), format!("TRUNCATE {target}"))
            .locks("ACCESS EXCLUSIVE")
            .notes(IF_THE_SOURCE_DOES);
    }

    /// What a table gets when the target is exact, in the order in which it is made.
    fn objects(&mut self, table: &QualifiedName, objects: &[Object]) {
        let without_key = objects.iter().filter(|object| object.kind != ObjectKind::Key);
        let (indexes, others): (Vec<_>, Vec<_>) =
            without_key.partition(|object| object.kind == ObjectKind::Index);
        for object in indexes.into_iter().chain(others) {
            for sql in &object.statements {
                let lock = lock_of(object.kind, sql);
                let note = match object.kind {
                    ObjectKind::ForeignKey if lock.is_some() => ON_BOTH,
                    _ => ONE_BY_ONE,
                };
                self.add(PhaseName::Finish, Side::Target, Some(table), sql.clone())
                    .locks(lock)
                    .notes(note);
            }
        }
    }
}

/// The lock that a statement takes on its table.
/// <https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES>
fn lock_of(kind: ObjectKind, sql: &str) -> Option<&'static str> {
    let begins = |word: &str| sql.starts_with(word);
    if begins("SET LOCAL") || begins("GRANT") || begins("ALTER STATISTICS") {
        return None;
    }
    if begins("COMMENT ON") {
        let on_table = begins("COMMENT ON TABLE") || begins("COMMENT ON COLUMN");
        return on_table.then_some("SHARE UPDATE EXCLUSIVE");
    }
    // The index is locked, not the table.
    if begins("ALTER INDEX") || begins("DO") && sql.contains("ALTER INDEX") {
        return None;
    }
    Some(match kind {
        ObjectKind::Index => "SHARE",
        ObjectKind::Key
        | ObjectKind::Unique
        | ObjectKind::Check
        | ObjectKind::Policy
        | ObjectKind::OfType
        | ObjectKind::Identity
        | ObjectKind::Owner
        | ObjectKind::RowSecurity => "ACCESS EXCLUSIVE",
        ObjectKind::ForeignKey | ObjectKind::Trigger | ObjectKind::Firing => "SHARE ROW EXCLUSIVE",
        ObjectKind::Setting if sql.contains(" CLUSTER ON ") => "SHARE UPDATE EXCLUSIVE",
        ObjectKind::Setting => "ACCESS EXCLUSIVE",
        ObjectKind::Validation
        | ObjectKind::Statistics
        | ObjectKind::Comment
        | ObjectKind::Analyze => "SHARE UPDATE EXCLUSIVE",
        ObjectKind::Grant => return None,
    })
}
