//! OpenAI's responses, both sides.

use longhaul_providers::chat::{
    ChatRequest, Content, Dialect, Finish, FinishReason, Message, Part, ReasoningContent, Role, StreamEvent, Tool,
    Usage,
};
use longhaul_providers::error::ProviderError;
use longhaul_providers::exchange::Access;
use longhaul_providers::facade::{Frame, Stamp, StreamEncoder};
use longhaul_providers::json::Json;
use longhaul_providers::protocol::{Delivery, Protocol};
use longhaul_providers::responses::facade::{
    Page, ResponseStreamEncoder, ResponsesCall, Status, decode_request, encode_input_items, encode_pending,
    encode_response, read_items,
};
use longhaul_providers::responses::{Responses, Settings};
use longhaul_providers::{ErrorClass, ErrorCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;

fn responses() -> Responses {
    Responses::new(Settings { access: access(), azure: false }).unwrap()
}

fn stamp() -> Stamp {
    Stamp { id: "resp_ours".to_owned(), created: 1_700_000_000, model: "smart".to_owned() }
}

fn rich_request() -> Value {
    json!({
        "model": "smart",
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_file", "file_data": "x", "filename": "a.pdf"}
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAA",
                "content": [{"type": "reasoning_text", "text": "hm, hm"}]},
            {"type": "message", "role": "assistant", "content": "Let me look."},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
            {"type": "message", "role": "user", "content": "Sure?"}
        ],
        "tools": [
            {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": true},
            {"type": "web_search", "search_context_size": "low"}
        ],
        "tool_choice": {"type": "function", "name": "look", "within": 1},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": true, "within": 1},
            "verbosity": "low", "beside": 1},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.75,
        "user": "u",
        "include": ["reasoning.encrypted_content"],
        "service_tier": "flex"
    })
}

fn call(body: &Value) -> ResponsesCall {
    decode_request(body.to_string().as_bytes()).unwrap()
}

fn simple() -> ResponsesCall {
    call(&json!({"model": "smart", "input": "Hi"}))
}

#[test]
fn a_request_comes_out_as_it_came_in() {
    let mut came = rich_request();
    let call = call(&came);
    let encoded = responses().encode_chat("gpt-5", &call.request, Delivery::Whole).unwrap();
    assert_eq!((encoded.http.path.as_str(), encoded.ignored.len()), ("/responses", 0));
    came["model"] = json!("gpt-5");
    came["store"] = json!(false);
    // Instructions are the first item: the neutral model has one list.
    let instructions = came.as_object_mut().unwrap().remove("instructions").unwrap();
    let first = json!({"type": "message", "role": "system", "content": instructions});
    came["input"].as_array_mut().unwrap().insert(0, first);
    assert_eq!(json(&encoded.http.body), came);
}

/// What is sent for the next turn of a conversation whose last answer was told by these events.
fn next_turn(events: &[StreamEvent]) -> Value {
    let call = call(&json!({"model": "smart", "input": "Hi", "reasoning": {"effort": "low"}}));
    let mut encoder = ResponseStreamEncoder::new(stamp(), call.echo);
    let mut told = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut told));
    let ids = |kind: &str| -> Vec<Value> {
        let told = told.iter().map(|frame| json(frame.data.as_bytes())).filter(|event| event["type"] == kind);
        told.map(|event| event["item"]["id"].clone()).collect()
    };
    assert_eq!(ids("response.output_item.added"), ids("response.output_item.done"), "an item keeps its name");
    let mut input = json(&encoder.object())["output"].as_array().unwrap().clone();
    input.push(json!({"role": "user", "content": "Sure?"}));
    let next = decode_request(json!({"model": "smart", "input": input}).to_string().as_bytes()).unwrap();
    json(&responses().encode_chat("gpt-4o", &next.request, Delivery::Whole).unwrap().http.body)["input"].clone()
}

