//! The AI at the far end: a simulated provider that speaks OpenAI's API over sockets, and keeps a ledger.
//!
//! `sim-large` is right about nine times in ten: it throttles, fails, breaks off and hangs, and for one booking in a
//! hundred it is down whatever is tried. `sim-small` is cheaper and steadier. `sim-vectors` makes vectors slowly, at so
//! many desks; its vectors are those of the built-in provider, so that a search over them finds something.
//!
//! What befalls a question follows from the seed, the question and which try of it this is. So a run repeats, however its
//! calls are interleaved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsResponse};
use longhaul_providers::facade::Failure;
use longhaul_providers::local::Local;
use longhaul_providers::openai::facade::{decode_embeddings_request, encode_embeddings, encode_failure};
use longhaul_providers::sim::{Fault, Latency, Sim, SimSettings};
use tokio::sync::Semaphore;

use super::Scale;
use super::http::{Asked, Connection, Service};
use super::questions::is_unlucky;

/// What a million tokens cost in US dollars, asked and answered: for the bill, and for the server's configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Price {
    pub(super) input: f64,
    pub(super) output: f64,
}

/// Of `sim-large`.
pub(super) const LARGE: Price = Price { input: 2.5, output: 10.0 };
/// Of `sim-small`.
pub(super) const SMALL: Price = Price { input: 0.15, output: 0.6 };

/// Desks at which vectors are made while the server is killed. Few, so that the kill meets work under way.
const DESKS_OF_BATCHES: u32 = 3;

/// The provider.
pub(super) struct Provider {
    large: Sim,
    large_down: Sim,
    small: Sim,
    vectors: Local,
    reading: Desks,
    batches: Desks,
    ledger: Mutex<Ledger>,
}

/// Where vectors are made, slowly.
struct Desks {
    places: Semaphore,
    work: Duration,
}

/// What was asked for.
#[derive(Debug, Default)]
struct Ledger {
    /// How often each question was asked, by model and text.
    tries: HashMap<(String, u64), u64>,
    chats: Chats,
    vectors: Vec<VectorCall>,
    /// Calls for vectors that have been taken up and not been answered.
    under_way: usize,
    /// How often the server was started anew.
    lives: u32,
}

/// Conversations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Chats {
    pub(super) calls: u64,
    /// For answers that were given whole, in millionths of a US dollar.
    pub(super) billed_microusd: f64,
}

/// A call for vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct VectorCall {
    /// The same for the same texts.
    texts: u64,
    /// In which life of the server it came.
    life: u32,
}

/// What the calls for vectors say about a server that was killed once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lives {
    pub(super) before: usize,
    pub(super) after: usize,
    /// Texts that were asked for in both.
    pub(super) again: usize,
}

impl Provider {
    pub(super) fn new(seed: u64, scale: &Scale) -> Self {
        // Ten times as fast as life.
        let pace = SimSettings {
            seed,
            first_token: Latency::Percentiles { p50_ms: 60.0, p99_ms: 200.0 },
            tokens_per_second: 1_000.0,
            retry_after_ms: 40,
            ..SimSettings::default()
        };
        let flaky = BTreeMap::from([
            (Fault::RateLimited, 0.025),
            (Fault::ServerError, 0.02),
            (Fault::Overloaded, 0.015),
            (Fault::Cut, 0.01),
            (Fault::Hang, 0.02),
        ]);
        let down = BTreeMap::from([(Fault::Overloaded, 1.0)]);
        let steady = BTreeMap::from([(Fault::ServerError, 0.01)]);
        let quicker = Latency::Percentiles { p50_ms: 30.0, p99_ms: 90.0 };
        let desks = |places: u32, work| Desks { places: Semaphore::new(places as usize), work };
        Self {
            large: Sim::new(SimSettings { faults: flaky, ..pace.clone() }),
            large_down: Sim::new(SimSettings { faults: down, ..pace.clone() }),
            small: Sim::new(SimSettings { faults: steady, first_token: quicker, ..pace }),
            vectors: Local::default(),
            reading: desks(scale.workers, scale.work),
            batches: desks(DESKS_OF_BATCHES, scale.batch),
            ledger: Mutex::default(),
        }
    }

    /// Begins a new page: what was asked before is forgotten.
    pub(super) fn new_page(&self) {
        *self.ledger() = Ledger::default();
    }

    /// Conversations on this page.
    pub(super) fn chats(&self) -> Chats {
        self.ledger().chats
    }

    /// Calls for vectors on this page.
    pub(super) fn vector_calls(&self) -> usize {
        self.ledger().vectors.len()
    }

    /// Whether vectors are being made.
    pub(super) fn has_work(&self) -> bool {
        self.ledger().under_way > 0
    }

