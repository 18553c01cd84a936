//! The `pghost` command.

fn main() {}
