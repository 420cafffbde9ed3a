//! A provider that is none: for development, demonstrations and tests of everything above it.
//!
//! It answers by OpenAI's protocol, so that what it says goes through the same decoders as a real answer, and it
//! fails as real providers do: late, throttled, broken off, never, in nonsense, a byte at a time. Nothing here waits or sends:
//! a [`SimPlan`] says what happens when, and the gateway, or a server of its own, carries it out.
//!
//! Invariants:
//!
//! - The same settings, request and call number are the same plan, byte for byte.
//! - Nobody takes an answer for a real one: ids and model begin with `sim`, texts with `[simulated`, and every head
//!   says `x-simulated: true`.

mod answer;
mod latency;
mod plan;
mod sample;
mod settings;

pub use latency::Latency;
pub use plan::{SimAct, SimPlan, SimStep};
pub use settings::{Fault, SimSettings};

use serde::Serialize;

use crate::chat::ChatRequest;
use crate::embeddings::EmbeddingsRequest;
use crate::facade::{Failure, RequestError};
use crate::openai::facade;
use crate::protocol::Delivery;
use latency::Dice;

/// The provider.
///
/// ```
/// use longhaul_providers::chat::{ChatRequest, Message, Role};
/// use longhaul_providers::protocol::Delivery;
/// use longhaul_providers::sim::{Sim, SimAct, SimSettings};
///
/// let sim = Sim::new(SimSettings::default());
/// let request = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
/// let plan = sim.plan_chat("sim-small", &request, Delivery::Whole, 0);
/// assert!(matches!(plan.steps[0].act, SimAct::Head { status: 200, .. }));
/// assert_eq!(plan, sim.plan_chat("sim-small", &request, Delivery::Whole, 0));
/// ```
#[derive(Debug, Clone)]
pub struct Sim {
    settings: SimSettings,
}

impl Sim {
    /// A provider with this temper.
    pub fn new(settings: SimSettings) -> Self {
        Self { settings }
    }

    /// What happens to a conversation. `call` is which call of this provider it is: a repeated request has another
    /// fate at another call.
    pub fn plan_chat(&self, model: &str, request: &ChatRequest, delivery: Delivery, call: u64) -> SimPlan {
        let mut dice = self.dice(model, request, call);
        let fault = self.settings.fault(&mut dice);
        let answer = answer::answer(&self.settings, model, request, &mut dice);
        plan::chat(&self.settings, &answer, delivery, fault, &mut dice)
    }

    /// What happens to a request for vectors.
    pub fn plan_embeddings(&self, model: &str, request: &EmbeddingsRequest, call: u64) -> SimPlan {
        let mut dice = self.dice(model, request, call);
        let fault = self.settings.fault(&mut dice);
        let body = answer::embeddings(model, request);
        plan::whole(&self.settings, body, 0, fault, &mut dice)
    }

    /// What happens to a request by OpenAI's protocol, whatever it is: for a server that only carries plans out.
    /// `path` is what stands behind the base URL.
    pub fn plan_http(&self, path: &str, body: &[u8], call: u64) -> SimPlan {
        let refused = |error: RequestError| plan::refusal(400, facade::encode_failure(&Failure::from(&error)));
        match path.split('?').next().unwrap_or(path).trim_end_matches('/') {
            "/chat/completions" => match facade::decode_request(body) {
                Ok(asked) => self.plan_chat(&asked.model, &asked.request, asked.delivery, call),
                Err(error) => refused(error),
            },
            "/embeddings" => match facade::decode_embeddings_request(body) {
                Ok(asked) => self.plan_embeddings(&asked.model, &asked.request, call),
                Err(error) => refused(error),
            },
            "/models" => plan::at_once(facade::encode_models(&[facade::ListedModel {
                id: "sim".to_owned(),
                created: 0,
                owned_by: "simulated".to_owned(),
            }])),
            other => refused(RequestError::body(format!("the simulated provider has no `{other}`"))),
        }
    }

    fn dice(&self, model: &str, request: &impl Serialize, call: u64) -> Dice {
        let mut dice = Dice::new(self.settings.seed);
        dice.mix(model.as_bytes());
        dice.mix(&serde_json::to_vec(request).unwrap_or_default());
        dice.mix(&call.to_le_bytes());
        dice
    }
}

/// The name under which a model answers: never that of a real one.
pub(crate) fn model_name(asked: &str) -> String {
    if asked.starts_with("sim") { asked.to_owned() } else { format!("sim-{asked}") }
}
