//! libpq's side: a `psql` of this machine, run with a case's environment and nothing else.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
};

use super::{
    outcome::{Outcome, Refusal, SQL, Warned},
    stage::Inputs,
};

/// Where packages put their releases side by side, besides `PATH`.
const VERSIONED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", "bin"),
    ("/usr", "bin"), // /usr/pgsql-18
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
];

/// A client older than this looks for files in the user's home and not in `HOME`.
const OLDEST: u32 = 15;

/// What libpq says, in the order in which it is looked for. Of several hosts it tells about each,
/// and what came last counts: that nobody is there stands at the end.
const WORDS: &[(&str, Refusal)] = &[
    ("invalid connection option", Refusal::Unknown),
    ("invalid URI query parameter", Refusal::Unknown),
    ("missing \"=\" after", Refusal::Syntax),
    ("unterminated quoted string", Refusal::Syntax),
    ("IPv6 host address", Refusal::Syntax),
    ("in URI (expected", Refusal::Syntax),
    ("key/value separator", Refusal::Syntax),
    ("percent-encoded", Refusal::Syntax),
    ("could not match", Refusal::Lists),
    ("definition of service", Refusal::NoService),
    ("syntax error in service file", Refusal::ServiceSyntax),
    ("nested service specifications", Refusal::ServiceSyntax),
    ("too long in service file", Refusal::ServiceSyntax),
    ("service file", Refusal::NoServiceFile),
    ("too weak", Refusal::Contradiction),
    ("may not be used with", Refusal::Contradiction),
    ("invalid SSL protocol version range", Refusal::Contradiction),
    ("weak sslmode", Refusal::Contradiction),
    ("invalid port number", Refusal::Value),
    ("setsockopt(", Refusal::Value),
    ("invalid integer value", Refusal::Value),
    ("could not parse network address", Refusal::Value),
    ("value: \"", Refusal::Value),
    ("require_auth method \"", Refusal::Value),
    ("no password supplied", Refusal::NoPassword),
    ("password authentication failed", Refusal::WrongPassword),
    ("channel binding required", Refusal::ChannelBinding),
    ("channel binding is required", Refusal::ChannelBinding),
    ("authentication method requirement", Refusal::Method),
    ("GSSAPI encryption required", Refusal::CanNot),
    ("GSSAPI support is not compiled in", Refusal::CanNot),
    ("pg_hba.conf rejects", Refusal::Shut),
    ("role \"", Refusal::NoRole),
    ("database \"", Refusal::NoDatabase),
    ("FATAL:", Refusal::Server),
    ("Connection refused", Refusal::Unreachable),
    ("No such file or directory", Refusal::Unreachable),
    ("could not translate host name", Refusal::Unreachable),
    ("Not a directory", Refusal::Unreachable),
];

/// A `psql` that runs.
pub(super) struct Psql {
    program: PathBuf,
    /// Which parameters its libpq knows.
    known: Mutex<HashMap<&'static str, bool>>,
}

impl Psql {
    /// The newest on this machine, or why there is none.
    pub(super) fn find() -> Result<Self, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
        for (parent, below) in VERSIONED {
            let entries = fs::read_dir(parent).into_iter().flatten().flatten();
            directories.extend(entries.map(|entry| entry.path().join(below)));
        }
        let newest = directories
            .into_iter()
            .map(|directory| directory.join("psql"))
            .filter(|program| is_program(program))
            .filter_map(|program| Some((release(&program)?, program)))
            .max();
        match newest {
            Some((major, program)) if major >= OLDEST => {
                Ok(Self { program, known: Mutex::default() })
            }
            Some((major, _)) => Err(format!("psql is {major}, and {OLDEST} is needed")),
            None => Err("there is no psql on this machine".to_owned()),
        }
    }

    /// Whether its libpq knows a parameter.
    pub(super) fn knows(&self, parameter: &'static str) -> bool {
        let mut known = self.known.lock().unwrap();
        *known.entry(parameter).or_insert_with(|| {
            let dsn = format!("host=/nowhere {parameter}=''");
            let said = self.command(&dsn, &[]).output().unwrap();
            !String::from_utf8_lossy(&said.stderr).contains("invalid connection option")
        })
    }

    /// The directory in which it looks for a socket that nobody named.
    pub(super) fn default_directory(&self) -> Option<PathBuf> {
        let said = self.command("port=1", &[]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let (_, after) = said.split_once("on socket \"")?;
        Some(PathBuf::from(after.split_once("/.s.PGSQL.1\"")?.0))
    }

    pub(super) fn run(&self, inputs: &Inputs) -> Outcome {
        let Output { status, stdout, stderr } =
            self.command(&inputs.dsn, &inputs.env).output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned();
        let mut warned = BTreeSet::new();
        if said.contains("has group or world access") {
            warned.insert(Warned::OpenToOthers);
        }
        if said.contains("is not a plain file") {
            warned.insert(Warned::NotPlain);
        }
        let end = if status.success() {
            let answer = String::from_utf8(stdout).unwrap();
            // Each program has its own name, and that is the one difference that is meant.
            Ok(answer.trim_end_matches('\n').replace("app=psql", "app=pghost"))
        } else {
            let found = WORDS.iter().find(|(words, _)| said.contains(words));
            let (_, refusal) =
                found.unwrap_or_else(|| panic!("psql says what no test knows: {said}"));
            Err(*refusal)
        };
        Outcome { end, warned, said }
    }

    fn command(&self, dsn: &str, env: &[(String, String)]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        command.args(["-X", "-w", "-A", "-t", "-c", SQL, "-d", dsn]).stdin(Stdio::null());
        command
    }
}

/// Not Debian's script of that name, which looks for a server of its own accord.
fn is_program(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| !bytes.starts_with(b"#!"))
}

fn release(program: &Path) -> Option<u32> {
    let said = Command::new(program).arg("--version").env_clear().output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let (_, version) = said.split_once("(PostgreSQL) ")?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
