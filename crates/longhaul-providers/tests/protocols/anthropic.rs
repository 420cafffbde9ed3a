//! Anthropic's messages, both sides.

use std::time::Duration;

use longhaul_providers::anthropic::facade::{MessageStreamEncoder, decode_request, encode_failure, encode_response};
use longhaul_providers::anthropic::{Anthropic, LateSystem, Settings, Structured, Thinking};
use longhaul_providers::chat::{
    ChatRequest, Content, Dialect, Effort, FinishReason, Message, Reasoning, ResponseFormat, Role, StreamEvent, Tool,
};
use longhaul_providers::facade::{Failure, Stamp};
use longhaul_providers::json::Json;
use longhaul_providers::protocol::{Delivery, Protocol};
use longhaul_providers::{ErrorClass, ErrorCode};
use serde_json::{Value, json};

use crate::support::*;

fn anthropic() -> Anthropic {
    Anthropic::new(Settings::of(access())).unwrap()
}

fn with(change: impl FnOnce(&mut Settings)) -> Anthropic {
    let mut settings = Settings::of(access());
    change(&mut settings);
    Anthropic::new(settings).unwrap()
}

fn asking(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
}

fn body(protocol: &Anthropic, request: &ChatRequest) -> Value {
    json(&protocol.encode_chat("claude", request, Delivery::Whole).unwrap().http.body)
}

fn rich_request() -> Value {
    json!({
        "model": "smart",
        "max_tokens": 2048,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk=", "within": 1}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "it"}}
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "a cat"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
                ]},
                {"type": "text", "text": "Sure?"}
            ]}
        ],
        "tools": [
            {"name": "look", "description": "Looks.", "strict": true, "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}, "within": 1},
            "task_budget": {"type": "tokens", "total": 64000}},
        "thinking": {"type": "adaptive", "display": "summarized", "within": 1},
        "temperature": 1.0,
        "top_p": 0.5,
        "top_k": 4,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u", "within": 1},
        "service_tier": "auto"
    })
}

#[test]
fn a_request_comes_out_as_it_came_in() {
    let mut came = rich_request();
    let call = decode_request(came.to_string().as_bytes()).unwrap();
    let encoded = anthropic().encode_chat("claude", &call.request, Delivery::Whole).unwrap();
    assert_eq!(encoded.ignored, Vec::<String>::new());
    came["model"] = json!("claude");
    assert_eq!(json(&encoded.http.body), came);
    assert_eq!(encoded.http.path, "/messages");
    assert_eq!(encoded.http.headers["x-api-key"], "key-123");
    assert_eq!(encoded.http.headers["anthropic-version"], "2023-06-01");
}

#[test]
fn a_prefill_is_gone_on_from_or_refused() {
    use longhaul_providers::openai::{Flavor, OpenAi, Settings};
    let came = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "Pick one: (A) or (B)"}, {"role": "assistant", "content": "The answer is ("}
    ]});
    let request = decode_request(came.to_string().as_bytes()).unwrap().request;
    assert_eq!(request.beginning(), Some("The answer is ("));
    assert_eq!(json(&anthropic().encode_chat("m", &request, Delivery::Whole).unwrap().http.body), came);
    let put_to =
        |flavor| OpenAi::new(Settings::of(flavor, access())).unwrap().encode_chat("m", &request, Delivery::Whole);
    assert_eq!(json(&put_to(Flavor::Vllm).unwrap().http.body)["continue_final_message"], true);
    assert!(put_to(Flavor::OpenAi).unwrap_err().to_string().contains("the beginning of an answer"));
}

