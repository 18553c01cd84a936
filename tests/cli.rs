//! The command as people and scripts meet it: what is typed, what is seen, what comes back.
#![allow(clippy::unwrap_used)] // clippy.toml's leave covers test functions, not their helpers

use std::{
    env,
    io::{BufRead, BufReader, pipe},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

/// Where nothing listens: the port is reserved, and connecting to it is refused at once.
const NOWHERE: &str = "postgres://ann:hunter2@127.0.0.1:1/shop";

/// A sentence: what is typed, and what must come of it.
struct Sentence {
    command: Command,
}

/// Begins a sentence, with nothing of this process's settings for Postgres.
fn pghost() -> Sentence {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pghost"));
    command.stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PG") || name.starts_with("GHOST_") {
            command.env_remove(&*name);
        }
    }
    Sentence { command }
}

impl Sentence {
    fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.command.args(args);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    fn stdout_to(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    #[track_caller]
    fn ends_with(mut self, code: i32) -> Outcome {
        let Output { status, stdout, stderr } = self.command.output().unwrap();
        let outcome = Outcome {
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        };
        assert_eq!(status.code(), Some(code), "{outcome:?}");
        outcome.shows_no_password()
    }

    #[track_caller]
    fn succeeds(self) -> Outcome {
        self.ends_with(0)
    }

    /// Fails with the three lines that every error has, and nothing before them but progress.
    #[track_caller]
    fn fails_with(self, code: i32) -> Outcome {
        let outcome = self.ends_with(code);
        let lines = outcome.stderr.lines().filter(|line| !line.starts_with('['));
        let starts: Vec<_> = lines.map(|line| line.get(..7)).collect();
        let expected = ["error: ", "state: ", "next:  "].map(Some);
        assert_eq!(starts, expected, "{}", outcome.stderr);
        outcome
    }
}

/// What was seen.
#[derive(Debug)]
struct Outcome {
    stdout: String,
    stderr: String,
}

impl Outcome {
    #[track_caller]
    fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in {}", self.stdout);
        self
    }

    #[track_caller]
    fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {}", self.stderr);
        self
    }

    #[track_caller]
    fn stdout_is_empty(self) -> Self {
        assert_eq!(self.stdout, "");
        self
    }

    #[track_caller]
    fn stderr_is_empty(self) -> Self {
        assert_eq!(self.stderr, "");
        self
    }

    /// The one line of JSON that an error is.
    #[track_caller]
    fn error_event(&self) -> serde_json::Value {
        let event: serde_json::Value = serde_json::from_str(self.stdout.trim()).unwrap();
        assert_eq!(event["event"], "error", "{event}");
        event
    }

    #[track_caller]
    fn shows_no_password(self) -> Self {
        for text in [&self.stdout, &self.stderr] {
            assert!(!text.contains("hunter2"), "{text}");
        }
        self
    }
}

#[test]
fn help_is_for_its_reader_and_no_failure() {
    pghost()
        .args(["--help"])
        .succeeds()
        .stdout_has("demo")
        .stdout_has("migrate")
        .stdout_has("Exit codes:")
        .stderr_is_empty();
    pghost()
        .args(["migrate", "--help"])
        .env("GHOST_SOURCE", NOWHERE)
        .succeeds()
        .stdout_has("GHOST_SOURCE")
        .stdout_has("--table <S.T[=S2.T2]>")
        .stdout_has("--then <WHAT>")
        .stderr_is_empty();
}

#[test]
fn version_is_the_packages() {
    let version = concat!("pghost ", env!("CARGO_PKG_VERSION"), "\n");
    let outcome = pghost().args(["--version"]).succeeds();
    assert_eq!(outcome.stdout, version);
}

#[test]
fn help_into_a_pipe_that_is_closed_is_no_failure() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    pghost().args(["--help"]).stdout_to(writer).succeeds().stderr_is_empty();
}

