//! What a server can make us hold or do, at each limit and one past it, through whole sessions.

use pghost::{
    auth::ITERATIONS_MAX,
    conn::{Connection, Error, NOTICES_MAX, NOTIFICATIONS_MAX, PARAMETERS_MAX},
    wire::caps::{AUTHENTICATION_FRAME_BYTES, MAX_FRAME_BYTES, SHORT_FRAME_BYTES},
};
use tokio::task::JoinSet;

use super::{
    backend::{header, message, named},
    client::again,
    scram::Scram,
    server::{Listener, connect, session, session_with, soon},
    walk::{Kind, assert_discreet, kind},
};

/// Connects to a server that answers the startup packet with these bytes and then hangs up.
async fn started_with(settings: &str, answer: &[u8]) -> Result<Connection, Error> {
    let listener = Listener::unix();
    let config = listener.config(settings);
    let serving = async {
        let mut peer = listener.accept().await;
        peer.untagged().await.unwrap();
        peer.send(answer).await.unwrap();
    };
    let connecting = connect(&config);
    let ((), connected) = soon(async { tokio::join!(serving, connecting) }).await;
    connected.inspect_err(assert_discreet)
}

/// Asks a query of a server that answers with these bytes and then hangs up.
async fn asked_with(answer: &[u8]) -> Result<(), Error> {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    let serving = async {
        peer.play("> Q").await.unwrap();
        peer.send(answer).await.unwrap();
        drop(peer);
    };
    soon(async { tokio::join!(again(&mut connection), serving).0 }).await
}

/// How long a frame of this type may be, by its length field.
const fn longest(tag: u8, in_session: bool) -> usize {
    match tag {
        b'R' => AUTHENTICATION_FRAME_BYTES,
        b'd' | b'D' | b'E' | b'N' | b'A' | b'T' if in_session => MAX_FRAME_BYTES,
        _ => SHORT_FRAME_BYTES,
    }
}

/// The frame itself never comes: what is too long is refused by its header, and what is not is
/// waited for, until the server hangs up.
#[tokio::test]
async fn frames_are_taken_up_to_the_longest_of_their_kind() {
    let mut attempts = JoinSet::new();
    for tag in 0..=u8::MAX {
        for (in_session, over) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            attempts.spawn(async move {
                let length = i32::try_from(longest(tag, in_session) + over).unwrap();
                let claim = header(tag, length);
                let failed = if in_session {
                    asked_with(&claim).await
                } else {
                    started_with("", &claim).await.map(drop)
                };
                let wanted = if over == 1 { Kind::Frame } else { Kind::Closed };
                assert_eq!(kind(&failed.unwrap_err()), wanted, "{tag} {length} {in_session}");
            });
        }
    }
    attempts.join_all().await;
}

/// Once we are let in, the longer limits hold before the session is ready.
#[tokio::test]
async fn a_long_notice_is_taken_only_from_a_server_that_has_let_us_in() {
    let notice = message(b'N', &[b"M", vec![b'x'; 40_000].as_slice(), b"\0\0"].concat());
    let ready = ["R0", "S", "Z"].map(named);
    let late = [&ready[0], &notice, &ready[1], &ready[2]].map(Vec::as_slice).concat();
    assert!(started_with("", &late).await.is_ok());
    let early = [&notice, &ready[0], &ready[1], &ready[2]].map(Vec::as_slice).concat();
    assert_eq!(kind(&started_with("", &early).await.unwrap_err()), Kind::Frame);
}

#[tokio::test]
async fn settings_notices_and_notifications_are_kept_up_to_their_caps() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    let serving = async {
        peer.play("> Q").await.unwrap();
        for n in 0..PARAMETERS_MAX {
            peer.put(&message(b'S', format!("p{n}\0x\0").as_bytes()));
        }
        for n in 0..=NOTICES_MAX {
            peer.put(&message(b'N', format!("M{n}\0\0").as_bytes()));
        }
        for n in 0..=NOTIFICATIONS_MAX {
            peer.put(&message(b'A', format!("\0\0\0\x01c\0{n}\0").as_bytes()));
        }
        peer.say("< C Z").await;
    };
    soon(async { tokio::join!(again(&mut connection), serving).0 }).await.unwrap();
    // The server's version is one of them.
    let last = PARAMETERS_MAX - 2;
    assert_eq!(connection.parameter("server_version"), Some("16.4"));
    assert_eq!(connection.parameter(&format!("p{last}")), Some("x"));
    assert_eq!(connection.parameter(&format!("p{}", last + 1)), None);
    let notices = connection.take_notices();
    assert_eq!((notices.len(), notices[0].message.as_str()), (NOTICES_MAX, "1"));
    let notifications = connection.take_notifications();
    assert_eq!(notifications.len(), NOTIFICATIONS_MAX);
    assert_eq!(notifications[0].payload, "1");
}

