//! Servers that speak TLS and know a role for each way to log in, and settings to reach them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use pghost::{
    cluster::{Binaries, Server},
    config::{Config, FileText, Surroundings},
    conn::{Connection, Error, SessionKind},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::support::Database;

/// The right password of every role that has one. It must never be seen in an error.
pub(crate) const PASSWORD: &str = "s3cr3t-Passw0rd";
/// And a wrong one.
pub(crate) const WRONG: &str = "wr0ng-Passw0rd";

/// An authority that signs certificates.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { params, key, pem }
    }

    /// Its own key, in PEM.
    pub(crate) fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate and its key, both in PEM.
    pub(crate) fn sign(&self, common: &str, names: &[&str]) -> (String, String) {
        self.sign_with(common, names, KeyPair::generate().unwrap())
    }

    pub(crate) fn sign_with(&self, common: &str, names: &[&str], key: KeyPair) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// A directory that is gone when the test is.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("ghost-files-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file with these rights, and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str, mode: u32) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The path of a file that is not there.
    pub(crate) fn missing(&self) -> String {
        self.0.join("missing").to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server with TLS, its authority, and files for its clients.
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    pub(crate) files: Scratch,
    pub(crate) root: String,
    pub(crate) wrong_root: String,
}

/// The ways in, each a role `u_METHOD`.
pub(crate) const METHODS: [&str; 6] = ["trust", "password", "md5", "scram", "cert", "reject"];

/// The databases, with the lines of pg_hba.conf that lead to them.
pub(crate) const DATABASES: [(&str, &str); 3] =
    [("either", "host"), ("only_tls", "hostssl"), ("only_plain", "hostnossl")];

impl Secure {
    /// Starts one, with a certificate for `localhost` and `127.0.0.1`.
    pub(crate) async fn start(binaries: &Binaries, settings: &[(&str, &str)]) -> Self {
        let server = Server::start(binaries, settings).unwrap();
        let (authority, wrong) = (Authority::new("root"), Authority::new("root"));
        let files = Scratch::new();
        let root = files.file("root.crt", &authority.pem, 0o644);
        let wrong_root = files.file("wrong.crt", &wrong.pem, 0o644);
        for (name, signer, common) in [
            ("good", &authority, "u_cert"),
            ("wrong", &wrong, "u_cert"),
            ("other", &authority, "else"),
        ] {
            let (certificate, key) = signer.sign(common, &[]);
            files.file(&format!("{name}.crt"), &certificate, 0o644);
            files.file(&format!("{name}.key"), &key, 0o600);
        }
        let secure = Self { server, authority, files, root, wrong_root };
        secure.roles().await;
        let (certificate, key) = secure.authority.sign("server", &["localhost", "127.0.0.1"]);
        secure.present(&certificate, &key).await;
        secure
    }

    /// Has the server present a certificate from now on.
    pub(crate) async fn present(&self, certificate: &str, key: &str) {
        let data = self.server.data_dir();
        let owner = fs::metadata(data).unwrap();
        let give = |name: &str, content: &str| {
            let path = data.join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        };
        give("server.crt", certificate);
        give("server.key", key);
        give("root.crt", &self.authority.pem);
        for sql in ["ssl_ca_file = 'root.crt'", "ssl = on"] {
            self.admin(&format!("ALTER SYSTEM SET {sql}")).await;
        }
        self.server.reload().unwrap();
    }

    /// Turns TLS off.
    pub(crate) async fn without_tls(&self) {
        self.admin("ALTER SYSTEM SET ssl = off").await;
        self.server.reload().unwrap();
    }

    async fn roles(&self) {
        let mut hba =
            String::from("local all postgres trust\nhost all postgres 127.0.0.1/32 trust\n");
        for (database, kind) in DATABASES {
            self.admin(&format!("CREATE DATABASE {database}")).await;
            for (role, method) in [
                ("trust", "trust"),
                ("password", "password"),
                ("md5", "md5"),
                ("scram", "scram-sha-256"),
                ("cert", "cert"),
                ("reject", "reject"),
            ] {
                let kind = if role == "cert" { "hostssl" } else { kind };
                if (role, database) != ("cert", "only_plain") {
                    hba += &format!("{kind} {database} u_{role} 127.0.0.1/32 {method}\n");
                }
            }
        }
        for role in METHODS {
            let encryption = if role == "md5" { "md5" } else { "scram-sha-256" };
            self.admin(&format!(
                "SET password_encryption = '{encryption}';
                 CREATE ROLE u_{role} LOGIN PASSWORD '{PASSWORD}'"
            ))
            .await;
        }
        self.server.set_hba(&hba).unwrap();
    }

    pub(crate) async fn admin(&self, sql: &str) {
        let config = settings(&self.server.dsn("postgres"));
        let mut connection = Connection::connect(&config, SessionKind::Sql).await.unwrap();
        for statement in sql.split(';') {
            connection.query(statement).await.unwrap();
        }
        connection.close().await;
    }

    /// A connection string for 127.0.0.1 as one of the roles.
    pub(crate) fn dsn(&self, method: &str, database: &str, more: &str) -> String {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=u_{method} dbname={database} \
             connect_timeout=120 {more}",
            self.server.port()
        )
    }
}

/// Reads a connection string with nothing of this process's environment.
pub(crate) fn settings(dsn: &str) -> Config {
    let read_file = |path: &Path| {
        let metadata = fs::metadata(path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        Ok(FileText { bytes: fs::read(path)?, mode, is_file: metadata.is_file() })
    };
    let surroundings = Surroundings {
        env: &|_| None,
        read_file: &read_file,
        exists: &Path::exists,
        os_user: Some("nobody"),
        home: None,
    };
    Config::parse(dsn, &surroundings).unwrap_or_else(|error| panic!("{dsn}: {error}"))
}

/// Connects, and makes sure that no password shows in what went wrong.
pub(crate) async fn connect(dsn: &str) -> Result<Connection, Error> {
    let connected = Connection::connect(&settings(dsn), SessionKind::Sql).await;
    if let Err(error) = &connected {
        assert_no_password(error);
    }
    connected
}

/// Panics if an error shows a password.
pub(crate) fn assert_no_password(error: &Error) {
    let text = format!("{error} {error:?} {error:#?}");
    assert!(!text.contains(PASSWORD) && !text.contains(WRONG), "{text}");
}

/// A database of a test's own on a shared server, as settings without environment.
pub(crate) fn of(database: &Database) -> Config {
    settings(&database.dsn())
}
