//! A server that falls silent while a session starts: `connect_timeout` ends every wait.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{
    server::{Listener, connect, soon},
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
