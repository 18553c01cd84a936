//! The server that all cases go to, its roles and databases, and what fills in a case's texts.

use std::{
    env, fs, io,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use pghost::{
    cluster::Server,
    conn::{Connection, SessionKind, parse_dsn},
};

use super::{Case, Expected, Need, ours, psql::Psql};
use crate::support::{in_ci, versions_to_test};

/// Roles that are trusted.
const TRUSTED: [&str; 6] = ["ann", "a b", "\u{fc}", "50%", "o'b", r"b\s"];

/// Roles with passwords: by SCRAM, by MD5 and in the open. One has a password that needs escaping.
const SECRETS: [(&str, &str); 4] =
    [("pw", "secret"), ("odd", r"p:w\x"), ("md5", "secret"), ("clear", "secret")];

/// Databases, besides one for each role that has to have one by its name.
const DATABASES: [&str; 9] = [
    "shop",
    "a/b",
    "x=y",
    "\u{fc}",
    "50%",
    "my db",
    "postgresql://nowhere/db",
    "host=nowhere",
    "'q'",
];

const HBA: &str = "
    local all shut reject
    host all shut all reject
    local all pw,odd scram-sha-256
    host all pw,odd all scram-sha-256
    local all md5 md5
    host all md5 all md5
    local all clear password
    host all clear all password
    local all all trust
    host all all all trust";

/// A case's inputs with all names filled in, and its files written.
pub(super) struct Inputs {
    pub(super) dsn: String,
    /// What a session is expected to answer.
    pub(super) answer: String,
    /// With `HOME`, which is the case's own.
    pub(super) env: Vec<(String, String)>,
    _home: Directory,
}

/// The server and what belongs to it.
///
/// In the texts of cases: `{port}` and `{dead}` are the server's port and one where nobody is;
/// `{sock}` and `{sock%}` the directory of its socket, plain and percent-encoded; `{default}` the
/// directory that is looked in unasked; `{home}` the case's home directory, `{os}` the user.
pub(super) struct Stage {
    pub(super) psql: Psql,
    pub(super) os_user: String,
    sock: String,
    port: u16,
    dead: u16,
    default: Option<DefaultSocket>,
    ipv6: bool,
    second_address: bool,
    // Dropped last.
    _server: Server,
}

impl Stage {
    /// The stage, shared by the tests that run at the same time; `None` where there is no `psql`.
    pub(super) fn get() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = shared.upgrade() {
            return Some(stage);
        }
        let psql = match Psql::find() {
            Ok(psql) => psql,
            Err(why) if in_ci() => panic!("settings must be compared with libpq in CI: {why}"),
            Err(why) => {
                eprintln!("\n=== SKIPPED: settings were not compared with libpq: {why} ===\n");
                return None;
            }
        };
        let stage = Arc::new(Self::make(psql)?);
        *shared = Arc::downgrade(&stage);
        Some(stage)
    }

    fn make(psql: Psql) -> Option<Self> {
        let binaries = versions_to_test().pop()?;
        let addresses = "127.0.0.1,127.0.0.2,::1";
        let server = Server::start(&binaries, &[("listen_addresses", addresses)]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let os_user = ours::os_user();
        runtime.block_on(furnish(&server, &os_user));
        server.set_hba(HBA).unwrap();
        let sock = server.dsn("x");
        let sock = sock.split('\'').nth(1).unwrap().to_owned();
        let default = DefaultSocket::make(&psql, Path::new(&sock), server.port());
        if let Err(why) = &default {
            eprintln!("\n=== No socket in the default directory: {why} ===\n");
        }
        Some(Self {
            psql,
            os_user,
            port: server.port(),
            // Taken and let go of: below the ports that the system gives out by itself.
            dead: (28_200..32_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())?,
            sock,
            default: default.ok(),
            ipv6: TcpListener::bind("[::1]:0").is_ok(),
            second_address: TcpListener::bind("127.0.0.2:0").is_ok(),
            _server: server,
        })
    }

    /// Why a case can't be run here, if it can't.
    pub(super) fn lacks(&self, case: &Case) -> Option<String> {
        match case.need {
            Need::DefaultSocket if self.default.is_none() => {
                return Some("no socket in the default directory".to_owned());
            }
            Need::Ipv6 if !self.ipv6 => return Some("no ::1".to_owned()),
            Need::SecondAddress if !self.second_address => {
                return Some("no 127.0.0.2".to_owned());
            }
            _ => {}
        }
        match (case.since, case.until) {
            (Some(parameter), _) if !self.psql.knows(parameter) => {
                Some(format!("libpq is older than {parameter}"))
            }
            (_, Some(parameter)) if self.psql.knows(parameter) => {
                Some(format!("libpq is no older than {parameter}"))
            }
            _ => None,
        }
    }

    /// Fills in the names and writes the files.
    pub(super) fn inputs(&self, case: &Case) -> Inputs {
        let home = Directory::make();
        let fill = |text: &str| {
            let directory = self.default.as_ref().map(|default| default.directory.as_path());
            text.replace("{port}", &self.port.to_string())
                .replace("{dead}", &self.dead.to_string())
                .replace("{sock%}", &self.sock.replace('/', "%2F"))
                .replace("{sock}", &self.sock)
                .replace("{os}", &self.os_user)
                .replace("{home}", &home.0.display().to_string())
                .replace(
                    "{default}",
                    &directory.unwrap_or_else(|| Path::new("")).display().to_string(),
                )
        };
        for (path, text, mode) in &case.files {
            let path = home.0.join(path);
            fs::write(&path, fill(text)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let mut env = vec![("HOME".to_owned(), home.0.display().to_string())];
        env.extend(case.env.iter().map(|(name, value)| ((*name).to_owned(), fill(value))));
        let answer = match case.expected {
            Expected::Session(answer) => fill(answer),
            Expected::Refusal(_) => String::new(),
        };
        Inputs { dsn: fill(case.dsn), answer, env, _home: home }
    }
}

async fn furnish(server: &Server, os_user: &str) {
    let config = parse_dsn(&server.dsn("postgres")).unwrap();
    let mut connection = Connection::connect(&config, SessionKind::Sql).await.unwrap();
    let mut run = async |sql: String| {
        connection.query(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    let quoted = |name: &str| format!("\"{name}\"");
    for role in TRUSTED.into_iter().chain(["shut"]) {
        run(format!("CREATE ROLE {} LOGIN", quoted(role))).await;
    }
    if os_user != "postgres" {
        run(format!("CREATE ROLE {} LOGIN", quoted(os_user))).await;
        run(format!("CREATE DATABASE {}", quoted(os_user))).await;
    }
    for (role, password) in SECRETS {
        let encryption = if role == "md5" { "md5" } else { "scram-sha-256" };
        run(format!("SET password_encryption = '{encryption}'")).await;
        run(format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'")).await;
    }
    for database in DATABASES.into_iter().chain(["ann", "pw"]) {
        run(format!("CREATE DATABASE {}", quoted(database))).await;
    }
    connection.close().await;
}

/// A link to the server's socket in the directory where clients look unasked.
struct DefaultSocket {
    directory: PathBuf,
    link: PathBuf,
}

impl DefaultSocket {
    fn make(psql: &Psql, sock: &Path, port: u16) -> Result<Self, String> {
        let directory = psql.default_directory().ok_or("psql has none")?;
        let ours =
            ["/var/run/postgresql", "/tmp"].into_iter().find(|path| Path::new(path).exists());
        if ours.map(Path::new) != Some(&directory) {
            return Err(format!("psql looks in {directory:?}, pghost in {ours:?}"));
        }
        let name = format!(".s.PGSQL.{port}");
        let link = directory.join(&name);
        let made = match symlink(sock.join(&name), &link) {
            // Of an earlier run that was killed: nobody but us has that port now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && link.is_symlink() => {
                fs::remove_file(&link).and_then(|()| symlink(sock.join(&name), &link))
            }
            made => made,
        };
        made.map_err(|error| format!("{link:?}: {error}"))?;
        Ok(Self { directory, link })
    }
}

impl Drop for DefaultSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

/// A home directory, gone with its value.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("ghost-home-{}-{n}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
