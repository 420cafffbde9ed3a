//! Gemini's generateContent and embeddings.

use std::time::Duration;

use longhaul_providers::chat::{
    ChatRequest, Content, Effort, FinishReason, Image, ImageSource, Message, Part, Reasoning, ResponseFormat, Role,
    StreamEvent, Tool, ToolCall, ToolChoice, ToolResult,
};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use longhaul_providers::gemini::{Gemini, Schemas, Settings};
use longhaul_providers::json::Json;
use longhaul_providers::protocol::{Delivery, Protocol};
use longhaul_providers::{ErrorClass, ErrorCode};
use serde_json::{Value, json};

use crate::support::*;

fn gemini() -> Gemini {
    Gemini::new(Settings::of(access())).unwrap()
}

fn older() -> Gemini {
    Gemini::new(Settings { schemas: Schemas::OpenApi, ..Settings::of(access()) }).unwrap()
}

fn asking(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
}

fn body(protocol: &Gemini, model: &str, request: &ChatRequest) -> Value {
    json(&protocol.encode_chat(model, request, Delivery::Whole).unwrap().http.body)
}

fn conversation() -> ChatRequest {
    let call = |signature: Option<&str>| {
        Content::ToolCall(ToolCall {
            id: "c1".into(),
            name: "look".into(),
            arguments: "{\"at\":\"it\"}".into(),
            signature: signature.map(str::to_owned),
        })
    };
    let result = |text: &str, is_error| {
        Content::ToolResult(ToolResult { call_id: "c1".into(), parts: vec![Part::text(text)], is_error })
    };
    let image =
        Image { source: ImageSource::Data { media_type: "image/png".into(), base64: "aGk=".into() }, detail: None };
    ChatRequest {
        messages: vec![
            Message::text(Role::System, "Be brief."),
            Message::of(Role::User, vec![Part::text("What is this?"), Content::Image(image).into()]),
            Message::of(Role::Assistant, vec![call(Some("sig")).into()]),
            Message::of(Role::Tool, vec![result("a cat", false).into()]),
            Message::of(Role::Assistant, vec![call(None).into()]),
            Message::of(Role::Tool, vec![result("{\"ok\":1}", false).into(), result("boom", true).into()]),
            Message::text(Role::User, "Sure?"),
        ],
        tools: vec![Tool::function("look", Some("Looks.".into()), Some(Json::parse("{\"type\":\"object\"}").unwrap()))],
        tool_choice: Some(ToolChoice::Function("look".into())),
        max_output_tokens: Some(10),
        temperature: Some(1.5),
        top_p: Some(0.5),
        top_k: Some(3),
        stop: vec!["END".into()],
        seed: Some(7),
        presence_penalty: Some(0.25),
        ..ChatRequest::default()
    }
}

#[test]
fn a_conversation_is_put_in_geminis_words() {
    let encoded = gemini().encode_chat("gemini-3-pro", &conversation(), Delivery::Streamed).unwrap();
    assert_eq!(encoded.http.path, "/models/gemini-3-pro:streamGenerateContent?alt=sse");
    assert_eq!(encoded.http.headers["x-goog-api-key"], "key-123");
    assert_eq!(
        json(&encoded.http.body),
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "What is this?"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "it"}}, "thoughtSignature": "sig"}]},
                {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"result": "a cat"}}}]},
                {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "it"}}, "thoughtSignature": "skip_thought_signature_validator"}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"name": "look", "response": {"ok": 1}}},
                    {"functionResponse": {"name": "look", "response": {"error": "boom"}}},
                    {"text": "Sure?"}
                ]}
            ],
            "tools": [{"functionDeclarations": [{"name": "look", "description": "Looks.", "parametersJsonSchema": {"type": "object"}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
            "generationConfig": {"temperature": 1.5, "topP": 0.5, "topK": 3, "maxOutputTokens": 10, "stopSequences": ["END"], "seed": 7, "presencePenalty": 0.25}
        })
    );
    let older = body(&gemini(), "models/gemini-2.5-flash", &conversation());
    assert_eq!(older["contents"][3]["parts"][0].get("thoughtSignature"), None);
}

