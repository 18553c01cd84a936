//! Looking for Postgres's programs on this machine.
//!
//! What the environment says is read once into a [`Search`], so that the order of places can be
//! tested without changing this process's environment. Nothing is fetched here.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{Binaries, ClusterError, command::command, user::Runner};
use crate::pg::ServerVersion;

/// Where packagers put their releases side by side: the parent, what stands before the major
/// release in the directory's name, and what comes below.
const VERSIONED: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // PGDG's RPMs
    ("/usr/libexec", "postgresql", ""),          // Alpine
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Where Postgres's own `make install` puts it.
const FROM_SOURCE: &str = "/usr/local/pgsql/bin";

/// Which release will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any that pghost works with.
    Any,
    /// This major release.
    Major(u32),
}

impl Wanted {
    /// Whether this release will do; if not, a clause that says why.
    pub(super) fn check(self, version: ServerVersion) -> Result<(), String> {
        match self {
            Self::Any if version < ServerVersion::OLDEST => Err(format!(
                "it is PostgreSQL {version}, and pghost works with {} or newer",
                ServerVersion::OLDEST.major()
            )),
            Self::Major(major) if version.major() != major => {
                Err(format!("it is PostgreSQL {version}"))
            }
            Self::Any | Self::Major(_) => Ok(()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => write!(f, "PostgreSQL {} or newer", ServerVersion::OLDEST.major()),
            Self::Major(major) => write!(f, "PostgreSQL {major}"),
        }
    }
}

/// Where to look.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// `GHOST_PG_BIN`.
    pub(super) named: Option<PathBuf>,
    /// Directories found through `PATH`.
    pub(super) path: Vec<PathBuf>,
    /// The usual places that exist, newest release first.
    pub(super) usual: Vec<PathBuf>,
}

impl Search {
    /// The places this process's environment and machine have.
    pub(super) fn from_environment() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = env::split_paths(&path).collect();
        let mut usual: Vec<PathBuf> = VERSIONED
            .iter()
            .flat_map(|(parent, prefix, below)| versioned(Path::new(parent), prefix, below))
            .collect();
        usual.push(PathBuf::from(FROM_SOURCE));
        usual.retain(|dir| dir.is_dir());
        Self {
            named: env::var_os("GHOST_PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from),
            path: pg_config_bindir().into_iter().chain(in_path(&path)).collect(),
            usual,
        }
    }

    /// The first place that has what is wanted. What was wrong with the others is added to
    /// `tried`.
    pub(super) fn run(
        &self,
        wanted: Wanted,
        runner: &Runner,
        tried: &mut Vec<String>,
    ) -> Result<Option<Binaries>, ClusterError> {
        if let Some(dir) = &self.named {
            let bad = |why| ClusterError::BadBinDir { dir: dir.clone(), why };
            let found = Binaries::probe(dir, None, runner).map_err(bad)?;
            match wanted.check(found.version) {
                Ok(()) => return Ok(Some(found)),
                Err(why) if wanted == Wanted::Any => return Err(bad(why)),
                Err(why) => tried.push(format!("GHOST_PG_BIN: {why}")),
            }
        }
        // For the demo what people have put into PATH is what they mean; for a certain major
        // release its own directory is the surer place.
        let places = match wanted {
            Wanted::Any => [&self.path, &self.usual],
            Wanted::Major(_) => [&self.usual, &self.path],
        };
        let mut seen: Vec<&Path> = Vec::new();
        for dir in places.into_iter().flatten() {
            if seen.contains(&dir.as_path()) {
                continue;
            }
            seen.push(dir);
            let found = Binaries::probe(dir, None, runner).and_then(|found| {
                wanted.check(found.version)?;
                Ok(found)
            });
            match found {
                Ok(found) => return Ok(Some(found)),
                Err(why) => tried.push(format!("{}: {why}", dir.display())),
            }
        }
        if seen.is_empty() && tried.is_empty() {
            tried.push("PATH and the usual places: no Postgres there".to_owned());
        }
        Ok(None)
    }
}

