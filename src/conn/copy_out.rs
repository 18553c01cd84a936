//! The sending end of a page: COPY .. TO STDOUT.

use bytes::Bytes;

use super::{Connection, Error, answer::Answer};
use crate::wire::{BackendMessage, Frame, Frames};

/// A COPY whose data the server is sending.
#[derive(Debug)]
#[must_use = "read it to its end, or the connection can't be used again"]
pub struct CopyOut<'a> {
    connection: &'a mut Connection,
}

impl<'a> CopyOut<'a> {
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self { connection }
    }

    /// The next run of whole CopyData frames, as they came, but that long ones are in parts;
    /// `None` once all data was sent, and then [`CopyOut::finish`] follows. A row may span frames
    /// and a frame rows: nothing may be concluded from their bounds
    /// (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY>).
    ///
    /// Errors: the server's, after which the session is ready again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.connection.check_within()?;
        loop {
            let frames = self.connection.transport().copy_frames().await;
            let mut frames = frames.map_err(|end| self.connection.ended_by(end))?;
            let data = leading_copy_data(&frames);
            if data > 0 {
                let rest = frames.split_off(data);
                self.connection.transport().put_back(rest);
                return Ok(Some(frames));
            }
            self.connection.transport().put_back(frames);
            let frame = self.connection.transport().frame().await;
            let (tag, body) = frame.map_err(|end| self.connection.ended_by(end))?;
            if self.connection.asynchronous(Frame { tag, body: &body })? {
                continue;
            }
            match self.connection.message(tag, &body)? {
                BackendMessage::CopyDone => return Ok(None),
                BackendMessage::ErrorResponse(error) => {
                    return Err(self.connection.fail_until_ready(error).await);
                }
                other => return Err(self.connection.unexpected("CopyData or CopyDone", &other)),
            }
        }
    }

    /// The end of the COPY, and how many rows it was.
    pub async fn finish(self) -> Result<u64, Error> {
        self.connection.check_within()?;
        let result = self.connection.rest(Answer::Copied).await?;
        Ok(result.statements.last().map_or(0, |s| s.affected))
    }
}

/// The length of the run of CopyData at the start of `frames`.
fn leading_copy_data(frames: &[u8]) -> usize {
    let mut walk = Frames::new(frames);
    loop {
        let rest = walk.rest().len();
        match walk.next() {
            Some(Frame { tag: b'd', .. }) => {}
            _ => return frames.len() - rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_run_of_copy_data_is_taken() {
        assert_eq!(leading_copy_data(b"d\0\0\0\x05ad\0\0\0\x04c\0\0\0\x04d\0\0\0\x04"), 11);
        assert_eq!(leading_copy_data(b"c\0\0\0\x04"), 0);
        assert_eq!(leading_copy_data(b""), 0);
    }
}
