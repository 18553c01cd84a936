//! From an address to a session that is ready: socket, TLS, startup, authentication.
//!
//! ```text
//!   open ──[SSLRequest ── S ── TLS]── StartupMessage ──> R.. ── R 0 ──> S* K ──> Z
//!                      └─ N: without, if that will do
//! ```
//!
//! What is said in answer is decided in `startup` and `auth`; here it is carried. Which address and
//! which encryption is tried next is `dial`'s choice.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Connection, Error, SessionKind,
    encryption::Encryption,
    session::{self, Settings},
    socket::{Address, Socket},
    startup::{Next, Startup, Versions},
    tls::{self, Tls, TlsError},
    tracer::Tracer,
    transport::Transport,
};
use crate::{
    auth::{AuthError, Channel, Credentials, Exchange, NONCE_BYTES, Policy, tls_server_end_point},
    config::{self, Config, Host},
    wire::{BackendMessage, Frame, FrameLimits, ProtocolVersion, SslResponse, WireError, Writer},
};

/// The longest StartupMessage that a server reads (`MAX_STARTUP_PACKET_LENGTH` in `pqcomm.h`); it
/// closes the connection without a word when one is longer.
const STARTUP_BYTES_MAX: usize = 10_000;

/// Where a session is, and all that is needed to get there again.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) config: Arc<Config>,
    pub(super) host: Host,
    pub(super) address: Address,
    /// How the session is protected.
    pub(super) encryption: Encryption,
    pub(super) tls: Option<Tls>,
}

/// Why a session did not come about, as far as the search for one needs to know.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) error: Error,
    /// Whether the same server might like us better with the other encryption.
    pub(super) other_encryption_may_help: bool,
    /// What was in force when it failed.
    pub(super) encryption: Encryption,
}

/// How long connecting may take where `connect_timeout` is not given. libpq waits for ever then,
/// as somebody who looks on may like; a run that nobody looks at would never end.
const CONNECT_LIMIT: Duration = Duration::from_mins(2);

/// Bounds the time that work on a server may take.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    server: String,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let limit = limit.unwrap_or(CONNECT_LIMIT);
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(Error::ConnectTimeout { server, seconds: limit.as_secs() }))
}

impl Place {
    /// The server's name, for errors.
    pub(super) fn server(&self) -> String {
        let host = self.host.to_string();
        match &self.address {
            Address::Tcp(address) if !host.contains(&address.ip().to_string()) => {
                format!("{host} ({})", address.ip())
            }
            _ => host,
        }
    }

    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        self.config.connect_timeout
    }

    async fn socket(&self) -> Result<Socket, Error> {
        Socket::open(&self.address, &self.config)
            .await
            .map_err(|source| Error::Unreachable { server: self.server(), source })
    }

    /// What is told of a socket, if anybody listens.
    pub(super) fn tracer(&self) -> Option<Box<Tracer>> {
        Tracer::start(self.config.password_for(&self.host))
    }

    /// Opens another socket to the same server with the same encryption.
    pub(super) async fn open_again(
        &self,
        tracer: &mut Option<Box<Tracer>>,
    ) -> Result<Socket, Error> {
        let socket = self.socket().await?;
        match self.encrypt(socket, false, tracer).await? {
            (socket, encryption) if encryption == self.encryption => Ok(socket),
            _ => Err(TlsError::NotOffered { sslmode: self.config.sslmode.to_string() }.into()),
        }
    }

    /// Begins TLS if it is wanted. `plain_will_do` when a server without TLS is welcome too.
    async fn encrypt(
        &self,
        socket: Socket,
        plain_will_do: bool,
        tracer: &mut Option<Box<Tracer>>,
    ) -> Result<(Socket, Encryption), Error> {
        let (Encryption::Tls, Some(tls)) = (self.encryption, &self.tls) else {
            return Ok((socket, Encryption::Plain));
        };
        let Socket::Tcp(mut tcp) = socket else {
            return Ok((socket, Encryption::Plain));
        };
        if !tls.is_direct() {
            match ask_for_tls(&mut tcp, tracer).await? {
                Ok(SslResponse::Willing) => {}
                Ok(SslResponse::Unwilling) if plain_will_do => {
                    return Ok((Socket::Tcp(tcp), Encryption::Plain));
                }
                Ok(SslResponse::Unwilling) => {
                    let sslmode = self.config.sslmode.to_string();
                    return Err(TlsError::NotOffered { sslmode }.into());
                }
                Err(_) => return Err(TlsError::Answer.into()),
            }
        }
        Ok((Socket::Tls(Box::new(tls.start(tcp).await?)), Encryption::Tls))
    }

    /// Starts a session.
    pub(super) async fn start(
        mut self,
        kind: SessionKind,
        settings: Settings,
        plain_will_do: bool,
    ) -> Result<Connection, NotStarted> {
        let asked = self.encryption;
        let failed = |error, other_encryption_may_help, encryption| NotStarted {
            error,
            other_encryption_may_help,
            encryption,
        };
        let mut tracer = self.tracer();
        let socket = self.socket().await.map_err(|error| failed(error, false, asked))?;
        let (socket, encryption) = self
            .encrypt(socket, plain_will_do, &mut tracer)
            .await
            .map_err(|error| failed(error, true, asked))?;
        self.encryption = encryption;
        let startup =
            self.startup(channel(&socket)).map_err(|error| failed(error, false, encryption))?;
        let transport = Transport::new(socket, tracer);
        let mut connection = Connection::new(transport, self, settings);
        match talk(&mut connection, startup, kind).await {
            Ok(()) => Ok(connection),
            Err((error, is_authenticated)) => {
                // libpq tries again after the server's no, not after its own. A password that must
                // not be read on its way, which libpq would send, is safe in TLS.
                let no = matches!(
                    error,
                    Error::Server(_) | Error::Authentication(AuthError::CleartextUnprotected)
                );
                let may_help = no && !is_authenticated;
                Err(failed(error, may_help, encryption))
            }
        }
    }

    fn startup(&self, channel: Channel) -> Result<Startup, Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        let config = &*self.config;
        let password = config.password_for(&self.host);
        let credentials = Credentials { user: &config.user, password };
        let policy = Policy {
            require_auth: config.require_auth.clone(),
            channel_binding: config.channel_binding,
            channel,
        };
        let versions = Versions {
            min: on_the_wire(config.protocol_min),
            max: on_the_wire(config.protocol_max),
        };
        Ok(Startup::new(versions, Exchange::new(&credentials, policy, nonce)))
    }
}

