//! One line of a trace: how each kind of field is written.
//!
//! As `pqTraceOutputString` and its neighbours in `fe-trace.c` write them, and beyond that: what
//! is secret is hidden, what is long is cut, and nothing ends a line but its end.

use std::fmt::Write;

use super::mask::Mask;

/// How many bytes of one field are shown. Enough for any statement of ours and for a row that
/// people would read; a page of COPY is there to be counted.
pub(super) const FIELD_BYTES_MAX: usize = 1_024;

/// What stands for what is hidden.
const HIDDEN: &str = "***";

/// A line that grows field by field.
pub(super) struct Line<'a> {
    mask: &'a Mask,
    text: String,
}

impl<'a> Line<'a> {
    /// Begins a line: who speaks (`F`, `B`), the message's own length, and its name.
    pub(super) fn new(mask: &'a Mask, side: char, length: i64, name: &str) -> Self {
        Self { mask, text: format!("{side}\t{length}\t{name}") }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Ends the name: before the first field, if there is one.
    pub(super) fn fields(&mut self) {
        self.text.push('\t');
    }

    pub(super) fn number(&mut self, number: impl Into<i64>) {
        self.add(format_args!(" {}", number.into()));
    }

    /// A byte that the protocol gives a meaning.
    pub(super) fn byte(&mut self, byte: u8) {
        self.text.push(' ');
        self.escaped(byte);
    }

    /// What is never shown.
    pub(super) fn hidden(&mut self) {
        self.add(format_args!(" {HIDDEN}"));
    }

    /// Why a message is not understood.
    pub(super) fn malformed(&mut self, why: impl std::fmt::Display) {
        self.add(format_args!(" (malformed: {why})"));
    }

    /// A string: in double quotes; letters of all languages are left as they are.
    pub(super) fn string(&mut self, bytes: &[u8]) {
        // Not within a letter, which goes on for three bytes at most.
        let mut end = FIELD_BYTES_MAX;
        for _ in 0..3 {
            end -= usize::from(bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80));
        }
        self.shown(bytes, end, '"', Self::letters);
    }

    /// Bytes: in single quotes, those that are not printable ASCII as `\xHH`.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.shown(bytes, FIELD_BYTES_MAX, '\'', |line, bytes| {
            bytes.iter().for_each(|&byte| line.escaped(byte));
        });
    }

    /// A field without its secrets, up to `end`. Secrets are found first and the cut is made
    /// after, so that none is cut in two and shown in part.
    fn shown(&mut self, bytes: &[u8], end: usize, quote: char, write: fn(&mut Self, &[u8])) {
        self.text.push(' ');
        self.text.push(quote);
        let mut at = 0;
        for hidden in self.mask.hidden(bytes, end) {
            if hidden.start >= end {
                break;
            }
            write(self, bytes.get(at..hidden.start).unwrap_or_default());
            self.text.push_str(HIDDEN);
            at = hidden.end;
        }
        let end = end.max(at).min(bytes.len());
        write(self, bytes.get(at..end).unwrap_or_default());
        self.text.push(quote);
        if end < bytes.len() {
            self.add(format_args!("... ({} bytes)", bytes.len()));
        }
    }

    fn letters(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for letter in chunk.valid().chars() {
                // The two separators end a line for many programs, as a line feed does.
                if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') {
                    let mut buffer = [0; 4];
                    let bytes = letter.encode_utf8(&mut buffer).bytes();
                    bytes.for_each(|byte| self.hex(byte));
                } else {
                    self.text.push(letter);
                }
            }
            chunk.invalid().iter().for_each(|&byte| self.hex(byte));
        }
    }

    fn escaped(&mut self, byte: u8) {
        match byte {
            b' '..=b'~' => self.text.push(byte.into()),
            _ => self.hex(byte),
        }
    }

    fn hex(&mut self, byte: u8) {
        self.add(format_args!("\\x{byte:02x}"));
    }

    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String never fails.
        let _ = self.text.write_fmt(text);
    }
}
