//! What is kept of answers, and for how long a provider's word holds its target.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::pin::pin;
use std::time::Duration;

use longhaul_gateway::settings::{CacheSettings, LimitSettings, ModelSettings, Scenario};
use longhaul_gateway::{BreakerHand, CacheUse, Gateway, GatewaySettings};
use support::{Play, Provider, answer, ask, error, gateway, options, smart, stream, stream_begin};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn cached(server: &Provider) -> (GatewaySettings, ModelSettings) {
    let (settings, mut model) = smart(&[server]);
    model.cache = Some(CacheSettings::of(Scenario::Faq));
    (settings, model)
}

fn entries(gateway: &Gateway) -> usize {
    gateway.stack("smart").unwrap().cache.unwrap().entries
}

#[tokio::test]
async fn a_large_answer_is_given_and_not_kept() {
    let large = "x".repeat(300 * 1024);
    let pieces = vec![large[..1024].to_owned(); 300];
    let server = Provider::reading(move |_, body| match body.contains("\"stream\":true") {
        true => Play::Keep(stream(&pieces.iter().map(String::as_str).collect::<Vec<_>>())),
        false => answer(&large),
    })
    .await;
    let (settings, model) = cached(&server);
    let (gateway, _) = gateway(settings, model);
    for _ in 0..2 {
        let answered = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
        assert_eq!((answered.response.text().len(), answered.record.cache), (300 * 1024, CacheUse::Miss));
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        while stream.next().await.is_some() {}
        let record = stream.record().unwrap();
        assert_eq!((&record.error, record.cache), (&None, CacheUse::Miss));
    }
    assert_eq!((entries(&gateway), server.requests()), (0, 4));
}

#[tokio::test]
async fn answers_take_no_more_memory_together_than_they_may() {
    let server = Provider::start(|_| answer(&"x".repeat(10_000))).await;
    let (settings, mut model) = cached(&server);
    model.cache = Some(CacheSettings { max_bytes: 50_000, ..CacheSettings::of(Scenario::Faq) });
    let (gateway, _) = gateway(settings, model);
    for question in 0..10 {
        gateway.chat("smart", ask(&question.to_string()), &options()).await.unwrap();
    }
    assert_eq!(entries(&gateway), 4);
    let last = gateway.chat("smart", ask("9"), &options()).await.unwrap();
    assert_eq!(last.record.cache, CacheUse::Hit);
}

#[tokio::test]
async fn a_reload_with_another_upstream_model_does_not_serve_the_answers_of_the_old_one() {
    let server = Provider::start(|n| answer(&format!("answer {n}"))).await;
    let (settings, model) = cached(&server);
    let (gateway, _) = gateway(settings.clone(), model.clone());
    let text = async || gateway.chat("smart", ask("hi"), &options()).await.unwrap().response.text();
    assert_eq!((text().await, text().await), ("answer 0".to_owned(), "answer 0".to_owned()));
    let reload = |model: ModelSettings| {
        let mut next = settings.clone();
        next.models.insert("smart".to_owned(), model);
        gateway.reload(next).unwrap();
    };
    let mut other = model.clone();
    other.timeout = 7 * SECOND;
    reload(other.clone());
    assert_eq!(text().await, "answer 0", "another time-out makes no other answers");
    other.targets[0].model = "m-2".to_owned();
    reload(other);
    assert_eq!(text().await, "answer 1");
    reload(model);
    assert_eq!(text().await, "answer 0", "and back");
}

#[tokio::test]
async fn only_a_provider_that_has_too_much_to_do_holds_its_next_calls() {
    for (status, holds) in [(500, false), (400, false), (404, false), (429, true), (503, true)] {
        let server = Provider::start(move |_| error(status, "retry-after: 5\r\n")).await;
        let (settings, mut model) = smart(&[&server]);
        model.targets[0].retry.max_retries = 0;
        let (gateway, clock) = gateway(settings, model);
        gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        let asked = options();
        let mut again = pin!(gateway.chat("smart", ask("hi"), &asked));
        assert!(futures_util::poll!(&mut again).is_pending());
        if holds {
            clock.advance(4 * SECOND);
            assert!(futures_util::poll!(&mut again).is_pending());
            assert_eq!(server.requests(), 1, "{status}");
            clock.advance(SECOND);
        }
        again.await.unwrap_err();
        assert_eq!(server.requests(), 2, "{status}");
    }
}

#[tokio::test]
async fn a_hold_lasts_an_hour_at_most_though_the_call_is_told_all_of_it() {
    let server = Provider::start(|n| if n == 0 { error(429, "retry-after: 259200\r\n") } else { answer("x") }).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, clock) = gateway(settings, model);
    let parked = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(parked.retry_after(), Some(72 * HOUR));
    clock.advance(HOUR - SECOND * 20);
    let again = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!((again.retry_after(), server.requests()), (Some(20 * SECOND), 1));
    clock.advance(20 * SECOND);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
}

#[tokio::test]
async fn a_hand_on_the_breaker_lets_go_of_a_target_that_wanted_to_be_left_alone() {
    for hand in [BreakerHand::Auto, BreakerHand::Closed, BreakerHand::HalfOpen] {
        let server = Provider::start(|n| if n == 0 { error(429, "retry-after: 600\r\n") } else { answer("x") }).await;
        let (settings, model) = smart(&[&server]);
        let (gateway, _) = gateway(settings, model);
        gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        gateway.set_breaker("smart", "a", BreakerHand::Open).unwrap();
        gateway.set_breaker("smart", "a", hand).unwrap();
        gateway.chat("smart", ask("hi"), &options()).await.unwrap();
        assert_eq!(server.requests(), 2, "{hand:?}");
    }
}