/// The directories of one packager, newest release first, `latest` and its like at the end.
fn versioned(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let release = name.to_str()?.strip_prefix(prefix)?;
            let major = release.split('.').next()?.parse().unwrap_or(0);
            let dir = match below {
                "" => entry.path(),
                below => entry.path().join(below),
            };
            dir.join("postgres").exists().then_some((major, dir))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// What `pg_config` says, if there is one. Machines with only the client's headers have it
/// without a server.
fn pg_config_bindir() -> Option<PathBuf> {
    let output = command("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    dir.join("postgres").exists().then_some(dir)
}

/// The directories of the `postgres` programs in `PATH`, links followed: `postgres` finds its
/// `share` from where it really is.
fn in_path(path: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    path.iter().filter_map(|dir| {
        let program = fs::canonicalize(dir.join("postgres")).ok()?;
        program.parent().map(Path::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::{super::fake::Fake, *};

    fn run(search: &Search, wanted: Wanted) -> Result<Option<PathBuf>, ClusterError> {
        let found = search.run(wanted, &Runner::current().unwrap(), &mut Vec::new())?;
        Ok(found.map(|binaries| binaries.bin))
    }

    #[test]
    fn a_named_directory_that_is_wrong_is_an_error_and_not_a_hint() {
        let fake = Fake::new("named");
        let good = fake.release("good", "17.1");
        let search = Search {
            named: Some(fake.0.join("nothing")),
            path: vec![good.clone()],
            ..Search::default()
        };
        let text = run(&search, Wanted::Any).unwrap_err().to_string();
        assert!(text.contains("GHOST_PG_BIN") && text.contains("no postgres"), "{text}");

        let search = Search {
            named: Some(fake.release("old", "13.2")),
            path: vec![good.clone()],
            ..Search::default()
        };
        let text = run(&search, Wanted::Any).unwrap_err().to_string();
        assert!(text.contains("13.2"), "{text}");
        assert_eq!(run(&search, Wanted::Major(17)).unwrap(), Some(good));
    }

    #[test]
    fn path_comes_first_for_any_release_and_last_for_a_certain_one() {
        let fake = Fake::new("order");
        let old = fake.release("old", "12.9");
        let path = fake.release("path", "16.1");
        let usual = fake.release("usual", "16.2");
        let search =
            Search { named: None, path: vec![old, path.clone()], usual: vec![usual.clone()] };
        assert_eq!(run(&search, Wanted::Any).unwrap(), Some(path));
        assert_eq!(run(&search, Wanted::Major(16)).unwrap(), Some(usual));
        assert_eq!(run(&search, Wanted::Major(18)).unwrap(), None);
    }

    #[test]
    fn the_newest_release_of_a_packager_comes_first() {
        let fake = Fake::new("newest");
        for (sub, version) in [("pg-9.6", "9.6"), ("pg-15", "15.1"), ("pg-17", "17.1")] {
            fake.release(sub, version);
        }
        fs::create_dir(fake.0.join("pg-18")).unwrap();
        let found = versioned(&fake.0, "pg-", "bin");
        let found: Vec<_> = found.iter().map(|dir| dir.parent().unwrap()).collect();
        assert_eq!(found, ["pg-17", "pg-15", "pg-9.6"].map(|name| fake.0.join(name)));
    }

    #[test]
    fn links_in_path_are_followed_to_where_the_program_is() {
        let fake = Fake::new("links");
        let bin = fake.release("real", "15.1");
        let links = fake.0.join("links");
        fs::create_dir(&links).unwrap();
        symlink(bin.join("postgres"), links.join("postgres")).unwrap();
        let found: Vec<_> = in_path(&[fake.0.clone(), links]).collect();
        assert_eq!(found, [fs::canonicalize(bin).unwrap()]);
    }

    #[test]
    fn libraries_that_came_along_are_noticed() {
        let fake = Fake::new("lib");
        let bin = fake.release("copy", "15.1");
        let runner = Runner::current().unwrap();
        assert_eq!(Binaries::probe(&bin, None, &runner).unwrap().lib, None);
        let lib = fake.0.join("copy/lib");
        fs::create_dir(&lib).unwrap();
        fs::write(lib.join("libpq.so.5"), "").unwrap();
        assert_eq!(Binaries::probe(&bin, None, &runner).unwrap().lib, Some(lib));
    }
}
