//! The `pghost` command. All of it is in `pghost::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pghost::cli::main()
}
