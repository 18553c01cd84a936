//! The command line: what people type and see.
//!
//! ```text
//!   typed                meant                  run
//!   args, usage   ──>    options, table   ──>   migrate::run, check, demo::run
//!   config_file                                 pages (of the command line itself)
//!                                                 │ events            │ Failure
//!                                                 v                   v
//!                                               progress            failure, exit code
//!                                                 └──── screen ───────┘
//! ```
//!
//! Only this room prints, and only its `screen`: a pipe that was closed at the other end never
//! ends a run. What a migration *is* stands in [`crate::migrate`]; nothing is decided here
//! about servers. Names, exit codes and JSON fields are promises to scripts.

mod after_help;
mod args;
mod check;
mod config_file;
#[cfg(test)]
mod documentation;
mod duration;
mod failure;
mod log;
mod options;
mod pages;
mod progress;
mod screen;
mod sequences;
mod signals;
mod status;
mod table;
mod trusted;
mod usage;
mod values;

use std::{env, ffi::OsString, panic::resume_unwind, process::ExitCode, thread, time::Duration};

use tokio::runtime::{Builder, Runtime};

use crate::{
    conn, demo,
    migrate::{self, Failure},
};
use args::Command;
use config_file::Wrong;
use screen::Screen;
use signals::Signals;

/// Copying and applying run side by side; more threads would only take the CPU from servers that
/// often run on the same machine.
const WORKER_THREADS: usize = 2;

/// How long sessions and throwaway servers may take to end after a run.
const CLOSING_TIME: Duration = Duration::from_secs(2);

/// Runs the command that this process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = env::args_os().collect();
    let refused =
        |failure: &Failure| failure::show(failure, usage::asks_for_json(&typed), &Screen::plain());
    let (args, warning) = match config_file::read(&typed) {
        Ok(read) => read,
        Err(Wrong::Typed(help)) if !help.use_stderr() => {
            // `pghost --help | head -1` is no failure.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
        Err(Wrong::Typed(error)) => return refused(&usage::refusal(&error, &typed)),
        Err(Wrong::File(failure)) => return refused(&failure),
    };
    let (mode, screen) = progress::choose(args.shown());
    warn(warning.as_slice(), &screen);
    let logs = log::start(args.log, args.trace_protocol.as_deref(), &screen);
    match logs.and_then(|()| run(args.command, mode, &screen)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure::show(&failure, mode == progress::Mode::Json, &screen),
    }
}

fn run(command: Command, mode: progress::Mode, screen: &Screen) -> Result<(), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // Whatever is wrong with the arguments is said before anything is started.
    let meant = match command {
        Command::Demo(args) => Meant::Demo(options::demo(&args)),
        Command::Check(args) => Meant::Check(migration(args.migrate, cores, screen)?),
        Command::Migrate(args) => Meant::Migrate(migration(*args, cores, screen)?),
        Command::Status(args) => Meant::Status(Box::new(options::status(args, conn::parse_dsn)?)),
        Command::CutoverSequences(args) => {
            let json = args.json;
            Meant::Cutover(Box::new(options::cutover_sequences(args, conn::parse_dsn)?), json)
        }
        Command::Verify(args) => {
            let options = options::verify(*args, conn::parse_dsn, cores)?;
            warn(&options.warnings, screen);
            Meant::Verify(Box::new(options.spec))
        }
        Command::Cleanup(args) => {
            Meant::Cleanup(Box::new(options::cleanup(args, conn::parse_dsn)?))
        }
        Command::Completions(args) => {
            screen.print(pages::completions(&args).trim_end());
            return Ok(());
        }
        Command::Man(args) => {
            screen.print(pages::man(&args)?.trim_end());
            return Ok(());
        }
    };
    let runtime = runtime()?;
    // A task of the runtime, so that the thread that learns of a message is the one that takes it:
    // to hand each to this thread would cost more than the messages do.
    let task = runtime.spawn(carry_out(meant, mode, screen.clone()));
    let result = runtime.block_on(task);
    runtime.shutdown_timeout(CLOSING_TIME);
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => Err(Failure::interrupted()),
    })
}

/// What a migration was asked for, with what a person should see first.
fn migration(
    args: args::Migrate,
    cores: usize,
    screen: &Screen,
) -> Result<Box<options::Migrate>, Failure> {
    let options = options::migrate(args, conn::parse_dsn, cores)?;
    warn(&options.warnings, screen);
    Ok(Box::new(options))
}

fn warn(warnings: &[String], screen: &Screen) {
    for warning in warnings {
        screen.note(&format!("warning: {warning}"));
    }
}

enum Meant {
    Demo(demo::Options),
    Check(Box<options::Migrate>),
    Migrate(Box<options::Migrate>),
    Status(Box<options::Status>),
    Cutover(Box<migrate::CutoverSpec>, bool),
    Verify(Box<migrate::VerifySpec>),
    Cleanup(Box<migrate::CleanupSpec>),
}

impl Meant {
    /// How it ends when it may not even stop at a safe point.
    fn cut_short(&self) -> Failure {
        match self {
            Self::Migrate(_) | Self::Cutover(..) | Self::Cleanup(_) => Failure::interrupted(),
            Self::Check(_) | Self::Status(_) | Self::Verify(_) => Failure::interrupted_early(),
            Self::Demo(_) => Failure {
                state: "the throwaway servers are stopped; no other server was touched".into(),
                hint: "run `pghost demo` again; it begins anew".into(),
                ..Failure::interrupted()
            },
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread().worker_threads(WORKER_THREADS).enable_all().build().map_err(
        |error| {
            Failure::refused(
                format!("can't start the runtime: {error}"),
                "see whether the limits on threads and open files (ulimit -a) are used up",
            )
        },
    )
}

async fn carry_out(meant: Meant, mode: progress::Mode, screen: Screen) -> Result<(), Failure> {
    let mut signals = Signals::listen(mode, &screen)?;
    let interrupt = signals.interrupt();
    let mut listener = progress::listener(mode, &screen);
    let cut_short = meant.cut_short();
    let work = async {
        match meant {
            Meant::Migrate(options) => {
                Box::pin(migrate::run(&options.spec, interrupt, &mut *listener)).await
            }
            Meant::Check(options) => {
                let checked = Box::pin(migrate::check(&options.spec)).await?;
                screen.print(&check::text(&checked, mode == progress::Mode::Json));
                check::verdict(&checked)
            }
            Meant::Status(options) => {
                let found = migrate::status(&options.spec).await?;
                screen.print(&status::text(&found, options.json));
                Ok(())
            }
            Meant::Cutover(spec, json) => {
                migrate::cutover_sequences(&spec, &mut |reports| {
                    screen.print(&sequences::text(reports, json));
                })
                .await
            }
            Meant::Verify(spec) => {
                Box::pin(migrate::verify(&spec, interrupt, &mut *listener)).await
            }
            Meant::Cleanup(spec) => {
                let cleaned = migrate::cleanup(&spec).await?;
                screen.print(&status::removed(&spec, &cleaned));
                Ok(())
            }
            Meant::Demo(options) => {
                let mut out = progress::explanation(mode, &screen);
                Box::pin(demo::run(options, interrupt, &mut *listener, &mut out)).await
            }
        }
    };
    // Dropping the work closes its connections, and the servers roll back what was open.
    tokio::select! {
        result = work => result,
        () = signals.at_once() => Err(cut_short),
    }
}
