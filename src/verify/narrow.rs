//! From a page that differs to the rows that do.
//!
//! ```text
//!   page that differs ── not many rows ──> listed on both sides: what is not in both differs,
//!        │  ^                              or seems to
//!   many │  │ a part that differs
//!        v  │
//!      parts, cut by the side that has more
//! ```
//!
//! A page is cut by the source, and the target may have any number of rows in it: all of its rows,
//! if the source is empty. Lists are held here, so what is listed at once is bounded.

use std::collections::HashMap;

use super::{
    VerifyError, VerifyProgress,
    settle::Settler,
    side::{Listed, Page, Side, Sides},
};

/// A range that is to be split, by the side that has more rows in it.
struct Large {
    page: Page,
    by: Side,
}

impl Large {
    /// `None` where neither side has more than two pages' rows: that can be listed.
    fn of(page: &Page, (source, target): (u64, u64), rows: u64) -> Option<Self> {
        let by = if source > target { Side::Source } else { Side::Target };
        (source.max(target) > rows.saturating_mul(2)).then(|| Self { page: page.clone(), by })
    }
}

/// Finds the rows that differ in a page, whose sides have so many rows; `rows` is what a page may
/// have.
pub(super) async fn narrow(
    sides: &mut Sides<'_>,
    settler: &mut Settler<'_>,
    page: &Page,
    counts: (u64, u64),
    rows: u64,
) -> Result<(), VerifyError> {
    // Where the target orders keys otherwise it was asked for the page's keys, and has not more.
    let large = Large::of(page, counts, rows).filter(|_| sides.table.same_order);
    let Some(large) = large else {
        return list(sides, settler, page).await;
    };
    let mut all = vec![large];
    while let Some(Large { page, by }) = all.pop() {
        let part = match sides.splitting(&page, by, rows).await? {
            Some(key) => {
                let (part, rest) = page.split(key);
                all.push(Large { page: rest, by });
                part
            }
            None => page,
        };
        let (source, target, _, held) = sides.sums(&part, None).await?;
        (settler.tell)(VerifyProgress::SnapshotHeld(held));
        if source != target {
            // The other side may have as many rows in this part as this one has in all.
            match Large::of(&part, (source.0, target.0), rows) {
                Some(large) => all.push(large),
                None => list(sides, settler, &part).await?,
            }
        }
        settler.walked(0);
    }
    Ok(())
}

async fn list(
    sides: &mut Sides<'_>,
    settler: &mut Settler<'_>,
    page: &Page,
) -> Result<(), VerifyError> {
    let (source, target, held) = sides.lists(page).await?;
    (settler.tell)(VerifyProgress::SnapshotHeld(held));
    settler.add(sides, apart(source, target)).await
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

    #[test]
    fn a_range_is_split_by_the_side_that_has_far_more_rows() {
        let of = |counts| Large::of(&Page::default(), counts, 100).map(|large| large.by);
        assert_eq!([of((100, 200)), of((200, 0)), of((0, 0))], [None; 3]);
        assert_eq!(of((100, 201)), Some(Side::Target));
        assert_eq!(of((5_000, 201)), Some(Side::Source));
    }

    #[test]
    fn the_parts_of_a_page_are_all_of_it() {
        let key = |key: &str| Some(vec![key.to_owned()]);
        let page = Page { lower: key("a"), upper: None, keys: Vec::new() };
        let (first, rest) = page.split(vec!["m".to_owned()]);
        assert_eq!((first.lower, first.upper), (key("a"), key("m")));
        assert_eq!((rest.lower, rest.upper), (key("m"), None));
    }
}
