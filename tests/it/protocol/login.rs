//! Every way to log in with every sslmode, with and without TLS on the server, good and bad, on
//! every release; compared with a naive model of what libpq does.

use pghost::{
    auth::AuthError,
    cluster::Binaries,
    config::AuthMethod,
    conn::{Error, TlsError},
};

use crate::support::{
    self,
    login_servers::{DATABASES, METHODS, PASSWORD, Secure, WRONG, connect},
};

const SSLMODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// What a client has to show for itself: a password, or for `cert` a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Right,
    Wrong,
    None,
}

/// How a login ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    In {
        encrypted: bool,
        method: AuthMethod,
    },
    /// The server says no, with this SQLSTATE.
    No(&'static str),
    Cleartext,
    NoPassword,
    NoTls,
    /// The server does not take the client's certificate.
    Alert,
}

/// One connection: `None` when the other encryption may still help.
fn once(
    tls_there: bool,
    database: &str,
    method: &str,
    credential: Credential,
    encrypted: bool,
) -> Result<End, End> {
    use Credential::{None, Right, Wrong};
    if encrypted && !tls_there {
        return Err(End::NoTls);
    }
    // The certificate is looked at before anything is said.
    if encrypted && method == "cert" && credential == Wrong {
        return Ok(End::Alert);
    }
    let is_open = match database {
        "only_tls" => encrypted,
        "only_plain" => !encrypted,
        _ => true,
    };
    if !is_open || method == "reject" || (method == "cert" && !encrypted) {
        return Err(End::No("28000"));
    }
    let let_in = |method| Ok(End::In { encrypted, method });
    match (method, credential) {
        ("trust", _) => let_in(AuthMethod::None),
        ("cert", Right) => let_in(AuthMethod::None),
        ("cert", _) => Err(End::No("28000")),
        ("password", _) if !encrypted => Err(End::Cleartext),
        (_, None) => Ok(End::NoPassword),
        (_, Wrong) => Err(End::No("28P01")),
        ("password", Right) => let_in(AuthMethod::Password),
        ("md5", Right) => let_in(AuthMethod::Md5),
        ("scram", Right) => let_in(AuthMethod::ScramSha256),
        other => panic!("{other:?}"),
    }
}

fn expected(
    tls_there: bool,
    (sslmode, database, method): (&str, &str, &str),
    credential: Credential,
) -> End {
    let attempts: &[bool] = match sslmode {
        "disable" => &[false],
        "allow" => &[false, true],
        "prefer" => &[true, false],
        _ => &[true],
    };
    let mut first = None;
    for encrypted in attempts {
        match once(tls_there, database, method, credential, *encrypted) {
            Ok(end @ End::In { .. }) => return end,
            Ok(end) => return first.unwrap_or(end),
            // A server without TLS is asked on the same connection, which is no failure.
            Err(End::NoTls) if sslmode == "prefer" => {}
            Err(end) => first = first.or(Some(end)),
        }
    }
    first.unwrap()
}

fn ended(error: &Error) -> End {
    match error {
        Error::Server(error) => match error.code.unwrap().as_str() {
            "28000" => End::No("28000"),
            "28P01" => End::No("28P01"),
            other => panic!("{other}: {error}"),
        },
        Error::BothWays { first, .. } => ended(first),
        Error::Authentication(AuthError::CleartextUnprotected) => End::Cleartext,
        Error::Authentication(AuthError::MissingPassword) => End::NoPassword,
        Error::Tls(TlsError::NotOffered { .. }) => End::NoTls,
        Error::Tls(TlsError::Handshake(text)) if text.contains("alert") => End::Alert,
        other => panic!("{other:?}"),
    }
}

async fn matrix(secure: &Secure, tls_there: bool) {
    for (database, _) in DATABASES {
        for method in METHODS {
            for sslmode in SSLMODES {
                for credential in [Credential::Right, Credential::Wrong, Credential::None] {
                    let more = match (method, credential) {
                        ("cert", Credential::Right) => client_certificate(secure, "good"),
                        ("cert", Credential::Wrong) => client_certificate(secure, "wrong"),
                        (_, Credential::Right) => format!("password={PASSWORD}"),
                        (_, Credential::Wrong) => format!("password={WRONG}"),
                        (_, Credential::None) => String::new(),
                    };
                    let root = &secure.root;
                    let more = format!("sslmode={sslmode} sslrootcert={root} {more}");
                    let case = (sslmode, database, method);
                    let end = match connect(&secure.dsn(method, database, &more)).await {
                        Ok(connection) => {
                            let encrypted = connection.is_encrypted();
                            let method = connection.auth_method().unwrap();
                            connection.close().await;
                            End::In { encrypted, method }
                        }
                        Err(error) => ended(&error),
                    };
                    let wanted = expected(tls_there, case, credential);
                    assert_eq!(end, wanted, "{case:?} {credential:?} TLS {tls_there}");
                }
            }
        }
    }
}

fn client_certificate(secure: &Secure, name: &str) -> String {
    let directory = secure.root.trim_end_matches("root.crt");
    format!("sslcert={directory}{name}.crt sslkey={directory}{name}.key")
}

async fn every_way_in(major: u32) {
    let Some(binaries) = support::selected(major) else { return };
    let binaries: Binaries = binaries;
    let secure = Secure::start(&binaries, &[]).await;
    matrix(&secure, true).await;
    secure.without_tls().await;
    matrix(&secure, false).await;
}

#[tokio::test]
async fn every_method_and_sslmode_on_14() {
    every_way_in(14).await;
}

#[tokio::test]
async fn every_method_and_sslmode_on_15() {
    every_way_in(15).await;
}

#[tokio::test]
async fn every_method_and_sslmode_on_16() {
    every_way_in(16).await;
}

#[tokio::test]
async fn every_method_and_sslmode_on_17() {
    every_way_in(17).await;
}

#[tokio::test]
async fn every_method_and_sslmode_on_18() {
    every_way_in(18).await;
}