/// Of a server before it has let us in nothing is kept.
#[tokio::test]
async fn notices_from_before_the_login_are_passed_over() {
    let start = "> startup < N N R0 N S Z";
    let listener = Listener::unix();
    let (mut connection, _peer) = session_with(&listener, "", start).await;
    assert_eq!(connection.take_notices().len(), 1);
}

#[tokio::test]
async fn a_startup_packet_is_sent_up_to_what_a_server_reads() {
    let length = async |padding: usize| {
        let listener = Listener::unix();
        let config = listener.config(&format!("options=-cx={}", "y".repeat(padding)));
        let serving = async {
            let mut peer = listener.accept().await;
            let packet = peer.untagged().await.map(|body| body.len() + 4);
            if packet.is_ok() {
                peer.send(&["R0", "S", "Z"].map(named).concat()).await.unwrap();
            }
            packet
        };
        let connecting = connect(&config);
        let (packet, connected) = soon(async { tokio::join!(serving, connecting) }).await;
        connected.map(|_| packet.unwrap())
    };
    let short = length(1).await.unwrap();
    assert_eq!(length(1 + 10_000 - short).await.unwrap(), 10_000);
    let error = length(2 + 10_000 - short).await.unwrap_err();
    assert!(matches!(error, Error::Settings(_)), "{error}");
}

/// What NegotiateProtocolVersion may say to whom.
#[tokio::test]
async fn only_an_older_version_without_unknown_options_is_agreed_to() {
    let negotiate = |minor: u8, options: &[u8]| {
        let count = options.iter().filter(|byte| **byte == 0).count();
        message(b'v', &[&[0, 3, 0, minor, 0, 0, 0, count.try_into().unwrap()], options].concat())
    };
    let ready = ["R0", "S", "Z"].map(named).concat();
    let options = b"_pq_.x\0_pq_.y\0";
    let newest = "max_protocol_version=3.2";
    let strict = "max_protocol_version=3.2 min_protocol_version=3.2";
    for (settings, answer, wanted) in [
        (newest, negotiate(0, b""), None),
        (newest, negotiate(2, b""), Some(Kind::Unexpected)),
        (newest, negotiate(3, b""), Some(Kind::Unexpected)),
        (newest, negotiate(0, options), Some(Kind::Unexpected)),
        (newest, negotiate(0, b"").repeat(2), Some(Kind::Unexpected)),
        (newest, message(b'v', b"\0\x02\0\0\0\0\0\0"), Some(Kind::Unexpected)),
        (newest, message(b'v', b"\0\x04\0\0\0\0\0\0"), Some(Kind::Unexpected)),
        (strict, negotiate(0, b""), Some(Kind::Other)),
        ("max_protocol_version=3.0", negotiate(0, b""), Some(Kind::Unexpected)),
    ] {
        let connected = started_with(settings, &[answer.as_slice(), &ready].concat()).await;
        assert_eq!(connected.as_ref().err().map(kind), wanted, "{settings} {connected:?}");
        if let Ok(connection) = connected {
            assert_eq!(connection.protocol_version().to_string(), "3.0");
        }
    }
    // After the first request it is too late.
    let late = [named("R0"), negotiate(0, b"")].concat();
    assert_eq!(kind(&started_with(newest, &late).await.unwrap_err()), Kind::Unexpected);
}

#[tokio::test]
async fn more_rounds_of_scram_than_anybody_needs_are_refused_at_once() {
    let listener = Listener::unix();
    let config = listener.config("");
    let serving = async {
        let mut peer = listener.accept().await;
        peer.play("> startup < R10").await.unwrap();
        let mut scram = Scram::default();
        scram.hear(&peer.expect(b'p').await.unwrap());
        peer.send(&scram.continues_with(ITERATIONS_MAX + 1)).await.unwrap();
        peer.drain().await;
    };
    let connecting = connect(&config);
    // Who goes through all the rounds sends a proof, and nothing answers it.
    let ((), connected) = soon(async { tokio::join!(serving, connecting) }).await;
    let error = connected.unwrap_err();
    assert_discreet(&error);
    assert_eq!(kind(&error), Kind::Authentication);
    let reason = format!("{} rounds of hashing; at most {ITERATIONS_MAX}", ITERATIONS_MAX + 1);
    assert!(error.to_string().contains(&reason), "{error}");
}

/// The whole login by SCRAM, as the walk's own way through it.
#[tokio::test]
async fn scram_lets_us_in_over_tcp() {
    let listener = Listener::tcp().await;
    let start = "> startup < R10 > p < R11* > p < R12* R0 S K Z";
    let (connection, _peer) = session_with(&listener, "require_auth=scram-sha-256", start).await;
    assert_eq!(connection.auth_method(), Some(pghost::config::AuthMethod::ScramSha256));
}
