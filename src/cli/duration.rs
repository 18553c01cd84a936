//! Lengths of time as people type them: `300`, `30s`, `5m`, `1h30m`.

use std::time::Duration;

/// A year: more is a mistake in typing.
const MOST: u64 = 366 * 24 * 3600;

const UNITS: [(&str, u64); 8] = [
    ("s", 1),
    ("sec", 1),
    ("m", 60),
    ("min", 60),
    ("h", 3600),
    ("hour", 3600),
    ("hours", 3600),
    ("d", 24 * 3600),
];

/// Reads one. A number without a unit is seconds.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let seconds = seconds(text).filter(|seconds| *seconds <= MOST);
    let seconds = seconds.ok_or("give seconds, or a number with s, m, h or d, such as 5m")?;
    Ok(Duration::from_secs(seconds))
}

fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, of_unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*of_unit)?;
        sum = sum.checked_add(part)?;
        rest = tail.trim_start();
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("0", 0),
            ("300", 300),
            ("30s", 30),
            ("5m", 300),
            ("5 min", 300),
            ("1h30m", 5400),
            ("1 h 30 m", 5400),
            ("2d", 172_800),
            (" 7 ", 7),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in ["", "m", "5x", "-5", "1.5h", "5m3", "99999d", "99999999999999999999d", "5,m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
