//! Whole answers through the layers, from a provider that fails as it is told.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use longhaul_gateway::settings::{
    BreakerSettings, CacheSettings, Canned, CannedRule, Choose, GatewaySettings, LimitSettings, ModelSettings, Price,
    Scenario, TargetSettings, Trip, Wire,
};
use longhaul_gateway::{BreakerHand, CacheUse, CallRecord, ErrorClass, Failure, Gateway, GatewayOptions, PoolSettings};
use longhaul_providers::ErrorCode;
use longhaul_providers::chat::{ChatRequest, Content, Message, Part, Role, StreamEvent, ToolCall, ToolResult};
use support::{Play, Provider, answer, ask, completion, error, gateway, json_reply, options, reply, smart, stream};

const SECOND: Duration = Duration::from_secs(1);

fn decisions(record: &CallRecord) -> Vec<String> {
    record.layers().map(|note| format!("{}:{}", note.stack, note.decision)).collect()
}

#[tokio::test]
async fn an_answer_comes_with_its_record_and_its_cost() {
    let server = Provider::start(|_| answer("hello")).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].price = Some(Price { input_per_mtok: 2.0, output_per_mtok: 10.0, ..Price::default() });
    let (gateway, _) = gateway(settings, model);
    let answer = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(answer.response.text(), "hello");
    let record = &answer.record;
    assert_eq!((record.target.as_deref(), record.provider.as_deref()), (Some("a"), Some("a")));
    assert_eq!((record.attempts, record.retries, record.degraded), (1, 0, false));
    assert_eq!(record.cost_microusd, Some(10 * 2 + 5 * 10));
    assert_eq!(decisions(record), ["smart/a:call.ok", "smart:call.ok"]);
    let json = serde_json::to_value(record).unwrap();
    assert_eq!(json["layers"][0]["layer"], "call");
    assert_eq!(json["usage"]["input_tokens"], 10);
    let headers: http::HeaderMap = record.headers().collect();
    assert_eq!(headers["longhaul-cache"], "off");
    assert_eq!(headers["longhaul-cost-microusd"], "70");
    let stats = &gateway.stats()["smart"];
    assert_eq!((stats.calls, stats.failed, stats.input_tokens, stats.cost_microusd), (1, 0, 10, 70));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Provider::start(|_| answer("hello")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    for _ in 0..20 {
        gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    }
    assert_eq!((server.requests(), server.connections()), (20, 1));
}

#[tokio::test]
async fn a_connection_that_the_provider_closed_meanwhile_costs_no_attempt() {
    let server = Provider::start(|_| Play::Close(json_reply(200, "", &completion("x")))).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    for _ in 0..5 {
        let answer = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
        assert_eq!(answer.record.attempts, 1);
        server.open_connections(0).await;
    }
    assert_eq!((server.requests(), server.connections()), (5, 5));
}

#[tokio::test]
async fn no_more_connections_are_open_than_there_may_be() {
    let server = Provider::start(|_| answer("hello")).await;
    let (mut settings, model) = smart(&[&server]);
    settings.providers.get_mut("a").unwrap().pool.max_connections = 3;
    let (gateway, _) = gateway(settings, model);
    let calls = (0..50).map(|_| {
        let gateway = gateway.clone();
        async move { gateway.chat("smart", ask("hi"), &options()).await.unwrap() }
    });
    futures_util::future::join_all(calls).await;
    assert_eq!(server.requests(), 50);
    assert!(server.connections() <= 3, "{}", server.connections());
}

#[tokio::test]
async fn what_stumbles_is_tried_again_and_what_is_wrong_is_not() {
    let server = Provider::start(|n| if n < 2 { error(503, "") } else { answer("third") }).await;
    let (settings, model) = smart(&[&server]);
    let (first, _) = gateway(settings, model);
    let answered = first.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((answered.record.attempts, answered.record.retries), (3, 2));
    // What a provider says of the account is not for whoever called.
    for (status, code, told, words) in [
        (400, ErrorCode::InvalidRequest, 400, "told to fail"),
        (401, ErrorCode::Authentication, 502, "does not serve this gateway's account"),
    ] {
        let server = Provider::start(move |_| error(status, "")).await;
        let (settings, model) = smart(&[&server]);
        let (gateway, _) = gateway(settings, model);
        let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        assert_eq!((failed.provider.as_ref().unwrap().code, failed.http_status()), (code, told));
        assert_eq!(server.requests(), 1, "{status} is not tried again");
        assert_eq!(failed.record.error.as_ref().unwrap().http_status, Some(status));
        assert!(failed.to_string().contains(words), "{failed}");
    }
}

