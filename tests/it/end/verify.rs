//! Comparing tables, on real servers.

mod damage;
mod generated;
mod line;
mod live;
mod many;
mod sides;

use pghost::{
    cluster::Binaries,
    conn::Connection,
    demo::orders,
    ledger::LedgerSchema,
    migrate::{self, Event, Failure, TableSpec, Trust, VerifySpec},
    pg::{Ident, QualifiedName},
    verify::{self, Kind},
};
use tokio::sync::watch;

use crate::support::{Database, server, some_releases, versions_to_test};

/// A row's key, how it differs, and in which columns.
type RowTold = (Vec<(String, String)>, Kind, Vec<String>);

/// What a comparison has told.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    pages: u64,
    pub(crate) different: u64,
    respelled: u64,
    moving: u64,
    rows_told: Vec<RowTold>,
    notices: Vec<String>,
    failure: Option<Failure>,
}

impl Seen {
    fn of(events: &[Event], failure: Option<Failure>) -> Self {
        let mut seen = Self { failure, ..Self::default() };
        for event in events {
            match event {
                Event::Different { key, kind, columns, .. } => {
                    seen.rows_told.push((key.clone(), *kind, columns.clone()));
                }
                Event::Notice { message } => seen.notices.push(message.clone()),
                Event::Verified {
                    rows,
                    pages,
                    different_rows,
                    respelled_rows,
                    moving_rows,
                    ..
                } => {
                    (seen.rows, seen.pages) = (*rows, *pages);
                    (seen.different, seen.respelled) = (*different_rows, *respelled_rows);
                    seen.moving = *moving_rows;
                }
                _ => {}
            }
        }
        seen
    }
}

/// Pairs of releases to compare between, so that each is one of a pair.
fn pairs() -> Vec<(Binaries, Binaries)> {
    let versions = versions_to_test();
    let pairs = versions.iter().zip(versions.iter().rev()).take(versions.len().div_ceil(2));
    pairs.map(|(from, to)| (from.clone(), to.clone())).collect()
}

/// Compares `t`, or `t=u`, of two databases.
pub(crate) async fn compare(
    source: &Database,
    target: &Database,
    tables: &str,
    page_rows: u64,
) -> Seen {
    compare_as(source, target, tables, None, None, page_rows).await
}

/// The same while somebody follows: a migration, or who reads a slot.
async fn compare_as(
    source: &Database,
    target: &Database,
    tables: &str,
    name: Option<&str>,
    slot: Option<&str>,
    page_rows: u64,
) -> Seen {
    let (from, to) = tables.split_once('=').unwrap_or((tables, tables));
    let name_of = |table| QualifiedName::new("public", table);
    let named = TableSpec { source: name_of(from), target: name_of(to) };
    let spec = VerifySpec {
        source: source.config(),
        target: target.config(),
        tables: if tables.is_empty() { Vec::new() } else { vec![named] },
        name: name.map(str::to_owned),
        ledger: LedgerSchema::default(),
        slot: slot.map(str::to_owned),
        page_rows: Some(page_rows),
        list: 100,
        trust: Trust::default(),
    };
    let (_stay, interrupt) = watch::channel(false);
    let mut events = Vec::new();
    let mut listener = |event: &Event| events.push(event.clone());
    let failure = migrate::verify(&spec, interrupt, &mut listener).await.err();
    Seen::of(&events, failure)
}

/// Each holds two columns in one row, or the same row another number of times.
const DIFFERENT: [&str; 9] = [
    "(NULL::text, '')",
    "('', NULL)",
    "('', '')",
    "(NULL, NULL)",
    "('a,', 'b')",
    "('a', ',b')",
    "('ab', NULL)",
    "('ab', NULL), ('ab', NULL)",
    "('ab', NULL), ('ab', NULL), ('ab', NULL)",
];

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_values_in_the_same_columns_are_equal() {
    for binaries in some_releases() {
        let database = Database::create(&server(&binaries), "compare").await;
        let (mut one, mut two) = (database.connect().await, database.connect().await);
        let name = |i: usize| QualifiedName::new("public", format!("t{i}"));
        for (i, rows) in DIFFERENT.iter().enumerate() {
            let sql = format!("CREATE TABLE {} AS VALUES {rows}", name(i));
            one.query(&sql).await.unwrap();
        }
        let columns = ["column1", "column2"].map(Ident::new);
        for (i, left) in DIFFERENT.iter().enumerate() {
            for (j, right) in DIFFERENT.iter().enumerate() {
                let found = verify::compare(&mut one, &name(i), &mut two, &name(j), &columns).await;
                assert_eq!(found.unwrap().is_equal(), i == j, "{left} beside {right}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_rows_and_of_columns_does_not_matter_and_no_release_differs() {
    let table = QualifiedName::new("public", "orders");
    let mut first: Option<(Database, Connection)> = None;
    for binaries in some_releases() {
        let database = Database::create(&server(&binaries), "compare").await;
        let mut connection = database.connect().await;
        connection.query(&orders::create(&table, 2000)).await.unwrap();
        let other = QualifiedName::new("public", "other");
        let list: Vec<_> = orders::columns().iter().rev().map(Ident::to_string).collect();
        let list = list.join(", ");
        let sql = format!("CREATE TABLE {other} AS SELECT {list} FROM {table} ORDER BY reference");
        connection.query(&sql).await.unwrap();
        let mut again = database.connect().await;
        let columns = orders::columns();
        let found = verify::compare(&mut connection, &table, &mut again, &other, &columns).await;
        let found = found.unwrap();
        assert!(found.is_equal() && found.source.rows == 2000, "{found:?}");
        if let Some((_, first)) = &mut first {
            let found = verify::compare(first, &table, &mut again, &other, &columns).await.unwrap();
            assert!(found.is_equal(), "{}: {found:?}", binaries.version);
        } else {
            first = Some((database, connection));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_of_one_side_both_sessions_can_be_used_again() {
    let Some(binaries) = versions_to_test().pop() else {
        return;
    };
    let database = Database::create(&server(&binaries), "compare").await;
    let (mut one, mut two) = (database.connect().await, database.connect().await);
    one.query("CREATE TABLE public.t (a int)").await.unwrap();
    let (there, missing) = (QualifiedName::new("public", "t"), QualifiedName::new("public", "u"));
    let columns = [Ident::new("a")];
    let found = verify::compare(&mut one, &missing, &mut two, &there, &columns).await;
    assert_eq!(found.unwrap_err().sqlstate().unwrap().as_str(), "42P01");
    let found = verify::compare(&mut one, &there, &mut two, &there, &columns).await;
    assert!(found.unwrap().is_equal());
}
