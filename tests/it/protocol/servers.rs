//! Which of several servers: hosts in order or shuffled, and what kind of server will do.

use std::{collections::HashSet, fs, net::TcpListener, time::Duration};

use pghost::{
    cluster::{Binaries, Server, StopMode},
    conn::{Connection, Error, SessionKind},
};

use crate::support::{login_servers::settings, versions_to_test};

/// A primary and a standby, which need not know of each other.
struct Pair {
    primary: Server,
    standby: Server,
}

impl Pair {
    fn start(binaries: &Binaries) -> Self {
        let primary = Server::start(binaries, &[]).unwrap();
        let mut standby = Server::start(binaries, &[]).unwrap();
        standby.stop(StopMode::Fast).unwrap();
        fs::write(standby.data_dir().join("standby.signal"), "").unwrap();
        standby.start_again().unwrap();
        Self { primary, standby }
    }

    /// Both, in this order, and which of them is asked for.
    fn dsn(ports: &[u16], more: &str) -> String {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let hosts = vec!["127.0.0.1"; ports.len()].join(",");
        let ports = ports.join(",");
        format!("host={hosts} port={ports} user=postgres dbname=postgres sslmode=disable {more}")
    }
}

/// Connects and tells to which port.
async fn port(dsn: &str) -> Result<u16, Error> {
    let mut connection = Connection::connect(&settings(dsn), SessionKind::Sql).await?;
    let result = connection.query("SELECT inet_server_port() AS port").await?;
    let port = result.row()?.get("port")?;
    connection.close().await;
    Ok(port)
}

/// A port where nobody listens. One that was just given back may be given to somebody else.
const DEAD: u16 = 1;

async fn write(server: &Server, sql: &str) {
    let config = settings(&server.dsn("postgres"));
    let mut connection = Connection::connect(&config, SessionKind::Sql).await.unwrap();
    connection.query(sql).await.unwrap();
    connection.close().await;
}

#[tokio::test]
async fn the_kind_of_server_that_is_asked_for_is_found() {
    for binaries in versions_to_test() {
        let mut pair = Pair::start(&binaries);
        let (primary, standby) = (pair.primary.port(), pair.standby.port());
        for (attrs, both, only_primary, only_standby) in [
            ("any", Some(standby), true, true),
            ("read-write", Some(primary), true, false),
            ("read-only", Some(standby), false, true),
            ("primary", Some(primary), true, false),
            ("standby", Some(standby), false, true),
            ("prefer-standby", Some(standby), true, true),
        ] {
            let more = format!("target_session_attrs={attrs}");
            let found = port(&Pair::dsn(&[standby, primary], &more)).await;
            assert_eq!(found.ok(), both, "{attrs}");
            for (server, fine) in [(primary, only_primary), (standby, only_standby)] {
                match port(&Pair::dsn(&[server], &more)).await {
                    Ok(_) => assert!(fine, "{attrs}"),
                    Err(Error::WrongServer { .. }) => assert!(!fine, "{attrs}"),
                    Err(other) => panic!("{attrs}: {other:?}"),
                }
            }
        }
        // Whatever a server lets sessions do by default, ours may write; but who asks for a server
        // that lets them does not get this one.
        write(&pair.primary, "ALTER SYSTEM SET default_transaction_read_only = on").await;
        pair.primary.reload().unwrap();
        write(&pair.primary, "CREATE TABLE public.written (a int)").await;
        let more = "target_session_attrs=read-write";
        let refused = port(&Pair::dsn(&[primary], more)).await.unwrap_err();
        assert!(matches!(refused, Error::WrongServer { .. }), "{refused:?}");
        let dsn = Pair::dsn(&[standby, primary], "target_session_attrs=read-only");
        assert_eq!(port(&dsn).await.unwrap(), standby);
        let dsn = Pair::dsn(&[primary], "target_session_attrs=read-only");
        let mut connection = Connection::connect(&settings(&dsn), SessionKind::Sql).await.unwrap();
        connection.query("CREATE TABLE public.written_too (a int)").await.unwrap();
        pair.primary.stop(StopMode::Fast).unwrap();
        let dsn = Pair::dsn(&[primary, standby], "target_session_attrs=read-write");
        match port(&dsn).await.unwrap_err() {
            Error::NoServer(reasons) => assert_eq!(reasons.len(), 2, "{reasons:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn hosts_are_tried_in_order_or_shuffled() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let pair = Pair::start(&binaries);
    let (one, two) = (pair.primary.port(), pair.standby.port());
    for _ in 0..5 {
        assert_eq!(port(&Pair::dsn(&[DEAD, one, two], "")).await.unwrap(), one);
    }
    let mut seen = HashSet::new();
    // Each is missed with a chance of one in 2^40.
    for _ in 0..40 {
        seen.insert(port(&Pair::dsn(&[one, two], "load_balance_hosts=random")).await.unwrap());
    }
    assert_eq!(seen, HashSet::from([one, two]));
    let error = port(&Pair::dsn(&[DEAD, DEAD], "")).await.unwrap_err();
    assert!(error.is_unreachable() && matches!(error, Error::NoServer(_)), "{error:?}");
}

#[tokio::test]
async fn a_host_that_is_silent_or_starting_up_is_passed_over() {
    let Some(binaries) = versions_to_test().pop() else { return };
    let server = Server::start(&binaries, &[]).unwrap();
    // Somebody who takes connections and says nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let dsn = Pair::dsn(&[silent_port, server.port()], "connect_timeout=5");
    assert_eq!(port(&dsn).await.unwrap(), server.port());
    // A server that says 57P03, as one does while it starts.
    let starting = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let starting_port = starting.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut socket, _) = starting.accept().await.unwrap();
        let mut startup = [0; 4];
        socket.read_exact(&mut startup).await.unwrap();
        let fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        socket.write_all(&[b"E", &length[..], fields].concat()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let dsn = Pair::dsn(&[starting_port, server.port()], "");
    assert_eq!(port(&dsn).await.unwrap(), server.port());
    // One that answers and refuses ends the search.
    let dsn = format!("{} user=nobody_here", Pair::dsn(&[server.port(), DEAD], ""));
    let error = port(&dsn).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().as_str(), "28000");
}
