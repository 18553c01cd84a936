//! What the rows of a source table rest on, for as long as they are moved.
//!
//! A run decides once how a table is read: by which name, which columns, which key. Each of these
//! can be changed while it goes on, and changed back a second later. So whatever reads rows asks
//! the server, under the table's lock, whether all is as it was: by the same text of the catalog,
//! of which only a hash travels. How a table differs from what it was when the migration began, a
//! run before this one perhaps, is [`super::Shape`]'s.
//!
//! Left out is what the rows do not rest on: statistics, defaults, privileges, indexes other than
//! the key, the names of types, labels that an enum gets.

mod target;

pub use target::{Written, lock_target};

use super::{Key, Table};
use crate::{
    conn::{Connection, Error, QueryResult},
    pg::{Ident, Oid, QualifiedName},
    sql::quote_literal,
};

/// What a table is, line by line. `$name` and `$oid` say which, `$last` is the last column that
/// counts, and `$labels` those of enums.
///
/// - Its name is looked up twice: a table that is locked can't be renamed, but its schema can.
/// - The index of the key is known by what it does: REINDEX CONCURRENTLY makes another.
/// - The line of `pg_inherits` is written when a partition is attached, with its bound.
const TEXT: &str = "
SELECT concat_ws(chr(10),
       format('table %s %s %s %s', c.oid, c.relkind, c.relpersistence, c.relreplident),
       (SELECT string_agg(format('column %s %s %s %s %s', a.attnum, a.atttypid, a.atttypmod,
                                 CASE WHEN a.attisdropped THEN 'dropped'
                                      WHEN a.attgenerated <> '' THEN 'generated' ELSE '-' END,
                                 CASE WHEN a.attisdropped THEN 'null'
                                      ELSE to_json(a.attname::text)::text END),
                          chr(10) ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum BETWEEN 1 AND $last),
       (SELECT string_agg(DISTINCT format('key %s %s %s', i.indclass, i.indcollation, i.indoption),
                          chr(10))
          FROM pg_catalog.pg_index i
         WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
           AND i.indisready AND i.indislive AND i.indpred IS NULL AND i.indexprs IS NULL
           AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                   WHEN 'i' THEN i.indisreplident ELSE true END
           AND (SELECT array_agg(a.attname::text ORDER BY k.n)
                  FROM generate_series(1, i.indnkeyatts) k(n)
                  JOIN pg_catalog.pg_attribute a
                    ON a.attrelid = c.oid AND a.attnum = i.indkey[k.n - 1])
               = ARRAY[$key]::text[]),
       (WITH RECURSIVE tree (oid, parent, attached, leaves) AS (
              SELECT c.oid, NULL::oid, NULL::text, false
               UNION ALL
              SELECT h.inhrelid, h.inhparent, h.xmin::text,
                     h.inhdetachpending
                FROM tree JOIN pg_catalog.pg_inherits h ON h.inhparent = tree.oid)
        SELECT string_agg(
                 concat_ws(chr(10),
                   CASE WHEN tree.parent IS NOT NULL
                        THEN format('partition %s %s %s %s %s %s %s', p.oid, tree.parent, p.relkind,
                                    p.relpersistence, p.relreplident, tree.attached, tree.leaves)
                   END,
                   (SELECT string_agg(format('nullable %s %s', p.oid, a.attnum), chr(10)
                                      ORDER BY a.attnum)
                      FROM pg_catalog.pg_attribute a
                     WHERE a.attrelid = p.oid AND a.attname = ANY (ARRAY[$key]::text[])
                       AND (NOT a.attnotnull
                            OR EXISTS (SELECT FROM pg_catalog.pg_constraint v
                                        WHERE v.conrelid = p.oid AND v.contype = 'n'
                                          AND NOT v.convalidated AND a.attnum = ANY (v.conkey))))),
                 chr(10) ORDER BY p.oid)
          FROM tree JOIN pg_catalog.pg_class p ON p.oid = tree.oid),
       (WITH RECURSIVE used (oid) AS (
              SELECT a.atttypid FROM pg_catalog.pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum BETWEEN 1 AND $last
                 AND NOT a.attisdropped AND a.atttypid >= 16384
               UNION
              SELECT below.oid
                FROM used
                JOIN pg_catalog.pg_type t ON t.oid = used.oid
               CROSS JOIN LATERAL (
                     SELECT t.typelem UNION ALL SELECT t.typbasetype
                      UNION ALL
                     SELECT r.rngsubtype FROM pg_catalog.pg_range r
                      WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
                      UNION ALL
                     SELECT a.atttypid FROM pg_catalog.pg_attribute a
                      WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
                     ) below (oid)
               WHERE below.oid >= 16384)
        SELECT string_agg(
                 format('type %s %s %s %s %s %s', t.oid, t.typtype, t.typbasetype, t.typtypmod,
                        (SELECT json_agg(json_build_array(a.attname, a.atttypid, a.atttypmod)
                                         ORDER BY a.attnum)
                           FROM pg_catalog.pg_attribute a
                          WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped),
                        (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)
                           FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid AND $labels)),
                 chr(10) ORDER BY t.oid)
          FROM used JOIN pg_catalog.pg_type t ON t.oid = used.oid))
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $schema AND c.relname = $table AND c.oid = to_regclass($name)";

