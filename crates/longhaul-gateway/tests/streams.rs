//! Streams through the layers, from a provider that fails as it is told.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::future::Future as _;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use longhaul_gateway::settings::{
    BreakerSettings, CacheSettings, Canned, LimitSettings, OnCut, Price, Scenario, StreamSettings, Trip,
};
use longhaul_gateway::{CacheUse, ChatStream, Failure, Gateway};
use longhaul_providers::ErrorCode;
use longhaul_providers::chat::{Accumulator, StreamEvent};
use longhaul_resilience::VirtualClock;
use support::{Play, Provider, answer, ask, chunk, error, gateway, options, smart, stream, stream_begin};

const SECOND: Duration = Duration::from_secs(1);

/// The text, and the error that ended it.
async fn read(stream: &mut ChatStream) -> (String, Option<ErrorCode>) {
    let mut told = Accumulator::new();
    let mut failed = None;
    let (mut begins, mut ends) = (0, 0);
    while let Some(event) = stream.next().await {
        ends += usize::from(event.is_end());
        begins += usize::from(matches!(event, StreamEvent::Started { .. }));
        if let StreamEvent::Error(error) = &event {
            failed = Some(error.code);
        }
        told.push(&event);
    }
    assert_eq!((begins, ends), (1, 1), "one beginning, one end");
    (told.into_response().text(), failed)
}

fn nothing_is_held(gateway: &Gateway, targets: usize) {
    let stack = gateway.stack("smart").unwrap();
    for target in &stack.targets[..targets] {
        assert_eq!((target.places.in_use, target.places.waiting, target.limit.waiting), (0, 0, 0));
        assert_eq!(target.stats.in_flight, 0);
        assert_eq!(target.connections.unwrap().0, 0);
    }
}