#[test]
fn what_a_client_wants_to_try_is_told_to_this_provider_alone() {
    use longhaul_providers::anthropic::facade::BETAS;
    let body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]});
    let mut request = decode_request(body.to_string().as_bytes()).unwrap().request;
    request.extra.insert(BETAS, Json::of("context-1m"));
    let mut access = access();
    access.headers.push((http::HeaderName::from_static(BETAS), http::HeaderValue::from_static("files-api")));
    let encoded =
        Anthropic::new(Settings::of(access.clone())).unwrap().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!((&encoded.http.headers[BETAS], encoded.ignored.len()), (&"files-api,context-1m".parse().unwrap(), 0));
    assert_eq!(json(&encoded.http.body).get(BETAS), None);
    access.ignore.insert(BETAS.to_owned());
    let encoded = Anthropic::new(Settings::of(access)).unwrap().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!(
        (&encoded.http.headers[BETAS], &encoded.ignored[..]),
        (&"files-api".parse().unwrap(), &[BETAS.to_owned()][..])
    );
    let openai = longhaul_providers::openai::OpenAi::new(longhaul_providers::openai::Settings::of(
        longhaul_providers::openai::Flavor::OpenAi,
        self::access(),
    ));
    assert_eq!(openai.unwrap().encode_chat("m", &request, Delivery::Whole).unwrap().ignored, [BETAS]);
}

#[test]
fn citations_stay_with_their_text_streamed_whole_and_from_one_to_the_other() {
    let citation = |text: &str| json!({"type": "char_location", "cited_text": text});
    let content = json!([
        {"type": "text", "text": "a b", "citations": [citation("a"), citation("b")]},
        {"type": "text", "text": " second block", "citations": null}
    ]);
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "content": content,
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let body = message.to_string();
    let whole = with_reply(200, &[], body.as_bytes(), |reply| anthropic().decode_chat(reply)).unwrap();
    let stamp = || Stamp { id: "msg_1".into(), created: 0, model: "smart".into() };
    // Kept whole, then streamed.
    let streamed = frames(MessageStreamEncoder::new(stamp()), &whole.to_events());
    assert_eq!(told(&streamed), content);
    // Streamed by the provider, told as it comes, and kept.
    let events = events(anthropic().stream_decoder(), [&sse(&streamed)[..]]);
    assert_eq!(told(&frames(MessageStreamEncoder::new(stamp()), &events)), content);
    assert_eq!(json(&encode_response(&folded(&events), &stamp()))["content"], content);
}

#[test]
fn an_effort_without_thinking_comes_out_as_it_came_in() {
    let came = json!({
        "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
        "thinking": {"type": "disabled"}, "output_config": {"effort": "low"},
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f", "within": 1}
    });
    let request = decode_request(came.to_string().as_bytes()).unwrap().request;
    assert_eq!(json(&anthropic().encode_chat("m", &request, Delivery::Whole).unwrap().http.body), came);
}

#[test]
fn a_thought_of_another_provider_never_comes_back_to_this_one() {
    use longhaul_providers::chat::{ChatResponse, Part, ReasoningContent};
    let foreign = |dialect, signature: Option<&str>, encrypted: Option<&str>| {
        let (signature, encrypted) = (signature.map(str::to_owned), encrypted.map(str::to_owned));
        let thought = ReasoningContent { text: "hm".into(), signature, encrypted, id: None };
        let mut answer = ChatResponse::of_text("So be it.");
        (answer.dialect, answer.parts) = (dialect, vec![Content::Reasoning(thought).into(), Part::text("So be it.")]);
        answer
    };
    for answer in [
        foreign(Dialect::OpenAi, None, None),
        foreign(Dialect::Gemini, Some("seal"), None),
        foreign(Dialect::Responses, None, Some("gAA")),
    ] {
        let stamp = Stamp { id: "msg_1".into(), created: 0, model: "smart".into() };
        let whole = json(&encode_response(&answer, &stamp))["content"].clone();
        let streamed = told(&frames(MessageStreamEncoder::new(stamp), &answer.to_events()));
        for content in [whole, streamed] {
            assert_eq!(content[0], json!({"type": "thinking", "thinking": "hm", "signature": ""}));
            let body = json!({"model": "m", "max_tokens": 9, "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": content},
                {"role": "user", "content": "Sure?"}
            ]});
            let request = decode_request(body.to_string().as_bytes()).unwrap().request;
            let encoded = anthropic().encode_chat("m", &request, Delivery::Whole).unwrap();
            let sent = &json(&encoded.http.body)["messages"][1]["content"];
            assert!(!sent.to_string().contains("thinking"), "{sent}");
            assert_eq!(encoded.ignored, ["reasoning of earlier answers"]);
        }
    }
}

