//! What people are told of a page: its keys, so that an error can be traced to rows.
//!
//! Pure.

use super::{Page, range::Bound};
use crate::pg::QualifiedName;

/// How much of a value of a key is shown.
const VALUE_CHARS: usize = 60;

/// `keys after (1100) up to (1200)`.
pub(super) fn keys_of(page: &Page) -> String {
    match (&page.lower, &page.upper) {
        (None, None) => "all keys".to_owned(),
        (None, Some(upper)) => format!("keys up to {}", key(upper)),
        (Some(lower), None) => format!("keys after {}", key(lower)),
        (Some(lower), Some(upper)) => format!("keys after {} up to {}", key(lower), key(upper)),
    }
}

/// `the keys of public.orders after (1200)`: what is read to find where a page ends.
pub(super) fn bound_of(table: &QualifiedName, lower: &Bound) -> String {
    let after = lower.as_ref().map_or_else(String::new, |lower| format!(" after {}", key(lower)));
    format!("the keys of {}{after}", table.plain())
}

/// The values of a key, each on one line and not longer than can be read.
fn key(values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| short(value)).collect();
    format!("({})", values.join(", "))
}

fn short(value: &str) -> String {
    let mut text = String::new();
    for (place, letter) in value.chars().enumerate() {
        if place == VALUE_CHARS {
            return text + "...";
        }
        match letter {
            letter if letter.is_control() => text.extend(letter.escape_default()),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lower: Option<&[&str]>, upper: Option<&[&str]>) -> String {
        let bound = |key: &[&str]| key.iter().map(ToString::to_string).collect();
        keys_of(&Page { number: 12, lower: lower.map(bound), upper: upper.map(bound) })
    }

    #[test]
    fn a_page_is_told_by_its_keys() {
        for (told, expected) in [
            (told(None, None), "all keys"),
            (told(None, Some(&["9"])), "keys up to (9)"),
            (told(Some(&["a", "1"]), None), "keys after (a, 1)"),
            (told(Some(&["1"]), Some(&["9"])), "keys after (1) up to (9)"),
        ] {
            assert_eq!(told, expected);
        }
        let table = QualifiedName::new("s", "t");
        assert_eq!(bound_of(&table, &None), "the keys of s.t");
        assert_eq!(bound_of(&table, &Some(vec!["7".into()])), "the keys of s.t after (7)");
    }

    #[test]
    fn a_long_key_is_cut_and_stays_on_its_line() {
        assert_eq!(short("zwölf\n\u{1b}"), "zwölf\\n\\u{1b}");
        let long = "ä".repeat(VALUE_CHARS);
        assert_eq!(short(&long), long);
        assert_eq!(short(&format!("{long}ä")), format!("{long}..."));
    }
}
