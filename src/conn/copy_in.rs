//! The receiving end of a page: COPY .. FROM STDIN.

use super::{Connection, Error, answer::Answer};
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
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All that was given to [`CopyIn::forward`] is on its way.
    Whole,
    /// Forwarding has failed or was dropped half way: a part is missing, and the rest must never
    /// be committed.
    Torn,
    /// The server expects no more data.
    Ended,
}

/// Whatever went wrong, what was sent must not be taken for all of it.
impl Drop for CopyIn<'_> {
    fn drop(&mut self) {
        if self.stage != Stage::Ended {
            self.connection.writer().copy_fail("the client gave up");
        }
    }
}

impl<'a> CopyIn<'a> {
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self { connection, stage: Stage::Whole }
    }

    /// Sends on the payloads of CopyData frames that another server sent
    /// ([`super::CopyOut::next`]), without looking into them, in fewer and larger messages.
    ///
    /// Errors: the server's, if it has refused the data meanwhile; the session is ready then.
    pub async fn forward(&mut self, frames: &[u8]) -> Result<(), Error> {
        if self.stage != Stage::Whole {
            return Err(Error::Poisoned);
        }
        self.stage = Stage::Torn;
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
        self.stage = Stage::Whole;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        match self.connection.transport().flush().await {
            Ok(()) => {
                self.connection.transport().glance().await;
                self.refused(false).await
            }
            // The server's last words, if it had time for them, tell more than a broken pipe.
            Err(Error::Io(broken)) => match self.refused(true).await {
                Err(Error::Closed | Error::Io(_)) | Ok(()) => {
                    Err(self.connection.ended_by(Error::Io(broken)))
                }
                last_words => last_words,
            },
            failed => failed,
        }
    }

    /// Takes what the server says in mid-COPY, and its last words if its end has come: notices
    /// pass, an error ends the COPY.
    async fn refused(&mut self, end_has_come: bool) -> Result<(), Error> {
        while end_has_come || self.connection.transport().has_frames()? {
            let (tag, body) = self.connection.transport().frame().await?;
            let frame = Frame { tag, body: &body };
            if self.connection.asynchronous(frame)? {
                continue;
            }
            return Err(match self.connection.message(tag, &body)? {
                BackendMessage::ErrorResponse(error) => {
                    self.stage = Stage::Ended;
                    // What was sent after the error is passed over by the server.
                    self.connection.fail_until_ready(error).await
                }
                other => self.connection.unexpected("nothing, in the middle of COPY", &other),
            });
        }
        Ok(())
    }

    /// Says that all was sent, waits for the server to take it, and gives its count of rows.
    ///
    /// Errors: also that a [`CopyIn::forward`] was not waited for or has failed.
    pub async fn finish(mut self) -> Result<u64, Error> {
        if self.stage != Stage::Whole {
            return Err(Error::Poisoned);
        }
        self.stage = Stage::Ended;
        self.connection.writer().copy_done();
        let result = self.connection.rest(Answer::Copied).await?;
        Ok(result.statements.last().map_or(0, |s| s.affected))
    }

    /// Gives up: the server undoes the COPY and fails the transaction that it is in.
    ///
    /// Errors: only the connection's own; the server's "COPY from stdin failed" is the answer
    /// that was asked for.
    pub async fn fail(mut self, reason: &str) -> Result<(), Error> {
        self.stage = Stage::Ended;
        // The server may have undone it already, and waits for something else now.
        if self.connection.check_within().is_err() {
            return Ok(());
        }
        self.connection.writer().copy_fail(reason);
        match self.connection.rest(Answer::Refused).await {
            Ok(_) | Err(Error::Server(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