#[tokio::test]
async fn a_client_who_leaves_has_used_its_request_once_the_provider_was_asked() {
    for streams in [false, true] {
        let begun = if streams { stream_begin(&["Hel"]) } else { Vec::new() };
        let server = Provider::start(move |n| if n == 0 { Play::Hang(begun.clone()) } else { answer("x") }).await;
        let (settings, mut model) = smart(&[&server]);
        // One at once, and then one in ten seconds.
        model.targets[0].limit = LimitSettings { rpm: Some(6), ..LimitSettings::default() };
        let (gateway, clock) = gateway(settings, model);
        let asked = options();
        if streams {
            let mut stream = gateway.chat_stream("smart", ask("hi"), &asked).await.unwrap();
            stream.next().await.unwrap();
        } else {
            let left = gateway.chat("smart", ask("hi"), &asked);
            tokio::select! {
                biased;
                _ = left => panic!("it hangs"),
                () = server.arrived(1) => {}
            }
        }
        server.open_connections(0).await;
        let mut next = pin!(gateway.chat("smart", ask("hi"), &asked));
        assert!(futures_util::poll!(&mut next).is_pending());
        clock.advance(9 * SECOND);
        assert!(futures_util::poll!(&mut next).is_pending());
        assert_eq!(server.requests(), 1, "the provider has counted the first");
        clock.advance(SECOND);
        next.await.unwrap();
    }
}

/// The text of an answer, whole or in pieces, and what the cache did for it.
async fn told(gateway: &Gateway, streams: bool) -> Option<(String, CacheUse)> {
    if !streams {
        let answered = gateway.chat("smart", ask("hi"), &options()).await.ok()?;
        return Some((answered.response.text(), answered.record.cache));
    }
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.ok()?;
    let mut told = longhaul_providers::chat::Accumulator::new();
    while let Some(event) = stream.next().await {
        told.push(&event);
    }
    Some((told.into_response().text(), stream.record().unwrap().cache))
}

fn in_either_form(text: &'static str) -> impl Fn(&str) -> Play + Send + Sync {
    move |body| if body.contains("\"stream\":true") { Play::Keep(stream(&[text])) } else { answer(text) }
}

#[tokio::test]
async fn a_stream_is_given_an_old_answer_when_the_call_fails_as_a_whole_call_is() {
    for (streams_first, streams) in [(false, true), (true, true), (true, false)] {
        let good = in_either_form("old");
        let server = Provider::reading(move |n, body| if n == 0 { good(body) } else { error(400, "") }).await;
        let (settings, mut model) = cached(&server);
        model.cache = Some(CacheSettings { ttl: SECOND, stale_if_error: HOUR, ..CacheSettings::of(Scenario::Faq) });
        let (gateway, clock) = gateway(settings, model);
        assert_eq!(told(&gateway, streams_first).await, Some(("old".to_owned(), CacheUse::Miss)));
        clock.advance(SECOND * 5);
        assert_eq!(told(&gateway, streams).await, Some(("old".to_owned(), CacheUse::Stale)));
        clock.advance(HOUR);
        assert_eq!((told(&gateway, streams).await, server.requests()), (None, 3));
    }
}

#[tokio::test]
async fn a_stream_is_given_an_old_answer_while_a_new_one_is_fetched() {
    let (old, new) = (in_either_form("old"), in_either_form("new"));
    let server = Provider::reading(move |n, body| if n == 0 { old(body) } else { new(body) }).await;
    let (settings, mut model) = cached(&server);
    model.cache = Some(CacheSettings { ttl: SECOND, stale_while_revalidate: HOUR, ..CacheSettings::of(Scenario::Faq) });
    let (gateway, clock) = gateway(settings, model);
    assert_eq!(told(&gateway, true).await, Some(("old".to_owned(), CacheUse::Miss)));
    clock.advance(SECOND * 5);
    assert_eq!(told(&gateway, true).await, Some(("old".to_owned(), CacheUse::Stale)));
    server.arrived(2).await;
    while told(&gateway, true).await != Some(("new".to_owned(), CacheUse::Hit)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_degraded_answer_is_never_given_late_in_whatever_form_it_was_kept() {
    for streams in [false, true] {
        let (bad, good) = (Provider::start(|_| error(500, "")).await, in_either_form("from b"));
        let second = Provider::reading(move |n, body| if n == 0 { good(body) } else { error(500, "") }).await;
        let (settings, mut model) = smart(&[&bad, &second]);
        model.cache = Some(CacheSettings {
            degraded_ttl: Some(SECOND),
            stale_if_error: HOUR,
            ..CacheSettings::of(Scenario::Faq)
        });
        model.targets.iter_mut().for_each(|target| target.retry.max_retries = 0);
        let (gateway, clock) = gateway(settings, model);
        assert_eq!(told(&gateway, streams).await, Some(("from b".to_owned(), CacheUse::Miss)));
        clock.advance(SECOND * 4);
        assert_eq!(told(&gateway, false).await, None);
        assert_eq!(told(&gateway, true).await, None);
    }
}