/// The blocks that a client puts together from a stream.
fn told(frames: &[longhaul_providers::facade::Frame]) -> Value {
    let mut blocks: Vec<Value> = Vec::new();
    for event in frames.iter().map(|frame| json(frame.data.as_bytes())) {
        let index = usize::try_from(event["index"].as_u64().unwrap_or_default()).unwrap();
        let add = |blocks: &mut Vec<Value>, field: &str, piece: &Value| {
            let whole = blocks[index][field].as_str().unwrap_or_default().to_owned() + piece.as_str().unwrap();
            blocks[index][field] = json!(whole);
        };
        let delta = &event["delta"];
        match (event["type"].as_str().unwrap(), delta["type"].as_str().unwrap_or_default()) {
            ("content_block_start", _) => {
                assert_eq!(index, blocks.len(), "blocks begin in order");
                blocks.push(event["content_block"].clone());
            }
            (_, "text_delta") => add(&mut blocks, "text", &delta["text"]),
            (_, "thinking_delta") => add(&mut blocks, "thinking", &delta["thinking"]),
            (_, "signature_delta") => blocks[index]["signature"] = delta["signature"].clone(),
            (_, "input_json_delta") => add(&mut blocks, "input", &delta["partial_json"]),
            (_, "citations_delta") => {
                let mut citations = blocks[index]["citations"].as_array().cloned().unwrap_or_default();
                citations.push(delta["citation"].clone());
                blocks[index]["citations"] = json!(citations);
            }
            (kind, _) => assert_ne!(kind, "error", "{event}"),
        }
    }
    json!(blocks)
}

#[test]
fn a_whole_answer_is_read_and_written_back_as_it_came() {
    let answer = whole(&anthropic(), "anthropic/message.json");
    assert_eq!(answer.finish.reason, FinishReason::ToolCalls);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens), (2235, 40, 100));
    assert_eq!(answer.tool_calls().next().unwrap().arguments, r#"{"location": "San Francisco, CA", "unit":"c"}"#);
    let stamp = Stamp { id: answer.id.clone().unwrap(), created: 0, model: answer.model.clone().unwrap() };
    let out = encode_response(&answer, &stamp);
    assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(fixture("anthropic/message.json")).unwrap().trim());
}

#[test]
fn streams_tell_what_they_tell_however_they_are_cut() {
    let answer = folded(&streamed(&anthropic(), "anthropic/stream.sse"));
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Grüße!", FinishReason::Stop));
    assert_eq!(answer.finish.stop_sequence.as_deref(), Some("END"));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (32, 7, 15));

    let answer = folded(&streamed(&anthropic(), "anthropic/tools_stream.sse"));
    let calls: Vec<_> = answer.tool_calls().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("get_weather", "{\"location\": \"Oslo\"}"), ("now", "{}")]);
    assert_eq!(answer.usage.unwrap().reasoning_tokens, 20);
    let Content::Reasoning(thought) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!((thought.text.as_str(), thought.signature.as_deref()), ("I should look it up.", Some("EqoBCgIYAhIM")));
    assert_eq!(answer.parts.len(), 5);

    let answer = folded(&streamed(&anthropic(), "anthropic/native_stream.sse"));
    let Content::Native(search) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!(json(search.as_str().as_bytes())["input"], json!({"query": "x"}));
    for name in ["anthropic/stream.sse", "anthropic/tools_stream.sse"] {
        cut_short(&anthropic(), name);
    }
}

