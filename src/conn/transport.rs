//! Frames over a socket, in both directions at once.
//!
//! A server that can't get rid of its replies stops reading requests. Whoever only writes until
//! everything is written can therefore wait for ever; so every wait here moves both directions
//! (<https://www.postgresql.org/docs/current/libpq-pipeline-mode.html#LIBPQ-PIPELINE-USING>).
//!
//! Every method may be dropped at any await: all state is in the transport, none in the future.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{Error, socket::Socket, tls, tracer::Tracer};
use crate::{
    config::Password,
    wire::{Frame, FrameLimits, Frames, Writer, complete_frames},
};

/// Room made for each read. Large enough that a COPY is read in few system calls, small enough
/// that a handful of connections stays far below 64 MB.
const READ_BYTES: usize = 256 * 1024;

/// The most that may arrive while we wait only for our own writes to leave. Replies are small
/// and the pipeline's window is bounded; a server that sends this much unasked is not one.
const FLOOD_BYTES: usize = 256 * 1024 * 1024;

/// The body of another CopyData that will do for one of which this is the start.
type Shorten = fn(&[u8]) -> Option<Vec<u8>>;

/// A socket with its two buffers.
#[derive(Debug)]
pub(super) struct Transport {
    socket: Socket,
    outbound: Writer,
    /// Received, possibly with half a frame at the end.
    inbound: BytesMut,
    /// Whole frames that were received and not handed out yet.
    pending: Bytes,
    limits: FrameLimits,
    /// What can stand for the start of a long CopyData.
    shorten: Option<Shorten>,
    /// How many bytes are to come of a frame for which another one has been handed out.
    passing_over: usize,
    /// How many bytes have been passed over.
    passed_over: usize,
    /// Whether TLS may still hold bytes that we have written.
    unflushed: bool,
    /// Set once what comes makes no sense any more. Nothing is taken from then on: nobody knows
    /// what it would be the answer to.
    is_lost: bool,
    /// Set once writing fails. Reading goes on then: the server's last words tell why.
    write_error: Option<io::Error>,
    tracer: Option<Box<Tracer>>,
    /// How many of the bytes that wait to be sent have been told to the tracer.
    traced: usize,
}

impl Transport {
    pub(super) fn new(socket: Socket, tracer: Option<Box<Tracer>>) -> Self {
        Self {
            socket,
            outbound: Writer::new(),
            inbound: BytesMut::new(),
            pending: Bytes::new(),
            limits: FrameLimits::Startup,
            shorten: None,
            passing_over: 0,
            passed_over: 0,
            unflushed: false,
            is_lost: false,
            write_error: None,
            tracer,
            traced: 0,
        }
    }

    /// Hides one more password in the trace, from here on.
    pub(super) fn hide(&mut self, password: &Password) {
        if let Some(tracer) = &mut self.tracer {
            tracer.hide(password);
        }
    }

    /// Where messages are put; they leave with the next wait.
    pub(super) const fn writer(&mut self) -> &mut Writer {
        &mut self.outbound
    }

    /// From now on frames may be this long.
    pub(super) const fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// From now on a long CopyData may be another one.
    pub(super) const fn shorten_with(&mut self, shorten: Option<Shorten>) {
        self.shorten = shorten;
    }

    /// From now on nothing is taken any more.
    pub(super) const fn lose(&mut self) {
        self.is_lost = true;
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// How many bytes wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.outbound.buffer().len()
    }

    /// Whether frames wait to be handed out without another read.
    pub(super) fn has_frames(&self) -> Result<bool, Error> {
        Ok(!self.pending.is_empty() || complete_frames(&self.inbound, self.limits)?.0 > 0)
    }

    /// How many bytes have come that nobody has taken, with those that nobody will.
    pub(super) fn held(&self) -> usize {
        self.pending.len() + self.inbound.len() + self.passed_over
    }

