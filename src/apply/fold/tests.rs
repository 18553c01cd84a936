//! Folding, case by case.

use super::*;
use crate::pgoutput::encode::TupleBuf;

/// Values as a test writes them: `-` for NULL, `?` for unchanged, anything else as text.
fn tuple(values: &[&str]) -> TupleBuf {
    let mut builder = TupleBuf::default();
    for value in values {
        builder.push(match *value {
            "-" => TupleValue::Null,
            "?" => TupleValue::Unchanged,
            text => TupleValue::Text(text.as_bytes()),
        });
    }
    builder
}

const COLUMNS: [Option<usize>; 3] = [Some(0), Some(1), Some(2)];

fn fold() -> Fold {
    Fold::new(3, vec![0])
}

fn insert(fold: &mut Fold, new: &[&str]) {
    fold.insert(tuple(new).tuple(), &COLUMNS);
}

fn update(fold: &mut Fold, new: &[&str]) -> Folded {
    fold.update(None, tuple(new).tuple(), &COLUMNS)
}

fn rekey(fold: &mut Fold, old: &str, new: &[&str]) -> Folded {
    let old = tuple(&[old, "-", "-"]);
    fold.update(Some(OldTuple::Key(old.tuple())), tuple(new).tuple(), &COLUMNS)
}

fn delete(fold: &mut Fold, key: &str) {
    fold.delete(OldTuple::Key(tuple(&[key, "-", "-"]).tuple()), &COLUMNS);
}

/// `key state existed values..`, one line an entry.
fn shown(fold: &Fold) -> Vec<String> {
    let text = |cell: &Cell| match cell {
        Cell::Null => "-".to_owned(),
        Cell::Unchanged => "?".to_owned(),
        cell => String::from_utf8_lossy(fold.value(*cell).unwrap()).into_owned(),
    };
    let line = |entry: &Entry| {
        let row: Vec<_> = fold.row(entry).iter().map(text).collect();
        let was = if entry.existed { "was" } else { "new" };
        match entry.state {
            State::Gone => format!("{} Gone {was}", row[0]),
            state => format!("{} {state:?} {was} {}", row[0], row[1..].join(" ")),
        }
    };
    fold.entries().iter().map(line).collect()
}

#[test]
fn the_last_write_of_a_key_wins() {
    let mut f = fold();
    insert(&mut f, &["1", "a", "b"]);
    assert_eq!(update(&mut f, &["1", "c", "-"]), Folded::Done);
    insert(&mut f, &["2", "x", "y"]);
    delete(&mut f, "2");
    delete(&mut f, "3");
    insert(&mut f, &["3", "n", "n"]);
    assert_eq!(shown(&f), ["1 Row new c -", "2 Gone new", "3 Row was n n"]);
}

#[test]
fn a_missing_big_value_is_taken_from_what_was_folded_before() {
    let mut f = fold();
    let _ = update(&mut f, &["1", "a", "?"]);
    assert_eq!(shown(&f), ["1 Patch was a ?"]);
    let _ = update(&mut f, &["1", "?", "big"]);
    assert_eq!(shown(&f), ["1 Row was a big"]);
    let _ = update(&mut f, &["1", "z", "?"]);
    assert_eq!(shown(&f), ["1 Row was z big"]);
}

#[test]
fn a_changed_key_deletes_the_old_row_and_writes_the_new_one() {
    let mut f = fold();
    assert_eq!(rekey(&mut f, "1", &["2", "a", "b"]), Folded::Done);
    assert_eq!(shown(&f), ["1 Gone was", "2 Row new a b"]);
    assert_eq!(rekey(&mut f, "2", &["1", "c", "?"]), Folded::Done);
    assert_eq!(shown(&f), ["1 Row was c b", "2 Gone new"]);
}

#[test]
fn keys_that_change_in_a_ring_end_right() {
    let mut f = fold();
    let _ = rekey(&mut f, "1", &["3", "one", "-"]);
    let _ = rekey(&mut f, "2", &["1", "two", "-"]);
    let _ = rekey(&mut f, "3", &["2", "?", "-"]);
    assert_eq!(shown(&f), ["1 Row was two -", "3 Gone new", "2 Row was one -"]);
}

