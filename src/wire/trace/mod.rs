//! Messages as text, in both directions, as libpq's `PQtrace` writes them (`fe-trace.c`).
//!
//! ```text
//! F  24  Parse  "" "select $1" 1 23
//! F  17  Bind  "" "" 0 1 1 '7' 0
//! B  4  ParseComplete
//! B  62  ErrorResponse  S "ERROR" V "ERROR" C "42601" M "syntax error" \x00
//! B  5  ReadyForQuery  I
//! ```
//!
//! Between tabs: who speaks (`F`rontend, `B`ackend), the length the message gives itself, its name
//! in the protocol's documentation; then its fields: strings in double quotes, bytes in single
//! quotes, numbers bare, NULL as the length -1. The layouts are tables in `layout.rs`; `line.rs`
//! writes fields.
//!
//! A trace is sent to strangers, so beyond libpq `***` stands for
//!
//!  - all that answers an authentication request, the salts and signatures in the requests, and
//!    the keys of cancel requests;
//!  - every secret that was handed in, in whatever field and quoting (`mask.rs`).
//!
//! What stays visible: how long messages are, and with PasswordMessage so the password. Not found
//! are a secret's parts, and a secret that is spread over two messages or encoded in another way.

mod layout;
mod line;
mod mask;
#[cfg(test)]
mod tests;

use layout::{Answer, Layout};
use line::Line;
use mask::Mask;

use super::{
    Frame, FrameLimits, Frames, Reader, WireError, caps::MAX_FRAME_BYTES, complete_frames,
};

/// `p`, which four messages share.
const PASSWORD: u8 = b'p';
/// `R`
const AUTHENTICATION: u8 = b'R';

/// Renders the messages of one connection.
pub struct Trace {
    mask: Mask,
    sent: Phase,
    received: Phase,
    /// What the server asked for last and was not given yet.
    answer: Answer,
}

/// What the next bytes of one direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A message of the startup phase: ours until StartupMessage or CancelRequest.
    Untagged,
    /// A message with its tag.
    Tagged,
    /// Anything: a length could not be, so no message after it can be found.
    Lost,
}

/// What stands at the start of some bytes.
enum Piece<'a> {
    /// A message and what follows it.
    Message { tag: Option<u8>, body: &'a [u8], rest: &'a [u8] },
    /// A message that is not complete, or nothing.
    Part,
    /// No message begins like this: the length it would have, and its tag.
    Damage { length: i64, tag: Option<u8> },
}

