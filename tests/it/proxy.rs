//! A proxy before a server, by which connections are cut, held and delayed while they are in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// How long bytes wait at a time while they are held.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is done to all connections.
#[derive(Debug)]
struct Harm {
    /// Nothing passes, and nothing is closed.
    holds: AtomicBool,
    /// How many more bytes pass before that.
    passes: AtomicI64,
    /// So many milliseconds late.
    delay: AtomicU64,
}

/// A proxy. Gone with the test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    harm: Arc<Harm>,
    /// Connections that began before this number are to be closed.
    cut: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let harm = Arc::new(Harm {
            holds: AtomicBool::new(false),
            passes: AtomicI64::new(i64::MAX),
            delay: AtomicU64::new(0),
        });
        let (cut, cuts) = watch::channel(0);
        let of_task = harm.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (harm, mut cuts) = (of_task.clone(), cuts.clone());
                let now = *cuts.borrow_and_update();
                tokio::spawn(async move {
                    // A server that is down closes what is asked of it.
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    tokio::select! {
                        () = between(client, server, &harm) => {}
                        _ = cuts.wait_for(|cut| *cut > now) => {}
                    }
                });
            }
        });
        Self { port, harm, cut, task }
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cut| *cut += 1);
    }

    /// Lets nothing pass any more, or lets it again.
    pub(crate) fn hold(&self, holds: bool) {
        self.harm.passes.store(i64::MAX, Ordering::Relaxed);
        self.harm.holds.store(holds, Ordering::Relaxed);
    }

    /// Lets nothing pass any more, once so many bytes have.
    pub(crate) fn hold_after(&self, bytes: i64) {
        self.harm.passes.store(bytes, Ordering::Relaxed);
    }

    /// Every piece comes late.
    pub(crate) fn delay(&self, milliseconds: u64) {
        self.harm.delay.store(milliseconds, Ordering::Relaxed);
    }
}

async fn between(client: TcpStream, server: TcpStream, harm: &Harm) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, harm) => {}
        () = pass(from_server, to_client, harm) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, harm: &Harm) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..n];
        let passed = i64::try_from(n).unwrap();
        if harm.passes.fetch_sub(passed, Ordering::Relaxed) < passed {
            harm.holds.store(true, Ordering::Relaxed);
        }
        while harm.holds.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let delay = harm.delay.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if n == 0 || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
