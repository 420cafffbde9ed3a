//! The cache as a layer and as a plain thing: what is kept, what is shared, and who survives whose departure.

#![allow(clippy::disallowed_methods, reason = "tests spawn and look at tokio's paused clock")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use longhaul_resilience::{
    Attempts, Cache, CacheHandle, CachePolicy, Cx, Fail, Fallback, How, Mock, Outcome, Retry, SharedCx, Stack, Step,
    Why, cache::normalised,
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn counted(
    calls: &Arc<AtomicU32>,
    takes: Duration,
) -> impl Fn(SharedCx) -> futures_util::future::BoxFuture<'static, Result<u32, String>> + Clone + use<> {
    let calls = Arc::clone(calls);
    move |cx| {
        let calls = Arc::clone(&calls);
        Box::pin(async move {
            let n = calls.fetch_add(1, Ordering::Relaxed) + 1;
            cx.sleep(takes).await;
            Ok(n)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_avoids_execution() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let stack = Stack::named("cached").cache(Cache::keyed(|q: &String| normalised(q)).ttl(secs(60))).around(
        move |q: String| {
            seen.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, String>(q.len()) }
        },
    );
    let cx = Cx::new("a");
    assert_eq!(stack.call(&cx, "What is Rust?".into()).await, Ok(13));
    assert_eq!(cx.report().names(), ["call.ok", "cache.miss"]);
    let cx = Cx::new("b");
    assert_eq!(stack.call(&cx, "what is  rust".into()).await, Ok(13));
    assert!(cx.report().cached);
    assert_eq!(cx.report().names(), ["cache.hit"]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let metrics = stack.metrics();
    assert_eq!((metrics.total, metrics.hit_rate), (2, 0.5));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_concurrent_misses_make_one_call() {
    let calls = Arc::new(AtomicU32::new(0));
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let load = counted(&calls, secs(2));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (cache, load) = (cache.clone(), load.clone());
        tasks.spawn(async move { cache.get_or_run(&Cx::default(), "key", load).await });
    }
    let all = tasks.join_all().await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(all.iter().all(|got| got.result == Ok(1)));
    assert_eq!(all.iter().filter(|got| got.how == How::Miss).count(), 1);
    assert_eq!(all.iter().filter(|got| got.how == How::Coalesced).count(), 999);
    assert_eq!(cache.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_waiters_go_on_with_the_same_call_when_its_beginner_leaves() {
    let calls = Arc::new(AtomicU32::new(0));
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let load = counted(&calls, secs(10));
    let start = tokio::time::Instant::now();
    let spawn = || {
        let (cache, load) = (cache.clone(), load.clone());
        tokio::task::spawn(async move { cache.get_or_run(&Cx::default(), "key", load).await })
    };
    let first = spawn();
    tokio::time::sleep(secs(1)).await;
    let second = spawn();
    tokio::time::sleep(secs(1)).await;
    first.abort();
    let got = second.await.unwrap();
    assert_eq!((got.result, got.how), (Ok(1), How::Coalesced));
    assert_eq!(start.elapsed(), secs(10), "not begun anew");
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_is_dropped() {
    let calls = Arc::new(AtomicU32::new(0));
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let load = counted(&calls, secs(10));
    assert!(tokio::time::timeout(secs(1), cache.get_or_run(&Cx::default(), "key", load.clone())).await.is_err());
    assert_eq!(cache.in_flight(), 0);
    assert!(cache.is_empty());
    assert_eq!(cache.get_or_run(&Cx::default(), "key", load).await.result, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_served_once_more_while_one_refresh_runs() {
    let calls = Arc::new(AtomicU32::new(0));
    let policy = CachePolicy::ttl(secs(10)).stale_while_revalidate(secs(30));
    let cache = CacheHandle::<_, u32, String>::new(policy);
    let load = counted(&calls, secs(1));
    let get = async || {
        let got = cache.get_or_run(&Cx::default(), "key", load.clone()).await;
        (got.result.unwrap(), got.how)
    };
    assert_eq!(get().await, (1, How::Miss));
    tokio::time::sleep(secs(15)).await;
    assert_eq!(get().await, (1, How::Stale));
    assert_eq!(get().await, (1, How::Stale));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(get().await, (2, How::Hit));
    assert_eq!(calls.load(Ordering::Relaxed), 2, "two stale answers, one refresh");
    tokio::time::sleep(secs(60)).await;
    assert_eq!(get().await, (3, How::Miss), "too old even for that");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_served_when_the_call_fails() {
    let policy = CachePolicy::ttl(secs(10)).stale_if_error(secs(30));
    let cache = CacheHandle::<_, u32, String>::new(policy);
    let good = |_| async { Ok(1) };
    let bad = |_| async { Err("down".to_owned()) };
    assert_eq!(cache.get_or_run(&Cx::default(), "key", good).await.how, How::Miss);
    tokio::time::sleep(secs(15)).await;
    let got = cache.get_or_run(&Cx::default(), "key", bad).await;
    assert_eq!((got.result, got.how), (Ok(1), How::StaleOnError));
    tokio::time::sleep(secs(30)).await;
    let got = cache.get_or_run(&Cx::default(), "key", bad).await;
    assert_eq!((got.result, got.how), (Err("down".to_owned()), How::Miss));
}

#[tokio::test(start_paused = true)]
async fn errors_and_degraded_answers_are_not_kept_unless_told() {
    let degraded = |cx: SharedCx| async move {
        cx.mark_degraded();
        Ok::<_, String>(1)
    };
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let cx = Cx::default();
    cache.get_or_run(&cx, "key", degraded).await.result.unwrap();
    assert!(cx.is_degraded());
    assert!(cx.report().names().contains(&"cache.not_stored"));
    cache.get_or_run(&Cx::default(), "key", |_| async { Err("no".into()) }).await.result.unwrap_err();
    assert!(cache.is_empty());

    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)).degraded_ttl(secs(5)));
    cache.get_or_run(&Cx::default(), "key", degraded).await.result.unwrap();
    let cx = Cx::default();
    assert_eq!(cache.get_or_run(&cx, "key", degraded).await.how, How::Hit);
    assert!(cx.is_degraded(), "still said to be what it is");
    tokio::time::sleep(secs(5)).await;
    assert_eq!(cache.get_or_run(&Cx::default(), "key", degraded).await.how, How::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_skips_the_cache_gets_and_leaves_a_fresh_answer() {
    let calls = Arc::new(AtomicU32::new(0));
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let load = counted(&calls, secs(0));
    cache.get_or_run(&Cx::default(), "key", load.clone()).await.result.unwrap();
    let got = cache.get_or_run(&Cx::default().skip_cache(), "key", load.clone()).await;
    assert_eq!((got.result, got.how), (Ok(2), How::Bypassed));
    assert_eq!(cache.get_or_run(&Cx::default(), "key", load).await.result, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_with_more_time_does_not_fail_for_the_beginners_deadline() {
    let stack = Stack::named("slow").cache(Cache::keyed(|key: &u32| *key)).around(Slow(secs(5)));
    let (short, long) = (Cx::new("short").timeout(secs(2)), Cx::new("long").timeout(secs(60)));
    let (first, second) = tokio::join!(stack.call(&short, 1), stack.call(&long, 1));
    assert_eq!(first.unwrap_err().why(), Why::Deadline);
    assert_eq!(second, Ok(1));
}

struct Slow(Duration);
impl Step<u32> for Slow {
    type Out = u32;
    type Err = Fail<String>;
    async fn call(&self, cx: &Cx<'_>, input: u32) -> Result<u32, Fail<String>> {
        cx.sleep(self.0).await;
        Ok(input)
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_can_be_shared_purged_and_reloaded() {
    let cache = CacheHandle::new(CachePolicy::ttl(secs(60)));
    let stack =
        Stack::named("shared").cache(Cache::keyed(|key: &u32| *key).shared(cache.clone())).around(Slow(secs(0)));
    stack.run(1).await.unwrap();
    assert_eq!(cache.len(), 1);
    assert!(cache.remove(&1).await);
    assert!(!cache.remove(&1).await);
    stack.run(1).await.unwrap();
    assert_eq!(cache.purge().await, 1);
    cache.reload(CachePolicy::ttl(secs(5)));
    stack.run(1).await.unwrap();
    tokio::time::sleep(secs(5)).await;
    stack.run(1).await.unwrap();
    assert_eq!(stack.metrics().layer(longhaul_resilience::Label::CACHE).unwrap().count(Outcome::Hit), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_callers_call_does_not_hang_the_others() {
    let cache = CacheHandle::<_, u32, String>::new(CachePolicy::ttl(secs(60)));
    let bad = cache.clone();
    let first = tokio::task::spawn(async move {
        let boom = |cx: SharedCx| async move {
            cx.sleep(secs(1)).await;
            panic!("on purpose")
        };
        bad.get_or_run(&Cx::default(), "key", boom).await
    });
    tokio::task::yield_now().await;
    let good = cache.clone();
    let second =
        tokio::task::spawn(async move { good.get_or_run(&Cx::default(), "key", |_| async { Ok(7) }).await.result });
    tokio::task::yield_now().await;
    tokio::time::sleep(secs(2)).await;
    // Whichever task drove the call when it panicked, no one is left hanging and the cache is usable.
    let ends = (first.await.is_err(), second.await);
    assert!(ends.0 || ends.1.is_err());
    assert!(cache.get_or_run(&Cx::default(), "key", |_| async { Ok(8) }).await.result.is_ok());
    assert_eq!(cache.in_flight(), 0);
}

/// What is asked for in these: every question is the same.
fn one_key() -> Cache<u32, (), fn(&u32)> {
    Cache::keyed((|_| ()) as fn(&u32))
}

#[tokio::test(start_paused = true)]
async fn the_canned_reply_of_a_beginner_in_a_hurry_is_not_for_those_who_have_time() {
    let service = Mock::<&str, &str>::returning("real").taking(secs(5));
    let stack = Stack::named("hurry")
        .cache(one_key())
        .fallback(Fallback::always(|_: &u32, _: &Fail<&str>| "canned"))
        .around(service.clone());
    let (hurried, patient) = (Cx::new("hurried").timeout(secs(2)), Cx::new("patient").timeout(secs(60)));
    let (canned, real) = tokio::join!(stack.call(&hurried, 1), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stack.call(&patient, 1).await
    });
    assert_eq!((canned, real), (Ok("canned"), Ok("real")));
    assert!(hurried.is_degraded() && !patient.is_degraded() && !patient.report().coalesced);
    assert_eq!(service.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_fewer_attempts_does_not_fail_those_who_have_more() {
    let service = || Mock::<&str, &str>::failing("503").then_returning("real").taking(secs(1));
    let cached = |service: &Mock<&'static str, &'static str>| {
        let retry = Retry::constant(secs(1)).max_retries(2);
        Stack::named("few").cache(one_key()).retry(retry).around(service.clone())
    };
    let few = service();
    let stack = cached(&few);
    let (first, second) = (Cx::new("few").attempts(Attempts::new(0)), Cx::new("many"));
    let (failed, answered) = tokio::join!(stack.call(&first, 1), stack.call(&second, 1));
    assert_eq!((failed.unwrap_err().into_error(), answered.ok()), (Some("503"), Some("real")));

    let once = service();
    let stack = Arc::new(cached(&once));
    let repeated = Stack::named("outer").retry(Retry::constant(secs(1)).max_retries(0)).around(Arc::clone(&stack));
    let (first, second) = (Cx::new("repeated further out"), Cx::new("alone"));
    let (failed, answered) = tokio::join!(repeated.call(&first, 1), stack.call(&second, 1));
    assert_eq!((failed.unwrap_err().into_error(), answered.ok()), (Some("503"), Some("real")));
}

#[tokio::test(start_paused = true)]
async fn of_many_alike_who_wait_for_a_call_that_fails_none_makes_it_again() {
    let service = Mock::<&str, &str>::failing("503").taking(secs(20));
    let stack = Arc::new(Stack::named("alike").cache(one_key()).around(service.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let stack = Arc::clone(&stack);
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 100)).await;
            stack.call(&Cx::default().timeout(secs(60)), 1).await.unwrap_err();
        });
    }
    tasks.join_all().await;
    assert_eq!(service.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_tried_again_whatever_became_of_the_call_that_began_it() {
    let service = Mock::<&str, &str>::returning("old").then_failing("503").then_failing("503").then_returning("new");
    let cache = one_key().ttl(secs(60)).stale_while_revalidate(secs(600));
    let inner =
        Stack::named("inner").cache(cache).retry(Retry::constant(secs(1)).max_retries(3)).around(service.clone());
    let stack = Stack::named("outer").retry(Retry::constant(secs(1))).around(inner);
    let call = async || stack.call(&Cx::default().attempts(Attempts::new(1)), 1).await;
    assert_eq!(call().await.ok(), Some("old"));
    tokio::time::sleep(secs(61)).await;
    assert_eq!(call().await.ok(), Some("old"));
    tokio::time::sleep(secs(10)).await;
    assert_eq!((call().await.ok(), service.calls()), (Some("new"), 4));
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_better_than_none_when_time_is_over_as_well() {
    let service = Mock::<&str, &str>::returning("old").then_hanging();
    let cache = one_key().ttl(secs(60)).stale_if_error(secs(3600));
    let stack = Stack::named("old").cache(cache).around(service.clone());
    assert_eq!(stack.run(1).await.ok(), Some("old"));
    tokio::time::sleep(secs(61)).await;
    let (leads, follows) = (Cx::new("leads").timeout(secs(60)), Cx::new("follows").timeout(secs(5)));
    let (of_leader, of_follower) = tokio::join!(stack.call(&leads, 1), stack.call(&follows, 1));
    assert_eq!((of_leader.ok(), of_follower.ok(), service.calls()), (Some("old"), Some("old"), 2));
    assert!(leads.report().stale && follows.report().stale);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_hangs_does_not_hold_its_key_for_good() {
    let service = Mock::<&str, &str>::returning("old").then_hanging().then_returning("new");
    let cache = one_key().ttl(secs(60)).stale_while_revalidate(secs(100_000));
    let stack = Stack::named("hangs").cache(cache).around(service.clone());
    stack.run(1).await.unwrap();
    tokio::time::sleep(secs(61)).await;
    for _ in 0..2 {
        assert_eq!(stack.run(1).await.ok(), Some("old"));
        tokio::time::sleep(secs(601)).await;
    }
    assert_eq!((stack.run(1).await.ok(), service.calls()), (Some("new"), 3));
}

/// An answer whose first copy fails.
#[derive(Debug)]
struct Brittle(Arc<AtomicU32>);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert_ne!(self.0.fetch_add(1, Ordering::Relaxed), 0, "the first copy");
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_copied_leaves_nobody_waiting() {
    let copies = Arc::new(AtomicU32::new(0));
    let cache = CacheHandle::<u32, Brittle, String>::new(CachePolicy::ttl(Duration::ZERO));
    let ask = |cache: CacheHandle<u32, Brittle, String>, copies: Arc<AtomicU32>| async move {
        let work = |cx: SharedCx| async move {
            cx.sleep(secs(1)).await;
            Ok(Brittle(copies))
        };
        cache.get_or_run(&Cx::default(), 1, work).await.result.is_ok()
    };
    let first = tokio::spawn(ask(cache.clone(), Arc::clone(&copies)));
    let second = tokio::spawn(ask(cache.clone(), Arc::clone(&copies)));
    let ended = tokio::time::timeout(secs(60), async { (first.await.is_err(), second.await.ok()) }).await;
    let (panicked, answered) = ended.expect("somebody waits for ever");
    assert!(panicked || answered.is_none(), "one of them met the copy that failed");
    assert!(ask(cache, copies).await);
}
