//! The start of a session, message by message: every arrow of the picture, and what is none.

use super::*;
use crate::{
    auth::{Channel, Credentials, NONCE_BYTES, Policy},
    config::{AuthMethod, ChannelBinding, Password, RequireAuth},
    wire::Frame,
};

/// A conversation that PostgreSQL 15 had with a client of this nonce and password; `auth` has it
/// whole.
const NONCE: [u8; NONCE_BYTES] = *b"0123456789abcdefgh";
const PASSWORD: &str = "foobar";
const SASL: &[u8] = b"R\0\0\0\x0aSCRAM-SHA-256\0\0";
const SASL_CONTINUE: &[u8] = b"R\0\0\0\x0br=MDEyMzQ1Njc4OWFiY2RlZmdoy4U2ZziOS0wiCcRG25Wpzosi,\
    s=jUkbYu/aBobzes1LCjvpng==,i=4096";
const SASL_FINAL: &[u8] = b"R\0\0\0\x0cv=rjbdXPIc7rRVxBC5g4ojnbvG+Xk/teHb4jujqKrX+98=";

const OK: &[u8] = b"R\0\0\0\0";
const MD5: &[u8] = b"R\0\0\0\x05salt";
const NOTICE: &[u8] = b"NMby the way\0\0";
const ERROR: &[u8] = b"EC28P01\0Mno\0\0";
const SETTING: &[u8] = b"Sserver_version\x0018.1\0";
const KEY: &[u8] = b"K\0\0\0\x07keys";
const LONG_KEY: &[u8] = b"K\0\0\0\x07keyskeyskeys";
const READY: &[u8] = b"ZI";
const OLDER: &[u8] = b"v\0\x03\0\0\0\0\0\0";

const V3_0: Versions = Versions { min: ProtocolVersion::V3_0, max: ProtocolVersion::V3_0 };
const V3_2: Versions = Versions { min: ProtocolVersion::V3_0, max: ProtocolVersion::V3_2 };
const ONLY_V3_2: Versions = Versions { min: ProtocolVersion::V3_2, max: ProtocolVersion::V3_2 };

fn startup(versions: Versions) -> Startup {
    let password = Password::new(PASSWORD);
    let credentials = Credentials { user: "scr", password: Some(&password) };
    let policy = Policy {
        require_auth: RequireAuth::default(),
        channel_binding: ChannelBinding::Prefer,
        channel: Channel::Unix,
    };
    Startup::new(versions, Exchange::new(&credentials, policy, NONCE))
}

/// Takes messages, each its tag and its body; how many were answered, and what the last one led to.
fn run(versions: Versions, messages: &[&[u8]]) -> (usize, Result<Next, Error>) {
    let mut next = Next::Wait(startup(versions));
    let mut answers = 0;
    for message in messages {
        let (Next::Wait(startup) | Next::Answer(_, startup)) = next else {
            panic!("ready before {message:?}");
        };
        let (&tag, body) = message.split_first().unwrap();
        next = match startup.take(BackendMessage::parse(Frame { tag, body }).unwrap()) {
            Ok(next) => next,
            Err(error) => return (answers, Err(error)),
        };
        answers += usize::from(matches!(next, Next::Answer(..)));
    }
    (answers, Ok(next))
}

fn started(versions: Versions, messages: &[&[u8]]) -> Started {
    match run(versions, messages).1 {
        Ok(Next::Ready(started)) => started,
        other => panic!("{messages:?}: {other:?}"),
    }
}

fn error(versions: Versions, messages: &[&[u8]]) -> Error {
    run(versions, messages).1.unwrap_err()
}

#[test]
fn every_way_in_ends_at_ready_for_query() {
    let ways: [(&[&[u8]], usize, AuthMethod); 4] = [
        (&[OK], 0, AuthMethod::None),
        (&[MD5, OK], 1, AuthMethod::Md5),
        (&[b"R\0\0\0\x03", OK], 1, AuthMethod::Password),
        (&[SASL, SASL_CONTINUE, SASL_FINAL, OK], 2, AuthMethod::ScramSha256),
    ];
    for (requests, answers, method) in ways {
        let messages = [requests, &[SETTING, KEY, SETTING, READY]].concat();
        let (answered, _) = run(V3_0, &messages);
        let started = started(V3_0, &messages);
        assert_eq!((answered, started.proof.method()), (answers, method));
        assert_eq!(started.version, ProtocolVersion::V3_0);
        assert_eq!(started.key, Some(CancelKey::new(7, b"keys")));
        assert_eq!(started.status, TransactionStatus::Idle);
    }
}

#[test]
fn a_pooler_may_leave_out_the_key() {
    assert_eq!(started(V3_0, &[OK, SETTING, READY]).key, None);
}

