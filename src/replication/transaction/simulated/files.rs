//! Spilling into memory, for whoever has no directory and wants to know that nothing is left.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use crate::replication::transaction::{Spill, SpillError, SpillFile};

type Bytes = RefCell<Vec<u8>>;

/// Files that are memory, and are counted.
#[derive(Clone, Debug, Default)]
pub struct MemorySpill {
    made: Rc<RefCell<Vec<Weak<Bytes>>>>,
    room: usize,
}

impl MemorySpill {
    /// A disk on which each file may have so many bytes; 0 for as many as come.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// How many files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.made.borrow().iter().filter(|file| file.strong_count() > 0).count()
    }

    /// Does something to every file.
    pub fn damage(&self, damage: fn(&mut Vec<u8>)) {
        for file in self.made.borrow().iter().filter_map(Weak::upgrade) {
            damage(&mut file.borrow_mut());
        }
    }
}

/// A file that is memory.
#[derive(Debug)]
pub struct MemoryFile {
    bytes: Rc<Bytes>,
    room: usize,
}

impl Spill for MemorySpill {
    type File = MemoryFile;

    fn create(&mut self) -> Result<MemoryFile, SpillError> {
        let bytes = Rc::default();
        let mut made = self.made.borrow_mut();
        made.retain(|file| file.strong_count() > 0);
        made.push(Rc::downgrade(&bytes));
        Ok(MemoryFile { bytes, room: self.room })
    }
}

impl SpillFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), SpillError> {
        let mut held = self.bytes.borrow_mut();
        if self.room > 0 && held.len() + bytes.len() > self.room {
            return Err(SpillError::Write {
                directory: "memory".into(),
                wanted: bytes.len(),
                held: held.len() as u64,
                error: std::io::ErrorKind::StorageFull.into(),
            });
        }
        held.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), SpillError> {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        match self.bytes.borrow().get(from..from.saturating_add(into.len())) {
            Some(bytes) => {
                into.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(SpillError::Read {
                directory: "memory".into(),
                wanted: into.len(),
                at,
                error: std::io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }

    fn truncate(&mut self, length: u64) -> Result<(), SpillError> {
        self.bytes.borrow_mut().truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }
}