#[test]
fn a_sealed_thought_comes_back_under_the_name_that_its_provider_gave_it() {
    let thought = |dialect, id: Option<&str>, encrypted: Option<&str>| {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let mut answer = longhaul_providers::chat::ChatResponse::of_text("Yes.");
        let thought = ReasoningContent { text: "hm".into(), signature: None, encrypted: own(encrypted), id: own(id) };
        (answer.dialect, answer.parts) = (dialect, vec![Content::Reasoning(thought).into(), Part::text("Yes.")]);
        next_turn(&answer.to_events())
    };
    let sealed = thought(Dialect::Responses, Some("rs_theirs"), Some("gAA"));
    assert_eq!(
        sealed[0],
        json!({"type": "reasoning", "id": "rs_theirs", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAA"})
    );
    for lost in [
        thought(Dialect::Responses, Some("rs_theirs"), None),
        thought(Dialect::OpenAi, None, None),
        thought(Dialect::Anthropic, None, Some("EqoB")),
    ] {
        assert!(!lost.to_string().contains("reasoning"), "{lost}");
    }
    // As a stream tells it, piece by piece.
    let events = streamed(&responses(), "responses/stream.sse");
    let sealed: Vec<StreamEvent> = events
        .into_iter()
        .map(|event| match event {
            StreamEvent::ReasoningEnded { id, .. } => {
                StreamEvent::ReasoningEnded { signature: None, encrypted: Some("gAA".into()), id }
            }
            event => event,
        })
        .collect();
    let sent = next_turn(&sealed);
    assert_eq!((&sent[0]["id"], &sent[0]["encrypted_content"]), (&json!("rs_1"), &json!("gAA")), "{sent}");
}

#[test]
fn sealed_thoughts_are_asked_for_where_the_model_thinks() {
    let include = |model: &str, more: Value| {
        let mut body = json!({"model": "smart", "input": "Hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json(&responses().encode_chat(model, &call(&body).request, Delivery::Whole).unwrap().http.body)["include"]
            .clone()
    };
    let sealed = json!(["reasoning.encrypted_content"]);
    assert_eq!(include("my-deployment", json!({"reasoning": {"effort": "low"}})), sealed);
    assert_eq!(include("gpt-5-mini", json!({})), sealed);
    assert_eq!(include("gpt-5", json!({"include": ["reasoning.encrypted_content"]})), sealed);
    // A model that does not think refuses to be asked for it.
    assert_eq!(include("gpt-4o", json!({})), Value::Null);
    assert_eq!(include("gpt-5.1", json!({"reasoning": {"effort": "none"}})), Value::Null);
}

#[test]
fn what_a_response_repeats_is_what_was_asked() {
    let mut body = rich_request();
    body["background"] = json!(true);
    body["metadata"] = json!({"k": "v"});
    let call = call(&body);
    assert!(call.background && call.store);
    let object = json(&encode_pending(&stamp(), &call.echo, Status::Queued));
    assert_eq!(
        (&object["status"], &object["background"], &object["metadata"]["k"]),
        (&json!("queued"), &json!(true), &json!("v"))
    );
    assert_eq!(object["tools"], body["tools"]);
    assert_eq!((&object["temperature"], &object["output"], &object["usage"]), (&json!(0.5), &json!([]), &Value::Null));
    let object = json(&encode_pending(&stamp(), &simple().echo, Status::InProgress));
    for required in [
        "id",
        "object",
        "created_at",
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
    ] {
        assert!(object.as_object().unwrap().contains_key(required), "{required}");
    }
}

#[test]
fn faults_of_a_request_have_their_place() {
    for (field, value, param) in [
        ("conversation", json!("c"), "conversation"),
        ("input", json!([{"type": "item_reference", "id": "x"}]), "input[0]"),
        ("input", json!([{"role": "boss", "content": "x"}]), "input[0].role"),
        ("input", json!([]), "input"),
        ("top_logprobs", json!(2), "top_logprobs"),
        ("include", json!(["message.output_text.logprobs"]), "include[0]"),
        ("tools", json!([{"type": "function"}]), "tools[0].name"),
        ("text", json!({"format": {"type": "xml"}}), "text.format.type"),
    ] {
        let mut body = json!({"model": "m", "input": "x"});
        body[field] = value;
        let error = decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{error}");
    }
    assert!(decode_request(br#"{"model":"m","input":"x","background":true,"store":false}"#).is_err());
}

#[test]
fn what_the_model_said_in_several_items_is_one_message() {
    let request = call(&rich_request()).request;
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::User]);
    assert_eq!(request.messages[2].parts.len(), 4);
}

#[test]
fn a_whole_answer_is_read() {
    let answer = whole(&responses(), "responses/response.json");
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("In a peaceful grove", FinishReason::ToolCalls));
    let Content::Reasoning(thought) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!((thought.text.as_str(), thought.encrypted.as_deref()), ("One.\n\nTwo.", Some("gAAAA")));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.reasoning_tokens), (36, 6, 20));
    let read = |body: Value| with_reply(200, &[], body.to_string().as_bytes(), |reply| responses().decode_chat(reply));
    let cut = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": []});
    assert_eq!(read(cut).unwrap().finish.reason, FinishReason::Length);
    let failed = json!({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}, "output": []});
    assert_eq!(read(failed).unwrap_err().code, ErrorCode::RateLimited);
    assert_eq!(read(json!({"status": "in_progress", "output": []})).unwrap_err().code, ErrorCode::MalformedResponse);
    assert_eq!(read(json!({"error": {"message": "x"}})).unwrap_err().code, ErrorCode::ServerError);
}

