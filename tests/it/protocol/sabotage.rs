//! A proxy between us and a real server that splits, delays, cuts and corrupts: whatever it does,
//! what we get is the server's answer or a typed error in time, and never a password in it.

use std::{net::SocketAddr, time::Duration};

use pghost::{
    config::Config,
    conn::{Connection, Error, SessionKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::support::{
    login_servers::{PASSWORD, Secure, assert_no_password, settings},
    some_releases,
};

/// `connect_timeout` of all that follows, in seconds.
const CONNECT_TIMEOUT: u64 = 1;
/// What is not over by then hangs: thousands of bytes that come one by one, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which of the two streams is meddled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    FromServer,
    FromClient,
}

/// What is done to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Every byte travels alone.
    Split,
    /// Each piece of seven bytes comes a little late.
    Delay,
    /// After this many bytes the connection is closed.
    Cut(usize),
    /// After this many bytes nothing comes any more, and nothing is closed.
    Silence(usize),
    /// The byte at this place has its bits turned.
    Corrupt(usize),
}

/// A proxy to one server, which meddles with each connection in the same way.
struct Saboteur {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Saboteur {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Saboteur {
    async fn start(port: u16, side: Side, harm: Harm) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(between(client, server, side, harm));
            }
        });
        Self { address, task }
    }
}

async fn between(client: TcpStream, server: TcpStream, side: Side, harm: Harm) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let harm_of = |here| (here == side).then_some(harm);
    tokio::select! {
        () = pass(from_client, to_server, harm_of(Side::FromClient)) => {}
        () = pass(from_server, to_client, harm_of(Side::FromServer)) => {}
    }
}

/// Passes bytes on until one end closes, or the harm is to.
async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, harm: Option<Harm>) {
    let mut passed = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = match from.read(&mut buffer).await {
            Ok(n) if n > 0 => n,
            _ => return,
        };
        let bytes = &mut buffer[..n];
        let sent = match harm {
            None => to.write_all(bytes).await,
            Some(Harm::Split) => in_pieces(&mut to, bytes, 1, Duration::ZERO).await,
            Some(Harm::Delay) => in_pieces(&mut to, bytes, 7, Duration::from_micros(200)).await,
            Some(Harm::Cut(at)) if passed + n >= at => {
                let _ = to.write_all(&bytes[..at - passed]).await;
                return;
            }
            Some(Harm::Silence(at)) if passed + n >= at => {
                let _ = to.write_all(&bytes[..at - passed]).await;
                return std::future::pending().await;
            }
            Some(Harm::Corrupt(at)) => {
                if let Some(byte) = at.checked_sub(passed).and_then(|at| bytes.get_mut(at)) {
                    *byte = !*byte;
                }
                to.write_all(bytes).await
            }
            Some(Harm::Cut(_) | Harm::Silence(_)) => to.write_all(bytes).await,
        };
        if sent.is_err() {
            return;
        }
        passed += n;
    }
}

async fn in_pieces(
    to: &mut tcp::OwnedWriteHalf,
    bytes: &[u8],
    size: usize,
    wait: Duration,
) -> std::io::Result<()> {
    for piece in bytes.chunks(size) {
        to.write_all(piece).await?;
        if wait.is_zero() {
            // Leaves the kernel, so that the other end really reads it alone.
            tokio::task::yield_now().await;
        } else {
            sleep(wait).await;
        }
    }
    Ok(())
}

/// Logs in, asks, copies out and in, and says goodbye.
async fn session(config: &Config) -> Result<u64, Error> {
    let mut connection = Connection::connect(config, SessionKind::Sql).await?;
    connection.query("SELECT 1; SELECT 2").await?;
    connection.query_with("SELECT $1::text", &[Some("x")]).await?;
    connection.query("CREATE TEMPORARY TABLE t (a int)").await?;
    connection.queue_query("COPY (SELECT generate_series(1, 200)) TO STDOUT");
    let mut out = connection.copy_out().await?;
    let mut rows = Vec::new();
    while let Some(frames) = out.next().await? {
        rows.extend_from_slice(&frames);
    }
    out.finish().await?;
    connection.queue_query("COPY t FROM STDIN");
    let mut copy = connection.copy_in().await?;
    copy.forward(&rows).await?;
    let copied = copy.finish().await?;
    connection.close().await;
    Ok(copied)
}

