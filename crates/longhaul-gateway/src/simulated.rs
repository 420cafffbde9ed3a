//! Carries out what the simulated provider plans, on the clock of the call.
//!
//! The plan is bytes and waits, so everything above (decoding, layers, streams) is what a real provider would meet.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use longhaul_providers::protocol::Delivery;
use longhaul_providers::sim::{Sim, SimAct, SimPlan, SimSettings, SimStep};
use longhaul_resilience::{BoxFuture, Cx, SharedCx};

use crate::call::Question;
use crate::http::{AnswerBody, HttpError, Incoming};

/// A simulated provider, which counts its calls: the same request has another fate each time.
#[derive(Debug)]
pub(crate) struct SimLink {
    sim: Sim,
    calls: AtomicU64,
}

impl SimLink {
    pub(crate) fn new(settings: SimSettings) -> Self {
        Self { sim: Sim::new(settings), calls: AtomicU64::new(0) }
    }

    /// Plays a call up to the head of its answer.
    pub(crate) async fn send(
        &self,
        cx: &Cx<'_>,
        model: &str,
        question: &Question,
        delivery: Delivery,
    ) -> Result<Incoming, HttpError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let SimPlan { steps, .. } = match question {
            Question::Chat(request) => self.sim.plan_chat(model, request, delivery, call),
            Question::Embeddings(request) => self.sim.plan_embeddings(model, request, call),
        };
        let mut steps = VecDeque::from(steps);
        loop {
            let Some(SimStep { after, act }) = steps.pop_front() else {
                return Err(reset(false));
            };
            if !after.is_zero() {
                cx.sleep(after).await;
            }
            match act {
                SimAct::Head { status, headers } => {
                    let head = head(status, headers)?;
                    let own = Arc::new(cx.background());
                    return Ok(Incoming { head, body: AnswerBody::simulated(PlanBody { steps, own, wait: None }) });
                }
                SimAct::Hang => std::future::pending::<()>().await,
                SimAct::Body(_) | SimAct::End | SimAct::Reset => return Err(reset(false)),
            }
        }
    }
}

fn head(status: u16, headers: Vec<(&'static str, String)>) -> Result<http::response::Parts, HttpError> {
    let bad = |error: &dyn fmt::Display| HttpError::NotHttp(format!("simulated: {error}"));
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).map_err(|error| bad(&error))?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(&value).map_err(|error| bad(&error))?;
        response.headers_mut().append(HeaderName::from_static(name), value);
    }
    Ok(response.into_parts().0)
}

fn reset(answered: bool) -> HttpError {
    HttpError::Cut { answered, message: "simulated reset".to_owned() }
}

/// The rest of a plan, as the body of an answer.
pub(crate) struct PlanBody {
    steps: VecDeque<SimStep>,
    own: SharedCx,
    wait: Option<BoxFuture<'static, ()>>,
}

impl PlanBody {
    pub(crate) fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        loop {
            if let Some(wait) = &mut self.wait {
                if Pin::new(wait).poll(task).is_pending() {
                    return Poll::Pending;
                }
                self.wait = None;
            }
            let Some(step) = self.steps.front_mut() else { return Poll::Ready(None) };
            let after = std::mem::take(&mut step.after);
            if !after.is_zero() {
                let own = Arc::clone(&self.own);
                self.wait = Some(Box::pin(async move { own.sleep(after).await }));
                continue;
            }
            if matches!(step.act, SimAct::Hang) {
                return Poll::Pending;
            }
            let Some(step) = self.steps.pop_front() else { return Poll::Ready(None) };
            match step.act {
                SimAct::Body(bytes) => return Poll::Ready(Some(Ok(bytes))),
                SimAct::Reset => return Poll::Ready(Some(Err(reset(true)))),
                SimAct::End => return Poll::Ready(None),
                SimAct::Head { .. } | SimAct::Hang => {}
            }
        }
    }
}
