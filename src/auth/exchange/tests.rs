//! Whole conversations, recorded from PostgreSQL 15, and every message that has no place in them.

use super::*;
use crate::auth::{ScramError, tls_server_end_point};
use crate::wire::WireError;

/// The nonce of all recorded conversations.
const NONCE: [u8; NONCE_BYTES] = *b"0123456789abcdefgh";

const OK: &[u8] = b"\0\0\0\0";
const CLEARTEXT: &[u8] = b"\0\0\0\x03";
const MD5: &[u8] = b"\0\0\0\x05\xa3\x0c\xb58";
const SASL: &[u8] = b"\0\0\0\x0aSCRAM-SHA-256\0\0";
const SASL_PLUS: &[u8] = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
const ONLY_PLUS: &[u8] = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0";

/// Without TLS; the password is `foobar`.
const CLIENT_FIRST: &[u8] = b"SCRAM-SHA-256\0\0\0\0 n,,n=,r=MDEyMzQ1Njc4OWFiY2RlZmdo";
const CLIENT_BARE: &[u8] = b"n=,r=MDEyMzQ1Njc4OWFiY2RlZmdo";
const SASL_CONTINUE: &[u8] = b"\0\0\0\x0br=MDEyMzQ1Njc4OWFiY2RlZmdoy4U2ZziOS0wiCcRG25Wpzosi,\
    s=jUkbYu/aBobzes1LCjvpng==,i=4096";
const CLIENT_FINAL: &[u8] = b"c=biws,r=MDEyMzQ1Njc4OWFiY2RlZmdoy4U2ZziOS0wiCcRG25Wpzosi,\
    p=ZYXNHWFA0nmwU0BU3V3yBACGOIhQjv8KQtTsh0Xsjww=";
const SASL_FINAL: &[u8] = b"\0\0\0\x0cv=rjbdXPIc7rRVxBC5g4ojnbvG+Xk/teHb4jujqKrX+98=";

/// The same role in TLS with channel binding, to the certificate `recorded-ecdsa-sha384`.
const PLUS_FIRST: &[u8] =
    b"SCRAM-SHA-256-PLUS\0\0\0\x005p=tls-server-end-point,,n=,r=MDEyMzQ1Njc4OWFiY2RlZmdo";
const PLUS_CONTINUE: &[u8] = b"\0\0\0\x0br=MDEyMzQ1Njc4OWFiY2RlZmdoYpawADnRMdPVW9VwXRoYrWF5,\
    s=jUkbYu/aBobzes1LCjvpng==,i=4096";
const PLUS_CLIENT_FINAL: &[u8] = b"c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsHaVo/OXTqEZv/zfWG0xoZK3TLAkb\
    SBB16soi0PKJQQShY4Olqp+O9PMaOfZ+2t+Z,r=MDEyMzQ1Njc4OWFiY2RlZmdoYpawADnRMdPVW9VwXRoYrWF5,\
    p=+Ezh9EcawbZ3W185j/VaOONPr9WBsB/ElTwdLjl5wSA=";
const PLUS_FINAL: &[u8] = b"\0\0\0\x0cv=r94TNEHngW9aXHtzpTn5oQQSduYY5qe3rJbAUK1W0AU=";

/// A role and what is allowed, to start exchanges with.
struct Login {
    user: &'static str,
    password: Option<&'static str>,
    policy: Policy,
}

fn login(user: &'static str, password: &'static str) -> Login {
    Login {
        user,
        password: Some(password),
        policy: Policy {
            require_auth: RequireAuth::default(),
            channel_binding: ChannelBinding::Prefer,
            channel: Channel::Tcp,
        },
    }
}

fn scram() -> Login {
    login("scr", "foobar")
}

fn tls() -> Channel {
    let certificate = include_bytes!("../testdata/recorded-ecdsa-sha384.der");
    Channel::Tls { server_end_point: Some(tls_server_end_point(certificate).unwrap()) }
}

/// TLS with a certificate that has no channel binding.
const TLS_UNBOUND: Channel = Channel::Tls { server_end_point: None };

