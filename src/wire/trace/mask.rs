//! Where secrets stand in a field, whatever they are quoted as.

use std::ops::Range;

/// A secret of fewer bytes is hidden only where it stands alone.
///
/// A password `a` would otherwise blacken every `a`, and nothing could be read any more; inside
/// another word it says nothing about the password either. From four bytes on, chance no longer
/// makes it part of much else.
const SHORT_BYTES: usize = 4;

/// The secrets, each as the units it is looked for by.
pub(super) struct Mask {
    secrets: Vec<Secret>,
    /// How many units the longest has.
    longest: usize,
}

struct Secret {
    units: Vec<Unit>,
    /// Whether it is hidden only as a whole word.
    short: bool,
}

/// What quoting leaves alone: a byte, or a run of quotes and backslashes.
///
/// SQL literals, identifiers, `E''`, conninfo strings and these inside each other double quotes
/// and put backslashes before things: they make such runs longer, and change nothing else. So a
/// run of the secret is found in a run of the text that is as long or longer, and one rule does
/// for all spellings. It hides too much rather than too little.
#[derive(Debug)]
struct Unit {
    /// The byte; `'` for a run.
    byte: u8,
    /// How many bytes of the run there are; 1 for other bytes.
    length: usize,
    /// Where it stands in the text as it was before anything was decoded.
    place: Range<usize>,
}

impl Unit {
    const fn fits(&self, secret: &Self) -> bool {
        self.byte == secret.byte && self.length >= secret.length
    }

    /// Whether it would continue a word.
    const fn is_word(&self) -> bool {
        self.byte.is_ascii_alphanumeric() || self.byte == b'_' || !self.byte.is_ascii()
    }
}

impl Mask {
    /// Empty secrets are none.
    pub(super) fn new(secrets: &[Vec<u8>]) -> Self {
        let mut mask = Self { secrets: Vec::new(), longest: 0 };
        secrets.iter().for_each(|secret| mask.add(secret));
        mask
    }

    /// Hides one more, from here on.
    pub(super) fn add(&mut self, secret: &[u8]) {
        let units: Vec<_> = Units::new(secret, Percent::Literal).collect();
        if !units.is_empty() {
            self.longest = self.longest.max(units.len());
            self.secrets.push(Secret { units, short: secret.len() < SHORT_BYTES });
        }
    }

    /// The stretches of `text` to hide: in order, apart from each other, and none missing that
    /// begins before `end`. What a stretch covers is covered whole, also beyond `end`.
    pub(super) fn hidden(&self, text: &[u8], end: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if !self.secrets.is_empty() {
            self.search(text, Percent::Literal, end, &mut found);
            if text.contains(&b'%') {
                self.search(text, Percent::Encoded, end, &mut found);
            }
        }
        found.sort_by_key(|place| place.start);
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for place in found {
            match apart.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => apart.push(place),
            }
        }
        apart
    }

    fn search(&self, text: &[u8], percent: Percent, end: usize, found: &mut Vec<Range<usize>>) {
        // Enough from `end` on: of a secret that begins before it at most all units but one are
        // there, and the one after shows whether the word goes on.
        let mut more = self.longest;
        let units: Vec<_> = Units::new(text, percent)
            .take_while(|unit| {
                let wanted = unit.place.start < end || more > 0;
                more -= usize::from(unit.place.start >= end && wanted);
                wanted
            })
            .collect();
        for secret in &self.secrets {
            // Overlapping ones too: of `abab` in `ababab` nothing may stay.
            for (at, window) in units.windows(secret.units.len()).enumerate() {
                let before = at.checked_sub(1).and_then(|at| units.get(at));
                let after = units.get(at + window.len());
                if secret.is(window) && !(secret.short && secret.is_inside(before, after)) {
                    found.extend(place(window));
                }
            }
        }
    }
}

impl Secret {
    fn is(&self, window: &[Unit]) -> bool {
        window.iter().zip(&self.units).all(|(unit, secret)| unit.fits(secret))
    }

    /// Whether it is only a part of a word, given its neighbours.
    fn is_inside(&self, before: Option<&Unit>, after: Option<&Unit>) -> bool {
        let joins = |edge: Option<&Unit>, neighbour: Option<&Unit>| {
            edge.is_some_and(Unit::is_word) && neighbour.is_some_and(Unit::is_word)
        };
        joins(self.units.first(), before) || joins(self.units.last(), after)
    }
}

/// From the start of the first unit to the end of the last.
fn place(window: &[Unit]) -> Option<Range<usize>> {
    Some(window.first()?.place.start..window.last()?.place.end)
}

/// What `%41` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Percent {
    /// Itself.
    Literal,
    /// `A`, as in a connection URI.
    Encoded,
}

/// Walks over a text unit by unit.
struct Units<'a> {
    text: &'a [u8],
    at: usize,
    percent: Percent,
}

impl<'a> Units<'a> {
    const fn new(text: &'a [u8], percent: Percent) -> Self {
        Self { text, at: 0, percent }
    }

    /// The byte that stands at `at`, and where the next one does.
    fn byte(&self, at: usize) -> Option<(u8, usize)> {
        let rest = self.text.get(at..)?;
        match rest {
            [b'%', high, low, ..] if self.percent == Percent::Encoded => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low);
                match byte.and_then(|byte| u8::try_from(byte).ok()) {
                    Some(byte) => Some((byte, at + 3)),
                    None => Some((b'%', at + 1)),
                }
            }
            [byte, ..] => Some((*byte, at + 1)),
            [] => None,
        }
    }
}

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let start = self.at;
        let (byte, next) = self.byte(start)?;
        self.at = next;
        if !is_quoting(byte) {
            return Some(Unit { byte, length: 1, place: start..next });
        }
        let mut length = 1;
        while let Some((byte, next)) = self.byte(self.at)
            && is_quoting(byte)
        {
            self.at = next;
            length += 1;
        }
        Some(Unit { byte: b'\'', length, place: start..self.at })
    }
}

const fn is_quoting(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'\\')
}
