//! Whether a publication brings every change of every table.

use super::{
    Failure, Verdict,
    plan::PlannedTable,
    resume,
    verdict::{START_AGAIN, Sign},
};
use crate::{
    conn::{Connection, Error},
    ledger::Migration,
    pg::Ident,
    sql::quote_literal,
};

/// A publication that is given must bring every change of every table, whole.
pub(super) async fn check(
    source: &mut Connection,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let obstacles = obstacles(source, publication, tables).await?;
    obstacles.into_iter().next().map_or(Ok(()), Err)
}

/// A migration's publication still brings every change, and did so all the while: what was written
/// while a table was out of it is not in the stream, and nothing else would tell.
pub(super) async fn still_brings_all(
    source: &mut Connection,
    migration: &Migration,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let mut found = check(source, &migration.publication, tables).await;
    if found.is_err() {
        // It goes by names, which may have led to other tables for a moment.
        for table in tables {
            resume::in_its_place(source, &table.source.name, table.source.oid).await?;
        }
        found = check(source, &migration.publication, tables).await;
    }
    found.map_err(|failure| {
        if failure.verdict == Verdict::Retry {
            return failure;
        }
        let what = format!("changes may be missing from the stream: {}", failure.message);
        Failure::seen(Sign::Slot, what)
    })?;
    let now = shape(source, &migration.publication, tables)
        .await
        .map_err(|error| Failure::refused_by("looking at the publication", &error))?;
    match &migration.publication_shape {
        Some(before) if !is_the_same(before, &now) => {
            let name = &migration.publication;
            Err(Failure::cannot_resume(
                format!(
                    "the publication {name} was altered or made again since the migration began: \
                     what was written while a table was out of it is missing from the stream"
                ),
                format!(
                    "if no table was written to meanwhile, tell the ledger, on the target: UPDATE \
                     {}.migration SET publication_shape = {} WHERE name = {}; and give the \
                     same command again. Else {START_AGAIN}",
                    migration.name.ledger,
                    quote_literal(&now),
                    quote_literal(migration.name.as_str())
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// What a publication is made of as far as the tables go: its own row in the catalog, as its object
/// id, who wrote it last and its owner, and the rows by which it has the tables, their ancestors or
/// their schemas. Altering or leaving and joining it again gives other rows.
pub(super) async fn shape(
    source: &mut Connection,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<String, Error> {
    let oids: Vec<_> = tables.iter().map(|table| table.source.oid.to_string()).collect();
    let oids = oids.join(", ");
    // Publications have schemas from 15 on.
    let schemas = match source.server_version()?.major() >= 15 {
        true => format!(
            " UNION ALL SELECT n.oid, n.xmin FROM pg_publication_namespace n
               WHERE n.pnpubid = p.oid
                 AND n.pnnspid IN (SELECT relnamespace FROM pg_class WHERE oid IN ({oids}))"
        ),
        false => String::new(),
    };
    let sql = format!(
        "SELECT format('%s:%s:%s', p.oid, p.xmin, p.pubowner) || coalesce(
                (SELECT string_agg(format(' %s:%s', m.oid, m.xmin), '' ORDER BY m.oid) FROM (
                   SELECT r.oid, r.xmin FROM pg_publication_rel r
                    WHERE r.prpubid = p.oid AND (r.prrelid IN ({oids}) OR r.prrelid IN (
                          SELECT a.relid FROM pg_class c, pg_partition_ancestors(c.oid) a
                           WHERE c.oid IN ({oids}))){schemas}) m), '') AS shape
           FROM pg_publication p WHERE p.pubname = {}",
        quote_literal(publication)
    );
    source.query(&sql).await?.row()?.get("shape")
}

/// Whether two shapes are of the same publication, unaltered: that it was given to another owner
/// does no harm.
fn is_the_same(before: &str, now: &str) -> bool {
    let parts = |shape: &str| {
        let (own, members) = shape.split_once(' ').unwrap_or((shape, ""));
        let own: Vec<_> = own.split(':').map(str::to_owned).collect();
        (own, members.to_owned())
    };
    let ((before_own, before_members), (now_own, now_members)) = (parts(before), parts(now));
    before_members == now_members
        && match (before_own.as_slice(), now_own.as_slice()) {
            ([oid, writer, owner], [now_oid, now_writer, now_owner]) => {
                oid == now_oid && (writer == now_writer || owner != now_owner)
            }
            _ => false,
        }
}

/// All that such a publication lacks.
pub(super) async fn obstacles(
    source: &mut Connection,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<Vec<Failure>, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let sql = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS everything,
                      pubviaroot AS via_root FROM pg_publication WHERE pubname = $1";
    let result = source.query_with(sql, &[Some(publication)]).await.map_err(failed)?;
    let Some(row) = result.rows().first() else {
        return Ok(vec![Failure::refused(
            format!("the source has no publication {publication}"),
            "check its name, or leave --publication out and pghost makes its own",
        )]);
    };
    let mut obstacles = Vec::new();
    let name = Ident::new(publication);
    if !row.get::<bool>("everything").map_err(failed)? {
        obstacles.push(Failure::refused(
            format!("the publication {publication} does not publish every kind of change"),
            format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')"),
        ));
    }
    let via_root = row.get::<bool>("via_root").map_err(failed)?;
    for table in tables {
        if table.source.partition_key.is_some() && !via_root {
            obstacles.push(Failure::refused(
                format!(
                    "the publication {publication} brings changes of {} under the names of its \
                     partitions",
                    table.source.name.plain()
                ),
                format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true)"),
            ));
            continue;
        }
        let mut of_table = brings_all(source, publication, table).await;
        if via_root && of_table.is_ok() {
            of_table = under_its_own_name(source, publication, table).await;
        }
        match of_table {
            Err(failure) if failure.verdict == Verdict::Retry => return Err(failure),
            of_table => obstacles.extend(of_table.err()),
        }
    }
    Ok(obstacles)
}

/// The statement that makes a migration's own publication.
pub(super) fn create_publication(publication: &str, tables: &[PlannedTable]) -> String {
    let names: Vec<_> = tables.iter().map(|t| t.source.name.to_string()).collect();
    // Only partitioned tables are changed by that: their changes come under their own names.
    let is_partitioned = tables.iter().any(|table| table.source.partition_key.is_some());
    format!(
        "CREATE PUBLICATION {} FOR TABLE {}
               WITH (publish = 'insert, update, delete, truncate',
                     publish_via_partition_root = {is_partitioned})",
        Ident::new(publication),
        names.join(", ")
    )
}

/// A partition's changes come under the name of the topmost of its ancestors that is published.
async fn under_its_own_name(
    source: &mut Connection,
    publication: &str,
    table: &PlannedTable,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let sql = format!(
        "SELECT p.schemaname, p.tablename
           FROM pg_partition_ancestors({0}) a
           JOIN pg_class c ON c.oid = a.relid AND c.oid <> {0}
           JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_publication_tables p ON p.schemaname = n.nspname AND p.tablename = c.relname
          WHERE p.pubname = {1}",
        table.source.oid,
        quote_literal(publication)
    );
    let result = source.query(&sql).await.map_err(failed)?;
    let Some(row) = result.rows().first() else {
        return Ok(());
    };
    let name = |column| row.get::<String>(column).map_err(failed);
    let ancestor = format!("{}.{}", name("schemaname")?, name("tablename")?);
    Err(Failure::refused(
        format!(
            "the publication {publication} brings changes of {} under the name of {ancestor}, \
             whose partition it is",
            table.source.name.plain()
        ),
        format!("name {ancestor} instead, or use a publication without it"),
    ))
}

/// The publication has the table, with every row and every column of it.
async fn brings_all(
    source: &mut Connection,
    publication: &str,
    table: &PlannedTable,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let plain = table.source.name.plain();
    // Before 15 there are neither filters nor column lists.
    let lists = source.server_version().map_err(failed)?.major() >= 15;
    let filtered = if lists { "rowfilter IS NOT NULL" } else { "false" };
    let sql = format!(
        "SELECT {filtered} AS filtered FROM pg_publication_tables
          WHERE pubname = $1 AND schemaname = $2 AND tablename = $3"
    );
    let name = &table.source.name;
    let parameters = [Some(publication), Some(name.schema.as_str()), Some(name.name.as_str())];
    let result = source.query_with(&sql, &parameters).await.map_err(failed)?;
    let Some(row) = result.rows().first() else {
        return Err(Failure::refused(
            format!("{plain} is not in the publication {publication}"),
            format!("ALTER PUBLICATION {} ADD TABLE {name}", Ident::new(publication)),
        ));
    };
    let filtered = row.get::<bool>("filtered").map_err(failed)?;
    if filtered || lists && missing_columns(source, publication, table).await? {
        return Err(Failure::refused(
            format!(
                "the publication {publication} has a row filter or a column list for {plain}, so \
                 the target would not become what the source is"
            ),
            "use a publication without them",
        ));
    }
    Ok(())
}

/// Whether a publication leaves columns of a table out.
async fn missing_columns(
    source: &mut Connection,
    publication: &str,
    table: &PlannedTable,
) -> Result<bool, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let sql = format!(
        "SELECT count(*) AS published
           FROM (SELECT unnest(attnames) AS name FROM pg_publication_tables
                  WHERE pubname = {} AND schemaname = {} AND tablename = {}) p
           JOIN pg_attribute a ON a.attrelid = {} AND a.attname = p.name AND a.attgenerated = ''",
        quote_literal(publication),
        quote_literal(table.source.name.schema.as_str()),
        quote_literal(table.source.name.name.as_str()),
        table.source.oid
    );
    let result = source.query(&sql).await.map_err(failed)?;
    let published: usize = result.row().and_then(|row| row.get("published")).map_err(failed)?;
    Ok(published < table.columns().len())
}

/// No publication of this name is there yet.
pub(super) async fn is_free(source: &mut Connection, publication: &str) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let sql = "SELECT count(*) > 0 AS found FROM pg_publication WHERE pubname = $1";
    let result = source.query_with(sql, &[Some(publication)]).await.map_err(failed)?;
    if result.row().and_then(|row| row.get::<bool>("found")).map_err(failed)? {
        return Err(Failure::refused(
            format!("the source has a publication {publication} already"),
            format!("give --publication {publication} to use it, or another --name"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_owner_makes_no_other_publication() {
        let before = "10:700:1 20:701 21:702";
        for (now, same) in [
            (before, true),
            ("10:750:2 20:701 21:702", true),
            ("10:750:1 20:701 21:702", false),
            ("11:700:1 20:701 21:702", false),
            ("10:700:1 20:701 22:751", false),
            ("10:700:1 20:701", false),
            ("10:700:1", false),
            ("", false),
        ] {
            assert_eq!(is_the_same(before, now), same, "{now}");
        }
        assert!(is_the_same("10:700:1", "10:700:1"));
    }
}