#[test]
fn streams_tell_what_they_tell_however_they_are_cut() {
    let answer = folded(&streamed(&responses(), "responses/stream.sse"));
    assert_eq!((answer.text().as_str(), answer.finish.reason), ("Grüße", FinishReason::ToolCalls));
    assert_eq!(answer.tool_calls().next().unwrap().arguments, "{\"city\":\"Oslo\"}");
    let Content::Reasoning(thought) = &answer.parts[0].content else { panic!("{answer:?}") };
    assert_eq!((thought.text.as_str(), thought.encrypted.as_deref()), ("First\n\nSecond", Some("gAAA")));
    cut_short(&responses(), "responses/stream.sse");
    let told = streamed(&responses(), "responses/failed_stream.sse");
    let Some(StreamEvent::Error(error)) = told.last() else { panic!("{told:?}") };
    assert_eq!((error.code, error.class()), (ErrorCode::ServerError, ErrorClass::Transient));
    let flat = b"event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"x\",\"param\":null,\"sequence_number\":1}\n\n";
    let told = events(responses().stream_decoder(), [&flat[..]]);
    let [StreamEvent::Error(error)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::RateLimited, "x"));
}

fn deltas() -> Vec<StreamEvent> {
    let text = |text: &str| StreamEvent::TextDelta { text: text.to_owned() };
    vec![
        StreamEvent::ReasoningDelta { text: "hm".to_owned() },
        StreamEvent::ReasoningEnded { signature: None, encrypted: Some("e".to_owned()), id: None },
        text("Hel"),
        text("lo"),
        StreamEvent::RefusalDelta { text: "no".to_owned() },
        StreamEvent::ToolCallStarted { index: 0, id: "c0".to_owned(), name: "f".to_owned(), signature: None },
        StreamEvent::ToolCallArguments { index: 0, delta: "{}".to_owned() },
        StreamEvent::ToolCallStarted { index: 1, id: "c1".to_owned(), name: "g".to_owned(), signature: None },
        StreamEvent::ToolCallArguments { index: 1, delta: "{\"a\":1}".to_owned() },
        StreamEvent::Usage(Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }),
        StreamEvent::Finished(Finish::of(FinishReason::ToolCalls)),
    ]
}

