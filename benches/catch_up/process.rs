//! pghost as a process, and what it takes of the machine.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

type AnyError = Box<dyn std::error::Error>;

/// What a run took.
pub(crate) struct Usage {
    pub(crate) took: Duration,
    pub(crate) processor: Duration,
    pub(crate) memory_kb: u64,
}

/// Ticks of a second in /proc: `USER_HZ`, which is 100 on every Linux.
const TICKS: u64 = 100;

fn start(arguments: &[String]) -> Result<Child, AnyError> {
    let program = env!("CARGO_BIN_EXE_pghost");
    let mut command = Command::new(program);
    command.args(arguments).args(["--progress", "json"]).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// A backfill under way.
pub(crate) struct Backfill {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    tables: usize,
}

impl Backfill {
    /// Starts one, and comes back when its pages begin.
    pub(crate) fn start(arguments: &[String]) -> Result<Self, AnyError> {
        let mut child = start(arguments)?;
        let mut events = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let tables = arguments.iter().filter(|argument| *argument == "--table").count();
        for line in events.by_ref() {
            if line?.contains("\"backfill\"") {
                return Ok(Self { child, events, tables });
            }
        }
        Err("there was no backfill".into())
    }

    /// Waits until all tables but the last are there, with their keys, and stops it.
    pub(crate) fn stop_at_the_last_table(mut self) -> Result<(), AnyError> {
        let mut finished = 0;
        for line in self.events.by_ref() {
            let event: serde_json::Value = serde_json::from_str(&line?)?;
            let done = event["pages_total"].as_u64();
            let is_last = done.is_some() && done == event["pages_done"].as_u64();
            finished += usize::from(event["event"] == "progress" && is_last);
            if finished == self.tables - 1 {
                break;
            }
        }
        // The key comes after the last page.
        thread::sleep(Duration::from_secs(3));
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        match self.child.wait()?.code() {
            Some(1) => Ok(()),
            code => Err(format!("the backfill ended with {code:?}, not interrupted").into()),
        }
    }
}

/// Runs it to its end, and measures it.
pub(crate) fn catch_up(arguments: &[String]) -> Result<Usage, AnyError> {
    let started = Instant::now();
    let mut child = start(arguments)?;
    let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let reader = thread::spawn(move || lines.lines().map_while(Result::ok).count());
    let proc = format!("/proc/{}", child.id());
    let (mut memory_kb, mut ticks) = (0, 0);
    // A process that has ended stays to be looked at until it is waited for.
    loop {
        let stat = fs::read_to_string(format!("{proc}/stat"))?;
        let fields: Vec<_> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        ticks = [11, 12]
            .iter()
            .filter_map(|&at| fields.get(at)?.parse::<u64>().ok())
            .sum::<u64>()
            .max(ticks);
        if fields.first() == Some(&"Z") {
            break;
        }
        let status = fs::read_to_string(format!("{proc}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        memory_kb = memory_kb.max(peak.unwrap_or(0));
        thread::sleep(Duration::from_millis(10));
    }
    let took = started.elapsed();
    let _ = reader.join();
    match child.wait()?.code() {
        Some(0) => {
            Ok(Usage { took, processor: Duration::from_millis(ticks * 1000 / TICKS), memory_kb })
        }
        code => Err(format!("the catch-up ended with {code:?}").into()),
    }
}
