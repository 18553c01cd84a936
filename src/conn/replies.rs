//! Which request a message answers.
//!
//! Pure: a queue of what was asked, consumed by what comes. After an error the server passes
//! over everything up to the next Sync, so the queue does too
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-PIPELINING>).

use std::collections::VecDeque;

use super::Error;
use crate::wire::{BackendMessage, ServerError};

/// One message that the server owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The answer to Parse.
    ParseComplete,
    /// The answer to Bind.
    BindComplete,
    /// The answer to Close.
    CloseComplete,
    /// The answer to Execute: rows, then its completion.
    Execution,
    /// The answer to Execute of a COPY .. FROM STDIN whose data was sent along: that it may come,
    /// then as of any other.
    Copying,
    /// The answer to Sync.
    ReadyForQuery,
}

/// What a message meant.
#[derive(Debug)]
pub(super) enum Reply {
    /// Part of an answer.
    Partial,
    /// A statement has ended; its command tag counts this many rows.
    Completed(u64),
    /// A statement, or one of its steps, has failed; everything up to the next Sync is void.
    Failed(Box<ServerError>),
    /// The Sync was reached.
    Ready,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<Expected>,
    /// Whether an error came and no Sync has been asked for since: the server answers nothing of
    /// what is asked now.
    is_void: bool,
}

impl Replies {
    pub(super) fn expect(&mut self, expected: Expected) {
        self.is_void &= expected != Expected::ReadyForQuery;
        if !self.is_void {
            self.queue.push_back(expected);
        }
    }

    /// How many messages are owed.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the server passes over all that is asked, up to the next Sync.
    pub(super) const fn is_void(&self) -> bool {
        self.is_void
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the next message that is not asynchronous.
    ///
    /// Errors: it answers nothing that was asked.
    pub(super) fn take(&mut self, message: BackendMessage<'_>) -> Result<Reply, Error> {
        if let BackendMessage::ErrorResponse(error) = message {
            self.void();
            return Ok(Reply::Failed(error));
        }
        let Some(&expected) = self.queue.front() else {
            return Err(Error::Unexpected { expected: "nothing", got: message.name() });
        };
        if let (Expected::Copying, BackendMessage::CopyInResponse(_)) = (expected, &message) {
            self.queue[0] = Expected::Execution;
            return Ok(Reply::Partial);
        }
        let (reply, wanted) = match (expected, &message) {
            (Expected::ParseComplete, BackendMessage::ParseComplete)
            | (Expected::BindComplete, BackendMessage::BindComplete)
            | (Expected::CloseComplete, BackendMessage::CloseComplete) => {
                (Some(Reply::Partial), "")
            }
            (Expected::Execution, BackendMessage::DataRow(_)) => return Ok(Reply::Partial),
            (Expected::Execution, BackendMessage::CommandComplete(tag)) => {
                (Some(Reply::Completed(tag.rows())), "")
            }
            (Expected::Execution, BackendMessage::EmptyQueryResponse) => {
                (Some(Reply::Completed(0)), "")
            }
            (Expected::ReadyForQuery, BackendMessage::ReadyForQuery(_)) => (Some(Reply::Ready), ""),
            (Expected::ParseComplete, _) => (None, "ParseComplete"),
            (Expected::BindComplete, _) => (None, "BindComplete"),
            (Expected::CloseComplete, _) => (None, "CloseComplete"),
            (Expected::Execution, _) => (None, "CommandComplete"),
            (Expected::Copying, _) => (None, "CopyInResponse"),
            (Expected::ReadyForQuery, _) => (None, "ReadyForQuery"),
        };
        let reply =
            reply.ok_or_else(|| Error::Unexpected { expected: wanted, got: message.name() })?;
        self.queue.pop_front();
        Ok(reply)
    }

    /// An error answers the request at the front and voids the rest up to the next Sync.
    fn void(&mut self) {
        let skipped = self.queue.iter().take_while(|e| **e != Expected::ReadyForQuery).count();
        self.queue.drain(..skipped);
        self.is_void = self.queue.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{CommandTag, TransactionStatus};

    fn queue(expected: &[Expected]) -> Replies {
        let mut replies = Replies::default();
        expected.iter().for_each(|e| replies.expect(*e));
        replies
    }

    #[test]
    fn answers_find_their_requests_in_order() {
        let mut replies =
            queue(&[Expected::BindComplete, Expected::Execution, Expected::ReadyForQuery]);
        assert!(matches!(replies.take(BackendMessage::BindComplete), Ok(Reply::Partial)));
        let done = replies.take(BackendMessage::CommandComplete(CommandTag("UPDATE 3")));
        assert!(matches!(done, Ok(Reply::Completed(3))));
        let ready = BackendMessage::ReadyForQuery(TransactionStatus::Idle);
        assert!(matches!(replies.take(ready), Ok(Reply::Ready)));
        assert!(replies.is_empty());
    }

    #[test]
    fn a_copy_completes_only_after_its_data_was_asked_for() {
        let done = || BackendMessage::CommandComplete(CommandTag("COPY 3"));
        assert!(queue(&[Expected::Copying]).take(done()).is_err());
        let mut replies = queue(&[Expected::Copying]);
        let asked = crate::wire::Frame { tag: b'G', body: b"\0\0\0" };
        let asked = BackendMessage::parse(asked).unwrap();
        assert!(matches!(replies.take(asked), Ok(Reply::Partial)));
        assert!(matches!(replies.take(done()), Ok(Reply::Completed(3))));
        assert!(replies.is_empty());
    }

    #[test]
    fn an_error_voids_everything_up_to_the_next_sync() {
        let mut replies = queue(&[
            Expected::BindComplete,
            Expected::Execution,
            Expected::Execution,
            Expected::ReadyForQuery,
            Expected::Execution,
        ]);
        let error = BackendMessage::ErrorResponse(Box::default());
        assert!(matches!(replies.take(error), Ok(Reply::Failed(_))));
        assert_eq!(replies.queue.len(), 2);
    }

    #[test]
    fn what_is_asked_of_a_failed_pipeline_is_void_up_to_a_sync() {
        let mut replies = queue(&[Expected::Execution]);
        assert!(replies.take(BackendMessage::ErrorResponse(Box::default())).is_ok());
        replies.expect(Expected::Execution);
        assert!(replies.is_void() && replies.is_empty());
        replies.expect(Expected::ReadyForQuery);
        replies.expect(Expected::Execution);
        assert!(!replies.is_void());
        assert_eq!(replies.queue, [Expected::ReadyForQuery, Expected::Execution]);
    }

    #[test]
    fn an_answer_to_nothing_is_an_error() {
        assert!(Replies::default().take(BackendMessage::ParseComplete).is_err());
        let error = queue(&[Expected::BindComplete]).take(BackendMessage::ParseComplete);
        assert_eq!(
            error.unwrap_err().to_string(),
            "expected BindComplete, the server sent ParseComplete"
        );
    }
}
