//! An authentication exchange with a hostile server never panics, and never ends in a login by
//! SCRAM: the server does not know the password.
//!
//! Input: a byte of policy, then messages: a byte of length, a byte of kind, the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pghost::auth::{Channel, Credentials, Exchange, Policy, Step, tls_server_end_point};
use pghost::config::{AuthMethod, ChannelBinding, Password, RequireAuth};

/// More rounds than this are too slow to fuzz.
const ROUNDS_MAX: u32 = 1_000;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let _ = tls_server_end_point(rest);
    let password = Password::new("a password that nobody guesses");
    let mut exchange = Exchange::new(
        &Credentials {
            user: "ann",
            password: (choice & 0x40 == 0).then_some(&password),
        },
        policy(choice),
        [7; 18],
    );
    while let Some(([length, kind], tail)) = rest.split_first_chunk() {
        let (bytes, tail) = tail
            .split_at_checked((*length).into())
            .unwrap_or((tail, &[]));
        rest = tail;
        let Some(message) = message(*kind, bytes) else {
            return;
        };
        let mut step = exchange.handle(&message);
        while let Ok(Step::Hash(next)) = step {
            step = Ok(next.go_on());
        }
        exchange = match step {
            Ok(Step::Send(_, next) | Step::Wait(next) | Step::Hash(next)) => next,
            Ok(Step::Done(proof)) => {
                assert_ne!(proof.method(), AuthMethod::ScramSha256);
                assert!(!proof.is_channel_bound());
                return;
            }
            Err(error) => return drop(format!("{error} {error:?}")),
        };
        let _ = format!("{exchange:?}");
    }
});

fn policy(choice: u8) -> Policy {
    Policy {
        require_auth: match choice & 0x03 {
            0 => RequireAuth::parse("password").expect("a method"),
            1 => RequireAuth::parse("!md5").expect("a method"),
            _ => RequireAuth::default(),
        },
        channel_binding: match choice & 0x0c {
            0 => ChannelBinding::Disable,
            4 => ChannelBinding::Require,
            _ => ChannelBinding::Prefer,
        },
        channel: match choice & 0x30 {
            0 => Channel::Tcp,
            0x10 => Channel::Unix,
            0x20 => Channel::Tls {
                server_end_point: None,
            },
            _ => Channel::Tls {
                server_end_point: Some(vec![9; 32]),
            },
        },
    }
}

/// A message; some kinds have what a fuzzer would take long to find.
fn message(kind: u8, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = vec![0, 0, 0, kind & 0x0f];
    match kind & 0xf0 {
        0x10 => message.extend_from_slice(b"SCRAM-SHA-256\0\0"),
        0x20 => message.extend_from_slice(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        0x30 => message.extend_from_slice(b"r=BwcHBwcHBwcHBwcHBwcHBwcH"),
        0x40 => message.extend_from_slice(b"r=BwcHBwcHBwcHBwcHBwcHBwcHx,s=AAAA,i="),
        0x50 => message.extend_from_slice(b"v="),
        _ => {}
    }
    message.extend_from_slice(bytes);
    let digits = message
        .rsplit(|&byte| byte == b'=')
        .next()
        .unwrap_or_default();
    match std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
    {
        Some(rounds) if rounds > ROUNDS_MAX => None,
        _ => Some(message),
    }
}
