//! The answer to SSLRequest is one byte that anybody could have sent.

use pghost::conn::{Error, TlsError};

use super::{
    backend::Sent,
    server::{Listener, STARTS, connect, soon},
    walk::{Kind, assert_discreet, kind},
};

/// Connects to a server that answers SSLRequest with these bytes and reads on, or hangs up.
async fn answered(settings: &str, bytes: &[u8], hangs_up: bool) -> Error {
    let listener = Listener::tcp().await;
    let config = listener.config(settings);
    let serving = async {
        let mut peer = listener.accept().await;
        assert_eq!(peer.untagged().await.unwrap(), [4, 0xd2, 0x16, 0x2f]);
        let _ = peer.send(bytes).await;
        if !hangs_up {
            peer.drain().await;
        }
    };
    let connecting = connect(&config);
    let ((), connected) = soon(async { tokio::join!(serving, connecting) }).await;
    let error = connected.unwrap_err();
    assert_discreet(&error);
    error
}

#[tokio::test]
async fn every_byte_but_two_is_refused() {
    for byte in 0..=u8::MAX {
        match (byte, answered("sslmode=require", &[byte], true).await) {
            (b'S', Error::Tls(TlsError::Handshake(_))) => {}
            (b'N', Error::Tls(TlsError::NotOffered { .. })) => {}
            (b'S' | b'N', error) => panic!("{byte}: {error:?}"),
            (_, Error::Tls(TlsError::Answer)) => {}
            (_, error) => panic!("{byte}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn no_message_is_an_answer_and_none_is_shown() {
    for sent in Sent::all() {
        let hangs_up = matches!(sent, Sent::End(_));
        let error = answered("sslmode=require", &sent.bytes(), hangs_up).await;
        let is_right = match sent {
            Sent::End(0) => kind(&error) == Kind::Closed,
            _ => matches!(error, Error::Tls(_)),
        };
        assert!(is_right, "{sent:?}: {error:?}");
        assert!(!error.to_string().contains("division"), "{error}");
    }
}

/// What comes after the yes is TLS or nothing.
#[tokio::test]
async fn after_the_yes_no_message_is_taken_in_the_open() {
    for sent in Sent::all() {
        let bytes = [&b"S"[..], &sent.bytes()].concat();
        let error = answered("sslmode=require", &bytes, true).await;
        let is_tls = matches!(error, Error::Tls(TlsError::Handshake(_)));
        assert!(is_tls, "{sent:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_end_or_silence_in_place_of_an_answer_is_told() {
    for (answer, hangs_up, wanted) in [
        (&b""[..], true, Kind::Closed),
        (b"", false, Kind::ConnectTimeout),
        (b"S", false, Kind::ConnectTimeout),
    ] {
        let error = answered("sslmode=require connect_timeout=1", answer, hangs_up).await;
        assert_eq!(kind(&error), wanted, "{answer:?}: {error:?}");
    }
}

#[tokio::test]
async fn with_prefer_a_no_is_followed_by_the_session_on_the_same_socket() {
    let listener = Listener::tcp().await;
    let config = listener.config("sslmode=prefer");
    let serving = async {
        let mut peer = listener.accept().await;
        peer.untagged().await.unwrap();
        peer.put(b"N");
        peer.say(STARTS).await;
        peer
    };
    let connecting = connect(&config);
    let (_peer, connected) = soon(async { tokio::join!(serving, connecting) }).await;
    assert!(!connected.unwrap().is_encrypted());
}

/// Nobody knows what stood behind the answer, so nothing of it may be read.
#[tokio::test]
async fn with_prefer_anything_else_is_followed_by_another_socket() {
    for answer in [&b"E"[..], b"R\0\0\0\x08\0\0\0\0", b"S\0\0\0"] {
        let listener = Listener::tcp().await;
        let config = listener.config("sslmode=prefer");
        let serving = async {
            let mut first = listener.accept().await;
            first.untagged().await.unwrap();
            first.send(answer).await.unwrap();
            drop(first);
            let mut second = listener.accept().await;
            second.say(STARTS).await;
            second
        };
        let connecting = connect(&config);
        let (_peer, connected) = soon(async { tokio::join!(serving, connecting) }).await;
        assert!(!connected.unwrap().is_encrypted(), "{answer:?}");
    }
}
