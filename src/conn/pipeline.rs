//! Many statements on their way at once, without waiting for any.
//!
//! No Sync is sent until [`Pipeline::sync`] or [`Pipeline::close`]. So when a statement fails, the
//! server passes over everything behind it, transactions that were pipelined later included: a
//! batch can never be committed on top of one that failed. Flush makes the replies come; a wait
//! for replies that nobody has asked for sends it, so that no wait is in vain.
//!
//! The window is bounded: ask [`Pipeline::has_room`], and take what is
//! [completed](Pipeline::completed) while there is none. Nothing can block for ever, whatever the
//! sizes: every wait reads while it writes.

use super::{
    Connection, Error,
    replies::{Expected, Replies, Reply},
};
use crate::{
    pg::Oid,
    wire::{BackendMessage, Bind, Format, Writer},
};

/// How many messages may be unanswered. Each costs us a few bytes and the server's answer some
/// twenty; the point is that there is a bound, far beyond what hides a network's delay.
pub const WINDOW_REPLIES: usize = 65_536;

/// How many bytes may be queued and not sent.
pub const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// A session used only through prepared statements, many at a time.
#[derive(Debug)]
pub struct Pipeline {
    connection: Connection,
    replies: Replies,
    /// How many of the replies, the last ones, the server has not been asked to send.
    unrequested: usize,
}

impl Pipeline {
    /// Takes over a connection that is idle.
    pub fn new(connection: Connection) -> Result<Self, Error> {
        connection.check_idle()?;
        Ok(Self { connection, replies: Replies::default(), unrequested: 0 })
    }

    /// Whether more should be queued. One batch more does no harm; a caller that never asks holds
    /// all that it queues.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.replies.len() < WINDOW_REPLIES && self.connection.unsent() < WINDOW_BYTES
    }

    /// Whether answers are still to come.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.replies.is_empty()
    }

    fn expect(&mut self, expected: Expected) {
        self.replies.expect(expected);
        self.unrequested += 1;
    }

    /// Queues Parse of a statement under `name`.
    pub fn prepare(&mut self, name: &str, sql: &str, parameter_types: &[Oid]) {
        self.connection.writer().parse(name, sql, parameter_types);
        self.expect(Expected::ParseComplete);
    }

    /// Queues the closing of a statement.
    pub fn forget(&mut self, name: &str) {
        self.connection.writer().close_statement(name);
        self.expect(Expected::CloseComplete);
    }

    /// Queues Bind and Execute of a prepared statement; `values` writes its parameters.
    pub fn execute(
        &mut self,
        name: &str,
        formats: impl ExactSizeIterator<Item = Format>,
        values: impl FnOnce(&mut Bind<'_>),
    ) {
        let mut bind = self.connection.writer().bind(name, formats);
        values(&mut bind);
        bind.finish();
        self.connection.writer().execute();
        self.expect(Expected::BindComplete);
        self.expect(Expected::Execution);
    }

    /// Queues Bind and Execute of a prepared COPY .. FROM STDIN with all of its data, which `data`
    /// writes as CopyData messages. Nothing waits for the server to say that it may come: until
    /// CopyDone the server takes what comes for data, and after an error it passes over it
    /// (`PostgresMain` in `postgres.c`).
    pub fn copy(&mut self, name: &str, data: impl FnOnce(&mut Writer)) {
        self.connection.writer().bind(name, std::iter::empty()).finish();
        self.connection.writer().execute();
        data(self.connection.writer());
        self.connection.writer().copy_done();
        self.expect(Expected::BindComplete);
        self.expect(Expected::Copying);
    }

    /// Asks the server to send the replies of what was queued so far. Waiting asks for them too,
    /// but only once those asked for earlier have come.
    pub fn request_replies(&mut self) {
        self.connection.writer().flush_request();
        self.unrequested = 0;
    }

    /// Queues a Sync. Only between two of them does the server report to its statistics what was
    /// done, and a failure voids what follows only up to the next one: so it is for moments when
    /// nothing is on its way.
    pub fn sync(&mut self) {
        self.connection.writer().sync();
        self.connection.owe_ready();
        self.replies.expect(Expected::ReadyForQuery);
        self.unrequested = 0;
    }

    /// The next statement that has run to its end, and how many rows its command tag counts; a
    /// Sync that was reached counts none. Sends meanwhile what is queued. May be dropped at any
    /// await without losing anything. Waits as long as nothing is queued.
    ///
    /// Errors: a statement failed; nothing queued behind it, up to the next Sync, was or will be
    /// done.
    pub async fn completed(&mut self) -> Result<u64, Error> {
        loop {
            if self.replies.is_void() {
                return Err(Error::Voided);
            }
            // An error can void replies that were not asked for.
            if self.unrequested > 0 && self.replies.len() <= self.unrequested {
                self.request_replies();
            }
            match self.reply().await? {
                Reply::Partial => {}
                Reply::Completed(rows) => return Ok(rows),
                Reply::Ready => return Ok(0),
                Reply::Failed(error) => return Err(Error::Server(error)),
            }
        }
    }

    async fn reply(&mut self) -> Result<Reply, Error> {
        let (tag, body) = self.connection.frame().await?;
        let message = self.connection.message(tag, &body)?;
        if let BackendMessage::ReadyForQuery(status) = message {
            self.connection.ready(status);
        }
        let taken = self.replies.take(message);
        taken.inspect_err(|_| self.connection.transport().lose())
    }

    /// Ends the pipeline with a Sync and gives the connection back for ordinary use. An open
    /// transaction stays open.
    pub async fn close(mut self) -> Result<Connection, Error> {
        self.sync();
        let mut failed = None;
        while !self.replies.is_empty() {
            if let Reply::Failed(error) = self.reply().await? {
                failed.get_or_insert(error);
            }
        }
        self.connection.path().is_unsure();
        failed.map_or(Ok(self.connection), |error| Err(Error::Server(error)))
    }
}
