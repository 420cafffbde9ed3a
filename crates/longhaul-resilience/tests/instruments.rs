//! What stands around the layers: chaos, recorders, holds by the service, adaptive limits, names.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use longhaul_resilience::{
    Adaptive, Breaker, BreakerHandle, BreakerState, Bulkhead, Cache, Chaos, Clock, Cx, Decision, Fail, Fallback, Hedge,
    Label, Limit, Mock, Note, Outcome, Recorder, Retry, Stack, SystemClock,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

type Service = Mock<u32, &'static str>;

#[tokio::test(start_paused = true)]
async fn chaos_brings_its_faults_at_their_rates_and_the_same_for_the_same_seed() {
    let run = async || {
        let chaos = Chaos::seeded(7).fail(0.2, || "503").answer(0.1, || 99).delay(0.3, secs(2));
        let stack = Stack::named("i-chaos").chaos(chaos).around::<u32, _>(Service::returning(1));
        let (mut failed, mut wrong, mut late) = (0, 0, 0);
        let mut order = vec![];
        for n in 0..10_000 {
            let start = SystemClock.now();
            let result = stack.run(n).await;
            late += u32::from(SystemClock.now().since(start) == secs(2));
            failed += u32::from(result.is_err());
            wrong += u32::from(result == Ok(99));
            order.push(result.is_ok());
        }
        (failed, wrong, late, order)
    };
    let (failed, wrong, late, order) = run().await;
    assert!((1_900..2_100).contains(&failed), "{failed}");
    assert!((900..1_100).contains(&wrong), "{wrong}");
    assert!((2_850..3_150).contains(&late), "{late}");
    assert_eq!(run().await.3, order);
}

#[tokio::test(start_paused = true)]
async fn chaos_can_be_turned_off() {
    let chaos = Chaos::seeded(7).fail(1.0, || "503");
    let switch = chaos.switch();
    let stack = Stack::named("i-switch").chaos(chaos).around::<u32, _>(Service::returning(1));
    assert!(stack.run(1).await.is_err());
    switch.off();
    assert_eq!(stack.run(1).await, Ok(1));
    switch.on();
    assert!(stack.run(1).await.is_err());
}

#[derive(Default)]
struct Keeps {
    calls: Mutex<Vec<(Label, Outcome)>>,
    notes: Mutex<Vec<Decision>>,
}

