//! What the settings need from the machine they are read on.
//!
//! Only the questions stand here; whoever owns a real process answers them. That is what lets a
//! hundred cases of environment and password files run without touching the process's own.

use std::fmt;
use std::io;
use std::path::Path;

/// A file's content with what decides whether it may be trusted.
#[derive(Clone)]
pub struct FileText {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The permission bits of `stat`; zero where the system has none, as on Windows.
    pub mode: u32,
    /// Whether it is a plain file, not a directory, a pipe or a device.
    pub is_file: bool,
}

/// Without the content, which may be a list of passwords.
impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileText")
            .field("bytes", &self.bytes.len())
            .field("mode", &format_args!("{:o}", self.mode))
            .field("is_file", &self.is_file)
            .finish()
    }
}

/// The answers of the machine.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// An environment variable's value; a set but empty one is `Some("")`, as for libpq.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a whole file. Must not read one whose `is_file` is false: a pipe would hang.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<FileText>,
    /// Whether something of that name exists, be it file or directory.
    pub exists: &'a dyn Fn(&Path) -> bool,
    /// The name of the operating system's user.
    pub os_user: Option<&'a str>,
    /// That user's home directory.
    pub home: Option<&'a Path>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("os_user", &self.os_user)
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}
