//! The comparison of two tables, page after page.

use std::collections::{HashMap, HashSet};

use super::{
    Follower, Found, VerifyError, VerifyProgress, VerifyTable,
    pace::Pace,
    settle::Settler,
    side::{Listed, Sides},
};
use crate::conn::Connection;

/// Compares two tables while both may change, and tells what it finds. The sessions are its own:
/// it changes their settings.
///
/// Errors: a server's; or the target does not come to where the source was.
pub async fn verify(
    table: &VerifyTable,
    source: &mut Connection,
    target: &mut Connection,
    follower: &Follower,
    tell: &mut (dyn FnMut(VerifyProgress) + Send),
) -> Result<Found, VerifyError> {
    let mut sides = Sides { table, source, target };
    sides.set_up().await?;
    let mut settler = Settler::new(follower, tell);
    source_pages(&mut sides, &mut settler).await?;
    if !table.same_order {
        target_pages(&mut sides, &mut settler).await?;
    }
    settler.all(&mut sides).await?;
    settler.found.given_up = settler.is_enough();
    Ok(settler.found)
}

/// Walks along the source. The target's rows of a page are those of the same range; where it
/// orders keys otherwise, those of the same keys.
async fn source_pages(sides: &mut Sides<'_>, settler: &mut Settler<'_>) -> Result<(), VerifyError> {
    let passes = if sides.table.same_order { 1 } else { 2 };
    let mut pace = Pace::new(sides.table.page_rows, !sides.table.same_order);
    let mut next = Some(sides.first_page(pace.rows()).await?);
    while let Some(page) = next.take_if(|_| !settler.is_enough()) {
        let (source, target, after, held) = sides.sums(&page, pace.rows()).await?;
        pace.page(source.0, held);
        (settler.tell)(VerifyProgress::SnapshotHeld(held));
        if source != target {
            let (source, target) = sides.lists(&page).await?;
            settler.add(sides, apart(source, target)).await?;
        }
        let found = &mut settler.found;
        (found.rows, found.pages) = (found.rows + source.0, found.pages + 1);
        let (rows, pages) = (found.rows, found.pages);
        (settler.tell)(VerifyProgress::Page { rows, pages, walked: rows, passes });
        settler.now_and_then(sides).await?;
        next = after;
    }
    Ok(())
}

/// Walks along the target, for rows that the source does not have.
async fn target_pages(sides: &mut Sides<'_>, settler: &mut Settler<'_>) -> Result<(), VerifyError> {
    let mut pace = Pace::new(sides.table.page_rows, true);
    let mut lower = None;
    let mut walked = settler.found.rows;
    while !settler.is_enough() {
        let rows = pace.rows();
        let keys = sides.target_keys(lower.as_ref(), rows).await?;
        let (found, held) = sides.on_source(&keys).await?;
        let count = keys.len() as u64;
        pace.page(count, held);
        (settler.tell)(VerifyProgress::SnapshotHeld(held));
        lower = keys.last().filter(|_| count >= rows).cloned();
        // Two keys of the target may be one to the source's collation: their number says nothing.
        let found: HashSet<_> = found.into_iter().collect();
        let extra = keys.into_iter().filter(|key| !found.contains(key));
        settler.add(sides, extra).await?;
        walked += count;
        let (rows, pages) = (settler.found.rows, settler.found.pages);
        (settler.tell)(VerifyProgress::Page { rows, pages, walked, passes: 2 });
        settler.now_and_then(sides).await?;
        if lower.is_none() {
            break;
        }
    }
    Ok(())
}

/// The keys of rows that are not in both lists. A key that the two sides spell differently is one
/// for each; looking at the rows shows what they are.
fn apart(source: Vec<Listed>, target: Vec<Listed>) -> Vec<Vec<String>> {
    let mut left: HashMap<_, _> = source.into_iter().collect();
    let mut apart = Vec::new();
    for (key, hash) in target {
        match left.remove(&key) {
            Some(other) if other == hash => {}
            _ => apart.push(key),
        }
    }
    apart.extend(left.into_keys());
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_apart_by_key_or_hash() {
        let listed = |rows: &[(&str, i64)]| -> Vec<Listed> {
            rows.iter().map(|(key, hash)| (vec![(*key).to_owned()], *hash)).collect()
        };
        let source = listed(&[("1", 1), ("2", 2), ("3", 3), ("5", 5)]);
        let target = listed(&[("1", 1), ("2", 7), ("4", 4), ("5", 5)]);
        let mut found: Vec<_> = apart(source, target).concat();
        found.sort();
        assert_eq!(found, ["2", "3", "4"]);
    }
}