/// The states of a login by SCRAM, by the messages that lead there, and which messages go on from
/// each.
#[test]
fn every_state_takes_its_own_messages_and_no_others() {
    let path: [&[u8]; 6] = [SASL, SASL_CONTINUE, SASL_FINAL, OK, KEY, READY];
    let right: [&[&[u8]]; 6] = [
        &[SASL, MD5, OK, OLDER, NOTICE],
        &[SASL_CONTINUE, NOTICE],
        &[SASL_FINAL, NOTICE],
        &[OK, NOTICE],
        &[KEY, READY, SETTING, NOTICE],
        &[READY, SETTING, NOTICE],
    ];
    let wrong: [&[u8]; 19] = [
        b"2",
        b"3",
        b"CSELECT 1\0",
        b"W\0\0\0",
        b"dx",
        b"c",
        b"G\0\0\0",
        b"H\0\0\0",
        b"D\0\0",
        b"I",
        b"n",
        b"A\0\0\0\x01c\0\0",
        b"t\0\0",
        b"1",
        b"s",
        b"T\0\0",
        b"R\0\0\0\x07",
        ERROR,
        b"R\0\0\0\x63",
    ];
    let all = path.into_iter().chain([MD5, OLDER, NOTICE, SETTING]).chain(wrong);
    for message in all {
        for (at, right) in right.iter().enumerate() {
            let messages = [&path[..at], &[message]].concat();
            let taken = run(V3_2, &messages).1;
            assert_eq!(taken.is_ok(), right.contains(&message), "{at} {message:?}: {taken:?}");
            match taken {
                Err(Error::Server(error)) => assert_eq!((message, &*error.message), (ERROR, "no")),
                Err(Error::Authentication(_)) => assert!(message[0] == b'R' && at < 4),
                Err(Error::Unexpected { .. }) => assert!(message[0] != b'R' || at >= 4),
                Err(other) => panic!("{at} {message:?}: {other:?}"),
                Ok(Next::Ready(_)) => assert_eq!(message, READY),
                Ok(Next::Wait(next) | Next::Hash(next) | Next::Answer(_, next)) => {
                    let lets_in = message == OK || at >= 4;
                    assert_eq!(next.is_authenticated(), lets_in, "{at} {message:?}");
                }
            }
        }
    }
}

#[test]
fn a_key_has_the_size_of_the_version_that_is_spoken() {
    for (versions, messages, fine) in [
        (V3_0, &[OK, KEY, READY][..], true),
        (V3_0, &[OK, LONG_KEY, READY], false),
        (V3_2, &[OK, LONG_KEY, READY], true),
        (V3_2, &[OLDER, OK, LONG_KEY, READY], false),
        (V3_2, &[OLDER, OK, KEY, READY], true),
    ] {
        let taken = run(versions, messages).1;
        assert_eq!(taken.is_ok(), fine, "{messages:?}: {taken:?}");
    }
}

#[test]
fn the_version_is_the_older_one_of_what_both_speak() {
    assert_eq!(started(V3_2, &[OK, READY]).version, ProtocolVersion::V3_2);
    assert_eq!(started(V3_2, &[OLDER, OK, READY]).version, ProtocolVersion::V3_0);
    // A server of 3.1 has 3.0's messages.
    let middle = b"v\0\x03\0\x01\0\0\0\0";
    assert_eq!(started(V3_2, &[middle, OK, READY]).version, ProtocolVersion::V3_0);
}

#[test]
fn a_version_that_will_not_do_ends_it() {
    for (versions, offer) in [
        (V3_0, OLDER), // We asked for no more.
        (V3_2, b"v\0\x03\0\x02\0\0\0\0"),
        (V3_2, b"v\0\x03\0\x03\0\0\0\0"),
        (V3_2, b"v\0\x02\0\0\0\0\0\0"),
        (V3_2, b"v\0\x04\0\0\0\0\0\0"),
        (V3_2, b"v\0\x03\0\0\0\0\0\x01_pq_.x\0"),
    ] {
        let error = error(versions, &[offer]);
        assert!(matches!(error, Error::Unexpected { .. }), "{offer:?}: {error}");
    }
    let error = error(ONLY_V3_2, &[OLDER]);
    assert!(matches!(error, Error::ProtocolVersion { .. }), "{error}");
}

#[test]
fn a_version_is_negotiated_once_and_before_anything_else() {
    for messages in [&[OLDER, OLDER][..], &[MD5, OLDER], &[SASL, OLDER], &[OK, OLDER]] {
        let error = error(V3_2, messages);
        assert!(matches!(error, Error::Unexpected { .. }), "{messages:?}: {error}");
    }
}

#[test]
fn nothing_that_is_printed_holds_the_password() {
    let path: [&[u8]; 5] = [SASL, SASL_CONTINUE, SASL_FINAL, OK, KEY];
    for at in 0..=path.len() {
        let text = format!("{:?} {:#?}", run(V3_0, &path[..at]), run(V3_0, &path[..at]));
        assert!(!text.contains(PASSWORD) && !text.contains("keys"), "{text}");
    }
    let answer = format!("{:?}", run(V3_0, &[b"R\0\0\0\x03"]).1);
    let bytes = format!("{:?}", PASSWORD.as_bytes());
    assert!(answer.contains("Answer(7"), "{answer}");
    assert!(!answer.contains(bytes.trim_matches(['[', ']'])), "{answer}");
}
