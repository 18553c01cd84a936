//! `--log`: what the rooms below say for those who look for a fault, on stderr.
//!
//! Not progress: that is told by events, whatever the level.

use std::{env, io::IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{args::Level, screen::Screen};

/// Begins to log. Only pghost's own rooms: the libraries' words help nobody here.
pub(super) fn start(level: Level, screen: &Screen) {
    let level = match level {
        Level::Off => return,
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    // https://no-color.org
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("pghost={level}")))
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .with_writer(screen.clone())
        .finish();
    // There is one process and it starts once; in tests another may have been faster.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
