//! The second act: one flaky provider behind one more layer at a time.
//!
//! Each rung is a model of the server's configuration, and differs from the one below by what it adds. The same questions
//! are asked of each over `POST /v1/chat/completions`, at the same times, whether earlier ones have been answered or not.
//! A question counts as answered when a 200 came before whoever asked gave up.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::Scale;
use super::figures::{RungFigures, Times, ladder as table};
use super::provider::{LARGE, Price, Provider, SMALL};
use super::questions;
use super::server::Stage;
use super::teller::{Live, Teller};
use super::uploads::seconds;
use crate::client::{Client, Request};
use crate::clock::Stopwatch;

/// Part of the configuration: one model, named after what it adds.
struct Rung {
    model: &'static str,
    /// As people call it.
    name: &'static str,
    /// The line of configuration that makes the difference.
    adds: &'static str,
}

/// From bottom to top.
const RUNGS: [Rung; 5] = [
    Rung { model: "bare", name: "the provider alone", adds: "retry = { max_retries = 0 }" },
    Rung { model: "retry", name: "+ retry", adds: "retry = { max_retries = 3, initial = \"50ms\", max = \"400ms\" }" },
    Rung { model: "timeout", name: "+ timeout", adds: "attempt_timeout = \"500ms\"" },
    Rung {
        model: "fallback",
        name: "+ fallback",
        adds: "a second target: sim-small; a third: otherwise = \"I cannot answer just now…\"",
    },
    Rung { model: "cache", name: "+ cache", adds: "cache = { ttl = \"1h\", key = \"normalised\" }" },
];

/// Longer than anybody waits: what a layer does that is not there.
const NEVER: &str = "10m";

/// The models of the ladder, as the server's configuration has them.
///
/// Breakers are out of the way, since five failures in a row can happen to a provider that fails one call in ten.
pub(super) fn configuration() -> String {
    let mut text = String::new();
    for (height, rung) in RUNGS.iter().enumerate() {
        let has = |what: &str| RUNGS.iter().take(height + 1).any(|rung| rung.model == what);
        let model = rung.model;
        let cache = if has("cache") { "cache = { ttl = \"1h\", key = \"normalised\" }\n" } else { "" };
        let (retry, again) = match has("retry") {
            true => ("max_retries = 3, initial = \"50ms\", max = \"400ms\"", "max_retries = 2, initial = \"50ms\""),
            false => ("max_retries = 0", ""),
        };
        let timeout = if has("timeout") { "500ms" } else { NEVER };
        let _ = write!(text, "\n[models.{model}]\ntimeout = \"{NEVER}\"\n{cache}");
        text.push_str(&target(model, "sim-large", timeout, retry, LARGE));
        if has("fallback") {
            text.push_str(&target(model, "sim-small", timeout, again, SMALL));
            let _ = write!(
                text,
                "[[models.{model}.targets]]\n\
                 otherwise = \"I cannot answer just now. The crew of your train can.\"\n"
            );
        }
    }
    text
}

fn target(model: &str, upstream: &str, timeout: &str, retry: &str, price: Price) -> String {
    let Price { input, output } = price;
    format!(
        "[[models.{model}.targets]]\nprovider = \"simulated\"\nmodel = \"{upstream}\"\nattempt_timeout = \"{timeout}\"\n\
         retry = {{ {retry} }}\nbreaker = {{ failures = 1_000_000 }}\n\
         price = {{ input_per_mtok = {input:?}, output_per_mtok = {output:?} }}\n"
    )
}

