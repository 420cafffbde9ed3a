//! Answers passed on as their provider wrote them: with the same records, cache and failover as any other.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use longhaul_gateway::settings::{CacheSettings, Scenario};
use longhaul_gateway::{CacheUse, CallOptions, ChatStream, Told};
use longhaul_providers::ErrorCode;
use longhaul_providers::chat::{Dialect, StreamEvent};
use longhaul_providers::relay::RelayTo;
use support::{
    Play, Provider, answer, ask, completion, error, gateway, json_reply, options, smart, stream, stream_begin,
};

fn to(dialect: Dialect) -> CallOptions {
    options().relay(RelayTo { dialect, id: "chatcmpl-ours".into(), include_usage: false })
}

/// What was passed on, what was said otherwise, and the error at the end.
async fn read(stream: &mut ChatStream) -> (String, String, Option<ErrorCode>) {
    let (mut passed, mut said, mut failed) = (String::new(), String::new(), None);
    while let Some(event) = stream.next().await {
        match event {
            StreamEvent::Relayed(relayed) => passed += std::str::from_utf8(&relayed.frames).unwrap(),
            StreamEvent::TextDelta { text } => said += &text,
            StreamEvent::Error(error) => failed = Some(error.code),
            _ => {}
        }
    }
    (passed, said, failed)
}

#[tokio::test]
async fn a_whole_answer_is_passed_on_kept_and_told_to_others_in_their_words() {
    let body = completion("Hello").replace("\"object\"", "\"unheard_of\": {\"x\": [1, 2]},  \"object\"");
    let sent = body.clone();
    let server = Provider::start(move |_| Play::Keep(json_reply(200, "", &sent))).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings::of(Scenario::Faq));
    let (gateway, _) = gateway(settings, model);
    for cache in [CacheUse::Miss, CacheUse::Hit] {
        let (told, record) = gateway.chat_relayed("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap();
        let Told::Relayed(relayed) = told else { panic!("it was taken apart") };
        assert_eq!(
            String::from_utf8(relayed.body("chatcmpl-ours")).unwrap(),
            body.replace("chatcmpl-1", "chatcmpl-ours")
        );
        assert_eq!((record.cache, record.usage.unwrap().total()), (cache, 15));
    }
    let plain = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((plain.response.text().as_str(), plain.record.cache), ("Hello", CacheUse::Hit));
    let (told, _) = gateway.chat_relayed("smart", ask("hi"), &to(Dialect::Anthropic)).await.unwrap();
    assert!(matches!(told, Told::Response(response) if response.text() == "Hello"));
    let mut streamed = gateway.chat_stream("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap();
    assert_eq!(read(&mut streamed).await, (String::new(), "Hello".to_owned(), None));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_only_looks_like_an_answer_is_judged_as_before() {
    let faults = [
        r#"{"error": {"message": "no", "type": "server_error"}}"#.to_owned(),
        completion("cut").trim_end_matches('}').to_owned(),
        completion("Hello").replace("\"stop\"", "null"),
    ];
    for fault in faults {
        let server = Provider::start(move |n| match n {
            0 => Play::Keep(json_reply(200, "", &fault)),
            _ => answer("second try"),
        })
        .await;
        let (settings, model) = smart(&[&server]);
        let (gateway, _) = gateway(settings, model);
        let (told, record) = gateway.chat_relayed("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap();
        assert!(matches!(told, Told::Relayed(_)));
        assert_eq!(record.retries, 1);
    }
}

#[tokio::test]
async fn a_stream_is_passed_on_and_kept() {
    let server = Provider::start(|_| Play::Keep(stream(&["Hel", "lo", " \"you\""]))).await;
    let (settings, mut model) = smart(&[&server]);
    model.cache = Some(CacheSettings::of(Scenario::Faq));
    let (gateway, _) = gateway(settings, model);
    let mut first = gateway.chat_stream("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap();
    let (passed, said, failed) = read(&mut first).await;
    assert_eq!((passed.matches("data: ").count(), passed.matches("chatcmpl-ours").count()), (3, 3), "{passed}");
    assert_eq!((said.as_str(), failed), ("Hel", None), "the first frame is ours, because theirs names no role");
    let record = first.record().unwrap();
    assert_eq!((record.usage.unwrap().total(), record.attempts), (15, 1));
    let kept = gateway.chat("smart", ask("hi"), &options()).await.unwrap();
    assert_eq!((kept.response.text().as_str(), kept.record.cache), ("Hello \"you\"", CacheUse::Hit));
}

#[tokio::test]
async fn a_stream_fails_over_before_its_first_text_and_ends_with_an_error_after_it() {
    let role = r#"data: {"id":"r","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let mut begun = stream_begin(&[]);
    begun.extend_from_slice(&support::chunk(&format!("{role}\n\n")));
    let cut = Provider::start(move |_| Play::Close(begun.clone())).await;
    let sound = Provider::start(|_| Play::Close(stream_begin(&["half"]))).await;
    let (settings, mut model) = smart(&[&cut, &sound]);
    for target in &mut model.targets {
        target.retry.max_retries = 0;
    }
    let (gateway, _) = gateway(settings, model);
    let mut stream = gateway.chat_stream("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap();
    assert_eq!(stream.opening_record().target.as_deref(), Some("b"));
    let (passed, said, failed) = read(&mut stream).await;
    assert_eq!((passed.as_str(), said.as_str()), ("", "half"), "nothing of the first target's");
    assert_eq!(failed, Some(ErrorCode::ConnectionLost));
}

#[tokio::test]
async fn an_error_of_a_provider_is_no_answer_to_pass_on() {
    let server = Provider::start(|_| error(400, "")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    let failed = gateway.chat_relayed("smart", ask("hi"), &to(Dialect::OpenAi)).await.unwrap_err();
    assert_eq!(failed.provider.unwrap().http_status, Some(400));
}
