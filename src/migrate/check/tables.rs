//! One table: whether it can be moved, by which key, and whether its target can take it.

use super::{
    finding::{At, Findings},
    missing, object_names, privileges, published, unmade,
};
use crate::{
    catalog::{Foundation, Key, Table, choose_key, key_statement, load_key_order, load_table},
    conn::Error,
    migrate::{
        Failure, MigrationSpec, TableSpec, generated, make_table::partition_schema,
        plan::PlannedTable, preflight, servers::Servers, target,
    },
    pg::{Ident, QualifiedName},
};

/// Looks at a table on both sides. `None` where it can't be moved as it is.
pub(super) async fn look(
    servers: &mut Servers,
    ordinal: usize,
    spec: &TableSpec,
    asked: &MigrationSpec,
    findings: &mut Findings,
) -> Result<Option<PlannedTable>, Failure> {
    let Some((source, key)) = look_at_source(servers, &spec.source, findings).await? else {
        return Ok(None);
    };
    let at = At::source("key").of(&spec.source);
    let arithmetic = preflight::is_arithmetic(asked.paging, &source, &key);
    let arithmetic = findings.take(at, arithmetic)?;
    let key_order = load_key_order(&mut servers.source, &source, &key.columns)
        .await
        .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    let ignores_new = asked.ignore_new_columns;
    let foundation = Foundation::load(&mut servers.source, &source, &key, ignores_new)
        .await
        .map_err(|error| Failure::refused_by("looking at the source", &error))?;
    let at_target = |error: Error| Failure::refused_by("looking at the target", &error);
    let target = load_table(&mut servers.target, &spec.target).await.map_err(at_target)?;
    let target_key = match &target {
        Some(target) => look_at_target(servers, (&source, &key), target, asked, findings).await?,
        None => {
            look_at_its_place(servers, &source, &spec.target, asked, findings).await?;
            None
        }
    };
    let planned = PlannedTable {
        ordinal,
        source,
        key,
        target_name: spec.target.clone(),
        target,
        foundation,
        ground: Foundation::default(),
        key_order,
        target_key,
        new_columns: Vec::new(),
        is_arithmetic: arithmetic.unwrap_or_default(),
    };
    if arithmetic.is_some() {
        findings.ok(at, planned.explanation());
    }
    sequences(&planned, findings);
    object_names::look(&mut servers.source, &planned.source, findings).await?;
    Ok(Some(planned))
}

/// The table on the source, and what its rows are told apart by.
async fn look_at_source(
    servers: &mut Servers,
    name: &QualifiedName,
    findings: &mut Findings,
) -> Result<Option<(Table, Key)>, Failure> {
    let at = At::source("table").of(name);
    let found = preflight::find_source(&mut servers.source, name).await;
    let Some(mut source) = findings.take(at, found)? else {
        return Ok(None);
    };
    let named = preflight::may_name(&mut servers.source, &source).await;
    if findings.take(At::source("privileges").of(name), named)?.is_none() {
        return Ok(None);
    }
    let readable = preflight::may_read_all(&mut servers.source, &source).await;
    if findings.take(At::source("privileges").of(name), readable)?.is_some() {
        let estimated = preflight::estimate(&mut servers.source, &mut source).await;
        findings.take(at, estimated)?;
    }
    let key = choose_key(&source).map_err(|refusal| {
        Failure::refused(
            format!("{} has no key that its rows can be told apart by: {refusal}", name.plain()),
            key_statement(&source, ".."),
        )
    });
    let at = At::source("replica_identity").of(name);
    let Some(key) = findings.take(at, key)? else {
        return Ok(None);
    };
    findings.take(at, preflight::identities(&source, &key))?;
    Ok(Some((source, key)))
}

/// A target table that is there; gives its key.
async fn look_at_target(
    servers: &mut Servers,
    (source, key): (&Table, &Key),
    table: &Table,
    asked: &MigrationSpec,
    findings: &mut Findings,
) -> Result<Option<Key>, Failure> {
    let at = At::target("target_table").of(&source.name);
    let itself = preflight::refuse_itself(servers, source, table).await;
    if findings.take(at, itself)?.is_none() {
        return Ok(None);
    }
    let (target_key, obstacles) = target::obstacles(source, key, table, asked.defer_indexes);
    if obstacles.is_empty() {
        findings.ok(at, format!("the target {} can take the rows", table.name.plain()));
    }
    for failure in obstacles {
        findings.refuse(at, failure);
    }
    for (what, mend) in generated::differences(source, table) {
        findings.warn(At::both("generated_columns").of(&source.name), what, mend);
    }
    if !['r', 'p'].contains(&table.kind) {
        return Ok(None);
    }
    let (target, of) = (&mut servers.target, &source.name);
    if privileges::may_write(target, table, asked.defer_indexes, of, findings).await? {
        let empty = preflight::target_is_empty(target, table).await;
        findings.take(at, empty)?;
    }
    privileges::keep_still(target, table, of, findings).await?;
    published::look(target, (source, table), target_key.as_ref(), findings).await?;
    Ok(target_key)
}

/// Where a target table is to be made, and what it needs there.
async fn look_at_its_place(
    servers: &mut Servers,
    source: &Table,
    name: &QualifiedName,
    asked: &MigrationSpec,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let own = source.partitions.iter().map(|p| partition_schema(&p.name, &source.name, name));
    let mut schemas: Vec<&Ident> = [&name.schema].into_iter().chain(own).collect();
    schemas.dedup();
    let at = At::target("privileges").of(&source.name);
    for schema in schemas {
        let may = privileges::may_make(&mut servers.target, schema, name).await;
        findings.take(at, may)?;
    }
    let free = missing::name_is_free(&mut servers.target, name).await;
    findings.take(At::target("missing").of(&source.name), free)?;
    let both = (&mut servers.source, &mut servers.target);
    missing::look(both, source, &asked.tables, findings).await?;
    let both = (&mut servers.source, &mut servers.target);
    unmade::look(both, source, name, asked, findings).await
}

/// What becomes of the sequences of its columns.
fn sequences(table: &PlannedTable, findings: &mut Findings) {
    let owned = table
        .source
        .columns
        .iter()
        .filter_map(|column| Some((column.name.as_str(), column.sequence.as_ref()?.plain())));
    for (column, sequence) in owned {
        let at = At::both("sequence").of(&table.source.name);
        let name = table.target_name.plain();
        match &table.target {
            None => findings.ok(
                at,
                format!(
                    "the column {column} of {name} gets a sequence like {sequence}, which is \
                         set when the rows are there"
                ),
            ),
            Some(_) => findings.warn(
                at,
                format!(
                    "the column {column} takes its values from {sequence} on the source; what \
                     {name} has there instead may be behind"
                ),
                "see to it, with setval, before anybody writes to the target",
            ),
        }
    }
}