impl Login {
    fn over(mut self, channel: Channel) -> Self {
        self.policy.channel = channel;
        self
    }

    fn binding(mut self, channel_binding: ChannelBinding) -> Self {
        self.policy.channel_binding = channel_binding;
        self
    }

    fn require_auth(mut self, list: &str) -> Self {
        self.policy.require_auth = RequireAuth::parse(list).unwrap();
        self
    }

    fn without_password(mut self) -> Self {
        self.password = None;
        self
    }

    fn start(&self) -> Exchange {
        let password = self.password.map(Password::new);
        let credentials = Credentials { user: self.user, password: password.as_ref() };
        Exchange::new(&credentials, self.policy.clone(), NONCE)
    }

    /// Has these messages arrive; answers with what was sent, and with how it ended.
    fn run(&self, messages: &[&[u8]]) -> (Vec<Vec<u8>>, Result<Option<Authenticated>, AuthError>) {
        let mut exchange = self.start();
        let mut sent = Vec::new();
        for message in messages {
            exchange = match exchange.handle(message) {
                Ok(Step::Send(body, next)) => {
                    sent.push(body);
                    next
                }
                Ok(Step::Wait(next)) => next,
                Ok(Step::Hash(_)) => unreachable!("as many rounds as fit into a portion"),
                Ok(Step::Done(proof)) => return (sent, Ok(Some(proof))),
                Err(error) => return (sent, Err(error)),
            };
        }
        (sent, Ok(None))
    }

    fn error(&self, messages: &[&[u8]]) -> AuthError {
        self.run(messages).1.unwrap_err()
    }

    /// Runs to the end; the method, and whether it was bound.
    fn done(&self, messages: &[&[u8]]) -> (AuthMethod, bool) {
        let proof = self.run(messages).1.unwrap().unwrap();
        (proof.method(), proof.is_channel_bound())
    }
}

#[test]
fn trust_needs_no_answer() {
    let (sent, end) = scram().without_password().run(&[OK]);
    assert!(sent.is_empty());
    assert_eq!(end.unwrap().unwrap().method(), AuthMethod::None);
}

#[test]
fn md5_logs_in() {
    let (sent, end) = login("md5u", "password").run(&[MD5, OK]);
    assert_eq!(sent, [b"md521c65978381428b047ef5613637ed941\0"]);
    assert_eq!(end.unwrap().unwrap().method(), AuthMethod::Md5);
}

#[test]
fn cleartext_logs_in_where_nobody_can_listen() {
    for channel in [tls(), TLS_UNBOUND, Channel::Unix] {
        let (sent, end) = login("pwu", "geheim").over(channel).run(&[CLEARTEXT, OK]);
        assert_eq!(sent, [b"geheim\0"]);
        assert_eq!(end.unwrap().unwrap().method(), AuthMethod::Password);
    }
}

#[test]
fn cleartext_over_open_tcp_has_to_be_asked_for_by_name() {
    let refused = AuthError::CleartextUnprotected;
    assert_eq!(login("pwu", "geheim").error(&[CLEARTEXT]), refused);
    assert_eq!(login("pwu", "geheim").require_auth("!md5").error(&[CLEARTEXT]), refused);
    let allowed = login("pwu", "geheim").require_auth("password,md5");
    assert_eq!(allowed.done(&[CLEARTEXT, OK]), (AuthMethod::Password, false));
}

#[test]
fn scram_logs_in() {
    let (sent, end) = scram().run(&[SASL, SASL_CONTINUE, SASL_FINAL, OK]);
    assert_eq!(sent, [CLIENT_FIRST, CLIENT_FINAL]);
    let proof = end.unwrap().unwrap();
    assert_eq!((proof.method(), proof.is_channel_bound()), (AuthMethod::ScramSha256, false));
}

