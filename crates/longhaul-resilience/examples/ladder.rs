//! The availability ladder: one unreliable provider, and what each layer adds.
//!
//! `cargo run --release -p longhaul-resilience --example ladder`
//!
//! A hundred minutes of traffic, ten requests a second, in virtual time: the run takes seconds. The provider is right
//! nine times in ten: 4 % of the calls fail at once, 2 % hang, and for 4 % of the time it is down altogether, because
//! real failures come in bursts, which is what retries alone cannot bridge. All but which entries the cache evicts
//! replays from a seed.

#![allow(clippy::print_stdout, reason = "an example to be read on a terminal")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use longhaul_resilience::{
    Breaker, BreakerHandle, Cache, Clock, Cx, Dice, Fail, Fallback, Histogram, Jitter, Operation, Retry, RetryBudget,
    Scenario, Stack, Step, SystemClock,
};
use tokio::task::JoinSet;

const REQUESTS: u64 = 60_000;
const APART: Duration = Duration::from_millis(100);
/// After so long a person gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A model behind an API, as calls see it.
#[derive(Clone)]
struct Model {
    name: &'static str,
    dice: Arc<Dice>,
    calls: Arc<AtomicU64>,
    quickest: Duration,
    slowest: Duration,
    transient: f64,
    hangs: f64,
    /// Down for so long at the end of every period.
    down: Duration,
    since: longhaul_resilience::Tick,
    microdollars: u64,
}

const PERIOD: Duration = Duration::from_secs(1000);

#[derive(Clone, Debug)]
struct ApiError;

impl Model {
    fn large(seed: u64) -> Self {
        Self {
            name: "large",
            dice: Arc::new(Dice::seeded(seed)),
            calls: Arc::default(),
            quickest: Duration::from_millis(1000),
            slowest: Duration::from_millis(3000),
            transient: 0.04,
            hangs: 0.02,
            down: PERIOD.mul_f64(0.04),
            since: SystemClock.now(),
            microdollars: 10_000,
        }
    }

    fn small(seed: u64) -> Self {
        Self {
            name: "small",
            quickest: Duration::from_millis(300),
            slowest: Duration::from_millis(900),
            transient: 0.01,
            hangs: 0.0,
            down: Duration::ZERO,
            microdollars: 500,
            ..Self::large(seed)
        }
    }

    fn is_down(&self, cx: &Cx<'_>) -> bool {
        let into_period = cx.renew().since(self.since).as_nanos() % PERIOD.as_nanos();
        into_period >= (PERIOD - self.down).as_nanos()
    }

    fn cost(&self) -> u64 {
        self.calls.load(Ordering::Relaxed) * self.microdollars
    }
}

impl Step<u64> for Model {
    type Out = &'static str;
    type Err = Fail<ApiError>;

    async fn call(&self, cx: &Cx<'_>, _question: u64) -> Result<&'static str, Fail<ApiError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (fate, speed) = (self.dice.unit(), self.dice.unit());
        if self.is_down(cx) || fate < self.transient {
            cx.sleep(Duration::from_millis(200)).await;
            return Err(Fail::inner(ApiError));
        }
        if fate < self.transient + self.hangs {
            std::future::pending::<()>().await;
        }
        cx.sleep(self.quickest + (self.slowest - self.quickest).mul_f64(speed)).await;
        Ok(self.name)
    }
}

/// Seven in ten questions are among two hundred that many ask.
fn question(dice: &Dice, n: u64) -> u64 {
    if dice.unit() < 0.72 { dice.next_u64() % 200 } else { 1_000 + n }
}

struct Row {
    name: &'static str,
    answered: f64,
    first_choice: f64,
    cached: f64,
    p50: Duration,
    p95: Duration,
    calls: u64,
    dollars: f64,
}

