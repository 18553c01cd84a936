//! The stream of changes from a slot.

use std::time::{Instant, SystemTime};

use bytes::Bytes;

use super::{DurableLsn, Feedback, MessageError, StreamMessage, StreamOptions, message::shortened};
use crate::{
    conn::{Connection, CopyBoth, Error},
    pg::{Ident, Lsn, PgTimestamp},
    pgoutput::{Decoder, Streaming},
    wire::Frames,
};

/// Starts streaming from a slot, after `from`, which the ledger has told; the slot's own position
/// is never asked (it can be behind, over a crash).
///
/// Errors: the server's among others, if it does not know what is asked for; see
/// [`StreamOptions::check`].
pub async fn start(
    walsender: Connection,
    slot: &str,
    options: &StreamOptions,
    from: DurableLsn,
) -> Result<ReplicationStream, Error> {
    let slot = Ident::new(slot);
    let command = format!("START_REPLICATION SLOT {slot} LOGICAL {} {options}", from.lsn());
    let mut copy = walsender.copy_both(&command).await?;
    if options.streaming == Streaming::Off {
        copy.shorten_with(shortened);
    }
    let decoder = options.decoder();
    let feedback = Feedback::new(from, Instant::now());
    Ok(ReplicationStream { copy, decoder, feedback, held: 0 })
}

/// A slot being read.
#[derive(Debug)]
pub struct ReplicationStream {
    copy: CopyBoth,
    decoder: Decoder,
    feedback: Feedback,
    /// How many bytes were there and not taken when it was last looked.
    held: usize,
}

impl ReplicationStream {
    /// What has arrived, at least one message. May be dropped at any await.
    pub async fn chunk(&mut self) -> Result<Chunk, Error> {
        let frames = self.copy.frames().await?;
        self.feedback.heard(Instant::now());
        self.held = 0;
        Ok(Chunk { frames })
    }

    /// A decoder for this stream, as it is before its first message.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        self.decoder.clone()
    }

    /// What is known of received and durable positions.
    pub const fn feedback(&mut self) -> &mut Feedback {
        &mut self.feedback
    }

    /// Sends a status update if one is due. Waits until the socket has taken its 39 bytes, which
    /// it nearly always does at once.
    ///
    /// Errors: the server's last words if there are any, else the socket's; or the server has said
    /// nothing for long, not even when it was asked to.
    pub async fn report(&mut self, now: Instant) -> Result<(), Error> {
        if self.feedback.is_silent(now) {
            // Perhaps it is we who have taken nothing for long, or it is in the middle of a frame.
            let (has_frames, held) = self.copy.glance().await?;
            if !has_frames && held == self.held {
                return Err(Error::Silent { seconds: self.feedback.silence().as_secs() });
            }
            self.held = held;
            self.feedback.heard(now);
        }
        let Some(update) = self.feedback.due(now, wall_clock()) else {
            return Ok(());
        };
        self.copy.send(&update.encode());
        match self.copy.flush().await {
            Err(Error::Io(error)) => match self.copy.frames().await {
                Err(last_words) => Err(last_words),
                Ok(_) => Err(Error::Io(error)),
            },
            sent => sent,
        }
    }

    /// Tells the final position and ends the stream; the slot is free then.
    pub async fn close(mut self) -> Result<Connection, Error> {
        let update = self.feedback.update(Instant::now(), wall_clock());
        self.copy.send(&update.encode());
        self.copy.close().await
    }

    /// The furthest position that has been received.
    #[must_use]
    pub const fn received(&self) -> Lsn {
        self.feedback.received_lsn()
    }
}

fn wall_clock() -> PgTimestamp {
    PgTimestamp::from_system_time(SystemTime::now())
}

/// A run of messages in the bytes they came in.
#[derive(Clone, Debug)]
pub struct Chunk {
    frames: Bytes,
}

impl Chunk {
    /// How many bytes it has.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// Its messages in order, as views.
    pub fn messages(&self) -> impl Iterator<Item = Result<StreamMessage<'_>, MessageError>> {
        Frames::new(&self.frames).map(|frame| StreamMessage::parse(frame.body))
    }
}