#[test]
fn no_command_says_which_there_are() {
    pghost()
        .fails_with(2)
        .stderr_has("no command was given")
        .stderr_has("pghost demo")
        .stdout_is_empty();
}

#[test]
fn an_unknown_option_is_named_without_its_value() {
    pghost()
        .args(["migrate", "--sorce=postgres://ann:hunter2@old/shop"])
        .fails_with(2)
        .stderr_has("error: there is no option --sorce here")
        .stderr_has("state: nothing was changed on either server")
        .stderr_has("did you mean --source?")
        .stdout_is_empty();
}

#[test]
fn a_stray_word_is_not_shown_since_it_may_be_a_secret() {
    pghost()
        .args(["migrate", "postgres://ann:hunter2@old/shop"])
        .fails_with(2)
        .stderr_has("belongs to no option");
    pghost()
        .args(["postgres://ann:hunter2@old/shop"])
        .fails_with(2)
        .stderr_has("the first word is not a command");
}

#[test]
fn a_missing_server_says_which_option_or_variable_gives_it() {
    pghost()
        .args(["migrate", "--table", "t", "--target", NOWHERE])
        .fails_with(2)
        .stderr_has("error: the source is missing")
        .stderr_has("--source")
        .stderr_has("GHOST_SOURCE");
    pghost()
        .args(["migrate", "--table", "t"])
        .env("GHOST_SOURCE", NOWHERE)
        .fails_with(2)
        .stderr_has("error: the target is missing")
        .stderr_has("GHOST_TARGET");
}

#[test]
fn a_bad_table_shows_how_tables_are_spelled() {
    pghost()
        .args(["migrate", "--table", "db.s.t"])
        .env("GHOST_SOURCE", NOWHERE)
        .env("GHOST_TARGET", NOWHERE)
        .fails_with(2)
        .stderr_has(r#"--table "db.s.t" can't be read"#)
        .stderr_has("SCHEMA.TABLE=SCHEMA2.TABLE2");
}

#[test]
fn pages_are_cut_in_the_ways_that_are_named() {
    pghost()
        .args(["migrate", "--paging", "ctid"])
        .fails_with(2)
        .stderr_has("--paging")
        .stderr_has("auto, keyset, range");
}

#[test]
fn sizes_of_zero_are_refused() {
    for option in ["--page-rows", "--copy-jobs"] {
        pghost()
            .args(["migrate", option, "0"])
            .fails_with(2)
            .stderr_has(option)
            .stderr_has("a whole number from 1");
    }
}

#[test]
fn a_bad_connection_string_is_not_shown() {
    let bad = "postgres://ann:hunter2@old/shop?sslmode=hunter2";
    pghost()
        .args(["migrate", "--source", bad, "--table", "t"])
        .fails_with(2)
        .stderr_has("the source can't be used")
        .stderr_has("--source");
}

#[test]
fn with_json_a_refusal_is_an_event_too() {
    let usage = pghost().args(["migrate", "--progress", "json", "--nonsense"]).fails_with(2);
    let event = usage.error_event();
    assert_eq!(event["code"], 2);
    assert_eq!(event["message"], "there is no option --nonsense here");
    assert!(event["sqlstate"].is_null());
    assert!(event["state"].is_string() && event["hint"].is_string());

    let missing = pghost().args(["migrate", "--progress", "json"]).fails_with(2);
    assert_eq!(missing.error_event()["message"], "the source is missing");
}

#[test]
fn json_into_a_pipe_that_is_closed_changes_no_exit_code() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    pghost()
        .args(["migrate", "--progress", "json"])
        .stdout_to(writer)
        .fails_with(2)
        .stderr_has("the source is missing");
}

