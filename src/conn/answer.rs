//! In which order the messages of one answer come.
//!
//! ```text
//!   Query              (T D.. C | C | I).. Z
//!   Parse              1, then as Bind
//!   Bind               2 (T D.. C | n C | n I) Z
//!   Describe           1 t (T | n) Z
//!   Close              3 Z
//!   after a COPY       C, then as Query or Z
//!   after CopyFail     nothing but E
//!   end of a stream    d.. c d.. C.. Z
//! ```
//!
//! `E` may come in the place of any of them and leaves nothing but `Z`; a second one is a session's
//! last word. Pure. Messages that may come at any time are not seen here: they are `reports`'.
//!
//! A message that is out of place is an error and not passed over: after it nobody knows which
//! question the next one answers.
//! (<https://www.postgresql.org/docs/current/protocol-flow.html>)

use crate::wire::BackendMessage;

/// How far an answer has come: what may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A Query was sent, and nothing has come.
    Query,
    /// A statement of a Query has ended; another one may begin.
    NextStatement,
    /// The rows of a Query's statement.
    QueryRows,
    /// The data of a COPY has ended.
    Copied,
    /// CopyFail was sent.
    Refused,
    /// Parse was sent, with all that runs the statement.
    Parse,
    /// Bind was sent, with Describe of the portal and Execute.
    Bind,
    /// Describe of a portal.
    Portal,
    /// The rows of an Execute.
    Rows,
    /// An Execute without rows.
    NoRows,
    /// Parse was sent, with Describe of the statement.
    Prepare,
    /// Describe of a statement: its parameters.
    Parameters,
    /// And its columns.
    Columns,
    /// Close was sent.
    Close,
    /// CopyDone was sent in the middle of a stream.
    Stream,
    /// The server's own CopyDone has come.
    StreamDone,
    /// The commands behind the stream are ending.
    StreamEnded,
    /// All but ReadyForQuery has come.
    Sync,
    /// An error has come.
    Failed,
    /// ReadyForQuery has come.
    Ready,
}

impl Answer {
    /// What may come after `message`; `None` if that is out of place.
    pub(super) const fn after(self, message: &BackendMessage<'_>) -> Option<Self> {
        use BackendMessage as M;
        Some(match (self, message) {
            (Self::Ready, _) => return None,
            (_, M::ErrorResponse(_)) => Self::Failed,
            (Self::Query | Self::NextStatement, M::RowDescription(_)) => Self::QueryRows,
            (Self::Query | Self::NextStatement, M::CommandComplete(_) | M::EmptyQueryResponse)
            | (Self::QueryRows | Self::Copied, M::CommandComplete(_)) => Self::NextStatement,
            (Self::QueryRows, M::DataRow(_)) => Self::QueryRows,
            (Self::Parse, M::ParseComplete) => Self::Bind,
            (Self::Bind, M::BindComplete) => Self::Portal,
            (Self::Portal, M::RowDescription(_)) => Self::Rows,
            (Self::Portal, M::NoData) => Self::NoRows,
            (Self::Rows, M::DataRow(_)) => Self::Rows,
            (Self::Prepare, M::ParseComplete) => Self::Parameters,
            (Self::Parameters, M::ParameterDescription(_)) => Self::Columns,
            (Self::Rows | Self::NoRows, M::CommandComplete(_))
            | (Self::NoRows, M::EmptyQueryResponse)
            | (Self::Columns, M::RowDescription(_) | M::NoData)
            | (Self::Close, M::CloseComplete) => Self::Sync,
            (Self::Stream, M::CopyData(_)) => Self::Stream,
            (Self::Stream, M::CopyDone) | (Self::StreamDone, M::CopyData(_)) => Self::StreamDone,
            // A server that shuts down ends its command without a CopyDone.
            (Self::Stream | Self::StreamDone | Self::StreamEnded, M::CommandComplete(_)) => {
                Self::StreamEnded
            }
            (
                Self::NextStatement | Self::Sync | Self::Failed | Self::StreamEnded,
                M::ReadyForQuery(_),
            ) => Self::Ready,
            _ => return None,
        })
    }

    /// What may come, in words.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Query => "the result of a query",
            Self::NextStatement => "another result or ReadyForQuery",
            Self::QueryRows | Self::Rows => "DataRow or CommandComplete",
            Self::Copied => "CommandComplete",
            Self::NoRows => "CommandComplete or EmptyQueryResponse",
            Self::Refused => "ErrorResponse",
            Self::Parse | Self::Prepare => "ParseComplete",
            Self::Bind => "BindComplete",
            Self::Portal | Self::Columns => "RowDescription or NoData",
            Self::Parameters => "ParameterDescription",
            Self::Close => "CloseComplete",
            Self::Stream | Self::StreamDone => "the end of the stream",
            Self::StreamEnded => "CommandComplete or ReadyForQuery",
            Self::Sync | Self::Failed => "ReadyForQuery",
            Self::Ready => "nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;

    /// Goes through messages, each its tag and its body; where they lead, or at which one it ends.
    fn walk(from: Answer, messages: &[&[u8]]) -> Result<Answer, usize> {
        let mut answer = from;
        for (at, message) in messages.iter().enumerate() {
            let (tag, body) = (message[0], &message[1..]);
            let message = BackendMessage::parse(Frame { tag, body }).unwrap();
            answer = answer.after(&message).ok_or(at)?;
        }
        Ok(answer)
    }

    const DONE: &[u8] = b"CSELECT 1\0";

    #[test]
    fn answers_come_to_their_end() {
        for (from, messages) in [
            (Answer::Query, &[b"T\0\0", b"D\0\0", DONE, DONE, b"I", b"ZI"][..]),
            (Answer::Parse, &[b"1", b"2", b"T\0\0", b"D\0\0", DONE, b"ZI"]),
            (Answer::Bind, &[b"2", b"n", b"I", b"ZI"]),
            (Answer::Prepare, &[b"1", b"t\0\0", b"n", b"ZI"]),
            (Answer::Close, &[b"3", b"ZI"]),
            (Answer::Copied, &[DONE, b"ZI"]),
            (Answer::Refused, &[b"E\0", b"ZI"]),
            (Answer::Stream, &[b"dx", b"c", b"dx", DONE, DONE, b"ZI"]),
            (Answer::Parse, &[b"1", b"E\0", b"E\0", b"ZE"]),
        ] {
            assert_eq!(walk(from, messages), Ok(Answer::Ready), "{from:?}");
        }
    }

    /// The early end is what would make every later answer go to the question before.
    #[test]
    fn no_answer_ends_before_it_has_begun_or_twice() {
        for from in [
            Answer::Query,
            Answer::Parse,
            Answer::Bind,
            Answer::Prepare,
            Answer::Close,
            Answer::Copied,
            Answer::Refused,
            Answer::Stream,
        ] {
            assert_eq!(walk(from, &[b"ZI"]), Err(0), "{from:?}");
        }
        assert_eq!(walk(Answer::Query, &[DONE, b"ZI", b"ZI"]), Err(2));
        assert_eq!(walk(Answer::Query, &[b"E\0", DONE]), Err(1));
    }
}
