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
    /// The processor time of the whole machine meanwhile: the servers' and its own.
    pub(crate) machine: Duration,
    pub(crate) memory_kb: u64,
}

impl Usage {
    /// Its part of the processor time that the run took, in percent.
    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.processor.as_secs_f64() / self.machine.as_secs_f64().max(1e-3)
    }

    /// How long a phase took by its own account; `NaN` if it was not told.
    #[allow(dead_code, reason = "not every bench asks")]
    pub(crate) fn seconds(&self, phase: &str) -> f64 {
        self.finished["seconds"][phase].as_f64().unwrap_or(f64::NAN)
    }
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
    let (started, busy) = (Instant::now(), machine_ticks()?);
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
    let (took, busy) = (started.elapsed(), machine_ticks()?.saturating_sub(busy));
    let as_time = |ticks: u64| Duration::from_millis(ticks * 1000 / TICKS);
    let last = reader.join().ok().flatten().unwrap_or_default();
    match child.wait()?.code() {
        Some(0) => {
            let finished = serde_json::from_str(&last)?;
            Ok(Usage {
                took,
                finished,
                processor: as_time(ticks),
                machine: as_time(busy),
                memory_kb,
            })
        }
        code => Err(format!("pghost ended with {code:?}").into()),
    }
}

/// What all processors have done since the machine started: all columns of /proc/stat's first line
/// but idle and iowait, and those of guests, which are in the others already.
fn machine_ticks() -> Result<u64, AnyError> {
    let stat = fs::read_to_string("/proc/stat")?;
    let columns = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let busy = columns.take(8).enumerate().filter(|(at, _)| ![3, 4].contains(at));
    Ok(busy.filter_map(|(_, ticks)| ticks.parse::<u64>().ok()).sum())
}
