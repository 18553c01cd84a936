//! Splitting a byte stream into protocol frames.
//!
//! A frame is a one-byte tag and a four-byte length that counts itself but not the tag
//! (<https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS>).
//! Messages of the startup phase that have no tag are only ever sent by us.

use super::caps::{AUTHENTICATION_FRAME_BYTES, MAX_FRAME_BYTES, SHORT_FRAME_BYTES};

/// How many bytes of a frame stand before its body.
const HEADER_BYTES: usize = 5;

/// A frame whose length can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of type {tag:?} claims to be {length} bytes long: \
     this is not a Postgres server, or the stream is damaged"
)]
pub struct FrameError {
    /// The frame's first byte.
    pub tag: char,
    /// The length it claims.
    pub length: i32,
}

/// One message: its tag and what follows its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The byte that names the kind of message.
    pub tag: u8,
    /// The message without tag and length.
    pub body: &'a [u8],
}

/// How long frames may be at a stage of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameLimits {
    /// Until we are authenticated: nobody needs to send us much, and anybody could.
    Startup,
    /// Afterwards.
    Session,
    /// Whatever the protocol can carry: what we send ourselves.
    Ours,
}

impl FrameLimits {
    /// The most that the length field of a frame of this kind may say.
    #[inline]
    const fn length_max(self, tag: u8) -> usize {
        match (self, tag) {
            (Self::Ours, _) => MAX_FRAME_BYTES,
            (_, b'R') => AUTHENTICATION_FRAME_BYTES,
            (Self::Session, b'd' | b'D' | b'E' | b'N' | b'A' | b'T') => MAX_FRAME_BYTES,
            _ => SHORT_FRAME_BYTES,
        }
    }
}

/// The header at the start of `bytes`, if its kind can have that length: the whole frame's size.
#[inline]
fn frame_size(bytes: &[u8], limits: FrameLimits) -> Result<Option<usize>, FrameError> {
    match header(bytes)? {
        // Most frames are short whatever they are.
        Some((tag, size))
            if size > AUTHENTICATION_FRAME_BYTES && size - 1 > limits.length_max(tag) =>
        {
            let length = i32::try_from(size - 1).unwrap_or(i32::MAX);
            Err(FrameError { tag: tag.into(), length })
        }
        header => Ok(header.map(|(_, size)| size)),
    }
}

/// The header at the start of `bytes`: the tag and the whole frame's size.
#[inline]
fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, FrameError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(n) if (4..=MAX_FRAME_BYTES).contains(&n) => Ok(Some((tag, n + 1))),
        _ => Err(FrameError { tag: tag.into(), length }),
    }
}

/// How many bytes at the start of `bytes` are whole frames, and how many bytes the frame after
/// them needs in all (0 while even its header is incomplete).
///
/// Errors: the first frame claims a length that its kind can't have. One behind whole frames is
/// left for the next call: what is said of it must not depend on how the bytes came, and the
/// frames before it may change the limits.
#[inline]
pub fn complete_frames(bytes: &[u8], limits: FrameLimits) -> Result<(usize, usize), FrameError> {
    let mut whole = 0;
    loop {
        match frame_size(bytes.get(whole..).unwrap_or_default(), limits) {
            Ok(Some(size)) if size <= bytes.len() - whole => whole += size,
            Ok(needed) => return Ok((whole, needed.unwrap_or(0))),
            Err(_) if whole > 0 => return Ok((whole, 0)),
            Err(error) => return Err(error),
        }
    }
}

/// Walks over bytes that hold whole frames.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Walks over `bytes`, which [`complete_frames`] has measured. An incomplete frame at the
    /// end would end the walk early.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been walked over yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (tag, size) = header(self.rest).ok()??;
        let (frame, rest) = self.rest.split_at_checked(size)?;
        self.rest = rest;
        Some(Frame { tag, body: frame.get(HEADER_BYTES..)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"Z\0\0\0\x05I1\0\0\0\x04d\0\0\0\x08abcd";

    #[test]
    fn whole_frames_are_counted_and_walked() {
        assert_eq!(complete_frames(STREAM, FrameLimits::Session), Ok((STREAM.len(), 0)));
        let frames: Vec<_> = Frames::new(STREAM).map(|f| (f.tag, f.body)).collect();
        assert_eq!(frames, [(b'Z', &b"I"[..]), (b'1', b""), (b'd', b"abcd")]);
    }

    #[test]
    fn any_split_gives_the_same_frames() {
        for cut in 0..STREAM.len() {
            let (whole, needed) = complete_frames(&STREAM[..cut], FrameLimits::Session).unwrap();
            assert!(whole <= cut && (needed == 0 || whole + needed > cut));
            let head = Frames::new(&STREAM[..whole]);
            let tail = Frames::new(&STREAM[whole..]);
            assert!(head.chain(tail).eq(Frames::new(STREAM)), "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_frame_is_told_of_after_those_before_it() {
        let damaged = b"Z\0\0\0\x03";
        let bytes = [STREAM, damaged].concat();
        assert_eq!(complete_frames(&bytes, FrameLimits::Session), Ok((STREAM.len(), 0)));
        let error = FrameError { tag: 'Z', length: 3 };
        assert_eq!(complete_frames(damaged, FrameLimits::Session), Err(error));
    }

    fn claims(tag: u8, length: i32, limits: FrameLimits) -> Result<(usize, usize), FrameError> {
        let mut bytes = vec![tag];
        bytes.extend(i32::to_be_bytes(length));
        complete_frames(&bytes, limits)
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [0, 3, -1, i32::MIN, (1 << 30) + 1] {
            let refused = Err(FrameError { tag: 'T', length });
            assert_eq!(claims(b'T', length, FrameLimits::Session), refused);
        }
        let longest = claims(b'T', 1 << 30, FrameLimits::Session);
        assert_eq!(longest, Ok((0, MAX_FRAME_BYTES + 1)));
    }

    #[test]
    fn each_kind_of_message_has_its_limit() {
        use FrameLimits::{Session, Startup};
        let long = i32::try_from(MAX_FRAME_BYTES).unwrap();
        let short = i32::try_from(SHORT_FRAME_BYTES).unwrap();
        let authentication = i32::try_from(AUTHENTICATION_FRAME_BYTES).unwrap();
        for tag in 0..=u8::MAX {
            let in_session = match tag {
                b'R' => authentication,
                b'd' | b'D' | b'E' | b'N' | b'A' | b'T' => long,
                _ => short,
            };
            let at_startup = in_session.min(short);
            for (limits, limit) in [(Session, in_session), (Startup, at_startup)] {
                assert!(claims(tag, limit, limits).is_ok(), "{tag} {limits:?}");
                let refused = Err(FrameError { tag: tag.into(), length: limit + 1 });
                assert_eq!(claims(tag, limit + 1, limits), refused, "{limits:?}");
            }
        }
    }
}