#[test]
fn scram_with_channel_binding_logs_in() {
    for binding in [ChannelBinding::Prefer, ChannelBinding::Require] {
        let login = scram().over(tls()).binding(binding);
        let (sent, end) = login.run(&[SASL_PLUS, PLUS_CONTINUE, PLUS_FINAL, OK]);
        assert_eq!(sent, [PLUS_FIRST, PLUS_CLIENT_FINAL]);
        assert!(end.unwrap().unwrap().is_channel_bound());
    }
}

#[test]
fn what_is_said_about_channel_binding_depends_on_both_sides() {
    use ChannelBinding::{Disable, Prefer, Require};
    let cases = [
        ("no TLS", Channel::Tcp, Prefer, SASL, "n,,"),
        ("a socket", Channel::Unix, Prefer, SASL, "n,,"),
        ("offered", tls(), Prefer, SASL_PLUS, "p=tls-server-end-point,,"),
        ("offered alone", tls(), Prefer, ONLY_PLUS, "p=tls-server-end-point,,"),
        ("required", tls(), Require, SASL_PLUS, "p=tls-server-end-point,,"),
        ("not offered: say that we could", tls(), Prefer, SASL, "y,,"),
        ("disabled", tls(), Disable, SASL_PLUS, "n,,"),
        ("disabled, not offered", tls(), Disable, SASL, "n,,"),
        ("no hash", TLS_UNBOUND, Prefer, SASL_PLUS, "n,,"),
    ];
    for (name, channel, binding, offer, header) in cases {
        let (sent, _) = scram().over(channel).binding(binding).run(&[offer]);
        let (_, message) = sent[0].split_at(sent[0].len() - header.len() - CLIENT_BARE.len());
        assert_eq!(message, [header.as_bytes(), CLIENT_BARE].concat(), "{name}");
    }
}

#[test]
fn channel_binding_that_can_not_be_had_ends_the_login() {
    use ChannelBinding::{Disable, Prefer, Require};
    let not_offered = AuthError::BindingNotOffered(Received(10));
    let cases = [
        (TLS_UNBOUND, Prefer, ONLY_PLUS, AuthError::BindingUnavoidable),
        (tls(), Disable, ONLY_PLUS, AuthError::BindingUnavoidable),
        (tls(), Require, SASL, not_offered),
        (TLS_UNBOUND, Require, SASL_PLUS, AuthError::BindingNotPossible),
        (Channel::Tcp, Require, SASL, AuthError::BindingNeedsTls),
        (Channel::Unix, Require, SASL, AuthError::BindingNeedsTls),
        (Channel::Tcp, Prefer, SASL_PLUS, AuthError::BindingWithoutTls),
        (Channel::Tcp, Disable, SASL_PLUS, AuthError::BindingWithoutTls),
    ];
    for (channel, binding, offer, expected) in cases {
        let error = scram().over(channel).binding(binding).error(&[offer]);
        assert_eq!(error, expected);
    }
}

#[test]
fn required_binding_leaves_no_other_way_in() {
    let login = || scram().over(tls()).binding(ChannelBinding::Require);
    assert_eq!(login().error(&[OK]), AuthError::BindingNotOffered(Received(0)));
    assert_eq!(login().error(&[CLEARTEXT]), AuthError::BindingNotOffered(Received(3)));
    assert_eq!(login().error(&[MD5]), AuthError::BindingNotOffered(Received(5)));
}

#[test]
fn require_auth_is_kept() {
    let forbidden = |method| AuthError::MethodNotAllowed { method };
    let cases: [(&str, &[u8], AuthError); 9] = [
        ("scram-sha-256", OK, AuthError::NotAuthenticated),
        ("!none", OK, AuthError::NotAuthenticated),
        ("scram-sha-256", CLEARTEXT, forbidden(AuthMethod::Password)),
        ("!password", CLEARTEXT, forbidden(AuthMethod::Password)),
        ("scram-sha-256,password", MD5, forbidden(AuthMethod::Md5)),
        ("md5", SASL, forbidden(AuthMethod::ScramSha256)),
        ("!scram-sha-256", SASL, forbidden(AuthMethod::ScramSha256)),
        ("md5", b"\0\0\0\x07", forbidden(AuthMethod::Gss)),
        ("md5", b"\0\0\0\x09", forbidden(AuthMethod::Sspi)),
    ];
    for (list, message, expected) in cases {
        let login = scram().over(Channel::Unix).require_auth(list);
        assert_eq!(login.error(&[message]), expected, "{list}");
    }
    let login = scram().require_auth("scram-sha-256");
    let conversation = [SASL, SASL_CONTINUE, SASL_FINAL, OK];
    assert_eq!(login.done(&conversation), (AuthMethod::ScramSha256, false));
    assert_eq!(scram().require_auth("none").done(&[OK]), (AuthMethod::None, false));
}