/// Sends the whole traffic through `step`.
async fn climb<S>(name: &'static str, large: &Model, small: &Model, step: S) -> Row
where
    S: Step<u64, Out = &'static str> + 'static,
{
    let (step, latency, dice) = (Arc::new(step), Arc::new(Histogram::default()), Dice::seeded(11));
    let mut tasks = JoinSet::new();
    for n in 0..REQUESTS {
        let (step, latency, question) = (Arc::clone(&step), Arc::clone(&latency), question(&dice, n));
        tasks.spawn(async move {
            let cx = Cx::new("ladder").timeout(PATIENCE);
            let start = cx.now();
            let result = tokio::time::timeout(PATIENCE, step.call(&cx, question)).await;
            latency.record(cx.renew().since(start));
            let answer = result.ok().and_then(Result::ok);
            (answer, cx.report().cached || cx.report().coalesced)
        });
        tokio::time::sleep(APART).await;
    }
    let ends = tasks.join_all().await;
    let part = |count: usize| count as f64 / REQUESTS as f64;
    Row {
        name,
        answered: part(ends.iter().filter(|(answer, _)| answer.is_some()).count()),
        first_choice: part(ends.iter().filter(|(answer, _)| answer.is_some_and(|a| a == "large")).count()),
        cached: part(ends.iter().filter(|(_, cached)| *cached).count()),
        p50: latency.quantile(0.5).unwrap_or_default(),
        p95: latency.quantile(0.95).unwrap_or_default(),
        calls: large.calls.load(Ordering::Relaxed),
        dollars: (large.cost() + small.cost()) as f64 / 1e6,
    }
}

fn retry() -> Retry {
    Retry::exponential(Duration::from_secs(1), Duration::from_secs(10)).max_retries(3).jitter(Jitter::Full)
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    let models = || (Model::large(1), Model::small(2));
    let mut rows = vec![];

    let (large, small) = models();
    rows.push(climb("1 the provider alone", &large, &small, large.clone()).await);

    let (large, small) = models();
    let step = Stack::named("ladder-2").seed(3).retry(retry()).around(large.clone());
    rows.push(climb("2 + retry", &large, &small, step).await);

    let (large, small) = models();
    let step = Stack::named("ladder-3").seed(3).retry(retry()).attempt_timeout(Operation::Gpt4).around(large.clone());
    rows.push(climb("3 + attempt timeout", &large, &small, step).await);

    let mini = |small: &Model| {
        let retry = retry().max_retries(2);
        Stack::named("ladder-mini").seed(4).retry(retry).attempt_timeout(Operation::Gpt35).around(small.clone())
    };
    let canned = |_: &u64, _: &Fail<ApiError>| "canned";

    let (large, small) = models();
    let step = Stack::named("ladder-4")
        .seed(3)
        .deadline(PATIENCE)
        .fallback(Fallback::to(mini(&small)).last(canned))
        .retry(retry())
        .attempt_timeout(Operation::Gpt4)
        .around(large.clone());
    rows.push(climb("4 + fallback", &large, &small, step).await);

    let (large, small) = models();
    let step = Stack::named("ladder-5")
        .seed(3)
        .cache(Cache::keyed(|question: &u64| *question).scenario(Scenario::UserQuery))
        .deadline(PATIENCE)
        .fallback(Fallback::to(mini(&small)).last(canned))
        .retry(retry())
        .attempt_timeout(Operation::Gpt4)
        .around(large.clone());
    rows.push(climb("5 + cache", &large, &small, step).await);

    let (large, small) = models();
    let (budget, breaker) = (RetryBudget::default(), BreakerHandle::new(Breaker::default().open_for(BREAK)));
    let step = Stack::named("ladder-6")
        .seed(3)
        .cache(Cache::keyed(|question: &u64| *question).scenario(Scenario::UserQuery))
        .deadline(PATIENCE)
        .fallback(Fallback::to(mini(&small)).last(canned))
        .retry(retry().budget(&budget))
        .breaker(breaker)
        .attempt_timeout(Operation::Gpt4)
        .around(large.clone());
    rows.push(climb("6 + breaker, retry budget", &large, &small, step).await);

    println!("| stack | answered | by the first choice | from the cache | P50 | P95 | calls to the provider | cost |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for row in rows {
        println!(
            "| {} | {:.2} % | {:.2} % | {:.1} % | {:.1} s | {:.1} s | {} | ${:.0} |",
            row.name,
            row.answered * 100.0,
            row.first_choice * 100.0,
            row.cached * 100.0,
            row.p50.as_secs_f64(),
            row.p95.as_secs_f64(),
            row.calls,
            row.dollars
        );
    }
}

/// Shorter than the outages, so that the end of one is soon seen.
const BREAK: Duration = Duration::from_secs(10);
