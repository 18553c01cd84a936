//! Asking a server to stop what a session is doing.
//!
//! A CancelRequest travels on a connection of its own, to the very server that serves the session
//! and protected as the session is. It has no reply: whether it came in time shows in the session,
//! which ends its statement with 57014 or with what it would have said anyway
//! (<https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-CANCELING-REQUESTS>).

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Error,
    handshake::{self, Place},
    transport::Transport,
};

/// How long a CancelRequest may take where no `connect_timeout` is given: one is sent in a hurry.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session's process and its secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct CancelKey {
    process_id: i32,
    secret: Box<[u8]>,
}

/// Without the secret: whoever has it can stop the session's statements.
impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelKey").field("process_id", &self.process_id).finish_non_exhaustive()
    }
}

impl CancelKey {
    pub(super) fn new(process_id: i32, secret: &[u8]) -> Self {
        Self { process_id, secret: secret.into() }
    }

    pub(super) const fn process_id(&self) -> i32 {
        self.process_id
    }
}

/// All that is needed to cancel what a session does, kept apart from it: the session itself is
/// busy when it is wanted.
#[derive(Clone, Debug)]
pub struct CancelToken {
    pub(super) place: Arc<Place>,
    pub(super) key: CancelKey,
}

impl CancelToken {
    /// Sends the request and waits until the server has taken it.
    ///
    /// Errors: the server can't be reached in time.
    pub async fn cancel(&self) -> Result<(), Error> {
        let patience = self.place.connect_timeout().unwrap_or(PATIENCE);
        handshake::within(Some(patience), self.place.server(), self.send()).await
    }

    async fn send(&self) -> Result<(), Error> {
        let mut tracer = self.place.tracer();
        let socket = self.place.open_again(&mut tracer).await?;
        let mut transport = Transport::new(socket, tracer);
        transport.writer().cancel_request(self.key.process_id, &self.key.secret);
        transport.flush().await?;
        // The server closes once it has passed the request on; until then it may be lost.
        match transport.frame().await {
            Err(Error::Closed | Error::Io(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Error::Unexpected { expected: "the end", got: "a message" }),
        }
    }
}
