//! The trial: all that a migration will make on the target, made at once, empty but for some
//! sampled rows, in transactions that are rolled back.
//!
//! What would fail after days, when all rows are there, so fails before anything began, with its
//! statement. The statements are those of the run; only the schemas are others, with names that
//! nothing else has, so that no name of the target is taken, and no table of it locked against
//! anybody: what the target has already is copied by LIKE, which locks it as a SELECT does.
//!
//! Not here: what a trial can't see, since it is about the target's own schemas (names that are
//! taken, `names`) or about rows that a sample need not have (`broken`).

mod asked;
mod broken;
mod chunk;
mod existing;
mod judge;
mod references;
mod sample;
mod scratch;
mod steps;

use bytes::BytesMut;

use self::{
    asked::{Allowed, Reference, Referred},
    chunk::Tried,
    existing::Existing,
    judge::About,
    scratch::Scratch,
    steps::{Does, Outcome, Step},
};
use super::finding::{At, Findings, Side};
use crate::{
    catalog::{Names, Object, ObjectKind},
    conn::{Connection, Error, Pipeline, SessionKind},
    migrate::{
        Failure, MigrationSpec,
        make_table::{Made, recipe},
        plan::{PlannedTable, order_of_making},
        servers::Servers,
    },
    pg::{Oid, QualifiedName, SqlState},
    wire::ServerError,
};

/// What the findings are about.
const TRIAL: &str = "trial";
const AT: At<'static> = At::target(TRIAL);

/// Limits of every statement. A lock that is not to be had at once is somebody's who works.
const BEGIN: [&str; 3] =
    ["BEGIN", "SET LOCAL lock_timeout = '2s'", "SET LOCAL statement_timeout = '30s'"];

fn failed(error: &Error) -> Failure {
    Failure::refused_by("making the trial on the target", error)
}

/// Makes the trial of all tables of which nothing is known yet that stands in the way.
///
/// Errors: a server could not be asked.
pub(super) async fn look(
    servers: &mut Servers,
    spec: &MigrationSpec,
    tables: &[PlannedTable],
    made: &Made,
    findings: &mut Findings,
) -> Result<(), Failure> {
    if !spec.trial {
        findings.ok(
            AT,
            "nothing was made on trial (--no-trial): what can't be made on the target is found \
             when it is made",
        );
        return Ok(());
    }
    let fine: Vec<_> =
        tables.iter().filter(|table| !findings.stands_in_the_way(&table.source.name)).collect();
    if fine.is_empty() || findings.stands_in_the_way_of_all(Side::Target) {
        return Ok(());
    }
    let allowed = asked::allowed(&mut servers.target).await.map_err(|e| failed(&e))?;
    if !may_be_made(&allowed, findings) {
        return Ok(());
    }
    let at = At::target("connection");
    let connected = Connection::connect(&spec.target, SessionKind::Sql).await;
    let Some(session) = findings.take(at, connected.map_err(|e| failed(&e)))? else {
        return Ok(());
    };
    let mut trial = Trial::prepare(servers, &fine, made, &allowed, findings).await?;
    trial.run(servers, session, findings).await?;
    let nullable = asked::nullable(&mut servers.source, &oids(&fine)).await;
    let nullable = nullable.map_err(|e| Failure::refused_by("looking at the source", &e))?;
    broken::look(&mut servers.source, &trial.tried, &nullable, findings).await
}

/// Whether the role may make one.
fn may_be_made(allowed: &Allowed, findings: &mut Findings) -> bool {
    if !allowed.create {
        findings.warn(
            AT,
            "nothing could be made on trial, since the role may not create schemas in the target \
             database: what can't be made on the target is found when it is made",
            format!("{} on the target, for the time of the check", allowed.grant),
        );
        return false;
    }
    true
}

/// A trial of some tables.
struct Trial<'a> {
    tried: Vec<Tried>,
    scratch: Scratch,
    allowed: &'a Allowed,
    /// What is referred to and not moved.
    referred: Vec<Referred>,
    /// Names on the source, and those in the trial.
    moved: Vec<(QualifiedName, QualifiedName)>,
    extensions: Vec<(Oid, String)>,
    target_is_older: bool,
}

