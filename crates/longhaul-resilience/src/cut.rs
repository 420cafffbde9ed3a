//! Ending a piece of work at a tick, with a timer that exists only if the work has to wait.
//!
//! Work that is ready at its first poll costs no timer at all, which is what keeps the quick path free of allocations
//! and of the runtime's timer wheel. On every wake-up the work is polled before the timer: an answer that is ready
//! together with the deadline is an answer, and a failure from further in, which knows more, wins over the cut here.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    clock::{Sleep, Tick},
    cx::Cx,
};

/// The work was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLate;

/// Runs `work` until `at`.
pub(crate) struct Cut<'a, F> {
    cx: &'a Cx<'a>,
    at: Tick,
    work: Pin<&'a mut F>,
    timer: Option<Sleep>,
}

impl<'a, F: Future> Cut<'a, F> {
    pub(crate) fn new(cx: &'a Cx<'_>, at: Tick, work: Pin<&'a mut F>) -> Self {
        Self { cx, at, work, timer: None }
    }
}

impl<F: Future> Future for Cut<'_, F> {
    type Output = Result<F::Output, TooLate>;

    #[inline]
    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = this.work.as_mut().poll(task) {
            return Poll::Ready(Ok(output));
        }
        if this.at == Tick::NEVER {
            return Poll::Pending;
        }
        let timer = this.timer.get_or_insert_with(|| this.cx.timer(this.at));
        if timer.as_mut().poll(task).is_ready() {
            this.cx.renew();
            return Poll::Ready(Err(TooLate));
        }
        Poll::Pending
    }
}
