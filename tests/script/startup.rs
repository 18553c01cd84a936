//! A server that falls silent while a session starts: `connect_timeout` ends every wait.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time};

use super::{
    backend::{header, named},
    scram::Scram,
    server::{Listener, Peer, connect, soon},
    states::{self, State},
    walk::{Kind, assert_discreet, kind},
};

/// Gives up on a server that says nothing after its `lead`.
async fn give_up(listener: Listener, state: State) {
    let config = listener.config(&format!("connect_timeout=3 {}", state.settings));
    let serving = async {
        let mut peer = listener.accept().await;
        peer.say(state.lead).await;
        peer.eof().await;
    };
    let began = Instant::now();
    let connecting = connect(&config);
    let ((), connected) = soon(async { tokio::join!(serving, connecting) }).await;
    let error = connected.unwrap_err();
    assert_discreet(&error);
    assert_eq!(kind(&error), Kind::ConnectTimeout, "{}: {error}", state.name);
    assert!(began.elapsed() >= Duration::from_secs(3), "{}", state.name);
}

#[tokio::test]
async fn no_silence_outlasts_connect_timeout() {
    let mut waits = JoinSet::new();
    for state in states::startup() {
        waits.spawn(give_up(Listener::unix(), state));
    }
    for state in states::startup() {
        // In the open a password is only sent to who is allowed to ask for it.
        let settings = match state.settings {
            "" => "require_auth=none,password,md5,scram-sha-256",
            settings => settings,
        };
        waits.spawn(give_up(Listener::tcp().await, State { settings, ..state }));
    }
    waits.join_all().await;
}

#[tokio::test]
async fn a_socket_that_nobody_answers_ends_in_time_too() {
    let listener = Listener::tcp().await;
    let config = listener.config("connect_timeout=1");
    let error = soon(connect(&config)).await.unwrap_err();
    assert_eq!(kind(&error), Kind::ConnectTimeout, "{error}");
}

/// What a server does that never lets us in, a second at a time.
enum Stalls {
    Silence,
    Notices,
    BytesOfANotice,
}

/// Stalls until we are gone.
async fn stall(peer: &mut Peer, how: &Stalls) {
    let notice = named("N");
    let mut at = 0;
    loop {
        let sent = match how {
            Stalls::Silence => return peer.eof().await,
            Stalls::Notices => peer.send(&notice).await,
            // Its body has 20,000 bytes, of which nobody will see the last.
            Stalls::BytesOfANotice if at == 0 => peer.send(&header(b'N', 20_000)).await,
            Stalls::BytesOfANotice => peer.send(b"M").await,
        };
        if sent.is_err() {
            return;
        }
        at += 1;
        time::sleep(Duration::from_secs(1)).await;
    }
}

/// By a clock that jumps ahead whenever nobody has anything to do. It is set once the server is where
/// it stalls.
#[tokio::test]
async fn without_connect_timeout_no_server_holds_us_up_for_ever() {
    for how in [Stalls::Silence, Stalls::Notices, Stalls::BytesOfANotice] {
        for state in states::startup() {
            let listener = Listener::unix();
            let config = listener.config(state.settings);
            let serving = async {
                let mut peer = listener.accept().await;
                peer.say(state.lead).await;
                time::pause();
                stall(&mut peer, &how).await;
            };
            let began = time::Instant::now();
            let connecting = connect(&config);
            let ((), connected) = soon(async { tokio::join!(serving, connecting) }).await;
            let took = began.elapsed();
            time::resume();
            let error = connected.unwrap_err();
            assert_eq!(kind(&error), Kind::ConnectTimeout, "{}: {error}", state.name);
            assert!(took >= Duration::from_mins(2), "{}: {took:?}", state.name);
        }
    }
}

/// Hashing is no silence, and takes its time all the same.
#[tokio::test]
async fn hashing_ends_in_time_too() {
    let listener = Listener::unix();
    let config = listener.config("connect_timeout=1");
    let serving = async {
        let mut peer = listener.accept().await;
        peer.play("> startup < R10").await.unwrap();
        let mut scram = Scram::default();
        scram.hear(&peer.expect(b'p').await.unwrap());
        peer.send(&scram.continues_with(pghost::auth::ITERATIONS_MAX)).await.unwrap();
        time::pause();
        // Twice as much: nothing less than a millisecond counts, and nothing else moves this clock.
        time::advance(Duration::from_secs(2)).await;
        // With all rounds done at a time the proof would be here before the clock is looked at.
        assert!(peer.message().await.is_err());
    };
    let connecting = connect(&config);
    let ((), connected) = tokio::join!(serving, connecting);
    let error = connected.unwrap_err();
    assert_eq!(kind(&error), Kind::ConnectTimeout, "{error}");
}