#[test]
fn every_event_is_numbered_and_every_item_opened_is_closed() {
    let out = frames(ResponseStreamEncoder::new(stamp(), simple().echo), &deltas());
    let numbers: Vec<u64> = out.iter().map(|frame| frame.sequence.unwrap()).collect();
    assert_eq!(numbers, (0..out.len() as u64).collect::<Vec<_>>());
    for frame in &out {
        let data = json(frame.data.as_bytes());
        assert_eq!(Some(&data["type"]), frame.event.as_ref().map(|name| json!(name)).as_ref());
        assert_eq!(data["sequence_number"], frame.sequence.unwrap());
    }
    let names: Vec<_> = out.iter().map(|frame| frame.event.clone().unwrap().replace("response.", "")).collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let last = json(out.last().unwrap().data.as_bytes());
    let kinds: Vec<_> =
        last["response"]["output"].as_array().unwrap().iter().map(|item| item["type"].clone()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(last["response"]["usage"]["total_tokens"], 7);
}

#[test]
fn what_goes_out_is_read_back_as_it_was_streamed_and_whole() {
    let came = longhaul_providers::chat::ChatResponse { dialect: Dialect::Responses, ..folded(&deltas()) };
    let body = sse(&frames(ResponseStreamEncoder::new(stamp(), simple().echo), &deltas()));
    let back = folded(&events(responses().stream_decoder(), [&body[..]]));
    let whole = encode_response(&came, &stamp(), &simple().echo, Some(1_700_000_005));
    assert_eq!(json(&whole)["completed_at"], 1_700_000_005);
    let again = with_reply(200, &[], &whole, |reply| responses().decode_chat(reply)).unwrap();
    for back in [&back, &again] {
        assert_eq!((&back.usage, back.finish.reason), (&came.usage, came.finish.reason));
        let told = |answer: &longhaul_providers::chat::ChatResponse| {
            answer
                .parts
                .iter()
                .map(|part| match &part.content {
                    Content::Reasoning(thought) => (thought.text.clone(), thought.encrypted.clone()),
                    other => (format!("{other:?}"), None),
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(told(back), told(&came));
    }
}

#[test]
fn limits_and_filters_leave_a_response_incomplete_and_errors_fail_it() {
    let end = |event: StreamEvent| {
        let told = [StreamEvent::TextDelta { text: "Half".to_owned() }, event];
        let out = frames(ResponseStreamEncoder::new(stamp(), simple().echo), &told);
        let last = out.last().unwrap();
        (last.event.clone().unwrap().into_owned(), json(last.data.as_bytes())["response"].clone())
    };
    let (name, object) = end(StreamEvent::Finished(Finish::of(FinishReason::Length)));
    assert_eq!(
        (name.as_str(), &object["incomplete_details"]["reason"]),
        ("response.incomplete", &json!("max_output_tokens"))
    );
    assert_eq!(object["output"][0]["status"], "incomplete");
    let (name, object) = end(StreamEvent::Error(ProviderError::new(ErrorCode::RateLimited, "slow")));
    assert_eq!((name.as_str(), &object["status"]), ("response.failed", &json!("failed")));
    assert_eq!(object["error"], json!({"code": "rate_limit_exceeded", "message": "slow"}));
}

#[test]
fn a_queued_response_says_so_and_then_begins() {
    let mut encoder = ResponseStreamEncoder::new(stamp(), simple().echo);
    let mut out = Vec::new();
    encoder.queued(&mut out);
    encoder.begin(&mut out);
    encoder.begin(&mut out);
    let told: Vec<_> = out
        .iter()
        .map(|frame| {
            (frame.event.clone().unwrap().into_owned(), json(frame.data.as_bytes())["response"]["status"].clone())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("response.created".to_owned(), json!("queued")),
            ("response.queued".to_owned(), json!("queued")),
            ("response.in_progress".to_owned(), json!("in_progress"))
        ]
    );
    assert_eq!(json(&encoder.object_as(Status::Cancelled))["status"], "cancelled");
}

/// Writes the first events, kills the encoder, recovers it, interrupts it and writes all again.
fn crash_after(count: usize) -> (Vec<Frame>, Vec<Frame>) {
    let mut encoder = ResponseStreamEncoder::new(stamp(), simple().echo);
    let mut committed = Vec::new();
    deltas()[..count].iter().for_each(|event| encoder.push(event, &mut committed));
    let mut recovered =
        ResponseStreamEncoder::recover(stamp(), simple().echo, committed.iter().map(|frame| frame.data.as_str()))
            .unwrap();
    assert_eq!(recovered.next_sequence(), committed.len() as u64);
    assert_eq!(recovered.open_text(), encoder.open_text());
    let mut after = Vec::new();
    recovered.interrupt(&mut after);
    deltas().iter().for_each(|event| recovered.push(event, &mut after));
    (committed, after)
}

#[test]
fn after_a_crash_the_stream_goes_on_and_ends_with_the_new_answer_alone() {
    for count in 0..deltas().len() - 1 {
        let (committed, after) = crash_after(count);
        let all: Vec<_> = committed.iter().chain(&after).collect();
        let numbers: Vec<u64> = all.iter().map(|frame| frame.sequence.unwrap()).collect();
        assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>(), "crash after {count}");
        let mut open = 0;
        for frame in &all {
            let name = frame.event.as_deref().unwrap();
            open += i32::from(name == "response.output_item.added") - i32::from(name == "response.output_item.done");
            assert!((0..=1).contains(&open), "crash after {count}: one item at a time");
        }
        let last = json(all.last().unwrap().data.as_bytes());
        let output = last["response"]["output"].as_array().unwrap();
        assert_eq!(output.len(), 4, "crash after {count}");
        assert!(output.iter().all(|item| item["status"] != "incomplete"), "crash after {count}");
        // A second crash, right behind the interruption, forgets the first attempt too.
        let kept: Vec<_> =
            all[..committed.len() + after.len().min(4)].iter().map(|frame| frame.data.as_str()).collect();
        let mut again = ResponseStreamEncoder::recover(stamp(), simple().echo, kept).unwrap();
        let mut out = Vec::new();
        again.interrupt(&mut out);
        deltas().iter().for_each(|event| again.push(event, &mut out));
        let last = json(out.last().unwrap().data.as_bytes());
        assert_eq!(last["response"]["output"].as_array().unwrap().len(), 4, "crash after {count}, twice");
    }
}

#[test]
fn a_continued_stream_is_the_stream_that_would_have_been() {
    let whole = frames(ResponseStreamEncoder::new(stamp(), simple().echo), &deltas()[2..5]);
    let mut encoder = ResponseStreamEncoder::new(stamp(), simple().echo);
    let mut committed = Vec::new();
    encoder.push(&deltas()[2], &mut committed);
    let data = committed.iter().map(|frame| frame.data.as_str());
    let mut recovered = ResponseStreamEncoder::recover(stamp(), simple().echo, data).unwrap();
    assert_eq!(recovered.open_text(), Some("Hel"));
    let mut rest = Vec::new();
    deltas()[3..5].iter().for_each(|event| recovered.push(event, &mut rest));
    committed.append(&mut rest);
    assert_eq!(committed, whole);
}

#[test]
fn what_an_interrupted_attempt_said_is_forgotten_after_a_second_crash_too() {
    let mut encoder = ResponseStreamEncoder::new(stamp(), simple().echo);
    let mut committed = Vec::new();
    deltas()[..6].iter().for_each(|event| encoder.push(event, &mut committed));
    encoder.interrupt(&mut committed);
    encoder.push(&deltas()[2], &mut committed);
    let data = committed.iter().map(|frame| frame.data.as_str());
    let mut recovered = ResponseStreamEncoder::recover(stamp(), simple().echo, data).unwrap();
    let mut rest = Vec::new();
    recovered.push(&StreamEvent::Finished(Finish::of(FinishReason::Stop)), &mut rest);
    let last = json(rest.last().unwrap().data.as_bytes());
    let output = last["response"]["output"].as_array().unwrap();
    assert_eq!(output.len(), 1, "{output:?}");
    assert_eq!(output[0]["content"][0]["text"], "Hel");
}

#[test]
fn kept_events_that_do_not_follow_each_other_are_refused() {
    let out = frames(ResponseStreamEncoder::new(stamp(), simple().echo), &deltas());
    let gap = [out[0].data.as_str(), out[2].data.as_str()];
    assert_eq!(ResponseStreamEncoder::recover(stamp(), simple().echo, gap).unwrap_err().at, 1);
    assert!(ResponseStreamEncoder::recover(stamp(), simple().echo, ["nonsense"]).is_err());
}

#[test]
fn a_response_goes_on_from_another() {
    let first = call(&json!({"model": "m", "instructions": "old", "input": "My name is Ann."}));
    let out = json(&encode_response(&folded(&deltas()), &stamp(), &first.echo, None));
    let mut kept = first.input.clone();
    kept.extend(out["output"].as_array().unwrap().iter().map(Json::of));
    let mut next = call(&json!({
        "model": "m", "instructions": "new", "previous_response_id": "resp_ours",
        "input": [{"type": "function_call_output", "call_id": "c0", "output": "1"},
                  {"type": "function_call_output", "call_id": "c1", "output": "2"}]
    }));
    next.go_on_from(&kept).unwrap();
    let roles: Vec<_> = next.request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool]);
    assert_eq!(next.request.messages[0], Message::text(Role::System, "new"));
    assert_eq!(read_items(&kept).unwrap().len(), 2);
}

#[test]
fn input_items_are_listed_a_page_at_a_time() {
    let items = call(&json!({"model": "m", "input": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c", "id": "mine"}
    ]})).input;
    let page = |after: Option<&str>, limit, ascending| {
        json(&encode_input_items("resp_x", &items, &Page { after: after.map(str::to_owned), limit, ascending }))
    };
    let first = page(None, 2, true);
    assert_eq!(first["data"][0]["content"], json!([{"type": "input_text", "text": "a"}]));
    assert_eq!(first["data"][1]["content"][0]["type"], "output_text");
    assert_eq!((&first["has_more"], &first["last_id"]), (&json!(true), &json!("item_x_in1")));
    let second = page(Some("item_x_in1"), 2, true);
    assert_eq!((&second["data"][0]["id"], &second["has_more"]), (&json!("mine"), &json!(false)));
    assert_eq!(page(None, 1, false)["first_id"], "mine");
    assert_eq!(page(Some("unknown"), 9, true)["data"], json!([]));
}

