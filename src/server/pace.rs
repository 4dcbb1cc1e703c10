//! Keeps a connection's peer to a pace, without a timer operation per request.
//!
//! hyper's own header timer cannot tell an idle connection from a slow head, and allocates for every request. Here the
//! stream and the service only note deadlines; [`Pace::watch`] keeps one timer per connection and moves it lazily:
//! forward when it fires early, backward only when a nearer deadline appears.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Instant, Sleep},
};

use super::Limits;

/// Stands for "no deadline".
const NEVER: u64 = u64::MAX;

/// Deadlines of one connection, in milliseconds since it was accepted.
///
/// Stream, service and watch run in one task, so relaxed ordering is enough; atomics only make it `Sync`.
pub(super) struct Pace {
    accepted: Instant,
    header_read: Duration,
    keep_alive_idle: Duration,
    write_stall: Duration,
    /// Between requests: the next byte read starts the deadline of a head.
    idle: AtomicBool,
    read_by_ms: AtomicU64,
    write_by_ms: AtomicU64,
}

impl Pace {
    /// Starts with the deadline of the first head.
    pub(super) fn new(limits: &Limits, accepted: Instant) -> Self {
        Self {
            accepted,
            header_read: limits.header_read,
            keep_alive_idle: limits.keep_alive_idle,
            write_stall: limits.write_stall,
            idle: AtomicBool::new(false),
            read_by_ms: AtomicU64::new(millis(limits.header_read)),
            write_by_ms: AtomicU64::new(NEVER),
        }
    }

    /// A head is complete: its body has a deadline of its own, its handler one by the application.
    pub(super) fn request_started(&self) {
        self.idle.store(false, Relaxed);
        self.read_by_ms.store(NEVER, Relaxed);
    }

    /// The handler is done: the connection may rest for a while.
    pub(super) fn request_finished(&self) {
        self.idle.store(true, Relaxed);
        self.read_by_ms.store(self.after(self.keep_alive_idle), Relaxed);
    }

    fn bytes_arrived(&self) {
        if self.idle.load(Relaxed) {
            self.idle.store(false, Relaxed);
            self.read_by_ms.store(self.after(self.header_read), Relaxed);
        }
    }

    fn write_blocked(&self) {
        if self.write_by_ms.load(Relaxed) == NEVER {
            self.write_by_ms.store(self.after(self.write_stall), Relaxed);
        }
    }

    fn write_moved(&self) {
        self.write_by_ms.store(NEVER, Relaxed);
    }

    fn after(&self, duration: Duration) -> u64 {
        millis(self.accepted.elapsed() + duration)
    }

    fn deadline(&self) -> Option<Instant> {
        let nearest = self.read_by_ms.load(Relaxed).min(self.write_by_ms.load(Relaxed));
        (nearest != NEVER).then(|| self.accepted + Duration::from_millis(nearest))
    }

    /// Ready once a deadline has passed. Called after the connection was polled in the same turn, so that a deadline
    /// which that poll brought nearer is seen before the task sleeps.
    pub(super) fn watch(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline() else { return Poll::Pending };
        if timer.is_elapsed() || deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER)
}

/// A stream that notes in its [`Pace`] when bytes move and when they do not.
pub(super) struct Paced<S> {
    pub(super) stream: S,
    pub(super) pace: Arc<Pace>,
}

impl<S> Paced<S> {
    fn note<T>(&self, outcome: Poll<T>) -> Poll<T> {
        match outcome {
            Poll::Pending => self.pace.write_blocked(),
            Poll::Ready(_) => self.pace.write_moved(),
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pace.bytes_arrived();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.note(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.note(outcome)
    }
}
