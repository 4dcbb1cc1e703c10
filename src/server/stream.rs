//! Bodies that are too long to be held at once: they pass through in pieces, and a reader who is slow slows whoever makes
//! them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// The pieces of a body and their length together. If they end early, the connection is cut, so that the peer notices.
#[derive(Clone)]
pub struct Pieces {
    pub(super) length: u64,
    // A reply can be cloned, a stream cannot: the first copy that is sent has it.
    receiver: Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>,
}

impl Pieces {
    /// A body of this length, whose pieces come from the channel.
    pub fn new(length: u64, receiver: mpsc::Receiver<Bytes>) -> Self {
        Self { length, receiver: Arc::new(Mutex::new(Some(receiver))) }
    }

    /// What hyper sends; `guard` lives until all was sent or the peer is gone.
    pub(super) fn into_body<G>(self, guard: G) -> Streamed<G> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        Streamed { left: self.length, receiver, _guard: guard }
    }
}

pub(super) struct Streamed<G> {
    left: u64,
    receiver: Option<mpsc::Receiver<Bytes>>,
    _guard: G,
}

impl<G: Unpin> Body for Streamed<G> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(receiver) = &mut self.receiver else { return Poll::Ready(None) };
        receiver.poll_recv(cx).map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Some(Ok(Frame::data(piece)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
