//! Dropping calls at every point: over each layer and each pair of layers, nothing stays behind.
//!
//! No runtime: the tests poll by hand and move a virtual clock, so that a call can be dropped between any two polls.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use longhaul_resilience::{
    Adaptive, BoxStep, Breaker, BreakerHandle, BreakerState, Bulkhead, BulkheadHandle, Cache, CacheHandle, CachePolicy,
    Clock, Cx, Dice, Fail, Fallback, Hedge, Limit, LimitHandle, Mock, Retry, Stack, Step, VirtualClock, Why,
};

type Any = BoxStep<u32, u32, Fail<&'static str>>;
type Call = Pin<Box<dyn Future<Output = Result<u32, Fail<&'static str>>> + Send>>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Cache,
    Deadline,
    Fallback,
    Retry,
    Breaker,
    Limit,
    Bulkhead,
    Adaptive,
    Timeout,
    Hedge,
}

const KINDS: [Kind; 10] = [
    Kind::Cache,
    Kind::Deadline,
    Kind::Fallback,
    Kind::Retry,
    Kind::Breaker,
    Kind::Limit,
    Kind::Bulkhead,
    Kind::Adaptive,
    Kind::Timeout,
    Kind::Hedge,
];

const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What must be as before when all calls are gone.
#[derive(Default)]
struct Left {
    caches: Vec<CacheHandle<u32, u32, Fail<&'static str>>>,
    breakers: Vec<BreakerHandle>,
    bulkheads: Vec<BulkheadHandle>,
    limits: Vec<LimitHandle>,
}

impl Left {
    fn wrap(&mut self, kind: Kind, inner: Any) -> Any {
        let stack = Stack::named("t-cancel").seed(1);
        match kind {
            Kind::Cache => {
                let cache = CacheHandle::new(CachePolicy::ttl(millis(3)));
                self.caches.push(cache.clone());
                stack.cache(Cache::keyed(|n: &u32| *n % 2).shared(cache)).around(inner).boxed()
            }
            Kind::Deadline => stack.deadline(millis(60)).around(inner).boxed(),
            Kind::Fallback => stack.fallback(Fallback::to(inner.clone())).around(inner).boxed(),
            Kind::Retry => stack.retry(Retry::exponential(millis(2), millis(8)).max_retries(2)).around(inner).boxed(),
            Kind::Breaker => {
                let breaker = BreakerHandle::new(Breaker::rate(0.5).min_calls(4).open_for(millis(5)).probe_ttl(SAFE));
                self.breakers.push(breaker.clone());
                stack.breaker(breaker).around(inner).boxed()
            }
            Kind::Limit => {
                let limit = Limit::rpm(60_000).burst(2).tpm(600_000, |_: &u32| 10).token_burst(20);
                self.limits.push(limit.handle());
                stack.limit(limit).around(inner).boxed()
            }
            Kind::Bulkhead => {
                let bulkhead = Bulkhead::new(2).queue(2).max_wait(millis(20));
                self.bulkheads.push(bulkhead.handle());
                stack.bulkhead(bulkhead).around(inner).boxed()
            }
            Kind::Adaptive => {
                stack.adaptive(Adaptive::starting_at(2).queue(2).max_wait(millis(20))).around(inner).boxed()
            }
            Kind::Timeout => stack.attempt_timeout(millis(30)).around(inner).boxed(),
            Kind::Hedge => stack.hedge(Hedge::after(millis(4)).max_extra(1.0)).around(inner).boxed(),
        }
    }

    fn check(&self, what: &str) {
        for cache in &self.caches {
            assert_eq!(cache.in_flight(), 0, "{what}: a flight goes on with nobody waiting");
        }
        for bulkhead in &self.bulkheads {
            assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (0, 0), "{what}: a place was not given back");
        }
        for limit in &self.limits {
            assert_eq!(limit.waiting(), 0, "{what}: somebody still waits");
        }
    }
}

