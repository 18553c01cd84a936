//! Which server: hosts in order or shuffled, their addresses, and what kind of server will do.
//!
//! As libpq's `PQconnectPoll` (`fe-connect.c`): only a host that can't be reached, or is not ready
//! yet, is passed over; one that answers and refuses ends the search. `connect_timeout` is for each
//! address anew.

use std::sync::Arc;

use super::{
    Connection, Error, PoolerError, SessionKind,
    encryption::{self, Encryption},
    handshake::{NotStarted, Place, within},
    pooler,
    session::Settings,
    socket::Address,
    tls::Tls,
};
use crate::{
    config::{Config, Host, HostAddress, LoadBalanceHosts, TargetSessionAttrs},
    pg::SqlState,
};

impl Connection {
    /// Connects to the first server that lets us in and is of the kind that is wanted, and makes
    /// sure that the session's settings hold.
    ///
    /// Errors: no host can be reached in time, authentication fails, the server refuses, or none is
    /// of the right kind; or a pooler stands in between that gives no whole sessions.
    pub async fn connect(config: &Config, kind: SessionKind) -> Result<Self, Error> {
        let mut connection = Self::open(config, kind).await?;
        let server = connection.place().server();
        let sure = Box::pin(connection.make_sure(kind));
        within(config.connect_timeout, server, sure).await?;
        connection.path().keep(kind);
        Ok(connection)
    }

    /// The same, without asking whether the settings hold.
    ///
    /// Errors: as [`Connection::connect`], but for the last.
    pub async fn open(config: &Config, kind: SessionKind) -> Result<Self, Error> {
        // Boxed: it holds a TLS handshake, and whoever awaits it need not be that large.
        Box::pin(search(&Arc::new(config.clone()), kind)).await
    }
}

