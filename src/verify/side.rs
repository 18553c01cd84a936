//! What is asked of either side.

use std::time::{Duration, Instant};

use super::{VerifyError, VerifyTable, suspect::Shown};
use crate::{
    conn::{Connection, Error, PATH_AGAIN, QueryResult, Row},
    pg::{Lsn, QualifiedName, Snapshot},
    replication::take_checkpoint,
    sql::{
        Hashing, KeyColumn, Rows, bound_within, fingerprint, list_keys, list_rows, look_at_rows,
        next_bound, respelled, values_of_row,
    },
};

/// A range of the key, and its keys where these travel.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub(super) lower: Option<Vec<String>>,
    pub(super) upper: Option<Vec<String>>,
    pub(super) keys: Vec<Vec<String>>,
}

impl Page {
    fn range(&self) -> Rows<'_> {
        Rows::Between(self.lower.as_deref(), self.upper.as_deref())
    }

    /// What is up to a key within it, and what comes after that.
    pub(super) fn split(self, at: Vec<String>) -> (Self, Self) {
        let first = Self { upper: Some(at.clone()), ..self.clone() };
        (first, Self { lower: Some(at), ..self })
    }
}

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Target,
}

/// What a page amounts to: rows, and the sum of their hashes.
pub(super) type Sum = (u64, String);

/// A row's key and hash.
pub(super) type Listed = (Vec<String>, i64);

/// Both servers.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    pub(super) table: &'a VerifyTable,
    pub(super) source: &'a mut Connection,
    pub(super) target: &'a mut Connection,
}

/// Ranges and single keys are found by the index, whatever the statistics say (a table that was
/// just filled has none); and nothing is compiled for a statement of milliseconds.
const SETTINGS: &str = "SET enable_seqscan = off; SET enable_hashjoin = off;
                        SET enable_mergejoin = off; SET jit = off";

