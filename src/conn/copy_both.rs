//! Data in both directions: the replication stream.
//!
//! ```text
//!            CopyDone sent (close)
//!   Open ────────────────────────> closing ── CopyDone, CommandComplete.., ReadyForQuery ──> SQL
//!    ├── ErrorResponse ──> Failed ── ReadyForQuery, seen by `frames` (close) ────────────────^
//!    └── the server's own CopyDone, or a message that is out of place ──> Over
//! ```
//!
//! What the frames carry is `replication`'s business.

use bytes::Bytes;

use super::{Connection, Error, answer::Answer};
use crate::wire::{BackendMessage, Frame, Frames, ServerError};

/// A connection in CopyBoth mode.
#[derive(Debug)]
pub struct CopyBoth {
    connection: Connection,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// By this error, which is told again to whoever asks again: the one who waited for the end
    /// of it may have been dropped.
    Failed(Box<ServerError>),
    Over,
}

impl CopyBoth {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection, stage: Stage::Open }
    }

    /// A run of whole frames, of which the CopyData carry the stream. Sends meanwhile what was
    /// put with [`CopyBoth::send`]. May be dropped at any await without losing anything.
    ///
    /// Errors: the server's own (it has left CopyBoth mode then), or the connection's.
    pub async fn frames(&mut self) -> Result<Bytes, Error> {
        match &self.stage {
            Stage::Open => {}
            Stage::Failed(error) => return Err(Error::Server(error.clone())),
            Stage::Over => return Err(Error::Poisoned),
        }
        loop {
            let frames = self.connection.transport().frames().await?;
            // Nearly always all of it is CopyData, and then nothing is moved.
            if Frames::new(&frames).all(|f| f.tag == b'd') {
                return Ok(frames);
            }
            let data: usize =
                Frames::new(&frames).take_while(|f| f.tag == b'd').map(|f| f.body.len() + 5).sum();
            if data > 0 {
                let mut head = frames;
                let rest = head.split_off(data);
                self.connection.transport().put_back(rest);
                return Ok(head);
            }
            self.connection.transport().put_back(frames);
            self.ended().await?;
        }
    }

    /// Deals with one frame that is not CopyData: passes over notices, else the stream ends.
    ///
    /// A warning ends it too: 18 reports a publication that is gone so, and goes on without its
    /// changes (`LoadPublications` in `pgoutput.c`).
    async fn ended(&mut self) -> Result<(), Error> {
        let (tag, body) = self.connection.transport().frame().await?;
        let message = self.connection.message(tag, &body)?;
        if let BackendMessage::NoticeResponse(notice) = message
            && notice.severity == "WARNING"
        {
            return Err(Error::Server(notice));
        }
        if self.connection.asynchronous(Frame { tag, body: &body })? {
            return Ok(());
        }
        Err(match self.connection.message(tag, &body)? {
            BackendMessage::ErrorResponse(error) => {
                self.stage = Stage::Failed(error.clone());
                self.connection.fail_until_ready(error).await
            }
            // A shutdown: the walsender has sent all it had and ends the stream.
            BackendMessage::CopyDone | BackendMessage::CommandComplete(_) => {
                self.stage = Stage::Over;
                Error::Closed
            }
            other => {
                self.stage = Stage::Over;
                self.connection.unexpected("CopyData", &other)
            }
        })
    }

    /// From now on a message that is long and not all there yet is looked at: where another one can
    /// stand for it, what is left of it is passed over as it comes, and not held.
    ///
    /// With a trace all of it is held: that tells what the server has sent.
    pub fn shorten_with(&mut self, shorten: fn(&[u8]) -> Option<Vec<u8>>) {
        self.connection.transport().shorten_with(Some(shorten));
    }

    /// Takes in what has come already, without waiting: whether there are whole frames that nobody
    /// has taken, and how many bytes are held in all.
    pub async fn glance(&mut self) -> Result<(bool, usize), Error> {
        let transport = self.connection.transport();
        transport.glance().await;
        Ok((transport.has_frames()?, transport.held()))
    }

    /// Puts one CopyData message; it leaves with the next wait in [`CopyBoth::frames`] or
    /// [`CopyBoth::flush`].
    pub fn send(&mut self, payload: &[u8]) {
        self.connection.writer().copy_data(payload);
    }

    /// Sends what was put.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.connection.transport().flush().await
    }

    /// Ends the stream in order and gives the connection back. The server may still send data
    /// that was under way, even after its own CopyDone; it is passed over.
    ///
    /// Errors: the stream ended otherwise, and the connection with it.
    pub async fn close(mut self) -> Result<Connection, Error> {
        match self.stage {
            Stage::Open => {}
            Stage::Failed(_) if self.connection.check_idle().is_ok() => {
                self.connection.transport().shorten_with(None);
                return Ok(self.connection);
            }
            Stage::Failed(error) => return Err(Error::Server(error)),
            Stage::Over => return Err(Error::Poisoned),
        }
        self.connection.writer().copy_done();
        let mut answer = Answer::Stream;
        loop {
            let (tag, body) = self.connection.frame().await?;
            let message = self.connection.message(tag, &body)?;
            answer = self.connection.advance(answer, &message)?;
            match message {
                BackendMessage::ReadyForQuery(status) => {
                    self.connection.transport().shorten_with(None);
                    self.connection.ready(status);
                    return Ok(self.connection);
                }
                BackendMessage::ErrorResponse(error) => {
                    return Err(self.connection.fail_until_ready(error).await);
                }
                _ => {} // What was under way.
            }
        }
    }
}
