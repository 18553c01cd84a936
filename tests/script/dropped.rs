//! Futures that are dropped half way: what may be dropped goes on where it was, and everything else
//! leaves a connection that says so at once.

use std::{sync::Arc, time::Duration};

use pghost::conn::{Connection, Error};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use super::{
    backend::{message, named},
    client::{Outcome, again, queued, run},
    server::{Listener, STARTS, session, soon},
    states::{self, State},
    walk::{Kind, kind},
};

/// Long enough for what is under way to come to its wait.
const A_MOMENT: Duration = Duration::from_millis(5);

/// Polls work that waits for a server which says nothing, and drops it.
async fn drop_half_way<T>(work: impl Future<Output = T>) {
    assert!(timeout(A_MOMENT, work).await.is_err(), "there was nothing to wait for");
}

async fn assert_poisoned(connection: &mut Connection) {
    // At once: a question to a server that says nothing would not come back.
    for _ in 0..2 {
        let error = soon(again(connection)).await.unwrap_err();
        assert_eq!(kind(&error), Kind::Poisoned, "{error}");
        connection.queue_query("SELECT 'behind its back'");
        let error = soon(connection.result()).await.unwrap_err();
        assert_eq!(kind(&error), Kind::Poisoned, "{error}");
    }
}

/// In a state, drops what was asked, and the server goes on as if it had not been.
async fn drop_in(state: State) {
    let listener = Listener::unix();
    let config = listener.config(state.settings);
    let (reached, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let serving = async {
        let mut peer = listener.accept().await;
        peer.say(STARTS).await;
        peer.say(state.lead).await;
        reached.notify_one();
        dropped.notified().await;
        if peer.play(state.rest).await.is_ok() {
            peer.oblige().await;
        }
    };
    let drop_it = async {
        reached.notified().await;
        tokio::time::sleep(A_MOMENT).await;
        dropped.notify_one();
    };
    let client = Box::pin(run(state.op, &config, drop_it));
    let ((), Outcome { again, .. }) = soon(async { tokio::join!(serving, client) }).await;
    let error = again.unwrap().unwrap_err();
    assert_eq!(kind(&error), Kind::Poisoned, "{}: {error}", state.name);
}

#[tokio::test]
async fn a_request_that_is_dropped_in_any_state_poisons_its_connection() {
    let mut drops = JoinSet::new();
    for state in [states::query(), states::extended(), states::copy()].into_iter().flatten() {
        drops.spawn(drop_in(state));
    }
    drops.join_all().await;
}

#[tokio::test]
async fn a_queued_result_that_is_dropped_takes_the_others_with_it() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("SELECT 1");
    connection.queue_query("SELECT 2");
    drop_half_way(connection.result()).await;
    peer.say("> Q Q < C Z C Z").await;
    assert_poisoned(&mut connection).await;
}

#[tokio::test]
async fn an_answer_that_is_not_owed_is_not_waited_for() {
    let listener = Listener::unix();
    let (mut connection, _peer) = session(&listener).await;
    for error in [
        soon(connection.result()).await.unwrap_err(),
        soon(connection.copy_in()).await.unwrap_err(),
        soon(connection.copy_out()).await.unwrap_err(),
    ] {
        assert_eq!(kind(&error), Kind::NothingAsked, "{error}");
    }
}

#[tokio::test]
async fn a_copy_out_that_is_left_alone_poisons_its_connection() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t TO STDOUT");
    let (copy, ()) = tokio::join!(connection.copy_out(), peer.say("> Q < H d d c C Z"));
    assert!(copy.unwrap().next().await.unwrap().is_some());
    assert_poisoned(&mut connection).await;
}

#[tokio::test]
async fn a_copy_out_goes_on_after_a_wait_that_was_dropped() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t TO STDOUT");
    let (copy, ()) = tokio::join!(connection.copy_out(), peer.say("> Q < H"));
    let mut copy = copy.unwrap();
    let rows = [named("d"), named("d"), named("c")].concat();
    for byte in rows {
        drop_half_way(copy.next()).await;
        peer.send(&[byte]).await.unwrap();
        if byte == b'\n' {
            assert_eq!(soon(copy.next()).await.unwrap().unwrap(), named("d"));
        }
    }
    assert_eq!(soon(copy.next()).await.unwrap(), None);
    peer.say("< C Z").await;
    assert_eq!(soon(copy.finish()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_copy_in_that_is_left_alone_poisons_its_connection() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t FROM STDIN");
    let (copy, ()) = tokio::join!(connection.copy_in(), peer.say("> Q < G"));
    soon(copy.unwrap().forward(&named("d"))).await.unwrap();
    assert_poisoned(&mut connection).await;
    // What was sent must not be taken for all of it, and nothing is asked behind it.
    let closed = soon(async { tokio::join!(connection.close(), peer.say("> f X")) });
    closed.await;
}

/// More than the sockets between us and a server take that does not read.
fn much() -> Vec<u8> {
    message(b'd', &vec![b'x'; 30_000]).repeat(300)
}

#[tokio::test]
async fn a_part_of_the_data_is_never_taken_for_all_of_it() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t FROM STDIN");
    let (copy, ()) = tokio::join!(connection.copy_in(), peer.say("> Q < G"));
    let mut copy = copy.unwrap();
    drop_half_way(copy.forward(&much())).await;
    assert!(matches!(soon(copy.forward(&named("d"))).await, Err(Error::Poisoned)));
    assert!(matches!(soon(copy.finish()).await, Err(Error::Poisoned)));
    assert_poisoned(&mut connection).await;
}

