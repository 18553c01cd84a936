//! A backfill that is stopped at its last table, so that changes can be made before its
//! checkpoint.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    thread,
    time::Duration,
};

use crate::process;

type AnyError = Box<dyn std::error::Error>;

/// A backfill under way.
pub(crate) struct Backfill {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    tables: usize,
}

impl Backfill {
    /// Starts one, and comes back when its pages begin.
    pub(crate) fn start(arguments: &[String]) -> Result<Self, AnyError> {
        let mut child = process::start(arguments)?;
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
