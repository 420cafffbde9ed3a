//! From one protocol to another and back: what a client says in one is what a provider of another hears, and the other
//! way round. And whatever a provider sends, nothing falls over.

use longhaul_providers::anthropic::{self, Anthropic};
use longhaul_providers::chat::{ChatRequest, Content, ImageSource};
use longhaul_providers::facade::Stamp;
use longhaul_providers::gemini::{self, Gemini};
use longhaul_providers::openai::{self, Flavor, OpenAi};
use longhaul_providers::protocol::{Delivery, Protocol};
use longhaul_providers::responses::{self, Responses};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

fn every_protocol() -> Vec<Box<dyn Protocol>> {
    vec![
        Box::new(OpenAi::new(openai::Settings::of(Flavor::OpenAi, access())).unwrap()),
        Box::new(Responses::new(responses::Settings { access: access(), azure: false }).unwrap()),
        Box::new(Anthropic::new(anthropic::Settings::of(access())).unwrap()),
        Box::new(Gemini::new(gemini::Settings::of(access())).unwrap()),
    ]
}

fn stamp() -> Stamp {
    Stamp { id: "x_1".into(), created: 1, model: "smart".into() }
}

/// A conversation with a picture, a call, its result, a schema to answer by; said in each façade's words.
fn said_in_each() -> Vec<(&'static str, ChatRequest)> {
    let schema = json!({"type": "object", "properties": {"cat": {"type": "boolean"}}, "required": ["cat"], "additionalProperties": false});
    let parameters = json!({"type": "object", "properties": {"at": {"type": "string"}}});
    let openai = json!({
        "model": "m", "max_completion_tokens": 500, "temperature": 0.5,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            {"role": "assistant", "content": "Looking.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":\"it\"}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"}],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": parameters}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": schema}}
    });
    let responses = json!({
        "model": "m", "max_output_tokens": 500, "temperature": 0.5, "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk="}]},
            {"role": "assistant", "content": "Looking."},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{\"at\":\"it\"}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"}],
        "tools": [{"type": "function", "name": "look", "parameters": parameters}],
        "text": {"format": {"type": "json_schema", "name": "answer", "strict": true, "schema": schema}}
    });
    let anthropic = json!({
        "model": "m", "max_tokens": 500, "temperature": 0.5, "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "it"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "a cat"}]}],
        "tools": [{"name": "look", "input_schema": parameters}],
        "output_config": {"format": {"type": "json_schema", "schema": schema}}
    });
    let bytes = |value: Value| value.to_string().into_bytes();
    vec![
        ("openai", openai::facade::decode_request(&bytes(openai)).unwrap().request),
        ("responses", responses::facade::decode_request(&bytes(responses)).unwrap().request),
        ("anthropic", anthropic::facade::decode_request(&bytes(anthropic)).unwrap().request),
    ]
}

#[test]
fn a_provider_hears_the_same_whatever_the_client_speaks() {
    for protocol in every_protocol() {
        let heard: Vec<_> = said_in_each()
            .into_iter()
            .map(|(from, request)| {
                let encoded = protocol.encode_chat("m", &request, Delivery::Whole).unwrap();
                assert_eq!(encoded.ignored, Vec::<String>::new(), "{from} to {}", protocol.name());
                let mut body = json(&encoded.http.body);
                // In its own dialect absent means strict, so what others leave out is said.
                if protocol.name() == "openai-responses" {
                    body["tools"][0].as_object_mut().unwrap().remove("strict");
                }
                (from, body)
            })
            .collect();
        for (from, body) in &heard[1..] {
            assert_eq!(body, &heard[0].1, "{from} to {}", protocol.name());
        }
    }
}

#[test]
fn pictures_calls_and_results_arrive_in_each_protocols_words() {
    let request = said_in_each().remove(0).1;
    let heard =
        |at: usize| json(&every_protocol()[at].encode_chat("gemini-2.5", &request, Delivery::Whole).unwrap().http.body);
    let responses = heard(1);
    assert_eq!(responses["input"][1]["content"][1]["image_url"], "data:image/png;base64,aGk=");
    assert_eq!(responses["input"][3]["call_id"], "call_1");
    let anthropic = heard(2);
    assert_eq!(anthropic["system"], "Be brief.");
    assert_eq!(anthropic["messages"][1]["content"][1]["input"], json!({"at": "it"}));
    assert_eq!(anthropic["output_config"]["format"]["type"], "json_schema");
    let gemini = heard(3);
    assert_eq!(gemini["contents"][2]["parts"][0]["functionResponse"]["name"], "look");
    assert_eq!(gemini["generationConfig"]["responseMimeType"], "application/json");
}

