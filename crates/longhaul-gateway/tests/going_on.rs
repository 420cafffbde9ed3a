//! Streams that break after their first token, and go on at another target.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::pin::pin;
use std::time::Duration;

use longhaul_gateway::settings::{Canned, Flavor, ModelSettings, OnCut, Price, StreamSettings};
use longhaul_gateway::{ChatStream, Gateway, GatewaySettings};
use longhaul_providers::ErrorCode;
use longhaul_providers::chat::{StreamEvent, Usage};
use longhaul_resilience::VirtualClock;
use serde_json::{Value, json};
use support::{Play, Provider, ask, chunk, error, gateway, options, smart, stream, stream_begin};

const SECOND: Duration = Duration::from_secs(1);

/// The model over these providers, which goes on; each of another product.
fn going_on(providers: &[(&Provider, Flavor)]) -> (GatewaySettings, ModelSettings) {
    let servers: Vec<&Provider> = providers.iter().map(|(server, _)| *server).collect();
    let (mut settings, mut model) = smart(&servers);
    for (target, (_, flavor)) in model.targets.iter().zip(providers) {
        settings.providers.get_mut(&target.provider).unwrap().flavor = *flavor;
    }
    model.stream.on_cut = OnCut::Continue;
    (settings, model)
}

struct Told {
    text: String,
    usage: Option<Usage>,
    failed: Option<ErrorCode>,
}

async fn told(gateway: &Gateway) -> (Told, ChatStream) {
    rest_of(gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap()).await
}

async fn rest_of(mut stream: ChatStream) -> (Told, ChatStream) {
    let mut told = Told { text: String::new(), usage: None, failed: None };
    while let Some(event) = stream.next().await {
        match event {
            StreamEvent::TextDelta { text } => told.text.push_str(&text),
            StreamEvent::Usage(usage) => told.usage = Some(usage),
            StreamEvent::Error(error) => told.failed = Some(error.code),
            _ => {}
        }
    }
    (told, stream)
}

fn messages(server: &Provider) -> Value {
    serde_json::from_str::<Value>(&server.body(0)).unwrap()["messages"].clone()
}

#[tokio::test]
async fn the_next_target_that_can_goes_on_from_what_was_told() {
    let broken = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let unable = Provider::start(|_| Play::Keep(stream(&["Hello once more"]))).await;
    let able = Provider::start(|_| Play::Keep(stream(&["lo"]))).await;
    let (settings, model) =
        going_on(&[(&broken, Flavor::Compatible), (&unable, Flavor::Compatible), (&able, Flavor::Vllm)]);
    let (gateway, _) = gateway(settings, model);
    let (told, stream) = told(&gateway).await;
    assert_eq!((told.text.as_str(), told.failed), ("Hello", None));
    assert_eq!(unable.requests(), 0, "it would have begun anew");
    assert_eq!(messages(&able)[1], json!({"role": "assistant", "content": "Hel"}));
    assert!(able.body(0).contains("\"continue_final_message\":true"), "{}", able.body(0));
    let record = stream.record().unwrap();
    assert_eq!((record.target.as_deref(), record.attempts), (Some("c"), 2));
}

#[tokio::test]
async fn where_no_target_can_the_stream_ends_with_its_error_and_no_canned_reply() {
    let broken = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let other = Provider::start(|_| Play::Keep(stream(&["Hello once more"]))).await;
    let (settings, mut model) = going_on(&[(&broken, Flavor::Compatible), (&other, Flavor::Compatible)]);
    model.canned = Some(Canned { otherwise: Some("Later.".to_owned()), ..Canned::default() });
    let (gateway, _) = gateway(settings, model);
    let (told, stream) = told(&gateway).await;
    assert_eq!((told.text.as_str(), told.failed), ("Hel", Some(ErrorCode::ConnectionLost)));
    assert_eq!(other.requests(), 0);
    assert!(stream.record().unwrap().ambiguous);
}

