//! Who runs the servers, and how their programs are run.
//!
//! `initdb` and `postgres` refuse to run as root, which is who one is in most containers. Then
//! everything is run as an unprivileged user, who must be able to reach the programs and the
//! server's directory; for anybody else nothing changes.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Binaries, ClusterError, command::command, error::Doing};

/// Who is tried in root's place. `postgres` comes first because packages create it for this.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// How much of a failed program's output an error shows.
const OUTPUT_SHOWN: usize = 4000;

/// Who runs the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Runner {
    /// Our own user id, by which directories are known as ours.
    pub(super) uid: u32,
    stand_in: Option<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    name: &'static str,
    uid: u32,
    gid: u32,
}

impl Runner {
    /// Ourselves, or the unprivileged user who stands in for root.
    pub(super) fn current() -> Result<Self, ClusterError> {
        let uid = id(&["-u"]).doing(|| "asking `id -u` who we are".to_owned())?;
        let stand_in = if uid == 0 { Some(Account::first_of(&STAND_INS)?) } else { None };
        Ok(Self { uid, stand_in })
    }

    /// The name of the user who stands in for root, if one does.
    pub(super) fn stand_in(&self) -> Option<&'static str> {
        self.stand_in.as_ref().map(|account| account.name)
    }

    /// A command run by the right user, with the libraries it needs and nothing of libpq's.
    pub(super) fn command(&self, binaries: &Binaries, program: &str) -> Command {
        let mut command = self.runs(binaries.bin.join(program));
        if let Some(lib) = &binaries.lib {
            let variable =
                if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
            let inherited = env::var_os(variable).filter(|value| !value.is_empty());
            let paths = std::iter::once(lib.clone())
                .chain(inherited.iter().flat_map(env::split_paths))
                .collect::<Vec<PathBuf>>();
            // Only a path with a colon in it cannot be joined; then the programs' own rpath is
            // what is left to rely on.
            if let Ok(joined) = env::join_paths(paths) {
                command.env(variable, joined);
            }
        }
        command
    }

    /// Any other program run by the right user.
    pub(super) fn runs(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command(program);
        // Messages are read; our own directory may be closed to a stand-in, or be gone before the
        // server is.
        command.env("LC_ALL", "C").stdin(Stdio::null()).current_dir("/");
        if let Some(account) = &self.stand_in {
            // std drops root's supplementary groups together with the user id.
            command.uid(account.uid).gid(account.gid);
            // Root's home cannot be entered by others, and programs look for things there.
            command.env("HOME", "/");
        }
        command
    }

    /// Whether programs may be run out of a directory: for a stand-in, nobody but root and the
    /// stand-in can have put them there. Root may have been given another user's environment
    /// (`sudo -E`), and with it that user's cache.
    pub(super) fn trusts(&self, path: &Path) -> bool {
        let Some(account) = &self.stand_in else { return true };
        let there = path.ancestors().find_map(|dir| fs::canonicalize(dir).ok());
        there.is_some_and(|there| {
            there.ancestors().all(|dir| {
                fs::metadata(dir).is_ok_and(|meta| {
                    // In a sticky directory nobody moves what is another's.
                    let closed = meta.mode() & 0o022 == 0 || meta.mode() & 0o1000 != 0;
                    (meta.uid() == 0 || meta.uid() == account.uid) && closed
                })
            })
        })
    }

    /// Gives a file or directory to the user who runs the server.
    pub(super) fn give(&self, path: &Path) -> Result<(), ClusterError> {
        match &self.stand_in {
            Some(account) => chown(path, Some(account.uid), Some(account.gid))
                .doing(|| format!("giving {path:?} to user {}", account.name)),
            None => Ok(()),
        }
    }

    /// Gives a directory to the group of the user who runs the server; it stays ours.
    pub(super) fn share(&self, path: &Path) -> Result<(), ClusterError> {
        match &self.stand_in {
            Some(account) => chown(path, None, Some(account.gid))
                .doing(|| format!("giving {path:?} to the group of user {}", account.name)),
            None => Ok(()),
        }
    }

    /// Whether the user who runs the server can reach what lies in this directory.
    ///
    /// For a stand-in it is judged by what the directories let everybody do, which is stricter
    /// than need be and never wrong the other way.
    pub(super) fn can_enter(&self, path: &Path) -> bool {
        self.stand_in.is_none()
            || path.ancestors().filter(|dir| dir.exists()).all(|dir| {
                fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o001 != 0)
            })
    }

    /// Sends a signal, by `pg_ctl kill`: it needs no `unsafe`, and no `kill` program, which
    /// small images do not have.
    pub(super) fn signal(
        &self,
        binaries: &Binaries,
        signal: &str,
        pid: u32,
    ) -> Result<(), ClusterError> {
        let mut command = self.command(binaries, "pg_ctl");
        command.args(["kill", signal, &pid.to_string()]);
        run(&mut command, || format!("sending {signal} to process {pid}")).map(drop)
    }
}

