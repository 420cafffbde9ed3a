//! Connections as what several targets share: who waits for one, how long, and what that says of whom.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use futures_util::future::join_all;
use longhaul_gateway::settings::{BreakerSettings, ModelSettings, Preset, TargetSettings, Trip};
use longhaul_gateway::{CallRecord, Failure, Gateway, GatewaySettings};
use longhaul_resilience::VirtualClock;
use support::{Play, Provider, answer, ask, gateway, options, provider, stream, target};

const SECOND: Duration = Duration::from_secs(1);

/// Whoever asks the model `m-stuck`, or says so, waits for ever.
async fn half_stuck() -> Provider {
    Provider::reading(|_, body| match body {
        body if body.contains("m-stuck") || body.contains("take long") => Play::Hang(Vec::new()),
        body if body.contains("\"stream\":true") => Play::Keep(stream(&["here"])),
        _ => answer("here"),
    })
    .await
}

/// The models `stuck` and `smart` over one provider with four connections.
fn two_models(server: &Provider) -> (Gateway, VirtualClock) {
    let mut settings = GatewaySettings::default();
    let mut shared = provider(&server.url);
    shared.pool.max_connections = 4;
    settings.providers.insert("a".to_owned(), shared);
    let mut stuck = TargetSettings { model: "m-stuck".to_owned(), name: "stuck".to_owned(), ..target("a") };
    stuck.retry.max_retries = 0;
    stuck.breaker = BreakerSettings { trip: Trip::Consecutive(4), ..BreakerSettings::default() };
    settings.models.insert("stuck".to_owned(), ModelSettings::of(Preset::Standard, vec![stuck]));
    let mut sound = target("a");
    sound.attempt_timeout = 5 * SECOND;
    sound.retry.max_retries = 0;
    sound.breaker = BreakerSettings { trip: Trip::Consecutive(1), ..BreakerSettings::default() };
    gateway(settings, ModelSettings::of(Preset::Standard, vec![sound]))
}

/// Lets everybody else go on until `is_so`.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}

fn decided(record: &CallRecord) -> Vec<String> {
    record.layers().map(|note| format!("{}:{}", note.layer, note.decision)).collect()
}

#[tokio::test]
async fn a_target_that_hangs_leaves_room_for_its_sibling_and_who_waits_in_vain_opens_no_breaker() {
    let server = half_stuck().await;
    let (gateway, clock) = two_models(&server);
    let calls = join_all((0..6).map(|_| {
        let gateway = gateway.clone();
        async move { gateway.chat("stuck", ask("hi"), &options()).await.unwrap_err() }
    }));
    let places = || gateway.stack("stuck").unwrap().targets[0].places.clone();
    let (failed, ()) = tokio::join!(calls, async {
        server.arrived(3).await;
        until(|| places().waiting == 3).await;
        assert_eq!((places().limit, places().in_use), (Some(3), 3), "three quarters of four");
        gateway.chat("smart", ask("hi"), &options()).await.unwrap();
        clock.advance(10 * SECOND);
        until(|| places().waiting == 0).await;
        clock.advance(20 * SECOND);
    });
    let full: Vec<_> = failed.iter().filter(|failed| failed.failure == Failure::Full).collect();
    assert_eq!(full.len(), 3);
    for failed in full {
        assert_eq!((failed.code(), failed.http_status(), failed.is_ambiguous()), ("too_many_calls", 503, false));
        assert_eq!(failed.record.attempts, 0, "nobody was asked");
    }
    let hung: Vec<_> = failed.iter().filter(|failed| failed.failure != Failure::Full).collect();
    for failed in &hung {
        assert_eq!((&failed.failure, failed.is_ambiguous()), (&Failure::Timeout { limit: 30 * SECOND }, true));
    }
    let stack = gateway.stack("stuck").unwrap();
    assert_eq!((hung.len(), stack.targets[0].breaker), (3, "closed"), "three failures, not six");
    assert_eq!(stack.targets[0].stats.attempts, 3);
}

#[tokio::test]
async fn the_time_of_an_attempt_begins_when_there_is_a_connection_for_it() {
    let server = half_stuck().await;
    let (gateway, clock) = two_models(&server);
    let asked = options();
    // Three connections of the one target, one of the other: there is none left.
    let mut stuck = Box::pin(join_all((0..3).map(|_| gateway.chat("stuck", ask("hi"), &asked))));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    let mut long = Box::pin(gateway.chat_stream("smart", ask("take long"), &asked));
    assert!(futures_util::poll!(&mut long).is_pending());
    let mut whole = Box::pin(gateway.chat("smart", ask("hi"), &asked));
    let mut streamed = Box::pin(gateway.chat_stream("smart", ask("hi"), &asked));
    assert!(futures_util::poll!(&mut whole).is_pending());
    assert!(futures_util::poll!(&mut streamed).is_pending());
    clock.advance(8 * SECOND);
    assert!(futures_util::poll!(&mut whole).is_pending(), "longer than an attempt may take, and none has begun");
    assert!(futures_util::poll!(&mut streamed).is_pending());
    drop(stuck);
    let answered = whole.await.unwrap();
    assert_eq!(answered.record.attempts, 1);
    let decided_on = decided(&answered.record);
    assert!(decided_on.contains(&"connections:bulkhead.waited".to_owned()), "{decided_on:?}");
    let mut stream = streamed.await.unwrap();
    while stream.next().await.is_some() {}
    assert!(stream.record().unwrap().error.is_none());
    assert_eq!(gateway.stack("smart").unwrap().targets[0].breaker, "closed");
    drop(long);
}

#[tokio::test]
async fn who_waits_for_a_connection_in_vain_is_told_so_and_the_wait_counts_against_nobody() {
    let server = half_stuck().await;
    let (gateway, clock) = two_models(&server);
    let asked = options();
    let mut stuck = Box::pin(join_all((0..3).map(|_| gateway.chat("stuck", ask("hi"), &asked))));
    assert!(futures_util::poll!(&mut stuck).is_pending());
    let long = gateway.chat("smart", ask("take long"), &asked);
    let mut long = Box::pin(long);
    assert!(futures_util::poll!(&mut long).is_pending());
    let mut whole = Box::pin(gateway.chat("smart", ask("hi"), &asked));
    let mut streamed = Box::pin(gateway.chat_stream("smart", ask("hi"), &asked));
    assert!(futures_util::poll!(&mut whole).is_pending());
    assert!(futures_util::poll!(&mut streamed).is_pending());
    clock.advance(10 * SECOND);
    for failed in [whole.await.unwrap_err(), streamed.await.unwrap_err()] {
        assert_eq!((&failed.failure, failed.code(), failed.is_ambiguous()), (&Failure::Full, "too_many_calls", false));
        assert_eq!(failed.record.attempts, 0);
        let decided = decided(&failed.record);
        assert!(decided.contains(&"connections:bulkhead.rejected".to_owned()), "{decided:?}");
    }
    let smart = gateway.stack("smart").unwrap();
    assert_eq!((smart.targets[0].breaker, smart.targets[0].stats.attempts), ("closed", 0));
    drop((stuck, long));
    server.open_connections(0).await;
    let stack = gateway.stack("smart").unwrap();
    assert_eq!(stack.targets[0].connections, Some((0, 0)), "and nobody holds a place");
}