/// Longer than any test: a probe that is not given back would be missed.
const SAFE: Duration = Duration::from_secs(1_000_000);

/// A service that answers, fails, dawdles and hangs as the dice fall, and counts who is inside.
struct Wobbly {
    dice: Dice,
    fails: bool,
    inside: Mock<u32, &'static str>,
}

impl Step<u32> for Wobbly {
    type Out = u32;
    type Err = Fail<&'static str>;

    async fn call(&self, cx: &Cx<'_>, input: u32) -> Result<u32, Fail<&'static str>> {
        let roll = self.dice.next_u64();
        for _ in 0..roll % 3 {
            cx.sleep(millis(1 + (roll >> 8) % 12)).await;
        }
        match (roll >> 16) % 10 {
            0 if self.fails => std::future::pending().await,
            1..4 if self.fails => Err(Fail::inner("down")),
            _ => self.inside.call(cx, input).await,
        }
    }
}

fn subjects() -> Vec<Vec<Kind>> {
    let pairs = KINDS.iter().flat_map(|outer| KINDS.iter().map(move |inner| vec![*outer, *inner]));
    KINDS.iter().map(|kind| vec![*kind]).chain(pairs).collect()
}

struct Subject {
    name: String,
    clock: VirtualClock,
    step: Any,
    left: Left,
    service: Mock<u32, &'static str>,
}

fn subject(kinds: &[Kind], seed: u64, fails: bool) -> Subject {
    let service = Mock::returning(1).taking(millis(3));
    let wobbly = Wobbly { dice: Dice::seeded(seed), fails, inside: service.clone() };
    let mut left = Left::default();
    let mut step: Any = BoxStep::new(wobbly);
    for kind in kinds.iter().rev() {
        step = left.wrap(*kind, step);
    }
    Subject { name: format!("{kinds:?}"), clock: VirtualClock::new(), step, left, service }
}

impl Subject {
    fn call(&self, n: u32) -> Call {
        let cx = Cx::new("t").clock(Arc::new(self.clock.clone()));
        let step = self.step.clone();
        Box::pin(async move { step.call(&cx, n).await })
    }

    /// After everyone has gone: nothing is held, and a new call gets through as if nobody had been there.
    fn check(&self) {
        assert_eq!(self.service.under_way(), 0, "{}: the service still works for nobody", self.name);
        self.left.check(&self.name);
    }
}

fn poll(call: &mut Call) -> Poll<Result<u32, Fail<&'static str>>> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Moves the clock to the next moment at which something may happen.
fn advance(clock: &VirtualClock) -> bool {
    let next = clock.next_wake();
    next.inspect(|next| clock.advance_to(*next));
    next.is_some()
}

#[test]
fn a_call_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    for kinds in subjects() {
        for polls in 0..40 {
            let subject = subject(&kinds, 7 + polls, false);
            for breaker in &subject.left.breakers {
                breaker.half_open();
            }
            let mut call = subject.call(1);
            let done = (0..polls).any(|_| poll(&mut call).is_ready() || !advance(&subject.clock));
            drop(call);
            subject.check();
            for breaker in &subject.left.breakers {
                // A probe that was dropped is neither success nor failure, and its place is free.
                assert!(done || breaker.state() == BreakerState::HalfOpen, "{}", subject.name);
            }
            if done {
                break;
            }
            // Had anything been kept, this call would be turned away or would wait for ever.
            let mut next = subject.call(2);
            let end = loop {
                match poll(&mut next) {
                    Poll::Ready(end) => break end,
                    Poll::Pending => assert!(advance(&subject.clock), "{}: waits for ever", subject.name),
                }
            };
            let turned_away = |fail: &Fail<_>| matches!(fail.why(), Why::Open { .. } | Why::Full | Why::Limited { .. });
            assert!(!end.as_ref().is_err_and(turned_away), "{}: {end:?}", subject.name);
        }
    }
}