#[test]
fn schemas_are_put_in_the_old_dialect_where_asked() {
    let schema = r##"{"$schema":"x","type":"object","additionalProperties":false,"properties":{"zebra":{"type":["string","null"],"description":"z"},"apple":{"$ref":"#/$defs/a"},"kind":{"const":"x"},"n":{"anyOf":[{"type":"integer","minimum":1},{"type":"null"}]}},"required":["zebra"],"$defs":{"a":{"type":"array","items":{"type":"number"}}}}"##;
    let mut request = asking("Hi");
    request.response_format = ResponseFormat::JsonSchema {
        name: "x".into(),
        description: None,
        schema: Json::parse(schema).unwrap(),
        strict: Some(true),
    };
    let config = &body(&older(), "gemini-2.0-flash", &request)["generationConfig"];
    assert_eq!(config["responseMimeType"], "application/json");
    assert_eq!(
        config["responseSchema"],
        json!({
            "type": "OBJECT",
            "properties": {
                "zebra": {"type": "STRING", "nullable": true, "description": "z"},
                "apple": {"type": "ARRAY", "items": {"type": "NUMBER"}},
                "kind": {"enum": ["x"], "type": "STRING"},
                "n": {"nullable": true, "type": "INTEGER", "minimum": 1}
            },
            "propertyOrdering": ["zebra", "apple", "kind", "n"],
            "required": ["zebra"]
        })
    );
    let newer = gemini().encode_chat("gemini-2.5-flash", &request, Delivery::Whole).unwrap().http.body;
    assert!(String::from_utf8_lossy(&newer).contains(&format!("\"responseJsonSchema\":{schema}")));
    for bad in [
        r#"{"type":"object","not":{}}"#,
        r##"{"$ref":"#"}"##,
        r#"{"type":["string","integer"]}"#,
        r##"{"$ref":"#/$defs/none"}"##,
    ] {
        request.response_format = ResponseFormat::JsonSchema {
            name: "x".into(),
            description: None,
            schema: Json::parse(bad).unwrap(),
            strict: None,
        };
        assert!(older().encode_chat("m", &request, Delivery::Whole).is_err(), "{bad}");
    }
}

#[test]
fn thinking_is_put_as_the_model_wants_it() {
    let mut request = asking("Hi");
    let effort = |effort| Some(Reasoning { effort: Some(effort), ..Reasoning::default() });
    request.reasoning = effort(Effort::Low);
    let config = |model: &str, request: &ChatRequest| {
        body(&gemini(), model, request)["generationConfig"]["thinkingConfig"].clone()
    };
    assert_eq!(config("gemini-2.5-pro", &request), json!({"thinkingBudget": 2048}));
    assert_eq!(config("gemini-3-pro", &request), json!({"thinkingLevel": "LOW"}));
    request.reasoning = effort(Effort::None);
    assert_eq!(config("gemini-2.5-flash", &request), json!({"thinkingBudget": 0}));
    request.reasoning = Some(Reasoning { budget_tokens: Some(512), ..Reasoning::default() });
    assert_eq!(config("gemini-2.5-flash", &request), json!({"thinkingBudget": 512, "includeThoughts": true}));
}

#[test]
fn what_has_no_word_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut ChatRequest)| {
        let mut request = conversation();
        change(&mut request);
        gemini().encode_chat("gemini-3-pro", &request, Delivery::Whole).unwrap_err().to_string()
    };
    assert!(refused(&|request| request.parallel_tool_calls = Some(false)).contains("`parallel_tool_calls`"));
    assert!(refused(&|request| request.messages.push(Message::text(Role::System, "x"))).contains("middle"));
    let url = Image { source: ImageSource::Url("https://example.com/a.png".into()), detail: None };
    let image: Part = Content::Image(url).into();
    assert!(refused(&|request| request.messages[1].parts.push(image.clone())).contains("URL"));
    assert!(refused(&|request| drop(request.messages.remove(2))).contains("without the call"));
}

#[test]
fn a_whole_answer_is_read() {
    let answer = whole(&gemini(), "gemini/answer.json");
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Grüße, Welt.", FinishReason::ToolCalls));
    let calls: Vec<_> =
        answer.tool_calls().map(|call| (&*call.id, &*call.arguments, call.signature.as_deref())).collect();
    assert_eq!(
        calls,
        [("call_UxV0aN_0", "{\"location\": \"Oslo\",\"days\":2}", Some("CpcBAVSoXO4=")), ("fc-2", "{}", None)]
    );
    let Content::Reasoning(thought) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!(thought.text, "Thinking about it. More.");
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.cached_input_tokens),
        (100, 50, 30, 40)
    );
    assert!(answer.extra.get("groundingMetadata").is_some());
}

#[test]
fn a_stream_tells_what_it_tells_however_it_is_cut() {
    let told = streamed(&gemini(), "gemini/stream.sse");
    let answer = folded(&told);
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Grüße", FinishReason::ToolCalls));
    assert_eq!(answer.tool_calls().next().unwrap().signature.as_deref(), Some("c2ln"));
    assert_eq!(answer.usage.unwrap().output_tokens, 14);
    let Content::Reasoning(thought) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!(thought.text, "Let me think.");
    cut_short(&gemini(), "gemini/stream.sse");
    let told = streamed(&gemini(), "gemini/error_stream.sse");
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!((error.code, error.class()), (ErrorCode::Overloaded, ErrorClass::Transient));
}

