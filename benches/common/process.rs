//! pghost as a process, and what it takes of the machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

type AnyError = Box<dyn std::error::Error>;

/// What a run took.
pub(crate) struct Usage {
    pub(crate) took: Duration,
    /// Its last word: the event `finished`.
    pub(crate) finished: serde_json::Value,
    pub(crate) processor: Duration,
    pub(crate) memory_kb: u64,
}

/// Ticks of a second in /proc: `USER_HZ`, which is 100 on every Linux.
const TICKS: u64 = 100;

pub(crate) fn start(arguments: &[String]) -> Result<Child, AnyError> {
    let program = env!("CARGO_BIN_EXE_pghost");
    let mut command = Command::new(program);
    command.args(arguments).args(["--progress", "json"]).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

/// Runs it to its end, and measures it.
pub(crate) fn run(arguments: &[String]) -> Result<Usage, AnyError> {
    let started = Instant::now();
    let mut child = start(arguments)?;
    let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
    let reader = thread::spawn(move || lines.lines().map_while(Result::ok).last());
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
    let last = reader.join().ok().flatten().unwrap_or_default();
    match child.wait()?.code() {
        Some(0) => {
            let finished = serde_json::from_str(&last)?;
            Ok(Usage {
                took,
                finished,
                processor: Duration::from_millis(ticks * 1000 / TICKS),
                memory_kb,
            })
        }
        code => Err(format!("pghost ended with {code:?}").into()),
    }
}
