//! Temporary files for what does not fit into memory. What is in them, and which transaction has
//! one, is for others to know.
//!
//! A file has no name once it is made: however pghost ends, the system takes it back.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Spill, SpillFile};

/// How many names that exist are passed over: those that a process of the same number left, which
/// died between making a file and removing its name.
const NAMES: u32 = 100;

/// Numbers the files of this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A temporary file did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// It can't be made.
    #[error("cannot make the temporary file {}: {error}", .path.display())]
    Create {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// It can't be written.
    #[error(
        "cannot write {wanted} bytes behind the {held} that a temporary file in {} holds: {error}",
        .directory.display()
    )]
    Write {
        /// Where it is.
        directory: PathBuf,
        /// How many bytes there were to write.
        wanted: usize,
        /// How many it held.
        held: u64,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// It can't be read, or holds less than was written.
    #[error(
        "cannot read {wanted} bytes at {at} of a temporary file in {}: {error}",
        .directory.display()
    )]
    Read {
        /// Where it is.
        directory: PathBuf,
        /// How many bytes there were to read.
        wanted: usize,
        /// From where on.
        at: u64,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// Its end can't be cut off.
    #[error(
        "cannot cut a temporary file in {} down to {wanted} bytes: {error}",
        .directory.display()
    )]
    Truncate {
        /// Where it is.
        directory: PathBuf,
        /// How many bytes were to be left.
        wanted: u64,
        /// What the system says.
        #[source]
        error: io::Error,
    },
}

impl SpillError {
    /// Whether there is no room left, on the disk or of what this user may take of it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (Self::Create { error, .. }
        | Self::Write { error, .. }
        | Self::Read { error, .. }
        | Self::Truncate { error, .. }) = self;
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Makes temporary files in a directory.
#[derive(Clone, Debug)]
pub struct SpillDirectory {
    directory: Arc<Path>,
}

impl SpillDirectory {
    /// Makes sure that files can be made there: better found out now than in the middle of a
    /// transaction that needs one.
    pub fn open(directory: &Path) -> Result<Self, SpillError> {
        let mut spill = Self { directory: directory.into() };
        spill.create()?;
        Ok(spill)
    }
}

impl Spill for SpillDirectory {
    type File = SpilledFile;

    fn create(&mut self) -> Result<SpilledFile, SpillError> {
        let mut tries = 0;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("pghost-{}-{number}.spill", process::id()));
            tries += 1;
            match create_unnamed(&path) {
                Ok(file) => {
                    let directory = self.directory.clone();
                    return Ok(SpilledFile { file, length: 0, directory });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < NAMES => {}
                Err(error) => return Err(SpillError::Create { path, error }),
            }
        }
    }
}

/// Makes a file that only its maker can open, and takes its name away.
fn create_unnamed(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // `create_new` is O_EXCL: neither a file nor a link that someone else put there is opened.
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

/// A temporary file without a name: gone when it is dropped.
#[derive(Debug)]
pub struct SpilledFile {
    file: File,
    length: u64,
    directory: Arc<Path>,
}

impl SpillFile for SpilledFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        match self.file.write_all_at(bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => Err(SpillError::Write {
                directory: self.directory.to_path_buf(),
                wanted: bytes.len(),
                held: self.length,
                error,
            }),
        }
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), SpillError> {
        self.file.read_exact_at(into, at).map_err(|error| SpillError::Read {
            directory: self.directory.to_path_buf(),
            wanted: into.len(),
            at,
            error,
        })
    }

    fn truncate(&mut self, length: u64) -> Result<(), SpillError> {
        self.file.set_len(length).map_err(|error| SpillError::Truncate {
            directory: self.directory.to_path_buf(),
            wanted: length,
            error,
        })?;
        self.length = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// An empty directory of this test's own.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("pghost-spill-{name}-{}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_file_is_its_makers_alone_and_has_no_name() {
        let path = directory("unnamed");
        let mut spill = SpillDirectory::open(&path).unwrap();
        let file = spill.create().unwrap();
        let metadata = file.file.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o777, metadata.nlink()), (0o600, 0));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir(path).unwrap();
    }

    #[test]
    fn what_was_appended_is_read_and_cut_off() {
        let path = directory("append");
        let mut file = SpillDirectory::open(&path).unwrap().create().unwrap();
        file.append(b"one, ").unwrap();
        file.append(b"two").unwrap();
        file.truncate(5).unwrap();
        file.append(b"three").unwrap();
        let mut bytes = [0; 7];
        file.read(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b", three");
        fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_short_read_is_an_error_that_says_where() {
        let path = directory("short");
        let mut file = SpillDirectory::open(&path).unwrap().create().unwrap();
        file.append(b"four").unwrap();
        let error = file.read(1, &mut [0; 4]).unwrap_err();
        let said = error.to_string();
        let place = format!("cannot read 4 bytes at 1 of a temporary file in {}", path.display());
        assert!(said.starts_with(&place), "{said}");
        assert!(!error.is_full());
        fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_refused_at_once() {
        let path = std::env::temp_dir().join("pghost-no-such-directory");
        let error = SpillDirectory::open(&path).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("pghost-no-such-directory/pghost-"), "{said}");
    }

    #[test]
    fn names_that_exist_are_passed_over_and_not_opened() {
        let path = directory("names");
        let next = COUNTER.load(Ordering::Relaxed);
        // Other tests take numbers too.
        for number in next..next + 20 {
            let name = path.join(format!("pghost-{}-{number}.spill", process::id()));
            fs::write(name, "somebody's").unwrap();
        }
        let mut file = SpillDirectory::open(&path).unwrap().create().unwrap();
        file.append(b"ours").unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 20);
        for entry in fs::read_dir(&path).unwrap() {
            assert_eq!(fs::read(entry.unwrap().path()).unwrap(), b"somebody's");
        }
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_apart_and_says_how_much_was_wanted() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let directory: Arc<Path> = Path::new("/somewhere").into();
        let mut file = SpilledFile { file, length: 7, directory };
        let error = file.append(b"12345").unwrap_err();
        assert!(error.is_full());
        let said = error.to_string();
        let place = "cannot write 5 bytes behind the 7 that a temporary file in /somewhere holds: ";
        assert!(said.starts_with(place), "{said}");
        // What failed is not counted as written.
        assert_eq!(file.length, 7);
    }
}
