//! The demo's two throwaway servers, started and removed away from the runtime's threads.

use std::{error::Error, io, iter, panic, path::Path, thread};

use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    cluster::{Binaries, ClusterError, Server},
    config::{Config, ConfigError, Surroundings},
    migrate::{Event, Failure, Listener},
    pg::ServerVersion,
};

/// Unix sockets only: nobody but our user can reach what trusts everybody.
const SETTINGS: &[(&str, &str)] = &[("listen_addresses", "")];

/// Both servers. Dropped, they are stopped and removed; that blocks, so better ask for it.
#[derive(Debug)]
pub(super) struct Servers {
    source: Server,
    target: Server,
}

/// Finds Postgres's programs and starts both servers.
pub(super) async fn start(listener: &mut dyn Listener) -> Result<Servers, Failure> {
    let (say, mut said) = mpsc::channel::<String>(16);
    let found = spawn_blocking(move || {
        // Nobody listens any more when the demo itself was dropped.
        Binaries::find(&mut |line| drop(say.blocking_send(line.to_owned())))
    });
    while let Some(message) = said.recv().await {
        listener.on(&Event::Notice { message });
    }
    let binaries = joined(found.await).map_err(|error| refused(&error))?;
    listener.on(&Event::Notice {
        message: format!(
            "starting two throwaway servers, PostgreSQL {} from {}",
            binaries.version,
            binaries.bin.display()
        ),
    });
    let started = spawn_blocking(move || start_both(&binaries));
    joined(started.await).map_err(|error| refused(&error))
}

/// Making a server takes a core some seconds, so both are made at the same time. If one fails
/// the other is removed here, where that may block.
fn start_both(binaries: &Binaries) -> Result<Servers, ClusterError> {
    thread::scope(|scope| {
        let target = scope.spawn(|| Server::start(binaries, SETTINGS));
        let source = Server::start(binaries, SETTINGS);
        let target = target.join().unwrap_or_else(|p| panic::resume_unwind(p));
        Ok(Servers { source: source?, target: target? })
    })
}

impl Servers {
    pub(super) const fn version(&self) -> ServerVersion {
        self.source.version()
    }

    pub(super) fn source(&self) -> Result<Config, Failure> {
        config(&self.source)
    }

    pub(super) fn target(&self) -> Result<Config, Failure> {
        config(&self.target)
    }

    /// Stops and removes both.
    pub(super) async fn remove(self) {
        joined(spawn_blocking(move || drop(self)).await);
    }
}

/// How to connect to a server of ours; whatever this machine sets for others does not count.
fn config(server: &Server) -> Result<Config, Failure> {
    let surroundings = Surroundings {
        env: &|_| None,
        read_file: &|_: &Path| Err(io::ErrorKind::NotFound.into()),
        exists: &|_: &Path| false,
        os_user: None,
        home: None,
    };
    Config::parse(&server.dsn("postgres"), &surroundings).map_err(|error: ConfigError| {
        let hint = "choose another directory for temporary files (TMPDIR)";
        Failure::refused(format!("the throwaway server can't be addressed: {error}"), hint)
    })
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    // Blocking work is never cancelled here, so it ended or it panicked.
    ended.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}

/// No server, no demo. The hint is what to type where there is such a thing.
fn refused(error: &ClusterError) -> Failure {
    let (message, hint) = match error {
        ClusterError::NotFound { wanted, tried, command } => {
            let tried: Vec<_> = tried.lines().map(str::trim).collect();
            (
                format!("no {wanted} on this machine; tried: {}", tried.join("; ")),
                format!(
                    "{command}   (or set GHOST_PG_BIN to a directory with postgres, initdb and \
                     pg_ctl)"
                ),
            )
        }
        ClusterError::BadBinDir { dir, why } => (
            format!("GHOST_PG_BIN is {}, but {why}", dir.display()),
            "unset GHOST_PG_BIN   (or set it to a directory with postgres, initdb and pg_ctl)"
                .to_owned(),
        ),
        ClusterError::NoUser { tried } => (
            format!(
                "Postgres refuses to be run by root, and there is no other user to run it \
                 (looked for {tried})"
            ),
            "useradd --system postgres".to_owned(),
        ),
        other => {
            let causes = iter::successors(other.source(), |&cause| cause.source());
            (
                causes.fold(other.to_string(), |text, cause| format!("{text}: {cause}")),
                "mend what the message names, and run `pghost demo` again".to_owned(),
            )
        }
    };
    let state = "no throwaway server is running; nothing else was touched".into();
    Failure { state, ..Failure::refused(message, hint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::Exit;

    #[test]
    fn a_machine_without_postgres_is_told_what_to_type() {
        let failure = refused(&ClusterError::NotFound {
            wanted: "PostgreSQL".into(),
            tried: "  PATH: none\n  npm: no network".into(),
            command: "apt-get install -y postgresql".into(),
        });
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.ends_with("tried: PATH: none; npm: no network"));
        assert!(failure.hint.starts_with("apt-get install -y postgresql"));
        let failure = refused(&ClusterError::NoUser { tried: "postgres".into() });
        assert_eq!(failure.hint, "useradd --system postgres");
    }

    #[test]
    fn what_the_system_said_is_part_of_the_message() {
        let failure = refused(&ClusterError::Io {
            doing: "writing \"/x\"".into(),
            source: io::Error::other("disk full"),
        });
        assert_eq!(failure.message, "writing \"/x\" failed: disk full");
    }
}
