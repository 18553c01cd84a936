//! The server: a socket, and a script that it plays to whoever connects.
//!
//! A script is read from left to right. After `>` stand the messages that are waited for, by their
//! tags (`startup` for the one that has none, `eof` for the end); after `<` those that are sent, by
//! the names of `backend`. What is sent leaves in one piece. `R11*` and `R12*` are SCRAM's, computed
//! from what the client has said.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use pghost::{
    config::{Config, Surroundings},
    conn::{Connection, Error, SessionKind},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    time::timeout,
};

use super::{backend::named, scram::Scram};

/// The password of every session: no text may ever show it.
pub(crate) const PASSWORD: &str = "gR8-unheard-of";

/// How long anything may take before it counts as hanging.
pub(crate) const HANGS: Duration = Duration::from_mins(3);

/// Where clients connect to.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Listens on a port of this machine.
    pub(crate) async fn tcp() -> Self {
        Self::Tcp(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Listens on a unix socket in a directory of its own.
    pub(crate) fn unix() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("ghost-{}-{count}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let listener = UnixListener::bind(directory.join(".s.PGSQL.5432")).unwrap();
        Self::Unix(listener, directory)
    }

    /// Settings that lead here, with more of them in `extra`. The machine's own don't count.
    pub(crate) fn config(&self, extra: &str) -> Config {
        let place = match self {
            Self::Tcp(listener) => {
                format!("host=127.0.0.1 port={}", listener.local_addr().unwrap().port())
            }
            Self::Unix(_, directory) => format!("host={} port=5432", directory.display()),
        };
        let surroundings = Surroundings {
            env: &|_| None,
            read_file: &|_| Err(io::ErrorKind::NotFound.into()),
            exists: &|_| false,
            os_user: None,
            home: None,
        };
        // Of two settings of one name the last one counts.
        let dsn = format!("{place} user=ann dbname=d password={PASSWORD} sslmode=disable {extra}");
        Config::parse(&dsn, &surroundings).unwrap()
    }

    /// Waits for the next client.
    pub(crate) async fn accept(&self) -> Peer {
        let stream: Box<dyn Stream> = match self {
            Self::Tcp(listener) => Box::new(listener.accept().await.unwrap().0),
            Self::Unix(listener, _) => Box::new(listener.accept().await.unwrap().0),
        };
        Peer { stream, outbound: Vec::new(), scram: Scram::default() }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, directory) = self {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// A client that has connected.
pub(crate) struct Peer {
    stream: Box<dyn Stream>,
    outbound: Vec<u8>,
    scram: Scram,
}

/// The client is gone.
#[derive(Debug)]
pub(crate) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Peer {
    /// Plays a script. What is to be sent at its end waits for the next script, or for a
    /// [`Peer::flush`].
    pub(crate) async fn play(&mut self, script: &str) -> Result<(), Gone> {
        let mut sends = false;
        for word in script.split_ascii_whitespace() {
            match word {
                "<" | ">" => sends = word == "<",
                "R11*" => self.outbound.extend(self.scram.continues()),
                "R12*" => self.outbound.extend(self.scram.proves()),
                name if sends => self.outbound.extend(named(name)),
                "startup" => drop(self.untagged().await?),
                "eof" => self.eof().await,
                tag => drop(self.expect(tag.as_bytes()[0]).await?),
            }
        }
        Ok(())
    }

    /// Plays a script to its last byte.
    pub(crate) async fn say(&mut self, script: &str) {
        self.play(script).await.unwrap();
        self.flush().await.unwrap();
    }

    /// Puts bytes behind what is to be sent.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.outbound.extend_from_slice(bytes);
    }

    /// Sends what was put.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        self.stream.write_all(&std::mem::take(&mut self.outbound)).await?;
        Ok(())
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.put(bytes);
        self.flush().await
    }

    /// The body of a message without a tag.
    pub(crate) async fn untagged(&mut self) -> Result<Vec<u8>, Gone> {
        self.flush().await?;
        let length = usize::try_from(self.stream.read_i32().await?).unwrap();
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).await?;
        Ok(body)
    }

    /// The next message, whatever it is.
    pub(crate) async fn message(&mut self) -> Result<(u8, Vec<u8>), Gone> {
        self.flush().await?;
        let tag = self.stream.read_u8().await?;
        let body = self.untagged().await?;
        if tag == b'p' {
            self.scram.hear(&body);
        }
        Ok((tag, body))
    }

    /// The body of the next message, which must be of this kind. CopyData may stand before the end
    /// of it.
    pub(crate) async fn expect(&mut self, tag: u8) -> Result<Vec<u8>, Gone> {
        loop {
            let (got, body) = self.message().await?;
            if got == tag {
                return Ok(body);
            }
            let passes = got == b'd' && matches!(tag, b'c' | b'f');
            assert!(passes, "{} was to come, {} came", char::from(tag), char::from(got));
        }
    }

    /// Reads up to the end.
    pub(crate) async fn eof(&mut self) {
        while self.message().await.is_ok() {}
    }

    /// Takes whatever comes, be it no message at all, up to the end.
    pub(crate) async fn drain(&mut self) {
        let _ = self.stream.read_to_end(&mut Vec::new()).await;
    }

    /// From now on answers whatever is asked, as a server would in a session that is in order.
    pub(crate) async fn oblige(&mut self) {
        while let Ok((tag, _)) = self.message().await {
            match tag {
                b'Q' => self.put(&[named("C"), named("Z")].concat()),
                b'S' => self.put(&named("Z")),
                _ => {}
            }
        }
    }
}

/// The script of a session's start.
pub(crate) const STARTS: &str = "> startup < R0 S K Z";

/// Connects, and no more. Starting a session is a large state of its own, kept apart from what waits for it.
pub(crate) fn connect(
    config: &Config,
) -> Pin<Box<impl Future<Output = Result<Connection, Error>> + use<'_>>> {
    Box::pin(Connection::open(config, SessionKind::Sql))
}

/// The same with a look at the settings.
pub(crate) fn make_sure(
    config: &Config,
) -> Pin<Box<impl Future<Output = Result<Connection, Error>> + use<'_>>> {
    Box::pin(Connection::connect(config, SessionKind::Sql))
}

/// A session that is ready: both ends of it.
pub(crate) async fn session(listener: &Listener) -> (Connection, Peer) {
    session_with(listener, "", STARTS).await
}

/// The same with settings and another start.
pub(crate) async fn session_with(
    listener: &Listener,
    settings: &str,
    start: &str,
) -> (Connection, Peer) {
    let config = listener.config(settings);
    let serving = async {
        let mut peer = listener.accept().await;
        peer.say(start).await;
        peer
    };
    let (connection, peer) = tokio::join!(connect(&config), serving);
    (connection.unwrap(), peer)
}

/// The result of work that must not hang.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(HANGS, work).await.expect("this hangs")
}
