//! Reads a body to its last byte under a cap, a deadline and the listener's memory budget.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{StatusCode, body::Body};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Never reserve more than this on a peer's word alone.
const MAX_RESERVED_BYTES: u64 = 64 * 1024;

/// Bytes of request bodies held at the same time, all connections together.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// A whole body; its share of the budget is given back when this is dropped.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the body is over the route's cap")]
    TooLarge,
    #[error("the body was slower than its deadline")]
    TooSlow,
    #[error("the body broke off or its framing is invalid")]
    Broken,
    #[error("bodies in flight are over the memory budget")]
    Budget,
}

impl Refused {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Budget => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn read<B>(
    body: B,
    cap: usize,
    deadline: Duration,
    budget: &Budget,
) -> Result<Whole, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Refused before "100 Continue" invites the peer to send it (RFC 9110, 10.1.1).
    if body.size_hint().lower() > cap as u64 {
        return Err(Refused::TooLarge);
    }
    tokio::time::timeout(deadline, collect(body, cap, budget)).await.unwrap_or(Err(Refused::TooSlow))
}

async fn collect<B>(mut body: B, cap: usize, budget: &Budget) -> Result<Whole, Refused>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().exact().unwrap_or(0);
    let mut share: Option<OwnedSemaphorePermit> = None;
    // An exchange nearly always arrives as one chunk, which is handed on without a copy.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Refused::Broken)?.into_data() else {
            // Trailers carry nothing that we use.
            continue;
        };
        if chunk.is_empty() {
            continue;
        }
        if first.len().max(rest.len()) + chunk.len() > cap {
            return Err(Refused::TooLarge);
        }
        let taken = budget.take(chunk.len()).ok_or(Refused::Budget)?;
        match &mut share {
            None => share = Some(taken),
            Some(share) => share.merge(taken),
        }
        if first.is_empty() && rest.is_empty() {
            first = chunk;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(usize::try_from(declared.min(MAX_RESERVED_BYTES)).unwrap_or(0));
            rest.extend_from_slice(&first);
            first = Bytes::new();
        }
        rest.extend_from_slice(&chunk);
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Whole { bytes, _share: share })
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use hyper::body::Frame;

    use super::*;

    struct Chunks(VecDeque<&'static [u8]>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))))
        }
    }

    async fn read_chunks(chunks: &[&'static [u8]], cap: usize, budget: &Budget) -> Result<Whole, Refused> {
        read(Chunks(chunks.iter().copied().collect()), cap, Duration::from_secs(5), budget).await
    }

    #[tokio::test]
    async fn chunks_of_unknown_total_are_joined_up_to_the_cap_and_no_further() {
        let budget = Budget::new(100);
        let whole = read_chunks(&[b"ab", b"", b"cd", b"e"], 5, &budget).await.expect("exactly the cap");
        assert_eq!(whole.bytes, "abcde");
        assert_eq!(
            read_chunks(&[b"ab", b"cd", b"ef"], 5, &budget).await.err(),
            Some(Refused::TooLarge),
            "one byte over"
        );
    }

    #[tokio::test]
    async fn a_body_gives_its_share_of_the_budget_back_when_it_is_dropped() {
        let budget = Budget::new(4);
        let whole = read_chunks(&[b"ab", b"cd"], 10, &budget).await.expect("fits");
        assert_eq!(read_chunks(&[b"e"], 10, &budget).await.err(), Some(Refused::Budget));
        drop(whole);
        assert!(read_chunks(&[b"e"], 10, &budget).await.is_ok());
        assert_eq!(budget.0.available_permits(), 4);
    }
}