/// Four callers at a time, of whom one after the other is polled, dropped or replaced as the dice fall.
fn cancel_at_random(kinds: &[Kind], seed: u64, cancels: u64) {
    let subject = subject(kinds, seed, true);
    let dice = Dice::seeded(seed ^ 0xD1CE);
    let mut calls: Vec<Option<Call>> = (0..4).map(|_| None).collect();
    let mut cancelled = 0;
    while cancelled < cancels {
        let roll = dice.next_u64();
        let slot = &mut calls[(roll % 4) as usize];
        match ((roll >> 8) % 8, slot.as_mut()) {
            (0, Some(_)) => {
                *slot = None;
                cancelled += 1;
            }
            (1, _) => {
                advance(&subject.clock);
            }
            (2, _) => subject.clock.advance(millis((roll >> 16) % 10)),
            (_, Some(call)) => {
                if poll(call).is_ready() {
                    *slot = None;
                }
            }
            (_, None) => *slot = Some(subject.call((roll >> 24) as u32)),
        }
    }
    calls.clear();
    subject.check();
    // Whatever state the breakers were left in, they find out again: no probe is held by the dead.
    subject.clock.advance(millis(1_000));
    for breaker in &subject.left.breakers {
        breaker.half_open();
    }
    let mut end = subject.call(1);
    let turned_away = loop {
        match poll(&mut end) {
            Poll::Ready(end) => break end.is_err_and(|fail| matches!(fail.why(), Why::Open { .. } | Why::Full)),
            Poll::Pending if !advance(&subject.clock) => break false,
            Poll::Pending => {}
        }
    };
    // A pair of breakers may open again within this one call; a single one can not.
    assert!(!turned_away || subject.left.breakers.len() > 1 || kinds.contains(&Kind::Retry), "{}", subject.name);
}

#[test]
fn ten_thousand_random_cancels_leave_nothing_behind() {
    for (seed, kinds) in subjects().iter().enumerate() {
        cancel_at_random(kinds, seed as u64, 100);
    }
}

#[test]
#[ignore = "slow: about a minute"]
fn a_million_random_cancels_leave_nothing_behind() {
    let subjects = subjects();
    let each = 1_000_000 / subjects.len() as u64 + 1;
    for (seed, kinds) in subjects.iter().enumerate() {
        cancel_at_random(kinds, 1_000 + seed as u64, each);
    }
}

#[test]
fn no_call_over_any_layer_or_pair_takes_longer_than_its_worst_case() {
    for kinds in subjects() {
        let kinds: Vec<Kind> = kinds.into_iter().chain([Kind::Timeout]).collect();
        for seed in 0..4 {
            let subject = subject(&kinds, seed, true);
            let worst = subject.step.longest(Duration::MAX);
            let worst = worst.unwrap_or_else(|| panic!("{}: the attempt timeout bounds it", subject.name));
            let started = subject.clock.now();
            let mut calls: Vec<Option<Call>> = (0..8).map(|n| Some(subject.call(n))).collect();
            while calls.iter().any(Option::is_some) {
                for call in &mut calls {
                    if call.as_mut().is_some_and(|call| poll(call).is_ready()) {
                        *call = None;
                        let took = subject.clock.now().since(started);
                        assert!(took <= worst, "{}: {took:?} of {worst:?}", subject.name);
                    }
                }
                let waiting = calls.iter().any(Option::is_some);
                assert!(!waiting || advance(&subject.clock), "{}: waits for ever", subject.name);
            }
            subject.check();
        }
    }
}

#[test]
fn the_clock_of_the_harness_is_the_one_that_the_layers_ask() {
    let subject = subject(&[Kind::Timeout], 3, true);
    let before = subject.clock.now();
    let mut call = subject.call(1);
    while poll(&mut call).is_pending() && advance(&subject.clock) {}
    assert!(subject.clock.now() >= before);
}
