//! Both sides' catalogs, column by column, after pghost has made the targets of a schema that has
//! something of everything.
//!
//! [`known`] says of each column of each catalog that describes a table whether it must be the same,
//! or why it says nothing. A column that a server has and the table does not know fails the test, so
//! that a new release's columns are looked at. What differs must be told ([`TOLD`]).

mod known;
mod schema;

use std::collections::BTreeMap;

use pghost::{cluster::Binaries, migrate::TableSpec, pg::QualifiedName};
use serde_json::Value;

use self::known::{CATALOGS, Catalog, How, REASONS};
use crate::{
    finish::objects::notices,
    support::{
        Database, migrate, moments::drop_slot, oldest_and_newest, selected, server, spec,
        versions_to_test,
    },
};

/// A row of a catalog, by what it is about, and what it says.
type Rows = BTreeMap<(&'static str, String), serde_json::Map<String, Value>>;

/// What differs: the catalog, the column, a part of what the row is about, and what is said of it.
/// A column of `row` stands for a row that only the source has.
const TOLD: &[(&str, &str, &str, &[&str])] = &[
    ("pg_rewrite", "row", "rich.quiet", &["rule quiet of public.rich"]),
    ("pg_class", "relhasrules", "public.rich", &["rule quiet of public.rich"]),
    ("pg_attribute", "attidentity", "public.rich.al", &["identity column al", "GENERATED ALWAYS"]),
    ("pg_trigger", "tgenabled", "public.rich.always", &["firing of trigger always", "disabled"]),
    ("pg_trigger", "tgenabled", "public.parts_1.each", &["trigger each of the partition"]),
    ("pg_publication_rel", "row", "theirs", &["publication theirs", "ADD TABLE"]),
    ("pg_publication_namespace", "row", "all_of", &["publication all_of"]),
    ("pg_class", "reltablespace", "public.rich_apart", &["tablespace", "public.rich_apart"]),
    ("pg_depend", "row", "rich_note", &["extension plpgsql", "rich_note"]),
    ("pg_type", "typacl", "public.rich", &["row type of public.rich"]),
    ("pg_class", "relacl", "public.leaf", &["owner of public.leaf", "TRUNCATE"]),
];

/// What a later target says besides: the catalog, what differs, and a part of what it is about.
const LATER: &[(&str, &str, &str)] = &[
    // Constraints of their own since 18.
    ("pg_constraint", "row of the target's own", "_not_null"),
    // Before 15 these are called internal, as a foreign key's are.
    ("pg_trigger", "row of the target's own", ".each"),
];

/// Takes out of privileges what owners have from 17 on.
fn without_maintain(rows: &mut Rows) {
    for value in rows.values_mut().filter_map(|says| says.get_mut("relacl")) {
        let Value::String(text) = value else { continue };
        *text = text.replace("postgres MAINTAIN f, ", "");
    }
}

async fn unknown_columns(database: &Database, major: u32) -> Vec<String> {
    let mut unknown = Vec::new();
    for catalog in CATALOGS {
        let sql = format!(
            "SELECT coalesce(string_agg(attname, ' '), '') FROM pg_attribute
              WHERE attrelid = to_regclass('pg_catalog.{}') AND attnum > 0",
            catalog.name
        );
        let there = database.value(&sql).await;
        let there: Vec<_> = there.split_whitespace().collect();
        // Not every release has every catalog.
        assert!(!there.is_empty() || catalog.since > major, "{} is gone", catalog.name);
        let known = |column: &&&str| catalog.columns.iter().any(|(name, _)| name == *column);
        let new = there.iter().filter(|column| !known(column));
        unknown.extend(new.map(|column| format!("{}.{column}", catalog.name)));
    }
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_the_catalogs_is_known() {
    for binaries in versions_to_test() {
        let database = Database::create(&server(&binaries), "catalogs").await;
        let unknown = unknown_columns(&database, binaries.version.major()).await;
        assert!(unknown.is_empty(), "{}: {unknown:?}", binaries.version);
    }
}

#[test]
fn reasons_stand_in_the_fine_print() {
    let docs = std::fs::read_to_string("docs/fine-print.md").unwrap();
    let docs = docs.split_whitespace().collect::<Vec<_>>().join(" ");
    for reason in REASONS {
        assert!(docs.contains(reason), "{reason}");
    }
    for (_, how) in CATALOGS.iter().flat_map(|catalog| catalog.columns) {
        let How::Irrelevant(reason) = how else { continue };
        assert!(REASONS.contains(reason), "{reason}");
    }
}

/// What a server says in one catalog.
async fn read(database: &Database, catalog: &'static Catalog, rows: &mut Rows) {
    let mut connection = database.connect().await;
    let of = format!(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('pg_catalog.{}')",
        catalog.name
    );
    let there = connection.query(&of).await.unwrap();
    let there: Vec<String> = there.rows().iter().map(|row| row.get("attname").unwrap()).collect();
    let said = catalog.columns.iter().filter_map(|(column, how)| match how {
        How::Same("") => Some(format!("'{column}', x.{column}::text")),
        How::Same(expression) => Some(format!("'{column}', ({expression})::text")),
        How::Irrelevant(_) => None,
    });
    let is_there = |pair: &String| there.iter().any(|name| pair.starts_with(&format!("'{name}'")));
    let said: Vec<_> = said.filter(is_there).collect();
    connection.query("SET search_path = ''").await.unwrap();
    let sql = format!(
        "SELECT {} AS key, jsonb_build_object({}) AS says FROM pg_catalog.{} x WHERE {}",
        catalog.key,
        said.join(", "),
        catalog.name,
        catalog.scope
    );
    if there.is_empty() {
        return;
    }
    let found = connection.query(&sql.replace("$ns", known::SCHEMAS)).await;
    for row in found.unwrap_or_else(|error| panic!("{sql}: {error}")).rows() {
        let key: String = row.get("key").unwrap();
        let says: String = row.get("says").unwrap();
        let key = (catalog.name, key);
        let twice = rows.insert(key.clone(), serde_json::from_str(&says).unwrap());
        assert!(twice.is_none(), "two rows for {key:?}");
    }
    connection.close().await;
}

async fn read_all(database: &Database) -> Rows {
    let mut rows = Rows::new();
    for catalog in CATALOGS {
        read(database, catalog, &mut rows).await;
    }
    rows
}

/// What differs, as (catalog, column, what it is about, both values).
fn differences(source: &Rows, target: &Rows) -> Vec<(&'static str, String, String, String)> {
    let mut all = Vec::new();
    for (key @ (catalog, about), says) in source {
        let Some(other) = target.get(key) else {
            all.push((*catalog, "row".to_owned(), about.clone(), format!("{says:?}")));
            continue;
        };
        for (column, value) in says {
            if other.get(column) != Some(value) {
                let both = format!("{value} and {:?}", other.get(column));
                all.push((*catalog, column.clone(), about.clone(), both));
            }
        }
    }
    let only = target.keys().filter(|key| !source.contains_key(*key));
    all.extend(only.map(|(catalog, about)| {
        (*catalog, "row of the target's own".to_owned(), about.clone(), String::new())
    }));
    all
}

async fn compares(binaries: &Binaries, other: &Binaries) {
    let from = Database::create(&server(binaries), "catalogs").await;
    let to = Database::create(&server(other), "catalogs").await;
    for database in [&from, &to] {
        database.sql(schema::BESIDE).await;
    }
    let major = binaries.version.major();
    schema::make(&from, major).await;
    let mut spec = spec(&from, &to, "", "");
    let named = |name: &&str| {
        let name = QualifiedName::new("public", *name);
        TableSpec { source: name.clone(), target: name }
    };
    spec.tables = schema::tables(major).iter().map(named).collect();
    let events = migrate(&spec).await.unwrap_or_else(|failure| panic!("{failure}"));
    let notices = notices(&events);
    let (mut source, mut target) = (read_all(&from).await, read_all(&to).await);
    let is_later = other.version.major() > major;
    if is_later {
        without_maintain(&mut source);
        without_maintain(&mut target);
    }
    let mut untold = Vec::new();
    for (catalog, column, about, both) in differences(&source, &target) {
        if is_later
            && (LATER.iter())
                .any(|(of, what, part)| *of == catalog && *what == column && about.contains(part))
        {
            continue;
        }
        let entry = TOLD.iter().find(|(of, differs, part, _)| {
            *of == catalog && *differs == column && about.contains(part)
        });
        let is_told = entry.is_some_and(|(.., says)| {
            notices.iter().any(|notice| says.iter().all(|part| notice.contains(part)))
        });
        if !is_told {
            untold.push(format!("{catalog}.{column} of {about}: {both}"));
        }
    }
    assert!(untold.is_empty(), "{major}: {untold:#?}\n{notices:#?}");
    drop_slot(&from, &spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogs_say_the_same_of_tables_that_pghost_makes() {
    for binaries in oldest_and_newest() {
        compares(&binaries, &binaries).await;
    }
}

/// A column that only one of the two has is not compared: no other release can be asked for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogs_say_the_same_on_a_later_release() {
    for (older, later) in [(14, 18), (15, 17)] {
        let (Some(older), Some(later)) = (selected(older), selected(later)) else { continue };
        compares(&older, &later).await;
    }
}
