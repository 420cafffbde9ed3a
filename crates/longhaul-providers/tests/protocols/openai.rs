//! OpenAI's protocol, both sides, against fixtures written from its published specification.

use std::time::Duration;

use crate::support::*;
use longhaul_providers::chat::{ChatRequest, Content, Dialect, FinishReason, Message, Part, Role, StreamEvent, Usage};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use longhaul_providers::facade::Stamp;
use longhaul_providers::openai::facade::{
    ChatStreamEncoder, EncodingFormat, decode_embeddings_request, decode_request, encode_embeddings, encode_response,
};
use longhaul_providers::openai::{Flavor, OpenAi, Settings};
use longhaul_providers::protocol::{Delivery, EncodeError, Protocol, StreamHead};
use longhaul_providers::{ErrorClass, ErrorCode, ProviderError};
use serde_json::{Value, json};

fn of(flavor: Flavor) -> OpenAi {
    OpenAi::new(Settings::of(flavor, access())).unwrap()
}

fn openai() -> OpenAi {
    of(Flavor::OpenAi)
}

fn stamp() -> Stamp {
    Stamp { id: "chatcmpl-ours".to_owned(), created: 1_700_000_000, model: "smart".to_owned() }
}

/// A request that says all that chat completions can say through the neutral model.
fn rich_request() -> Value {
    json!({
        "model": "smart",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": \"it\"}"}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "a cat"},
            {"role": "assistant", "content": "A cat.", "refusal": null},
            {"role": "user", "content": "Sure?"}
        ],
        "tools": [{"type": "function", "function": {
            "name": "look", "description": "Looks.", "strict": true,
            "parameters": {"type": "object", "properties": {"zebra": {"type": "string"}, "apple": {"type": "string"}}}
        }}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "answer", "strict": true, "schema": {"type": "object", "properties": {"z": {}, "a": {}}}
        }},
        "max_completion_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "seed": 7,
        "frequency_penalty": 0.25,
        "presence_penalty": -0.25,
        "logprobs": true,
        "top_logprobs": 2,
        "reasoning_effort": "low",
        "user": "u-1",
        "logit_bias": {"50256": -100},
        "metadata": {"k": "v"}
    })
}

fn encoded(protocol: &OpenAi, request: &ChatRequest) -> Value {
    json(&protocol.encode_chat("gpt-4o", request, Delivery::Whole).unwrap().http.body)
}

#[test]
fn a_request_comes_out_as_it_came_in() {
    let mut came = rich_request();
    let call = decode_request(came.to_string().as_bytes()).unwrap();
    assert_eq!((call.model.as_str(), call.delivery, call.include_usage), ("smart", Delivery::Whole, false));
    let went = encoded(&openai(), &call.request);
    came["model"] = json!("gpt-4o");
    // Absent and null mean the same.
    came["messages"][4].as_object_mut().unwrap().remove("refusal");
    assert_eq!(went, came);
}

#[test]
fn what_is_left_of_an_object_within_comes_out_where_it_was() {
    let came = json!({
        "model": "gpt-4o",
        "messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "max_dynamic_patch": 4}, "beside": 1}
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}", "kept": true}, "index": 0,
                 "extra_content": {"other": 1}}
            ]},
            {"role": "tool", "tool_call_id": "call_1", "name": "look", "content": "a cat", "cache_control": {"type": "ephemeral"}}
        ],
        "tools": [
            {"type": "function", "function": {"name": "look", "defer": true}, "cache_control": {"type": "ephemeral"}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}, "mode": "x"},
        "response_format": {"type": "json_schema", "beside": 1, "json_schema": {
            "name": "answer", "schema": {"type": "object"}, "within": 2
        }},
    });
    let went = |came: &Value| encoded(&openai(), &decode_request(came.to_string().as_bytes()).unwrap().request);
    assert_eq!(went(&came), came);
    for format in [
        json!({"type": "json_object", "schema": {"type": "object", "properties": {"city": {"type": "string"}}}}),
        json!({"type": "text", "hint": 1}),
    ] {
        let mut came = came.clone();
        came["response_format"] = format;
        assert_eq!(went(&came), came);
        assert_ne!(
            serde_json::to_value(decode_request(came.to_string().as_bytes()).unwrap().request).unwrap(),
            serde_json::to_value(
                decode_request(came.to_string().replace("city", "town").replace("hint", "tip").as_bytes())
                    .unwrap()
                    .request
            )
            .unwrap(),
            "what a cache keeps an answer under"
        );
    }
}