impl<'a> Trial<'a> {
    /// Asks both servers for everything that the trial is made of.
    async fn prepare(
        servers: &mut Servers,
        fine: &[&PlannedTable],
        made: &Made,
        allowed: &'a Allowed,
        findings: &mut Findings,
    ) -> Result<Self, Failure> {
        let at_source = |error: Error| Failure::refused_by("looking at the source", &error);
        let mut scratch = Scratch::new(allowed.random.clone());
        let oids = oids(fine);
        let references = asked::references(&mut servers.source, &oids).await.map_err(at_source)?;
        let both = (&mut servers.source, &mut servers.target);
        let extensions = asked::extensions(both, &oids).await.map_err(|e| failed(&e))?;
        let mut moved: Vec<_> = (fine.iter())
            .map(|table| (table.source.name.clone(), scratch.name(&table.target_name)))
            .collect();
        let mut others: Vec<QualifiedName> = Vec::new();
        for reference in &references {
            let parent = &reference.parent;
            if !moved.iter().any(|(source, _)| source == parent) {
                others.push(parent.clone());
                moved.push((parent.clone(), scratch.name(parent)));
            }
        }
        let referred =
            asked::referred(&mut servers.target, &others).await.map_err(|e| failed(&e))?;
        let (to, from) = (&servers.target, &servers.source);
        let release = |of: &Connection| of.server_version().map(|v| v.major());
        let target_is_older =
            release(to).map_err(|e| failed(&e))? < release(from).map_err(|e| failed(&e))?;
        let mut made = made.clone();
        for partition in fine.iter().flat_map(|table| &table.source.partitions) {
            scratch.schema(&partition.name.schema);
        }
        made.stands_for.clone_from(&scratch.schemas);
        let mut trial = Self {
            tried: Vec::new(),
            scratch,
            allowed,
            referred,
            moved,
            extensions,
            target_is_older,
        };
        // One whose rows are another one's type comes first, as in the run.
        let order = order_of_making(fine.iter().copied());
        let mut fine = fine.to_vec();
        fine.sort_by_key(|table| order.iter().position(|ordinal| *ordinal == table.ordinal));
        let planned: Vec<_> = fine.iter().map(|table| (*table).clone()).collect();
        for table in fine {
            trial.add(servers, table, &made, (&references, &planned), findings).await?;
        }
        Ok(trial)
    }

    /// Finds out how a table is made in the trial.
    async fn add(
        &mut self,
        servers: &mut Servers,
        table: &PlannedTable,
        made: &Made,
        (references, planned): (&[Reference], &[PlannedTable]),
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let name = self.scratch.name(&table.target_name);
        let own = |reference: &&Reference| {
            reference.child == table.source.oid
                || table.source.partitions.iter().any(|p| p.oid == reference.child)
        };
        let references = references.iter().filter(own).cloned().collect();
        let mut table = table.clone();
        self.name_row_types(&mut table);
        let mut existing = Existing { references, ..Existing::default() };
        let recipe = if table.target.is_none() {
            self.cut(&mut table, findings);
            let there = PlannedTable { target_name: name.clone(), ..table.clone() };
            let at = At::target("target_table").of(&table.source.name);
            let mut names = Names::default();
            let found = recipe(servers, made, &there, (&self.moved, &mut names)).await;
            let Some(recipe) = findings.take(at, found)? else { return Ok(()) };
            Some(recipe)
        } else {
            let defers = made.defer_indexes;
            existing = self.existing(servers, &table, defers, planned, findings).await?;
            None
        };
        let Existing { deferred, partitions, references } = existing;
        let mut tried = Tried { table, name, recipe, deferred, partitions, references, weight: 0 };
        tried.weight = chunk::weight(&tried);
        self.tried.push(tried);
        Ok(())
    }

