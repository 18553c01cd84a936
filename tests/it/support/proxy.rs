//! A proxy before a server, by which connections are cut, lost, held and delayed while they are in use.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
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
    /// The first piece from the server begins with another byte than was sent, once, on a connection
    /// of this number or a later one.
    damages: AtomicU64,
    /// Bytes of the server's that the client has been sent.
    brought: AtomicU64,
}

/// A proxy. Gone with the test.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Where new connections go.
    server: Arc<AtomicU16>,
    harm: Arc<Harm>,
    /// Connections that began before this number are to be closed.
    cut: watch::Sender<u64>,
    /// And those before this one to be lost.
    lost: watch::Sender<u64>,
    /// Those before this one that are lost are cleared away.
    cleared: watch::Sender<u64>,
    /// How many connections there have been.
    count: Arc<AtomicU64>,
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
            damages: AtomicU64::new(u64::MAX),
            brought: AtomicU64::new(0),
        });
        let (cut, cuts) = watch::channel(0);
        let (lost, losses) = watch::channel(0);
        let (cleared, clearings) = watch::channel(0);
        let server = Arc::new(AtomicU16::new(server));
        let (of_task, leads_to) = (harm.clone(), server.clone());
        let count = Arc::new(AtomicU64::new(0));
        let counts = count.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (harm, mut cuts, mut losses) = (of_task.clone(), cuts.clone(), losses.clone());
                let now = (*cuts.borrow_and_update(), *losses.borrow_and_update());
                let server = leads_to.load(Ordering::Relaxed);
                let mut clearings = clearings.clone();
                let number = counts.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // A server that is down closes what is asked of it.
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    tokio::select! {
                        () = between(&mut client, &mut server, number, &harm) => return,
                        _ = cuts.wait_for(|cut| *cut > now.0) => return,
                        Ok(_) = losses.wait_for(|lost| *lost > now.1) => {}
                    }
                    drop(server);
                    lose(&client);
                    let _ = clearings.wait_for(|cleared| *cleared > now.1).await;
                    // Without a farewell, for which it would stay and wait.
                    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                });
            }
        });
        Self { port, server, harm, cut, lost, cleared, count, task }
    }

    /// Loses every connection as a network does that is gone: whatever the client sends is not even
    /// acknowledged, and nothing closes. New ones get through.
    ///
    /// The server has noticed, and ended its sessions.
    pub(crate) fn lose(&self) {
        self.lost.send_modify(|lost| *lost += 1);
    }

    /// Has new connections go to another server.
    pub(crate) fn lead_to(&self, port: u16) {
        self.server.store(port, Ordering::Relaxed);
    }

    /// Clears away what was lost. As long as it is there, a new connection that happens to come from
    /// the same port is lost too.
    pub(crate) fn clear(&self) {
        self.cleared.send_replace(*self.lost.borrow());
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

    /// Damages the first byte that the server sends on the next connection that begins. (On one that is
    /// there it might be a watch's, which goes on by another one and says nothing.)
    pub(crate) fn damage(&self) {
        self.harm.damages.store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// How many bytes of the server's have been passed on so far.
    pub(crate) fn brought(&self) -> u64 {
        self.harm.brought.load(Ordering::Relaxed)
    }

    /// Every piece comes late.
    pub(crate) fn delay(&self, milliseconds: u64) {
        self.harm.delay.store(milliseconds, Ordering::Relaxed);
    }
}

/// Has the system drop the packets of a connection before it looks at them.
fn lose(client: &TcpStream) {
    #[cfg(target_os = "linux")]
    {
        // A packet filter's `ret #0`, which takes nothing.
        let nothing = socket2::SockFilter::new(0x06, 0, 0, 0);
        socket2::SockRef::from(client).attach_filter(&[nothing]).unwrap();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = client;
}

async fn between(client: &mut TcpStream, server: &mut TcpStream, number: u64, harm: &Harm) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pass(from_client, to_server, harm, None) => {}
        () = pass(from_server, to_client, harm, Some(number)) => {}
    }
}

/// Passes on what comes; `server` is the number of the connection if it comes from there.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, harm: &Harm, server: Option<u64>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..n];
        if n > 0
            && server.is_some_and(|number| number >= harm.damages.load(Ordering::Relaxed))
            && harm.damages.swap(u64::MAX, Ordering::Relaxed) != u64::MAX
        {
            bytes[0] = !bytes[0];
        }
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
        if server.is_some() {
            harm.brought.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}