#[test]
fn what_is_left_of_an_object_within_is_refused_or_named_by_who_cannot_carry_it() {
    let claude =
        longhaul_providers::anthropic::Anthropic::new(longhaul_providers::anthropic::Settings::of(access())).unwrap();
    let asked = |more: Value| {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = decode_request(body.to_string().as_bytes()).unwrap().request;
        claude.encode_chat("m", &request, Delivery::Whole).map(|encoded| encoded.ignored)
    };
    let refused = asked(json!({"response_format": {"type": "json_object", "schema": {}}})).unwrap_err();
    assert_eq!(refused.to_string(), "anthropic cannot carry `response_format.schema`");
    let marked =
        json!({"tools": [{"type": "function", "function": {"name": "f", "cache_control": {}}, "cache_control": {}}]});
    assert_eq!(asked(marked).unwrap(), ["cache_control", "function.cache_control"]);
}

#[test]
fn thoughts_go_back_to_who_takes_them() {
    let came = json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": null, "reasoning_content": "I shall look.", "reasoning": "I shall look.",
         "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAA"}],
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"}
    ]});
    let request = decode_request(came.to_string().as_bytes()).unwrap().request;
    for flavor in [Flavor::Compatible, Flavor::Vllm, Flavor::LlamaCpp, Flavor::Ollama] {
        assert_eq!(encoded(&of(flavor), &request), came, "{flavor:?}");
    }
    // These refuse fields that they do not know, and the thought may be another provider's.
    for flavor in [Flavor::OpenAi, Flavor::Azure, Flavor::Groq, Flavor::Mistral] {
        let encoded = of(flavor).encode_chat("gpt-4o", &request, Delivery::Whole).unwrap();
        assert_eq!(json(&encoded.http.body)["messages"][1].get("reasoning_content"), None, "{flavor:?}");
        assert_eq!(encoded.ignored, ["reasoning of earlier answers"]);
    }
}

#[test]
fn details_of_thoughts_are_passed_on_in_streams_too() {
    let delta = |delta: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    };
    let detail = |text: &str| json!([{"type": "reasoning.text", "text": text}]);
    let chunks = [
        delta(json!({"reasoning": "I ", "reasoning_details": detail("I ")})),
        delta(json!({"reasoning": "think", "reasoning_details": detail("think")})),
        delta(json!({"content": "Yes"})),
        json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n";
    let compatible = of(Flavor::Compatible);
    let relay = longhaul_providers::relay::RelayTo {
        dialect: Dialect::OpenAi,
        id: "chatcmpl-ours".into(),
        include_usage: false,
    };
    for decoder in [compatible.stream_decoder(), compatible.relay_stream(&relay).unwrap()] {
        let events = events(decoder, [body.as_bytes()]);
        let told = frames(ChatStreamEncoder::new(stamp(), false), &events);
        let details: Vec<Value> = told
            .iter()
            .filter_map(|frame| serde_json::from_str::<Value>(&frame.data).ok())
            .filter_map(|chunk| chunk["choices"][0]["delta"].get("reasoning_details").cloned())
            .collect();
        assert_eq!(details, [detail("I "), detail("think")]);
        let message = json(&encode_response(&folded(&events), &stamp()))["choices"][0]["message"].clone();
        assert_eq!(message["reasoning_details"].as_array().unwrap().len(), 2);
        assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("I think"), &json!("Yes")));
    }
}

