//! Whether a session's settings hold: asked once, behind the first ReadyForQuery, and what follows.

use pghost::conn::{Connection, Error, PoolerError};

use super::{
    backend::message,
    client::again,
    server::{Listener, Peer, STARTS, make_sure, soon},
    walk::{Kind, assert_discreet, kind},
};

/// The process that the scripts' cancel key names.
const PID: &str = "7";

/// Rows of text; `None` is NULL.
fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Vec<u8> {
    let count = u16::try_from(columns.len()).unwrap().to_be_bytes();
    let column = |name: &&str| {
        [name.as_bytes(), &[0; 7], b"\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"].concat()
    };
    let shape: Vec<_> = columns.iter().flat_map(column).collect();
    let mut bytes = message(b'T', &[&count[..], &shape].concat());
    for row in rows {
        let value = |value: &Option<&str>| match value {
            None => (-1_i32).to_be_bytes().to_vec(),
            Some(text) => {
                let length = i32::try_from(text.len()).unwrap();
                [&length.to_be_bytes()[..], text.as_bytes()].concat()
            }
        };
        let values: Vec<_> = row.iter().flat_map(value).collect();
        bytes.extend(message(b'D', &[&count[..], &values].concat()));
    }
    bytes
}

/// What a session says of itself: its process, and settings that are not as wanted.
async fn tell(peer: &mut Peer, pid: &str, wrong: &[[&str; 3]]) {
    let columns = ["pid", "backend_type", "name", "wanted", "value"];
    let told: Vec<Vec<_>> = match wrong {
        [] => vec![vec![Some(pid), None, None, None, None]],
        all => all
            .iter()
            .map(|[name, wanted, value]| {
                vec![Some(pid), None, Some(*name), Some(*wanted), Some(*value)]
            })
            .collect(),
    };
    let told: Vec<_> = told.iter().map(Vec::as_slice).collect();
    peer.play("> Q").await.unwrap();
    peer.put(&rows(&columns, &told));
    peer.say("< C Z").await;
}

/// Connects to a server that plays its part by itself.
async fn made_sure(
    settings: &str,
    serve: impl AsyncFnOnce(&Listener),
) -> Result<Connection, Error> {
    let listener = Listener::unix();
    let config = listener.config(settings);
    let connecting = make_sure(&config);
    let ((), connected) = soon(async { tokio::join!(serve(&listener), connecting) }).await;
    connected.inspect_err(assert_discreet)
}

async fn begin(listener: &Listener) -> Peer {
    let mut peer = listener.accept().await;
    peer.say(STARTS).await;
    peer
}

#[tokio::test]
async fn a_session_whose_settings_hold_is_asked_once() {
    let connected = made_sure("", async |listener| {
        let mut peer = begin(listener).await;
        tell(&mut peer, PID, &[]).await;
        tokio::spawn(async move { peer.oblige().await });
    });
    let mut connection = connected.await.unwrap();
    assert_eq!(connection.process_id(), 7);
    again(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_setting_that_was_dropped_is_named_with_its_value() {
    let failed = made_sure("", async |listener| {
        let mut peer = begin(listener).await;
        tell(&mut peer, PID, &[["extra_float_digits", "3", "-5"]]).await;
        peer.eof().await;
    });
    let error = failed.await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::SettingDropped { .. }), "{text}");
    assert!(text.contains("extra_float_digits") && text.contains("'-5'"), "{text}");
}

/// What only a superuser may set stands in no startup packet.
#[tokio::test]
async fn what_was_not_given_is_set_and_asked_for_again() {
    let wrong = ["session_replication_role", "origin", "replica"];
    for holds in [true, false] {
        let connected = made_sure("", async |listener| {
            let mut peer = begin(listener).await;
            tell(&mut peer, PID, &[wrong]).await;
            peer.say("> Q < T D C Z").await;
            let still: &[_] = if holds { &[] } else { &[wrong] };
            tell(&mut peer, PID, still).await;
            if !holds {
                peer.eof().await;
            }
        });
        match connected.await {
            Ok(_) => assert!(holds),
            Err(Error::SettingDropped { name, .. }) if !holds => assert_eq!(name, wrong[0]),
            Err(other) => panic!("{other}"),
        }
    }
    let denied = b"SERROR\0VERROR\0C42501\0Mpermission denied to set parameter\0\0";
    let failed = made_sure("", async |listener| {
        let mut peer = begin(listener).await;
        tell(&mut peer, PID, &[wrong]).await;
        peer.play("> Q").await.unwrap();
        peer.put(&message(b'E', denied));
        peer.say("< Z").await;
        peer.eof().await;
    });
    let error = failed.await.unwrap_err();
    assert!(matches!(error, Error::SettingForbidden { .. }), "{error}");
    assert!(error.to_string().contains("session_replication_role"), "{error}");
}

/// A pooler gives the second session the process of the first, or a session another one.
#[tokio::test]
async fn a_pooler_that_shares_processes_is_recognised() {
    // What the first session says in its turns, and the second one.
    for (mine, theirs) in
        [(["8", "8"], ["8", "8"]), (["8", "9"], ["9", "8"]), (["8", "8"], ["9", "10"])]
    {
        let failed = made_sure("", async |listener| {
            let mut first = begin(listener).await;
            tell(&mut first, "8", &[]).await;
            let mut second = begin(listener).await;
            turn(&mut second, theirs[0]).await;
            for (mine, theirs) in mine.into_iter().zip(theirs) {
                if turn(&mut first, mine).await.is_none()
                    || turn(&mut second, theirs).await.is_none()
                {
                    break;
                }
            }
        });
        let error = failed.await.unwrap_err();
        let is_right = matches!(error, Error::Pooler(PoolerError::Transaction));
        assert!(is_right, "{mine:?} {theirs:?}: {error}");
    }
}

/// A transaction in which a session tells its process; `None` once nobody asks any more.
async fn turn(peer: &mut Peer, pid: &str) -> Option<()> {
    peer.play("> Q < C Z").await.ok()?;
    peer.play("> Q").await.ok()?;
    peer.put(&rows(&["pid"], &[&[Some(pid)]]));
    peer.play("< C Z > Q < C Z").await.ok()?;
    peer.flush().await.ok()
}

#[tokio::test]
async fn silence_errors_and_the_end_in_place_of_an_answer_are_told() {
    for (script, wanted) in [
        ("> Q", Kind::ConnectTimeout),
        ("> Q < T D", Kind::ConnectTimeout),
        ("> Q < E Z", Kind::Server),
        ("> Q < C Z", Kind::Other),
        ("> Q < T D C Z", Kind::Other),
        ("> Q < K", Kind::Unexpected),
    ] {
        let failed = made_sure("connect_timeout=2", async |listener| {
            let mut peer = begin(listener).await;
            peer.say(script).await;
            peer.eof().await;
        });
        let error = failed.await.unwrap_err();
        assert_eq!(kind(&error), wanted, "{script}: {error}");
    }
    let failed = made_sure("", async |listener| drop(begin(listener).await));
    assert_eq!(kind(&failed.await.unwrap_err()), Kind::Closed);
}
