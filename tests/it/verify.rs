//! Comparing tables, on real servers.
use pghost::{
    conn::Connection,
    demo::orders,
    pg::{Ident, QualifiedName},
    verify::compare,
};

use crate::support::{Database, server, versions_to_test};

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
    for binaries in versions_to_test() {
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
                let found = compare(&mut one, &name(i), &mut two, &name(j), &columns).await;
                assert_eq!(found.unwrap().is_equal(), i == j, "{left} beside {right}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_rows_and_of_columns_does_not_matter_and_no_release_differs() {
    let table = QualifiedName::new("public", "orders");
    let mut first: Option<(Database, Connection)> = None;
    for binaries in versions_to_test() {
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
        let found = compare(&mut connection, &table, &mut again, &other, &columns).await;
        let found = found.unwrap();
        assert!(found.is_equal() && found.source.rows == 2000, "{found:?}");
        if let Some((_, first)) = &mut first {
            let found = compare(first, &table, &mut again, &other, &columns).await.unwrap();
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
    let found = compare(&mut one, &missing, &mut two, &there, &columns).await;
    assert_eq!(found.unwrap_err().sqlstate().unwrap().as_str(), "42P01");
    let found = compare(&mut one, &there, &mut two, &there, &columns).await;
    assert!(found.unwrap().is_equal());
}
