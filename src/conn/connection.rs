//! A session with a server: one owner, requests in order, replies in order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    CancelToken, CopyBoth, CopyIn, CopyOut, Error, Notification,
    answer::Answer,
    ask::SearchPath,
    cancel::CancelKey,
    encryption::Encryption,
    handshake::Place,
    reports::Reports,
    rows::{QueryResult, Row, StatementResult},
    session::Settings,
    startup::Started,
    transport::Transport,
};
use crate::{
    auth::Authenticated,
    config::{AuthMethod, Password},
    pg::ServerVersion,
    wire::{BackendMessage, Frame, ProtocolVersion, ServerError, TransactionStatus, Writer},
};

/// The most that one result may hold. Catalogs and the ledger give kilobytes; a server that sends
/// more than this is not answering our question.
const RESULT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long a goodbye may take. It is five bytes, which wait only behind what the server would not
/// take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a row costs us besides its bytes and its values, roughly: a server can send a million
/// empty ones in a few megabytes.
const OVERHEAD_BYTES: usize = 48;

/// A session with a server.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    reports: Reports,
    place: Arc<Place>,
    version: ProtocolVersion,
    proof: Option<Authenticated>,
    key: Option<CancelKey>,
    settings: Settings,
    /// The process that serves the session, as it says itself once it is asked.
    pid: Option<i32>,
    /// How many ReadyForQuery are still to come. More than 0 while nothing runs means that a
    /// request was abandoned.
    owed: usize,
    /// Whether an answer is being read. It still is when nobody reads it: then it was abandoned.
    within: bool,
    status: TransactionStatus,
    path: SearchPath,
}

impl Connection {
    pub(super) fn new(transport: Transport, place: Place, settings: Settings) -> Self {
        let place = Arc::new(place);
        Self {
            transport,
            reports: Reports::default(),
            place,
            version: ProtocolVersion::V3_0,
            proof: None,
            key: None,
            settings,
            pid: None,
            owed: 1,
            within: false,
            status: TransactionStatus::Idle,
            path: SearchPath::default(),
        }
    }

    /// The session has been started.
    pub(super) fn started(&mut self, started: Started) {
        self.version = started.version;
        self.proof = Some(started.proof);
        self.key = started.key;
        self.ready(started.status);
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) const fn reports(&mut self) -> &mut Reports {
        &mut self.reports
    }

    /// How the session gets its settings.
    pub(super) const fn path(&mut self) -> &mut SearchPath {
        &mut self.path
    }

    pub(super) const fn status(&self) -> TransactionStatus {
        self.status
    }

    pub(super) const fn settings(&self) -> Settings {
        self.settings
    }

    /// The process that serves the session, by its own word: a pooler names another at the login.
    pub(super) const fn served_by(&mut self, pid: i32) {
        self.pid = Some(pid);
    }

