//! How much may be kept of transactions that are still open. Numbers only; who keeps to them is
//! the assembler.

/// Memory for what is kept, of all open transactions together. It only gathers what is written to
/// files: a server does not stream before the changes it decodes exceed its
/// `logical_decoding_work_mem`, 64 MB by default, so a streamed transaction is rarely small.
const MEMORY: usize = 16 << 20;

/// Streamed transactions that may be open at once. Each may have a file, and the usual limit of
/// open files is 1024. On the server each is a session, or a prepared transaction, that has had
/// more changes in memory than any other at some moment: a handful.
const OPEN: usize = 512;

/// Words that may be remembered of rolled back subtransactions, of all open transactions
/// together; each is for 64 neighbouring ids. As a hash table they take 4.5 MB. What is beyond
/// costs time instead of memory: the changes are written anew without those rolled back.
const ABORTED: usize = 200_000;

/// What an [`Assembler`](super::Assembler) may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for what is kept. Beyond it files are used; none at all is possible.
    pub memory: usize,
    /// Streamed transactions that are open at once; one more is an error.
    pub open: usize,
    /// Words of 64 ids for rolled back subtransactions. Beyond it what is kept is rewritten.
    pub aborted: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: MEMORY, open: OPEN, aborted: ABORTED }
    }
}