    /// Columns of the type of another missing table's rows are of that one's in the trial.
    fn name_row_types(&self, table: &mut PlannedTable) {
        let missing = self.tried.iter().filter(|tried| tried.recipe.is_some());
        for tried in missing {
            let [row, array] = tried.table.source.row_types;
            for column in &mut table.source.columns {
                if column.type_oid == row {
                    column.type_name = tried.name.to_string();
                } else if column.type_oid == array {
                    column.type_name = format!("{}[]", tried.name);
                }
            }
        }
    }

    /// Whether a table's definition needs another one of the trial, which may have been in another
    /// chunk.
    fn needs_another(&self, table: &PlannedTable) -> bool {
        let types = self.tried.iter().flat_map(|tried| tried.table.source.row_types);
        let types: Vec<_> = types.filter(|oid| oid.0 != 0).collect();
        table.source.columns.iter().any(|column| types.contains(&column.type_oid))
    }

    fn most_partitions(&self, table: &PlannedTable) -> usize {
        let indexes = table.source.unique_indexes.len() + 1;
        (self.allowed.locks_of_all / 8 / (3 + indexes)).max(1)
    }

    /// Leaves out partitions of which there are so many that their locks would be missed by others.
    fn cut(&self, table: &mut PlannedTable, findings: &mut Findings) {
        let all = table.source.partitions.len();
        let most = self.most_partitions(table);
        if all > most {
            table.source.partitions.truncate(most);
            let message = format!(
                "of the {all} partitions of {} the first {most} are made on trial, since all would \
                 take too many of the target's locks",
                table.source.name.plain()
            );
            findings.ok(AT.of(&table.source.name), message);
        }
    }

    /// Makes it, chunk by chunk, and notes what it has shown.
    async fn run(
        &mut self,
        servers: &mut Servers,
        mut session: Connection,
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let before = findings.refusals();
        let mut from = 0;
        let (mut objects, mut sampled) = (0, 0);
        while from < self.tried.len() {
            let length = chunk::length(&self.tried, from, self.allowed.locks);
            let chunk = &self.tried[from..from + length];
            from += length;
            let mut rows = Vec::new();
            for tried in chunk {
                let (text, count) = self.sample(servers, tried, findings).await?;
                sampled += count;
                rows.push(text);
            }
            let steps = self.steps(chunk, &rows);
            let outcomes;
            (session, outcomes) = take(session, &steps).await.map_err(|e| failed(&e))?;
            for (step, outcome) in steps.iter().zip(&outcomes) {
                match (step.does, outcome) {
                    (Does::Object(_), Outcome::Done) => objects += 1,
                    (_, Outcome::Failed { statement, error }) => {
                        self.note(servers, step, *statement, error, findings).await?;
                    }
                    _ => {}
                }
            }
        }
        session.close().await;
        self.privileges(findings);
        if findings.refusals() == before {
            findings.ok(AT, told(self.tried.len(), objects, sampled, self.allowed));
        }
        Ok(())
    }
    /// Some rows of a table; none where reading them would last, which is told.
    async fn sample(
        &self,
        servers: &mut Servers,
        tried: &Tried,
        findings: &mut Findings,
    ) -> Result<(BytesMut, usize), Failure> {
        match sample::rows(&mut servers.source, &tried.table).await {
            Ok(found) => Ok(found),
            Err(error) if error.sqlstate().is_some() => {
                let name = tried.table.source.name.plain();
                findings.warn(
                    AT.of(&tried.table.source.name),
                    format!("no rows of {name} were tried: reading some of them: {error}"),
                    "see why that does not come to an end in 3 seconds, as each page must",
                );
                Ok((BytesMut::new(), 0))
            }
            Err(error) => Err(Failure::refused_by("reading some rows of the source", &error)),
        }
    }