/// A session through a saboteur; `None` if it went silent in a session, where no timeout is set.
async fn sabotaged(
    secure: &Secure,
    more: &str,
    side: Side,
    harm: Harm,
) -> Option<Result<u64, Error>> {
    let saboteur = Saboteur::start(secure.server.port(), side, harm).await;
    let port = saboteur.address.port();
    let root = &secure.root;
    let is_silent = matches!(harm, Harm::Silence(_));
    let limit = if is_silent { CONNECT_TIMEOUT } else { PATIENCE.as_secs() };
    let config = settings(&format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user=u_scram dbname=either \
         password={PASSWORD} sslrootcert={root} connect_timeout={limit} {more}"
    ));
    let patience = if is_silent { Duration::from_secs(CONNECT_TIMEOUT) * 10 } else { PATIENCE };
    let Ok(result) = timeout(patience, session(&config)).await else {
        assert!(is_silent, "{more} {side:?} {harm:?} hangs");
        return None;
    };
    if let Err(error) = &result {
        assert_no_password(error);
    }
    Some(result)
}

const MODES: [&str; 2] = ["sslmode=disable", "sslmode=verify-full"];

#[tokio::test]
async fn bytes_that_come_one_by_one_or_late_change_nothing() {
    for binaries in some_releases() {
        let secure = Secure::start(&binaries, &[]).await;
        for mode in MODES {
            for side in [Side::FromServer, Side::FromClient] {
                for harm in [Harm::Split, Harm::Delay] {
                    let ended = sabotaged(&secure, mode, side, harm).await;
                    assert_eq!(ended.unwrap().unwrap(), 200, "{mode} {side:?} {harm:?}");
                }
            }
        }
    }
}

/// Places in a stream: each of the first, where every byte has a meaning of its own, then fewer.
fn places() -> impl Iterator<Item = usize> {
    (0..24).chain((24..400).step_by(17)).chain((400..6000).step_by(391))
}

#[tokio::test]
async fn a_connection_that_is_cut_anywhere_is_an_error_at_once() {
    for binaries in some_releases() {
        let secure = Secure::start(&binaries, &[]).await;
        for mode in MODES {
            for side in [Side::FromServer, Side::FromClient] {
                let mut failed = 0;
                for at in places() {
                    // Whole, if there are fewer bytes than that.
                    match sabotaged(&secure, mode, side, Harm::Cut(at)).await.unwrap() {
                        Ok(rows) => assert_eq!(rows, 200),
                        Err(error) => {
                            failed += 1;
                            assert!(is_about_the_connection(&error), "{mode} {at}: {error:?}");
                        }
                    }
                }
                assert!(failed > 24, "{mode} {side:?} {failed}");
            }
        }
    }
}

fn is_about_the_connection(error: &Error) -> bool {
    matches!(
        error,
        Error::Closed
            | Error::Io(_)
            | Error::Tls(_)
            | Error::Unreachable { .. }
            | Error::BothWays { .. }
    )
}

#[tokio::test]
async fn silence_while_connecting_ends_with_the_timeout() {
    for binaries in some_releases().into_iter().take(1) {
        let secure = Secure::start(&binaries, &[]).await;
        for mode in MODES {
            for (side, at) in [
                (Side::FromServer, 0),
                (Side::FromServer, 1),
                (Side::FromServer, 9),
                (Side::FromClient, 0),
                (Side::FromClient, 60),
            ] {
                let ended = sabotaged(&secure, mode, side, Harm::Silence(at)).await;
                let error = ended.expect("it hangs").unwrap_err();
                assert!(
                    matches!(error, Error::ConnectTimeout { seconds: CONNECT_TIMEOUT, .. }),
                    "{mode} {error:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_corrupted_byte_is_never_a_panic_and_under_tls_never_goes_unnoticed() {
    for binaries in some_releases() {
        let secure = Secure::start(&binaries, &[]).await;
        for mode in MODES {
            for side in [Side::FromServer, Side::FromClient] {
                for at in places().step_by(5) {
                    let ended = sabotaged_briefly(&secure, mode, side, Harm::Corrupt(at)).await;
                    // Before it come SSLRequest and its answer, and the version in the first
                    // record's header, which nobody reads.
                    let is_in_tls = mode != "sslmode=disable" && at >= 16;
                    if let (true, Some(Ok(rows))) = (is_in_tls, ended) {
                        // Beyond the last byte nothing was corrupted.
                        assert!(at > 1000, "{side:?} {at}: {rows} rows");
                    }
                }
            }
        }
    }
}

/// As [`sabotaged`], for harm after which either side may wait for more bytes than there are: in a
/// session only TCP's keepalive would end that.
async fn sabotaged_briefly(
    secure: &Secure,
    mode: &str,
    side: Side,
    harm: Harm,
) -> Option<Result<u64, Error>> {
    let limit = Duration::from_secs(CONNECT_TIMEOUT) + Duration::from_millis(200);
    timeout(limit, sabotaged(secure, mode, side, harm)).await.ok().flatten()
}
