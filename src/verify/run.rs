//! The comparison of two tables, page after page.

use std::collections::HashSet;

use super::{
    Follower, Found, VerifyError, VerifyProgress, VerifyTable, narrow::narrow, pace::Pace,
    settle::Settler, side::Sides,
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
    Ok(settler.found)
}

/// Walks along the source. The target's rows of a page are those of the same range; where it
/// orders keys otherwise, those of the same keys.
async fn source_pages(sides: &mut Sides<'_>, settler: &mut Settler<'_>) -> Result<(), VerifyError> {
    let mut pace = Pace::new(sides.table.page_rows, !sides.table.same_order);
    let mut next = Some(sides.first_page(pace.rows()).await?);
    settler.passes = if sides.table.same_order { 1 } else { 2 };
    while let Some(page) = next {
        let (source, target, after, held) = sides.sums(&page, Some(pace.rows())).await?;
        pace.page(source.0, held);
        (settler.tell)(VerifyProgress::SnapshotHeld(held));
        if source != target {
            narrow(sides, settler, &page, (source.0, target.0), pace.rows()).await?;
        }
        settler.page(source.0);
        settler.now_and_then(sides).await?;
        next = after;
    }
    Ok(())
}

/// Walks along the target, for rows that the source does not have.
async fn target_pages(sides: &mut Sides<'_>, settler: &mut Settler<'_>) -> Result<(), VerifyError> {
    let mut pace = Pace::new(sides.table.page_rows, true);
    let mut lower = None;
    loop {
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
        settler.walked(count);
        settler.now_and_then(sides).await?;
        if lower.is_none() {
            return Ok(());
        }
    }
}