#[tokio::test]
async fn after_a_second_cut_all_that_was_told_is_sent_once() {
    let first = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let second = Provider::start(|_| Play::Close(stream_begin(&["lo ", "to "]))).await;
    let third = Provider::start(|_| Play::Keep(stream(&["you"]))).await;
    let (settings, model) = going_on(&[(&first, Flavor::Vllm), (&second, Flavor::Vllm), (&third, Flavor::Vllm)]);
    let (gateway, _) = gateway(settings, model);
    let (told, stream) = told(&gateway).await;
    assert_eq!((told.text.as_str(), told.failed), ("Hello to you", None));
    let user = json!({"role": "user", "content": "hi"});
    assert_eq!(messages(&second), json!([user, {"role": "assistant", "content": "Hel"}]));
    assert_eq!(messages(&third), json!([user, {"role": "assistant", "content": "Hello to "}]));
    assert_eq!(stream.record().unwrap().attempts, 3);
}

#[tokio::test]
async fn a_beginning_that_is_told_once_more_is_left_out() {
    let broken = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let mistral = Provider::start(|_| Play::Keep(stream(&["He", "llo"]))).await;
    let (settings, model) = going_on(&[(&broken, Flavor::Compatible), (&mistral, Flavor::Mistral)]);
    let (gateway, _) = gateway(settings, model);
    assert_eq!(told(&gateway).await.0.text, "Hello");
    assert_eq!(messages(&mistral)[1], json!({"role": "assistant", "content": "Hel", "prefix": true}));
}

#[tokio::test]
async fn a_whole_answer_that_tells_its_beginning_once_more_is_shortened_too() {
    let mistral = Provider::start(|_| support::answer("Hello")).await;
    let (settings, model) = going_on(&[(&mistral, Flavor::Mistral)]);
    let (gateway, _) = gateway(settings, model);
    let begun = std::sync::Arc::new(ask("hi").going_on_from("Hel"));
    let answer = gateway.chat("smart", std::sync::Arc::clone(&begun), &options()).await.unwrap();
    assert_eq!(answer.response.text(), "lo");
    assert_eq!(rest_of(gateway.chat_stream("smart", begun, &options()).await.unwrap()).await.0.text, "lo");
}

/// A stream of Anthropic's that stops within its text. It tells what the request was before its first token: 25.
fn begun_by_anthropic() -> Vec<u8> {
    let event = |name: &str, data: Value| chunk(&format!("event: {name}\ndata: {data}\n\n"));
    let mut begun = stream_begin(&[]);
    begun.extend(event(
        "message_start",
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "content": [],
            "model": "c", "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 25, "output_tokens": 1}}}),
    ));
    let open = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    begun.extend(event("content_block_start", open));
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}});
    begun.extend(event("content_block_delta", delta));
    begun
}

#[tokio::test]
async fn what_all_parts_cost_is_told_and_recorded_together() {
    let broken = Provider::start(|_| Play::Close(begun_by_anthropic())).await;
    let sound = Provider::start(|_| Play::Keep(stream(&["lo"]))).await;
    let (mut settings, mut model) = going_on(&[(&broken, Flavor::Compatible), (&sound, Flavor::Vllm)]);
    settings.providers.get_mut("a").unwrap().wire = longhaul_gateway::settings::Wire::Anthropic;
    for (target, input_per_mtok) in model.targets.iter_mut().zip([1_000.0, 10.0]) {
        target.price = Some(Price { input_per_mtok, ..Price::default() });
    }
    let (gateway, _) = gateway(settings, model);
    let (told, stream) = told(&gateway).await;
    assert_eq!(told.text, "Hello");
    let (usage, cost) = (stream.record().unwrap().usage, stream.record().unwrap().cost_microusd);
    assert_eq!(told.usage, usage, "the client is told what is recorded");
    assert_eq!((usage.unwrap().input_tokens, cost), (35, Some(25 * 1_000 + 100)));
}

