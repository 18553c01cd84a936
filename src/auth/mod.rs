//! The authentication conversation: what to answer when a server asks who we are, and what not.
//!
//! Pure: bodies of messages in, bodies of messages out. No socket and no randomness; the nonce is
//! handed in. Framing, time limits and the hunt for passwords are the work of others.
//!
//! ```text
//!   Exchange::new
//!      |
//!      v      R 0 Ok (trust, peer, cert) ------------------------------> Done
//!    Start -- R 3 CleartextPassword / send password ------> Answered --> Done
//!      |      R 5 MD5Password       / send hash ----------> Answered      ^
//!      |                                                                  |
//!      |      R 10 SASL / send client-first                               |
//!      +----------------> ClientFirst                                     |
//!                            | R 11 SASLContinue / send client-final      |
//!                            v                                            |
//!                         ClientFinal                                     |
//!                            | R 12 SASLFinal, signature right / wait     |
//!                            v                                R 0 Ok      |
//!                         Proved ----------------------------------------+
//! ```
//!
//! Every state is consumed by its message, and every other message ends the exchange with an error
//! that says what was expected and what came. The policy, which goes beyond libpq's
//! (`pg_fe_sendauth` and `check_expected_areq` in `fe-auth.c`) at three places:
//!
//!  - A cleartext password is sent only in TLS or over a unix socket, or when `require_auth` names
//!    `password`. libpq sends it to whoever asks. TCP to this machine counts as open: nothing says
//!    that the port is not forwarded.
//!  - AuthenticationOk in the middle of SCRAM is refused, always: a server that skips its own
//!    signature may be one that only collects material for guessing the password.
//!  - SCRAM's rounds are capped at [`ITERATIONS_MAX`].

// What a peer sends can be anything: nothing here panics on it or cuts a number short.
#![deny(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::as_conversions
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions
    )
)]

mod channel_binding;
mod error;
mod exchange;
mod md5;
mod saslprep;
mod scram;

pub use channel_binding::{ChannelBindingError, tls_server_end_point};
pub use error::{AuthError, Received};
pub use exchange::{
    Authenticated, Channel, Credentials, Exchange, MESSAGE_BYTES_MAX, Policy, Step,
};
pub use scram::{ITERATIONS_MAX, NONCE_BYTES, ScramError};
