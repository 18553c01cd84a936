//! The receiving end of a page: COPY .. FROM STDIN.

use super::{Connection, Error, connection::unexpected};
use crate::wire::{BackendMessage, Frame, Frames};

/// How much is gathered before it is sent: enough that a write to the socket carries hundreds of
/// rows, little enough that both servers always have something to do.
const WRITE_BYTES: usize = 128 * 1024;

/// The size of the CopyData messages we make: the server's per-message cost (reading the header,
/// resetting its buffer: `CopyGetData` in `copyfromparse.c`) becomes small next to its rows,
/// and the server's buffer for one stays small too.
const COPY_DATA_BYTES: usize = 32 * 1024;

/// A COPY that the server is ready to receive. Ends with [`CopyIn::finish`] or
/// [`CopyIn::fail`]; dropped without either, the connection can't be used again, and the
/// server is told to undo it, or sees it close, and rolls back.
#[derive(Debug)]
#[must_use = "finish it or fail it"]
pub struct CopyIn<'a> {
    connection: &'a mut Connection,
    /// Whether the server expects no more data.
    ended: bool,
}

/// Whatever went wrong, what was sent must not be taken for all of it.
impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.writer().copy_fail("the client gave up");
        }
    }
}

impl<'a> CopyIn<'a> {
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self { connection, ended: false }
    }

    /// Sends on the payloads of CopyData frames that another server sent
    /// ([`super::CopyOut::next`]), without looking into them, in fewer and larger messages.
    ///
    /// Errors: the server's, if it has refused the data meanwhile; the session is ready then.
    pub async fn forward(&mut self, frames: &[u8]) -> Result<(), Error> {
        let mut frames = Frames::new(frames).peekable();
        while frames.peek().is_some() {
            let mut message = self.connection.writer().message(b'd');
            for frame in frames.by_ref() {
                message.bytes(frame.body);
                if message.len() >= COPY_DATA_BYTES {
                    break;
                }
            }
            message.finish();
            if self.connection.transport().unsent() >= WRITE_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let flushed = self.connection.transport().flush().await;
        // What the server has said meanwhile tells more than a broken pipe.
        if flushed.is_err() || self.connection.transport().has_frames()? {
            self.refused().await?;
        }
        flushed
    }

    /// Takes what the server says in mid-COPY: notices pass, an error ends it.
    async fn refused(&mut self) -> Result<(), Error> {
        while self.connection.transport().has_frames()? {
            let (tag, body) = self.connection.transport().frame().await?;
            let frame = Frame { tag, body: &body };
            if self.connection.asynchronous(frame)? {
                continue;
            }
            return Err(match BackendMessage::parse(frame)? {
                BackendMessage::ErrorResponse(error) => {
                    self.ended = true;
                    // What was sent after the error is passed over by the server.
                    self.connection.fail_until_ready(error).await
                }
                other => unexpected("nothing, in the middle of COPY", &other),
            });
        }
        Ok(())
    }

    /// Says that all was sent, waits for the server to take it, and gives its count of rows.
    pub async fn finish(mut self) -> Result<u64, Error> {
        self.ended = true;
        self.connection.writer().copy_done();
        let result = self.connection.result().await?;
        Ok(result.statements.last().map_or(0, |s| s.affected))
    }

    /// Gives up: the server undoes the COPY and fails the transaction that it is in.
    ///
    /// Errors: only the connection's own; the server's "COPY from stdin failed" is the answer
    /// that was asked for.
    pub async fn fail(mut self, reason: &str) -> Result<(), Error> {
        self.ended = true;
        self.connection.writer().copy_fail(reason);
        match self.connection.result().await {
            Ok(_) | Err(Error::Server(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