/// Every provider's fixture of an answer with text and calls.
const ANSWERS: [&str; 4] =
    ["openai/chat_tools.json", "responses/response.json", "anthropic/message.json", "gemini/answer.json"];
const STREAMS: [&str; 4] =
    ["openai/tools_stream.sse", "responses/stream.sse", "anthropic/tools_stream.sse", "gemini/stream.sse"];

/// What is left of an answer on any path: its text, its calls with their ids, its reason to end, its tokens.
type Gist = (String, Vec<(String, String, Value)>, String, Option<u64>);

fn gist(answer: &longhaul_providers::chat::ChatResponse) -> Gist {
    let calls = answer
        .tool_calls()
        .map(|call| (call.id.clone(), call.name.clone(), serde_json::from_str(&call.arguments).unwrap()))
        .collect();
    (answer.text(), calls, format!("{:?}", answer.finish.reason), answer.usage.map(|usage| usage.total()))
}

#[test]
fn a_client_of_each_protocol_reads_the_answer_of_each_provider() {
    let protocols = every_protocol();
    let echo = responses::facade::decode_request(br#"{"model":"m","input":"x"}"#).unwrap().echo;
    for (at, name) in ANSWERS.iter().enumerate() {
        let answer = whole(protocols[at].as_ref(), name);
        let outs = [
            openai::facade::encode_response(&answer, &stamp()),
            responses::facade::encode_response(&answer, &stamp(), &echo, None),
            anthropic::facade::encode_response(&answer, &stamp()),
        ];
        for (to, out) in outs.iter().enumerate() {
            let read = with_reply(200, &[], out, |reply| protocols[to].decode_chat(reply)).unwrap();
            assert_eq!(gist(&read), gist(&answer), "{name} to {}", protocols[to].name());
        }
    }
}

#[test]
fn a_client_of_each_protocol_reads_the_stream_of_each_provider() {
    let protocols = every_protocol();
    let echo = responses::facade::decode_request(br#"{"model":"m","input":"x"}"#).unwrap().echo;
    for (at, name) in STREAMS.iter().enumerate() {
        let told = events(protocols[at].stream_decoder(), [&fixture(name)[..]]);
        let answer = folded(&told);
        let outs = [
            frames(openai::facade::ChatStreamEncoder::new(stamp(), true), &told),
            frames(responses::facade::ResponseStreamEncoder::new(stamp(), echo.clone()), &told),
            frames(anthropic::facade::MessageStreamEncoder::new(stamp()), &told),
        ];
        for (to, out) in outs.iter().enumerate() {
            let read = folded(&events(protocols[to].stream_decoder(), [&sse(out)[..]]));
            let (mut read, mut expected) = (gist(&read), gist(&answer));
            if answer.usage.is_none() {
                // Where the client must be told a usage, none is told as zero.
                (read.3, expected.3) = (None, None);
            }
            assert_eq!(read, expected, "{name} to {}", protocols[to].name());
        }
        // And an answer that was had whole is told as a stream that folds into it again.
        assert_eq!(gist(&folded(&answer.to_events())), gist(&answer));
    }
}

#[test]
fn the_seal_of_a_thought_survives_a_client_of_openai() {
    let gemini = &every_protocol()[3];
    let answer = whole(gemini.as_ref(), "gemini/answer.json");
    let out = json(&openai::facade::encode_response(&answer, &stamp()));
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "x"}, out["choices"][0]["message"],
        {"role": "tool", "tool_call_id": "call_UxV0aN_0", "content": "1"}, {"role": "tool", "tool_call_id": "fc-2", "content": "2"}]});
    let request = openai::facade::decode_request(body.to_string().as_bytes()).unwrap().request;
    let back = json(&gemini.encode_chat("gemini-3-pro", &request, Delivery::Whole).unwrap().http.body);
    assert_eq!(back["contents"][1]["parts"][1]["thoughtSignature"], "CpcBAVSoXO4=");
}