/// SSLRequest and its answer.
///
/// One byte is read and not more: what a stranger slips in behind it in the open must not be taken
/// for the server's first words in TLS (CVE-2021-23222).
async fn ask_for_tls(
    tcp: &mut TcpStream,
    tracer: &mut Option<Box<Tracer>>,
) -> Result<Result<SslResponse, WireError>, Error> {
    let mut writer = Writer::new();
    writer.ssl_request();
    tcp.write_all(writer.buffer()).await?;
    if let Some(tracer) = tracer {
        tracer.sent(writer.buffer());
    }
    let answer = match tcp.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Error::Closed),
        read => read?,
    };
    if let Some(tracer) = tracer {
        tracer.ssl_response(answer);
    }
    Ok(SslResponse::parse(answer))
}

const fn on_the_wire(version: config::ProtocolVersion) -> ProtocolVersion {
    match version {
        config::ProtocolVersion::V3_0 => ProtocolVersion::V3_0,
        config::ProtocolVersion::V3_2 => ProtocolVersion::V3_2,
    }
}

fn channel(socket: &Socket) -> Channel {
    match socket {
        Socket::Tcp(_) => Channel::Tcp,
        Socket::Unix(_) => Channel::Unix,
        Socket::Tls(stream) => Channel::Tls {
            // A certificate without a channel binding is one that `auth` can live with.
            server_end_point: tls::server_certificate(stream)
                .and_then(|certificate| tls_server_end_point(certificate).ok()),
        },
    }
}

/// Carries the startup to its end. An error comes with whether we were authenticated before it.
async fn talk(
    connection: &mut Connection,
    mut startup: Startup,
    kind: SessionKind,
) -> Result<(), (Error, bool)> {
    let version = on_the_wire(connection.place().config.protocol_max);
    let config = connection.place().config.clone();
    let parameters = session::startup_parameters(&config, kind, connection.settings());
    connection.writer().startup(version, &parameters);
    if connection.transport().unsent() > STARTUP_BYTES_MAX {
        let what = "the settings of the session are longer than the 10,000 bytes that a server \
                    reads; shorten 'options' or 'application_name'";
        return Err((Error::Settings(what.into()), false));
    }
    loop {
        let is_authenticated = startup.is_authenticated();
        let failed = |error| (error, is_authenticated);
        if is_authenticated {
            connection.transport().set_limits(FrameLimits::Session);
        }
        let (tag, body) = connection.transport().frame().await.map_err(failed)?;
        let frame = Frame { tag, body: &body };
        let message = BackendMessage::parse(frame).map_err(|e| failed(e.into()))?;
        if is_authenticated {
            connection.reports().take(&message);
        }
        let mut next = startup.take(message).map_err(failed)?;
        while let Next::Hash(more) = next {
            // Whoever limits the time is asked in between.
            tokio::task::yield_now().await;
            next = more.go_on();
        }
        match next {
            Next::Wait(next) | Next::Hash(next) => startup = next,
            Next::Answer(body, next) => {
                connection.writer().authentication_response(&body);
                startup = next;
            }
            Next::Ready(started) => {
                connection.started(started);
                return Ok(());
            }
        }
    }
}
