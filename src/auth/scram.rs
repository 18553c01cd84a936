//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS: proof of the password in both directions.
//!
//! ```text
//!   ClientFirst --first message--> (server) --r, s, i--> ClientFirst::receive
//!        |                                                     |
//!        | consumed                        Hashing, in portions, until all rounds are done
//!        |                                                     v
//!        |                                     ClientFinal --proof--> (server)
//!        |                                                     |
//!        v                                     ClientFinal::receive(v = signature)
//!     an error ends the                                        |
//!     exchange from any state                                  v
//!                                                        ServerVerified
//! ```
//!
//! RFC 5802 and 7677; the messages as in
//! <https://www.postgresql.org/docs/18/sasl-authentication.html>. Each state is consumed by its
//! step, and the only way to a [`ServerVerified`] is the server's signature: a server that does not
//! know the password can't pretend to. The nonce is handed in, and no message is ever longer than
//! [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX), because the caller takes none that is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::saslprep;

/// The mechanism without channel binding.
pub(super) const SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with it.
pub(super) const SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most rounds of PBKDF2 that a server may ask for.
///
/// `scram_iterations` is 4,096 unless somebody raised it; OWASP recommends 600,000, and five
/// million have been met. Eight million are some seconds of one core: more than anybody needs, and
/// no way to stop us for an hour.
pub const ITERATIONS_MAX: u32 = 8_000_000;

/// How many rounds are done at a time: some 20 ms, after which others get their turn.
const PORTION: u32 = 50_000;

/// How many random bytes make up the client's nonce (`SCRAM_RAW_NONCE_LEN` in `scram-common.h`).
pub const NONCE_BYTES: usize = 18;

/// A digest, a key or a proof.
type Sha256Bytes = [u8; 32];

/// What is said about channel binding: the gs2 header, and the data behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// `n`: we do not support it on this channel, or were told not to.
    Unsupported,
    /// `y`: we do, but the server did not offer it. Had it, somebody removed the offer, and the
    /// server ends the login when it reads this.
    NotOffered,
    /// `p=tls-server-end-point` with the hash of the server's certificate (RFC 5929).
    TlsServerEndPoint(Vec<u8>),
}

impl Binding {
    pub(super) const fn mechanism(&self) -> &'static str {
        match self {
            Self::Unsupported | Self::NotOffered => SHA_256,
            Self::TlsServerEndPoint(_) => SHA_256_PLUS,
        }
    }

    const fn gs2_header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::TlsServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The `c` attribute: header and data.
    fn attribute(&self) -> String {
        let mut bytes = self.gs2_header().as_bytes().to_vec();
        if let Self::TlsServerEndPoint(hash) = self {
            bytes.extend_from_slice(hash);
        }
        BASE64.encode(bytes)
    }
}

/// What a server can do wrong in the exchange.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A message that does not follow the grammar of RFC 5802.
    #[error("the server's message has no valid '{0}'")]
    Malformed(&'static str),
    /// The server's nonce does not go on from ours: an answer to another exchange.
    #[error("the server's nonce does not continue ours")]
    NonceMismatch,
    /// An extension that must be understood, and is not.
    #[error("the server requires an extension of SCRAM that pghost does not know")]
    MandatoryExtension,
    /// More rounds than [`ITERATIONS_MAX`].
    #[error(
        "the server asks for {0} rounds of hashing; at most {max} are done",
        max = ITERATIONS_MAX
    )]
    TooManyIterations(u64),
    /// The server's own word for what went wrong (`e=`), which is only ever a name of the RFC.
    #[error("the server ends the exchange with '{0}'")]
    Refused(String),
    /// The server does not know the password, or somebody changed the conversation.
    #[error(
        "the server's signature is wrong: it does not know the password, \
         or the conversation was changed on its way"
    )]
    WrongSignature,
}

/// The state in which the first message is on its way.
pub(super) struct ClientFirst {
    password: Vec<u8>,
    binding: Binding,
    nonce: String,
    /// `client-first-message-bare`.
    bare: String,
}

impl ClientFirst {
    /// Starts an exchange; `nonce` must be random and never have been used.
    pub(super) fn new(password: &[u8], binding: Binding, nonce: &[u8; NONCE_BYTES]) -> Self {
        // The user's name stays empty: the server takes the one of the startup packet.
        Self::with_user_and_nonce(password, binding, "", BASE64.encode(nonce))
    }