#[tokio::test]
async fn what_one_target_has_no_words_for_is_put_to_the_next() {
    let (claude, other) = (Provider::start(|_| answer("never")).await, Provider::start(|_| answer("hello")).await);
    let broken = ToolCall { id: "c1".into(), name: "f".into(), arguments: r#"{"x": 1"#.into(), signature: None };
    let result = ToolResult { call_id: "c1".into(), parts: vec![Part::text("?")], is_error: true };
    let messages = vec![
        Message::text(Role::User, "hi"),
        Message::of(Role::Assistant, vec![Content::ToolCall(broken).into()]),
        Message::of(Role::Tool, vec![Content::ToolResult(result).into()]),
    ];
    let ask = Arc::new(ChatRequest { messages, ..ChatRequest::default() });
    let with = |servers: &[&Provider]| {
        let (mut settings, model) = smart(servers);
        settings.providers.get_mut("a").unwrap().wire = Wire::Anthropic;
        gateway(settings, model).0
    };
    let answered = with(&[&claude, &other]).chat("smart", Arc::clone(&ask), &options()).await.unwrap();
    assert_eq!((answered.response.text().as_str(), answered.record.degraded), ("hello", false));
    let refused = with(&[&claude]).chat("smart", ask, &options()).await.unwrap_err();
    assert_eq!((refused.provider.as_ref().unwrap().code, refused.http_status()), (ErrorCode::InvalidRequest, 400));
    assert_eq!(claude.requests(), 0);
}

#[tokio::test]
async fn a_call_that_is_refused_for_what_it_asks_is_no_failure_of_the_model() {
    let statuses = [400, 413, 422, 401, 500];
    let server = Provider::start(move |n| error(statuses[n], "")).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].retry.max_retries = 0;
    let (gateway, _) = gateway(settings, model);
    let mut refused = Vec::new();
    for status in statuses {
        let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        if failed.record.is_refused() {
            refused.push(status);
        }
    }
    assert_eq!(refused, [400, 413, 422]);
    let stats = gateway.stats()["smart"].clone();
    assert_eq!((stats.calls, stats.failed, stats.refused), (5, 2, 3));
    assert!((stats.error_rate - 0.4).abs() < 1e-9, "{stats:?}");
    let window = gateway.window(60 * SECOND).models.remove(0).window;
    assert_eq!((window.calls, window.failed, window.refused), (5, 2, 3));
}

#[tokio::test]
async fn the_next_target_answers_for_one_that_is_down_and_the_answer_is_marked() {
    let (down, up) = (Provider::start(|_| error(500, "")).await, Provider::start(|_| answer("b")).await);
    let (settings, model) = smart(&[&down, &up]);
    let (gateway, _) = gateway(settings, model);
    let answered = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(answered.record.target.as_deref(), Some("b"));
    assert!(answered.record.degraded);
    assert!(decisions(&answered.record).contains(&"smart:fallback.success".to_owned()), "{:?}", answered.record);
    assert_eq!(gateway.stats()["smart"].degraded, 1);
}

#[tokio::test]
async fn an_open_breaker_asks_nobody_and_the_deadline_of_a_hang_is_kept() {
    let server = Provider::start(|_| Play::Hang(Vec::new())).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].breaker = BreakerSettings { trip: Trip::Consecutive(2), ..BreakerSettings::default() };
    model.targets[0].retry.max_retries = 0;
    let (gateway, clock) = gateway(settings, model);
    for n in 1..=2 {
        let call = {
            let gateway = gateway.clone();
            async move { gateway.chat("smart", ask("hi"), &options()).await }
        };
        let (failed, ()) = tokio::join!(call, async {
            server.arrived(n).await;
            clock.advance(30 * SECOND);
        });
        let failed = failed.unwrap_err();
        assert_eq!(failed.failure, Failure::Timeout { limit: 30 * SECOND });
        assert!(failed.is_ambiguous(), "nobody knows how far it got");
        assert_eq!(failed.http_status(), 504);
    }
    let rejected = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(rejected.failure, Failure::Open { retry_after: 60 * SECOND });
    assert_eq!((rejected.http_status(), rejected.is_ambiguous()), (503, false));
    assert_eq!(server.requests(), 2);
    server.open_connections(0).await;
    let stack = gateway.stack("smart").unwrap();
    assert_eq!(stack.targets[0].breaker, "open");
    assert_eq!((stack.targets[0].places.in_use, stack.targets[0].connections), (0, Some((0, 0))));
    assert_eq!((stack.targets[0].stats.attempts, stack.targets[0].stats.failed), (2, 2));
    gateway.set_breaker("smart", "a", BreakerHand::Closed).unwrap();
    assert_eq!(gateway.stack("smart").unwrap().targets[0].breaker_mode, "forced_closed");
    assert!(gateway.set_breaker("smart", "z", BreakerHand::Auto).is_err());
}