#[test]
fn a_moved_row_with_a_big_value_that_is_nowhere_is_left_to_the_caller() {
    let mut f = fold();
    assert_eq!(rekey(&mut f, "1", &["2", "a", "?"]), Folded::KeepsValue);
    assert!(f.is_empty());
    let (old, new) = (tuple(&["1", "-", "-"]), tuple(&["2", "a", "?"]));
    f.fetch_moved(OldTuple::Key(old.tuple()), new.tuple(), &COLUMNS);
    assert_eq!(shown(&f), ["1 Gone was", "2 Fetch new a ?"]);
    // What the log says later of the fetched row does not make it whole ..
    let _ = update(&mut f, &["2", "b", "?"]);
    assert_eq!(shown(&f)[1], "2 Fetch new b ?");
    // .. and the row that is fetched is whole.
    f.fetched(1, Some([Some(&b"2"[..]), None, Some(b"big")].into_iter()));
    assert_eq!(shown(&f)[1], "2 Row new - big");
}

#[test]
fn a_row_that_the_source_no_longer_has_is_not_written() {
    let mut f = fold();
    let (old, new) = (tuple(&["1", "-", "-"]), tuple(&["2", "a", "?"]));
    f.fetch_moved(OldTuple::Key(old.tuple()), new.tuple(), &COLUMNS);
    f.fetched(1, None::<std::iter::Empty<_>>);
    assert_eq!(shown(&f), ["1 Gone was", "2 Patch new ? ?"]);
}

#[test]
fn an_old_key_without_a_change_of_the_key_fills_in_the_key() {
    let mut f = fold();
    assert_eq!(rekey(&mut f, "long", &["?", "a", "b"]), Folded::Done);
    assert_eq!(shown(&f), ["long Row was a b"]);
}

#[test]
fn a_whole_old_row_fills_in_what_is_missing() {
    let mut f = fold();
    let old = tuple(&["1", "x", "big"]);
    let new = tuple(&["2", "y", "?"]);
    let folded = f.update(Some(OldTuple::Full(old.tuple())), new.tuple(), &COLUMNS);
    assert_eq!(folded, Folded::Done);
    assert_eq!(shown(&f), ["1 Gone was", "2 Row new y big"]);
}

#[test]
fn a_truncate_voids_what_came_before_and_keeps_what_comes_after() {
    let mut f = fold();
    insert(&mut f, &["1", "a", "b"]);
    f.truncate();
    insert(&mut f, &["2", "a", "b"]);
    assert!(f.truncated());
    assert_eq!(shown(&f), ["2 Row new a b"]);
}

#[test]
fn null_and_empty_keys_and_shared_prefixes_are_told_apart() {
    let mut f = Fold::new(2, vec![0, 1]);
    let both = [Some(0), Some(1)];
    f.insert(tuple(&["a", "bc"]).tuple(), &both);
    f.insert(tuple(&["ab", "c"]).tuple(), &both);
    f.insert(tuple(&["", "abc"]).tuple(), &both);
    assert_eq!(f.len(), 3);
}

#[test]
fn columns_find_their_places_by_the_mapping() {
    let mut f = fold();
    f.insert(tuple(&["v", "generated", "7", "w"]).tuple(), &[Some(1), None, Some(0), Some(2)]);
    assert_eq!(shown(&f), ["7 Row new v w"]);
}

/// A key that came in binary must not change its lane because its row was fetched as text: what
/// the row was before is in the lane of the bytes.
#[test]
fn a_fetched_row_stays_in_the_lane_of_its_key() {
    let lanes = 7;
    for number in 0..50_u32 {
        let (id, mut f) = (number.to_be_bytes(), fold());
        let mut new = TupleBuf::default();
        new.push(TupleValue::Binary(&id));
        new.push(TupleValue::Text(b"a"));
        new.push(TupleValue::Unchanged);
        f.insert(new.tuple(), &COLUMNS);
        let before = f.lane_of(&f.entries()[0], lanes);
        let text = number.to_string();
        f.fetched(0, Some([Some(text.as_bytes()), Some(b"a"), Some(b"big")].into_iter()));
        assert_eq!(f.lane_of(&f.entries()[0], lanes), before, "{number}");
        assert_eq!(f.value(f.row(&f.entries()[0])[0]), Some(&id[..]));
    }
}
