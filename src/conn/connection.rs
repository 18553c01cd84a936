//! A session with a server: one owner, requests in order, replies in order.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    CopyBoth, CopyIn, CopyOut, Error,
    rows::{QueryResult, Row, StatementResult},
    transport::Transport,
};
use crate::{
    pg::{Oid, ServerVersion},
    wire::{BackendMessage, Format, Frame, ServerError, TransactionStatus, Writer},
};

/// How many settings of a server are remembered. Servers report some fifteen; one that invents
/// names without end is not believed.
const PARAMETERS_MAX: usize = 256;

/// A session with a server.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    /// What ParameterStatus reported, for example `server_version`.
    parameters: BTreeMap<String, String>,
    process_id: i32,
    /// How many ReadyForQuery are still to come. More than 0 while nothing runs means that a
    /// request was abandoned.
    owed: usize,
    status: TransactionStatus,
}

impl Connection {
    pub(super) const fn new(transport: Transport) -> Self {
        Self {
            transport,
            parameters: BTreeMap::new(),
            process_id: 0,
            owed: 1,
            status: TransactionStatus::Idle,
        }
    }

    /// The server process that serves this session.
    #[must_use]
    pub const fn process_id(&self) -> i32 {
        self.process_id
    }

    pub(super) const fn set_process_id(&mut self, process_id: i32) {
        self.process_id = process_id;
    }

    /// A setting that the server reports, such as `server_version`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// The server's release.
    ///
    /// Errors: it reports none that can be read.
    pub fn server_version(&self) -> Result<ServerVersion, Error> {
        self.parameter("server_version")
            .and_then(ServerVersion::from_parameter)
            .ok_or_else(|| Error::Result("the server does not tell its version".into()))
    }

    /// Runs one or more statements and waits for their results.
    ///
    /// Errors: the server's, after which the session is ready again; or the connection's.
    pub async fn query(&mut self, sql: &str) -> Result<QueryResult, Error> {
        self.check_idle()?;
        self.queue_query(sql);
        self.result().await
    }

    /// Puts a Query on its way without waiting; [`Connection::result`] takes its results.
    pub fn queue_query(&mut self, sql: &str) {
        self.writer().query(sql);
        self.owed += 1;
    }

    /// Runs one statement with parameters given as text, and waits for its result.
    pub async fn query_with(
        &mut self,
        sql: &str,
        parameters: &[Option<&str>],
    ) -> Result<QueryResult, Error> {
        let formats = vec![Format::Text; parameters.len()];
        let values: Vec<_> = parameters.iter().map(|p| p.map(str::as_bytes)).collect();
        self.query_bound(sql, &[], &formats, &values).await
    }

    /// The same with parameters of given types and formats.
    pub async fn query_bound(
        &mut self,
        sql: &str,
        types: &[Oid],
        formats: &[Format],
        parameters: &[Option<&[u8]>],
    ) -> Result<QueryResult, Error> {
        self.check_idle()?;
        let writer = self.writer();
        writer.parse("", sql, types);
        let mut bind = writer.bind("", formats.iter().copied());
        for value in parameters {
            bind.value(*value);
        }
        bind.finish();
        writer.describe_portal();
        writer.execute();
        writer.sync();
        self.owed += 1;
        self.result().await
    }