/// The labels of the enums that a text speaks of.
const LABELS: &str = "
SELECT coalesce(string_agg(oid::text, ', ' ORDER BY oid), '') AS labels
  FROM pg_catalog.pg_enum WHERE enumtypid = ANY ($1::oid[])";

/// What the rows of a table rest on, as a server has said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foundation {
    /// In lines.
    text: String,
    /// An expression that is true as long as nothing is different.
    holds: String,
    /// The query that gives the text.
    query: String,
    /// For messages: the table as it is called, and where.
    table: String,
    side: &'static str,
}

impl Foundation {
    /// Takes it down. `ignores_new`: columns may be added.
    ///
    /// Errors: the connection's; or the table is not as it was when it was loaded.
    pub async fn load(
        connection: &mut Connection,
        table: &Table,
        key: &Key,
        ignores_new: bool,
    ) -> Result<Self, Error> {
        let names: Vec<_> = key.columns.iter().map(|column| column.name.clone()).collect();
        let plain = table.name.plain();
        let all = query(&table.name, &names, None, "true");
        let (text, hashed) = look(connection, &all).await?;
        if !is_of(&text, table) {
            return Err(Error::Settings(format!("{plain} was altered while it was looked at")));
        }
        let taken = |text, hashed: &str, query: String| {
            let holds = format!("{} = {}", hash(&query), quote_literal(hashed));
            Self { text, holds, query, table: plain, side: "source" }
        };
        let last = ignores_new.then(|| last_column(&text, table));
        let enums: Vec<_> = types(&text).map(|oid| oid.to_string()).collect();
        if last.is_none() && enums.is_empty() {
            return Ok(taken(text, &hashed, all));
        }
        let list = format!("{{{}}}", enums.join(","));
        let labels: String =
            connection.query_with(LABELS, &[Some(&list)]).await?.row()?.get("labels")?;
        let known = match labels.as_str() {
            "" => "true".to_owned(),
            labels => format!("e.oid IN ({labels})"),
        };
        let query = query(&table.name, &names, last, &known);
        let (text, hashed) = look(connection, &query).await?;
        Ok(taken(text, &hashed, query))
    }

    /// An expression that is true, and otherwise false or NULL, if the table is what it was.
    #[must_use]
    pub fn holds(&self) -> &str {
        &self.holds
    }

