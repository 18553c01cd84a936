//! The messages a server can send: one of each kind, and what can be wrong with one.

/// One message.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).unwrap();
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// A message's first five bytes, which claim a length.
pub(crate) fn header(tag: u8, length: i32) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes()].concat()
}

/// Every kind of message by the name that scripts use: its tag, and for Authentication its code.
/// The bodies are well formed.
pub(crate) const KINDS: &[(&str, &[u8])] = &[
    ("R0", b"\0\0\0\0"),
    ("R3", b"\0\0\0\x03"),
    ("R5", b"\0\0\0\x05salt"),
    ("R7", b"\0\0\0\x07"),
    ("R10", b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
    ("R11", b"\0\0\0\x0br=somebody,s=c2FsdA==,i=4096"),
    ("R12", b"\0\0\0\x0cv=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ("R99", b"\0\0\0\x63"),
    ("K", b"\0\0\0\x07keys"),
    ("2", b""),
    ("3", b""),
    ("C", b"SELECT 1\0"),
    ("W", b"\0\0\0"),
    ("d", b"x\n"),
    ("c", b""),
    ("G", b"\0\0\0"),
    ("H", b"\0\0\0"),
    ("D", b"\0\x01\0\0\0\x011"),
    ("I", b""),
    ("E", b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0"),
    ("v", b"\0\x03\0\0\0\0\0\0"),
    ("n", b""),
    ("N", b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0"),
    ("A", b"\0\0\0\x07channel\0payload\0"),
    ("t", b"\0\x01\0\0\0\x17"),
    ("S", b"server_version\x0016.4\0"),
    ("1", b""),
    ("s", b""),
    ("Z", b"I"),
    ("T", b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"),
];

/// What scripts send besides, in place of a kind's ordinary message.
const OTHERS: &[(&str, &[u8])] = &[
    ("WARNING", b"SWARNING\0VWARNING\0C01000\0Mgone\0\0"),
    ("FATAL", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"),
];

/// The message behind a name.
pub(crate) fn named(name: &str) -> Vec<u8> {
    let found = KINDS.iter().chain(OTHERS).find(|(kind, _)| *kind == name);
    let (_, body) = found.unwrap_or_else(|| panic!("no message is called {name}"));
    let tag = match name {
        "WARNING" => b'N',
        "FATAL" => b'E',
        _ => name.as_bytes()[0],
    };
    message(tag, body)
}

/// What is wrong with a message, apart from its coming at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Nothing.
    Whole,
    /// The last byte of the body is missing.
    Truncated,
    /// A byte follows the body.
    Trailing,
}

/// What comes in the state that is looked at.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// A message by its name.
    Message(&'static str, Damage),
    /// A message of a type that there is not.
    Unknown,
    /// A frame of this type that claims this length.
    Length(u8, i32),
    /// The end, after this many bytes of a message's header.
    End(usize),
}

impl Sent {
    /// All there is.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (name, body) in KINDS {
            all.push(Self::Message(name, Damage::Whole));
            if !body.is_empty() {
                all.push(Self::Message(name, Damage::Truncated));
            }
            all.push(Self::Message(name, Damage::Trailing));
        }
        all.push(Self::Unknown);
        for length in [0, 3, -1, i32::MIN, (1 << 30) + 1] {
            all.push(Self::Length(b'd', length));
        }
        // Longer than messages of its kind ever are.
        all.extend([Self::Length(b'Z', 30_001), Self::Length(b'R', 2_001)]);
        all.extend([Self::End(0), Self::End(3)]);
        all
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Message(name, damage) => {
                let whole = named(name);
                let body = match damage {
                    Damage::Whole => return whole,
                    Damage::Truncated => whole[5..whole.len() - 1].to_vec(),
                    Damage::Trailing => [&whole[5..], b"x"].concat(),
                };
                message(whole[0], &body)
            }
            Self::Unknown => message(b'?', b""),
            Self::Length(tag, length) => header(tag, length),
            Self::End(bytes) => named("Z")[..bytes].to_vec(),
        }
    }

    /// Whether a message can't be read, wherever it comes. The bodies of Authentication and
    /// CopyData are others' business, and a cancel key may have more than four bytes.
    pub(crate) fn is_malformed(&self) -> bool {
        match self {
            Self::Message(_, Damage::Whole) => false,
            Self::Message(name, _) if name.starts_with('R') || *name == "d" => false,
            Self::Message("K", Damage::Trailing) => false,
            Self::Message(..) | Self::Unknown => true,
            Self::Length(..) | Self::End(_) => false,
        }
    }
}
