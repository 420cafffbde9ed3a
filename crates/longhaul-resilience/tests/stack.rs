//! Whole stacks in virtual time: who is called, how often, when, and what the caller is told.

use std::{convert::Infallible, sync::Arc, time::Duration};

use longhaul_resilience::{
    Adaptive, Breaker, BreakerHandle, BreakerState, Bulkhead, Cache, Class, Clock, Cx, Decorate, Fail, Fallback, Hedge,
    Jitter, Label, Limit, LiveDuration, Mock, Operation, Outcome, Parallel, Retry, RetryAfter, RetryBudget,
    RetryHandle, Scenario, Stack, Step, SystemClock, Tick, Why, cache::normalised,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Error {
    Down,
    Malformed,
    Throttled(&'static str),
}

fn judge(error: &Error) -> Class {
    match error {
        Error::Down => Class::Transient,
        Error::Malformed => Class::Permanent,
        Error::Throttled(retry_after) => Class::Throttled(RetryAfter::parse(retry_after)),
    }
}

type Service = Mock<String, Error>;

async fn elapsed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let start = SystemClock.now();
    let result = work.await;
    (result, SystemClock.now().since(start))
}

fn no_jitter() -> Retry {
    Retry::exponential(secs(1), secs(10)).jitter(Jitter::None)
}

#[tokio::test(start_paused = true)]
async fn when_the_first_choice_fails_the_alternative_answers() {
    let (primary, other) = (Service::failing(Error::Down), Service::returning("other".into()));
    let stack = Stack::named("t-fallback").fallback(Fallback::to(other.clone())).around(primary.clone());
    let cx = Cx::new("t");
    assert_eq!(stack.call(&cx, "q").await, Ok("other".to_owned()));
    assert_eq!((primary.calls(), other.calls()), (1, 1));
    assert!(cx.is_degraded());
    assert_eq!(cx.report().names(), ["call.failed", "primary.failed", "fallback.start", "fallback.success"]);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_failure_of_the_first_choice_is_told() {
    let (primary, other) = (Service::failing(Error::Malformed), Service::failing(Error::Down));
    let stack = Stack::named("t-all-fail").fallback(Fallback::to(other)).around(primary);
    assert_eq!(stack.run("q").await.unwrap_err().error(), Some(&Error::Malformed));
}

#[tokio::test(start_paused = true)]
async fn a_chain_with_a_last_word_cannot_fail_not_even_at_the_deadline() {
    let hangs = Service::hanging();
    let stack = Stack::named("t-last")
        .deadline(secs(5))
        .fallback(Fallback::to(hangs.clone()).last(|q: &&str, fail: &Fail<Error>| format!("{q}: {:?}", fail.why())))
        .around(hangs);
    let (answer, took): (Result<String, Infallible>, _) = elapsed(stack.run("hours?")).await;
    let Ok(answer) = answer;
    assert_eq!((answer.as_str(), took), ("hours?: Deadline", secs(5)));
    assert_eq!(stack.worst_case(), Some(secs(5)));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_after_the_threshold_and_the_next_call_is_not_made() {
    let failing = Service::failing(Error::Down);
    let breaker = BreakerHandle::new(Breaker::consecutive(3).open_for(secs(1)).successes(1));
    let stack = Stack::named("t-breaker").breaker(breaker.clone()).around(failing.clone());
    for _ in 0..3 {
        stack.run("q").await.unwrap_err();
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    let fail = stack.run("q").await.unwrap_err();
    assert!(matches!(fail.why(), Why::Open { retry_after } if retry_after == secs(1)), "{fail:?}");
    assert_eq!(failing.calls(), 3, "not 4");
    assert_eq!(stack.metrics().breaker_state(), Some("open"));

    failing.now_returning("back".into());
    tokio::time::sleep(secs(1)).await;
    assert_eq!(stack.run("q").await, Ok("back".to_owned()));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_speak_against_the_service_does_not_open_the_breaker() {
    for error in [Error::Malformed, Error::Throttled("1")] {
        let breaker = BreakerHandle::new(Breaker::consecutive(1));
        let stack = Stack::named("t-judge").classify(judge).breaker(breaker.clone()).around(Service::failing(error));
        stack.run("q").await.unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_counts_against_the_service() {
    let breaker = BreakerHandle::new(Breaker::consecutive(1));
    let stack = Stack::named("t-hang").breaker(breaker.clone()).attempt_timeout(secs(3)).around(Service::hanging());
    let (result, took) = elapsed(stack.run("q")).await;
    assert_eq!((result.unwrap_err().why(), took), (Why::Timeout { limit: secs(3) }, secs(3)));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn listeners_may_ask_the_breaker_itself() {
    let breaker = BreakerHandle::new(Breaker::consecutive(1));
    let (seen, asked) = (Arc::new(std::sync::Mutex::new(vec![])), breaker.clone());
    let keep = Arc::clone(&seen);
    // Would never return if it ran under the breaker's lock.
    breaker.on_change(move |change| keep.lock().unwrap().push((change.from, change.to, asked.state())));
    let stack = Stack::named("t-listen").breaker(breaker).around(Service::failing(Error::Down));
    stack.run("q").await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), [(BreakerState::Closed, BreakerState::Open, BreakerState::Open)]);
}

#[tokio::test(start_paused = true)]
async fn retries_wait_exponentially_and_stop_at_what_is_permanent() {
    let service =
        Service::failing(Error::Down).then_failing(Error::Down).then_failing(Error::Down).then_returning("ok".into());
    let stack = Stack::named("t-retry").classify(judge).retry(no_jitter()).around(service.clone());
    let cx = Cx::new("t");
    let (result, took) = elapsed(stack.call(&cx, "q")).await;
    assert_eq!((result, took, service.calls()), (Ok("ok".to_owned()), secs(1 + 2 + 4), 4));
    assert_eq!(cx.report().retries, 3);

    let service = Service::failing(Error::Down).then_failing(Error::Malformed);
    let stack = Stack::named("t-retry").classify(judge).retry(no_jitter()).around(service.clone());
    let fail = stack.run("q").await.unwrap_err();
    assert_eq!((fail.error(), fail.attempts(), service.calls()), (Some(&Error::Malformed), 2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_ends_the_retries_and_costs_no_budget() {
    let budget = RetryBudget::new(0.0, 0.0);
    let breaker = BreakerHandle::new(Breaker::consecutive(2));
    let service = Service::failing(Error::Down);
    let stack = Stack::named("t-open")
        .retry(no_jitter().max_retries(9).budget(&budget))
        .breaker(breaker)
        .around(service.clone());
    let fail = stack.run("q").await.unwrap_err();
    assert!(matches!(fail.why(), Why::Open { .. }));
    assert_eq!(fail.error(), Some(&Error::Down), "the last real error survives");
    for _ in 0..100 {
        stack.run("q").await.unwrap_err();
    }
    assert_eq!(service.calls(), 2);
    // Two retries were made before it opened; the rest of what a new budget holds is still there.
    let left = (0..100).filter(|_| budget.withdraw(Tick::ZERO)).count() as u64;
    assert_eq!(left, RetryBudget::START_BALANCE - 2);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_slept_through_parked_or_dated() {
    let throttled = |hint| Service::failing(Error::Throttled(hint)).then_returning("ok".into());
    let stack = |service: Service| Stack::named("t-hint").classify(judge).retry(no_jitter()).around(service);
    let (result, took) = elapsed(stack(throttled("7")).run("q")).await;
    assert_eq!((result.is_ok(), took), (true, secs(7)));

    // Longer than it is sensible to sleep: told at once, with the moment.
    let cx = Cx::new("t");
    let (result, took) = elapsed(stack(throttled("3600")).call(&cx, "q")).await;
    let fail = result.unwrap_err();
    assert_eq!((fail.why(), took), (Why::Park { until: cx.now().after(secs(3600)) }, Duration::ZERO));
    assert_eq!(fail.error(), Some(&Error::Throttled("3600")));

    // Fits the cap, but not the deadline.
    let cx = Cx::new("t").timeout(secs(5));
    let (result, took) = elapsed(stack(throttled("7")).call(&cx, "q")).await;
    assert!(matches!(result.unwrap_err().why(), Why::Park { .. }));
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_wait_begins_that_does_not_fit_and_the_last_error_survives_every_kind_of_end() {
    let stack = |service: Service, limit| Stack::named("t-fit").deadline(limit).retry(no_jitter()).around(service);
    // 1 s + 2 s of waits fit into 5 s, 4 s more do not.
    let (result, took) = elapsed(stack(Service::failing(Error::Down), secs(5)).run("q")).await;
    let fail = result.unwrap_err();
    assert_eq!((fail.why(), fail.error(), fail.attempts(), took), (Why::Deadline, Some(&Error::Down), 3, secs(3)));
    // The deadline cuts the second attempt off; what the first one said is still told.
    let service = Service::failing(Error::Down).then_hanging();
    let (result, took) = elapsed(stack(service, secs(5)).run("q")).await;
    let fail = result.unwrap_err();
    assert_eq!((fail.why(), fail.error(), took), (Why::Deadline, Some(&Error::Down), secs(5)));
}

#[tokio::test(start_paused = true)]
async fn output_that_reached_the_caller_ends_retry_hedge_and_fallback() {
    struct Streams(Service);
    impl Step<&'static str> for Streams {
        type Out = String;
        type Err = Fail<Error>;
        async fn call(&self, cx: &Cx<'_>, input: &'static str) -> Result<String, Fail<Error>> {
            cx.commit();
            self.0.call(cx, input).await
        }
    }
    let (service, other) = (Service::failing(Error::Down).taking(secs(9)), Service::returning("other".into()));
    let stack = Stack::named("t-commit")
        .fallback(Fallback::to(other.clone()))
        .retry(no_jitter())
        .hedge(Hedge::after(secs(1)))
        .around(Streams(service.clone()));
    assert_eq!(stack.run("q").await.unwrap_err().error(), Some(&Error::Down));
    assert_eq!((service.calls(), other.calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn only_the_outermost_retry_repeats_unless_told_otherwise() {
    let service = Service::failing(Error::Down);
    let inner = Stack::named("t-inner").retry(no_jitter()).around(service.clone());
    let outer = Stack::named("t-outer").retry(no_jitter()).around(Nested(inner));
    outer.run("q").await.unwrap_err();
    assert_eq!(service.calls(), 4, "not 16");

    let service = Service::failing(Error::Down);
    let inner = Stack::named("t-inner").retry(no_jitter().even_nested()).around(service.clone());
    Stack::named("t-outer").retry(no_jitter()).around(Nested(inner)).run("q").await.unwrap_err();
    assert_eq!(service.calls(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_timed_out_is_tried_again_and_opens_a_breaker() {
    let hangs = Service::hanging().then_returning("back".into());
    let retried = hangs.timed_out(secs(5)).retried(no_jitter());
    assert_eq!(elapsed(retried.run("q")).await, (Ok("back".into()), secs(6)));

    let breaker = BreakerHandle::new(Breaker::consecutive(2));
    let guarded = Service::hanging().timed_out(secs(5)).guarded(breaker.clone());
    for _ in 0..2 {
        assert_eq!(guarded.run("q").await.unwrap_err().why(), Why::Timeout { limit: secs(5) });
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_nested_stack_is_to_the_outer_one_a_step_that_took_too_long() {
    let nested = |service| Nested(Stack::named("t-nested").deadline(secs(5)).around::<u32, _>(service));
    let retried =
        Stack::named("t-outer").retry(no_jitter()).around(nested(Service::hanging().then_returning("b".into())));
    assert_eq!(elapsed(retried.run(7)).await, (Ok("b".into()), secs(6)));

    let breaker = BreakerHandle::new(Breaker::consecutive(2));
    let stack = Stack::named("t-outer").breaker(breaker.clone()).attempt_timeout(secs(30));
    let guarded = stack.around(nested(Service::hanging()));
    for _ in 0..2 {
        let (result, took) = elapsed(guarded.run(7)).await;
        assert_eq!((result.unwrap_err().why(), took), (Why::Deadline, secs(5)), "and not: no answer within 30 s");
    }
    assert_eq!(breaker.state(), BreakerState::Open);

    let service = Service::hanging();
    let bounded = Stack::named("t-outer").retry(no_jitter()).around(nested(service.clone()));
    bounded.call(&Cx::default().timeout(secs(5)), 7).await.unwrap_err();
    assert_eq!(service.calls(), 1, "the deadline of the call itself is over");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_noticed_though_its_callers_have_less_time_than_an_attempt() {
    for (time, counts) in [(secs(20), true), (secs(15), true), (secs(14), false), (secs(1), false)] {
        let (service, breaker) = (Service::hanging(), BreakerHandle::new(Breaker::default()));
        let stack = Stack::named("t-hurried").retry(no_jitter()).breaker(breaker.clone());
        let stack = stack.attempt_timeout(Operation::Gpt4).around(service.clone());
        let adaptive = Stack::named("t-hurried").adaptive(Adaptive::starting_at(20));
        let adaptive = adaptive.attempt_timeout(Operation::Gpt4).around(Service::hanging());
        for _ in 0..5 {
            let cx = Cx::default().timeout(time);
            assert_eq!(stack.call(&cx, "q").await.unwrap_err().why(), Why::Deadline);
        }
        assert_eq!((service.calls(), breaker.state() == BreakerState::Open), (5, counts), "{time:?}");
        for _ in 0..20 {
            adaptive.call(&Cx::default().timeout(time), "q").await.unwrap_err();
        }
        let limit = adaptive.metrics().layer(Label::ADAPTIVE).unwrap().state.clone();
        assert_eq!(limit.as_deref() == Some("0 of 18"), counts, "{limit:?}");
    }
}

/// Output from the first second on, until the last.
struct Streams {
    lasts: Duration,
    breaks: bool,
}
impl Step<u32> for Streams {
    type Out = String;
    type Err = Fail<Error>;
    async fn call(&self, cx: &Cx<'_>, _: u32) -> Result<String, Fail<Error>> {
        cx.sleep(secs(1)).await;
        cx.commit();
        cx.sleep(self.lasts).await;
        if self.breaks { Err(Fail::inner(Error::Down)) } else { Ok("all of it".to_owned()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_output_begins_has_shown_that_the_service_is_back() {
    let breaker = BreakerHandle::new(Breaker::consecutive(1).successes(2));
    let stream = |breaks| {
        let streams = Streams { lasts: secs(600), breaks };
        Arc::new(Stack::named("t-long-probe").breaker(breaker.clone()).around(streams))
    };
    let (good, broken) = (stream(false), stream(true));
    breaker.half_open();
    let mut long = tokio::task::JoinSet::new();
    for expected in [BreakerState::HalfOpen, BreakerState::Closed] {
        let good = Arc::clone(&good);
        long.spawn(async move { good.run(7).await });
        tokio::time::sleep(secs(2)).await;
        assert_eq!(breaker.state(), expected, "both still run");
    }
    assert!(long.join_all().await.iter().all(Result::is_ok));
    assert_eq!(breaker.state(), BreakerState::Closed);

    breaker.half_open();
    assert!(broken.run(7).await.is_err());
    assert_eq!(breaker.state(), BreakerState::Open, "it was a success until it broke");
}

/// Puts out after 150 ms and then goes on for as long as it is told; fails if that is short.
#[derive(Clone)]
struct Puts {
    out: Arc<std::sync::Mutex<Vec<u32>>>,
    calls: Arc<std::sync::atomic::AtomicU32>,
}
impl Step<Duration> for Puts {
    type Out = u32;
    type Err = Fail<Error>;
    async fn call(&self, cx: &Cx<'_>, rest: Duration) -> Result<u32, Fail<Error>> {
        let call = self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Attached to a child: what the child commits is the call's all the same.
        let child = cx.child(Tick::NEVER).data(7u64);
        child.sleep(Duration::from_millis(150)).await;
        self.out.lock().map(|mut out| out.push(call)).map_err(|_| Error::Malformed)?;
        child.commit();
        child.sleep(rest).await;
        if rest > secs(1) { Ok(call) } else { Err(Fail::inner(Error::Down)) }
    }
}

#[tokio::test(start_paused = true)]
async fn output_is_put_out_once_though_a_child_has_data_or_a_hedge_has_begun() {
    let puts = Puts { out: Arc::default(), calls: Arc::default() };
    let stack = Stack::named("t-puts").retry(no_jitter()).around(puts.clone());
    stack.run(secs(1)).await.unwrap_err();
    assert_eq!(*puts.out.lock().unwrap(), [0]);

    let hedge = || Hedge::after(Duration::from_millis(100));
    for (rest, answers) in [(secs(2), true), (secs(1), false)] {
        let puts = Puts { out: Arc::default(), calls: Arc::default() };
        let stack = Stack::named("t-puts").hedge(hedge()).around(puts.clone());
        let result = stack.run(rest).await;
        assert_eq!((result.is_ok(), puts.calls.load(std::sync::atomic::Ordering::Relaxed)), (answers, 2));
        assert_eq!(*puts.out.lock().unwrap(), [0], "the second was dropped when the first had put out");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_of_several_puts_out_leaves_the_retries_of_the_others() {
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    struct Half(Arc<std::sync::atomic::AtomicU32>);
    impl Step<bool> for Half {
        type Out = ();
        type Err = Fail<Error>;
        async fn call(&self, cx: &Cx<'_>, commits: bool) -> Result<(), Fail<Error>> {
            if commits {
                cx.commit();
                return Ok(());
            }
            cx.sleep(secs(1)).await;
            let before = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if before < 2 { Err(Fail::inner(Error::Down)) } else { Ok(()) }
        }
    }
    let each = Stack::named("t-each").retry(no_jitter()).around(Half(Arc::clone(&calls)));
    let cx = Cx::default();
    let Ok(results) = Parallel::new(each).call(&cx, vec![true, false]).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(cx.is_committed());
}

/// A stack as the service of another.
struct Nested<S>(S);
impl<I: Send, S: Step<I, Out = String, Err = Fail<Error>>> Step<I> for Nested<S> {
    type Out = String;
    type Err = Fail<Error>;
    async fn call(&self, cx: &Cx<'_>, input: I) -> Result<String, Fail<Error>> {
        self.0.call(cx, input).await
    }
}

#[tokio::test(start_paused = true)]
async fn three_nested_stacks_under_total_outage_send_at_most_a_third_more() {
    let service = Service::failing(Error::Down);
    let budget = RetryBudget::default();
    let retry = || no_jitter().budget(&budget);
    let one = Stack::named("t-one").retry(retry()).around::<u32, _>(service.clone());
    let two = Stack::named("t-two").retry(retry()).around(Nested(one));
    let three = Arc::new(Stack::named("t-three").retry(retry()).around(Nested(two)));
    // Ten callers a second, whatever becomes of those before them.
    let (calls, mut tasks) = (5_000, tokio::task::JoinSet::new());
    for _ in 0..calls {
        let three = Arc::clone(&three);
        tasks.spawn(async move { three.run(7).await.unwrap_err() });
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tasks.join_all().await;
    let sent = service.calls() as f64 / f64::from(calls);
    assert!((1.1..=1.3).contains(&sent), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn the_worst_case_is_what_the_library_says_and_is_met() {
    // Every attempt takes all its time and then asks for the longest wait.
    let slow = Service::failing(Error::Throttled("10")).taking(secs(30));
    let stack = Stack::named("t-worst")
        .classify(judge)
        .retry(no_jitter().max_retries(2))
        .breaker(Breaker::consecutive(5))
        .attempt_timeout(Duration::from_millis(30_001))
        .around(slow);
    let (result, took) = elapsed(stack.run("q")).await;
    result.unwrap_err();
    let worst = stack.worst_case().unwrap();
    assert_eq!(worst, Duration::from_millis(3 * 30_001 + 20_000));
    assert!(took <= worst && took >= worst - Duration::from_millis(3), "{took:?} of {worst:?}");

    let bounded = Stack::named("t-bounded").deadline(secs(60)).retry(no_jitter()).around(Service::hanging());
    let (_, took) = elapsed(bounded.run("q")).await;
    assert_eq!((bounded.worst_case(), took), (Some(secs(60)), secs(60)));

    assert_eq!(Stack::named("t-unbounded").retry(no_jitter()).around::<&str, _>(Service::hanging()).worst_case(), None);
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_end_to_end_with_its_metrics() {
    let primary = Service::returning("primary".into()).taking(secs(2));
    let mini = Service::returning("mini".into()).taking(secs(1));
    let breaker = BreakerHandle::new(Breaker::default());
    let stack = Stack::named("t-production")
        .classify(judge)
        .cache(Cache::keyed(|q: &&'static str| normalised(q)).scenario(Scenario::UserQuery))
        .deadline(secs(120))
        .fallback(Fallback::to(mini.clone()).last(|_: &&str, _: &Fail<Error>| "canned".to_owned()))
        .retry(no_jitter())
        .breaker(breaker.clone())
        .limit(Limit::rpm(600).tpm(90_000, |q: &&str| q.len() as u64))
        .bulkhead(Bulkhead::new(64))
        .attempt_timeout(Operation::Gpt4)
        .around(primary.clone());

    // Normal operation, then the same question again.
    let cx = Cx::new("first");
    let (answer, took) = elapsed(stack.call(&cx, "What is Rust?")).await;
    assert_eq!((answer, took), (Ok("primary".into()), secs(2)));
    let cx = Cx::new("second");
    let (answer, took) = elapsed(stack.call(&cx, "what is rust")).await;
    assert_eq!((answer, took, cx.report().cached), (Ok("primary".into()), Duration::ZERO, true));

    // The first choice is down: the alternative answers, and its answer is not kept.
    primary.now_failing(Error::Down);
    let cx = Cx::new("third");
    assert_eq!(stack.call(&cx, "Complex").await, Ok("mini".into()));
    assert!(cx.report().degraded && !cx.report().cached);
    assert_eq!(stack.run("Complex").await, Ok("mini".into()));
    assert_eq!((primary.calls(), breaker.state()), (1 + 5, BreakerState::Open));

    // All are down: the last word.
    mini.now_failing(Error::Down);
    assert_eq!(stack.run("Complex").await, Ok("canned".into()));

    let metrics = stack.metrics();
    assert_eq!((metrics.total, metrics.answered, metrics.failed), (5, 5, 0));
    assert_eq!((metrics.hit_rate, metrics.fallback_rate), (0.2, 0.75));
    assert_eq!(metrics.breaker_state(), Some("open"));
    assert_eq!(metrics.layer(Label::BREAKER).unwrap().count(Outcome::Rejected), 2);
    assert!(metrics.p50.unwrap() >= secs(1));
    assert_eq!(stack.worst_case(), Some(secs(120)));
}

#[tokio::test(start_paused = true)]
async fn settings_change_live_and_keep_the_state() {
    let service = Service::failing(Error::Down);
    let (breaker, retry, timeout) =
        (BreakerHandle::new(Breaker::consecutive(3)), RetryHandle::new(no_jitter()), LiveDuration::new(secs(5)));
    let stack = Stack::named("t-reload")
        .retry(retry.clone())
        .breaker(breaker.clone())
        .attempt_timeout(timeout.clone())
        .around(service.clone());
    retry.reload(no_jitter().max_retries(0));
    stack.run("q").await.unwrap_err();
    stack.run("q").await.unwrap_err();
    assert_eq!(service.calls(), 2);
    breaker.reload(Breaker::consecutive(3).open_for(secs(7)));
    let fail = {
        stack.run("q").await.unwrap_err();
        stack.run("q").await.unwrap_err()
    };
    assert_eq!(fail.why(), Why::Open { retry_after: secs(7) }, "the two failures before counted");
    breaker.reset();
    timeout.set(secs(1));
    assert_eq!(stack.worst_case(), Some(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_lets_callers_through_at_its_rate_and_in_order() {
    let stack =
        Arc::new(Stack::named("t-limit").limit(Limit::rpm(60).burst(1)).around(Service::returning("ok".into())));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..5u64 {
        let stack = Arc::clone(&stack);
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            let (result, took) = elapsed(stack.run("q")).await;
            (n, result.is_ok(), (took + Duration::from_millis(n)).as_secs())
        });
    }
    let mut all = tasks.join_all().await;
    all.sort();
    assert_eq!(all, (0..5).map(|n| (n, true, n)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_a_call_held_that_was_never_made_goes_to_the_next_at_once() {
    // The only place is taken for ten seconds; whoever has got past the limit waits for it.
    let places = Bulkhead::new(1).max_wait(secs(100));
    let taken = Stack::named("t-taken").bulkhead(Bulkhead::new(1).shared(&places.handle())).around(Service::hanging());
    let limit = Limit::rpm(1).burst(1).max_wait(secs(100));
    let stack = Stack::named("t-refund").limit(limit).bulkhead(places).around(Service::returning("ok".into()));
    let (_, _, (answer, took)) = tokio::join!(
        async { tokio::time::timeout(secs(10), taken.run("q")).await.unwrap_err() },
        async { tokio::time::timeout(secs(5), stack.run("q")).await.unwrap_err() },
        elapsed(async { stack.run("q").await }),
    );
    assert_eq!((answer, took), (Ok("ok".to_owned()), secs(10)), "not after a minute");
}

#[tokio::test(start_paused = true)]
async fn what_a_call_held_that_the_service_has_seen_is_used_though_nobody_waits_for_the_answer() {
    let service = Service::hanging().then_returning("ok".into());
    let limit = Limit::rpm(1).burst(1).max_wait(secs(100));
    let stack = Stack::named("t-used").limit(limit).around(service);
    let (_, (answer, took)) = tokio::join!(
        async { tokio::time::timeout(secs(5), stack.run("q")).await.unwrap_err() },
        elapsed(async { stack.run("q").await }),
    );
    assert_eq!((answer, took), (Ok("ok".to_owned()), secs(60)), "the service has counted the first");
}

#[tokio::test(start_paused = true)]
async fn when_one_leaves_the_line_those_behind_move_up_at_once() {
    // A hundred tokens a second, and a thousand to begin with.
    let limit = Limit::rpm(6_000).tpm(6_000, |tokens: &u64| *tokens).max_wait(secs(100));
    let stack = Arc::new(Stack::named("t-line").limit(limit).around::<u64, _>(Service::returning("ok".into())));
    let run = |tokens| {
        let stack = Arc::clone(&stack);
        async move { elapsed(stack.run(tokens)).await.1 }
    };
    let (_, _, third, fourth) = tokio::join!(run(1_000), tokio::time::timeout(secs(2), run(900)), run(300), run(100),);
    assert_eq!((third, fourth), (secs(3), secs(4)), "and not after the nine seconds of the one who left");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_set_right_to_what_was_used() {
    let limit = Limit::rpm(6000).tpm(6_000, |_: &&str| 1_000).actual(|out: &String| Some(out.len() as u64));
    let stack = Stack::named("t-tokens").limit(limit).around(Service::returning("x".repeat(600)));
    let (_, took) = elapsed(async {
        stack.run("q").await.unwrap();
        stack.run("q").await.unwrap();
    })
    .await;
    // 1,000 of the burst are reserved, 400 come back; for the next 1,000 another 600 must flow in, at 100 a second.
    assert_eq!(took, secs(6));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_retry_further_in_gave_up_has_used_the_limit() {
    let spent = RetryBudget::new(0.0, 0.0);
    while spent.withdraw(Tick::ZERO) {}
    for (service, retry) in [
        (Service::failing(Error::Throttled("3600")), no_jitter()),
        (Service::failing(Error::Down), no_jitter().budget(&spent)),
    ] {
        let limit = Limit::rpm(6).burst(1).max_wait(Duration::ZERO);
        let stack = Stack::named("t-parks").classify(judge).limit(limit).retry(retry).around(service.clone());
        for _ in 0..1_000 {
            stack.run("q").await.unwrap_err();
        }
        assert_eq!(service.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_ours_is_waited_for_by_the_retry_or_parks() {
    let limit = || Limit::rpm(6).burst(1).max_wait(Duration::ZERO);
    let service = Service::returning("ok".into());
    let stack = Stack::named("t-limited").retry(no_jitter()).limit(limit()).around(service.clone());
    stack.run("q").await.unwrap();
    let (result, took) = elapsed(stack.run("q")).await;
    assert_eq!((result.is_ok(), took), (true, secs(10)));
    let stack = Stack::named("t-limited").limit(limit()).around(service);
    stack.run("q").await.unwrap();
    let fail = stack.run("q").await.unwrap_err();
    assert_eq!(fail.why(), Why::Limited { retry_after: secs(10) });
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_limit_of_ours_costs_no_budget() {
    let budget = RetryBudget::new(0.0, 0.0);
    while budget.withdraw(Tick::ZERO) {}
    let stack = Stack::named("t-free")
        .retry(no_jitter().budget(&budget))
        .limit(Limit::rpm(6).burst(1).max_wait(Duration::ZERO))
        .around(Service::returning("ok".into()));
    for _ in 0..3 {
        assert!(stack.run("q").await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_call_with_its_last_error() {
    let budget = RetryBudget::new(0.0, 0.0);
    while budget.withdraw(Tick::ZERO) {}
    let service = Service::failing(Error::Down);
    let stack = Stack::named("t-spent").retry(no_jitter().budget(&budget)).around(service.clone());
    let fail = stack.run("q").await.unwrap_err();
    assert_eq!((fail.why(), fail.error(), service.calls()), (Why::BudgetSpent, Some(&Error::Down), 1));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_bounds_what_is_under_way_and_who_waits() {
    let service = Service::returning("ok".into()).taking(secs(1));
    let stack = Arc::new(
        Stack::named("t-bulkhead")
            .bulkhead(Bulkhead::new(2).queue(3).max_wait(Duration::from_millis(1500)))
            .around(service.clone()),
    );
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let stack = Arc::clone(&stack);
        tasks.spawn(async move { stack.run("q").await.map_err(|fail| fail.why()) });
    }
    let all = tasks.join_all().await;
    // Two at once, two more a second later; the fifth waits in vain, five find the queue full.
    assert_eq!(all.iter().filter(|r| r.is_ok()).count(), 4);
    assert_eq!(all.iter().filter(|r| **r == Err(Why::Full)).count(), 6);
    assert_eq!(service.most_at_once(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_answers_first_and_its_extra_load_is_capped() {
    // Every second call hangs.
    let mut service = Service::hanging().then_returning("quick".into());
    for _ in 0..50 {
        service = service.then_hanging().then_returning("quick".into());
    }
    let stack = Stack::named("t-hedge").hedge(Hedge::after(secs(2)).max_extra(0.5)).around(service.clone());
    for _ in 0..20 {
        let cx = Cx::new("t");
        let (result, took) = elapsed(stack.call(&cx, "q")).await;
        assert_eq!((result.is_ok(), took), (true, secs(2)));
        assert!(cx.report().names().contains(&"hedge.won"));
    }
    assert_eq!(service.under_way(), 0, "the losers are gone");

    let slow = Service::returning("slow".into()).taking(secs(10));
    let stack = Stack::named("t-hedge-cap").hedge(Hedge::after(secs(2)).max_extra(0.1)).around(slow.clone());
    for _ in 0..1000 {
        stack.run("q").await.unwrap();
    }
    assert!(slow.calls() <= 1000 + 100 + RetryBudget::START_BALANCE, "{}", slow.calls());
}

#[tokio::test(start_paused = true)]
async fn a_hedge_goes_by_the_latencies_of_late_and_makes_no_call_that_it_may_not() {
    let slow = Service::returning("ok".into()).taking(Duration::from_millis(100));
    let hedge = Hedge::at_quantile(0.95, secs(2)).max_extra(1.0);
    let stack = Stack::named("t-late").hedge(hedge).around(slow.clone());
    for _ in 0..10_000 {
        stack.run("q").await.unwrap();
    }
    let slow = slow.taking(secs(1));
    for _ in 0..2_200 {
        stack.run("q").await.unwrap();
    }
    let before = slow.calls();
    for _ in 0..1_000 {
        stack.run("q").await.unwrap();
    }
    assert_eq!(slow.calls() - before, 1_000, "a second is what a call takes now");

    let slow = Service::returning("ok".into()).taking(secs(1));
    let stack = Stack::named("t-none").hedge(Hedge::after(Duration::ZERO).max_extra(0.0)).around(slow.clone());
    for _ in 0..100 {
        stack.run("q").await.unwrap();
    }
    assert_eq!(slow.calls(), 100);
}

#[tokio::test(start_paused = true)]
async fn settings_that_follow_a_shared_limit_are_set_in_it() {
    let handle = Limit::rpm(60).handle();
    let limit = || Limit::rpm(1).shared(&handle).burst(1).max_wait(Duration::ZERO).tpm(600, |_: &&str| 1);
    let service = Service::returning("ok".into());
    let (one, two) = (
        Stack::named("t-one").limit(limit()).around(service.clone()),
        Stack::named("t-two").limit(limit()).around(service),
    );
    assert!(one.run("q").await.is_ok());
    assert!(matches!(two.run("q").await.unwrap_err().why(), Why::Limited { .. }), "they share it");
    let alone = Stack::named("t-alone").limit(Limit::rpm(1).shared(&handle)).around(Service::returning("ok".into()));
    assert!(matches!(alone.run("q").await.unwrap_err().why(), Why::Limited { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_failure_says_how_many_attempts_there_were_and_whose_time_was_over() {
    let breaker = BreakerHandle::new(Breaker::default());
    breaker.force_open();
    let stack = Stack::named("t-reach").retry(no_jitter()).breaker(breaker).around(Service::failing(Error::Down));
    assert_eq!(stack.run("q").await.unwrap_err().attempts(), 0);

    let stack = Stack::named("t-place").bulkhead(Bulkhead::new(1).max_wait(secs(10))).around(Service::hanging());
    let (held, hurried, patient) = (Cx::default(), Cx::default().timeout(secs(2)), Cx::default().timeout(secs(60)));
    tokio::select! {
        biased;
        _ = stack.call(&held, "q") => panic!("it hangs"),
        why = async { tokio::join!(stack.call(&hurried, "q"), stack.call(&patient, "q")) } => {
            let (hurried, patient) = (why.0.unwrap_err().why(), why.1.unwrap_err().why());
            assert_eq!((hurried, patient), (Why::Deadline, Why::Full));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parallel_keeps_the_results_of_those_that_succeeded() {
    let step = async |n: u64| {
        tokio::time::sleep(secs(n)).await;
        if n == 2 { Err("two") } else { Ok(n) }
    };
    let (results, took) = elapsed(Parallel::new(step).at_once(2).call(&Cx::default(), vec![1, 2, 3])).await;
    let Ok(results) = results;
    let results: Vec<_> = results.into_iter().map(|r| r.map_err(|f| f.into_error())).collect();
    assert_eq!(results, [Ok(1), Err(Some("two")), Ok(3)]);
    assert_eq!(took, secs(4));
}

#[test]
fn the_recommended_settings_have_their_names_and_numbers() {
    let timeouts = Operation::ALL.map(|o| (o.name(), o.attempt_timeout().as_secs()));
    assert_eq!(
        timeouts,
        [("gpt-3.5", 10), ("gpt-4", 30), ("claude", 45), ("custom-ml", 60), ("database", 5), ("external-api", 15)]
    );
    for scenario in Scenario::ALL {
        assert_eq!(Scenario::from_name(scenario.name()), Some(scenario));
    }
    assert_eq!(Operation::from_name("gpt-5"), None);
}

/// A service that always has more: every poll spends all of what tokio grants a task at a time.
struct Flood;

impl Step<&'static str> for Flood {
    type Out = String;
    type Err = Fail<Error>;

    async fn call(&self, _: &Cx<'_>, _: &'static str) -> Result<String, Fail<Error>> {
        // It ends at last, so that a time-out that never comes is a failure and not a test that hangs.
        for _ in 0..50_000_000 {
            tokio::task::consume_budget().await;
        }
        Ok("all of it".to_owned())
    }
}

// In real time: what never rests keeps the virtual time of tokio's tests from moving.
#[tokio::test]
async fn a_service_that_always_has_more_is_cut_off_in_time_all_the_same() {
    let brief = Duration::from_millis(20);
    let attempt = Stack::named("t-flood").attempt_timeout(brief).around(Flood);
    assert_eq!(attempt.run("q").await.unwrap_err().why(), Why::Timeout { limit: brief });
    let call = Stack::named("t-flood-call").deadline(brief).around(Flood);
    assert_eq!(call.run("q").await.unwrap_err().why(), Why::Deadline);
}