#[test]
fn a_character_that_is_cut_in_two_is_one_again() {
    let body: String = [r"a \ud83c", r"\udf88 b"]
        .iter()
        .map(|text| format!(r#"data: {{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#) + "\n\n")
        .collect::<String>()
        + "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let relay =
        longhaul_providers::relay::RelayTo { dialect: Dialect::OpenAi, id: "ours".into(), include_usage: false };
    for decoder in [openai().stream_decoder(), openai().relay_stream(&relay).unwrap()] {
        assert_eq!(folded(&events(decoder, [body.as_bytes()])).text(), "a 🎈 b");
    }
}

#[test]
fn schemas_and_arguments_keep_their_bytes() {
    let body = rich_request().to_string().replace("\"properties\":{\"apple\"", "\"properties\": {\"apple\"");
    let call = decode_request(body.as_bytes()).unwrap();
    let out = openai().encode_chat("m", &call.request, Delivery::Whole).unwrap().http.body;
    assert!(String::from_utf8_lossy(&out).contains("\"properties\": {\"apple\""));
}

#[test]
fn the_head_of_a_request_is_what_the_flavor_wants() {
    let request = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
    let http = openai().encode_chat("gpt-4o", &request, Delivery::Streamed).unwrap().http;
    assert_eq!((http.method.as_str(), http.path.as_str()), ("POST", "/chat/completions"));
    assert_eq!(http.headers["authorization"], "Bearer key-123");
    assert_eq!(http.headers["accept"], "text/event-stream");
    assert!(!format!("{http:?}").contains("key-123"), "the key is not shown");
    assert_eq!(json(&http.body)["stream_options"], json!({"include_usage": true}));

    let mut settings = Settings::of(Flavor::Azure, access());
    settings.azure_api_version = Some("2024-10-21".to_owned());
    let http = OpenAi::new(settings).unwrap().encode_chat("my gpt/4", &request, Delivery::Whole).unwrap().http;
    assert_eq!(http.path, "/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21");
    assert_eq!(http.headers["api-key"], "key-123");
    assert!(!http.headers.contains_key("authorization"));
}

#[test]
fn flavors_differ_where_the_products_do() {
    let call = decode_request(rich_request().to_string().as_bytes()).unwrap();
    let mut request = call.request;
    request.logprobs = None;
    let mistral = encoded(&of(Flavor::Mistral), &request);
    assert_eq!((&mistral["random_seed"], &mistral["max_tokens"]), (&json!(7), &json!(100)));
    assert_eq!(mistral["messages"][0]["role"], "system");
    assert_eq!(mistral.get("user"), None);
    let ignored = of(Flavor::Mistral).encode_chat("m", &request, Delivery::Whole).unwrap().ignored;
    assert_eq!(ignored, ["user"]);

    request.top_k = Some(40);
    assert_eq!(encoded(&of(Flavor::Vllm), &request)["top_k"], 40);
    let refused = openai().encode_chat("m", &request, Delivery::Whole).unwrap_err();
    assert_eq!(refused, EncodeError::Unsupported { protocol: "openai", what: "`top_k`".to_owned() });
}

#[test]
fn a_setting_lets_a_field_go_and_says_so() {
    let mut settings = Settings::of(Flavor::OpenAi, access());
    settings.access.ignore.insert("top_k".to_owned());
    let request =
        ChatRequest { messages: vec![Message::text(Role::User, "Hi")], top_k: Some(1), ..ChatRequest::default() };
    let encoded = OpenAi::new(settings).unwrap().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!(encoded.ignored, ["top_k"]);
    assert_eq!(json(&encoded.http.body).get("top_k"), None);
}

#[test]
fn foreign_fields_are_refused_by_name_unless_they_change_nothing() {
    let mut request = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
    request.dialect = Dialect::Anthropic;
    request.extra.insert("service_tier", longhaul_providers::json::Json::of("auto"));
    let encoded = openai().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!(encoded.ignored, ["service_tier"]);
    request.extra.insert("container", longhaul_providers::json::Json::of("c"));
    let refused = openai().encode_chat("m", &request, Delivery::Whole).unwrap_err();
    assert_eq!(refused.to_string(), "openai cannot carry `container`");
}

#[test]
fn a_whole_answer_is_read() {
    let answer = whole(&openai(), "openai/chat.json");
    assert_eq!(answer.text(), "Grüße! How can I help?");
    assert_eq!(answer.finish.reason, FinishReason::Stop);
    assert_eq!(answer.model.as_deref(), Some("gpt-4o-2024-08-06"));
    let usage = Usage {
        input_tokens: 19,
        output_tokens: 10,
        cached_input_tokens: 4,
        cache_write_tokens: 0,
        reasoning_tokens: 3,
    };
    assert_eq!(answer.usage, Some(usage));
    assert_eq!(answer.extra.get("system_fingerprint").unwrap().as_str(), "\"fp_44709d6fcb\"");
}

#[test]
fn an_answer_comes_out_as_it_came_in() {
    for name in ["openai/chat.json", "openai/chat_tools.json"] {
        let answer = whole(&openai(), name);
        let stamp = Stamp {
            id: answer.id.clone().unwrap(),
            created: answer.created.unwrap(),
            model: answer.model.clone().unwrap(),
        };
        let mut came = json(&fixture(name));
        // What today's API always sends, and this older example leaves out.
        let message = came["choices"][0]["message"].as_object_mut().unwrap();
        message.entry("annotations").or_insert(json!([]));
        message.entry("refusal").or_insert(Value::Null);
        let usage = came["usage"].as_object_mut().unwrap();
        usage.entry("prompt_tokens_details").or_insert(json!({"cached_tokens": 0, "audio_tokens": 0}));
        usage.entry("completion_tokens_details").or_insert(json!({
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
        }));
        assert_eq!(json(&encode_response(&answer, &stamp)), came, "{name}");
    }
}

#[test]
fn streams_tell_what_they_tell_however_they_are_cut() {
    let answer = folded(&streamed(&openai(), "openai/chat_stream.sse"));
    assert_eq!(answer.text(), "Grüße 🎈!");
    assert_eq!(answer.usage.unwrap().total(), 21);

    let answer = folded(&streamed(&openai(), "openai/tools_stream.sse"));
    let calls: Vec<_> = answer.tool_calls().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("call_1", "get_weather", "{\"city\":\"Oslo\"}"), ("call_2", "get_time", "{}")]);
    assert_eq!(answer.finish.reason, FinishReason::ToolCalls);

    let answer = folded(&streamed(&openai(), "openai/azure_stream.sse"));
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Part", FinishReason::ContentFilter));
    assert_eq!(answer.id.as_deref(), Some("chatcmpl-az"));

    let answer = folded(&streamed(&of(Flavor::Compatible), "openai/compatible_stream.sse"));
    let calls: Vec<_> = answer.tool_calls().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("f", "{\"x\":1}"), ("g", "{}")]);
    assert_eq!(answer.finish.reason, FinishReason::ToolCalls, "a server that calls tools and says stop");
    assert!(matches!(&answer.parts[0].content, Content::Reasoning(thought) if thought.text == "Let me think."));
}