#[test]
fn what_has_no_word_is_refused_by_name() {
    let mut request = ChatRequest { messages: vec![Message::text(Role::User, "Hi")], ..ChatRequest::default() };
    request.stop = vec!["x".to_owned()];
    let refused = responses().encode_chat("m", &request, Delivery::Whole).unwrap_err();
    assert_eq!(refused.to_string(), "openai-responses cannot carry `stop`");
    request.stop.clear();
    request.tools = vec![Tool::function("f", None, None)];
    let encoded = responses().encode_chat("m", &request, Delivery::Whole).unwrap();
    assert_eq!(json(&encoded.http.body)["tools"][0]["strict"], false, "absent means strict there, and not here");
    let foreign = longhaul_providers::openai::OpenAi::new(longhaul_providers::openai::Settings::of(
        longhaul_providers::openai::Flavor::OpenAi,
        Access::default(),
    ))
    .unwrap();
    let searching = call(&json!({"model": "m", "input": "x", "tools": [{"type": "web_search"}]}));
    let refused = foreign.encode_chat("m", &searching.request, Delivery::Whole).unwrap_err();
    assert!(refused.to_string().contains("a tool of type `web_search`"), "{refused}");
}

proptest! {
    #[test]
    fn recovery_of_any_prefix_gives_the_same_encoder(count in 0usize..28) {
        let out = frames(ResponseStreamEncoder::new(stamp(), simple().echo), &deltas());
        let count = count.min(out.len());
        let data = out[..count].iter().map(|frame| frame.data.as_str());
        let recovered = ResponseStreamEncoder::recover(stamp(), simple().echo, data).unwrap();
        prop_assert_eq!(recovered.next_sequence(), count as u64);
        prop_assert_eq!(recovered.is_ended(), count == out.len());
    }
}
