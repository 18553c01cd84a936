//! What was kept of one open transaction: the payloads of its blocks in the order in which they
//! came, the older ones in a file if there is one, the newer ones in memory.
//!
//! ```text
//!  file     [header payload][header payload]...
//!  memory   [header payload][header payload] [header payload]...     in segments
//!  header   4 bytes length of the payload, 4 bytes subtransaction
//! ```
//!
//! Which transaction has to give memory back, and what the payloads mean, is not known here.

use std::{collections::VecDeque, fmt::Debug};

use super::{AssembleError, SpillError, pool::Pool, xids::XidSet};
use crate::pg::Xid;

/// What stands before each payload.
pub(super) const HEADER: usize = 8;

/// How much of a file is read at a time; more only where a single message is longer.
const PIECE: usize = 64 << 10;

/// How many runs are remembered of a transaction, the latest; 64 KiB. They serve to cut off what
/// is at the end. Of what came before them, the ids that were rolled back are enough.
const RUNS: usize = 4096;

/// Makes files for what does not fit into memory.
pub trait Spill {
    /// A file; dropped, it is gone.
    type File: SpillFile;

    /// Makes an empty file.
    fn create(&mut self) -> Result<Self::File, SpillError>;
}

/// A file that grows at its end.
pub trait SpillFile: Debug {
    /// Writes at the end. After an error the file is as it was.
    fn append(&mut self, bytes: &[u8]) -> Result<(), SpillError>;

    /// Reads from a position; less than asked for is an error.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), SpillError>;

    /// Cuts off what is behind `length` bytes.
    fn truncate(&mut self, length: u64) -> Result<(), SpillError>;
}

/// Neighbouring payloads of one subtransaction.
#[derive(Clone, Copy, Debug)]
struct Run {
    xid: Xid,
    start: u64,
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Spool<F> {
    pub(super) xid: Xid,
    file: Option<F>,
    on_disk: u64,
    segments: Vec<Vec<u8>>,
    in_memory: u64,
    runs: VecDeque<Run>,
    aborted: XidSet,
}

impl<F: SpillFile> Spool<F> {
    pub(super) fn new(xid: Xid) -> Self {
        Self {
            xid,
            file: None,
            on_disk: 0,
            segments: Vec::new(),
            in_memory: 0,
            runs: VecDeque::new(),
            aborted: XidSet::default(),
        }
    }

    pub(super) const fn on_disk(&self) -> u64 {
        self.on_disk
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// How many words are remembered of what was rolled back.
    pub(super) fn aborted_words(&self) -> usize {
        self.aborted.words()
    }

    /// A payload of this subtransaction comes next.
    pub(super) fn goes_on(&mut self, subxid: Xid) -> Result<(), AssembleError> {
        if self.runs.back().is_some_and(|run| run.xid == subxid) {
            return Ok(());
        }
        if self.aborted.contains(subxid) {
            return Err(AssembleError::AfterAbort { xid: self.xid, subxid });
        }
        if self.runs.len() == RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { xid: subxid, start: self.on_disk + self.in_memory });
        Ok(())
    }

    /// Whether `push` has room for so many bytes, header included.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.segments.last().is_some_and(|last| last.capacity() - last.len() >= bytes)
    }

    pub(super) fn add_room(&mut self, segment: Vec<u8>) {
        self.segments.push(segment);
    }

    /// Keeps a payload in memory. There must be room.
    #[inline]
    pub(super) fn push(&mut self, header: [u8; HEADER], payload: &[u8]) {
        if let Some(last) = self.segments.last_mut() {
            last.extend_from_slice(&header);
            last.extend_from_slice(payload);
            self.in_memory += (HEADER + payload.len()) as u64;
        }
    }

    /// Keeps a payload in the file, behind everything that is in memory.
    pub(super) fn push_to_file(
        &mut self,
        header: [u8; HEADER],
        payload: &[u8],
        spill: &mut impl Spill<File = F>,
        pool: &mut Pool,
    ) -> Result<(), SpillError> {
        self.flush(spill, pool)?;
        let file = file(&mut self.file, spill)?;
        for bytes in [&header, payload] {
            file.append(bytes)?;
            self.on_disk += bytes.len() as u64;
        }
        Ok(())
    }

    /// Writes to the file what is in memory.
    pub(super) fn flush(
        &mut self,
        spill: &mut impl Spill<File = F>,
        pool: &mut Pool,
    ) -> Result<(), SpillError> {
        for segment in self.segments.drain(..) {
            file(&mut self.file, spill)?.append(&segment)?;
            self.on_disk += segment.len() as u64;
            pool.give_back(segment);
        }
        self.in_memory = 0;
        Ok(())
    }

