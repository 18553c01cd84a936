//! Data in both directions: the replication stream.
//!
//! ```text
//!            CopyDone sent (close)
//!   open ────────────────────────> closing ── CopyDone, CommandComplete.., ReadyForQuery ──> SQL
//!    └── ErrorResponse, ReadyForQuery, or the end of the socket ──> broken
//! ```
//!
//! What the frames carry is `replication`'s business.

use bytes::Bytes;

use super::{Connection, Error, connection::unexpected};
use crate::wire::{BackendMessage, Frame, Frames, ServerError};

/// A connection in CopyBoth mode.
#[derive(Debug)]
pub struct CopyBoth {
    connection: Connection,
    /// The error that ended the stream, kept for whoever asks next should the one who waits for
    /// the end of it be dropped.
    ended_by: Option<Box<ServerError>>,
}

impl CopyBoth {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection, ended_by: None }
    }

    /// A run of whole frames, of which the CopyData carry the stream. Sends meanwhile what was
    /// put with [`CopyBoth::send`]. May be dropped at any await without losing anything.
    ///
    /// Errors: the server's own (it has left CopyBoth mode then), or the connection's.
    pub async fn frames(&mut self) -> Result<Bytes, Error> {
        if let Some(error) = self.ended_by.take() {
            return Err(Error::Server(error));
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
        let frame = Frame { tag, body: &body };
        if let BackendMessage::NoticeResponse(notice) = BackendMessage::parse(frame)?
            && notice.severity == "WARNING"
        {
            return Err(Error::Server(notice));
        }
        if self.connection.asynchronous(frame)? {
            return Ok(());
        }
        Err(match BackendMessage::parse(frame)? {
            BackendMessage::ErrorResponse(error) => {
                self.ended_by = Some(error.clone());
                self.connection.fail_until_ready(error).await
            } // A shutdown: the walsender has sent all it had and ends the stream.
            BackendMessage::CopyDone | BackendMessage::CommandComplete(_) => Error::Closed,
            other => unexpected("CopyData", &other),
        })
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
    pub async fn close(mut self) -> Result<Connection, Error> {
        self.connection.writer().copy_done();
        loop {
            let (tag, body) = self.connection.frame().await?;
            match BackendMessage::parse(Frame { tag, body: &body })? {
                BackendMessage::ReadyForQuery(status) => {
                    self.connection.ready(status);
                    return Ok(self.connection);
                }
                BackendMessage::ErrorResponse(error) => {
                    return Err(self.connection.fail_until_ready(error).await);
                }
                BackendMessage::CopyData(_)
                | BackendMessage::CopyDone
                | BackendMessage::CommandComplete(_) => {}
                other => return Err(unexpected("the end of the stream", &other)),
            }
        }
    }
}