#[test]
fn a_missing_password_says_how_to_give_one() {
    for message in [CLEARTEXT, MD5, SASL] {
        for login in [scram().without_password(), login("scr", "")] {
            let error = login.over(Channel::Unix).error(&[message]);
            assert_eq!(error, AuthError::MissingPassword);
            assert!(error.to_string().contains("PGPASSWORD"));
            assert!(error.to_string().contains(".pgpass"));
        }
    }
}

#[test]
fn a_password_that_would_be_cut_short_is_not_sent() {
    let login = login("pwu", "ge\0heim").over(Channel::Unix);
    assert_eq!(login.error(&[CLEARTEXT]), AuthError::PasswordWithZero);
}

#[test]
fn methods_that_are_not_spoken_are_named() {
    let cases: [(&[u8], &str); 5] = [
        (b"\0\0\0\x02", "AuthenticationKerberosV5"),
        (b"\0\0\0\x07", "AuthenticationGSS"),
        (b"\0\0\0\x09", "AuthenticationSSPI"),
        (b"\0\0\0\x63", "the authentication request 99"),
        (b"\xff\xff\xff\xff", "the authentication request -1"),
    ];
    for (message, name) in cases {
        let text = scram().error(&[message]).to_string();
        let expected = format!("the server asks for authentication by {name}, ");
        assert!(text.starts_with(&expected), "{text}");
    }
    let oauth = b"\0\0\0\x0aOAUTHBEARER\0\0";
    assert_eq!(scram().error(&[oauth]), AuthError::OauthOnly);
    let other = b"\0\0\0\x0aSCRAM-SHA-1\0\0";
    assert_eq!(scram().error(&[other]), AuthError::UnknownMechanisms);
    let both = b"\0\0\0\x0aOAUTHBEARER\0SCRAM-SHA-256\0\0";
    assert!(scram().run(&[both]).1.is_ok());
}

/// Each state with the messages that lead to it, and the one that leads on.
fn states() -> [(&'static str, Login, Vec<&'static [u8]>, i32); 6] {
    [
        ("start", scram().over(Channel::Unix), vec![], -1),
        ("md5 sent", scram(), vec![MD5], 0),
        ("password sent", scram().over(Channel::Unix), vec![CLEARTEXT], 0),
        ("first sent", scram(), vec![SASL], 11),
        ("final sent", scram(), vec![SASL, SASL_CONTINUE], 12),
        ("proved", scram(), vec![SASL, SASL_CONTINUE, SASL_FINAL], 0),
    ]
}

#[test]
fn every_state_refuses_every_message_but_its_own() {
    for (name, login, before, own) in states() {
        for code in 0..=14 {
            let starts = own == -1 && !matches!(code, 8 | 11 | 12);
            if code == own || starts {
                continue;
            }
            let body = code.to_be_bytes();
            let mut messages = before.clone();
            messages.push(&body);
            match login.error(&messages) {
                AuthError::Unexpected { got, .. } => assert_eq!(got, Received(code), "{name}"),
                AuthError::ServerNotProved => assert!(code == 0 && own >= 11, "{name}"),
                other => panic!("{name}: {code}: {other:?}"),
            }
        }
    }
    let error = scram().error(&[MD5, SASL]);
    let text = "the server sent AuthenticationSASL where AuthenticationOk was expected";
    assert_eq!(error.to_string(), text);
}