    /// An expression that is 1 if the table is what it was, and else an error, so that nothing
    /// more of the transaction is done: with a code that it has of nothing else ([`Self::fails`]).
    #[must_use]
    pub fn assertion(&self) -> String {
        let what = quote_literal(&format!("{} is not what it was", self.table));
        format!("CAST(CASE WHEN {} THEN '1' ELSE {what} END AS integer)", self.holds)
    }

    /// Whether an answer to [`Self::assertion`] says that the table is not what it was.
    #[must_use]
    pub fn fails(error: &Error) -> bool {
        error.sqlstate() == Some(crate::pg::SqlState::INVALID_TEXT_REPRESENTATION)
    }

    /// What is different now, as a clause that goes on after the table's name; `None` if nothing
    /// is.
    pub async fn difference(&self, connection: &mut Connection) -> Result<Option<String>, Error> {
        let sql = format!("SELECT ({}) AS holds", self.holds);
        if connection.query(&sql).await?.row()?.get::<Option<bool>>("holds")? == Some(true) {
            return Ok(None);
        }
        let (now, _) = look(connection, &self.query).await?;
        Ok(Some(in_words(&self.text, &now, self.side)))
    }
}

fn query(name: &QualifiedName, key: &[Ident], last: Option<u32>, labels: &str) -> String {
    let key: Vec<_> = key.iter().map(|name| quote_literal(name.as_str())).collect();
    let values = [
        ("$last", last.map_or_else(|| "32767".to_owned(), |last| last.to_string())),
        ("$labels", labels.to_owned()),
        ("$key", key.join(", ")),
        ("$schema", quote_literal(name.schema.as_str())),
        ("$table", quote_literal(name.name.as_str())),
        ("$name", quote_literal(&name.to_string())),
    ];
    filled(TEXT, &values)
}

/// A text with values in the places of parameters. A name may look like a parameter, so each is put
/// in once, from left to right.
fn filled(text: &str, values: &[(&str, String)]) -> String {
    let mut sql = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        sql.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((parameter, value)) = values.iter().find(|(p, _)| rest.starts_with(p)) else {
            break;
        };
        sql.push_str(value);
        rest = &rest[parameter.len()..];
    }
    sql + rest
}

/// Without MD5, which is an error where FIPS is enforced; and in the database's own encoding, so
/// that nothing is converted.
fn hash(query: &str) -> String {
    format!("encode(sha256(convert_to(({query}), getdatabaseencoding())), 'hex')")
}

/// What gives a text and its hash.
fn looking(query: &str) -> String {
    format!("SELECT ({query}) AS text, {} AS hash", hash(query))
}

/// The text and its hash; empty where there is no such table.
fn found(result: &QueryResult) -> Result<(String, String), Error> {
    let of =
        |column| Ok::<_, Error>(result.row()?.get::<Option<String>>(column)?.unwrap_or_default());
    Ok((of("text")?, of("hash")?))
}

async fn look(connection: &mut Connection, query: &str) -> Result<(String, String), Error> {
    found(&connection.query(&looking(query)).await?)
}

fn lines<'a>(text: &'a str, of: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(of)?.strip_prefix(' '))
}

/// Number, type, modifier, kind and name.
fn columns(text: &str) -> impl Iterator<Item = (u32, u32, i32, &str, String)> {
    lines(text, "column").filter_map(|line| {
        let mut parts = line.splitn(5, ' ');
        Some((
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?,
            serde_json::from_str::<Option<String>>(parts.next()?).ok()?.unwrap_or_default(),
        ))
    })
}

/// The number of the table's last column; the source may have got others since.
fn last_column(text: &str, table: &Table) -> u32 {
    let counts = |name: String| table.column(&Ident::new(name)).is_some();
    let numbers = columns(text).filter_map(|(number, .., name)| counts(name).then_some(number));
    numbers.max().unwrap_or_default()
}

fn types(text: &str) -> impl Iterator<Item = u32> {
    lines(text, "type").filter_map(|line| line.split(' ').next()?.parse().ok())
}