    /// The RFC's example has a name and a nonce of another length.
    fn with_user_and_nonce(password: &[u8], binding: Binding, user: &str, nonce: String) -> Self {
        Self { password: password.to_vec(), binding, bare: format!("n={user},r={nonce}"), nonce }
    }

    /// The mechanism that the server is told.
    pub(super) const fn mechanism(&self) -> &'static str {
        self.binding.mechanism()
    }

    /// `client-first-message`.
    pub(super) fn message(&self) -> String {
        format!("{}{}", self.binding.gs2_header(), self.bare)
    }

    /// Reads `server-first-message` and begins to hash.
    pub(super) fn receive(self, message: &[u8]) -> Result<Hashing, ScramError> {
        let ServerFirst { text, nonce, salt, iterations } = ServerFirst::parse(message)?;
        match nonce.strip_prefix(self.nonce.as_str()) {
            Some(added) if !added.is_empty() => {}
            _ => return Err(ScramError::NonceMismatch),
        }
        let without_proof = format!("c={},r={nonce}", self.binding.attribute());
        Ok(Hashing {
            auth_message: format!("{},{text},{without_proof}", self.bare),
            without_proof,
            rounds: Pbkdf2::new(&saslprep::prepare(&self.password), &salt, iterations),
            channel_bound: matches!(self.binding, Binding::TlsServerEndPoint(_)),
        })
    }
}

/// The state in which the password is being hashed.
pub(super) struct Hashing {
    without_proof: String,
    auth_message: String,
    rounds: Pbkdf2,
    channel_bound: bool,
}

/// What comes of a portion of the rounds.
pub(super) enum Hashed {
    /// Some are left.
    Not(Hashing),
    /// The proof is there.
    All(ClientFinal),
}

impl Hashing {
    /// Does a portion of the rounds, and computes the proof after the last one.
    pub(super) fn go_on(mut self) -> Hashed {
        match self.rounds.go_on(PORTION) {
            None => Hashed::Not(self),
            Some(salted) => Hashed::All(self.prove(&salted)),
        }
    }

    fn prove(self, salted: &Sha256Bytes) -> ClientFinal {
        let Self { without_proof, auth_message, channel_bound, .. } = self;
        let client_key = hmac(salted, &[b"Client Key"]);
        let stored_key: Sha256Bytes = Sha256::digest(client_key).into();
        let client_signature = hmac(&stored_key, &[auth_message.as_bytes()]);
        let proof = BASE64.encode(xor(&client_key, &client_signature));
        ClientFinal {
            message: format!("{without_proof},p={proof}"),
            server_key: hmac(salted, &[b"Server Key"]),
            auth_message,
            channel_bound,
        }
    }
}

/// The state in which the proof is on its way.
pub(super) struct ClientFinal {
    message: String,
    server_key: Sha256Bytes,
    auth_message: String,
    channel_bound: bool,
}

impl ClientFinal {
    /// `client-final-message`.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Reads `server-final-message` and checks the signature, in constant time.
    pub(super) fn receive(self, message: &[u8]) -> Result<ServerVerified, ScramError> {
        let text = printable(message).ok_or(ScramError::Malformed("v"))?;
        if let Some(error) = text.strip_prefix("e=") {
            let known = SERVER_ERRORS.iter().find(|known| **known == error);
            return Err(ScramError::Refused((*known.unwrap_or(&"other-error")).to_owned()));
        }
        let signature = text
            .strip_prefix("v=")
            .and_then(|encoded| BASE64.decode(encoded).ok())
            .ok_or(ScramError::Malformed("v"))?;
        let mut mac = new_hmac(&self.server_key);
        mac.update(self.auth_message.as_bytes());
        match mac.verify_slice(&signature) {
            Ok(()) => Ok(ServerVerified { channel_bound: self.channel_bound }),
            Err(_) => Err(ScramError::WrongSignature),
        }
    }
}

/// Proof that the server knows the password too; only [`ClientFinal::receive`] makes one.
#[derive(Debug)]
pub(super) struct ServerVerified {
    channel_bound: bool,
}

impl ServerVerified {
    /// Whether the signature covers the TLS channel.
    pub(super) const fn is_channel_bound(&self) -> bool {
        self.channel_bound
    }
}

