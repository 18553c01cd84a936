//! The most that a peer can make us take, each number with its reason.
//!
//! Here stand the caps of single messages. What a whole session may pile up is capped where it is
//! kept, in `conn`; SCRAM's rounds are `auth`'s.

/// The longest message of all: the server's own limit for one allocation, 1 GiB (`MaxAllocSize` in
/// `memutils.h`), beyond which it can't build a message either.
pub const MAX_FRAME_BYTES: usize = 1 << 30;

/// The longest message of a kind that has no reason to be long. A stream that lost its step is
/// noticed by it at once instead of after a gigabyte (`VALID_LONG_MESSAGE_TYPE` in
/// `fe-protocol3.c`, with the same number).
pub const SHORT_FRAME_BYTES: usize = 30_000;

/// The longest Authentication message. libpq takes 2,000 bytes with the length field
/// (`PQconnectPoll` in `fe-connect.c`); the longest that a server sends to a client without
/// Kerberos is SCRAM's, with some 100.
pub const AUTHENTICATION_FRAME_BYTES: usize = 2_000;

/// The most columns of a row, a result or a COPY (`MaxTupleAttributeNumber` in `htup_details.h`).
pub const COLUMNS_MAX: u16 = 1_664;

/// The shortest and the longest cancel key: protocol 3.0 always has 4 bytes, 3.2 says at most 256
/// (<https://www.postgresql.org/docs/18/protocol-message-formats.html>).
pub const CANCEL_KEY_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// How much is kept of one field of an error or a notice. Servers write a few hundred bytes; a
/// function's `RAISE` can be as long as a message, and nobody reads that.
pub const ERROR_FIELD_BYTES: usize = 64 * 1024;
