//! Bodies that are sent: whole, or in pieces because they are too long to be held at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// A body that comes in pieces, with something before and behind them. Its length is told before, so if the pieces are
/// more or less than announced the call fails, and the peer notices.
pub struct Upload {
    before: Bytes,
    pieces: Option<mpsc::Receiver<Bytes>>,
    /// Of the pieces.
    left: u64,
    after: Bytes,
}

impl Upload {
    /// `before`, then pieces of so many bytes, then `after`.
    #[must_use]
    pub fn new(before: Bytes, size_bytes: u64, pieces: mpsc::Receiver<Bytes>, after: Bytes) -> Self {
        Self { before, pieces: Some(pieces), left: size_bytes, after }
    }

    /// A body that is here.
    pub(super) fn whole(body: Bytes) -> Self {
        Self { before: body, pieces: None, left: 0, after: Bytes::new() }
    }

    fn length(&self) -> u64 {
        self.left + (self.before.len() + self.after.len()) as u64
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let data = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if !self.before.is_empty() {
            return data(std::mem::take(&mut self.before));
        }
        while self.left > 0 {
            let Some(pieces) = &mut self.pieces else { break };
            let piece = match pieces.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(piece) => piece,
            };
            let Some(piece) = piece else {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            };
            match self.left.checked_sub(piece.len() as u64) {
                Some(_) if piece.is_empty() => {}
                Some(left) => {
                    self.left = left;
                    return data(piece);
                }
                None => return Poll::Ready(Some(Err(io::ErrorKind::InvalidData.into()))),
            }
        }
        if !self.after.is_empty() {
            return data(std::mem::take(&mut self.after));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
