//! TLS on real servers: whose certificate is taken, how it is begun, what is bound to it.

use std::{path::Path, process::Command};

use base64::Engine as _;
use pghost::{
    auth::AuthError,
    config::AuthMethod,
    conn::{CertificateError, Connection, Error, TlsError},
    migrate::Failure,
};
use rcgen::KeyPair;

use crate::support::{
    self,
    login_servers::{Authority, PASSWORD, Secure, connect},
};

/// All of it on one release: a server takes longer to make than to ask. What changes the server
/// comes last.
async fn everything_on(major: u32) {
    let Some(binaries) = support::selected(major) else { return };
    let secure = Secure::start(&binaries, &[]).await;
    certificates_are_checked_as_the_mode_says(&secure, major).await;
    require_auth_is_kept(&secure, major).await;
    direct_tls_works_from_17_on_and_says_so_before(&secure, major).await;
    client_certificates_are_shown_or_their_trouble_is_named(&secure, major).await;
    a_client_certificate_of_the_first_version_is_shown(&secure).await;
    the_systems_roots_are_not_ours(&secure).await;
    versions_of_tls_are_kept_to(&secure).await;
    scram_is_bound_to_the_channel_whatever_the_certificates_kind(&secure, major).await;
    a_password_in_sasl_prep_form_logs_in(&secure).await;
    why_scram_failed_is_told_with_what_to_do(&secure).await;
}

/// A key as OpenSSL reads it: it knows Ed25519 only in the first version of PKCS #8, which has the
/// secret and nothing else.
fn private_key(key: &KeyPair) -> String {
    const SECRET: &[u8] = b"\x04\x22\x04\x20";
    const HEAD: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70";
    if key.algorithm() != &rcgen::PKCS_ED25519 {
        return key.serialize_pem();
    }
    let der = key.serialize_der();
    let at = der.windows(SECRET.len()).position(|bytes| bytes == SECRET).unwrap();
    let first_version = [HEAD, &der[at..at + SECRET.len() + 32]].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(first_version);
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}