#[test]
fn a_stream_goes_out_as_anthropic_sends_it() {
    for name in ["anthropic/stream.sse", "anthropic/tools_stream.sse", "anthropic/native_stream.sse"] {
        let came = streamed(&anthropic(), name);
        let stamp = Stamp { id: "msg_ours".into(), created: 0, model: "smart".into() };
        let out = frames(MessageStreamEncoder::new(stamp), &came);
        let names: Vec<_> = out.iter().map(|frame| frame.event.clone().unwrap()).collect();
        let text = String::from_utf8(fixture(name)).unwrap();
        let expected: Vec<_> = text
            .split("\n\n")
            .filter(|event| {
                !event.contains("ping") && !event.contains("future") && !event.contains("partial_json\":\"\"")
            })
            .filter_map(|event| event.lines().next()?.strip_prefix("event: "))
            .collect();
        // An empty input is told by one delta, and the input of a tool of the provider's own with its start.
        if name.ends_with("/stream.sse") {
            assert_eq!(names, expected, "{name}");
        }
        let back = events(anthropic().stream_decoder(), [&sse(&out)[..]]);
        let (came, back) = (folded(&came), folded(&back));
        assert_eq!((back.parts, back.finish, back.usage), (came.parts, came.finish, came.usage), "{name}");
    }
}

#[test]
fn overload_inside_a_stream_and_before_it_is_told_apart_from_throttling() {
    let told = streamed(&anthropic(), "anthropic/error_stream.sse");
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!((error.code, error.class()), (ErrorCode::Overloaded, ErrorClass::Transient));

    let error = |status, headers: &[(&'static str, &str)], body: &str| {
        with_reply(status, headers, body.as_bytes(), |reply| anthropic().decode_chat(reply)).unwrap_err()
    };
    let overloaded =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
    let told = error(529, &[], overloaded);
    assert_eq!((told.code, told.request_id.as_deref()), (ErrorCode::Overloaded, Some("req_1")));
    let limited = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}"#;
    let told = error(429, &[("retry-after", "7")], limited);
    assert_eq!((told.class(), told.retry_after), (ErrorClass::Throttled, Some(Duration::from_secs(7))));
    for (status, body, code) in [
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            ErrorCode::QuotaExhausted,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}"#,
            ErrorCode::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
            ErrorCode::QuotaExhausted,
        ),
        (
            401,
            r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            ErrorCode::Authentication,
        ),
        (404, r#"{"type":"error","error":{"type":"not_found_error","message":"model: x"}}"#, ErrorCode::NotFound),
        (413, r#"{"type":"error","error":{"type":"request_too_large","message":"x"}}"#, ErrorCode::RequestTooLarge),
        (500, r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, ErrorCode::ServerError),
        (200, r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#, ErrorCode::ServerError),
        (200, r#"{"type":"message","content":[]}"#, ErrorCode::MalformedResponse),
    ] {
        assert_eq!(error(status, &[], body).code, code, "{status} {body}");
    }
}

#[test]
fn what_has_no_word_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut ChatRequest)| {
        let mut request = asking("Hi");
        change(&mut request);
        anthropic().encode_chat("claude", &request, Delivery::Whole).unwrap_err().to_string()
    };
    assert!(refused(&|request| request.seed = Some(1)).contains("`seed`"));
    assert!(refused(&|request| request.temperature = Some(1.5)).contains("above 1"));
    assert!(refused(&|request| request.frequency_penalty = Some(0.5)).contains("`frequency_penalty`"));
    assert!(refused(&|request| request.messages.push(Message::text(Role::System, "x"))).contains("middle"));
    assert!(refused(&|request| request.messages.clear()).contains("says nothing"));
    let mut late = asking("Hi");
    late.messages.push(Message::text(Role::System, "Late."));
    assert_eq!(body(&with(|settings| settings.late_system = LateSystem::Hoist), &late)["system"], "Late.");
}