#[test]
fn a_stream_cut_anywhere_is_no_whole_answer() {
    for name in ["openai/chat_stream.sse", "openai/tools_stream.sse", "openai/azure_stream.sse"] {
        cut_short(&openai(), name);
    }
    let body = fixture("openai/chat_stream.sse");
    let told = events(openai().stream_decoder(), [&body[..700]]);
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!((error.code, error.class()), (ErrorCode::StreamInterrupted, ErrorClass::Transient));
}

#[test]
fn a_stream_that_never_says_why_it_ended_is_no_whole_answer() {
    let chunk = r#"{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"Half"}}]}"#;
    let told = events(openai().stream_decoder(), [format!("data: {chunk}\n\ndata: [DONE]\n\n").as_bytes()]);
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!(error.code, ErrorCode::StreamInterrupted);
}

#[test]
fn headers_tell_how_much_is_left() {
    let pairs = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")];
    let limits = with_reply(200, &pairs, b"", |reply| openai().rate_limits(reply.head));
    assert_eq!(limits.hold(), Some(Duration::from_secs(360)));
}

#[test]
fn an_error_inside_a_good_stream_is_an_error() {
    let told = streamed(&openai(), "openai/error_stream.sse");
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!((error.code, error.class()), (ErrorCode::ServerError, ErrorClass::Transient));
    assert!(told.contains(&StreamEvent::TextDelta { text: "Half".to_owned() }));
    for (data, code) in [
        (r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#, ErrorCode::InvalidRequest),
        (
            r#"{"error":{"message":"Rate limit reached. Please try again in 1.5s.","type":"tokens","code":"rate_limit_exceeded"}}"#,
            ErrorCode::RateLimited,
        ),
        (r#"{"error":"out of memory"}"#, ErrorCode::ServerError),
        (r#"{"id":1}"#, ErrorCode::MalformedResponse),
        ("<html>", ErrorCode::MalformedResponse),
    ] {
        let told = events(openai().stream_decoder(), [format!("data: {data}\n\n").as_bytes()]);
        let [StreamEvent::Error(error)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(error.code, code, "{data}");
    }
}

fn error(status: u16, pairs: &[(&'static str, &str)], body: &str) -> ProviderError {
    with_reply(status, pairs, body.as_bytes(), |reply| openai().decode_chat(reply)).unwrap_err()
}

#[test]
fn errors_are_sorted() {
    let limited = error(
        429,
        &[("retry-after", "20"), ("x-request-id", "req_9")],
        r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
    );
    assert_eq!(limited.class(), ErrorClass::Throttled);
    assert_eq!(limited.retry_after, Some(Duration::from_secs(20)));
    assert_eq!(limited.request_id.as_deref(), Some("req_9"));

    let table: &[(u16, &str, ErrorCode)] = &[
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            ErrorCode::QuotaExhausted,
        ),
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            ErrorCode::Authentication,
        ),
        (
            404,
            r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            ErrorCode::NotFound,
        ),
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            ErrorCode::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 2048 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            ErrorCode::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ErrorCode::ContextLengthExceeded,
        ),
        (
            400,
            r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            ErrorCode::ContentFiltered,
        ),
        (
            400,
            r#"{"error":{"message":"bad","type":"invalid_request_error","param":"temperature","code":null}}"#,
            ErrorCode::InvalidRequest,
        ),
        (404, r#"{"error":{"code":"DeploymentNotFound","message":"no"}}"#, ErrorCode::NotFound),
        (422, r#"{"detail":[{"loc":["body"],"msg":"extra"}]}"#, ErrorCode::InvalidRequest),
        (413, "", ErrorCode::RequestTooLarge),
        (500, "oops", ErrorCode::ServerError),
        (502, "<html>Bad gateway</html>", ErrorCode::ServerError),
        (
            503,
            r#"{"error":{"message":"The engine is currently overloaded","type":"server_error","param":null,"code":null}}"#,
            ErrorCode::Overloaded,
        ),
        (200, r#"{"error":{"message":"late","type":"server_error"}}"#, ErrorCode::ServerError),
        (200, "{\"choices\":[]}", ErrorCode::MalformedResponse),
        (200, "<html></html>", ErrorCode::MalformedResponse),
        (200, r#"{"choices":[{"message":{"content":"x"}}]}"#, ErrorCode::MalformedResponse),
    ];
    for (status, body, code) in table {
        let error = error(*status, &[], body);
        assert_eq!(error.code, *code, "{status} {body}: {error:?}");
        assert_eq!(error.http_status, Some(*status));
        assert!(!error.message.is_empty());
    }
}

#[test]
fn the_head_of_a_stream_is_judged() {
    let judge = |status, content_type: &str| {
        with_reply(status, &[("content-type", content_type)], b"", |reply| openai().check_stream(reply.head))
    };
    assert_eq!(judge(200, "text/event-stream; charset=utf-8"), StreamHead::Events);
    assert_eq!(judge(200, "application/json"), StreamHead::Whole);
    assert_eq!(judge(200, "text/html"), StreamHead::Error);
    assert_eq!(judge(429, "text/event-stream"), StreamHead::Error);
}

#[test]
fn a_stream_goes_out_as_openai_sends_it() {
    let events = streamed(&openai(), "openai/chat_stream.sse");
    let stamp = Stamp { id: "chatcmpl-123".into(), created: 1_694_268_190, model: "gpt-4o-mini".into() };
    let out = frames(ChatStreamEncoder::new(stamp, true), &events);
    let came = fixture("openai/chat_stream.sse");
    let came: Vec<&str> = std::str::from_utf8(&came).unwrap().split("\n\n").filter(|part| !part.is_empty()).collect();
    assert_eq!(out.len(), came.len());
    for (frame, came) in out.iter().zip(came) {
        let came = came.strip_prefix("data: ").unwrap();
        if came == "[DONE]" {
            assert_eq!(frame.data, came);
            continue;
        }
        let (mut frame, mut came) = (json(frame.data.as_bytes()), json(came.as_bytes()));
        if came["usage"].is_object() {
            for (object, field) in [(&mut frame, "usage"), (&mut came, "usage")] {
                let usage = object[field].as_object_mut().unwrap();
                usage.remove("prompt_tokens_details");
                usage.remove("completion_tokens_details");
            }
        }
        assert_eq!(frame, came);
    }
}

#[test]
fn what_goes_out_streamed_is_read_back_as_it_was() {
    for name in ["openai/chat_stream.sse", "openai/tools_stream.sse", "openai/compatible_stream.sse"] {
        let came = streamed(&openai(), name);
        let body = sse(&frames(ChatStreamEncoder::new(stamp(), true), &came));
        let back = events(openai().stream_decoder(), [&body[..]]);
        let (came, back) = (folded(&came), folded(&back));
        assert_eq!((&back.parts, &back.finish.reason), (&came.parts, &came.finish.reason), "{name}");
        let whole = encode_response(&came, &stamp());
        let again = with_reply(200, &[], &whole, |reply| openai().decode_chat(reply)).unwrap();
        assert_eq!(again.parts, came.parts, "{name}");
    }
}

#[test]
fn a_stream_without_include_usage_tells_none() {
    let events = streamed(&openai(), "openai/chat_stream.sse");
    let out = frames(ChatStreamEncoder::new(stamp(), false), &events);
    assert!(out.iter().all(|frame| !frame.data.contains("usage")));
}

#[test]
fn an_error_ends_a_stream_without_done() {
    let events = streamed(&openai(), "openai/error_stream.sse");
    let out = frames(ChatStreamEncoder::new(stamp(), true), &events);
    let last = json(out.last().unwrap().data.as_bytes());
    assert_eq!(last["error"]["code"], "provider_server_error");
    assert!(out.iter().all(|frame| frame.data != "[DONE]"));
}

#[test]
fn faults_of_a_request_have_their_place() {
    let fault = |change: &dyn Fn(&mut Value)| {
        let mut body = rich_request();
        change(&mut body);
        let error = decode_request(body.to_string().as_bytes()).unwrap_err();
        (error.param.unwrap_or_default(), error.message)
    };
    type Case<'a> = (&'a dyn Fn(&mut Value), &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (&|body| body["temperature"] = json!("hot"), "temperature", "expected f64"),
        (&|body| body["messages"] = json!([]), "messages", "empty"),
        (&|body| body["messages"][1]["role"] = json!("boss"), "messages[1].role", "`boss`"),
        (&|body| body["messages"][1]["content"][0]["type"] = json!("video"), "messages[1].content[0].type", "`video`"),
        (&|body| body["messages"][3]["tool_call_id"] = Value::Null, "messages[3].tool_call_id", "required"),
        (&|body| body["n"] = json!(2), "n", "must be 1"),
        (&|body| body["functions"] = json!([{}]), "functions", "tools"),
        (&|body| body["tools"][0]["type"] = json!("custom"), "tools[0].type", "custom"),
        (&|body| body["tools"][0]["function"]["parameters"] = json!(3), "tools[0].function.parameters", "object"),
        (&|body| body["max_tokens"] = json!(5), "max_tokens", "one of them"),
        (&|body| body["response_format"]["type"] = json!("xml"), "response_format.type", "`xml`"),
        (&|body| body["model"] = Value::Null, "model", "required"),
    ];
    for (change, param, says) in cases {
        let (at, message) = fault(change);
        assert_eq!(at, *param, "{message}");
        assert!(message.contains(says), "{message}");
    }
    for body in ["", "[]", "{", "\u{0}", "{\"model\":\"a\",\"model\":\"b\"}"] {
        assert!(decode_request(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn vectors_are_read_in_both_forms_and_in_order() {
    let decode = |body: &str, expected| {
        with_reply(200, &[], body.as_bytes(), |reply| openai().decode_embeddings(reply, expected))
    };
    let numbers = r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[3.0,4.0]},{"object":"embedding","index":0,"embedding":[1.0,2.5]}],"model":"e","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let answer = decode(numbers, 2).unwrap();
    assert_eq!(answer.vectors, [[1.0, 2.5], [3.0, 4.0]]);
    assert_eq!(decode(numbers, 3).unwrap_err().code, ErrorCode::MalformedResponse);
    let base64 = encode_embeddings(&answer, "e", EncodingFormat::Base64);
    assert!(String::from_utf8_lossy(&base64).contains("AACAPwAAIEA="));
    assert_eq!(decode(std::str::from_utf8(&base64).unwrap(), 2).unwrap(), answer);
    let float = encode_embeddings(&answer, "e", EncodingFormat::Float);
    assert_eq!(decode(std::str::from_utf8(&float).unwrap(), 2).unwrap(), answer);
    for bad in
        [r#"{"data":[{"embedding":"AAA"}]}"#, r#"{"data":[{"embedding":[]}]}"#, r#"{"data":[{"embedding":"AAAA"}]}"#]
    {
        assert_eq!(decode(bad, 1).unwrap_err().code, ErrorCode::MalformedResponse, "{bad}");
    }
}

#[test]
fn every_form_of_embeddings_input_is_read() {
    let read = |input: Value| decode_embeddings_request(json!({"model": "e", "input": input}).to_string().as_bytes());
    let texts = |texts: &[&str]| EmbeddingsInput::Texts(texts.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(read(json!("a")).unwrap().request.input, texts(&["a"]));
    assert_eq!(read(json!(["a", "b"])).unwrap().request.input, texts(&["a", "b"]));
    assert_eq!(read(json!([1, 2])).unwrap().request.input, EmbeddingsInput::Tokens(vec![vec![1, 2]]));
    assert_eq!(read(json!([[1], [2]])).unwrap().request.input, EmbeddingsInput::Tokens(vec![vec![1], vec![2]]));
    for bad in [json!([]), json!(""), json!(["a", ""]), json!({}), json!([1, "a"]), json!([[]])] {
        assert_eq!(read(bad.clone()).unwrap_err().param.unwrap().split('[').next(), Some("input"), "{bad}");
    }
    let request = EmbeddingsRequest { input: texts(&["a"]), dimensions: Some(8), ..EmbeddingsRequest::default() };
    let http = openai().encode_embeddings("e", &request).unwrap().http;
    assert_eq!(http.path, "/embeddings");
    assert_eq!(json(&http.body), json!({"model":"e","input":["a"],"dimensions":8,"encoding_format":"float"}));
}

#[test]
fn results_of_tools_become_messages_before_what_the_user_says() {
    let result =
        longhaul_providers::chat::ToolResult { call_id: "c".to_owned(), parts: vec![Part::text("42")], is_error: true };
    let request = ChatRequest {
        messages: vec![Message::of(Role::User, vec![Part::text("and?"), Content::ToolResult(result).into()])],
        ..ChatRequest::default()
    };
    let encoded = openai().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!(
        json(&encoded.http.body)["messages"],
        json!([{"role":"tool","tool_call_id":"c","content":"42"},{"role":"user","content":"and?"}])
    );
    assert_eq!(encoded.ignored, ["is_error of a tool's result"]);
}

#[test]
fn models_are_listed() {
    let body = br#"{"object":"list","data":[{"id":"gpt-4o","object":"model","created":1,"owned_by":"openai"}]}"#;
    assert_eq!(with_reply(200, &[], body, |reply| openai().decode_models(reply)).unwrap(), ["gpt-4o"]);
    assert_eq!(openai().encode_models().path, "/models");
}

fn well_begun() -> ChatRequest {
    let asked = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
    asked.going_on_from("Hel")
}

#[test]
fn the_rest_of_an_answer_is_asked_for_as_each_product_wants_it_and_of_no_other() {
    let beginning = json!({"role": "assistant", "content": "Hel"});
    let asked = |flavor| of(flavor).encode_chat("m", &well_begun(), Delivery::Streamed);
    for flavor in [Flavor::Vllm, Flavor::LlamaCpp] {
        let body = json(&asked(flavor).unwrap().http.body);
        assert_eq!(body["messages"][1], beginning, "{flavor:?}");
        assert_eq!((&body["continue_final_message"], &body["add_generation_prompt"]), (&json!(true), &json!(false)));
    }
    let body = json(&asked(Flavor::Groq).unwrap().http.body);
    assert_eq!((&body["messages"][1], body.get("continue_final_message")), (&beginning, None));
    let body = json(&asked(Flavor::Mistral).unwrap().http.body);
    assert_eq!(body["messages"][0].get("prefix"), None);
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Hel", "prefix": true}));
    assert!(of(Flavor::Mistral).repeats_beginning());
    for flavor in [Flavor::OpenAi, Flavor::Azure, Flavor::Ollama, Flavor::Compatible] {
        let refused = asked(flavor).unwrap_err();
        assert!(matches!(&refused, EncodeError::Unsupported { what, .. } if what.contains("go on from")), "{flavor:?}");
    }
}

#[test]
fn json_is_not_gone_on_from_and_an_assistants_last_word_is_no_beginning() {
    let json_object = longhaul_providers::chat::ResponseFormat::JsonObject;
    let request = ChatRequest { response_format: json_object, ..well_begun() };
    assert!(of(Flavor::Vllm).encode_chat("m", &request, Delivery::Whole).is_err());
    let spoken = ChatRequest { goes_on: false, ..well_begun() };
    let body = json(&of(Flavor::Vllm).encode_chat("m", &spoken, Delivery::Whole).unwrap().http.body);
    assert_eq!(body.get("continue_final_message"), None);
    assert!(openai().encode_chat("m", &spoken, Delivery::Whole).is_ok());
}