#[tokio::test]
async fn a_provider_that_hangs_opens_its_breaker_and_leaves_time_for_the_next_however_short_the_call() {
    for (streams, timeout, attempt_timeout) in
        [(false, 2, 3), (true, 2, 3), (false, 3, 3), (true, 3, 3), (false, 10, 30), (true, 10, 30)]
    {
        let (hangs, sound) =
            (Provider::start(|_| Play::Hang(Vec::new())).await, Provider::reading(|_, body| either(body)).await);
        let (settings, mut model) = smart(&[&hangs, &sound]);
        model.timeout = timeout * SECOND;
        for target in &mut model.targets {
            target.attempt_timeout = attempt_timeout * SECOND;
            target.breaker = BreakerSettings { trip: Trip::Consecutive(2), ..BreakerSettings::default() };
        }
        let (gateway, clock) = gateway(settings, model);
        for n in 1..=2 {
            let call = async {
                if streams {
                    let stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
                    return stream.opening_record().target;
                }
                gateway.chat("smart", ask("hi"), &options()).await.unwrap().record.target
            };
            let (by, ()) = tokio::join!(call, async {
                hangs.arrived(n).await;
                // Three quarters of its time.
                clock.advance(timeout * SECOND * 3 / 4);
            });
            assert_eq!((by.as_deref(), hangs.requests()), (Some("b"), n));
        }
        let targets = gateway.stack("smart").unwrap().targets;
        assert_eq!((targets[0].breaker, targets[1].breaker), ("open", "closed"), "{streams} {timeout}");
    }
}

fn either(body: &str) -> Play {
    if body.contains("\"stream\":true") { Play::Keep(stream(&["ok"])) } else { answer("ok") }
}

#[tokio::test]
async fn a_client_in_a_hurry_opens_no_breaker() {
    for streams in [false, true] {
        let server = Provider::start(|_| Play::Hang(Vec::new())).await;
        let (settings, mut model) = smart(&[&server]);
        model.targets[0].breaker = BreakerSettings { trip: Trip::Consecutive(1), ..BreakerSettings::default() };
        let (gateway, clock) = gateway(settings, model);
        let hurried = options().timeout(10 * SECOND);
        let call = async {
            if streams {
                return gateway.chat_stream("smart", ask("hi"), &hurried).await.unwrap_err();
            }
            gateway.chat("smart", ask("hi"), &hurried).await.unwrap_err()
        };
        let (failed, ()) = tokio::join!(call, async {
            server.arrived(1).await;
            clock.advance(10 * SECOND);
        });
        assert_eq!((failed.http_status(), gateway.stack("smart").unwrap().targets[0].breaker), (504, "closed"));
    }
}