#[tokio::test]
async fn what_was_read_is_paid_for_when_the_answer_breaks_off_or_is_left() {
    for (play, is_left) in [(Play::Close(begun_by_anthropic()), false), (Play::Hang(begun_by_anthropic()), true)] {
        let server = Provider::start(move |_| play.clone()).await;
        let (mut settings, mut model) = smart(&[&server]);
        settings.providers.get_mut("a").unwrap().wire = longhaul_gateway::settings::Wire::Anthropic;
        let price = Price { input_per_mtok: 2.0, output_per_mtok: 10.0, ..Price::default() };
        model.targets[0].price = Some(price);
        let (gateway, _) = gateway(settings, model);
        let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
        while !matches!(stream.next().await, Some(StreamEvent::TextDelta { .. })) {}
        if is_left {
            drop(stream);
        } else {
            let (_, stream) = rest_of(stream).await;
            assert_eq!(stream.record().unwrap().cost_microusd, Some(25 * 2 + 10));
        }
        let stats = &gateway.stats()["smart"];
        let counted = (stats.calls, stats.cancelled, stats.input_tokens, stats.cost_microusd);
        assert_eq!(counted, (u64::from(!is_left), u64::from(is_left), 25, 60));
    }
}

#[tokio::test]
async fn a_target_that_fails_to_go_on_leaves_the_first_error() {
    let broken = Provider::start(|_| Play::Close(stream_begin(&["Hel"]))).await;
    let refusing = Provider::start(|_| error(400, "")).await;
    let (settings, model) = going_on(&[(&broken, Flavor::Compatible), (&refusing, Flavor::Vllm)]);
    let (gateway, _) = gateway(settings, model);
    assert_eq!(told(&gateway).await.0.failed, Some(ErrorCode::ConnectionLost));
    assert_eq!(refusing.requests(), 1);
}

/// A model whose first target falls silent within its answer, where that breaks the stream; the second is asked to go on
/// and says nothing yet.
async fn falling_silent(stream: StreamSettings) -> ([Provider; 2], Gateway, VirtualClock) {
    let silent = Provider::start(|_| Play::Hang(stream_begin(&["Hel"]))).await;
    let other = Provider::start(|_| Play::Later(support::stream(&["lo"]))).await;
    let (settings, mut model) = going_on(&[(&silent, Flavor::Compatible), (&other, Flavor::Vllm)]);
    model.stream = stream;
    model.timeout = 20 * SECOND;
    let (gateway, clock) = gateway(settings, model);
    ([silent, other], gateway, clock)
}

async fn pass(clock: &VirtualClock, seconds: u32) {
    for _ in 0..seconds {
        clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reader_waits_for_the_next_target_beyond_the_time_of_the_part_before() {
    let limits = StreamSettings { idle: 9 * SECOND, total: 10 * SECOND, on_cut: OnCut::Continue };
    let ([_silent, other], gateway, clock) = falling_silent(limits).await;
    let stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    let ((told, stream), ()) = tokio::join!(rest_of(stream), async {
        pass(&clock, 9).await;
        other.arrived(1).await;
        pass(&clock, 15).await;
        assert_eq!(gateway.stack("smart").unwrap().targets[1].places.in_use, 1, "it is still being asked");
        other.drip();
    });
    assert_eq!((told.text.as_str(), told.failed), ("Hello", None));
    assert_eq!(stream.record().unwrap().target.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_reader_that_stops_while_the_next_target_is_asked_holds_nothing_for_ever() {
    let limits = StreamSettings { idle: 5 * SECOND, total: 600 * SECOND, on_cut: OnCut::Continue };
    let ([_silent, other], gateway, clock) = falling_silent(limits).await;
    let mut stream = gateway.chat_stream("smart", ask("hi"), &options()).await.unwrap();
    while !matches!(stream.next().await.unwrap(), StreamEvent::TextDelta { .. }) {}
    {
        let mut next = pin!(stream.next());
        assert!(futures_util::poll!(&mut next).is_pending());
        clock.advance(5 * SECOND);
        while other.requests() == 0 {
            assert!(futures_util::poll!(&mut next).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let held = || gateway.stack("smart").unwrap().targets[1].places.in_use;
    pass(&clock, 20).await;
    assert_eq!(held(), 1, "its reader might still be there");
    pass(&clock, 3).await;
    assert_eq!(held(), 0);
    other.open_connections(0).await;
    let Some(StreamEvent::Error(error)) = stream.next().await else { panic!() };
    assert_eq!(error.code, ErrorCode::StreamInterrupted);
    assert!(error.message.contains("while another target was asked"), "{}", error.message);
}