#[tokio::test]
async fn a_stream_comes_piece_by_piece_with_its_record_at_the_end() {
    let server = Provider::start(|_| Play::Keep(stream(&["Hel", "lo"]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].price = Some(Price { input_per_mtok: 2.0, output_per_mtok: 10.0, ..Price::default() });
    let (gateway, _) = gateway(settings, model);
    for n in 1..=3 {
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        assert_eq!(stream.opening_record().target.as_deref(), Some("a"));
        assert!(stream.record().is_none());
        assert_eq!(read(&mut stream).await, ("Hello".to_owned(), None));
        let record = stream.record().unwrap();
        assert!(record.streamed && record.first_token.is_some() && record.error.is_none());
        assert_eq!((record.attempts, record.cost_microusd), (1, Some(70)));
        assert_eq!(gateway.stats()["smart"].calls, n);
        nothing_is_held(&gateway, 1);
    }
    assert!(server.body(0).contains("\"stream\":true"));
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn before_the_first_token_the_next_target_takes_over_unseen() {
    let role = r#"data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let mut begun = stream_begin(&[]);
    begun.extend_from_slice(&chunk(&format!("{role}\n\n")));
    for (name, play) in [
        ("5xx", error(500, "")),
        ("cut after the head", Play::Close(stream_begin(&[]))),
        ("cut after who speaks", Play::Close(begun)),
        ("reset", Play::Reset(stream_begin(&[]))),
        (
            "an error in a good status",
            Play::Keep({
                let mut bytes = stream_begin(&[]);
                bytes.extend_from_slice(&chunk("data: {\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}\n\n"));
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            }),
        ),
    ] {
        let broken = Provider::start(move |_| play.clone()).await;
        let sound = Provider::start(|_| Play::Keep(stream(&["from b"]))).await;
        let (settings, model) = smart(&[&broken, &sound]);
        let (gateway, _) = gateway(settings, model);
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        assert_eq!(read(&mut stream).await, ("from b".to_owned(), None), "{name}");
        let record = stream.record().unwrap();
        assert!(record.degraded, "{name}");
        assert_eq!((broken.requests(), record.attempts), (3, 4), "{name}: tried again, then elsewhere");
        nothing_is_held(&gateway, 2);
    }
}

#[tokio::test]
async fn streams_that_have_begun_close_the_breaker_however_long_they_last() {
    let begins = |n| if n == 0 { error(500, "") } else { Play::Hang(stream_begin(&["Hel"])) };
    let server = Provider::start(begins).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].retry.max_retries = 0;
    model.targets[0].breaker =
        BreakerSettings { trip: Trip::Consecutive(1), open_for: SECOND, successes: 2, ..BreakerSettings::default() };
    let (gateway, clock) = gateway(settings, model);
    let breaker = || gateway.stack("smart").unwrap().targets[0].breaker;
    gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap_err();
    assert_eq!(breaker(), "open");
    clock.advance(SECOND);
    let _first = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(breaker(), "half_open");
    let _second = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(breaker(), "closed");
}

#[tokio::test]
async fn after_the_first_token_a_cut_is_an_error_with_a_type() {
    for play in [Play::Close(stream_begin(&["Hel"])), Play::Reset(stream_begin(&["Hel"]))] {
        let broken = Provider::start(move |_| play.clone()).await;
        let other = Provider::start(|_| Play::Keep(stream(&["x"]))).await;
        let (settings, model) = smart(&[&broken, &other]);
        let (gateway, _) = gateway(settings, model);
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        let (text, failed) = read(&mut stream).await;
        assert!(matches!(failed, Some(ErrorCode::ConnectionLost | ErrorCode::StreamInterrupted)), "{failed:?}");
        assert!(text == "Hel" || text.is_empty(), "{text:?}");
        assert_eq!((broken.requests(), other.requests()), (1, 0), "nothing is repeated");
        let record = stream.record().unwrap();
        assert!(record.ambiguous && record.error.is_some());
        assert_eq!(gateway.stack("smart").unwrap().targets[0].stats.failed, 1);
        nothing_is_held(&gateway, 2);
    }
}

#[tokio::test]
async fn silence_and_slowness_are_bounded() {
    // Silence after the first piece.
    let server = Provider::start(|_| Play::Hang(stream_begin(&["Hel"]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.stream = StreamSettings { idle: 5 * SECOND, total: 60 * SECOND, on_cut: OnCut::Fail };
    let (one, clock) = gateway(settings, model);
    let mut stream = one.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert!(matches!(stream.next().await, Some(StreamEvent::Started { .. })));
    assert!(matches!(stream.next().await, Some(StreamEvent::TextDelta { .. })));
    {
        let mut next = pin!(stream.next());
        assert!(futures_util::poll!(&mut next).is_pending());
        clock.advance(5 * SECOND);
        let Some(StreamEvent::Error(error)) = next.await else { panic!() };
        assert_eq!(error.code, ErrorCode::StreamInterrupted);
        assert!(error.message.contains("silent for 5s"), "{error}");
    }
    server.open_connections(0).await;
    nothing_is_held(&one, 1);

    // No first piece.
    let server = Provider::start(|_| Play::Hang(stream_begin(&[]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].retry.max_retries = 0;
    let (other, clock) = gateway(settings, model);
    let requested = options();
    let (failed, ()) = tokio::join!(other.chat_stream("smart", ask("hi"), &requested), async {
        server.arrived(1).await;
        clock.advance(30 * SECOND);
    });
    assert_eq!(failed.unwrap_err().failure, Failure::Timeout { limit: 30 * SECOND });
    server.open_connections(0).await;
    nothing_is_held(&other, 1);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_given_up_and_its_reader_is_told_when_it_comes_back() {
    for total in [60 * SECOND, 4 * SECOND] {
        let server = Provider::start(|_| Play::Hang(stream_begin(&["Hel", "lo"]))).await;
        let (settings, mut model) = smart(&[&server]);
        model.targets[0].limit = LimitSettings { concurrency: Some(1), ..LimitSettings::default() };
        model.stream = StreamSettings { idle: 5 * SECOND, total, on_cut: OnCut::Fail };
        let (gateway, clock) = gateway(settings, model);
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        stream.next().await.unwrap();
        // Within its time it may take as long as it likes.
        for _ in 0..3 {
            clock.advance(SECOND);
            tokio::task::yield_now().await;
        }
        assert_eq!(gateway.stack("smart").unwrap().targets[0].places.in_use, 1);
        clock.advance(if total == 4 * SECOND { 3 * SECOND } else { 8 * SECOND });
        server.open_connections(0).await;
        nothing_is_held(&gateway, 1);
        let Some(StreamEvent::Error(error)) = stream.next().await else { panic!() };
        assert_eq!(error.code, ErrorCode::StreamInterrupted);
        assert!(stream.record().unwrap().ambiguous);
        assert!(stream.next().await.is_none());
        assert_eq!(gateway.stats()["smart"].failed, 1);
    }
}

#[tokio::test]
async fn a_reader_that_comes_now_and_then_is_left_in_peace() {
    let slow: Vec<u8> = ["a", "b", "c"].iter().flat_map(|text| chunk(&support::delta(text))).collect();
    let server = Provider::start(move |_| Play::Keep([stream_begin(&["Hel"]), slow.clone()].concat())).await;
    let (settings, mut model) = smart(&[&server]);
    model.stream = StreamSettings { idle: 5 * SECOND, total: 600 * SECOND, on_cut: OnCut::Fail };
    let (gateway, clock) = gateway(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    for _ in 0..5 {
        for _ in 0..4 {
            clock.advance(SECOND);
            tokio::task::yield_now().await;
        }
        assert!(matches!(stream.next().await, Some(event) if !event.is_end()));
    }
}

#[tokio::test]
async fn a_stream_may_be_no_longer_than_an_answer_may_be() {
    let pieces = vec!["word"; 100];
    let server = Provider::start(move |_| Play::Keep(stream(&pieces))).await;
    let (mut settings, model) = smart(&[&server]);
    settings.providers.get_mut("a").unwrap().pool.max_answer_bytes = 2_000;
    let (gateway, _) = gateway(settings, model);
    // It depends on how the bytes arrive whether there is a first token at all.
    let code = match gateway.chat_stream("smart", ask("hi"), &options()).await {
        Ok(mut stream) => read(&mut stream).await.1,
        Err(failed) => Some(failed.provider.unwrap().code),
    };
    assert_eq!(code, Some(ErrorCode::ResponseTooLarge));
    assert_eq!(server.requests(), 1, "it would be too long again");
    nothing_is_held(&gateway, 1);
}

/// Whether a reader has been woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A stream that has begun, whose rest comes byte by byte and which may be silent for 5 s. No time passes while its reader
/// waits: what wakes it is a byte.
struct Dripping {
    server: Provider,
    clock: VirtualClock,
    stream: ChatStream,
    woken: Arc<Woken>,
}

impl Dripping {
    async fn begun(rest: Vec<u8>) -> Self {
        let server = Provider::start(move |_| Play::Drip(stream_begin(&["Hel"]), rest.clone())).await;
        let (settings, mut model) = smart(&[&server]);
        model.stream.idle = 5 * SECOND;
        let (gateway, clock) = gateway(settings, model);
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        stream.next().await.unwrap();
        stream.next().await.unwrap();
        Self { server, clock, stream, woken: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Option<StreamEvent>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        pin!(self.stream.next()).poll(&mut Context::from_waker(&waker))
    }

    /// The next byte has come, and told nothing.
    async fn drip(&mut self) {
        assert!(self.poll().is_pending());
        self.woken.0.store(false, Ordering::SeqCst);
        self.server.drip();
        while !self.woken.0.swap(false, Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        assert!(self.poll().is_pending(), "it is read, and is no piece");
    }

    fn ends_because_it_is_silent(&mut self) {
        let Poll::Ready(Some(StreamEvent::Error(error))) = self.poll() else { panic!() };
        assert!(error.message.contains("silent"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_byte_now_and_then_is_no_piece() {
    let slow = support::delta("never whole").into_bytes();
    let mut slow = Dripping::begun(slow.iter().flat_map(|byte| chunk(&(*byte as char).to_string())).collect()).await;
    for _ in 0..5 {
        slow.drip().await;
        slow.clock.advance(SECOND);
    }
    slow.ends_because_it_is_silent();
    slow.server.open_connections(0).await;
}

#[tokio::test]
async fn a_stream_that_pings_is_not_silent() {
    let ping = chunk(": ping\n\n");
    let mut pinging = Dripping::begun(ping.repeat(4)).await;
    for _ in 0..4 {
        pinging.clock.advance(4 * SECOND);
        for _ in 0..ping.len() {
            pinging.drip().await;
        }
    }
    pinging.clock.advance(5 * SECOND);
    pinging.ends_because_it_is_silent();
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_providers_call() {
    let server = Provider::start(|_| Play::Hang(stream_begin(&["Hel"]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].limit = LimitSettings { concurrency: Some(1), ..LimitSettings::default() };
    let (gateway, _) = gateway(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    stream.next().await.unwrap();
    let stack = gateway.stack("smart").unwrap();
    assert_eq!((stack.targets[0].places.in_use, stack.targets[0].stats.in_flight), (1, 1), "held while it streams");
    drop(stream);
    server.open_connections(0).await;
    nothing_is_held(&gateway, 1);
    let stats = &gateway.stats()["smart"];
    assert_eq!((stats.cancelled, stats.calls), (1, 0));
    assert_eq!(gateway.stack("smart").unwrap().targets[0].breaker, "closed");
}

#[tokio::test]
async fn a_whole_answer_to_a_streamed_question_is_told_in_pieces() {
    let server = Provider::start(|_| answer("whole")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(read(&mut stream).await, ("whole".to_owned(), None));
    assert_eq!(stream.record().unwrap().usage.unwrap().output_tokens, 5);
}

#[tokio::test]
async fn a_stream_fills_the_cache_and_is_served_from_it() {
    let server = Provider::start(|n| if n == 0 { Play::Keep(stream(&["Hel", "lo"])) } else { answer("other") }).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings::of(Scenario::Faq));
    let (gateway, _) = gateway(settings, model);
    let mut first = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(read(&mut first).await.0, "Hello");
    assert_eq!(first.record().unwrap().cache, CacheUse::Miss);
    let mut second = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(read(&mut second).await.0, "Hello");
    assert_eq!((second.record().unwrap().cache, second.record().unwrap().attempts), (CacheUse::Hit, 0));
    let whole = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((whole.response.text(), whole.record.cache), ("Hello".to_owned(), CacheUse::Hit));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_stream_that_broke_is_not_kept() {
    let server = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings::of(Scenario::Faq));
    let (gateway, _) = gateway(settings, model);
    for n in 1..=2 {
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        assert!(read(&mut stream).await.1.is_some());
        assert_eq!(server.requests(), n);
    }
}

#[tokio::test]
async fn a_canned_reply_is_streamed_too() {
    let server = Provider::start(|_| error(500, "")).await;
    let (settings, mut model) = smart(&[&server]);
    model.canned = Some(Canned { rules: Vec::new(), otherwise: Some("Later.".to_owned()) });
    let (gateway, _) = gateway(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!(read(&mut stream).await, ("Later.".to_owned(), None));
    assert!(stream.record().unwrap().degraded);
}

/// Polls a call so many times and drops it, again with one more, until it ends by itself.
#[tokio::test]
async fn dropping_at_any_poll_leaves_nothing_behind() {
    let server = Provider::start(|n| match n % 3 {
        0 => error(500, ""),
        1 => Play::Keep(stream(&["a", "b", "c"])),
        _ => Play::Close(stream_begin(&["a"])),
    })
    .await;
    let (settings, mut model) = smart(&[&server]);
    model.targets[0].limit = LimitSettings { concurrency: Some(2), rpm: Some(100_000), tpm: Some(1_000_000_000) };
    model.targets[0].breaker.trip = longhaul_gateway::settings::Trip::Consecutive(1_000_000);
    let (gateway, _) = gateway(settings, model);
    let ended = Arc::new(AtomicUsize::new(0));
    for polls in 0..60 {
        let (caller, ended, requested) = (gateway.clone(), Arc::clone(&ended), options());
        let mut call = Box::pin(async move {
            if let Ok(mut stream) = caller.chat_stream("smart", ask("hi"), &requested).await {
                while stream.next().await.is_some() {}
            }
            ended.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 0..polls {
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            // Let the socket's bytes arrive, so that another poll sees something new.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        drop(call);
        nothing_is_held(&gateway, 1);
    }
    assert!(ended.load(Ordering::Relaxed) > 0, "some came to their end");
}