impl Recorder for Keeps {
    fn call(&self, _stack: Label, layer: Label, outcome: Outcome, _latency: Duration) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((layer, outcome));
    }

    fn note(&self, note: &Note) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(note.decision);
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_hears_of_every_call_of_every_layer() {
    let keeps = Arc::new(Keeps::default());
    let stack = Stack::named("i-recorder")
        .recorder(keeps.clone())
        .retry(Retry::constant(secs(1)))
        .breaker(Breaker::consecutive(2))
        .around::<u32, _>(Service::failing("down").then_returning(1));
    stack.run(1).await.unwrap();
    use Outcome::{Failed, Ok};
    assert_eq!(
        *keeps.calls.lock().unwrap(),
        [
            (Label::CALL, Failed),
            (Label::BREAKER, Failed),
            (Label::CALL, Ok),
            (Label::BREAKER, Ok),
            (Label::RETRY, Ok),
            (Label::STACK, Ok)
        ]
    );
    assert_eq!(*keeps.notes.lock().unwrap(), [Decision::CallFailed, Decision::RetryScheduled, Decision::CallOk]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_in_half_open_make_as_many_calls_as_there_are_probes() {
    for probes in [1, 5] {
        let service = Service::returning(1).taking(secs(5));
        let breaker = BreakerHandle::new(Breaker::consecutive(1).probes(probes).successes(probes));
        let stack = Arc::new(Stack::named("i-herd").breaker(breaker.clone()).around::<u32, _>(service.clone()));
        breaker.half_open();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..1000 {
            let stack = Arc::clone(&stack);
            tasks.spawn(async move { stack.run(n).await.is_ok() });
        }
        let answered = tasks.join_all().await.into_iter().filter(|ok| *ok).count();
        assert_eq!((answered, service.calls()), (probes as usize, u64::from(probes)));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

/// Counts what it is told, by stack, layer and outcome, and how long it took in all.
#[derive(Default)]
struct Tallies(Mutex<HashMap<(Label, Label, &'static str), u64>>);

impl Recorder for Tallies {
    fn call(&self, stack: Label, layer: Label, outcome: Outcome, _latency: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((stack, layer, outcome.name())).or_default() += 1;
    }
}

/// Calls that go straight through are counted once for all layers, the others by each layer: the sum is to be exact.
#[tokio::test(start_paused = true)]
async fn the_metrics_of_every_layer_agree_with_what_a_recorder_hears() {
    type Owned = Mock<u32, String>;
    let tallies = Arc::new(Tallies::default());
    let chaos =
        Chaos::seeded(5).fail(0.2, || "503".to_owned()).answer(0.1, || 99).delay(0.2, Duration::from_millis(700));
    let inner = Stack::named("i-inner")
        .recorder(tallies.clone())
        .attempt_timeout(secs(1))
        .chaos(chaos)
        .around::<u32, _>(Owned::returning(1).taking(Duration::from_millis(400)));
    let stack = Stack::named("i-outer")
        .recorder(tallies.clone())
        .seed(3)
        .cache(Cache::keyed(|n: &u32| *n % 40).ttl(secs(20)).stale_while_revalidate(secs(20)))
        .deadline(secs(4))
        .fallback(Fallback::to(Owned::returning(2)))
        .retry(Retry::exponential(secs(1), secs(2)).max_retries(2))
        .hedge(Hedge::after(Duration::from_millis(600)).max_extra(0.5))
        .breaker(Breaker::rate(0.6).window_calls(20).open_for(secs(3)))
        .limit(Limit::rpm(6_000))
        .bulkhead(Bulkhead::new(3))
        .adaptive(Adaptive::default())
        .around(inner);
    let stack = Arc::new(stack);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..3_000u64 {
        let stack = Arc::clone(&stack);
        tasks.spawn(async move {
            let call = stack.run((n * 7_919 % 1_000) as u32);
            // Some callers give up.
            let patience = if n % 9 == 0 { Duration::from_millis(300) } else { secs(100) };
            let _ = tokio::time::timeout(patience, call).await;
        });
        tokio::time::sleep(Duration::from_millis(35)).await;
    }
    tasks.join_all().await;
    // Refreshes that nobody waits for end too.
    tokio::time::sleep(secs(60)).await;

    let mut heard = tallies.0.lock().unwrap().clone();
    let metrics = stack.metrics();
    assert_eq!(metrics.layers.len(), 11 + 4);
    for layer in &metrics.layers {
        let counted: Vec<u64> = Outcome::ALL.iter().map(|o| layer.count(*o)).collect();
        let mut told = |o: &Outcome| heard.remove(&(layer.stack, layer.layer, o.name())).unwrap_or_default();
        let told: Vec<u64> = Outcome::ALL.iter().map(&mut told).collect();
        assert_eq!(counted, told, "{}/{}", layer.stack, layer.layer);
        assert_eq!(layer.calls, counted.iter().sum::<u64>());
        assert!(layer.calls > 100, "{}/{} was hardly called", layer.stack, layer.layer);
    }
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_by_the_service_delays_the_next_call_until_its_reset() {
    let limit = Limit::rpm(6_000);
    let handle = limit.handle();
    let stack = Stack::named("i-hold").limit(limit).around::<u32, _>(Service::returning(1));
    let start = SystemClock.now();
    handle.hold_until(start.after(secs(7)));
    stack.run(1).await.unwrap();
    assert_eq!(SystemClock.now().since(start), secs(7));
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_lifted_lets_those_who_wait_for_it_go() {
    let limit = Limit::rpm(6_000);
    let handle = limit.handle();
    let stack = Stack::named("i-lift").limit(limit).around::<u32, _>(Service::returning(1));
    let start = SystemClock.now();
    handle.hold_until(start.after(secs(7)));
    let (answer, ()) = tokio::join!(stack.run(1), async {
        tokio::time::sleep(secs(2)).await;
        handle.lift_hold();
    });
    assert_eq!((answer, SystemClock.now().since(start)), (Ok(1), secs(2)));
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_goes_down_while_the_service_asks_for_patience() {
    let throttle = |_: &&'static str| longhaul_resilience::Class::Throttled(None);
    let stack = Stack::named("i-adaptive")
        .classify(throttle)
        .adaptive(Adaptive::starting_at(40).between(5, 100))
        .around::<u32, _>(Service::failing("429"));
    let cx = Cx::new("t");
    for n in 0..2_000 {
        let _: Result<u32, Fail<&str>> = stack.call(&cx, n).await;
    }
    assert!(cx.report().has(Decision::AdaptiveLimit));
    assert_eq!(stack.metrics().layer(Label::ADAPTIVE).unwrap().state.as_deref(), Some("0 of 5"));
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn the_facade_takes_everything_without_a_recorder_of_its_own_installed() {
    let stack = Stack::named("i-facade")
        .recorder(Arc::new(longhaul_resilience::MetricsFacade))
        .breaker(Breaker::consecutive(1))
        .around::<u32, _>(Service::failing("down"));
    stack.run(1).await.unwrap_err();
    assert_eq!(stack.metrics().breaker_state(), Some("open"));
}
