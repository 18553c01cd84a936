//! TCP and unix sockets behind one read and one write.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::config::{Config, Host, HostAddress};

/// An open socket to a server.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Opens a socket to one host.
    pub(super) async fn open(host: &Host, config: &Config) -> io::Result<Self> {
        match &host.address {
            HostAddress::Unix(_) => {
                let path =
                    host.socket_path().unwrap_or_default().into_os_string().into_encoded_bytes();
                Ok(Self::Unix(UnixStream::connect(socket_name(path)).await?))
            }
            HostAddress::Tcp { host: name, hostaddr } => {
                let stream = match (hostaddr, name.as_str()) {
                    (Some(address), _) => TcpStream::connect((*address, host.port)).await?,
                    (None, name) => TcpStream::connect((name, host.port)).await?,
                };
                // Without it a small request waits for the acknowledgement of the one before.
                stream.set_nodelay(true)?;
                if config.keepalives.enabled {
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive(config))?;
                }
                Ok(Self::Tcp(stream))
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

/// libpq's `keepalives_*`; a zero or missing value leaves the system's default.
fn keepalive(config: &Config) -> TcpKeepalive {
    let set = |value: Option<Duration>| value.filter(|d| !d.is_zero());
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = set(config.keepalives.idle) {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = set(config.keepalives.interval) {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(count) = config.keepalives.count.filter(|&n| n > 0) {
        keepalive = keepalive.with_retries(count);
    }
    keepalive
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
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // Neither kind buffers.
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Self::Unix(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