#[test]
fn blocks_and_errors_are_sorted() {
    let error = |status, body: &[u8]| with_reply(status, &[], body, |reply| gemini().decode_chat(reply)).unwrap_err();
    assert_eq!(error(200, &fixture("gemini/blocked.json")).code, ErrorCode::ContentFiltered);
    let throttled = error(429, &fixture("gemini/throttled.json"));
    assert_eq!(
        (throttled.class(), throttled.retry_after),
        (ErrorClass::Throttled, Some(Duration::from_millis(34_500)))
    );
    assert_eq!(error(429, &fixture("gemini/quota.json")).code, ErrorCode::QuotaExhausted);
    for (status, body, code) in [
        (
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            ErrorCode::Authentication,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#,
            ErrorCode::ContextLengthExceeded,
        ),
        (403, r#"[{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}]"#, ErrorCode::Permission),
        (404, r#"{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}"#, ErrorCode::NotFound),
        (
            500,
            r#"{"error":{"code":500,"message":"An internal error has occurred.","status":"INTERNAL"}}"#,
            ErrorCode::ServerError,
        ),
        (503, r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#, ErrorCode::Overloaded),
        (504, r#"{"error":{"code":504,"message":"x","status":"DEADLINE_EXCEEDED"}}"#, ErrorCode::Timeout),
        (
            200,
            r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"bad"}]}"#,
            ErrorCode::MalformedResponse,
        ),
        (200, r#"{"candidates":[]}"#, ErrorCode::MalformedResponse),
        (200, r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#, ErrorCode::MalformedResponse),
    ] {
        assert_eq!(error(status, body.as_bytes()).code, code, "{status} {body}");
    }
    let filtered = br#"{"candidates":[{"finishReason":"SAFETY"}]}"#;
    let answer = with_reply(200, &[], filtered, |reply| gemini().decode_chat(reply)).unwrap();
    assert_eq!((answer.finish.reason, answer.parts.len()), (FinishReason::ContentFilter, 0));
}

#[test]
fn log_probabilities_come_in_the_neutral_form() {
    let body = br#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-0.5}],"topCandidates":[{"candidates":[{"token":"a","logProbability":-0.5},{"token":"b","logProbability":-1.5}]}]}}]}"#;
    let answer = with_reply(200, &[], body, |reply| gemini().decode_chat(reply)).unwrap();
    let logprobs = json(answer.logprobs.unwrap().as_str().as_bytes());
    assert_eq!(logprobs["content"][0]["top_logprobs"][1], json!({"token": "b", "logprob": -1.5, "bytes": [98]}));
}

#[test]
fn one_text_and_many_are_embedded() {
    let request = |texts: &[&str]| EmbeddingsRequest {
        input: EmbeddingsInput::Texts(texts.iter().map(|text| (*text).to_owned()).collect()),
        dimensions: Some(8),
        ..EmbeddingsRequest::default()
    };
    let one = gemini().encode_embeddings("gemini-embedding-001", &request(&["a"])).unwrap().http;
    assert_eq!(one.path, "/models/gemini-embedding-001:embedContent");
    assert_eq!(json(&one.body), json!({"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}));
    let many = gemini().encode_embeddings("gemini-embedding-001", &request(&["a", "b"])).unwrap().http;
    assert_eq!(many.path, "/models/gemini-embedding-001:batchEmbedContents");
    assert_eq!(json(&many.body)["requests"][1]["model"], "models/gemini-embedding-001");
    let read = |body: &str, expected| {
        with_reply(200, &[], body.as_bytes(), |reply| gemini().decode_embeddings(reply, expected))
    };
    assert_eq!(read(r#"{"embedding":{"values":[1.0,2.0]}}"#, 1).unwrap().vectors, [[1.0, 2.0]]);
    let many = r#"{"embeddings":[{"values":[1.0]},{"values":[2.0]}]}"#;
    assert_eq!(read(many, 2).unwrap().vectors, [[1.0], [2.0]]);
    assert_eq!(read(many, 3).unwrap_err().code, ErrorCode::MalformedResponse);
    let tokens = EmbeddingsRequest { input: EmbeddingsInput::Tokens(vec![vec![1]]), ..EmbeddingsRequest::default() };
    assert!(gemini().encode_embeddings("m", &tokens).is_err());
}

#[test]
fn an_answer_cannot_be_gone_on_from() {
    let request = asking("Hi").going_on_from("Hel");
    assert!(gemini().encode_chat("gemini", &request, Delivery::Whole).is_err());
}