async fn search(config: &Arc<Config>, kind: SessionKind) -> Result<Connection, Error> {
    let mut hosts = config.hosts.clone();
    if config.load_balance_hosts == LoadBalanceHosts::Random {
        fastrand::shuffle(&mut hosts);
    }
    let mut passed_over = Vec::new();
    for wanted in passes(config.target_session_attrs) {
        passed_over.clear();
        for host in &hosts {
            match try_host(config, host, kind, *wanted, &mut passed_over).await {
                Ok(Some(connection)) => return Ok(connection),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
    }
    match passed_over.len() {
        0 => Err(Error::Settings("the connection settings name no host".into())),
        1 => Err(passed_over.remove(0)),
        _ => Err(Error::NoServer(passed_over)),
    }
}

/// What is looked for, one round of all hosts after the other.
const fn passes(wanted: TargetSessionAttrs) -> &'static [TargetSessionAttrs] {
    use TargetSessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
    match wanted {
        Any => &[Any],
        ReadWrite => &[ReadWrite],
        ReadOnly => &[ReadOnly],
        Primary => &[Primary],
        Standby => &[Standby],
        PreferStandby => &[Standby, Any],
    }
}

/// Tries a host's addresses in turn. `None`: it was passed over, for the reason that was added.
async fn try_host(
    config: &Arc<Config>,
    host: &Host,
    kind: SessionKind,
    wanted: TargetSessionAttrs,
    passed_over: &mut Vec<Error>,
) -> Result<Option<Connection>, Error> {
    let server = host.to_string();
    let looked_up = async {
        let unreachable = |source| Error::Unreachable { server: server.clone(), source };
        Address::resolve(host).await.map_err(unreachable)
    };
    let mut addresses = match within(config.connect_timeout, server.clone(), looked_up).await {
        Ok(addresses) => addresses,
        Err(error) => {
            passed_over.push(error);
            return Ok(None);
        }
    };
    if config.load_balance_hosts == LoadBalanceHosts::Random {
        fastrand::shuffle(&mut addresses);
    }
    for address in addresses {
        let timed = within(config.connect_timeout, server.clone(), async {
            let mut connection = try_address(config, host, &address, kind).await?;
            let is_right = connection.is_of_kind(wanted).await?;
            Ok((connection, is_right))
        });
        match timed.await {
            Ok((connection, true)) => return Ok(Some(connection)),
            Ok((connection, false)) => {
                connection.close().await;
                passed_over.push(Error::WrongServer { server, wanted });
                return Ok(None);
            }
            Err(error @ (Error::Unreachable { .. } | Error::ConnectTimeout { .. })) => {
                passed_over.push(error);
            }
            Err(error) if error.sqlstate() == Some(SqlState::CANNOT_CONNECT_NOW) => {
                passed_over.push(error);
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Tries one address with each encryption that will do.
async fn try_address(
    config: &Arc<Config>,
    host: &Host,
    address: &Address,
    kind: SessionKind,
) -> Result<Connection, Error> {
    let is_unix = matches!(host.address, HostAddress::Unix(_));
    let attempts = encryption::attempts(config.sslmode, is_unix);
    let mut first: Option<Error> = None;
    let mut tried = None;
    for (at, &encryption) in attempts.iter().enumerate() {
        if tried == Some(encryption) {
            continue;
        }
        let is_last = at + 1 == attempts.len();
        let tls = match encryption {
            Encryption::Plain => None,
            Encryption::Tls => match Tls::load(config, host) {
                Ok(tls) => Some(tls),
                Err(error) if is_last => return Err(after(first, error.into())),
                Err(error) => {
                    tracing::warn!("going on without TLS: {error}");
                    first = Some(error.into());
                    continue;
                }
            },
        };
        let (config, host, address) = (config.clone(), host.clone(), address.clone());
        let place = Place { config, host, address, encryption, tls };
        match start(place, kind, !is_last).await {
            Ok(connection) => return Ok(connection),
            Err(NotStarted { error, other_encryption_may_help, encryption }) => {
                if !other_encryption_may_help || is_last {
                    return Err(after(first, error));
                }
                tried = Some(encryption);
                first = Some(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| Error::Settings("no kind of connection is left to try".into())))
}

/// Starts a session; once more without settings where a pooler refuses those that it does not know.
async fn start(
    place: Place,
    kind: SessionKind,
    plain_will_do: bool,
) -> Result<Connection, NotStarted> {
    match place.clone().start(kind, Settings::AtStartup, plain_will_do).await {
        Err(refused) if pooler::refuses_settings(&refused.error) => {}
        started => return started,
    }
    let started = place.start(kind, Settings::Afterwards, plain_will_do).await;
    started.map_err(|refused| match kind {
        // That the session is to be a walsender's is all that it says now.
        SessionKind::Replication if pooler::refuses_settings(&refused.error) => {
            NotStarted { error: PoolerError::Replication.into(), ..refused }
        }
        _ => refused,
    })
}

/// The second encryption's failure after the first one's, unless both are the same.
fn after(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if first.to_string() != second.to_string() => {
            Error::BothWays { first: Box::new(first), second: Box::new(second) }
        }
        _ => second,
    }
}

impl Connection {
    /// Whether the server is of the kind that is wanted. Servers from 14 on tell unasked; others
    /// (poolers) are asked.
    async fn is_of_kind(&mut self, wanted: TargetSessionAttrs) -> Result<bool, Error> {
        if wanted == TargetSessionAttrs::Any {
            return Ok(true);
        }
        let told = |name| self.parameter(name).map(|value| value == "on");
        let (standby, read_only) =
            match (told("in_hot_standby"), told("default_transaction_read_only")) {
                (Some(standby), Some(read_only)) => (standby, read_only),
                _ => self.ask_kind().await?,
            };
        Ok(match wanted {
            TargetSessionAttrs::ReadWrite => !standby && !read_only,
            TargetSessionAttrs::ReadOnly => standby || read_only,
            TargetSessionAttrs::Primary => !standby,
            TargetSessionAttrs::Standby => standby,
            TargetSessionAttrs::Any | TargetSessionAttrs::PreferStandby => true,
        })
    }

    async fn ask_kind(&mut self) -> Result<(bool, bool), Error> {
        let sql = "SELECT pg_catalog.pg_is_in_recovery() AS standby,
                  pg_catalog.current_setting('transaction_read_only') AS read_only";
        let result = self.query(sql).await?;
        let row = result.row()?;
        Ok((row.get("standby")?, row.get::<String>("read_only")? == "on"))
    }
}