    /// Takes back all that came under a subtransaction. What is at the end is cut off, the rest
    /// is passed over when it is read. Later nothing more comes under it.
    ///
    /// The server names each subtransaction on its own, and the inner ones first.
    pub(super) fn abort(&mut self, subxid: Xid, pool: &mut Pool) -> Result<(), SpillError> {
        self.aborted.insert(subxid);
        let mut end = None;
        while let Some(run) = self.runs.pop_back_if(|run| self.aborted.contains(run.xid)) {
            end = Some(run.start);
        }
        end.map_or(Ok(()), |end| self.truncate(end, pool))
    }

    fn truncate(&mut self, end: u64, pool: &mut Pool) -> Result<(), SpillError> {
        let mut over = self.on_disk + self.in_memory - end;
        while let Some(mut segment) = self.segments.pop() {
            let length = segment.len() as u64;
            let cut = over.min(length);
            self.in_memory -= cut;
            over -= cut;
            if cut < length {
                segment.truncate(usize::try_from(length - cut).unwrap_or(0));
                self.segments.push(segment);
                return Ok(());
            }
            pool.give_back(segment);
            if over == 0 {
                return Ok(());
            }
        }
        if let Some(file) = &mut self.file {
            file.truncate(end)?;
            self.on_disk = end;
        }
        Ok(())
    }

    /// Writes everything into a new file but what was rolled back, and forgets what that was.
    pub(super) fn rewrite(
        &mut self,
        spill: &mut impl Spill<File = F>,
        pool: &mut Pool,
    ) -> Result<(), AssembleError> {
        let mut file = spill.create()?;
        let (mut out, mut written) = (Vec::with_capacity(PIECE), 0);
        let mut cursor = Cursor::default();
        while let Some(record) = cursor.next(self)? {
            if self.aborted.contains(record.xid) {
                continue;
            }
            let bytes = cursor.record(&record, self);
            if out.len() + bytes.len() > PIECE {
                file.append(&out)?;
                out.clear();
            }
            out.extend_from_slice(bytes);
            written += bytes.len() as u64;
        }
        file.append(&out)?;
        self.free(pool);
        (self.file, self.on_disk) = (Some(file), written);
        self.runs.clear();
        self.aborted.clear();
        Ok(())
    }

    /// Whether what came under a subtransaction was rolled back.
    pub(super) fn is_aborted(&self, subxid: Xid) -> bool {
        self.aborted.contains(subxid)
    }

    /// Drops what is kept.
    pub(super) fn free(&mut self, pool: &mut Pool) {
        self.segments.drain(..).for_each(|segment| pool.give_back(segment));
        self.in_memory = 0;
        self.file = None;
        self.on_disk = 0;
    }
}

/// The file, made when first needed.
fn file<'a, F>(
    file: &'a mut Option<F>,
    spill: &mut impl Spill<File = F>,
) -> Result<&'a mut F, SpillError> {
    match file {
        Some(file) => Ok(file),
        none => Ok(none.insert(spill.create()?)),
    }
}

/// The header of a payload; `None` if it is longer than any message of the protocol.
pub(super) fn header(subxid: Xid, payload: &[u8]) -> Option<[u8; HEADER]> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut header = [0; HEADER];
    let (first, second) = header.split_at_mut(HEADER / 2);
    first.copy_from_slice(&length.to_be_bytes());
    second.copy_from_slice(&subxid.0.to_be_bytes());
    Some(header)
}

/// The length of the payload and its subtransaction.
fn read_header(bytes: &[u8]) -> Option<(usize, Xid)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (xid, _) = rest.split_first_chunk()?;
    Some((usize::try_from(u32::from_be_bytes(*length)).ok()?, Xid(u32::from_be_bytes(*xid))))
}

/// Where a spool is being read.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The next position in the file.
    at: u64,
    /// What was read of the file, from `piece_at` on, and how much of it is filled.
    piece: Vec<u8>,
    piece_at: u64,
    filled: usize,
    /// The next segment, and the position in it.
    segment: usize,
    offset: usize,
}

/// A payload that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) xid: Xid,
    /// The segment it is in; `None` for the piece that was read last.
    segment: Option<usize>,
    start: usize,
    length: usize,
}