    /// The results of the oldest request that was queued, up to its ReadyForQuery.
    ///
    /// Errors: the server's error, once the session is ready again, so that the next request or
    /// the next queued result can follow.
    pub async fn result(&mut self) -> Result<QueryResult, Error> {
        let mut result = QueryResult::default();
        let mut current = StatementResult::default();
        let mut names: Arc<[String]> = Arc::new([]);
        let mut failed = None;
        loop {
            let (tag, body) = self.frame().await?;
            let rows = match BackendMessage::parse(Frame { tag, body: &body })? {
                BackendMessage::RowDescription(shape) => {
                    names = shape.columns().map(|c| c.name.to_owned()).collect();
                    continue;
                }
                BackendMessage::DataRow(row) => {
                    let values = row.values().map(|v| v.map(|v| body.slice_ref(v))).collect();
                    current.rows.push(Row { names: names.clone(), values });
                    continue;
                }
                BackendMessage::CommandComplete(tag) => {
                    tag.0.clone_into(&mut current.tag);
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
                BackendMessage::ParseComplete
                | BackendMessage::BindComplete
                | BackendMessage::NoData => continue,
                other => return Err(unexpected("the result of a query", &other)),
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
        self.check_idle()?;
        self.queue_query(command);
        self.copy_begins("CopyBothResponse").await?;
        Ok(CopyBoth::new(self))
    }

    /// The reply to a COPY or a START_REPLICATION: its own kind of response or an error.
    async fn copy_begins(&mut self, expected: &'static str) -> Result<(), Error> {
        let (tag, body) = self.frame().await?;
        match BackendMessage::parse(Frame { tag, body: &body })? {
            message if message.name() == expected => Ok(()),
            BackendMessage::ErrorResponse(error) => Err(self.fail_until_ready(error).await),
            other => Err(unexpected(expected, &other)),
        }
    }

    /// After an error: passes over what is left up to ReadyForQuery and gives the error back,
    /// or the connection's own if it breaks meanwhile.
    pub(super) async fn fail_until_ready(&mut self, error: Box<ServerError>) -> Error {
        loop {
            match self.frame().await {
                Ok((b'Z', body)) => {
                    match BackendMessage::parse(Frame { tag: b'Z', body: &body }) {
                        Ok(BackendMessage::ReadyForQuery(status)) => self.ready(status),
                        Ok(_) => {}
                        Err(malformed) => return malformed.into(),
                    }
                    return Error::Server(error);
                }
                Ok(_) => {}
                // A FATAL error is the session's last word; it says more than the end does.
                Err(Error::Closed | Error::Io(_)) => return Error::Server(error),
                Err(other) => return other,
            }
        }
    }

    /// The next frame that belongs to a request. What may come at any time is dealt with here:
    /// notices are logged, settings remembered, notifications passed over.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Error> {
        loop {
            let (tag, body) = self.transport.frame().await?;
            if !self.asynchronous(Frame { tag, body: &body })? {
                return Ok((tag, body));
            }
        }
    }

    /// Takes a message that may come at any time; `false` if it is of another kind.
    pub(super) fn asynchronous(&mut self, frame: Frame<'_>) -> Result<bool, Error> {
        if !matches!(frame.tag, b'N' | b'S' | b'A') {
            return Ok(false);
        }
        match BackendMessage::parse(frame)? {
            BackendMessage::NoticeResponse(notice) => {
                tracing::debug!(severity = notice.severity, "server notice: {notice}");
            }
            BackendMessage::ParameterStatus { name, value }
                if self.parameters.len() < PARAMETERS_MAX || self.parameters.contains_key(name) =>
            {
                self.parameters.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
        Ok(true)
    }

    pub(super) const fn writer(&mut self) -> &mut Writer {
        self.transport.writer()
    }

    pub(super) const fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// One more ReadyForQuery will come.
    pub(super) const fn owe_ready(&mut self) {
        self.owed += 1;
    }

    /// ReadyForQuery has come.
    pub(super) const fn ready(&mut self, status: TransactionStatus) {
        self.owed = self.owed.saturating_sub(1);
        self.status = status;
    }

    /// Whether a transaction is open, as the last ReadyForQuery told.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.status != TransactionStatus::Idle
    }

    pub(super) const fn check_idle(&self) -> Result<(), Error> {
        if self.owed == 0 { Ok(()) } else { Err(Error::Poisoned) }
    }

    /// Says goodbye, so that the server does not log an unexpected end. Errors don't matter:
    /// the session is over either way.
    pub async fn close(mut self) {
        self.writer().terminate();
        let _ = self.transport.flush().await;
    }
}

/// The error for a message that is out of place.
pub(super) fn unexpected(expected: &'static str, got: &BackendMessage<'_>) -> Error {
    Error::Unexpected { expected, got: got.name() }
}
