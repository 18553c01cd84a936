//! Installations of Postgres that can only say their version, for tests of where they are found.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

/// A temporary directory, removed when dropped.
pub(super) struct Fake(pub(super) PathBuf);

impl Fake {
    pub(super) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fake-pg-{}-{name}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Programs in `<sub>/bin` that say they are of this release.
    pub(super) fn release(&self, sub: &str, version: &str) -> PathBuf {
        let bin = self.0.join(sub).join("bin");
        programs(&bin, version);
        bin
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fake programs in a directory.
///
/// Another process writes them: while we had one open for writing, a test in another thread
/// could fork, and for that moment nobody could run it ("Text file busy").
pub(super) fn programs(bin: &Path, version: &str) {
    fs::create_dir_all(bin).unwrap();
    let script = r#"for program in postgres initdb pg_ctl; do
        printf '#!/bin/sh\necho "%s (PostgreSQL) %s"\n' $program "$0" > $program
        chmod 755 $program
    done"#;
    let status = Command::new("sh").args(["-c", script, version]).current_dir(bin).status();
    assert!(status.unwrap().success());
}