#[test]
fn ok_before_the_server_has_proved_itself_is_refused() {
    assert_eq!(scram().error(&[SASL, OK]), AuthError::ServerNotProved);
    assert_eq!(scram().error(&[SASL, SASL_CONTINUE, OK]), AuthError::ServerNotProved);
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let wrong = AuthError::Scram(ScramError::WrongSignature);
    let other = login("scr", "other");
    assert_eq!(other.error(&[SASL, SASL_CONTINUE, SASL_FINAL]), wrong);
    // The signature of another login, in which only the server's nonce differed.
    assert_eq!(scram().error(&[SASL, SASL_CONTINUE, PLUS_FINAL]), wrong);
    let stale = b"\0\0\0\x0br=AAAA,s=jUkbYu/aBobzes1LCjvpng==,i=4096";
    let mismatch = AuthError::Scram(ScramError::NonceMismatch);
    assert_eq!(scram().error(&[SASL, stale]), mismatch);
}

#[test]
fn malformed_messages_are_refused_in_every_state() {
    let short = |message: &[u8]| AuthError::Malformed(Reader::new(message).i32(CODE).unwrap_err());
    const CODE: &str = "authentication code";
    for (name, login, before, _) in states() {
        for length in 0..4 {
            let message = &OK[..length];
            let mut messages = before.clone();
            messages.push(message);
            assert_eq!(login.error(&messages), short(message), "{name}");
        }
    }
    let trailing = |what, bytes| AuthError::Malformed(WireError::Trailing { what, bytes });
    let missing = |field| AuthError::Malformed(WireError::Missing(field));
    let unix = || scram().over(Channel::Unix);
    let cases: [(&[u8], AuthError); 8] = [
        (b"\0\0\0\0\0", trailing("AuthenticationOk", 1)),
        (b"\0\0\0\x03\0", trailing("AuthenticationCleartextPassword", 1)),
        (b"\0\0\0\x05abc", missing("salt")),
        (b"\0\0\0\x05abcde", trailing("AuthenticationMD5Password", 1)),
        (b"\0\0\0\x0a", missing("SASL mechanism")),
        (b"\0\0\0\x0aSCRAM-SHA-256", missing("SASL mechanism")),
        (b"\0\0\0\x0aSCRAM-SHA-256\0", missing("SASL mechanism")),
        (b"\0\0\0\x0aSCRAM-SHA-256\0\0x", trailing("AuthenticationSASL", 1)),
    ];
    for (message, expected) in cases {
        assert_eq!(unix().error(&[message]), expected, "{message:?}");
    }
    let after_md5 = scram().error(&[MD5, b"\0\0\0\0x"]);
    assert_eq!(after_md5, trailing("AuthenticationOk", 1));
}

#[test]
fn a_message_is_taken_up_to_the_cap_and_refused_past_it() {
    let offer = |bytes: usize| {
        let mut body = b"\0\0\0\x0aSCRAM-SHA-256\0".to_vec();
        body.resize(bytes - 2, b'x');
        body.extend_from_slice(b"\0\0");
        body
    };
    let longest = offer(MESSAGE_BYTES_MAX);
    assert_eq!(longest.len(), MESSAGE_BYTES_MAX);
    assert!(scram().run(&[&longest]).1.is_ok());
    let beyond = offer(MESSAGE_BYTES_MAX + 1);
    assert_eq!(scram().error(&[&beyond]), AuthError::TooLong(MESSAGE_BYTES_MAX + 1));
}

#[test]
fn nothing_that_is_printed_holds_the_password_or_what_was_sent() {
    let login = login("pwu", "geheim").over(Channel::Unix);
    let start = login.start();
    assert_eq!(
        format!("{start:?}"),
        "Exchange { user: \"pwu\", expects: \"a request to authenticate\", .. }"
    );
    let step = start.handle(CLEARTEXT).unwrap();
    assert_eq!(
        format!("{step:?}"),
        "Send(7, Exchange { user: \"pwu\", expects: \"AuthenticationOk\", .. })"
    );
}