/// Without the secrets.
impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// A connection before its first byte. `secrets` are hidden wherever they stand.
    #[must_use]
    pub fn new(secrets: Vec<Vec<u8>>) -> Self {
        Self {
            mask: Mask::new(&secrets),
            sent: Phase::Untagged,
            received: Phase::Tagged,
            answer: Answer::Unknown,
        }
    }

    /// Hides one more secret, from here on.
    pub fn hide(&mut self, secret: &[u8]) {
        self.mask.add(secret);
    }

    /// Hands `line` a line, without its end, for each whole message at the start of `bytes`, which
    /// we send. Answers with how many bytes they were; the rest is to come again when there is
    /// more of it.
    ///
    /// Once a length can't be, messages can't be told apart any more: all bytes from there on are
    /// taken and counted, and not shown, as they may hold a password.
    pub fn sent(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) -> usize {
        let mut rest = bytes;
        loop {
            match self.sent.piece(rest) {
                Piece::Part => return bytes.len() - rest.len(),
                Piece::Message { tag, body, rest: after } => {
                    rest = after;
                    line(&match tag {
                        None => self.untagged(body),
                        Some(tag) => self.frontend(Frame { tag, body }),
                    });
                }
                Piece::Damage { length, tag } => {
                    self.sent = Phase::Lost;
                    let mut damage = self.damage('F', length, tag);
                    damage.hidden();
                    line(&damage.finish());
                    return bytes.len();
                }
            }
        }
    }

    /// The same for what the server sends: frames with tags. Of bytes that are no frames the
    /// first are shown: another kind of server may have said what it is.
    pub fn received(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) -> usize {
        let mut rest = bytes;
        loop {
            match self.received.piece(rest) {
                Piece::Part => return bytes.len() - rest.len(),
                Piece::Message { tag, body, rest: after } => {
                    rest = after;
                    line(&self.backend(Frame { tag: tag.unwrap_or_default(), body }));
                }
                Piece::Damage { length, tag } => {
                    self.received = Phase::Lost;
                    let mut damage = self.damage('B', length, tag);
                    damage.bytes(rest);
                    line(&damage.finish());
                    return bytes.len();
                }
            }
        }
    }

    /// The line for the one-byte answer to SSLRequest.
    pub fn ssl_response(&mut self, answer: u8) -> String {
        let mut line = Line::new(&self.mask, 'B', 1, "SSLResponse");
        line.fields();
        line.byte(answer);
        line.finish()
    }

    fn untagged(&mut self, body: &[u8]) -> String {
        let code = Reader::new(body).u32("protocol version").ok();
        let request = layout::UNTAGGED.iter().find(|(known, _)| code == Some(*known));
        let layout = match (request, code) {
            (Some((_, layout)), _) => layout,
            (None, Some(_)) => &layout::STARTUP,
            (None, None) => &layout::TOO_SHORT,
        };
        if code.is_some() && (request.is_none() || code == Some(layout::CANCEL)) {
            self.sent = Phase::Tagged;
        }
        self.message('F', body, layout, body)
    }

    fn frontend(&mut self, frame: Frame<'_>) -> String {
        if frame.tag == PASSWORD {
            let answer = std::mem::replace(&mut self.answer, Answer::Unknown);
            return self.message('F', frame.body, &answer.layout(), frame.body);
        }
        self.tagged('F', layout::FRONTEND, frame)
    }

    fn backend(&mut self, frame: Frame<'_>) -> String {
        if frame.tag != AUTHENTICATION {
            return self.tagged('B', layout::BACKEND, frame);
        }
        let mut reader = Reader::new(frame.body);
        let code = reader.i32("authentication code").ok();
        let known = layout::AUTHENTICATION.iter().find(|(known, ..)| code == Some(*known));
        self.answer = known.map_or(Answer::Unknown, |(.., answer)| *answer);
        match (known, code) {
            (Some((_, layout, _)), _) => self.message('B', frame.body, layout, reader.rest()),
            (None, None) => self.message('B', frame.body, &layout::CODELESS, frame.body),
            (None, Some(code)) => {
                // As libpq names them; what they hold is hidden, as nobody knows what it is.
                let name = format!("Unknown authentication message {code}");
                let mut line = self.line('B', frame.body, &name);
                if !reader.is_empty() {
                    line.fields();
                    line.hidden();
                }
                line.finish()
            }
        }
    }

    fn tagged(&self, side: char, table: &[(u8, Layout)], frame: Frame<'_>) -> String {
        if let Some((_, layout)) = table.iter().find(|(tag, _)| *tag == frame.tag) {
            return self.message(side, frame.body, layout, frame.body);
        }
        let mut line = self.line(side, frame.body, &unknown(frame.tag));
        line.fields();
        line.bytes(frame.body);
        line.finish()
    }

    /// The line of a message, whose body has these `fields`; if they do not fit the layout, with
    /// the reason and the bytes as they are.
    fn message(&self, side: char, body: &[u8], layout: &Layout, fields: &[u8]) -> String {
        let mut line = self.line(side, body, layout.name);
        let Err(error) = layout.render(fields, &mut line) else {
            return line.finish();
        };
        let mut line = self.line(side, body, layout.name);
        line.fields();
        line.malformed(error);
        if layout.is_secret() {
            line.hidden();
        } else {
            line.bytes(fields);
        }
        line.finish()
    }

    fn line(&self, side: char, body: &[u8], name: &str) -> Line<'_> {
        Line::new(&self.mask, side, i64::try_from(body.len()).unwrap_or(i64::MAX) + 4, name)
    }

    /// The begin of a line about bytes that are no messages.
    fn damage(&self, side: char, length: i64, tag: Option<u8>) -> Line<'_> {
        let name = tag.map_or_else(|| "Unknown message".to_owned(), unknown);
        let mut line = Line::new(&self.mask, side, length, &name);
        line.fields();
        line.malformed(WireError::Invalid("message length"));
        line
    }
}

impl Phase {
    fn piece(self, bytes: &[u8]) -> Piece<'_> {
        match self {
            Self::Untagged => untagged(bytes),
            Self::Tagged => tagged(bytes),
            Self::Lost if bytes.is_empty() => Piece::Part,
            Self::Lost => {
                Piece::Damage { length: i64::try_from(bytes.len()).unwrap_or(i64::MAX), tag: None }
            }
        }
    }
}

fn tagged(bytes: &[u8]) -> Piece<'_> {
    let mut frames = Frames::new(bytes);
    if let Some(Frame { tag, body }) = frames.next() {
        return Piece::Message { tag: Some(tag), body, rest: frames.rest() };
    }
    match complete_frames(bytes, FrameLimits::Ours) {
        Ok(_) => Piece::Part,
        Err(error) => Piece::Damage { length: error.length.into(), tag: bytes.first().copied() },
    }
}

fn untagged(bytes: &[u8]) -> Piece<'_> {
    let mut reader = Reader::new(bytes);
    let Ok(length) = reader.i32("message length") else {
        return Piece::Part;
    };
    // The length counts itself.
    match usize::try_from(length).ok().and_then(|length| length.checked_sub(4)) {
        Some(size) if size <= MAX_FRAME_BYTES - 4 => match reader.bytes(size, "message") {
            Ok(body) => Piece::Message { tag: None, body, rest: reader.rest() },
            Err(_) => Piece::Part,
        },
        _ => Piece::Damage { length: length.into(), tag: None },
    }
}

/// The name of a message that has none, as libpq gives it.
fn unknown(tag: u8) -> String {
    format!("Unknown message: {tag:02x}")
}
