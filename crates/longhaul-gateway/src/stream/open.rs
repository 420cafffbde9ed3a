//! Where a stream is handed from the layers that may repeat it to the caller who reads it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use longhaul_providers::chat::StreamEvent;
use longhaul_resilience::{BoxFuture, BoxStep, Cx, Inspection, Report, SharedCx, Step, Tick};

use super::{Pipe, StreamAsk, StreamEnd};
use crate::call::{Ask, ReplyNotes};
use crate::served::Served;
use crate::settings::StreamSettings;
use crate::target::CallFail;

/// Begins a stream and answers with its first token.
pub(crate) struct OpenStep {
    pub(crate) inner: BoxStep<StreamAsk, StreamEnd, CallFail>,
    pub(crate) settings: StreamSettings,
}

/// A stream whose first token has come, with everything that it holds.
pub(crate) struct Opened {
    /// Polled to the end, then gone.
    running: Option<BoxFuture<'static, Result<StreamEnd, CallFail>>>,
    ended: Option<Result<StreamEnd, CallFail>>,
    pipe: Arc<Pipe>,
    /// What the layers that it holds take down.
    own: SharedCx,
    pub(crate) by: Arc<Served>,
    pub(crate) notes: Arc<ReplyNotes>,
}

impl Step<Arc<Ask>> for OpenStep {
    type Out = Opened;
    type Err = CallFail;

    async fn call(&self, cx: &Cx<'_>, ask: Arc<Ask>) -> Result<Opened, CallFail> {
        let pipe = Pipe::new();
        let own = Arc::new(cx.background());
        // Dropped before the first token, what it took down is brought home all the same.
        let mut home = BringHome { cx, own: Some(Arc::clone(&own)) };
        let mut running: BoxFuture<'static, _> = {
            let (inner, own) = (self.inner.clone(), Arc::clone(&own));
            let deadline = cx.deadline().unwrap_or(Tick::NEVER);
            let stream = StreamAsk { ask, pipe: Arc::clone(&pipe), deadline };
            Box::pin(async move { inner.call(&own, stream).await })
        };
        let ended = std::future::poll_fn(|task| match running.as_mut().poll(task) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if pipe.is_open() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match (ended, pipe.opened()) {
            (ended, Some((by, notes))) => {
                home.own = None;
                let running = ended.is_none().then_some(running);
                Ok(Opened { running, ended, pipe, own, by, notes })
            }
            (Some(Err(fail)), None) => Err(fail),
            (Some(Ok(_)) | None, None) => unreachable!("a stream that ended well has told its end"),
        }
    }

    fn longest(&self, limit: std::time::Duration) -> Option<std::time::Duration> {
        Some(self.settings.total.min(limit))
    }

    fn inspect(&self, into: &mut Inspection) {
        self.inner.inspect(into);
    }
}

struct BringHome<'a> {
    cx: &'a Cx<'a>,
    own: Option<SharedCx>,
}

impl Drop for BringHome<'_> {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            self.cx.absorb(own);
        }
    }
}

impl Opened {
    /// The next piece, or how it ended. Not to be polled after the end.
    pub(crate) fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<StreamEvent, End>> {
        loop {
            if let Some(event) = self.pipe.take() {
                return Poll::Ready(Ok(event));
            }
            if let Some(ended) = self.ended.take() {
                return Poll::Ready(Err(End(ended)));
            }
            let Some(running) = &mut self.running else {
                return Poll::Ready(Err(End(Ok(StreamEnd::default()))));
            };
            match running.as_mut().poll(task) {
                Poll::Ready(ended) => {
                    self.ended = Some(ended);
                    // Whatever it held is given back now, not when the reader is done with the last pieces.
                    self.running = None;
                }
                Poll::Pending => match self.pipe.take() {
                    Some(event) => return Poll::Ready(Ok(event)),
                    None => return Poll::Pending,
                },
            }
        }
    }

    /// What the layers that it holds have taken down.
    pub(crate) fn report(&self) -> Report {
        self.own.report()
    }
}

/// How a stream ended.
pub(crate) struct End(pub(crate) Result<StreamEnd, CallFail>);

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("by", &self.by).field("ended", &self.running.is_none()).finish_non_exhaustive()
    }
}
