//! From a socket to a session that is ready: startup and authentication.
//!
//! ```text
//!   open socket ── StartupMessage ──> [v] R.. (auth) ── R(0) ──> S* K ──> Z
//! ```
//!
//! What is said in answer to an authentication request is decided in `auth`; here it is carried.

use std::{io, time::Duration};

use super::{
    Connection, Error, SessionKind, connection::unexpected, session, socket::Socket,
    transport::Transport,
};
use crate::{
    auth::{Authenticated, Channel, Credentials, Exchange, NONCE_BYTES, Policy, Step},
    config::{Config, Host, HostAddress, TargetSessionAttrs},
    wire::{BackendMessage, Frame},
};

/// Protocol 3.0, all that we speak; a server that answers with an older one can't serve us.
const PROTOCOL_3_0: u32 = 3 << 16;

impl Connection {
    /// Connects to the first host that lets us in.
    ///
    /// Errors: no host can be reached in time, authentication fails, or the server refuses.
    pub async fn connect(config: &Config, kind: SessionKind) -> Result<Self, Error> {
        let mut connection = connect(config, kind).await?;
        // Unknown before 17, where naming it in the startup packet would end the session.
        if connection.server_version()?.major() >= 17 {
            connection.query("SET transaction_timeout = 0").await?;
        }
        Ok(connection)
    }
}

/// Tries the hosts in order and gives the first session, or the last host's error.
///
/// As libpq does it, only a host that can't be reached is passed over; one that answers and
/// refuses ends the search.
async fn connect(config: &Config, kind: SessionKind) -> Result<Connection, Error> {
    refuse_what_is_not_built(config)?;
    let mut last = None;
    for host in &config.hosts {
        match within(config.connect_timeout, host, start(config, host, kind)).await {
            Ok(connection) => return Ok(connection),
            Err(error @ (Error::Unreachable { .. } | Error::ConnectTimeout { .. })) => {
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Unsupported("the connection settings name no host".into())))
}

/// Settings that can't be honoured yet and that must not be ignored either.
fn refuse_what_is_not_built(config: &Config) -> Result<(), Error> {
    let tcp = config.hosts.iter().any(|h| matches!(h.address, HostAddress::Tcp { .. }));
    if tcp && config.sslmode.is_always_encrypted() {
        return Err(Error::Unsupported(format!(
            "sslmode={} asks for TLS, which pghost does not speak yet; \
             use sslmode=disable on a network that you trust, or a tunnel",
            config.sslmode
        )));
    }
    if config.target_session_attrs != TargetSessionAttrs::Any {
        return Err(Error::Unsupported(format!(
            "target_session_attrs={} is not supported yet; name the one server that is meant",
            config.target_session_attrs
        )));
    }
    Ok(())
}

async fn within<T>(
    limit: Option<Duration>,
    host: &Host,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::ConnectTimeout { server: host.to_string(), seconds: limit.as_secs() })
    })
}

async fn start(config: &Config, host: &Host, kind: SessionKind) -> Result<Connection, Error> {
    let socket = Socket::open(host, config)
        .await
        .map_err(|source| Error::Unreachable { server: host.to_string(), source })?;
    let mut connection = Connection::new(Transport::new(socket));
    connection.writer().startup(&session::startup_parameters(config, kind));
    let _proof = authenticate(&mut connection, config, host).await?;
    until_ready(&mut connection).await?;
    Ok(connection)
}

/// Carries the authentication exchange; its end is a proof that only `auth` makes.
async fn authenticate(
    connection: &mut Connection,
    config: &Config,
    host: &Host,
) -> Result<Authenticated, Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let credentials = Credentials { user: &config.user, password: config.password_for(host) };
    let policy = Policy {
        require_auth: config.require_auth.clone(),
        channel_binding: config.channel_binding,
        channel: match host.address {
            HostAddress::Unix(_) => Channel::Unix,
            HostAddress::Tcp { .. } => Channel::Tcp,
        },
    };
    let mut exchange = Exchange::new(&credentials, policy, nonce);
    loop {
        let (tag, body) = connection.frame().await?;
        match BackendMessage::parse(Frame { tag, body: &body })? {
            BackendMessage::Authentication(request) => match exchange.handle(request)? {
                Step::Send(response, next) => {
                    connection.writer().authentication_response(&response);
                    exchange = next;
                }
                Step::Wait(next) => exchange = next,
                Step::Done(proof) => return Ok(proof),
            },
            BackendMessage::NegotiateProtocolVersion(version) if version >= PROTOCOL_3_0 => {}
            BackendMessage::ErrorResponse(error) => return Err(Error::Server(error)),
            other => return Err(unexpected("an authentication request", &other)),
        }
    }
}

/// Takes the parameters and the cancel key, up to the first ReadyForQuery.
async fn until_ready(connection: &mut Connection) -> Result<(), Error> {
    loop {
        let (tag, body) = connection.frame().await?;
        match BackendMessage::parse(Frame { tag, body: &body })? {
            BackendMessage::BackendKeyData { process_id, .. } => {
                connection.set_process_id(process_id);
            }
            BackendMessage::ReadyForQuery(status) => {
                connection.ready(status);
                return Ok(());
            }
            BackendMessage::ErrorResponse(error) => return Err(Error::Server(error)),
            other => return Err(unexpected("the session's parameters", &other)),
        }
    }
}
