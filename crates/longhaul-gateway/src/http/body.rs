//! The body of an answer: read part by part, or whole up to a bound.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use longhaul_resilience::Cx;

use super::connection::Wire;
use super::error::HttpError;
use super::framing::Framing;
use super::pool::{Place, Pool};
use crate::simulated::PlanBody;

/// An answer's body, with the connection that it comes over.
///
/// Read to its end it gives the connection back. Dropped before, it closes it, which is how the provider learns that
/// nobody wants the rest.
pub(crate) struct AnswerBody {
    from: From,
}

enum From {
    Wire { framing: Framing, held: Option<Held> },
    Plan(PlanBody),
}

struct Held {
    wire: Box<Wire>,
    pool: Arc<Pool>,
    _place: Place,
}

impl AnswerBody {
    pub(super) fn new(pool: Arc<Pool>, wire: Box<Wire>, place: Place, framing: Framing) -> Self {
        Self { from: From::Wire { framing, held: Some(Held { wire, pool, _place: place }) } }
    }

    /// A body that nobody sent.
    pub(crate) fn simulated(plan: PlanBody) -> Self {
        Self { from: From::Plan(plan) }
    }

    /// The next part; `None` at the end.
    pub(crate) fn poll_part(&mut self, cx: &Cx<'_>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let (framing, held) = match &mut self.from {
            From::Plan(plan) => return plan.poll_part(task),
            From::Wire { framing, held } => (framing, held),
        };
        let Some(using) = held else { return Poll::Ready(None) };
        match using.wire.poll_body(framing, task) {
            Poll::Ready(None) => {
                if let Some(Held { wire, pool, .. }) = held.take() {
                    pool.give_back(wire, cx.now());
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                *held = None;
                Poll::Ready(Some(Err(error)))
            }
            other => other,
        }
    }

    /// The next part; `None` at the end.
    pub(crate) async fn part(&mut self, cx: &Cx<'_>) -> Option<Result<Bytes, HttpError>> {
        std::future::poll_fn(|task| self.poll_part(cx, task)).await
    }

    /// The rest is not wanted, and is not much: if it comes soon the connection can be used again.
    pub(crate) fn drain(mut self, cx: &Cx<'_>) {
        let end = self.poll_part(cx, &mut Context::from_waker(Waker::noop()));
        // At its end, or broken, the body holds nothing any more.
        let From::Wire { held, .. } = &self.from else { return };
        if let (Poll::Pending | Poll::Ready(Some(Ok(_))), Some(held)) = (end, held) {
            let pool = Arc::clone(&held.pool);
            pool.drain_later(self);
        }
    }

    /// The body, or as much of it as fits: of an answer that is an error, whose first words are enough.
    pub(crate) async fn beginning(mut self, cx: &Cx<'_>, limit_bytes: usize) -> Bytes {
        let mut read = BytesMut::new();
        while read.len() < limit_bytes {
            let Some(Ok(part)) = self.part(cx).await else { break };
            read.extend_from_slice(&part[..part.len().min(limit_bytes - read.len())]);
        }
        read.freeze()
    }

    /// The whole body, if it is no longer than `limit_bytes`. One that says beforehand that it is longer is not read.
    pub(crate) async fn whole(mut self, cx: &Cx<'_>, limit_bytes: usize) -> Result<Bytes, HttpError> {
        let too_large = HttpError::TooLarge { limit_bytes };
        let announced = match &self.from {
            From::Wire { framing, .. } => framing.announced(),
            From::Plan(_) => None,
        };
        let announced = announced.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if announced.is_some_and(|bytes| bytes > limit_bytes) {
            return Err(too_large);
        }
        let Some(first) = self.part(cx).await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() > limit_bytes {
            return Err(too_large);
        }
        // The usual answer comes in one part, and is passed on without a copy.
        let Some(second) = self.part(cx).await.transpose()? else { return Ok(first) };
        let mut whole = BytesMut::with_capacity(announced.unwrap_or(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(part) = next {
            if whole.len() + part.len() > limit_bytes {
                return Err(too_large);
            }
            whole.extend_from_slice(&part);
            next = self.part(cx).await.transpose()?;
        }
        Ok(whole.freeze())
    }
}