impl Cursor {
    /// The next payload, also if it was rolled back.
    pub(super) fn next<F: SpillFile>(
        &mut self,
        spool: &Spool<F>,
    ) -> Result<Option<Record>, AssembleError> {
        if self.at < spool.on_disk {
            return self.next_of_file(spool).map(Some);
        }
        while let Some(segment) = spool.segments.get(self.segment) {
            let rest = segment.get(self.offset..).unwrap_or_default();
            if let Some((length, xid)) = read_header(rest) {
                let record =
                    Record { xid, segment: Some(self.segment), start: self.offset, length };
                self.offset += HEADER + length;
                return Ok(Some(record));
            }
            self.segment += 1;
            self.offset = 0;
        }
        Ok(None)
    }

    fn next_of_file<F: SpillFile>(&mut self, spool: &Spool<F>) -> Result<Record, AssembleError> {
        let damaged = || AssembleError::Damaged { xid: spool.xid };
        self.fill(HEADER, spool)?;
        let (length, xid) = read_header(self.ahead()).ok_or_else(damaged)?;
        self.fill(HEADER + length, spool)?;
        let start = self.filled - self.ahead().len();
        self.at += (HEADER + length) as u64;
        Ok(Record { xid, segment: None, start, length })
    }

    /// What has been read of the file but not gone through.
    fn ahead(&self) -> &[u8] {
        let from = usize::try_from(self.at - self.piece_at).unwrap_or(usize::MAX);
        self.piece.get(from..self.filled).unwrap_or_default()
    }

    /// Reads on until so many bytes are ahead.
    fn fill<F: SpillFile>(&mut self, bytes: usize, spool: &Spool<F>) -> Result<(), AssembleError> {
        let ahead = self.ahead().len();
        if ahead >= bytes {
            return Ok(());
        }
        let damaged = || AssembleError::Damaged { xid: spool.xid };
        let file = spool.file.as_ref().ok_or_else(damaged)?;
        let left = usize::try_from(spool.on_disk - self.at).unwrap_or(usize::MAX);
        if bytes > left {
            return Err(damaged());
        }
        let wanted = bytes.max(PIECE).min(left);
        self.piece.copy_within(self.filled - ahead..self.filled, 0);
        if wanted > self.piece.len() || self.piece.len() > PIECE {
            // Larger for one long message only.
            self.piece.resize(wanted.max(ahead), 0);
            self.piece.shrink_to(PIECE);
        }
        (self.piece_at, self.filled) = (self.at, ahead);
        let into = self.piece.get_mut(ahead..wanted).ok_or_else(damaged)?;
        file.read(self.at + ahead as u64, into)?;
        self.filled = wanted;
        Ok(())
    }

    /// A payload that was found last, with its header.
    fn record<'a, F>(&'a self, record: &Record, spool: &'a Spool<F>) -> &'a [u8] {
        let of = match record.segment {
            None => &self.piece,
            Some(segment) => spool.segments.get(segment).map_or(&[][..], Vec::as_slice),
        };
        of.get(record.start..record.start + HEADER + record.length).unwrap_or_default()
    }

    /// The payload that was found last.
    pub(super) fn payload<'a, F>(&'a self, record: &Record, spool: &'a Spool<F>) -> &'a [u8] {
        self.record(record, spool).get(HEADER..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::transaction::simulated::MemorySpill;

    #[test]
    fn the_piece_of_a_file_is_long_for_a_long_message_only() {
        let (mut spill, mut pool) = (MemorySpill::default(), Pool::new(0));
        let mut spool = Spool::new(Xid(7));
        let lengths = [10, 300_000, 1000, 60_000, 60_000, 1];
        for length in lengths {
            let payload = vec![b'x'; length];
            let header = header(Xid(7), &payload).unwrap();
            spool.push_to_file(header, &payload, &mut spill, &mut pool).unwrap();
        }
        let mut cursor = Cursor::default();
        for length in lengths {
            let record = cursor.next(&spool).unwrap().unwrap();
            assert_eq!(cursor.payload(&record, &spool), vec![b'x'; length]);
            assert!(cursor.piece.capacity() <= PIECE.max(HEADER + length), "{length}");
        }
        assert!(cursor.next(&spool).unwrap().is_none());
    }

    #[test]
    fn the_latest_runs_are_remembered() {
        let mut spool = Spool::<<MemorySpill as Spill>::File>::new(Xid(7));
        for xid in 0..10_000 {
            spool.goes_on(Xid(xid)).unwrap();
            spool.goes_on(Xid(xid)).unwrap();
        }
        assert_eq!(spool.runs.len(), RUNS);
        assert_eq!(spool.runs.back().unwrap().xid, Xid(9_999));
    }
}