    fn steps(&self, chunk: &[Tried], rows: &[BytesMut]) -> Vec<Step> {
        let schemas: Vec<_> = (self.scratch.schemas.iter())
            .flat_map(|(_, schema)| {
                // An owner who is not this role makes things there, too.
                [
                    format!("CREATE SCHEMA {schema}"),
                    format!("GRANT ALL ON SCHEMA {schema} TO PUBLIC"),
                ]
            })
            .collect();
        let is_untried = |tried: &Tried, object: &Object| {
            object.kind == ObjectKind::ForeignKey
                && (tried.references.iter())
                    .any(|reference| reference.name == object.name && !self.can_stand_in(reference))
        };
        let stand_ins = self.stand_ins(chunk);
        chunk::steps(schemas, (&self.tried, chunk), &stand_ins, rows, is_untried)
    }

    /// Notes a failure of a step.
    async fn note(
        &self,
        servers: &mut Servers,
        step: &Step,
        statement: usize,
        error: &ServerError,
        findings: &mut Findings,
    ) -> Result<(), Failure> {
        let tried = self.tried.iter().find(|tried| Some(tried.table.ordinal) == step.ordinal);
        if let (Some(tried), Does::Object(ObjectKind::Policy)) = (tried, step.does)
            && error.is(SqlState::UNDEFINED_TABLE)
        {
            // It is made once they are there.
            let oids = oids(&[&tried.table]);
            let others = asked::policies_see(&mut servers.source, &oids, &step.name).await;
            let others =
                others.map_err(|error| Failure::refused_by("looking at the source", &error))?;
            if others.iter().any(|name| self.moved.iter().any(|(source, _)| source == name)) {
                return Ok(());
            }
        }
        let undefined = error.is(SqlState::UNDEFINED_OBJECT);
        if undefined
            && step.does == Does::Table
            && tried.is_some_and(|tried| self.needs_another(&tried.table))
        {
            return Ok(());
        }
        let none = QualifiedName::new("", "");
        let extensions: Vec<_> = (self.extensions.iter())
            .filter(|(oid, _)| {
                tried.is_some_and(|tried| {
                    let source = &tried.table.source;
                    source.oid == *oid || source.partitions.iter().any(|p| p.oid == *oid)
                })
            })
            .map(|(_, statement)| statement.clone())
            .collect();
        let about = About {
            source: tried.map_or(&none, |tried| &tried.table.source.name),
            target: tried.map_or(&none, |tried| &tried.table.target_name),
            extensions: &extensions,
            target_is_older: self.target_is_older,
            scratch: &self.scratch,
            event_triggers: self.allowed.event_triggers.as_deref(),
        };
        judge::note(step, statement, error, &about, findings);
        Ok(())
    }
}

/// The object ids of tables and their partitions, as an array's text.
fn oids(tables: &[&PlannedTable]) -> String {
    let all: Vec<_> = (tables.iter())
        .flat_map(|table| {
            let partitions = table.source.partitions.iter().map(|partition| partition.oid);
            [table.source.oid].into_iter().chain(partitions)
        })
        .map(|oid| oid.to_string())
        .collect();
    format!("{{{}}}", all.join(","))
}

/// Takes the steps in a transaction that is rolled back.
async fn take(session: Connection, steps: &[Step]) -> Result<(Connection, Vec<Outcome>), Error> {
    let mut pipeline = Pipeline::new(session)?;
    for sql in BEGIN {
        steps::statement(&mut pipeline, sql);
    }
    for _ in BEGIN {
        pipeline.completed().await?;
    }
    let outcomes = steps::take(&mut pipeline, steps).await;
    let mut session = pipeline.close().await?;
    session.query("ROLLBACK").await?;
    Ok((session, outcomes?))
}

fn told(tables: usize, objects: usize, sampled: usize, allowed: &Allowed) -> String {
    let fired = allowed.event_triggers.as_ref().map_or_else(String::new, |names| {
        format!("; the target's event triggers ({names}) fired for it, as they will in the run")
    });
    format!(
        "made on trial and rolled back: {tables} {}, {objects} {} and {sampled} sampled {}{fired}",
        if tables == 1 { "table" } else { "tables" },
        if objects == 1 { "object" } else { "objects" },
        if sampled == 1 { "row" } else { "rows" },
    )
}
