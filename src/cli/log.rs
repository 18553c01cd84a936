//! `--log`: what the rooms below say for those who look for a fault, on stderr. And
//! `--trace-protocol`: what crosses the sockets, in a file.
//!
//! Not progress: that is told by events, whatever the level.

use std::{
    env,
    fmt::Result as Written,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, IsTerminal},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    sync::Mutex,
};

use rustix::{fs::OFlags, process::geteuid};
use tracing::{Event, Level as TracingLevel, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
};

use super::{args::Level, screen::Screen};
use crate::{conn::TRACE_TARGET, migrate::Failure};

/// Begins to log. Only pghost's own rooms: the libraries' words help nobody here.
///
/// Errors: the trace's file can't be written.
pub(super) fn start(level: Level, trace: Option<&Path>, screen: &Screen) -> Result<(), Failure> {
    // https://no-color.org
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_writer(screen.clone())
        .with_filter(EnvFilter::new(format!("pghost={}", word(level))));
    let trace = trace.map(trace_file).transpose()?.map(|file| {
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(TraceLine)
            .with_writer(Mutex::new(file))
            .with_filter(Targets::new().with_target(TRACE_TARGET, TracingLevel::TRACE))
    });
    if level == Level::Off && trace.is_none() {
        return Ok(());
    }
    // There is one process and it starts once; in tests another may have been faster.
    let subscriber = tracing_subscriber::registry().with(log).with(trace);
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

fn word(level: Level) -> LevelFilter {
    match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// The trace holds everybody's rows: it is for our own eyes until we say otherwise.
///
/// A directory of everybody's, where somebody else may have put a file or a link of that name, is
/// the natural place for it. So it is written to only if it is a file of our own that has no other
/// name; and nothing is emptied before that is known.
fn trace_file(path: &Path) -> Result<File, Failure> {
    // Without NONBLOCK a pipe would be waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let open =
        OpenOptions::new().write(true).create(true).mode(0o600).custom_flags(flags).open(path);
    let ours = open.and_then(|file| {
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no plain file"));
        }
        if found.uid() != geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if found.nlink() > 1 {
            return Err(io::Error::other("it has another name besides"));
        }
        // An older file keeps its rights otherwise.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
        Ok(file)
    });
    ours.map_err(|error| {
        let error = match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => "it is a link".to_owned(),
            _ => error.to_string(),
        };
        Failure::refused(
            format!("the trace can't be written to {}: {error}", path.display()),
            "give --trace-protocol the name of a new file, or of one of your own",
        )
    })
}

/// A line of the trace: the time, and what `conn` has made of the message.
struct TraceLine;

impl<S, N> FormatEvent<S, N> for TraceLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> Written {
        SystemTime.format_time(&mut writer)?;
        writer.write_char('\t')?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