impl Account {
    fn first_of(names: &[&'static str]) -> Result<Self, ClusterError> {
        names
            .iter()
            .find_map(|name| {
                let (uid, gid) = (id(&["-u", name]).ok()?, id(&["-g", name]).ok()?);
                (uid != 0).then_some(Self { name, uid, gid })
            })
            .ok_or_else(|| ClusterError::NoUser { tried: names.join(" and ") })
    }
}

/// What `id` prints: std has no word for user ids, and calling libc needs `unsafe`.
fn id(args: &[&str]) -> io::Result<u32> {
    let output = command("id").args(args).stdin(Stdio::null()).output()?;
    parse_id(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// macOS prints the id of `nobody` as -2.
fn parse_id(text: &str) -> Option<u32> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

/// Runs a program to its end; its standard output, or an error with all it said.
pub(super) fn run(
    command: &mut Command,
    doing: impl Fn() -> String,
) -> Result<String, ClusterError> {
    let output = command.stdin(Stdio::null()).output().doing(|| {
        let program = command.get_program().display();
        format!("{}: running {program}", doing())
    })?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.into_owned());
    }
    let said = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let said = said.trim();
    let cut = said.ceil_char_boundary(said.len().saturating_sub(OUTPUT_SHOWN));
    Err(ClusterError::Failed {
        doing: doing(),
        status: output.status.to_string(),
        output: said[cut..].to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ids_are_read_in_either_spelling() {
        assert_eq!(parse_id("101\n"), Some(101));
        assert_eq!(parse_id("4294967294\n"), Some(4_294_967_294));
        assert_eq!(parse_id("-2\n"), Some(4_294_967_294));
        assert_eq!(parse_id("id: no such user\n"), None);
        assert_eq!(parse_id(""), None);
    }

    #[test]
    fn the_user_is_never_root() {
        let runner = Runner::current().unwrap();
        assert_eq!(runner.uid == 0, runner.stand_in.is_some());
        assert!(runner.stand_in.is_none_or(|account| account.uid != 0));
    }

    #[test]
    fn root_runs_nothing_out_of_another_users_directory() {
        let runner = Runner::current().unwrap();
        let base = env::temp_dir().join(format!("trusted-{}", std::process::id()));
        fs::create_dir(&base).unwrap();
        let cache = base.join("not/there/yet");
        assert!(runner.trusts(&cache));
        if runner.stand_in.is_some() {
            let to_all = fs::Permissions::from_mode(0o777);
            fs::set_permissions(&base, to_all).unwrap();
            assert!(!runner.trusts(&cache), "anybody may write there");
            fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
            chown(&base, Some(4242), None).unwrap();
            assert!(!runner.trusts(&cache), "another user's");
            let link = base.with_extension("link");
            std::os::unix::fs::symlink(&base, &link).unwrap();
            assert!(!runner.trusts(&link), "a link to it");
            fs::remove_file(&link).unwrap();
        }
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn a_failed_program_is_reported_with_what_it_said() {
        let mut command = command("sh");
        command.args(["-c", "echo out; echo sorry >&2; exit 3"]);
        let text = run(&mut command, || "trying".to_owned()).unwrap_err().to_string();
        assert!(text.contains("trying failed") && text.contains("3"), "{text}");
        assert!(text.contains("out\nsorry"), "{text}");
    }
}