impl Sides<'_> {
    pub(super) fn at_source(&self, error: Error) -> VerifyError {
        VerifyError::Server { table: self.table.source.plain(), side: "source", error }
    }

    pub(super) fn at_target(&self, error: Error) -> VerifyError {
        VerifyError::Server { table: self.table.target.plain(), side: "target", error }
    }

    fn both<A, B>(
        &self,
        (source, target): (Result<A, Error>, Result<B, Error>),
    ) -> Result<(A, B), VerifyError> {
        let source = source.map_err(|error| self.at_source(error))?;
        Ok((source, target.map_err(|error| self.at_target(error))?))
    }

    pub(super) async fn set_up(&mut self) -> Result<(), VerifyError> {
        let set = tokio::join!(self.source.query(SETTINGS), self.target.query(SETTINGS));
        self.both(set).map(drop)
    }

    /// The statement that finds the page after `lower` on the source.
    fn finding(&self, lower: Option<&[String]>, rows: u64) -> String {
        let (table, key) = (&self.table.source, &self.table.source_key);
        again(&match self.table.same_order {
            true => next_bound(table, key, lower, rows),
            false => list_keys(table, key, key, lower, rows),
        })
    }

    fn found(
        &self,
        lower: Option<Vec<String>>,
        rows: u64,
        result: &QueryResult,
    ) -> Result<Page, Error> {
        let mut keys = keys(result)?;
        if self.table.same_order {
            return Ok(Page { lower, upper: keys.pop(), keys });
        }
        let upper = keys.last().filter(|_| keys.len() as u64 >= rows).cloned();
        Ok(Page { lower, upper, keys })
    }

    /// The first page of the source.
    pub(super) async fn first_page(&mut self, rows: u64) -> Result<Page, VerifyError> {
        let sql = self.finding(None, rows);
        let result = self.source.query(&sql).await;
        result
            .and_then(|result| self.found(None, rows, &result))
            .map_err(|error| self.at_source(error))
    }

    /// What a page amounts to on both sides; and, found while the target still works, the page of
    /// at most `next` rows after it, if that is asked for; and the longest time of a statement on
    /// the source.
    pub(super) async fn sums(
        &mut self,
        page: &Page,
        next: Option<u64>,
    ) -> Result<(Sum, Sum, Option<Page>, Duration), VerifyError> {
        let table = self.table;
        let of_source =
            again(&fingerprint(&table.source, &table.source_key, page.range(), table.hashing()));
        let of_target = self.on_target(page, fingerprint);
        let rows = next.unwrap_or_default();
        let next = next.filter(|_| page.upper.is_some());
        let next = next.map(|rows| self.finding(page.upper.as_deref(), rows));
        let began = Instant::now();
        let (on_source, on_target) = (&mut *self.source, &mut *self.target);
        on_source.queue_query(&of_source);
        if let Some(next) = &next {
            on_source.queue_query(next);
        }
        let both_of_source = async {
            let sum = on_source.result().await?;
            let first = began.elapsed();
            let next = match next {
                Some(_) => Some(on_source.result().await?),
                None => None,
            };
            Ok::<_, Error>((sum, next, first.max(began.elapsed().saturating_sub(first))))
        };
        let asked = tokio::join!(both_of_source, on_target.query(&of_target));
        let ((source, next, held), target) = self.both(asked)?;
        let source = sum(&source).map_err(|error| self.at_source(error))?;
        let target = sum(&target).map_err(|error| self.at_target(error))?;
        let next = next
            .map(|result| self.found(page.upper.clone(), rows, &result))
            .transpose()
            .map_err(|error| self.at_source(error))?;
        Ok((source, target, next, held))
    }

    /// The key of a row of a page by which it can be split: the one that has so many before it and
    /// with it, as a side counts them. `None` where it has not so many. Only where both order the
    /// key alike does it split both.
    pub(super) async fn splitting(
        &mut self,
        page: &Page,
        by: Side,
        rows: u64,
    ) -> Result<Option<Vec<String>>, VerifyError> {
        let table = self.table;
        let bounds = (page.lower.as_deref(), page.upper.as_deref());
        let found = match by {
            Side::Source => {
                let sql = again(&bound_within(&table.source, &table.source_key, bounds, rows));
                self.source.query(&sql).await.and_then(|result| keys(&result))
            }
            Side::Target => {
                let sql = again(&bound_within(&table.target, &table.target_key, bounds, rows));
                self.target.query(&sql).await.and_then(|result| keys(&result))
            }
        };
        let found = found.map_err(|error| match by {
            Side::Source => self.at_source(error),
            Side::Target => self.at_target(error),
        });
        Ok(found?.pop())
    }

    /// The page as the target finds it: where it orders keys otherwise, by the keys themselves.
    fn on_target(&self, page: &Page, make: Making) -> String {
        let table = self.table;
        let rows = match table.same_order {
            true => page.range(),
            false => Rows::Keyed(&page.keys),
        };
        again(&make(&table.target, &table.target_key, rows, table.hashing()))
    }

    /// The rows of a page on both sides, and how long the source took.
    pub(super) async fn lists(
        &mut self,
        page: &Page,
    ) -> Result<(Vec<Listed>, Vec<Listed>, Duration), VerifyError> {
        let table = self.table;
        let of_source =
            again(&list_rows(&table.source, &table.source_key, page.range(), table.hashing()));
        let of_target = self.on_target(page, list_rows);
        let began = Instant::now();
        let (on_source, on_target) = (&mut *self.source, &mut *self.target);
        let of_source = async { (on_source.query(&of_source).await, began.elapsed()) };
        let ((source, held), target) = tokio::join!(of_source, on_target.query(&of_target));
        let (source, target) = self.both((source, target))?;
        let (source, target) = self.both((listed(&source), listed(&target)))?;
        Ok((source, target, held))
    }

    /// The target's keys after `lower`, in the order of its index.
    pub(super) async fn target_keys(
        &mut self,
        lower: Option<&Vec<String>>,
        rows: u64,
    ) -> Result<Vec<Vec<String>>, VerifyError> {
        let (table, walk) = (self.table, self.table.walk());
        let lower = lower.map(|values| table.walk_values(values));
        let sql =
            again(&list_keys(&table.target, &table.target_key, &walk, lower.as_deref(), rows));
        let result = self.target.query(&sql).await;
        result.and_then(|result| keys(&result)).map_err(|error| self.at_target(error))
    }

    /// Which of these keys the source has, as it spells them; and how long that took.
    pub(super) async fn on_source(
        &mut self,
        keys: &[Vec<String>],
    ) -> Result<(Vec<Vec<String>>, Duration), VerifyError> {
        let table = self.table;
        let rows = Rows::Keyed(keys);
        let sql = again(&list_rows(&table.source, &table.source_key, rows, table.no_columns()));
        let began = Instant::now();
        let result = self.source.query(&sql).await;
        let found = result.and_then(|result| listed(&result));
        let found = found.map_err(|error| self.at_source(error))?;
        Ok((found.into_iter().map(|(key, _)| key).collect(), began.elapsed()))
    }

    /// Which transactions the source shows from now on at least.
    pub(super) async fn snapshot(&mut self) -> Result<Snapshot, VerifyError> {
        let sql = again("SELECT pg_catalog.pg_current_snapshot() AS snapshot");
        let result = self.source.query(&sql).await;
        let snapshot = result.and_then(|result| result.row()?.get("snapshot"));
        snapshot.map_err(|error| self.at_source(error))
    }

    /// A position after all that was seen of the source so far.
    pub(super) async fn checkpoint(&mut self) -> Result<Lsn, VerifyError> {
        take_checkpoint(self.source).await.map_err(|error| self.at_source(error))
    }

    /// The source's rows of these keys.
    pub(super) async fn look_at_source(
        &mut self,
        keys: &[Vec<String>],
    ) -> Result<Vec<Option<Shown>>, VerifyError> {
        let table = self.table;
        let sql = again(&look_at_rows(&table.source, &table.source_key, keys, table.hashing()));
        let result = self.source.query(&sql).await;
        result.and_then(|found| shown(&found, keys.len())).map_err(|error| self.at_source(error))
    }

    /// The target's.
    pub(super) async fn look_at_target(
        &mut self,
        keys: &[Vec<String>],
    ) -> Result<Vec<Option<Shown>>, VerifyError> {
        let table = self.table;
        let sql = again(&look_at_rows(&table.target, &table.target_key, keys, table.hashing()));
        let result = self.target.query(&sql).await;
        result.and_then(|found| shown(&found, keys.len())).map_err(|error| self.at_target(error))
    }

    /// Whether the source's values of some columns, written to the target, would be what stands
    /// there in `target`. A value that the target can't read would not.
    pub(super) async fn is_respelled(
        &mut self,
        key: &[String],
        places: &[usize],
        target: &Shown,
    ) -> Result<bool, VerifyError> {
        let table = self.table;
        let columns: Vec<_> =
            places.iter().filter_map(|&i| table.columns.get(i).cloned()).collect();
        let types: Vec<_> =
            places.iter().filter_map(|&i| table.target_types.get(i).cloned()).collect();
        let key_columns: &[KeyColumn] = &table.source_key;
        let sql =
            again(&values_of_row(&table.source, key_columns, key, &columns, VALUES_BYTES_MAX));
        let result = self.source.query(&sql).await.map_err(|error| self.at_source(error))?;
        let Some(row) = result.rows().first() else { return Ok(false) };
        let values: Option<Vec<Option<&str>>> = (row.values().iter())
            .map(|value| value.as_deref().map(std::str::from_utf8).transpose().ok())
            .collect();
        let Some(values) = values else { return Ok(false) };
        match self.target.query_with(&respelled(&types, table.hashing()), &values).await {
            Ok(result) => {
                let hashes = result.row().and_then(|row| hashes(row, 0));
                let hashes = hashes.map_err(|error| self.at_target(error))?;
                let there = places.iter().map(|&i| target.columns.get(i));
                Ok(hashes.iter().map(Some).eq(there))
            }
            Err(Error::Server(_)) => Ok(false),
            Err(error) => Err(self.at_target(error)),
        }
    }
}