    /// The server process that serves this session; 0 if the server does not tell.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        let named = || self.key.as_ref().map_or(0, CancelKey::process_id);
        self.pid.unwrap_or_else(named)
    }

    /// What can cancel this session's statements while it is busy; `None` if the server gave no
    /// key.
    #[must_use]
    pub fn cancel_token(&self) -> Option<CancelToken> {
        let key = self.key.clone()?;
        Some(CancelToken { place: self.place.clone(), key })
    }

    /// Whether the session is protected by TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.place.encryption == Encryption::Tls
    }

    /// The version of the protocol that is spoken.
    #[must_use]
    pub const fn protocol_version(&self) -> ProtocolVersion {
        self.version
    }

    /// How the server let us in.
    #[must_use]
    pub fn auth_method(&self) -> Option<AuthMethod> {
        self.proof.as_ref().map(Authenticated::method)
    }

    /// Whether the login was bound to the TLS channel: nobody stands in between.
    #[must_use]
    pub fn is_channel_bound(&self) -> bool {
        self.proof.as_ref().is_some_and(Authenticated::is_channel_bound)
    }

    /// A setting that the server reports, such as `server_version`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.reports.parameter(name)
    }

    /// Hides a password that a statement is to hold in the trace, from here on.
    pub fn hide_in_trace(&mut self, password: &Password) {
        self.transport.hide(password);
    }

    /// The newest notices since the last call, at most [`NOTICES_MAX`](super::NOTICES_MAX).
    pub fn take_notices(&mut self) -> Vec<ServerError> {
        self.reports.take_notices()
    }

    /// The newest notifications since the last call, at most
    /// [`NOTIFICATIONS_MAX`](super::NOTIFICATIONS_MAX). They come with replies: a session that
    /// only listens asks now and then.
    pub fn take_notifications(&mut self) -> Vec<Notification> {
        self.reports.take_notifications()
    }

    /// The server's release.
    ///
    /// Errors: it reports none that can be read.
    pub fn server_version(&self) -> Result<ServerVersion, Error> {
        self.parameter("server_version")
            .and_then(ServerVersion::from_parameter)
            .ok_or_else(|| Error::Result("the server does not tell its version".into()))
    }

    /// Puts a Query on its way without waiting; [`Connection::result`] takes its results. Nothing
    /// is asked of a connection that can't be used any more; the result will say so.
    pub fn queue_query(&mut self, sql: &str) {
        if self.within || self.transport.is_lost() {
            return;
        }
        self.writer().query(sql);
        self.owed += 1;
    }

    /// The results of the oldest request that was queued, up to its ReadyForQuery.
    ///
    /// Errors: the server's error, once the session is ready again, so that the next request or
    /// the next queued result can follow.
    pub async fn result(&mut self) -> Result<QueryResult, Error> {
        self.answered(Answer::Query).await
    }

    /// The result of the oldest request, whose answer is to be of this kind.
    pub(super) async fn answered(&mut self, answer: Answer) -> Result<QueryResult, Error> {
        self.begin()?;
        self.rest(answer).await
    }

    /// The rest of an answer that has begun.
    pub(super) async fn rest(&mut self, mut answer: Answer) -> Result<QueryResult, Error> {
        let mut result = QueryResult::default();
        let mut current = StatementResult::default();
        let mut names: Arc<[String]> = Arc::new([]);
        let mut failed = None;
        let mut held = 0;
        loop {
            let (tag, body) = match self.frame().await {
                Ok(frame) => frame,
                // A FATAL error is the session's last word; it says more than the end does.
                Err(end @ (Error::Closed | Error::Io(_))) => {
                    return Err(failed.map_or(end, Error::Server));
                }
                Err(error) => return Err(error),
            };
            held += body.len() + OVERHEAD_BYTES;
            if held > RESULT_BYTES_MAX {
                return Err(Error::ResultTooLarge { limit: RESULT_BYTES_MAX });
            }
            let message = self.message(tag, &body)?;
            answer = self.advance(answer, &message)?;
            let rows = match message {
                BackendMessage::RowDescription(shape) => {
                    names = shape.columns().map(|c| c.name.to_owned()).collect();
                    continue;
                }
                BackendMessage::DataRow(row) => {
                    let values: Vec<Option<Bytes>> =
                        row.values().map(|v| v.map(|v| body.slice_ref(v))).collect();
                    held += values.len() * size_of::<Option<Bytes>>();
                    current.rows.push(Row { names: names.clone(), values });
                    continue;
                }
                BackendMessage::CommandComplete(tag) => {
                    tag.0.clone_into(&mut current.tag);
                    self.path.has_run(tag.0);
                    tag.rows()
                }
                BackendMessage::EmptyQueryResponse => 0,
                BackendMessage::ErrorResponse(error) => {
                    failed.get_or_insert(error);
                    continue;
                }
                BackendMessage::ReadyForQuery(status) => {
                    self.ready(status);
                    return failed.map_or(Ok(result), |error| Err(Error::Server(error)));
                }
                _ => continue,
            };
            current.affected = rows;
            result.statements.push(std::mem::take(&mut current));
        }
    }

    /// Waits for the queued COPY .. TO STDOUT to begin.
    pub async fn copy_out(&mut self) -> Result<CopyOut<'_>, Error> {
        self.copy_begins("CopyOutResponse").await?;
        Ok(CopyOut::new(self))
    }

    /// Waits for the queued COPY .. FROM STDIN to begin.
    pub async fn copy_in(&mut self) -> Result<CopyIn<'_>, Error> {
        self.copy_begins("CopyInResponse").await?;
        Ok(CopyIn::new(self))
    }

    /// Runs a command that turns the connection into a stream in both directions.
    pub async fn copy_both(mut self, command: &str) -> Result<CopyBoth, Error> {
        self.settle().await?;
        self.queue_query(command);
        self.copy_begins("CopyBothResponse").await?;
        Ok(CopyBoth::new(self))
    }

    /// The reply to a COPY or a START_REPLICATION: its own kind of response or an error.
    async fn copy_begins(&mut self, expected: &'static str) -> Result<(), Error> {
        self.begin()?;
        let (tag, body) = self.frame().await?;
        match self.message(tag, &body)? {
            message if message.name() == expected => Ok(()),
            BackendMessage::ErrorResponse(error) => Err(self.fail_until_ready(error).await),
            other => Err(self.unexpected(expected, &other)),
        }
    }

    /// After an error: waits for ReadyForQuery and gives the error back, or the connection's own
    /// if what comes is something else.
    pub(super) async fn fail_until_ready(&mut self, error: Box<ServerError>) -> Error {
        match self.rest(Answer::Failed).await {
            // A FATAL error is the session's last word; it says more than the end does.
            Ok(_) | Err(Error::Closed | Error::Io(_) | Error::Server(_)) => Error::Server(error),
            Err(other) => other,
        }
    }

    /// The next frame that belongs to a request. What may come at any time is dealt with here:
    /// notices are logged, settings remembered, notifications passed over.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Error> {
        loop {
            let (tag, body) = match self.transport.frame().await {
                Ok(frame) => frame,
                Err(end) => return Err(self.ended_by(end)),
            };
            if !self.asynchronous(Frame { tag, body: &body })? {
                return Ok((tag, body));
            }
        }
    }

    /// The reason that the server has given, if it has; it says more than the end does.
    pub(super) fn ended_by(&mut self, end: Error) -> Error {
        match end {
            Error::Closed | Error::Io(_) => {
                self.reports.take_last_words().map_or(end, Error::Server)
            }
            other => other,
        }
    }

    /// Takes a message that may come at any time; `false` if it is of another kind.
    pub(super) fn asynchronous(&mut self, frame: Frame<'_>) -> Result<bool, Error> {
        if !matches!(frame.tag, b'N' | b'S' | b'A') {
            return Ok(false);
        }
        let message = self.message(frame.tag, frame.body)?;
        Ok(self.reports.take(&message))
    }

    /// Reads a message. With one that can't be read the session is lost.
    pub(super) fn message<'a>(
        &mut self,
        tag: u8,
        body: &'a [u8],
    ) -> Result<BackendMessage<'a>, Error> {
        let message = BackendMessage::parse(Frame { tag, body });
        message.map_err(|malformed| {
            self.transport.lose();
            malformed.into()
        })
    }

    /// What may come after a message.
    pub(super) fn advance(
        &mut self,
        answer: Answer,
        message: &BackendMessage<'_>,
    ) -> Result<Answer, Error> {
        let after = answer.after(message);
        after.ok_or_else(|| self.unexpected(answer.expected(), message))
    }

    /// The error for a message that is out of place; the session is lost with it.
    pub(super) fn unexpected(&mut self, expected: &'static str, got: &BackendMessage<'_>) -> Error {
        self.transport.lose();
        unexpected(expected, got)
    }

    pub(super) const fn writer(&mut self) -> &mut Writer {
        self.transport.writer()
    }

    pub(super) const fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    pub(super) fn unsent(&self) -> usize {
        self.transport.unsent()
    }

    /// One more ReadyForQuery will come.
    pub(super) const fn owe_ready(&mut self) {
        self.owed += 1;
    }

    /// ReadyForQuery has come.
    pub(super) const fn ready(&mut self, status: TransactionStatus) {
        self.owed = self.owed.saturating_sub(1);
        self.within = false;
        self.status = status;
    }

    /// Whether a transaction is open that the session can be told to end, as the last ReadyForQuery
    /// told: none is in a session that has ended, nor where a reply is still owed.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.status != TransactionStatus::Idle && self.check_idle().is_ok()
    }

    pub(super) const fn check_idle(&self) -> Result<(), Error> {
        let is_idle = self.owed == 0 && !self.within && !self.transport.is_lost();
        if is_idle { Ok(()) } else { Err(Error::Poisoned) }
    }

    /// Before something new is asked: nothing is owed, and nothing has come that nobody has asked
    /// for. It would be taken for the answer.
    ///
    /// Errors: the server's last words, or a message that is out of place.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        self.check_idle()?;
        self.transport.glance().await;
        while self.transport.has_frames()? {
            let (tag, body) = self.transport.frame().await?;
            if self.asynchronous(Frame { tag, body: &body })? {
                continue;
            }
            return Err(match self.message(tag, &body)? {
                BackendMessage::ErrorResponse(error) => {
                    self.transport.lose();
                    Error::Server(error)
                }
                other => self.unexpected("nothing, as nothing was asked", &other),
            });
        }
        Ok(())
    }

    /// Begins to read the oldest answer that is owed.
    pub(super) const fn begin(&mut self) -> Result<(), Error> {
        if self.within || self.transport.is_lost() {
            return Err(Error::Poisoned);
        }
        if self.owed == 0 {
            return Err(Error::NothingAsked);
        }
        self.within = true;
        Ok(())
    }

    /// Whether an answer has begun and not ended.
    pub(super) const fn check_within(&self) -> Result<(), Error> {
        if self.within { Ok(()) } else { Err(Error::NothingAsked) }
    }

    /// Says goodbye, so that the server does not log an unexpected end. Errors don't matter:
    /// the session is over either way.
    pub async fn close(mut self) {
        self.writer().terminate();
        let _ = tokio::time::timeout(GOODBYE, self.transport.flush()).await;
    }
}

/// The error for a message that is out of place.
pub(super) fn unexpected(expected: &'static str, got: &BackendMessage<'_>) -> Error {
    Error::Unexpected { expected, got: got.name() }
}
