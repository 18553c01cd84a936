//! The program itself, as a process that is told things, listened to and killed.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};

use crate::support::Database;

/// How long something is waited for that must come: far longer than it can take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lines that are read ahead of the test.
const LINES_AHEAD: usize = 4096;

/// A running pghost. It does not outlive the test, whichever way that ends.
pub(crate) struct Program {
    child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: mpsc::Receiver<String>,
    events: Vec<Value>,
    notes: Vec<String>,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) notes: Vec<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with nothing of this process's settings for Postgres.
fn command(from: &str, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pghost"));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PG") || name.starts_with("GHOST_") {
            command.env_remove(&*name);
        }
    }
    command.env("GHOST_SOURCE", from).env("GHOST_TARGET", to);
    command
}

/// Gives a command that prints text, waits for its end, and gives its exit code and all that it
/// has said.
pub(crate) async fn said(from: &str, to: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = command(from, to);
    command.args(args).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The lines of a pipe. A thread reads them, since a pipe blocks.
fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel(LINES_AHEAD);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if tell.blocking_send(line).is_err() {
                break;
            }
        }
    });
    told
}

/// Runs a command between two databases to its end.
pub(crate) fn pghost(from: &Database, to: &Database, args: &[&str]) -> Output {
    pghost_between(&from.dsn(), &to.dsn(), args)
}

/// The same, by connection strings.
pub(crate) fn pghost_between(from: &str, to: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pghost"));
    command.env("GHOST_SOURCE", from).env("GHOST_TARGET", to).args(args);
    command.output().unwrap()
}

impl Program {
    /// Starts `pghost migrate` between two databases, with nothing of this process's settings
    /// for Postgres.
    pub(crate) fn migrate(from: &Database, to: &Database, args: &[&str]) -> Self {
        Self::migrate_between(&from.dsn(), &to.dsn(), args)
    }

    /// The same, by connection strings.
    pub(crate) fn migrate_between(from: &str, to: &str, args: &[&str]) -> Self {
        Self::run("migrate", from, to, args)
    }

    /// Starts any command between two databases.
    pub(crate) fn run(command_name: &str, from: &str, to: &str, args: &[&str]) -> Self {
        let mut child = command(from, to)
            .args([command_name, "--progress", "json"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: lines(child.stdout.take().unwrap()),
            stderr: lines(child.stderr.take().unwrap()),
            child,
            events: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The next event, or `None` once there are no more.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.stdout.recv()).await;
        let line = line.unwrap_or_else(|_| panic!("silent after {:?}", self.events.last()))?;
        let event: Value = serde_json::from_str(&line).unwrap();
        self.events.push(event.clone());
        Some(event)
    }

    /// Waits for an event that must come.
    pub(crate) async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.next().await {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => panic!("it never came, but {:#?}", self.events),
            }
        }
    }

    /// Waits for a moment that must come before the end.
    pub(crate) async fn meets(&mut self, moment: impl Future<Output = ()>) {
        let ended = async { while self.next().await.is_some() {} };
        tokio::select! {
            () = moment => return,
            () = ended => {}
        }
        while let Some(line) = self.stderr.recv().await {
            self.notes.push(line);
        }
        panic!("it has ended: {:#?}", self.notes);
    }

    /// Waits for a line on stderr that must come.
    pub(crate) async fn note(&mut self, wanted: &str) {
        loop {
            let line = timeout(PATIENCE, self.stderr.recv()).await.unwrap();
            let line =
                line.unwrap_or_else(|| panic!("{wanted:?} was never said: {:?}", self.notes));
            let found = line.contains(wanted);
            self.notes.push(line);
            if found {
                break;
            }
        }
    }

    /// The most memory that it has held so far, in MB; `None` once it has ended, which may be before
    /// its last events are read here.
    pub(crate) fn memory_mb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024)
    }

    /// Sends a signal that can be listened to: `-INT`, `-TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGKILL. Gives the events that were read before.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.events)
    }

    /// Waits for the end.
    pub(crate) async fn ended(mut self) -> Ended {
        while self.next().await.is_some() {}
        while let Some(line) = timeout(PATIENCE, self.stderr.recv()).await.unwrap() {
            self.notes.push(line);
        }
        // Both pipes are closed: it has ended, or is about to.
        let code = self.child.wait().unwrap().code();
        Ended {
            code,
            events: std::mem::take(&mut self.events),
            notes: std::mem::take(&mut self.notes),
        }
    }

    /// Waits for an end with this exit code.
    pub(crate) async fn ends_with(self, code: i32) -> Ended {
        let ended = self.ended().await;
        assert_eq!(ended.code, Some(code), "{:#?}", ended.notes);
        ended
    }
}

impl Ended {
    /// The report of a run that came to its end; everything that was received is accounted for.
    pub(crate) fn finished(&self) -> &Value {
        let last = self.events.last().unwrap();
        assert_eq!(last["event"], "finished", "{last}");
        let table = &last["tables"][0];
        let sum: u64 = ["inserted", "updated", "deleted", "truncated", "skipped"]
            .iter()
            .map(|kind| table[kind].as_u64().unwrap())
            .sum();
        assert_eq!(last["changes_received"].as_u64(), Some(sum), "{last}");
        last
    }

    /// The event of a run that failed, which says the same as its exit code and three lines.
    pub(crate) fn error(&self) -> &Value {
        let last = self.events.last().unwrap();
        assert_eq!(last["event"], "error", "{last}");
        assert_eq!(last["code"].as_i64(), self.code.map(i64::from), "{last}");
        let starts = ["error: ", "state: ", "next:  "];
        let lines = &self.notes[self.notes.len().saturating_sub(3)..];
        let as_they_must =
            lines.len() == 3 && lines.iter().zip(starts).all(|(l, s)| l.starts_with(s));
        assert!(as_they_must, "{lines:#?}");
        last
    }
}

/// Whether an event is of a kind.
pub(crate) fn is(event: &Value, kind: &str) -> bool {
    event["event"] == kind
}

/// Whether an event is the beginning of a phase.
pub(crate) fn enters(event: &Value, phase: &str) -> bool {
    is(event, "phase") && event["phase"] == phase
}