#[tokio::test]
async fn a_copy_in_that_was_dropped_half_way_can_still_be_undone() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t FROM STDIN");
    let (copy, ()) = tokio::join!(connection.copy_in(), peer.say("> Q < G"));
    let mut copy = copy.unwrap();
    drop_half_way(copy.forward(&much())).await;
    let undone = async {
        let (undone, ()) = tokio::join!(copy.fail("dropped"), peer.say("> f < E Z"));
        undone
    };
    soon(undone).await.unwrap();
    let (asked, ()) = tokio::join!(again(&mut connection), peer.say("> Q < C Z"));
    asked.unwrap();
}

#[tokio::test]
async fn a_copy_in_that_was_refused_needs_no_undoing() {
    let listener = Listener::unix();
    let (mut connection, mut peer) = session(&listener).await;
    connection.queue_query("COPY t FROM STDIN");
    let (copy, ()) = tokio::join!(connection.copy_in(), peer.say("> Q < G E Z"));
    let mut copy = copy.unwrap();
    let error = soon(copy.forward(&much()[..600_000])).await.unwrap_err();
    assert_eq!(kind(&error), Kind::Server, "{error}");
    soon(copy.fail("too late")).await.unwrap();
    let next = async { peer.oblige().await };
    tokio::select! {
        asked = again(&mut connection) => asked.unwrap(),
        () = next => panic!("the client went away"),
    }
}

#[tokio::test]
async fn a_pipeline_goes_on_after_every_byte() {
    let listener = Listener::unix();
    let (connection, mut peer) = session(&listener).await;
    let mut pipeline = queued(connection);
    pipeline.sync();
    for (reply, completes) in
        [("1", false), ("2", false), ("D", false), ("N", false), ("C", true), ("Z", true)]
    {
        for byte in named(reply) {
            drop_half_way(pipeline.completed()).await;
            peer.send(&[byte]).await.unwrap();
        }
        if completes {
            let rows = soon(pipeline.completed()).await.unwrap();
            assert_eq!(rows, u64::from(reply == "C"));
        }
    }
    let (closed, ()) = tokio::join!(pipeline.close(), peer.say("> P B E S S < Z"));
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_stream_goes_on_after_every_byte() {
    let listener = Listener::unix();
    let (connection, mut peer) = session(&listener).await;
    let copy = connection.copy_both("START_REPLICATION");
    let (copy, ()) = tokio::join!(copy, peer.say("> Q < W"));
    let mut copy = copy.unwrap();
    for message in ["d", "N", "d", "S", "d"] {
        for byte in named(message) {
            drop_half_way(copy.frames()).await;
            peer.send(&[byte]).await.unwrap();
        }
        if message == "d" {
            assert_eq!(soon(copy.frames()).await.unwrap(), named("d"));
        }
    }
    let (closed, ()) = tokio::join!(copy.close(), peer.say("> c < c C C Z"));
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_stream_tells_its_error_to_whoever_asks_next() {
    let listener = Listener::unix();
    let (connection, mut peer) = session(&listener).await;
    let copy = connection.copy_both("START_REPLICATION");
    let (copy, ()) = tokio::join!(copy, peer.say("> Q < W E"));
    let mut copy = copy.unwrap();
    // The one who waits for ReadyForQuery is dropped.
    drop_half_way(copy.frames()).await;
    for _ in 0..2 {
        assert_eq!(kind(&soon(copy.frames()).await.unwrap_err()), Kind::Server);
    }
    peer.say("< Z").await;
    assert_eq!(kind(&soon(copy.close()).await.unwrap_err()), Kind::Server);
}

#[tokio::test]
async fn a_warning_ends_a_stream_and_not_its_connection() {
    let listener = Listener::unix();
    let (connection, mut peer) = session(&listener).await;
    let copy = connection.copy_both("START_REPLICATION");
    let (copy, ()) = tokio::join!(copy, peer.say("> Q < W WARNING"));
    let mut copy = copy.unwrap();
    assert_eq!(kind(&soon(copy.frames()).await.unwrap_err()), Kind::Server);
    let (closed, ()) = tokio::join!(copy.close(), peer.say("> c < c C Z"));
    let (asked, ()) = tokio::join!(async { again(&mut closed?).await }, peer.say("> Q < C Z"));
    asked.unwrap();
}