#[test]
fn an_image_by_url_is_kept_as_one() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]});
    let request = openai::facade::decode_request(body.to_string().as_bytes()).unwrap().request;
    let Content::Image(image) = &request.messages[0].parts[0].content else { panic!("{request:?}") };
    assert_eq!(image.source, ImageSource::Url("https://example.com/a.png".into()));
    let anthropic = json(&every_protocol()[2].encode_chat("m", &request, Delivery::Whole).unwrap().http.body);
    assert_eq!(
        anthropic["messages"][0]["content"][0]["source"],
        json!({"type": "url", "url": "https://example.com/a.png"})
    );
}

/// Bytes that are nearly right: fixtures with some of them changed.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let names: Vec<&str> = ANSWERS.iter().chain(&STREAMS).copied().collect();
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..3);
    (prop::sample::select(names), prop::collection::vec(change, 0..12)).prop_map(|(name, changes)| {
        let mut bytes = fixture(name);
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_provider_sends_panics(body in prop_oneof![spoiled(), prop::collection::vec(any::<u8>(), 0..200)], status in 200u16..600) {
        for protocol in every_protocol() {
            with_reply(status, &[], &body, |reply| {
                let _ = protocol.decode_chat(reply);
                let _ = protocol.decode_embeddings(reply, 1);
                let _ = protocol.decode_models(reply);
                let error = protocol.decode_error(reply);
                assert!(!error.message.is_empty());
            });
            let told = events(protocol.stream_decoder(), body.chunks(13));
            prop_assert_eq!(told.iter().filter(|event| event.is_end()).count(), 1);
            prop_assert!(told.last().unwrap().is_end());
        }
    }

    #[test]
    fn how_a_spoiled_stream_is_cut_makes_no_difference(body in spoiled(), size in 1usize..40) {
        for protocol in every_protocol() {
            let at_once = events(protocol.stream_decoder(), [&body[..]]);
            prop_assert_eq!(events(protocol.stream_decoder(), body.chunks(size)), at_once);
        }
    }

    #[test]
    fn nothing_that_a_client_sends_panics(body in prop_oneof![spoiled(), "\\PC{0,80}".prop_map(String::into_bytes)]) {
        let _ = openai::facade::decode_request(&body);
        let _ = openai::facade::decode_embeddings_request(&body);
        let _ = responses::facade::decode_request(&body);
        let _ = anthropic::facade::decode_request(&body);
    }
}

#[test]
fn calls_that_come_in_turns_are_told_one_after_the_other() {
    let delta =
        |delta: Value| json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]});
    let call = |index: u32, more: Value| {
        let mut call = json!({"index": index});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        delta(json!({"tool_calls": [call]}))
    };
    let begun =
        |index: u32| call(index, json!({"id": format!("c{index}"), "function": {"name": "f", "arguments": "{\"a\":"}}));
    let rest = |index: u32| call(index, json!({"function": {"arguments": format!("{index}}}")}}));
    let end = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let chunks = [begun(0), begun(1), delta(json!({"content": "\n"})), rest(0), rest(1), end];
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n";
    let openai = OpenAi::new(openai::Settings::of(Flavor::OpenAi, access())).unwrap();
    let events = events(openai.stream_decoder(), [body.as_bytes()]);

    let told = frames(anthropic::facade::MessageStreamEncoder::new(stamp()), &events);
    let told: Vec<Value> = told.iter().map(|frame| json(frame.data.as_bytes())).collect();
    let input = |block: u32| -> String {
        let pieces = told.iter().filter(|event| event["index"] == block);
        pieces.filter_map(|event| event["delta"]["partial_json"].as_str()).collect()
    };
    assert_eq!((input(0).as_str(), input(1).as_str()), ("{\"a\":0}", "{\"a\":1}"));
    assert_eq!(told.last().unwrap()["type"], "message_stop");

    let echo = responses::facade::decode_request(br#"{"model":"m","input":"hi"}"#).unwrap().echo;
    let mut encoder = responses::facade::ResponseStreamEncoder::new(stamp(), echo);
    let mut told = Vec::new();
    events.iter().for_each(|event| longhaul_providers::facade::StreamEncoder::push(&mut encoder, event, &mut told));
    let object = json(&encoder.object());
    let arguments: Vec<&Value> = object["output"].as_array().unwrap().iter().map(|item| &item["arguments"]).collect();
    assert_eq!(
        (arguments[0], arguments[1], &object["status"]),
        (&json!("{\"a\":0}"), &json!("{\"a\":1}"), &json!("completed"))
    );
}
