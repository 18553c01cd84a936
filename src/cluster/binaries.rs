//! A copy of Postgres's programs that is known to run.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
};

use super::{
    ClusterError, fetch, npm,
    search::{Search, Wanted},
    user::Runner,
};
use crate::pg::ServerVersion;

/// What a throwaway server needs of an installation.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];

/// Directories whose sibling `lib` is the system's own, which programs find by themselves.
const SYSTEM_BIN: [&str; 4] = ["/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"];

/// Where Postgres's programs are, and which release they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory of `postgres`, `initdb` and `pg_ctl`.
    pub bin: PathBuf,
    /// The shared libraries that came with them, if they came with any
    /// (`LD_LIBRARY_PATH`, on macOS `DYLD_LIBRARY_PATH`).
    pub lib: Option<PathBuf>,
    /// Their release.
    pub version: ServerVersion,
}

impl Binaries {
    /// Any release pghost works with: `GHOST_PG_BIN`, `PATH`, the usual places, and failing all
    /// of these a copy fetched once into the user's cache. `say` hears of anything fetched.
    ///
    /// # Errors
    ///
    /// When `GHOST_PG_BIN` is set and wrong, or when there is nothing and nothing can be
    /// fetched.
    pub fn find(say: &mut dyn FnMut(&str)) -> Result<Self, ClusterError> {
        Self::obtain(Wanted::Any, say)
    }

    /// A given major release; the newest minor one that is at hand, not the newest there is.
    ///
    /// # Errors
    ///
    /// As [`Self::find`]; a `GHOST_PG_BIN` of another major release is not an error.
    pub fn of_major(major: u32, say: &mut dyn FnMut(&str)) -> Result<Self, ClusterError> {
        Self::obtain(Wanted::Major(major), say)
    }

    fn obtain(wanted: Wanted, say: &mut dyn FnMut(&str)) -> Result<Self, ClusterError> {
        let runner = Runner::current()?;
        let mut tried = Vec::new();
        if let Some(found) = Search::from_environment().run(wanted, &runner, &mut tried)? {
            return Ok(found);
        }
        match fetch::obtain(wanted, &runner, say) {
            Ok(found) => return Ok(found),
            Err(why) => tried.extend(why),
        }
        Err(ClusterError::NotFound {
            wanted: wanted.to_string(),
            tried: tried
                .iter()
                .map(|line| format!("  {}", line.trim().replace('\n', "\n    ")))
                .collect::<Vec<_>>()
                .join("\n"),
            command: install_command(wanted, runner.uid == 0),
        })
    }

    /// Looks at one directory. The error is a clause that says what is wrong with it.
    ///
    /// The programs are run by the user who will run the server, so what only root can reach is
    /// found out here.
    pub(super) fn probe(bin: &Path, lib: Option<PathBuf>, runner: &Runner) -> Result<Self, String> {
        // The programs are started from another directory than ours.
        let bin = path::absolute(bin).map_err(|error| error.to_string())?;
        for program in PROGRAMS {
            if let Err(error) = fs::metadata(bin.join(program)) {
                return Err(match error.kind() {
                    io::ErrorKind::NotFound => format!("there is no {program} in it"),
                    _ => format!("its {program} cannot be looked at: {error}"),
                });
            }
        }
        let mut found =
            Self { lib: lib.or_else(|| own_libraries(&bin)), bin, version: ServerVersion::OLDEST };
        let output =
            runner.command(&found, "postgres").arg("--version").output().map_err(|error| {
                match runner.stand_in() {
                    Some(name) => format!(
                        "its postgres cannot be run: {error} (Postgres refuses to be run by root, \
                     so user {name} runs it and must be able to reach that directory)"
                    ),
                    None => format!("its postgres cannot be run: {error}"),
                }
            })?;
        let said = String::from_utf8_lossy(&output.stdout);
        found.version = parse_version(&said).ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let said = format!("{} {}", said.trim(), complaint.trim());
            format!("its `postgres --version` says {:?}", said.trim())
        })?;
        Ok(found)
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(said: &str) -> Option<ServerVersion> {
    let (_, version) = said.trim().split_once("(PostgreSQL) ")?;
    ServerVersion::from_parameter(version)
}

/// The sibling `lib`, when it belongs to this copy: relocatable copies bring their own libpq.
fn own_libraries(bin: &Path) -> Option<PathBuf> {
    if SYSTEM_BIN.iter().any(|system| bin == Path::new(system)) {
        return None;
    }
    let lib = bin.parent()?.join("lib");
    let has_libpq = fs::read_dir(&lib)
        .ok()?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libpq."));
    has_libpq.then_some(lib)
}

/// What to type on this machine to have what is wanted.
fn install_command(wanted: Wanted, root: bool) -> String {
    let sudo = if root { "" } else { "sudo " };
    let has = |program: &str| {
        ["/usr/bin", "/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists())
    };
    let suffix = match wanted {
        Wanted::Any => String::new(),
        Wanted::Major(major) => major.to_string(),
    };
    if cfg!(target_os = "macos") {
        let major = match wanted {
            Wanted::Any => npm::NEWEST,
            Wanted::Major(major) => major,
        };
        format!("brew install postgresql@{major}")
    } else if has("apt-get") {
        let install = format!("{sudo}apt-get update && {sudo}apt-get install -y");
        match wanted {
            Wanted::Any => format!("{install} postgresql"),
            // A distribution has one release; the others are at apt.postgresql.org.
            Wanted::Major(major) => format!(
                "{install} postgresql-common && \
                 {sudo}/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y && \
                 {sudo}apt-get install -y postgresql-{major}"
            ),
        }
    } else if has("dnf") {
        format!("{sudo}dnf install -y postgresql{suffix}-server")
    } else if has("apk") {
        format!("{sudo}apk add postgresql{suffix}")
    } else {
        format!("npm pack {}   # and unpack it", npm::package(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_postgres_says() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some(ServerVersion::from_num(150_018)));
        let beta = "postgres (PostgreSQL) 19beta1\n";
        assert_eq!(parse_version(beta).map(ServerVersion::major), Some(19));
        assert_eq!(parse_version("error while loading shared libraries"), None);
    }

    #[test]
    fn the_command_to_type_names_what_is_wanted() {
        assert!(install_command(Wanted::Major(15), false).contains("15"));
        assert!(!install_command(Wanted::Any, true).contains("sudo"));
    }
}
