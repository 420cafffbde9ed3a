//! What happens when: the schedule of one call.

use std::time::Duration;

use bytes::Bytes;

use super::answer::Answer;
use super::latency::Dice;
use super::settings::{Fault, SimSettings};
use crate::facade::{Failure, Stamp, StreamEncoder};
use crate::openai::facade::{ChatStreamEncoder, encode_failure, encode_response};
use crate::protocol::Delivery;

/// The whole of a call, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimPlan {
    /// What happens. The last step is an end, a reset or a hang.
    pub steps: Vec<SimStep>,
    /// What goes wrong, for whoever counts.
    pub fault: Option<Fault>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimStep {
    /// How long after the step before.
    pub after: Duration,
    /// What.
    pub act: SimAct,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimAct {
    /// The head of the reply.
    Head {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: Vec<(&'static str, String)>,
    },
    /// Some of its body.
    Body(Bytes),
    /// The reply is whole.
    End,
    /// The connection breaks.
    Reset,
    /// Nothing more, ever; the connection stays.
    Hang,
}

impl SimPlan {
    /// How long the plan takes to its last step.
    pub fn duration(&self) -> Duration {
        self.steps.iter().map(|step| step.after).sum()
    }

    /// The body, as far as it comes.
    pub fn body(&self) -> Vec<u8> {
        let pieces = self.steps.iter().filter_map(|step| match &step.act {
            SimAct::Body(bytes) => Some(&bytes[..]),
            _ => None,
        });
        pieces.flatten().copied().collect()
    }
}

/// A plan that is being drawn up.
struct Draft(Vec<SimStep>);

impl Draft {
    fn step(&mut self, after: Duration, act: SimAct) {
        self.0.push(SimStep { after, act });
    }

    fn head(&mut self, after: Duration, status: u16, content_type: &str, more: &[(&'static str, String)]) {
        let mut headers = vec![("content-type", content_type.to_owned()), ("x-simulated", "true".to_owned())];
        headers.extend_from_slice(more);
        self.step(after, SimAct::Head { status, headers });
    }

    fn body(&mut self, after: Duration, bytes: impl Into<Bytes>) {
        self.step(after, SimAct::Body(bytes.into()));
    }

    fn ends(mut self, act: SimAct, fault: Option<Fault>) -> SimPlan {
        self.step(Duration::ZERO, act);
        SimPlan { steps: self.0, fault }
    }
}

/// A conversation's.
pub(super) fn chat(
    settings: &SimSettings,
    answer: &Answer,
    delivery: Delivery,
    fault: Option<Fault>,
    dice: &mut Dice,
) -> SimPlan {
    match delivery {
        Delivery::Whole => {
            let body = encode_response(&answer.response, &answer.stamp);
            whole(settings, body, answer.tokens, fault, dice)
        }
        Delivery::Streamed => streamed(settings, answer, fault, dice),
    }
}

/// A whole reply's.
pub(super) fn whole(
    settings: &SimSettings,
    body: Vec<u8>,
    tokens: u64,
    fault: Option<Fault>,
    dice: &mut Dice,
) -> SimPlan {
    let first = settings.first_token.draw(dice);
    let wait = first.saturating_add(gap(settings).saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX)));
    if let Some(plan) = instead(settings, fault, first) {
        return plan;
    }
    let mut draft = Draft(Vec::new());
    draft.head(wait, 200, "application/json", &[]);
    match fault {
        Some(Fault::Drip) => drip(settings, &mut draft, &body),
        Some(Fault::Cut | Fault::Stall) => {
            draft.body(Duration::ZERO, body[..body.len() / 2].to_vec());
            return draft.ends(if fault == Some(Fault::Cut) { SimAct::Reset } else { SimAct::Hang }, fault);
        }
        Some(Fault::Malformed) => draft.body(Duration::ZERO, body[..body.len() - 1].to_vec()),
        Some(Fault::LateError) => draft.body(Duration::ZERO, failure(500, "The model gave up (simulated).")),
        _ => draft.body(Duration::ZERO, body),
    }
    draft.ends(SimAct::End, fault)
}

fn streamed(settings: &SimSettings, answer: &Answer, fault: Option<Fault>, dice: &mut Dice) -> SimPlan {
    let first = settings.first_token.draw(dice);
    if let Some(plan) = instead(settings, fault, first) {
        return plan;
    }
    let mut draft = Draft(Vec::new());
    draft.head(first, 200, "text/event-stream", &[]);
    let frames = frames(answer);
    let half = frames.len() / 2;
    for (at, frame) in frames.into_iter().enumerate() {
        let after = if at == 0 { Duration::ZERO } else { gap(settings) };
        match fault {
            Some(Fault::Cut | Fault::Stall) if at == half => {
                // In the middle of a frame, where it hurts most.
                draft.body(after, frame[..frame.len() / 2].to_vec());
                return draft.ends(if fault == Some(Fault::Cut) { SimAct::Reset } else { SimAct::Hang }, fault);
            }
            Some(Fault::Malformed) if at == half => {
                draft.body(after, b"data: {\"choices\":[{\"delta\":{\"content\":\n\n".to_vec());
            }
            Some(Fault::LateError) if at == half => {
                let mut late = b"data: ".to_vec();
                late.extend(failure(500, "The model gave up (simulated)."));
                late.extend_from_slice(b"\n\n");
                draft.body(after, late);
                return draft.ends(SimAct::End, fault);
            }
            Some(Fault::Drip) => drip(settings, &mut draft, &frame),
            _ => draft.body(after, frame),
        }
    }
    draft.ends(SimAct::End, fault)
}

/// What comes instead of an answer.
fn instead(settings: &SimSettings, fault: Option<Fault>, first: Duration) -> Option<SimPlan> {
    let mut draft = Draft(Vec::new());
    match fault? {
        Fault::Hang => return Some(draft.ends(SimAct::Hang, fault)),
        Fault::WrongContentType => {
            draft.head(first, 200, "text/html", &[]);
            draft.body(Duration::ZERO, &b"<html><body>Please sign in (simulated).</body></html>"[..]);
        }
        Fault::ServerError => {
            draft.head(first, 500, "application/json", &[]);
            draft.body(Duration::ZERO, failure(500, "The server had an error (simulated)."));
        }
        Fault::Overloaded => {
            draft.head(first, 503, "application/json", &[]);
            draft.body(Duration::ZERO, failure(503, "The server is overloaded (simulated)."));
        }
        Fault::RateLimited => {
            let wait = settings.retry_after_ms;
            let headers = [
                ("retry-after-ms", wait.to_string()),
                ("retry-after", wait.div_ceil(1000).to_string()),
                ("x-ratelimit-limit-requests", "60".to_owned()),
                ("x-ratelimit-remaining-requests", "0".to_owned()),
                ("x-ratelimit-reset-requests", format!("{wait}ms")),
            ];
            draft.head(Duration::ZERO, 429, "application/json", &headers);
            draft.body(Duration::ZERO, failure(429, "Rate limit reached (simulated)."));
        }
        Fault::Stall | Fault::Cut | Fault::Malformed | Fault::LateError | Fault::Drip => return None,
    }
    Some(draft.ends(SimAct::End, fault))
}

/// A reply to what cannot be read.
pub(super) fn refusal(status: u16, body: Vec<u8>) -> SimPlan {
    let mut draft = Draft(Vec::new());
    draft.head(Duration::ZERO, status, "application/json", &[]);
    draft.body(Duration::ZERO, body);
    draft.ends(SimAct::End, None)
}

/// A reply without any delay.
pub(super) fn at_once(body: Vec<u8>) -> SimPlan {
    refusal(200, body)
}

fn failure(status: u16, message: &str) -> Vec<u8> {
    let code = (status == 429).then(|| "rate_limit_exceeded".to_owned());
    encode_failure(&Failure { status, code, message: message.to_owned(), param: None })
}

/// The frames of a streamed answer, a token each.
fn frames(answer: &Answer) -> Vec<Vec<u8>> {
    let stamp = Stamp { ..answer.stamp.clone() };
    let mut encoder = ChatStreamEncoder::new(stamp, true);
    let mut frames = Vec::new();
    for event in answer.events() {
        encoder.push(&event, &mut frames);
    }
    let bytes = |frame: &crate::facade::Frame| {
        let mut out = Vec::with_capacity(frame.data.len() + 8);
        frame.write_to(&mut out);
        out
    };
    frames.iter().map(bytes).collect()
}

fn drip(settings: &SimSettings, draft: &mut Draft, bytes: &[u8]) {
    let after = super::Latency::Fixed { ms: settings.drip_ms }.draw(&mut Dice::new(0));
    for byte in bytes {
        draft.body(after, vec![*byte]);
    }
}

/// Between two tokens.
fn gap(settings: &SimSettings) -> Duration {
    let rate = settings.tokens_per_second;
    if rate > 0.0 { Duration::try_from_secs_f64(1.0 / rate).unwrap_or_default() } else { Duration::ZERO }
}
