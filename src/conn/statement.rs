//! Statements that are prepared once and run often, one at a time.
//!
//! Not here: many at once without waiting, which is `pipeline`'s.

use super::{Connection, Error, answer::Answer, rows::QueryResult};
use crate::{
    pg::Oid,
    wire::{BackendMessage, Format},
};

/// A prepared statement of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    name: String,
    parameters: Vec<Oid>,
    columns: Vec<(String, Oid)>,
}

impl Statement {
    /// The types of its parameters, in order.
    #[must_use]
    pub fn parameters(&self) -> &[Oid] {
        &self.parameters
    }

    /// The names and types of its result's columns; none for a statement without rows.
    #[must_use]
    pub fn columns(&self) -> &[(String, Oid)] {
        &self.columns
    }
}

impl Connection {
    /// Prepares a statement under a name that the session does not have yet. Types that are not
    /// given are the server's to find out.
    ///
    /// Errors: the server's, after which the session is ready again; or the connection's.
    pub async fn prepare(
        &mut self,
        name: &str,
        sql: &str,
        types: &[Oid],
    ) -> Result<Statement, Error> {
        self.settle().await?;
        let writer = self.writer();
        writer.parse(name, sql, types);
        writer.describe_statement(name);
        writer.sync();
        self.owe_ready();
        let mut statement =
            Statement { name: name.to_owned(), parameters: Vec::new(), columns: Vec::new() };
        self.begin()?;
        let mut answer = Answer::Prepare;
        loop {
            let (tag, body) = self.frame().await?;
            let message = self.message(tag, &body)?;
            answer = self.advance(answer, &message)?;
            match message {
                BackendMessage::ParameterDescription(parameters) => {
                    statement.parameters = parameters.types().collect();
                }
                BackendMessage::RowDescription(shape) => {
                    let columns = shape.columns().map(|c| (c.name.to_owned(), c.type_oid));
                    statement.columns = columns.collect();
                }
                BackendMessage::ErrorResponse(error) => {
                    return Err(self.fail_until_ready(error).await);
                }
                BackendMessage::ReadyForQuery(status) => {
                    self.ready(status);
                    return Ok(statement);
                }
                _ => {} // The steps on the way.
            }
        }
    }

    /// Runs a prepared statement; its rows come as text.
    ///
    /// Errors: the number of values is not the number of parameters; otherwise as
    /// [`Connection::query`].
    pub async fn run(
        &mut self,
        statement: &Statement,
        formats: &[Format],
        values: &[Option<&[u8]>],
    ) -> Result<QueryResult, Error> {
        self.settle().await?;
        let wanted = statement.parameters.len();
        if values.len() != wanted || formats.len() != wanted {
            let text = format!("{} values for {wanted} parameters", values.len());
            return Err(Error::Result(text));
        }
        let writer = self.writer();
        let mut bind = writer.bind(&statement.name, formats.iter().copied());
        for value in values {
            bind.value(*value);
        }
        bind.finish();
        writer.describe_portal();
        writer.execute();
        writer.sync();
        self.owe_ready();
        self.answered(Answer::Bind).await
    }

    /// Forgets a prepared statement.
    pub async fn forget(&mut self, statement: Statement) -> Result<(), Error> {
        self.settle().await?;
        let writer = self.writer();
        writer.close_statement(&statement.name);
        writer.sync();
        self.owe_ready();
        self.answered(Answer::Close).await.map(drop)
    }
}
