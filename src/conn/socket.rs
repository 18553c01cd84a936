//! TCP, unix sockets and TLS behind one read and one write.

use std::{
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    os::unix::ffi::OsStringExt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, UnixStream, lookup_host},
};
use tokio_rustls::client::TlsStream;

use crate::config::{Config, Host, HostAddress};

/// TCP's keepalive where the settings don't say: a network that is gone without a word is noticed
/// within a minute, where the system's own two hours would hold a run up.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;
/// How long what was sent may stay unacknowledged, or the other end take nothing, where the
/// settings don't say.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_mins(2);

/// Where a socket can be opened: what a host's name was resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Over the network.
    Tcp(SocketAddr),
    /// A socket's name, as the system spells it.
    Unix(OsString),
}

/// `127.0.0.1:5432`, `/run/postgresql/.s.PGSQL.5432`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(name) => write!(f, "{}", name.display()),
        }
    }
}

impl Address {
    /// All addresses of a host, in the order in which the system gives them.
    ///
    /// Errors: the name can't be looked up.
    pub(super) async fn resolve(host: &Host) -> io::Result<Vec<Self>> {
        match &host.address {
            HostAddress::Unix(_) => {
                let path = host.socket_path().unwrap_or_default().into_os_string();
                Ok(vec![Self::Unix(socket_name(path.into_encoded_bytes()))])
            }
            HostAddress::Tcp { hostaddr: Some(address), .. } => {
                Ok(vec![Self::Tcp(SocketAddr::new(*address, host.port))])
            }
            HostAddress::Tcp { host: name, hostaddr: None } => {
                let found = lookup_host((name.as_str(), host.port)).await?;
                Ok(found.map(Self::Tcp).collect())
            }
        }
    }
}

/// A leading `@` names a socket of Linux's abstract namespace, whose names begin with a zero
/// byte.
fn socket_name(mut path: Vec<u8>) -> OsString {
    if let Some(first) = path.first_mut().filter(|first| **first == b'@') {
        *first = 0;
    }
    OsString::from_vec(path)
}

/// An open socket to a server.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Opens a socket.
    pub(super) async fn open(address: &Address, config: &Config) -> io::Result<Self> {
        match address {
            Address::Unix(name) => Ok(Self::Unix(UnixStream::connect(name).await?)),
            Address::Tcp(address) => {
                let socket =
                    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // Before connecting, as libpq does: what is never answered is given up sooner too.
                set_options(&socket, config)?;
                Ok(Self::Tcp(socket.connect(*address).await?))
            }
        }
    }
}

fn set_options(socket: &TcpSocket, config: &Config) -> io::Result<()> {
    // Without it a small request waits for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    if config.keepalives.enabled {
        socket.set_tcp_keepalive(&keepalive(config))?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(config.tcp_user_timeout.or(Some(USER_TIMEOUT)))?;
    Ok(())
}

/// libpq's `keepalives_*`, and ours for what they leave open.
fn keepalive(config: &Config) -> TcpKeepalive {
    let keepalives = &config.keepalives;
    let set = |value: Option<Duration>, ours| value.filter(|d| !d.is_zero()).unwrap_or(ours);
    TcpKeepalive::new()
        .with_time(set(keepalives.idle, KEEPALIVE_IDLE))
        .with_interval(set(keepalives.interval, KEEPALIVE_INTERVAL))
        .with_retries(keepalives.count.filter(|&n| n > 0).unwrap_or(KEEPALIVE_COUNT))
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())), // They hold nothing back.
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket as RawSocket, Type};
    use tokio::time::timeout;

    use super::{super::parse_dsn, *};

    /// A server that takes no more connections doesn't even refuse them.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_user_timeout_holds_for_connecting_too() {
        let listener = RawSocket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        // The smallest queue there is takes one.
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(address).await.unwrap();
        let config = parse_dsn("postgresql://u@h/d?tcp_user_timeout=100").unwrap();
        let address = Address::Tcp(address);
        // Left to itself, the system goes on for two minutes.
        let opened = timeout(Duration::from_mins(1), Socket::open(&address, &config));
        let opened = opened.await.expect("the timeout holds");
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
