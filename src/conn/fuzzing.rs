//! What is fuzzed of this room, by facades: the machines themselves are nobody else's business.
//!
//! Pure, and built only with `--cfg fuzzing`, which `fuzz/run` gives. Each function takes whatever
//! bytes there are and panics if something is not as it should be.

use super::{
    Error,
    replies::{Expected, Replies, Reply},
    startup::{Next, Startup, Versions},
};
use crate::{
    auth::{Channel, Credentials, Exchange, NONCE_BYTES, Policy},
    config::{AuthMethod, ChannelBinding, Password, RequireAuth},
    wire::{BackendMessage, Frame, ProtocolVersion},
};

const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];
const PASSWORD: &str = "a password that nobody guesses";

/// More rounds of SCRAM than this are too slow to fuzz.
const ROUNDS_MAX: u32 = 1_000;

/// Messages of a startup, as far as they stand before the bytes of the input: a fuzzer would take
/// long to find them.
const STARTS: [(u8, &[u8]); 24] = [
    (b'R', b""),
    (b'R', b"\0\0\0\0"),
    (b'R', b"\0\0\0\x03"),
    (b'R', b"\0\0\0\x05"),
    (b'R', b"\0\0\0\x05salt"),
    (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
    (b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
    (b'R', b"\0\0\0\x0b"),
    (b'R', b"\0\0\0\x0br=BwcHBwcHBwcHBwcHBwcHBwcHx,s=AAAA,i=1"),
    (b'R', b"\0\0\0\x0br=BwcHBwcHBwcHBwcHBwcHBwcH"),
    (b'R', b"\0\0\0\x0cv="),
    (b'v', b""),
    (b'v', b"\0\x03\0\0\0\0\0\0"),
    (b'v', b"\0\x03\0"),
    (b'E', b""),
    (b'E', b"Mno\0\0"),
    (b'N', b"Mby the way\0\0"),
    (b'S', b""),
    (b'S', b"a\0b\0"),
    (b'K', b"\0\0\0\x07"),
    (b'K', b"\0\0\0\x07keys"),
    (b'Z', b"I"),
    (b'C', b"SELECT 1\0"),
    (b'A', b"\0\0\0\x01c\0\0"),
];

/// A server that says these things while a session starts. Nothing panics, nothing that is printed
/// holds the password, and nobody gets in who pretends to know it.
///
/// Input: a byte of settings, then messages: a byte that chooses how it starts, a byte of length,
/// and the bytes.
pub fn startup_replies(data: &[u8]) {
    let Some((&settings, mut rest)) = data.split_first() else {
        return;
    };
    let versions = versions(settings);
    let mut startup = Startup::new(versions, exchange(settings));
    while let Some(([kind, length], tail)) = rest.split_first_chunk() {
        let (bytes, tail) = tail.split_at_checked((*length).into()).unwrap_or((tail, &[]));
        rest = tail;
        let (tag, start) = STARTS[usize::from(*kind) % STARTS.len()];
        let body = [start, bytes].concat();
        let Ok(message) = BackendMessage::parse(Frame { tag, body: &body }) else {
            return;
        };
        if asks_for_many_rounds(&body) {
            return;
        }
        let was_in = startup.is_authenticated();
        startup = match startup.take(message) {
            Ok(Next::Ready(started)) => {
                assert!(was_in && tag == b'Z', "ready by {body:?}");
                assert_ne!(started.proof.method(), AuthMethod::ScramSha256);
                assert!(versions.min <= started.version && started.version <= versions.max);
                return;
            }
            Ok(Next::Answer(answer, next)) => {
                assert!(tag == b'R' && !was_in && !next.is_authenticated() && !answer.is_empty());
                next
            }
            Ok(Next::Wait(next)) => {
                assert_ne!(tag, b'E');
                assert!(next.is_authenticated() == was_in || body == [0; 4], "in by {body:?}");
                next
            }
            Ok(Next::Hash(_)) => unreachable!("not that many rounds"),
            Err(error) => return assert_discreet(&format!("{error} {error:?}")),
        };
        assert_discreet(&format!("{startup:?}"));
    }
}

fn assert_discreet(text: &str) {
    assert!(!text.contains(PASSWORD), "{text}");
}

const fn versions(settings: u8) -> Versions {
    let (min, max) = match settings & 3 {
        0 => (ProtocolVersion::V3_0, ProtocolVersion::V3_2),
        1 => (ProtocolVersion::V3_2, ProtocolVersion::V3_2),
        _ => (ProtocolVersion::V3_0, ProtocolVersion::V3_0),
    };
    Versions { min, max }
}

fn exchange(settings: u8) -> Exchange {
    let password = Password::new(PASSWORD);
    let channel = match settings & 0x0c {
        0 => Channel::Unix,
        4 => Channel::Tls { server_end_point: None },
        8 => Channel::Tls { server_end_point: Some(vec![9; 32]) },
        _ => Channel::Tcp,
    };
    let policy = Policy {
        require_auth: RequireAuth::default(),
        channel_binding: ChannelBinding::Prefer,
        channel,
    };
    Exchange::new(&Credentials { user: "ann", password: Some(&password) }, policy, NONCE)
}

fn asks_for_many_rounds(body: &[u8]) -> bool {
    let digits = body.rsplit(|byte| *byte == b'=').next().unwrap_or_default();
    let rounds = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u32>().ok());
    rounds.is_some_and(|rounds| rounds > ROUNDS_MAX)
}

const EXPECTED: [Expected; 5] = [
    Expected::ParseComplete,
    Expected::BindComplete,
    Expected::CloseComplete,
    Expected::Execution,
    Expected::ReadyForQuery,
];

/// One message of each kind.
const MESSAGES: [(u8, &[u8]); 23] = [
    (b'1', b""),
    (b'2', b""),
    (b'3', b""),
    (b'D', b"\0\0"),
    (b'C', b"INSERT 0 7\0"),
    (b'I', b""),
    (b'Z', b"I"),
    (b'E', b"Mno\0\0"),
    (b'R', b"\0\0\0\0"),
    (b'K', b"\0\0\0\x07keys"),
    (b'W', b"\0\0\0"),
    (b'd', b"x"),
    (b'c', b""),
    (b'G', b"\0\0\0"),
    (b'H', b"\0\0\0"),
    (b'v', b"\0\x03\0\0\0\0\0\0"),
    (b'n', b""),
    (b'N', b"Mby the way\0\0"),
    (b'A', b"\0\0\0\x01c\0\0"),
    (b't', b"\0\0"),
    (b'S', b"a\0b\0"),
    (b's', b""),
    (b'T', b"\0\0"),
];

/// Any sequence of questions and messages, against a model that forgets nothing: what is owed is
/// what was asked less what was answered, and an error answers all up to the next Sync.
///
/// Input: a byte for each step. The first five ask, the others are messages.
pub fn replies_operations(data: &[u8]) {
    let mut replies = Replies::default();
    let mut model = Model::default();
    for &step in data {
        let step = usize::from(step) % (EXPECTED.len() + MESSAGES.len());
        match step.checked_sub(EXPECTED.len()) {
            None => {
                replies.expect(EXPECTED[step]);
                model.ask(EXPECTED[step]);
            }
            Some(message) => {
                let (tag, body) = MESSAGES[message];
                let Ok(message) = BackendMessage::parse(Frame { tag, body }) else {
                    unreachable!("a message of each kind can be read");
                };
                let (taken, wanted) = (replies.take(message), model.hear(tag));
                assert!(wanted.is_met_by(&taken), "{wanted:?} was right and {taken:?} came");
            }
        }
        assert_eq!(replies.len(), model.asked.len() - model.answered);
        assert_eq!(replies.is_empty(), model.answered == model.asked.len());
        assert_eq!(replies.is_void(), model.skips);
    }
}

/// All that was ever asked, and how much of it, from the start, is answered or void.
#[derive(Default)]
struct Model {
    asked: Vec<Expected>,
    answered: usize,
    /// Whether the server passes over what is asked.
    skips: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Partial,
    Completed(u64),
    Failed,
    Ready,
    Refused,
}

impl Model {
    fn ask(&mut self, expected: Expected) {
        self.asked.push(expected);
        self.skips = self.skips && expected != Expected::ReadyForQuery;
        if self.skips {
            self.answered = self.asked.len();
        }
    }

    fn hear(&mut self, tag: u8) -> Outcome {
        let owed = &self.asked[self.answered..];
        if tag == b'E' {
            let sync = owed.iter().position(|expected| *expected == Expected::ReadyForQuery);
            self.skips = sync.is_none();
            self.answered += sync.unwrap_or(owed.len());
            return Outcome::Failed;
        }
        let (answers, outcome) = match (owed.first(), tag) {
            (Some(Expected::ParseComplete), b'1')
            | (Some(Expected::BindComplete), b'2')
            | (Some(Expected::CloseComplete), b'3') => (1, Outcome::Partial),
            (Some(Expected::Execution), b'D') => (0, Outcome::Partial),
            (Some(Expected::Execution), b'C') => (1, Outcome::Completed(7)),
            (Some(Expected::Execution), b'I') => (1, Outcome::Completed(0)),
            (Some(Expected::ReadyForQuery), b'Z') => (1, Outcome::Ready),
            _ => (0, Outcome::Refused),
        };
        self.answered += answers;
        outcome
    }
}

impl Outcome {
    fn is_met_by(self, taken: &Result<Reply, Error>) -> bool {
        self == match taken {
            Ok(Reply::Partial) => Self::Partial,
            Ok(Reply::Completed(rows)) => Self::Completed(*rows),
            Ok(Reply::Failed(_)) => Self::Failed,
            Ok(Reply::Ready) => Self::Ready,
            Err(_) => Self::Refused,
        }
    }
}