    /// Takes in what has come already, without waiting. That nothing can come any more shows at the
    /// next wait.
    pub(super) async fn glance(&mut self) {
        poll_fn(|cx| {
            let _ = self.poll_read(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Sends everything that was written, reading meanwhile.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| {
            loop {
                if self.poll_write(cx).is_ready() {
                    return Poll::Ready(self.write_error.take().map_or(Ok(()), Err));
                }
                match self.poll_read(cx) {
                    Poll::Ready(Ok(0)) => {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                    Poll::Ready(Ok(_)) if self.inbound.len() <= FLOOD_BYTES => {}
                    Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        if self.inbound.len() > FLOOD_BYTES {
            return Err(Error::Flooded { limit: FLOOD_BYTES });
        }
        Ok(())
    }

    /// Whole frames, at least one, in the order they came; sends meanwhile.
    pub(super) async fn frames(&mut self) -> Result<Bytes, Error> {
        self.whole_frames(false).await
    }

    /// The same within a COPY to us, where the bounds of CopyData mean nothing: one of many
    /// megabytes, as a large row comes in, is handed out as several.
    pub(super) async fn copy_frames(&mut self) -> Result<Bytes, Error> {
        self.whole_frames(true).await
    }

    async fn whole_frames(&mut self, splits: bool) -> Result<Bytes, Error> {
        if self.is_lost {
            return Err(Error::Poisoned);
        }
        if !self.pending.is_empty() {
            return Ok(std::mem::take(&mut self.pending));
        }
        loop {
            let (whole, needed) = match complete_frames(&self.inbound, self.limits) {
                Ok(found) => found,
                Err(error) => {
                    if let Some(tracer) = &mut self.tracer {
                        tracer.received(&self.inbound);
                    }
                    return Err(error.into());
                }
            };
            if whole > 0 {
                let frames = self.inbound.split_to(whole).freeze();
                if let Some(tracer) = &mut self.tracer {
                    tracer.received(&frames);
                }
                return Ok(frames);
            }
            if let Some(short) = self.shorten_copy_data(needed) {
                return Ok(short);
            }
            if splits && let Some(part) = self.split_copy_data(needed) {
                return Ok(part);
            }
            self.make_room(needed);
            let read = poll_fn(|cx| {
                let _ = self.poll_write(cx);
                self.poll_read(cx)
            });
            match read.await {
                // TLS is told that the end is near, and a server that dies tells nobody.
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(tls::or_io(error));
                }
                Ok(0) | Err(_) => {
                    return Err(self.write_error.take().map_or(Error::Closed, Error::Io));
                }
                Ok(_) => {}
            }
        }
    }

    /// The next frame: its tag and a shared view of its body.
    pub(super) async fn frame(&mut self) -> Result<(u8, Bytes), Error> {
        if self.pending.is_empty() || self.is_lost {
            self.pending = self.frames().await?;
        }
        let mut frames = Frames::new(&self.pending);
        let Some(Frame { tag, body }) = frames.next() else {
            return Err(Error::Closed); // Not reached: `frames` gives whole frames.
        };
        let size = self.pending.len() - frames.rest().len();
        let start = size - body.len();
        let mut frame = self.pending.split_to(size);
        frame.advance(start);
        Ok((tag, frame))
    }

    /// Hands frames back that were taken with [`Transport::frames`] and not used; they come next.
    pub(super) fn put_back(&mut self, frames: Bytes) {
        debug_assert!(self.pending.is_empty(), "frames would change places");
        self.pending = frames;
    }

    /// Makes two CopyData of one of `frame_bytes` that is not all there yet: the first of what has
    /// come of it, the other of the rest.
    fn split_copy_data(&mut self, frame_bytes: usize) -> Option<Bytes> {
        // A trace tells what the server has sent.
        let has_come = self.inbound.len();
        if self.tracer.is_some() || has_come < READ_BYTES || self.inbound.first() != Some(&b'd') {
            return None;
        }
        let length = |bytes: usize| u32::try_from(bytes).ok().map(u32::to_be_bytes);
        // The length counts itself and not the tag.
        let (first, rest) =
            (length(has_come - 1)?, length(frame_bytes.checked_sub(has_come)? + 4)?);
        self.inbound.get_mut(1..5)?.copy_from_slice(&first);
        let part = self.inbound.split().freeze();
        self.inbound.extend_from_slice(b"d");
        self.inbound.extend_from_slice(&rest);
        Some(part)
    }

    /// Makes another CopyData of one of `frame_bytes` that is not all there yet, if it is long and
    /// one will do; the rest of it is passed over.
    fn shorten_copy_data(&mut self, frame_bytes: usize) -> Option<Bytes> {
        let shorten = self.shorten.filter(|_| self.tracer.is_none())?;
        let (head, start) = self.inbound.split_at_checked(5)?;
        if head.first() != Some(&b'd') || frame_bytes < READ_BYTES {
            return None;
        }
        let body = shorten(start)?;
        let length = u32::try_from(body.len() + 4).ok()?.to_be_bytes();
        self.passing_over = frame_bytes.checked_sub(self.inbound.len())?;
        self.passed_over = self.passed_over.wrapping_add(frame_bytes - self.passing_over);
        self.inbound.clear();
        Some([&b"d"[..], &length, &body].concat().into())
    }

    /// Lets go of what has come of a frame that is passed over.
    fn pass_over(&mut self) {
        let bytes = self.passing_over.min(self.inbound.len());
        self.inbound.advance(bytes);
        self.passing_over -= bytes;
        self.passed_over = self.passed_over.wrapping_add(bytes);
    }

    /// Makes room for a frame of that many bytes. What is not there yet is believed only as far as
    /// what has come: the buffer at most doubles, so a claim alone makes us hold nothing.
    fn make_room(&mut self, frame_bytes: usize) {
        let missing = frame_bytes.saturating_sub(self.inbound.len());
        self.inbound.reserve(missing.clamp(READ_BYTES, READ_BYTES.max(self.inbound.len())));
    }

    /// Ready when nothing is left to send, or when sending is over for good.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(tracer) = &mut self.tracer {
            let new = self.outbound.buffer().get(self.traced..).unwrap_or_default();
            self.traced += tracer.sent(new);
        }
        while self.write_error.is_none() && self.outbound.buffer().has_remaining() {
            match Pin::new(&mut self.socket).poll_write(cx, self.outbound.buffer()) {
                Poll::Ready(Ok(0)) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.outbound.buffer_mut().advance(n);
                    self.traced = self.traced.saturating_sub(n);
                    self.unflushed = true;
                }
                Poll::Ready(Err(error)) => self.write_error = Some(error),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.unflushed && self.write_error.is_none() {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(flushed) => self.write_error = flushed.err(),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.unflushed = false;
        Poll::Ready(())
    }

    /// Reads what there is; `Ok(0)` is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbound.reserve(READ_BYTES / 4);
        // The future holds no state of its own, so making it anew at each poll loses nothing.
        let read = pin!(self.socket.read_buf(&mut self.inbound)).poll(cx);
        self.pass_over();
        read
    }
}
