//! Whether a publication brings every change of every table.

use super::{Failure, Verdict, plan::PlannedTable, servers::Servers};
use crate::{conn::Error, pg::Ident, sql::quote_literal};

/// A publication that is given must bring every change of every table, whole.
pub(super) async fn check(
    servers: &mut Servers,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<(), Failure> {
    let obstacles = obstacles(servers, publication, tables).await?;
    obstacles.into_iter().next().map_or(Ok(()), Err)
}

/// All that such a publication lacks.
pub(super) async fn obstacles(
    servers: &mut Servers,
    publication: &str,
    tables: &[PlannedTable],
) -> Result<Vec<Failure>, Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let sql = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AS everything,
                      pubviaroot AS via_root FROM pg_publication WHERE pubname = $1";
    let result = servers.source.query_with(sql, &[Some(publication)]).await.map_err(failed)?;
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
        let mut of_table = brings_all(servers, publication, table).await;
        if via_root && of_table.is_ok() {
            of_table = under_its_own_name(servers, publication, table).await;
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
    servers: &mut Servers,
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
    let result = servers.source.query(&sql).await.map_err(failed)?;
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
    servers: &mut Servers,
    publication: &str,
    table: &PlannedTable,
) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the publication", &error);
    let plain = table.source.name.plain();
    // Before 15 there are neither filters nor column lists.
    let lists = servers.source.server_version().map_err(failed)?.major() >= 15;
    let filtered = if lists { "rowfilter IS NOT NULL" } else { "false" };
    let sql = format!(
        "SELECT {filtered} AS filtered FROM pg_publication_tables
          WHERE pubname = $1 AND schemaname = $2 AND tablename = $3"
    );
    let name = &table.source.name;
    let parameters = [Some(publication), Some(name.schema.as_str()), Some(name.name.as_str())];
    let result = servers.source.query_with(&sql, &parameters).await.map_err(failed)?;
    let Some(row) = result.rows().first() else {
        return Err(Failure::refused(
            format!("{plain} is not in the publication {publication}"),
            format!("ALTER PUBLICATION {} ADD TABLE {name}", Ident::new(publication)),
        ));
    };
    let filtered = row.get::<bool>("filtered").map_err(failed)?;
    if filtered || lists && missing_columns(servers, publication, table).await? {
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
    servers: &mut Servers,
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
    let result = servers.source.query(&sql).await.map_err(failed)?;
    let published: usize = result.row().and_then(|row| row.get("published")).map_err(failed)?;
    Ok(published < table.columns().len())
}

/// No publication of this name is there yet.
pub(super) async fn is_free(servers: &mut Servers, publication: &str) -> Result<(), Failure> {
    let failed = |error: Error| Failure::refused_by("looking at the source", &error);
    let sql = "SELECT count(*) > 0 AS found FROM pg_publication WHERE pubname = $1";
    let result = servers.source.query_with(sql, &[Some(publication)]).await.map_err(failed)?;
    if result.row().and_then(|row| row.get::<bool>("found")).map_err(failed)? {
        return Err(Failure::refused(
            format!("the source has a publication {publication} already"),
            format!("give --publication {publication} to use it, or another --name"),
        ));
    }
    Ok(())
}