#[test]
fn thinking_is_put_as_the_model_wants_it() {
    let mut request = asking("Hi");
    request.reasoning = Some(Reasoning { effort: Some(Effort::Medium), ..Reasoning::default() });
    let adaptive = body(&anthropic(), &request);
    assert_eq!(
        (&adaptive["thinking"]["type"], &adaptive["output_config"]["effort"]),
        (&json!("adaptive"), &json!("medium"))
    );
    let older = with(|settings| settings.thinking = Thinking::Budget);
    let budget = body(&older, &request);
    assert_eq!(budget["thinking"], json!({"type": "enabled", "budget_tokens": 8192}));
    assert_eq!(budget["max_tokens"], 16384, "thinking does not eat the answer");
    request.max_output_tokens = Some(3000);
    assert_eq!(body(&older, &request)["thinking"]["budget_tokens"], 2999);
    request.max_output_tokens = Some(500);
    let encoded = older.encode_chat("claude", &request, Delivery::Whole).unwrap();
    assert_eq!((json(&encoded.http.body).get("thinking"), encoded.ignored), (None, vec!["thinking".to_owned()]));
    request.reasoning = Some(Reasoning { effort: Some(Effort::None), ..Reasoning::default() });
    assert_eq!(body(&anthropic(), &request)["thinking"], json!({"type": "disabled"}));
}

#[test]
fn json_without_a_schema_is_asked_for_by_a_tool_and_read_as_text() {
    let mut request = asking("Hi");
    request.response_format = ResponseFormat::JsonObject;
    let asked = body(&anthropic(), &request);
    let name = asked["tools"][0]["name"].as_str().unwrap().to_owned();
    assert_eq!(asked["tool_choice"]["name"], name.as_str());
    let reply = json!({"type": "message", "content": [{"type": "tool_use", "id": "t", "name": name, "input": {"a": 1}}],
        "stop_reason": "tool_use", "usage": {}});
    let answer = with_reply(200, &[], reply.to_string().as_bytes(), |reply| anthropic().decode_chat(reply)).unwrap();
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("{\"a\":1}", FinishReason::Stop));
    assert_eq!(answer.tool_calls().count(), 0);

    let stream = String::from_utf8(fixture("anthropic/tools_stream.sse")).unwrap().replace("get_weather", &name);
    let start = stream.find("event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":4").unwrap();
    let end = stream.find("event: message_delta").unwrap();
    let stream = format!("{}{}", &stream[..start], &stream[end..]);
    let answer = folded(&events(anthropic().stream_decoder(), [stream.as_bytes()]));
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Okay{\"location\": \"Oslo\"}", FinishReason::Stop));

    request.response_format = ResponseFormat::JsonSchema {
        name: "x".into(),
        description: None,
        schema: Json::parse("{\"type\":\"object\"}").unwrap(),
        strict: None,
    };
    assert_eq!(body(&anthropic(), &request)["output_config"]["format"]["type"], "json_schema");
    let older = with(|settings| settings.structured = Structured::Tool);
    assert_eq!(body(&older, &request)["tools"][0]["input_schema"], json!({"type": "object"}));
    request.tools = vec![Tool::function("f", None, None)];
    assert!(older.encode_chat("claude", &request, Delivery::Whole).is_err());
}

#[test]
fn faults_of_a_request_have_their_place() {
    for (change, param) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"tools": [{"name": "x"}]}), "tools[0].input_schema"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"tool_choice": {"type": "must"}}), "tool_choice.type"),
    ] {
        let mut body = rich_request();
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert_eq!(decode_request(body.to_string().as_bytes()).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn errors_go_out_in_anthropics_shape() {
    let failure = Failure { status: 429, code: None, message: "Slow down.".into(), param: None };
    let body = json(&encode_failure(&failure, Some("req_1")));
    assert_eq!(
        body,
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}, "request_id": "req_1"})
    );
}

#[test]
fn the_rest_of_an_answer_is_asked_for_by_its_beginning_where_that_is_taken() {
    let cut = |beginning: &str| asking("Hi").going_on_from(beginning);
    let said = body(&anthropic(), &cut("Hel"));
    assert_eq!(said["messages"][1], json!({"role": "assistant", "content": "Hel"}));
    let thinking = Reasoning { effort: Some(Effort::High), ..Reasoning::default() };
    for request in [
        cut("Hel "),
        ChatRequest { reasoning: Some(thinking), ..cut("Hel") },
        ChatRequest { response_format: ResponseFormat::JsonObject, ..cut("{") },
    ] {
        assert!(anthropic().encode_chat("claude", &request, Delivery::Whole).is_err(), "{request:?}");
    }
}