pub(super) async fn run(
    seed: u64,
    scale: &Scale,
    provider: &Arc<Provider>,
    stage: &Stage,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Vec<RungFigures>> {
    teller.heading("2. One flaky provider, one more layer at a time")?;
    teller.say(format!(
        "   {} questions on each rung, one every {}, seven in ten asked before. The provider throttles, fails, breaks off \
         or hangs in one call of eleven, and for one booking in a hundred it is down. Whoever asks gives up after {}.",
        scale.questions,
        seconds(scale.apart),
        seconds(scale.question_patience)
    ))?;
    let traffic = questions::traffic(seed, scale.questions);
    let client = Arc::new(stage.client()?);
    let mut climbed = Vec::new();
    for rung in &RUNGS {
        provider.new_page();
        let live = teller.live(traffic.len() as u64);
        let figures = climb(rung, &traffic, scale, &client, provider, &live).await?;
        live.finish();
        teller.say(format!("   {:<18}  {}", rung.name, figures.in_words()))?;
        teller.say(format!("   {:<18}  {}", "", rung.adds))?;
        climbed.push(figures);
    }
    teller.table(&table(&climbed))?;
    Ok(climbed)
}

/// How a question ended.
enum End {
    Answered { cached: bool, degraded: bool },
    Failed,
    GaveUp,
}

async fn climb(
    rung: &Rung,
    traffic: &[String],
    scale: &Scale,
    client: &Arc<Client>,
    provider: &Provider,
    live: &Live,
) -> anyhow::Result<RungFigures> {
    let mut tally = Tally::default();
    let mut asked = JoinSet::new();
    let clock = Stopwatch::start();
    let mut due = Duration::ZERO;
    for question in traffic {
        // Late ones are not left out: the world does not wait for an API to catch up.
        tokio::time::sleep(due.saturating_sub(clock.elapsed())).await;
        due += scale.apart;
        asked.spawn(ask(client.clone(), rung.model, question.clone(), scale.question_patience));
        while let Some(ended) = asked.try_join_next() {
            tally.add(ended.context("a client broke")?);
            live.step(|| tally.in_words(rung, provider));
        }
    }
    while let Some(ended) = asked.join_next().await {
        tally.add(ended.context("a client broke")?);
        live.step(|| tally.in_words(rung, provider));
    }
    Ok(tally.figures(rung, provider))
}

/// Asks once, and takes the time until the answer, the refusal, or the end of patience.
async fn ask(client: Arc<Client>, model: &'static str, question: String, patience: Duration) -> (End, Duration) {
    let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": question}]});
    let watch = Stopwatch::start();
    let sent = client.send(Request::post(&["v1", "chat", "completions"]).json(&body));
    let end = match tokio::time::timeout(patience, sent).await {
        Err(_) => End::GaveUp,
        Ok(Err(_)) => End::Failed,
        Ok(Ok(answer)) => End::Answered {
            cached: matches!(answer.header("longhaul-cache"), Some("hit" | "stale" | "coalesced")),
            degraded: answer.header("longhaul-degraded") == Some("true"),
        },
    };
    (end, watch.elapsed())
}

#[derive(Default)]
struct Tally {
    times: Times,
    answered: u32,
    degraded: u32,
    cached: u32,
    failed: u32,
    gave_up: u32,
}

impl Tally {
    fn add(&mut self, (end, took): (End, Duration)) {
        self.times.add(took);
        match end {
            End::GaveUp => self.gave_up += 1,
            End::Failed => self.failed += 1,
            End::Answered { cached, degraded } => {
                self.answered += 1;
                self.cached += u32::from(cached);
                self.degraded += u32::from(degraded);
            }
        }
    }

    fn in_words(&self, rung: &Rung, provider: &Provider) -> String {
        format!("{}: {}", rung.name, self.figures(rung, provider).in_words())
    }

    fn figures(&self, rung: &Rung, provider: &Provider) -> RungFigures {
        let questions = self.answered + self.failed + self.gave_up;
        let chats = provider.chats();
        RungFigures {
            rung: rung.model,
            name: rung.name,
            questions,
            answered: self.answered,
            availability: f64::from(self.answered) / f64::from(questions.max(1)),
            degraded: self.degraded,
            cached: self.cached,
            failed: self.failed,
            gave_up: self.gave_up,
            wait: self.times.quantiles(),
            provider_calls: chats.calls,
            cost_usd: chats.billed_microusd / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, FileSource, Sources, load};

    #[test]
    fn each_rung_is_a_model_that_the_server_accepts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("longhaul.toml");
        let provider = "[providers.simulated]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";
        std::fs::write(&file, format!("{provider}{}", configuration())).unwrap();
        let loaded =
            load(Sources { file: FileSource::Named(file), environment: Environment::default(), flags: Vec::new() });
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let models = &loaded.settings.gateway.models;
        let retries = |model: &str| models[model].targets[0].retry.max_retries;
        assert_eq!((retries("bare"), retries("retry")), (0, 3));
        assert_eq!(models["timeout"].targets[0].attempt_timeout, Duration::from_millis(500));
        assert!(models["timeout"].canned.is_none() && models["fallback"].canned.is_some());
        assert!(models["fallback"].cache.is_none() && models["cache"].cache.is_some());
    }
}