fn tls_error(result: Result<Connection, Error>) -> TlsError {
    match result {
        Err(Error::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn let_in(dsn: &str) -> (bool, AuthMethod) {
    let mut connection = connect(dsn).await.unwrap_or_else(|error| panic!("{dsn}: {error}"));
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let ssl: bool = connection.query(sql).await.unwrap().row().unwrap().get("ssl").unwrap();
    assert_eq!(ssl, connection.is_encrypted());
    let method = connection.auth_method().unwrap();
    connection.close().await;
    (ssl, method)
}

async fn certificates_are_checked_as_the_mode_says(secure: &Secure, major: u32) {
    let to = |host: &str, mode: &str, root: &str| {
        let port = secure.server.port();
        format!(
            "host='{host}' hostaddr=127.0.0.1 port={port} user=u_trust dbname=either \
                 sslmode={mode} sslrootcert={root}"
        )
    };
    let (root, wrong, none) = (&secure.root, &secure.wrong_root, &secure.files.missing());
    // The mode, the roots, the host; whether it goes well.
    for (mode, roots, host, fine) in [
        ("verify-full", root, "localhost", true),
        ("verify-full", root, "LocalHost", true),
        ("verify-full", root, "127.0.0.1", true),
        ("verify-full", root, "db.example.org", false),
        ("verify-full", root, "127.0.0.2", false),
        ("verify-full", wrong, "localhost", false),
        ("verify-full", none, "localhost", false),
        ("verify-ca", root, "db.example.org", true),
        ("verify-ca", wrong, "localhost", false),
        ("verify-ca", none, "localhost", false),
        ("require", root, "db.example.org", true),
        ("require", wrong, "localhost", false),
        ("require", none, "localhost", true),
    ] {
        let case = (major, mode, host);
        let result = connect(&to(host, mode, roots)).await;
        if fine {
            assert!(result.unwrap().is_encrypted(), "{case:?}");
            continue;
        }
        match tls_error(result) {
            TlsError::NoRoots { .. } => assert_eq!(roots, none, "{case:?}"),
            TlsError::Certificate(CertificateError::Untrusted(_)) => {
                assert_eq!(roots, wrong, "{case:?}");
            }
            TlsError::Certificate(CertificateError::WrongName { host: named, .. }) => {
                assert_eq!((roots, named.as_str()), (root, host), "{case:?}");
            }
            other => panic!("{case:?}: {other:?}"),
        }
    }
    // prefer goes on without what it can't have.
    assert!(!let_in(&to("localhost", "prefer", wrong)).await.0);
    assert!(let_in(&to("localhost", "prefer", root)).await.0);
    // Only an address, and so no name to compare.
    let dsn = to("", "verify-full", root);
    let error = tls_error(connect(&dsn).await);
    assert!(matches!(error, TlsError::Certificate(CertificateError::NoHost)), "{error:?}");
}

async fn scram_is_bound_to_the_channel_whatever_the_certificates_kind(secure: &Secure, major: u32) {
    let kinds = [
        ("p256", &rcgen::PKCS_ECDSA_P256_SHA256, true),
        ("p384", &rcgen::PKCS_ECDSA_P384_SHA384, true),
        ("ed25519", &rcgen::PKCS_ED25519, false),
    ];
    for (kind, algorithm, can_bind) in kinds {
        // The channel binding's hash is the one of the signature, so the signer counts.
        let key = KeyPair::generate_for(algorithm).unwrap();
        let own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let pem = own.self_signed(&key).unwrap().pem();
        let root = secure.files.file(&format!("{kind}.crt"), &pem, 0o644);
        secure.present(&pem, &private_key(&key)).await;
        for binding in ["disable", "prefer", "require"] {
            let more = format!(
                "password={PASSWORD} sslmode=verify-full sslrootcert={root} \
                 channel_binding={binding}"
            );
            let result = connect(&secure.dsn("scram", "either", &more)).await;
            let case = (major, kind, binding);
            if can_bind || binding != "require" {
                let connection = result.unwrap_or_else(|error| panic!("{case:?}: {error}"));
                assert_eq!(connection.auth_method(), Some(AuthMethod::ScramSha256));
                let bound = can_bind && binding != "disable";
                assert_eq!(connection.is_channel_bound(), bound, "{case:?}");
                continue;
            }
            match result {
                Err(Error::Authentication(AuthError::BindingNotPossible)) => {}
                other => panic!("{case:?}: {other:?}"),
            }
        }
    }
    // Where nothing is to be bound to, require has no way in.
    for (method, database, mode) in [
        ("scram", "either", "disable"),
        ("md5", "either", "require"),
        ("password", "either", "require"),
        ("trust", "either", "require"),
    ] {
        let more = format!("password={PASSWORD} sslmode={mode} channel_binding=require");
        let result = connect(&secure.dsn(method, database, &more)).await;
        assert!(matches!(result, Err(Error::Authentication(_))), "{method} {result:?}");
    }
}

async fn require_auth_is_kept(secure: &Secure, major: u32) {
    for (method, list, fine) in [
        ("scram", "scram-sha-256", true),
        ("scram", "md5,password", false),
        ("md5", "md5", true),
        ("md5", "!md5", false),
        ("password", "password", true),
        ("password", "!password", false),
        ("trust", "none", true),
        ("trust", "!none", false),
        ("trust", "scram-sha-256", false),
    ] {
        let more = format!("password={PASSWORD} sslmode=require require_auth={list}");
        let result = connect(&secure.dsn(method, "either", &more)).await;
        assert_eq!(result.is_ok(), fine, "{major} {method} {list} {result:?}");
        if let Err(error) = result {
            assert!(matches!(error, Error::Authentication(_)), "{error:?}");
        }
    }
    // Named, a password may go in the open.
    let more = format!("password={PASSWORD} sslmode=disable require_auth=password");
    let_in(&secure.dsn("password", "either", &more)).await;
}

async fn direct_tls_works_from_17_on_and_says_so_before(secure: &Secure, major: u32) {
    let root = &secure.root;
    let more =
        format!("password={PASSWORD} sslmode=verify-full sslrootcert={root} sslnegotiation=direct");
    let result = connect(&secure.dsn("scram", "either", &more)).await;
    if major >= 17 {
        assert!(result.unwrap().is_channel_bound());
    } else {
        let error = tls_error(result);
        assert!(matches!(error, TlsError::Handshake(_)), "{error:?}");
    }
}

async fn versions_of_tls_are_kept_to(secure: &Secure) {
    secure.admin("ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'").await;
    secure.server.reload().unwrap();
    let root = &secure.root;
    let with = |more: &str| {
        let more = format!("sslmode=verify-full sslrootcert={root} {more}");
        secure.dsn("trust", "either", &more)
    };
    assert!(let_in(&with("")).await.0);
    let error = tls_error(connect(&with("ssl_min_protocol_version=TLSv1.3")).await);
    assert!(matches!(error, TlsError::Handshake(_)), "{error:?}");
    secure.admin("ALTER SYSTEM RESET ssl_max_protocol_version").await;
    secure.server.reload().unwrap();
    for more in ["ssl_max_protocol_version=TLSv1.2", "ssl_min_protocol_version=TLSv1.3"] {
        let mut connection = connect(&with(more)).await.unwrap();
        let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let result = connection.query(sql).await.unwrap();
        let version: String = result.row().unwrap().get("version").unwrap();
        assert!(more.ends_with(&version), "{more} {version}");
    }
}

async fn client_certificates_are_shown_or_their_trouble_is_named(secure: &Secure, major: u32) {
    let path = |name: &str| secure.root.replace("root.crt", name);
    let with = |certificate: &str, key: &str, more: &str| {
        let more = format!("sslmode=require sslcert={certificate} sslkey={key} {more}");
        secure.dsn("cert", "either", &more)
    };
    let (good, key) = (path("good.crt"), path("good.key"));
    assert_eq!(let_in(&with(&good, &key, "")).await, (true, AuthMethod::None));
    // As DER, and with a key that root's group may read when it is root's.
    for (name, mode, fine) in [("a.key", 0o600, true), ("b.key", 0o644, false)] {
        let text = std::fs::read_to_string(&key).unwrap();
        let key = secure.files.file(name, &text, mode);
        let result = connect(&with(&good, &key, "")).await;
        assert_eq!(result.is_ok(), fine, "{major} {mode:o}");
        if !fine {
            let error = tls_error(result);
            assert!(matches!(error, TlsError::KeyOpenToOthers(_)), "{error:?}");
        }
    }
    // Somebody else's certificate is a good one, and not this role's.
    let result = connect(&with(&path("other.crt"), &path("other.key"), "")).await;
    assert_eq!(result.unwrap_err().sqlstate().unwrap().as_str(), "28000");
    // Not shown, it is as if it were not there.
    for dsn in [with(&good, &key, "sslcertmode=disable"), with(&secure.files.missing(), &key, "")] {
        assert_eq!(connect(&dsn).await.unwrap_err().sqlstate().unwrap().as_str(), "28000");
    }
    let error = tls_error(connect(&with(&good, &secure.files.missing(), "")).await);
    assert!(matches!(error, TlsError::NoKey { .. }), "{error:?}");
    let garbage = secure.files.file("garbage", "no key", 0o600);
    for (certificate, key) in [(&garbage, &key), (&good, &garbage)] {
        let error = tls_error(connect(&with(certificate, key, "")).await);
        assert!(matches!(error, TlsError::Content { .. }), "{error:?}");
    }
    let error = tls_error(connect(&with(&good, &path("other.key"), "")).await);
    assert!(matches!(error, TlsError::Settings(_)), "{error:?}");
}

/// As many guides make one: without extensions, and so of X.509's first version.
async fn a_client_certificate_of_the_first_version_is_shown(secure: &Secure) {
    let path = |name: &str| secure.root.replace("root.crt", name);
    secure.files.file("root.key", &secure.authority.key(), 0o600);
    let openssl = |args: &str| {
        let mut command = Command::new("openssl");
        command.args(args.split(' ')).current_dir(Path::new(&secure.root).parent().unwrap());
        command.output()
    };
    if let Err(error) = openssl("version") {
        assert!(!support::in_ci(), "openssl must be there in CI: {error}");
        return eprintln!("\n=== SKIPPED: no certificate of the first version: {error} ===\n");
    }
    for args in [
        "req -new -newkey rsa:2048 -nodes -subj /CN=u_cert -keyout v1.key -out v1.csr",
        "x509 -req -in v1.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 -out v1.crt",
    ] {
        let made = openssl(args).unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let text = openssl("x509 -in v1.crt -noout -text").unwrap().stdout;
    assert!(String::from_utf8_lossy(&text).contains("Version: 1 "));
    let with = |key: &str| {
        let more = format!("sslmode=require sslcert={} sslkey={}", path("v1.crt"), path(key));
        secure.dsn("cert", "either", &more)
    };
    assert_eq!(let_in(&with("v1.key")).await, (true, AuthMethod::None));
    let error = tls_error(connect(&with("good.key")).await);
    assert!(matches!(error, TlsError::Settings(_)), "{error:?}");
}

/// The server takes any number of rounds, and hashes them only once.
async fn why_scram_failed_is_told_with_what_to_do(secure: &Secure) {
    let zeros = "A".repeat(43);
    let verifier = format!("SCRAM-SHA-256$9000000:c2FsdA==${zeros}=:{zeros}=");
    secure.admin(&format!("ALTER ROLE u_scram PASSWORD '{verifier}'")).await;
    let more = format!("sslmode=require password={PASSWORD}");
    let error = connect(&secure.dsn("scram", "either", &more)).await.unwrap_err();
    let failure = Failure::refused_by("connecting", &error).to_string();
    assert!(failure.contains("9000000 rounds of hashing; at most 8000000"), "{failure}");
    assert!(failure.contains("scram_iterations"), "{failure}");
}

async fn a_password_in_sasl_prep_form_logs_in(secure: &Secure) {
    secure.admin("ALTER ROLE u_scram PASSWORD E'I\\u00ADX \\u2168'").await;
    for password in ["I\u{ad}X \u{2168}", "IX IX"] {
        let more = format!("sslmode=require password='{password}'");
        assert_eq!(
            let_in(&secure.dsn("scram", "either", &more)).await,
            (true, AuthMethod::ScramSha256)
        );
    }
}

async fn the_systems_roots_are_not_ours(secure: &Secure) {
    let result = connect(&secure.dsn("trust", "either", "sslrootcert=system")).await;
    match tls_error(result) {
        TlsError::Certificate(CertificateError::Untrusted(_)) | TlsError::NoSystemRoots(_) => {}
        other => panic!("{other:?}"),
    }
    // An authority that has signed nothing here is nobody's word.
    let stranger = secure.files.file("stranger.crt", &Authority::new("x").pem, 0o644);
    let more = format!("sslmode=verify-ca sslrootcert={stranger}");
    assert!(connect(&secure.dsn("trust", "either", &more)).await.is_err());
}

#[tokio::test]
async fn tls_on_14() {
    everything_on(14).await;
}

#[tokio::test]
async fn tls_on_15() {
    everything_on(15).await;
}

#[tokio::test]
async fn tls_on_16() {
    everything_on(16).await;
}

#[tokio::test]
async fn tls_on_17() {
    everything_on(17).await;
}

#[tokio::test]
async fn tls_on_18() {
    everything_on(18).await;
}
