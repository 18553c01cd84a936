//! Numbers as people read them.

pub(in crate::cli) use crate::migrate::grouped;

/// `512 B`, `1.5 KiB`, `3.0 GiB`.
pub(in crate::cli) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    for unit in ["KiB", "MiB", "GiB"] {
        // What would be shown as 1024.0 is 1.0 of the next.
        if amount < 1023.95 {
            return format!("{amount:.1} {unit}");
        }
        amount /= 1024.0;
    }
    format!("{amount:.1} TiB")
}

/// `0.41 s`, `12.3 s`, `2 min 05 s`, `3 h 07 min`, `4 d 01 h`.
pub(super) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "? s".into();
    }
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let seconds = whole(seconds);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match hours {
        0 => format!("{minutes} min {:02} s", seconds % 60),
        1..24 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {:02} h", hours / 24, hours % 24),
    }
}

/// A time that is only guessed: `19 s`, else as [`duration`].
pub(super) fn estimate(seconds: f64) -> String {
    match seconds {
        0.0..59.5 => format!("{seconds:.0} s"),
        _ => duration(seconds),
    }
}

/// `95,210` of a rate of 95,210.4; what is no number is 0.
pub(super) fn rate(per_second: f64) -> String {
    grouped(whole(per_second))
}

/// Seconds as a clock: `00:01:05`.
pub(super) fn clock(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` goes to the nearest, and to 0 for what is no number, which is meant"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_in_powers_of_1024() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (number, text) in table {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let table = [
            (0.0, "0.00 s"),
            (0.412, "0.41 s"),
            (9.996, "10.0 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (125.0, "2 min 05 s"),
            (3599.6, "1 h 00 min"),
            (11_220.0, "3 h 07 min"),
            (349_200.0, "4 d 01 h"),
            (f64::NAN, "? s"),
            (f64::INFINITY, "? s"),
            (-1.0, "? s"),
        ];
        for (seconds, text) in table {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!([19.4, 59.6, 0.2].map(estimate), ["19 s", "59.6 s", "0 s"]);
        assert_eq!(clock(3_665), "01:01:05");
    }

    #[test]
    fn a_rate_that_is_no_number_is_zero() {
        let rates = [95_210.4, 0.4, f64::NAN, -5.0].map(rate);
        assert_eq!(rates, ["95,210", "0", "0", "0"]);
    }
}
