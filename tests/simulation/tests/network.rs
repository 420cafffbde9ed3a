//! Between those outside and the process: requests get lost, answers get lost, connections break, patience ends.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use longhaul_core::Span;
use tokio::sync::oneshot;

use crate::{process::Server, world::World};

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Asked<T> {
    /// It was answered.
    Answered(T),
    /// It was never sent.
    Unsent,
    /// Nobody knows whether it was carried out.
    Lost,
}

/// After how many polls a broken connection is noticed, at most.
const POLLS_BEFORE_CUT: usize = 12;

impl World {
    /// Asks the process that serves now. The request's future is dropped where its connection breaks or the patience is
    /// over, as a server does with a handler whose client has gone.
    pub(crate) async fn ask<T, F>(&self, patience: Option<Span>, request: impl FnOnce(Server) -> F) -> Asked<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.travel().await;
        let Some(server) = self.server() else { return Asked::Unsent };
        if self.mishap(3) {
            self.book().counts.lost_answers += 1;
            return Asked::Lost;
        }
        let polls_left = self.mishap(8).then(|| self.dice.below(POLLS_BEFORE_CUT));
        if polls_left.is_some() {
            self.book().counts.cut_requests += 1;
        }
        let (answer, answered) = oneshot::channel();
        let request = Cut { request: Box::pin(request(server.clone())), polls_left };
        let handling = server.runtime.spawn(async move {
            if let Some(done) = request.await {
                // Whoever asked may have gone.
                let _ = answer.send(done);
            }
        });
        let answered = match patience {
            None => answered.await.ok(),
            Some(patience) => {
                let mut answered = pin!(answered);
                tokio::select! {
                    biased;
                    answer = answered.as_mut() => answer.ok(),
                    () = self.sleep(patience) => {
                        handling.abort();
                        None
                    }
                }
            }
        };
        self.travel().await;
        match answered {
            Some(done) if !self.mishap(4) => Asked::Answered(done),
            _ => {
                self.book().counts.lost_answers += 1;
                Asked::Lost
            }
        }
    }

    async fn travel(&self) {
        let most = if self.mishap(3) { Span::from_millis(1_500) } else { Span::from_millis(4) };
        if self.dice.percent(50) {
            self.idle(most).await;
        }
    }
}

/// A request that is dropped after so many polls.
struct Cut<F> {
    request: Pin<Box<F>>,
    polls_left: Option<usize>,
}

impl<F: Future> Future for Cut<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if let Some(left) = &mut self.polls_left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return Poll::Ready(None),
            }
        }
        self.request.as_mut().poll(cx).map(Some)
    }
}