    /// Enters a call for vectors; it is under way until what is returned is dropped.
    fn take_up(&self, texts: &[String]) -> UnderWay<'_> {
        let mut ledger = self.ledger();
        let life = ledger.lives;
        ledger.vectors.push(VectorCall { texts: fingerprint(texts.iter().map(String::as_str)), life });
        ledger.under_way += 1;
        UnderWay(self)
    }

    /// From now on calls come from another life of the server.
    pub(super) fn begin_life(&self) {
        self.ledger().lives += 1;
    }

    /// The calls for vectors, by the lives of the server.
    pub(super) fn lives(&self) -> Lives {
        let ledger = self.ledger();
        let of = |is_first: bool| {
            let calls = ledger.vectors.iter().filter(move |call| (call.life == 0) == is_first);
            calls.map(|call| call.texts)
        };
        let known: HashSet<u64> = of(true).collect();
        let again = of(false).filter(|texts| known.contains(texts)).count();
        Lives { before: of(true).count(), after: of(false).count(), again }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn chat(&self, body: &[u8], connection: &mut Connection) -> io::Result<bool> {
        let (model, text) = asked_of(body);
        let try_of_it = {
            let mut ledger = self.ledger();
            ledger.chats.calls += 1;
            let tries = ledger.tries.entry((model.clone(), fingerprint([text.as_str()]))).or_default();
            *tries += 1;
            *tries
        };
        let (sim, price) = match model.as_str() {
            "sim-small" => (&self.small, SMALL),
            _ if is_unlucky(&text) => (&self.large_down, LARGE),
            _ => (&self.large, LARGE),
        };
        let plan = sim.plan_http("/chat/completions", body, try_of_it);
        // Nobody pays for half an answer.
        let bill = if plan.fault.is_none() { price.of(&plan.body()) } else { 0.0 };
        self.ledger().chats.billed_microusd += bill;
        connection.play(plan).await
    }

    async fn embed(&self, body: &[u8], connection: &mut Connection) -> io::Result<bool> {
        let call = match decode_embeddings_request(body) {
            Ok(call) => call,
            Err(error) => return connection.answer(400, &encode_failure(&Failure::from(&error))).await,
        };
        let texts = match &call.request.input {
            EmbeddingsInput::Texts(texts) => texts.as_slice(),
            EmbeddingsInput::Tokens(_) => &[],
        };
        let desks = if call.model == "sim-vectors" { &self.reading } else { &self.batches };
        let work = async {
            // The semaphore is never closed.
            let _desk = desks.places.acquire().await;
            let _under_way = self.take_up(texts);
            tokio::time::sleep(desks.work).await;
        };
        tokio::select! {
            biased;
            // Who hangs up is not worked for.
            _ = connection.left() => return Ok(false),
            () = work => {}
        }
        let vectors = self.vectors.embed(texts).unwrap_or_default();
        let response = EmbeddingsResponse { model: Some(call.model.clone()), vectors, usage: None };
        connection.answer(200, &encode_embeddings(&response, &call.model, call.format)).await
    }
}

/// A call for vectors that somebody works on.
struct UnderWay<'a>(&'a Provider);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut ledger = self.0.ledger();
        ledger.under_way = ledger.under_way.saturating_sub(1);
    }
}

impl Service for Provider {
    async fn serve(&self, asked: Asked, connection: &mut Connection) -> io::Result<bool> {
        match asked.line.as_str() {
            "POST /v1/chat/completions" => self.chat(&asked.body, connection).await,
            "POST /v1/embeddings" => self.embed(&asked.body, connection).await,
            _ => connection.answer(404, b"{}").await,
        }
    }
}

impl Price {
    /// What an answer costs by the usage that it tells, in millionths of a US dollar.
    fn of(self, answer: &[u8]) -> f64 {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
        let tokens = |name: &str| answer["usage"][name].as_f64().unwrap_or(0.0);
        tokens("prompt_tokens") * self.input + tokens("completion_tokens") * self.output
    }
}

/// The model and the last text of a conversation.
fn asked_of(body: &[u8]) -> (String, String) {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let text = last.and_then(|message| message["content"].as_str());
    (body["model"].as_str().unwrap_or_default().to_owned(), text.unwrap_or_default().to_owned())
}

/// FNV-1a over the texts, each with its end.
fn fingerprint<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    texts
        .into_iter()
        .flat_map(|text| text.bytes().chain([0xff]))
        .fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_follows_the_usage_that_the_answer_tells() {
        let answer = br#"{"usage":{"prompt_tokens":20,"completion_tokens":30}}"#;
        assert!((LARGE.of(answer) - 350.0).abs() < 1e-9);
        assert!(LARGE.of(b"cut off").abs() < 1e-9);
    }

    #[test]
    fn the_same_texts_in_two_lives_are_counted_as_again() {
        let provider = Provider::new(1, &Scale::of(true));
        let call = |texts, life| VectorCall { texts, life };
        provider.ledger().vectors = vec![call(1, 0), call(2, 0), call(2, 1), call(3, 1)];
        assert_eq!(provider.lives(), Lives { before: 2, after: 2, again: 1 });
    }

    #[test]
    fn texts_are_told_apart_by_where_they_end() {
        assert_ne!(fingerprint(["ab", "c"]), fingerprint(["a", "bc"]));
    }
}
