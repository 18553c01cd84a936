//! CancelRequest: no message answers it.

use pghost::conn::CancelToken;
use tokio::task::JoinSet;

use super::{
    backend::{Sent, message, named},
    server::{Listener, STARTS, connect, session_with, soon},
    walk::{Kind, assert_discreet, kind},
};

/// A token of a session on this listener.
async fn token(listener: &Listener, settings: &str) -> CancelToken {
    session_with(listener, settings, STARTS).await.0.cancel_token().unwrap()
}

#[tokio::test]
async fn only_the_end_answers_a_cancel_request() {
    let mut attempts = JoinSet::new();
    for sent in Sent::all() {
        attempts.spawn(async move {
            let listener = Listener::unix();
            let token = token(&listener, "").await;
            let serving = async {
                let mut peer = listener.accept().await;
                assert_eq!(peer.untagged().await.unwrap(), b"\x04\xd2\x16\x2e\0\0\0\x07keys");
                peer.send(&sent.bytes()).await.unwrap();
                if !matches!(sent, Sent::End(_)) {
                    peer.drain().await;
                }
            };
            let ((), cancelled) = soon(async { tokio::join!(serving, token.cancel()) }).await;
            if let Err(error) = &cancelled {
                assert_discreet(error);
            }
            let wanted = match sent {
                Sent::End(_) => None,
                Sent::Length(..) => Some(Kind::Frame),
                _ => Some(Kind::Unexpected),
            };
            let failed_with = cancelled.as_ref().err().map(kind);
            assert_eq!(failed_with, wanted, "{sent:?}: {cancelled:?}");
        });
    }
    attempts.join_all().await;
}

#[tokio::test]
async fn silence_after_a_cancel_request_ends_in_time() {
    let listener = Listener::unix();
    let token = token(&listener, "connect_timeout=2").await;
    let serving = async { listener.accept().await.drain().await };
    let ((), cancelled) = soon(async { tokio::join!(serving, token.cancel()) }).await;
    assert_eq!(kind(&cancelled.unwrap_err()), Kind::ConnectTimeout);
}

/// The key of each version of the protocol: how long it may be, and that it comes back whole.
#[tokio::test]
async fn keys_have_the_sizes_of_their_version() {
    let fine = [("3.0", 4), ("3.2", 4), ("3.2", 5), ("3.2", 32), ("3.2", 256)];
    let wrong = [("3.0", 3), ("3.0", 5), ("3.0", 32), ("3.2", 3), ("3.2", 257)];
    for (version, length) in fine.into_iter().chain(wrong) {
        let key: Vec<u8> = (0..=255).cycle().skip(7).take(length).collect();
        let data = message(b'K', &[b"\xff\xff\xff\xf9", key.as_slice()].concat());
        let start = [named("R0"), named("S"), data, named("Z")].concat();
        let listener = Listener::unix();
        let config = listener.config(&format!("max_protocol_version={version}"));
        let serving = async {
            let mut peer = listener.accept().await;
            peer.untagged().await.unwrap();
            peer.send(&start).await.unwrap();
            peer
        };
        let connecting = connect(&config);
        let (_peer, connected) = soon(async { tokio::join!(serving, connecting) }).await;
        if wrong.contains(&(version, length)) {
            assert_eq!(kind(&connected.unwrap_err()), Kind::Malformed, "{version} {length}");
            continue;
        }
        let connection = connected.unwrap();
        assert_eq!(connection.process_id(), -7);
        assert_eq!(connection.protocol_version().to_string(), version);
        let token = connection.cancel_token().unwrap();
        assert!(!format!("{token:?}").contains("secret"), "{token:?}");
        let serving = async { listener.accept().await.untagged().await.unwrap() };
        let (request, cancelled) = soon(async { tokio::join!(serving, token.cancel()) }).await;
        cancelled.unwrap();
        assert_eq!(request, [b"\x04\xd2\x16\x2e\xff\xff\xff\xf9", key.as_slice()].concat());
    }
}