/// Whether a text is that of a table as it was loaded, by several queries.
fn is_of(text: &str, table: &Table) -> bool {
    let oid = lines(text, "table").next().and_then(|line| line.split(' ').next()?.parse().ok());
    let stored: Vec<_> = columns(text)
        .filter(|(.., kind, _)| *kind == "-")
        .map(|(_, type_oid, modifier, _, name)| (Ident::new(name), Oid(type_oid), modifier))
        .filter(|(name, ..)| table.column(name).is_some())
        .collect();
    let loaded = table.stored_columns().map(|c| (c.name.clone(), c.type_oid, c.type_modifier));
    oid == Some(table.oid.0) && stored.iter().cloned().eq(loaded)
}

const FIRES: &str = "it has a trigger or rule now that fires on every row that is moved";
const OTHERS: &str = "its columns are others than they were";

fn in_words(before: &str, now: &str, side: &str) -> String {
    let differs = |of| !lines(before, of).eq(lines(now, of));
    let first = |text: &str| {
        let line = lines(text, "table").next().unwrap_or_default();
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    if first(before) != first(now) {
        return format!("is gone from the {side}, or another table of the same name");
    }
    let what = if differs("fires") {
        FIRES
    } else if differs("table") {
        "it is of another kind, or has another replica identity"
    } else if differs("column") {
        OTHERS
    } else if differs("nullable") {
        "a column of its key can be NULL now"
    } else if differs("key") {
        "the index of its key is gone, or can't be relied on"
    } else if differs("partition") {
        "its partitions, or the tables that inherit from it, are others"
    } else {
        "a type that its columns are made of has another definition"
    };
    format!("was altered on the {side}: {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;

    const TEXT_OF_TWO: &str = "table 7 r p d\ncolumn 1 23 -1 - \"id\"\n\
        column 2 0 -1 dropped null\ncolumn 3 1043 14 - \"a b\\n$key\"\n\
        column 4 23 -1 generated \"g\"\n\
        key 1 2 3\ntype 16400 e 0 -1 null [\"a\"]";

    #[test]
    fn a_text_is_of_the_table_that_was_loaded() {
        let name = "a b\n$key";
        let long = Column { type_modifier: 14, ..Column::sample(name, Oid(1043), "varchar(10)") };
        let columns = vec![Column::sample("id", Oid(23), "integer"), long];
        let table = Table { oid: Oid(7), columns, ..Table::sample("t") };
        assert!(is_of(TEXT_OF_TWO, &table));
        let other = Table { oid: Oid(8), ..table.clone() };
        assert!(!is_of(TEXT_OF_TWO, &other));
        let mut exchanged = table.clone();
        exchanged.columns.reverse();
        assert!(!is_of(TEXT_OF_TWO, &exchanged));
        assert_eq!(last_column(TEXT_OF_TWO, &table), 3);
        assert_eq!(types(TEXT_OF_TWO).collect::<Vec<_>>(), [16400]);
    }

    #[test]
    fn names_that_look_like_parameters_are_names() {
        let name = QualifiedName::new("$key", "$labels'");
        let sql = query(&name, &[Ident::new("$last")], Some(3), "true");
        assert!(sql.contains("nspname = '$key' AND c.relname = '$labels'''"), "{sql}");
        assert!(sql.contains("ARRAY['$last']"), "{sql}");
        assert!(sql.contains("BETWEEN 1 AND 3"), "{sql}");
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let changed =
            |from: &str, to: &str| in_words(TEXT_OF_TWO, &TEXT_OF_TWO.replace(from, to), "source");
        assert!(changed("table 7", "table 8").contains("another table"));
        assert!(changed("\"id\"", "\"di\"").contains("columns"));
        assert!(changed("key 1 2 3\n", "").contains("index of its key"));
        assert!(changed("key 1 2 3\n", "key 1 2 3\nnullable 7 1\n").contains("NULL"));
        assert!(changed("[\"a\"]", "[\"b\"]").contains("type"));
    }
}
