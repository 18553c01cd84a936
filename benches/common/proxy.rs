//! A network with a delay: connections are passed on, each byte so much later than it came.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How much may be on its way in one direction: what a gigabit brings in 40 ms, and more than
/// any delay measured here needs.
const ON_ITS_WAY_MAX: usize = 512;
const PIECE_BYTES: usize = 64 * 1024;

/// Listens on a port of its own, passes connections on to `port` of this machine, and delays each
/// direction. Gives its port.
pub(crate) async fn start(port: u16, delay: Duration) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let own = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await?;
                client.set_nodelay(true)?;
                server.set_nodelay(true)?;
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass_on(from_client, to_server, delay));
                tokio::spawn(pass_on(from_server, to_client, delay));
                io::Result::Ok(())
            });
        }
    });
    Ok(own)
}

async fn pass_on(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin + Send + 'static,
    delay: Duration,
) {
    let (put, mut take) = mpsc::channel::<(Instant, Vec<u8>)>(ON_ITS_WAY_MAX);
    tokio::spawn(async move {
        while let Some((due, piece)) = take.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    });
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if put.send((Instant::now() + delay, buffer[..n].to_vec())).await.is_err() {
            break;
        }
    }
}
