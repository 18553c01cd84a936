//! The exchange itself: which answer to which request, and what the policy forbids.
//!
//! The picture is in the room's own documentation. Not here: how SCRAM computes (`scram`), and how
//! a certificate becomes a channel binding (`channel_binding`).

use super::error::{AuthError, Received};
use super::md5;
use super::scram::{
    Binding, ClientFinal, ClientFirst, Hashed, Hashing, NONCE_BYTES, SHA_256, SHA_256_PLUS,
};
use crate::config::{AuthMethod, ChannelBinding, Password, RequireAuth};
use crate::wire::{Reader, caps::AUTHENTICATION_FRAME_BYTES};

/// The longest authentication message that is taken, from its code to its end.
///
/// The frame that carries it has a length field besides.
pub const MESSAGE_BYTES_MAX: usize = AUTHENTICATION_FRAME_BYTES - 4;

/// Codes of Authentication messages.
mod code {
    pub(super) const OK: i32 = 0;
    pub(super) const CLEARTEXT: i32 = 3;
    pub(super) const MD5: i32 = 5;
    pub(super) const GSS: i32 = 7;
    pub(super) const GSS_CONTINUE: i32 = 8;
    pub(super) const SSPI: i32 = 9;
    pub(super) const SASL: i32 = 10;
    pub(super) const SASL_CONTINUE: i32 = 11;
    pub(super) const SASL_FINAL: i32 = 12;
}

/// Who we say we are.
#[derive(Clone, Debug)]
pub struct Credentials<'a> {
    /// The role of the startup packet.
    pub user: &'a str,
    /// Its password, if there is one; an empty one counts as none, as for libpq.
    pub password: Option<&'a Password>,
}

/// What the exchange travels on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// TCP without encryption, be it to this machine.
    Tcp,
    /// A unix socket: nobody else can listen.
    Unix,
    /// TLS.
    Tls {
        /// What [`tls_server_end_point`](super::tls_server_end_point) says about the server's
        /// certificate; `None` when it has no channel binding.
        server_end_point: Option<Vec<u8>>,
    },
}

/// What is allowed.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By which methods the server may let us in.
    pub require_auth: RequireAuth,
    /// Whether SCRAM is bound to the channel.
    pub channel_binding: ChannelBinding,
    /// The channel.
    pub channel: Channel,
}

/// One authentication, from the startup packet to AuthenticationOk.
#[must_use = "an exchange is driven by `handle` until it is done"]
pub struct Exchange {
    user: String,
    password: Option<Password>,
    policy: Policy,
    nonce: [u8; NONCE_BYTES],
    state: State,
}

/// What to do after a message.
pub enum Step {
    /// Send this as the body of a `p` message, and go on.
    Send(Vec<u8>, Exchange),
    /// Wait for the next authentication message.
    Wait(Exchange),
    /// Rounds of hashing are left: give others a turn, then [`Exchange::go_on`].
    Hash(Exchange),
    /// The server has let us in.
    Done(Authenticated),
}

/// Without what is sent, which may be the password.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Send(body, exchange) => {
                f.debug_tuple("Send").field(&body.len()).field(exchange).finish()
            }
            Self::Wait(exchange) => f.debug_tuple("Wait").field(exchange).finish(),
            Self::Hash(exchange) => f.debug_tuple("Hash").field(exchange).finish(),
            Self::Done(proof) => f.debug_tuple("Done").field(proof).finish(),
        }
    }
}

/// Proof that an exchange came to its end; only [`Exchange::handle`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Authenticated {
    method: AuthMethod,
    channel_bound: bool,
}

impl Authenticated {
    /// How the server let us in.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        self.method
    }

    /// Whether the login was bound to the TLS channel.
    #[must_use]
    pub const fn is_channel_bound(&self) -> bool {
        self.channel_bound
    }
}

/// Where the exchange stands; see the picture in the room's documentation.
enum State {
    Start,
    /// A password or its hash is sent.
    Answered(AuthMethod),
    ClientFirst(Box<ClientFirst>),
    Hashing(Box<Hashing>),
    ClientFinal(Box<ClientFinal>),
    /// The server has proved that it knows the password.
    Proved {
        channel_bound: bool,
    },
}

impl State {
    const fn expects(&self) -> &'static str {
        match self {
            Self::Start => "a request to authenticate",
            Self::Answered(_) | Self::Proved { .. } => "AuthenticationOk",
            Self::ClientFirst(_) => "AuthenticationSASLContinue",
            Self::Hashing(_) => "nothing, as the password is being hashed",
            Self::ClientFinal(_) => "AuthenticationSASLFinal",
        }
    }
}