#[tokio::test]
async fn a_long_wait_is_parked_with_its_moment_and_the_next_call_is_not_even_sent() {
    let server = Provider::start(|_| error(429, "retry-after: 3600\r\n")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, clock) = gateway(settings, model);
    let parked = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    let Failure::Park { retry_after, until_unix } = parked.failure else { panic!("{parked}") };
    assert_eq!(retry_after, 3600 * SECOND);
    assert_eq!(parked.park_until(), Some(until_unix));
    assert_eq!((parked.http_status(), parked.retry_after()), (429, Some(3600 * SECOND)));
    assert_eq!(parked.provider.as_ref().unwrap().code, ErrorCode::RateLimited);
    clock.advance(600 * SECOND);
    let again = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(again.park_until(), Some(until_unix), "{again}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn whoever_fails_and_says_when_to_come_again_is_not_asked_before() {
    for status in [500, 502, 504, 408, 409] {
        let server = Provider::start(move |_| error(status, "retry-after: 3600\r\n")).await;
        let (settings, model) = smart(&[&server]);
        let (gateway, _) = gateway(settings, model);
        let parked = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        assert!(matches!(parked.failure, Failure::Park { .. }), "{status}: {parked}");
        assert_eq!((parked.retry_after(), server.requests()), (Some(3600 * SECOND), 1));
        assert_eq!((parked.http_status(), parked.class()), (503, ErrorClass::Transient), "{status}");
        assert_ne!(parked.code(), ErrorCode::RateLimited.as_str(), "{status}");
        gateway.chat("smart", ask("other"), &options()).await.unwrap_err();
        assert_eq!(server.requests(), 2, "{status} is about that request and holds nobody else");
    }
    let server = Provider::start(|n| if n == 0 { error(502, "retry-after: 5\r\n") } else { answer("back") }).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].retry.max = 10 * SECOND;
    let (gateway, clock) = gateway(settings, model);
    let requested = options();
    let mut asked = Box::pin(gateway.chat("smart", ask("hi"), &requested));
    while server.requests() == 0 {
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    }
    // Until the answer is read and the wait has begun.
    while gateway.stack("smart").unwrap().targets[0].stats.attempts == 0 {
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    }
    clock.advance(4_900 * SECOND / 1_000);
    assert!(futures_util::poll!(&mut asked).is_pending());
    assert_eq!(server.requests(), 1);
    clock.advance(10 * SECOND);
    assert_eq!(asked.await.unwrap().response.text(), "back");
}