/// A statement behind others that have run code of the table's owner.
fn again(sql: &str) -> String {
    format!("{PATH_AGAIN}; {sql}")
}

/// What makes a statement about a page.
type Making = fn(&QualifiedName, &[KeyColumn], Rows<'_>, Hashing<'_>) -> String;

/// Longer values of a row that differs are taken for different without asking further.
const VALUES_BYTES_MAX: u64 = 16 << 20;

fn keys(result: &QueryResult) -> Result<Vec<Vec<String>>, Error> {
    result.rows().iter().map(|row| row.texts(0)).collect()
}

fn sum(result: &QueryResult) -> Result<Sum, Error> {
    let row = result.row()?;
    Ok((row.get("row_count")?, row.get("hash")?))
}

fn listed(result: &QueryResult) -> Result<Vec<Listed>, Error> {
    let one = |row: &Row| Ok((row.texts(1)?, number(row, 0)?));
    result.rows().iter().map(one).collect()
}

fn shown(result: &QueryResult, keys: usize) -> Result<Vec<Option<Shown>>, Error> {
    let mut found = vec![None; keys];
    for row in result.rows() {
        let at = usize::try_from(number(row, 0)?).ok();
        let place = at.and_then(|at| found.get_mut(at));
        let place = place.ok_or_else(|| Error::Result("a key has no such number".into()))?;
        let version = row.values().get(1).and_then(Option::as_ref);
        *place = match version {
            None => None,
            Some(version) => Some(Shown {
                version: String::from_utf8_lossy(version).into_owned(),
                columns: hashes(row, 2)?,
            }),
        };
    }
    Ok(found)
}

fn hashes(row: &Row, first: usize) -> Result<Vec<i64>, Error> {
    (first..row.values().len()).map(|at| number(row, at)).collect()
}

fn number(row: &Row, at: usize) -> Result<i64, Error> {
    let text = row.values().get(at).and_then(Option::as_deref);
    text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .ok_or_else(|| Error::Result("a hash is not a number".into()))
}