#[test]
fn an_unreachable_server_is_named_and_nothing_was_changed() {
    let args = ["migrate", "--table", "t", "--source", NOWHERE, "--target", NOWHERE];
    pghost()
        .args(args)
        .fails_with(2)
        .stderr_has("connecting to the source: can't reach 127.0.0.1:1")
        .stderr_has("state: nothing was changed on either server")
        .stderr_has("check host, port and network")
        .stdout_is_empty();
    let outcome = pghost().args(args).args(["--progress", "json"]).fails_with(2);
    let events: Vec<serde_json::Value> =
        (outcome.stdout.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"], "phase");
    assert_eq!(events.last().unwrap()["event"], "error");
}

#[test]
fn an_interrupt_ends_a_run_that_waits_for_a_silent_server() {
    // It takes connections, as the kernel does for every listener, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let dsn = format!("postgres://ann:hunter2@127.0.0.1:{port}/shop?sslmode=disable");
    let mut command = pghost()
        .args(["migrate", "--table", "t", "--progress", "plain"])
        .args(["--source", &dsn, "--target", &dsn])
        .command;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    let pid = child.id().to_string();
    assert!(
        next().ends_with("prepare: looking at both servers; publication, slot and target tables")
    );
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(next().starts_with("stopping at the next safe point"));
    assert_eq!(next(), "error: interrupted");
    assert!(next().starts_with("state: nothing was changed on either server"));
    assert!(next().starts_with("next:  give the same command again"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_password_file_that_others_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let file = env::temp_dir().join(format!("pghost-cli-{}.pgpass", std::process::id()));
    std::fs::write(&file, "*:*:*:*:hunter2\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = pghost()
        .args(["migrate", "--table", "t", "--source", "postgres://ann@127.0.0.1:1/shop"])
        .args(["--target", "postgres://ann@127.0.0.1:1/shop"])
        .env("PGPASSFILE", file.to_str().unwrap())
        .command
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let stderr = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(stderr.matches("warning: the password file").count(), 1, "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_trace_that_can_not_be_written_is_refused_before_anything_is_done() {
    pghost()
        .args(["migrate", "--table", "t", "--trace-protocol", "/nowhere/at/all"])
        .env("GHOST_SOURCE", NOWHERE)
        .env("GHOST_TARGET", NOWHERE)
        .fails_with(2)
        .stderr_has("the trace can't be written to /nowhere/at/all")
        .stderr_has("--trace-protocol");
}

/// A file that is removed when the test is over.
struct File(std::path::PathBuf);

impl File {
    fn with(name: &str, text: &str) -> Self {
        let path = env::temp_dir().join(format!("pghost-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let file = Self(path);
        file.set_mode(0o600);
        file
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&self.0, mode).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn options_come_from_a_file_unless_they_are_typed() {
    let file = File::with(
        "options.toml",
        "source = \"postgres://ann:hunter2@127.0.0.1:1/shop\"\n\
         target = \"postgres://ann:hunter2@127.0.0.1:2/shop\"\n\
         table = [\"t\"]\nprogress = \"json\"\n",
    );
    let with = ["migrate", "--config", file.path()];
    let outcome = pghost().args(with).fails_with(2).stderr_has("can't reach 127.0.0.1:1");
    let last = outcome.stdout.lines().last().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(last).unwrap()["event"], "error");
    let third = "postgres://ann:hunter2@127.0.0.1:3/shop";
    pghost().args(with).args(["--source", third]).fails_with(2).stderr_has("127.0.0.1:3");
    let elsewhere = pghost().args(with).args(["--progress", "off"]).env("GHOST_SOURCE", third);
    elsewhere.fails_with(2).stderr_has("127.0.0.1:3").stdout_is_empty();
    // A variable that is empty is as good as none.
    pghost().args(with).env("GHOST_SOURCE", "").fails_with(2).stderr_has("127.0.0.1:1");
}

#[test]
fn a_file_with_a_password_that_others_may_read_is_warned_of() {
    let word = "holds a password";
    for (i, (source, mode, warns)) in [
        ("postgres://ann:hunter2@127.0.0.1:1/shop", 0o644, true),
        ("host=127.0.0.1 port=1 password = 'hunter2'", 0o620, true),
        ("postgres://127.0.0.1:1/shop?user=a&password=hunter2", 0o606, true),
        ("service=none password=hunter2", 0o644, true),
        ("postgres://ann:hunter2@127.0.0.1:1/shop", 0o600, false),
        ("postgres://ann@127.0.0.1:1/shop", 0o644, false),
    ]
    .into_iter()
    .enumerate()
    {
        let text =
            format!("source = \"{source}\"\ntarget = \"host=127.0.0.1 port=1\"\ntable = \"t\"");
        let file = File::with(&format!("open-{i}.toml"), &text);
        file.set_mode(mode);
        let outcome = pghost().args(["check", "--config", file.path()]).ends_with(2);
        assert_eq!(outcome.stderr.contains(word), warns, "{source} {mode:o}: {outcome:?}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_and_without_its_secrets() {
    for (text, line, what) in [
        ("table = \"t\"\nsorce = \"postgres://ann:hunter2@h\"", 2, "there is no key sorce"),
        ("source = postgres://ann:hunter2@h", 1, "this is not TOML"),
        ("then = \"hunter2\"", 1, "--then does not take that value"),
    ] {
        let file = File::with(&format!("wrong-{}.toml", what.len()), text);
        let outcome = pghost().args(["check", "--config", file.path()]).fails_with(2);
        outcome.stderr_has(what).stderr_has(&format!("{}, line {line}: ", file.path()));
    }
    pghost()
        .args(["migrate", "--config", "/nowhere/at/all"])
        .fails_with(2)
        .stderr_has("/nowhere/at/all");
}

#[test]
fn check_takes_what_migrate_takes() {
    pghost()
        .args(["check", "--help"])
        .succeeds()
        .stdout_has("--table <S.T[=S2.T2]>")
        .stdout_has("--defer-indexes")
        .stdout_has("changes nothing on either server")
        .stdout_has("2  something would be refused");
    let outcome =
        pghost().args(["check", "--json", "--table", "t", "--source", NOWHERE]).fails_with(2);
    assert_eq!(outcome.error_event()["message"], "the target is missing");
    let usage = pghost().args(["check", "--json", "--nonsense"]).fails_with(2);
    assert_eq!(usage.error_event()["message"], "there is no option --nonsense here");
}

#[test]
fn shells_get_completions() {
    for (shell, words) in [
        ("bash", ["complete -F _pghost", "--defer-indexes"]),
        ("zsh", ["#compdef pghost", "--defer-indexes"]),
        ("fish", ["complete -c pghost", "defer-indexes"]),
    ] {
        let outcome = pghost().args(["completions", shell]).succeeds().stderr_is_empty();
        for word in words {
            assert!(outcome.stdout.contains(word), "{shell}: {word}");
        }
    }
    pghost().args(["completions", "tcsh"]).fails_with(2).stderr_has("one of bash");
}

/// bash itself takes the completions, and offers what begins with what was typed.
#[test]
fn bash_completes_a_command() {
    let completions = pghost().args(["completions", "bash"]).succeeds().stdout;
    let script = format!(
        "{completions}\nCOMP_WORDS=(pghost migr); COMP_CWORD=1; _pghost pghost migr pghost; \
         echo \"${{COMPREPLY[*]}}\""
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "migrate\n", "{stderr}");
}

#[test]
fn the_manual_is_made_from_the_options() {
    let page = pghost().args(["man"]).succeeds().stderr_is_empty().stdout;
    assert!(page.contains(".TH pghost 1") && page.contains("pghost\\-check"), "{page}");
    let page = pghost().args(["man", "migrate"]).succeeds().stdout;
    assert!(
        page.contains(".TH pghost-migrate 1") && page.contains("\\-\\-defer\\-indexes"),
        "{page}"
    );
    pghost().args(["man", "nonsense"]).fails_with(2).stderr_has("there is no such command");
}