/// Without the password, the keys and the nonce.
impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("user", &self.user)
            .field("expects", &self.state.expects())
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// Starts an exchange. `nonce` must come from a good source of randomness, anew each time.
    pub fn new(credentials: &Credentials<'_>, policy: Policy, nonce: [u8; NONCE_BYTES]) -> Self {
        Self {
            user: credentials.user.to_owned(),
            password: credentials
                .password
                .filter(|password| !password.reveal().is_empty())
                .cloned(),
            policy,
            nonce,
            state: State::Start,
        }
    }

    /// Takes the body of an Authentication message (`R`): its code and what follows.
    ///
    /// Safe to call on untrusted bytes. SCRAM's second message costs time: two milliseconds for
    /// 4,096 rounds, some seconds of one core, in portions, for
    /// [`ITERATIONS_MAX`](super::ITERATIONS_MAX).
    pub fn handle(mut self, body: &[u8]) -> Result<Step, AuthError> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(AuthError::TooLong(body.len()));
        }
        let mut reader = Reader::new(body);
        let code = reader.i32("authentication code")?;
        let state = std::mem::replace(&mut self.state, State::Start);
        match (state, code) {
            (State::Start, code::OK) => {
                reader.finish("AuthenticationOk")?;
                self.let_in_unasked()
            }
            (State::Start, code::CLEARTEXT) => {
                reader.finish("AuthenticationCleartextPassword")?;
                self.cleartext()
            }
            (State::Start, code::MD5) => {
                let salt = reader.bytes(md5::SALT_BYTES, "salt")?;
                reader.finish("AuthenticationMD5Password")?;
                self.md5(salt)
            }
            (State::Start, code::SASL) => self.sasl(reader),
            (State::Start, code) => Err(self.unsupported(code)),
            (State::ClientFirst(state), code::SASL_CONTINUE) => {
                self.state = State::Hashing(Box::new(state.receive(reader.rest())?));
                Ok(self.go_on())
            }
            (State::ClientFinal(state), code::SASL_FINAL) => {
                let proof = state.receive(reader.rest())?;
                self.state = State::Proved { channel_bound: proof.is_channel_bound() };
                Ok(Step::Wait(self))
            }
            (State::ClientFirst(_) | State::Hashing(_) | State::ClientFinal(_), code::OK) => {
                Err(AuthError::ServerNotProved)
            }
            (State::Answered(method), code::OK) => {
                reader.finish("AuthenticationOk")?;
                Ok(Step::Done(Authenticated { method, channel_bound: false }))
            }
            (State::Proved { channel_bound }, code::OK) => {
                reader.finish("AuthenticationOk")?;
                Ok(Step::Done(Authenticated { method: AuthMethod::ScramSha256, channel_bound }))
            }
            (state, code) => {
                Err(AuthError::Unexpected { expected: state.expects(), got: Received(code) })
            }
        }
    }

    /// Hashes on, after a [`Step::Hash`]. Where nothing is to be hashed, nothing is done.
    pub fn go_on(mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Hashing(hashing) => match hashing.go_on() {
                Hashed::Not(hashing) => {
                    self.state = State::Hashing(Box::new(hashing));
                    Step::Hash(self)
                }
                Hashed::All(client_final) => {
                    let message = client_final.message().as_bytes().to_vec();
                    self.state = State::ClientFinal(Box::new(client_final));
                    Step::Send(message, self)
                }
            },
            state => {
                self.state = state;
                Step::Wait(self)
            }
        }
    }

    /// `trust`, `peer`, a client certificate and so on.
    fn let_in_unasked(self) -> Result<Step, AuthError> {
        if !self.policy.require_auth.allows(AuthMethod::None) {
            return Err(AuthError::NotAuthenticated);
        }
        self.refuse_unbound(code::OK)?;
        Ok(Step::Done(Authenticated { method: AuthMethod::None, channel_bound: false }))
    }

    fn cleartext(mut self) -> Result<Step, AuthError> {
        self.refuse_forbidden(AuthMethod::Password)?;
        self.refuse_unbound(code::CLEARTEXT)?;
        let protected = match self.policy.channel {
            Channel::Unix | Channel::Tls { .. } => true,
            Channel::Tcp => self.policy.require_auth.names(AuthMethod::Password),
        };
        if !protected {
            return Err(AuthError::CleartextUnprotected);
        }
        let password = self.password()?;
        if password.contains(&0) {
            return Err(AuthError::PasswordWithZero);
        }
        let body = [password, b"\0"].concat();
        self.state = State::Answered(AuthMethod::Password);
        Ok(Step::Send(body, self))
    }

    fn md5(mut self, salt: &[u8]) -> Result<Step, AuthError> {
        self.refuse_forbidden(AuthMethod::Md5)?;
        self.refuse_unbound(code::MD5)?;
        let mut body = md5::response(&self.user, self.password()?, salt).into_bytes();
        body.push(0);
        self.state = State::Answered(AuthMethod::Md5);
        Ok(Step::Send(body, self))
    }

    fn sasl(mut self, reader: Reader<'_>) -> Result<Step, AuthError> {
        let offer = Offer::read(reader)?;
        if !offer.scram && !offer.scram_plus {
            return Err(if offer.oauth {
                AuthError::OauthOnly
            } else {
                AuthError::UnknownMechanisms
            });
        }
        self.refuse_forbidden(AuthMethod::ScramSha256)?;
        let binding = self.binding(&offer)?;
        let first = ClientFirst::new(self.password()?, binding, &self.nonce);
        let message = first.message();
        // SASLInitialResponse: the mechanism, then the message as an Int32-counted value.
        let length = i32::try_from(message.len()).unwrap_or(i32::MAX);
        let mut body = first.mechanism().as_bytes().to_vec();
        body.push(0);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(message.as_bytes());
        self.state = State::ClientFirst(Box::new(first));
        Ok(Step::Send(body, self))
    }

    /// Which mechanism to choose, and what to say about channel binding, as libpq's
    /// `pg_SASL_init` and `build_client_first_message` do.
    fn binding(&self, offer: &Offer) -> Result<Binding, AuthError> {
        let wanted = self.policy.channel_binding;
        let required = wanted == ChannelBinding::Require;
        let server_end_point = match &self.policy.channel {
            Channel::Tls { server_end_point } => server_end_point,
            Channel::Tcp | Channel::Unix if required => return Err(AuthError::BindingNeedsTls),
            // Nobody honest offers it here: the server sees TLS where we have none.
            Channel::Tcp | Channel::Unix if offer.scram_plus => {
                return Err(AuthError::BindingWithoutTls);
            }
            Channel::Tcp | Channel::Unix => return Ok(Binding::Unsupported),
        };
        match (wanted, server_end_point) {
            (ChannelBinding::Require, None) => Err(AuthError::BindingNotPossible),
            (ChannelBinding::Disable, _) | (ChannelBinding::Prefer, None) if offer.scram => {
                Ok(Binding::Unsupported)
            }
            (ChannelBinding::Disable, _) | (ChannelBinding::Prefer, None) => {
                Err(AuthError::BindingUnavoidable)
            }
            (_, Some(hash)) if offer.scram_plus => Ok(Binding::TlsServerEndPoint(hash.clone())),
            (ChannelBinding::Require, Some(_)) => {
                Err(AuthError::BindingNotOffered(Received(code::SASL)))
            }
            (ChannelBinding::Prefer, Some(_)) => Ok(Binding::NotOffered),
        }
    }

    fn unsupported(&self, code: i32) -> AuthError {
        let method = match code {
            code::GSS => AuthMethod::Gss,
            code::SSPI => AuthMethod::Sspi,
            code::GSS_CONTINUE | code::SASL_CONTINUE | code::SASL_FINAL => {
                return AuthError::Unexpected {
                    expected: State::Start.expects(),
                    got: Received(code),
                };
            }
            code => {
                return AuthError::UnsupportedMethod { method: Received(code) };
            }
        };
        match self.refuse_forbidden(method) {
            Err(error) => error,
            Ok(()) => AuthError::UnsupportedMethod { method: Received(code) },
        }
    }

    fn refuse_forbidden(&self, method: AuthMethod) -> Result<(), AuthError> {
        if self.policy.require_auth.allows(method) {
            Ok(())
        } else {
            Err(AuthError::MethodNotAllowed { method })
        }
    }

    /// With `channel_binding=require` there is no way in but SCRAM-SHA-256-PLUS.
    fn refuse_unbound(&self, code: i32) -> Result<(), AuthError> {
        if self.policy.channel_binding == ChannelBinding::Require {
            Err(AuthError::BindingNotOffered(Received(code)))
        } else {
            Ok(())
        }
    }

    fn password(&self) -> Result<&[u8], AuthError> {
        match &self.password {
            Some(password) => Ok(password.reveal()),
            None => Err(AuthError::MissingPassword),
        }
    }
}

/// The SASL mechanisms that a server offers, as far as they matter.
#[derive(Default)]
struct Offer {
    scram: bool,
    scram_plus: bool,
    oauth: bool,
}

impl Offer {
    /// A list of names, each ended by a zero byte, and an empty one at the end.
    fn read(mut reader: Reader<'_>) -> Result<Self, AuthError> {
        let mut offer = Self::default();
        loop {
            let name = reader.cstr("SASL mechanism")?;
            if name.is_empty() {
                break;
            }
            offer.scram |= name == SHA_256.as_bytes();
            offer.scram_plus |= name == SHA_256_PLUS.as_bytes();
            offer.oauth |= name == b"OAUTHBEARER";
        }
        reader.finish("AuthenticationSASL")?;
        Ok(offer)
    }
}

#[cfg(test)]
mod tests;