/// `server-error-value` of RFC 5802; anything else is shown as `other-error`, as it says.
const SERVER_ERRORS: [&str; 11] = [
    "invalid-encoding",
    "extensions-not-supported",
    "invalid-proof",
    "channel-bindings-dont-match",
    "server-does-support-channel-binding",
    "channel-binding-not-supported",
    "unsupported-channel-binding-type",
    "unknown-user",
    "invalid-username-encoding",
    "no-resources",
    "other-error",
];

/// `server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]`
struct ServerFirst<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = printable(message).ok_or(ScramError::Malformed("r"))?;
        if text.starts_with("m=") {
            return Err(ScramError::MandatoryExtension);
        }
        let mut attributes = text.split(',');
        let mut attribute = |prefix, name| {
            attributes
                .next()
                .and_then(|attribute| attribute.strip_prefix(prefix))
                .ok_or(ScramError::Malformed(name))
        };
        let nonce = attribute("r=", "r")?;
        let salt = attribute("s=", "s")?;
        let salt = BASE64
            .decode(salt)
            .ok()
            .filter(|salt| !salt.is_empty())
            .ok_or(ScramError::Malformed("s"))?;
        let count = attribute("i=", "i")?;
        let iterations = parse_iterations(count)?;
        // Extensions may follow by the grammar; no Postgres sends any, and libpq takes none.
        if attributes.next().is_some() {
            return Err(ScramError::Malformed("end"));
        }
        Ok(Self { text, nonce, salt, iterations })
    }
}

fn parse_iterations(text: &str) -> Result<u32, ScramError> {
    // `parse` would take a sign.
    if !text.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ScramError::Malformed("i"));
    }
    let count: u64 = text.parse().map_err(|_| ScramError::Malformed("i"))?;
    match u32::try_from(count) {
        Ok(0) => Err(ScramError::Malformed("i")),
        Ok(count) if count <= ITERATIONS_MAX => Ok(count),
        _ => Err(ScramError::TooManyIterations(count)),
    }
}

/// SCRAM's messages are printable ASCII here: no name, no error text, nothing translated.
fn printable(message: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(message).ok()?;
    text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)).then_some(text)
}

/// `Hi` of RFC 5802: PBKDF2 with HMAC-SHA-256 for one block of output.
struct Pbkdf2 {
    /// The key is set up once: it costs as much as a round.
    keyed: Hmac<Sha256>,
    last: Sha256Bytes,
    sum: Sha256Bytes,
    /// How many rounds are to be done still.
    left: u32,
}

impl Pbkdf2 {
    /// Begins with the first round.
    fn new(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let keyed = new_hmac(password);
        let first = round(&keyed, &[salt, &1_u32.to_be_bytes()]);
        Self { keyed, last: first, sum: first, left: iterations.saturating_sub(1) }
    }

    /// Does as many rounds more; the result after the last one.
    fn go_on(&mut self, rounds: u32) -> Option<Sha256Bytes> {
        let rounds = rounds.min(self.left);
        for _ in 0..rounds {
            self.last = round(&self.keyed, &[&self.last]);
            self.sum = xor(&self.sum, &self.last);
        }
        self.left = self.left.saturating_sub(rounds);
        (self.left == 0).then_some(self.sum)
    }
}

fn round(keyed: &Hmac<Sha256>, pieces: &[&[u8]]) -> Sha256Bytes {
    let mut mac = keyed.clone();
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

fn hmac(key: &[u8], pieces: &[&[u8]]) -> Sha256Bytes {
    let mut mac = new_hmac(key);
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes().into()
}

/// HMAC with a key of any length: up to one block it is filled up with zeros, a longer one is
/// hashed first (RFC 2104).
fn new_hmac(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; SHA_256_BLOCK_BYTES];
    let hashed: Sha256Bytes;
    let key = if key.len() > block.len() {
        hashed = Sha256::digest(key).into();
        &hashed
    } else {
        key
    };
    for (byte, key_byte) in block.iter_mut().zip(key) {
        *byte = *key_byte;
    }
    Hmac::new(&block.into())
}

const SHA_256_BLOCK_BYTES: usize = 64;

fn xor(left: &Sha256Bytes, right: &Sha256Bytes) -> Sha256Bytes {
    let mut sum = *left;
    for (byte, other) in sum.iter_mut().zip(right) {
        *byte ^= other;
    }
    sum
}

#[cfg(test)]
mod tests;