#[tokio::test]
async fn an_allowance_that_is_used_up_holds_the_next_call_until_it_is_whole() {
    let headers = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 4s\r\n";
    let server = Provider::start(move |_| Play::Keep(json_reply(200, headers, &completion("x")))).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, clock) = gateway(settings, model);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    let requested = options();
    let mut held = Box::pin(gateway.chat("smart", ask("hi"), &requested));
    assert!(futures_util::poll!(&mut held).is_pending());
    clock.advance(3 * SECOND);
    assert!(futures_util::poll!(&mut held).is_pending());
    assert_eq!(server.requests(), 1);
    clock.advance(SECOND);
    held.await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn broken_answers_are_the_providers_failure() {
    let gzip = reply(200, "content-type: application/json\r\ncontent-encoding: gzip\r\n", b"\x1f\x8b\x08bomb");
    let html = reply(200, "content-type: text/html\r\n", b"<html>sign in</html>");
    let cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"id\"".to_vec();
    for (name, play, code) in [
        ("malformed", Play::Keep(json_reply(200, "", "{\"choices\": [")), ErrorCode::MalformedResponse),
        ("compressed", Play::Keep(gzip), ErrorCode::MalformedResponse),
        ("wrong type", Play::Keep(html), ErrorCode::MalformedResponse),
        ("not HTTP", Play::Close(b"SSH-2.0-OpenSSH_9\r\n".to_vec()), ErrorCode::MalformedResponse),
        ("cut", Play::Close(cut.clone()), ErrorCode::ConnectionLost),
        ("reset", Play::Reset(cut), ErrorCode::ConnectionLost),
        ("nothing", Play::Close(Vec::new()), ErrorCode::ConnectionLost),
    ] {
        let server = Provider::start(move |_| play.clone()).await;
        let (settings, model) = smart(&[&server]);
        let (gateway, _) = gateway(settings, model);
        let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        assert_eq!(failed.provider.as_ref().unwrap().code, code, "{name}: {failed}");
        assert_eq!(server.requests(), 3, "{name} is tried again");
        assert_eq!(failed.http_status(), 502, "{name}");
        assert_eq!(failed.to_string().contains("compressed (gzip)"), name == "compressed", "{failed}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_read_to_its_bound_and_no_further() {
    let head = |length: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{length}\r\n").into_bytes();
    for length in ["content-length: 1073741824\r\n", ""] {
        let head = head(length);
        let server = Provider::start(move |_| Play::Flood(head.clone())).await;
        let (mut settings, model) = smart(&[&server]);
        settings.providers.get_mut("a").unwrap().pool =
            PoolSettings { max_answer_bytes: 1 << 20, ..PoolSettings::default() };
        let (gateway, _) = gateway(settings, model);
        let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
        assert_eq!(failed.provider.as_ref().unwrap().code, ErrorCode::ResponseTooLarge, "{length:?}: {failed}");
        server.open_connections(0).await;
    }
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_providers_call_at_any_poll() {
    use std::future::Future as _;
    let server = Provider::start(|n| if n % 2 == 0 { Play::Hang(Vec::new()) } else { answer("x") }).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].limit = LimitSettings { concurrency: Some(1), rpm: Some(100_000), tpm: Some(1_000_000_000) };
    let (gateway, _) = gateway(settings, model);
    for polls in 1..30 {
        let requested = options();
        let mut call = Box::pin(gateway.chat("smart", ask("hi"), &requested));
        for _ in 0..polls {
            if call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready() {
                break;
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        drop(call);
        let stack = gateway.stack("smart").unwrap();
        let target = &stack.targets[0];
        assert_eq!((target.places.in_use, target.stats.in_flight, target.limit.waiting), (0, 0, 0));
        assert_eq!(target.connections.unwrap().0, 0);
    }
    let stats = &gateway.stats()["smart"];
    assert!(stats.cancelled > 0 && stats.failed == 0, "{stats:?}");
}

/// A gateway with the model `smart`, and the records of its calls.
fn recorded(mut settings: GatewaySettings, model: ModelSettings) -> (Gateway, Arc<Mutex<Vec<CallRecord>>>) {
    settings.models.insert("smart".to_owned(), model);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let observer = move |record: &CallRecord| listener.lock().unwrap().push(record.clone());
    let options = GatewayOptions { observer: Some(Arc::new(observer)), ..GatewayOptions::default() };
    (Gateway::new(settings, options).unwrap(), told)
}

#[tokio::test]
async fn whoever_listens_is_told_of_every_call() {
    let server = Provider::start(|n| if n == 0 { answer("x") } else { error(400, "") }).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, told) = recorded(settings, model);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap_err();
    let told = told.lock().unwrap();
    let seen: Vec<_> = told.iter().map(|record| (record.error.is_some(), record.cancelled)).collect();
    assert_eq!(seen, [(false, false), (true, false)]);
}

#[tokio::test]
async fn whoever_listens_is_told_of_calls_that_their_callers_left() {
    let server = Provider::start(|n| match n {
        0 => Play::Hang(support::stream_begin(&["Hel"])),
        _ => Play::Hang(Vec::new()),
    })
    .await;
    let (settings, model) = smart(&[&server]);
    let (gateway, told) = recorded(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    while !matches!(stream.next().await, Some(StreamEvent::TextDelta { .. })) {}
    drop(stream);
    let (streamed, whole) = (options(), options());
    drop(left_after(gateway.chat_stream("smart", ask("hi"), &streamed), &server, 2).await);
    drop(left_after(gateway.chat("smart", ask("hi"), &whole), &server, 3).await);
    let told = told.lock().unwrap();
    let seen: Vec<_> = (told.iter())
        .map(|record| (record.cancelled, record.streamed, record.first_token.is_some(), record.ambiguous))
        .collect();
    assert_eq!(seen, [(true, true, true, true), (true, true, false, true), (true, false, false, true)]);
    assert!(told.iter().all(|record| record.error.is_none() && record.attempts == 1), "{told:?}");
    assert!(told.iter().all(|record| record.calls.last().unwrap().error == Some("cancelled")), "{told:?}");
    let stats = &gateway.stats()["smart"];
    assert_eq!((stats.cancelled, stats.calls), (3, 0));
}

/// A call that has reached the provider and is not waited for any more.
async fn left_after<T>(call: impl Future<Output = T>, server: &Provider, requests: usize) -> impl Future<Output = T> {
    let mut call = Box::pin(call);
    while server.requests() < requests {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::task::yield_now().await;
    }
    call
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Provider::start(|_| answer("stolen")).await;
    let location = format!("location: {}/chat/completions\r\n", elsewhere.url);
    let server = Provider::start(move |_| Play::Keep(reply(307, &location, b""))).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn nobody_listens() {
    let (settings, mut model) = {
        let gone = Provider::start(|_| answer("x")).await;
        smart(&[&gone])
    };
    model.targets[0].retry.max_retries = 0;
    let (gateway, _) = gateway(settings, model);
    let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(failed.provider.as_ref().unwrap().code, ErrorCode::ConnectFailed, "{failed}");
    assert!(!failed.is_ambiguous(), "nothing was sent");
}

fn with_canned(mut model: ModelSettings) -> ModelSettings {
    model.canned = Some(Canned {
        rules: vec![CannedRule { contains: vec!["help".to_owned()], reply: "I'm here.".to_owned() }],
        otherwise: Some("Later.".to_owned()),
    });
    model
}

#[tokio::test]
async fn a_canned_reply_is_given_when_all_fail_even_at_the_deadline() {
    let server = Provider::start(|_| Play::Hang(Vec::new())).await;
    let (settings, mut model) = smart(&[&server]);
    model.timeout = 5 * SECOND;
    let (gateway, clock) = gateway(settings, with_canned(model));
    let requested = options();
    let (answered, ()) = tokio::join!(gateway.chat("smart", ask("help me"), &requested), async {
        server.arrived(1).await;
        clock.advance(5 * SECOND);
    });
    let answered = answered.unwrap();
    assert_eq!(answered.response.text(), "I'm here.");
    assert!(answered.record.degraded);
    assert_eq!(answered.record.target.as_deref(), Some("canned"));
    server.open_connections(0).await;
}

#[tokio::test]
async fn a_malformed_request_gets_its_error_and_no_canned_reply_nor_another_target() {
    let (first, second) = (Provider::start(|_| error(400, "")).await, Provider::start(|_| answer("b")).await);
    let (settings, model) = smart(&[&first, &second]);
    let (gateway, _) = gateway(settings, with_canned(model));
    let failed = gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(failed.http_status(), 400);
    assert_eq!(second.requests(), 0);
}

#[tokio::test]
async fn the_same_question_is_answered_from_the_cache_per_tenant_and_together() {
    let server = Provider::start(|_| answer("kept")).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings::of(Scenario::UserQuery));
    model.targets[0].price = Some(Price { input_per_mtok: 1.0, ..Price::default() });
    let (gateway, clock) = gateway(settings, model);
    let calls = (0..10).map(|_| {
        let gateway = gateway.clone();
        async move { gateway.chat("smart", ask("hi"), &options()).await.unwrap().record.cache }
    });
    let mut uses = futures_util::future::join_all(calls).await;
    uses.sort_by_key(|used| *used as u8);
    assert_eq!(server.requests(), 1);
    assert_eq!((uses[0], uses[1], uses[9]), (CacheUse::Miss, CacheUse::Coalesced, CacheUse::Coalesced));
    let hit = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((hit.record.cache, hit.record.attempts, hit.response.text()), (CacheUse::Hit, 0, "kept".to_owned()));
    assert_eq!(hit.record.cost_microusd, Some(0), "an answer from the cache costs nothing");
    gateway.chat("smart", ask("hi"), &longhaul_gateway::CallOptions::for_tenant("other")).await.unwrap();
    assert_eq!(server.requests(), 2, "another tenant shares nothing");
    let fresh = gateway.chat("smart", ask("hi"), &options().skip_cache(true)).await.unwrap();
    assert_eq!((fresh.record.cache, server.requests()), (CacheUse::Bypass, 3));
    assert_eq!(gateway.purge_cache("smart").await.unwrap(), 2);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    clock.advance(3601 * SECOND);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(server.requests(), 5);
}

#[tokio::test]
async fn a_degraded_answer_is_not_kept_and_an_old_one_is_given_on_error() {
    let server = Provider::start(|n| if n == 0 { answer("good") } else { error(500, "") }).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings { stale_if_error: 3600 * SECOND, ..CacheSettings::of(Scenario::RealTime) });
    let (gateway, clock) = gateway(settings, model);
    gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    clock.advance(301 * SECOND);
    let stale = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((stale.record.cache, stale.response.text()), (CacheUse::Stale, "good".to_owned()));

    let (down, up) = (Provider::start(|_| error(500, "")).await, Provider::start(|_| answer("b")).await);
    let (settings, mut model) = smart(&[&down, &up]);
    model.cache = Some(CacheSettings::of(Scenario::RealTime));
    let (gateway, _) = support::gateway(settings, model);
    for _ in 0..2 {
        assert_eq!(gateway.chat("smart", ask("hi"), &options()).await.unwrap().record.cache, CacheUse::Miss);
    }
    assert_eq!(up.requests(), 2);
}

#[tokio::test]
async fn tokens_are_reserved_by_guess_and_set_right_by_what_was_used() {
    let server = Provider::start(|_| answer("x")).await;
    let (settings, mut model) = smart(&[&server]);
    // Room for 1,000 at once; a call is guessed at 513 and uses 15.
    model.targets[0].limit = LimitSettings { tpm: Some(6_000), ..LimitSettings::default() };
    let (gateway, _) = gateway(settings, model);
    for _ in 0..30 {
        gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    }
    assert_eq!(server.requests(), 30);
}

#[tokio::test]
async fn equals_share_by_weight_and_the_quicker_is_preferred() {
    let (one, other) = (Provider::start(|_| answer("a")).await, Provider::start(|_| answer("b")).await);
    let (settings, mut model) = smart(&[&one, &other]);
    for (target, weight) in model.targets.iter_mut().zip([3, 1]) {
        *target = TargetSettings { rank: 0, weight, ..target.clone() };
    }
    model.choose = Choose::Weighted;
    let (gateway, _) = gateway(settings, model);
    for _ in 0..200 {
        assert!(!gateway.chat("smart", ask("hi"), &options()).await.unwrap().record.degraded);
    }
    assert_eq!(one.requests() + other.requests(), 200);
    assert!((120..180).contains(&one.requests()), "{}", one.requests());
}

#[tokio::test]
async fn a_reload_keeps_what_was_learned_and_takes_the_new_numbers() {
    let server = Provider::start(|_| error(500, "")).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].retry.max_retries = 0;
    let (gateway, _) = gateway(settings.clone(), model.clone());
    for _ in 0..5 {
        gateway.chat("smart", ask("hi"), &options()).await.unwrap_err();
    }
    assert_eq!(gateway.stack("smart").unwrap().targets[0].breaker, "open");
    let mut next = settings.clone();
    model.targets[0].attempt_timeout = 7 * SECOND;
    model.targets[0].limit.rpm = Some(60);
    next.models.insert("smart".to_owned(), model.clone());
    next.models.insert("other".to_owned(), model);
    let reloaded = gateway.reload(next.clone()).unwrap();
    assert_eq!((reloaded.added, reloaded.changed), (vec!["other".to_owned()], vec!["smart".to_owned()]));
    let stack = gateway.stack("smart").unwrap();
    assert_eq!((stack.targets[0].breaker, stack.targets[0].attempt_timeout_ms), ("open", 7_000));
    assert_eq!((stack.targets[0].limit.rpm, stack.stats.calls), (Some(60), 5));
    assert_eq!(gateway.stack("other").unwrap().targets[0].breaker, "closed");
    assert!(gateway.reload(next.clone()).unwrap().is_empty());
    next.models.get_mut("smart").unwrap().targets[0].provider = "b".to_owned();
    let bad = gateway.reload(next).unwrap_err();
    assert!(bad.to_string().contains("`b`, which is not configured"), "{bad}");
    assert_eq!(gateway.stack("smart").unwrap().targets[0].attempt_timeout_ms, 7_000, "nothing changed");
}

#[tokio::test]
async fn unknown_models_are_told_what_there_is() {
    let server = Provider::start(|_| answer("x")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    let failed = gateway.chat("smrt", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(failed.to_string(), "there is no model `smrt`; did you mean `smart`? known are smart");
    assert_eq!((failed.http_status(), failed.code()), (404, "unknown_model"));
    assert_eq!(failed.record.error.as_ref().unwrap().code, "unknown_model");
}

#[tokio::test]
async fn a_check_asks_every_target_and_says_what_it_found() {
    let (up, down) = (Provider::start(|_| answer("ready")).await, Provider::start(|_| error(401, "")).await);
    let (settings, model) = smart(&[&up, &down]);
    let (gateway, _) = gateway(settings, model);
    let checks = gateway.check("smart").await.unwrap();
    assert_eq!((checks[0].is_ok(), checks[0].said.as_deref()), (true, Some("ready")));
    assert_eq!((checks[1].is_ok(), checks[1].code), (false, Some("provider_authentication")));
}

#[tokio::test]
async fn the_worst_case_is_the_sum_of_attempts_within_the_deadline() {
    let server = Provider::start(|_| answer("x")).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].attempt_timeout = 10 * SECOND;
    model.targets[0].retry.max_retries = 1;
    let (one, _) = gateway(settings.clone(), model.clone());
    // Two attempts, each with at most ten seconds of waiting for a place, ten for a turn, and ten for a connection.
    assert_eq!(one.worst_case("smart"), Some(80 * SECOND));
    model.timeout = 15 * SECOND;
    let (other, _) = gateway(settings, model);
    assert_eq!(other.worst_case("smart"), Some(15 * SECOND));
}
