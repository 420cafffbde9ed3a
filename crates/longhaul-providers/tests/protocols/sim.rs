//! The simulated provider: what it says goes through the real decoders, what it breaks looks broken to them.

use std::time::Duration;

use longhaul_providers::chat::{ChatRequest, Content, FinishReason, Message, ResponseFormat, Role, StreamEvent, Tool};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use longhaul_providers::json::Json;
use longhaul_providers::openai::{Flavor, OpenAi, Settings};
use longhaul_providers::protocol::{Delivery, Protocol};
use longhaul_providers::sim::{Fault, Latency, Sim, SimAct, SimPlan, SimSettings};
use longhaul_providers::{ErrorClass, ErrorCode};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::*;

fn protocol() -> OpenAi {
    OpenAi::new(Settings::of(Flavor::Compatible, access())).unwrap()
}

fn quick() -> SimSettings {
    SimSettings::preset("quick").unwrap()
}

fn always(fault: Fault) -> Sim {
    Sim::new(SimSettings { faults: [(fault, 1.0)].into(), ..quick() })
}

fn asking(text: &str) -> ChatRequest {
    ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
}

fn read(plan: &SimPlan) -> Result<longhaul_providers::chat::ChatResponse, longhaul_providers::ProviderError> {
    let SimAct::Head { status, headers } = &plan.steps[0].act else { panic!("{plan:?}") };
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    with_reply(*status, &headers, &plan.body(), |reply| protocol().decode_chat(reply))
}

fn read_stream(plan: &SimPlan) -> Vec<StreamEvent> {
    events(protocol().stream_decoder(), [&plan.body()[..]])
}

#[test]
fn nobody_takes_an_answer_for_a_real_one() {
    let plan = Sim::new(quick()).plan_chat("gpt-4o", &asking("Who are you?"), Delivery::Whole, 0);
    let SimAct::Head { headers, .. } = &plan.steps[0].act else { panic!("{plan:?}") };
    assert!(headers.contains(&("x-simulated", "true".to_owned())));
    let answer = read(&plan).unwrap();
    assert_eq!(answer.model.as_deref(), Some("sim-gpt-4o"));
    assert!(answer.id.unwrap().starts_with("sim-"));
    let text = answer.parts[0].clone();
    assert!(matches!(text.content, Content::Text(text) if text.starts_with("[simulated by sim-gpt-4o] You said: Who")));
}

#[test]
fn a_streamed_answer_says_what_the_whole_one_says() {
    let sim = Sim::new(quick());
    let whole = read(&sim.plan_chat("sim", &asking("Hi"), Delivery::Whole, 3)).unwrap();
    let streamed = folded(&read_stream(&sim.plan_chat("sim", &asking("Hi"), Delivery::Streamed, 3)));
    assert_eq!((streamed.text(), streamed.usage), (whole.text(), whole.usage));
}

#[test]
fn tools_and_schemas_are_answered_with_what_fits() {
    let schema = r##"{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":2},"unit":{"enum":["c"]},"at":{"$ref":"#/$defs/at"}},"required":["city","days","unit","at"],"$defs":{"at":{"type":"string","format":"date"}}}"##;
    let schema = Json::parse(schema).unwrap();
    let mut request = asking("please call get_weather");
    request.tools = vec![Tool::function("get_weather", None, Some(schema.clone()))];
    for delivery in [Delivery::Whole, Delivery::Streamed] {
        let plan = Sim::new(quick()).plan_chat("sim", &request, delivery, 0);
        let answer = if delivery == Delivery::Whole { read(&plan).unwrap() } else { folded(&read_stream(&plan)) };
        let call = answer.tool_calls().next().unwrap();
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        let expected = serde_json::json!({"city":"simulated","days":2,"unit":"c","at":"2000-01-01"});
        assert_eq!((call.name.as_str(), arguments), ("get_weather", expected));
        assert_eq!(answer.finish.reason, FinishReason::ToolCalls);
    }
    let mut request = asking("tell me");
    request.response_format =
        ResponseFormat::JsonSchema { name: "x".into(), description: None, schema, strict: Some(true) };
    let answer = read(&Sim::new(quick()).plan_chat("sim", &request, Delivery::Whole, 0)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&answer.text()).unwrap()["days"], 2);
}

#[test]
fn a_limit_of_tokens_cuts_the_answer() {
    let mut request = asking("Hi");
    request.max_output_tokens = Some(8);
    let answer = read(&Sim::new(quick()).plan_chat("sim", &request, Delivery::Whole, 0)).unwrap();
    assert_eq!(answer.finish.reason, FinishReason::Length);
    assert!(answer.usage.unwrap().output_tokens <= 8);
}

#[test]
fn each_fault_looks_to_the_decoders_like_what_it_is() {
    let cases = [
        (Fault::RateLimited, ErrorCode::RateLimited, ErrorClass::Throttled),
        (Fault::ServerError, ErrorCode::ServerError, ErrorClass::Transient),
        (Fault::Overloaded, ErrorCode::Overloaded, ErrorClass::Transient),
        (Fault::Malformed, ErrorCode::MalformedResponse, ErrorClass::Transient),
        (Fault::WrongContentType, ErrorCode::MalformedResponse, ErrorClass::Transient),
        (Fault::LateError, ErrorCode::ServerError, ErrorClass::Transient),
    ];
    for (fault, code, class) in cases {
        let plan = always(fault).plan_chat("sim", &asking("Hi"), Delivery::Whole, 0);
        assert_eq!(plan.fault, Some(fault));
        let error = read(&plan).unwrap_err();
        assert_eq!((error.code, error.class()), (code, class), "{fault:?}");
        if fault == Fault::RateLimited {
            assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
        }
    }
    for (fault, code) in [
        (Fault::Cut, ErrorCode::StreamInterrupted),
        (Fault::Stall, ErrorCode::StreamInterrupted),
        (Fault::Malformed, ErrorCode::MalformedResponse),
        (Fault::LateError, ErrorCode::ServerError),
    ] {
        let plan = always(fault).plan_chat("sim", &asking("Hi"), Delivery::Streamed, 0);
        let told = read_stream(&plan);
        let Some(StreamEvent::Error(error)) = told.last() else { panic!("{fault:?}: {told:?}") };
        assert_eq!(error.code, code, "{fault:?}");
        assert!(told.iter().any(StreamEvent::is_content), "{fault:?} strikes in the middle");
    }
    let ends = |fault| always(fault).plan_chat("sim", &asking("Hi"), Delivery::Streamed, 0).steps.pop().unwrap().act;
    assert_eq!((ends(Fault::Cut), ends(Fault::Stall), ends(Fault::Hang)), (SimAct::Reset, SimAct::Hang, SimAct::Hang));
    assert_eq!(always(Fault::Hang).plan_chat("sim", &asking("Hi"), Delivery::Whole, 0).steps.len(), 1);
}

#[test]
fn a_dripping_answer_is_whole_but_takes_its_time() {
    let sim = Sim::new(SimSettings { faults: [(Fault::Drip, 1.0)].into(), drip_ms: 1_000.0, ..quick() });
    for delivery in [Delivery::Whole, Delivery::Streamed] {
        let plan = sim.plan_chat("sim", &asking("Hi"), delivery, 0);
        assert_eq!(plan.duration(), Duration::from_secs(plan.body().len() as u64));
        if delivery == Delivery::Whole {
            assert!(read(&plan).is_ok());
        } else {
            folded(&read_stream(&plan));
        }
    }
}

#[test]
fn tokens_come_at_their_pace() {
    let settings =
        SimSettings { first_token: Latency::Fixed { ms: 500.0 }, tokens_per_second: 10.0, ..SimSettings::default() };
    let plan = Sim::new(settings).plan_chat("sim", &asking("Hi"), Delivery::Streamed, 0);
    assert_eq!(plan.steps[0].after, Duration::from_millis(500));
    assert!(plan.steps[2..plan.steps.len() - 1].iter().all(|step| step.after == Duration::from_millis(100)));
}

#[test]
fn faults_come_in_their_share_and_differ_from_call_to_call() {
    let sim =
        Sim::new(SimSettings { faults: [(Fault::ServerError, 0.1), (Fault::RateLimited, 0.2)].into(), ..quick() });
    let fates: Vec<_> =
        (0..2_000).map(|call| sim.plan_chat("sim", &asking("Hi"), Delivery::Whole, call).fault).collect();
    let share = |fault| fates.iter().filter(|fate| **fate == Some(fault)).count();
    assert!((140..260).contains(&share(Fault::ServerError)), "{}", share(Fault::ServerError));
    assert!((320..480).contains(&share(Fault::RateLimited)), "{}", share(Fault::RateLimited));
}

#[test]
fn over_http_it_is_the_same_provider() {
    let sim = Sim::new(quick());
    let http = protocol().encode_chat("sim", &asking("Hi"), Delivery::Whole).unwrap().http;
    assert!(read(&sim.plan_http(&http.path, &http.body, 0)).unwrap().text().contains("You said: Hi"));
    let request = EmbeddingsRequest {
        input: EmbeddingsInput::Texts(vec!["a".into(), "b".into(), "a".into()]),
        ..EmbeddingsRequest::default()
    };
    let http = protocol().encode_embeddings("sim", &request).unwrap().http;
    let plan = sim.plan_http(&http.path, &http.body, 0);
    let answer = with_reply(200, &[], &plan.body(), |reply| protocol().decode_embeddings(reply, 3)).unwrap();
    assert_eq!(answer.vectors[0], answer.vectors[2]);
    assert_ne!(answer.vectors[0], answer.vectors[1]);
    assert_eq!(read(&sim.plan_http("/chat/completions", b"{}", 0)).unwrap_err().code, ErrorCode::InvalidRequest);
    assert!(read(&sim.plan_http("/other", b"{}", 0)).is_err());
}

#[test]
fn settings_are_read_from_configuration() {
    let settings: SimSettings = serde_json::from_str(
        r#"{"seed":3,"first_token":{"p50_ms":100,"p99_ms":900},"faults":{"rate_limited":0.1,"cut":0.05}}"#,
    )
    .unwrap();
    assert_eq!(settings.faults[&Fault::Cut], 0.05);
    assert!(serde_json::from_str::<SimSettings>(r#"{"sead":3}"#).is_err());
}

proptest! {
    #[test]
    fn the_same_call_is_the_same_plan(text in "\\PC{0,40}", seed in any::<u64>(), call in 0u64..9) {
        let mut settings = SimSettings::preset("flaky").unwrap();
        settings.seed = seed;
        for delivery in [Delivery::Whole, Delivery::Streamed] {
            let plan = || Sim::new(settings.clone()).plan_chat("sim", &asking(&text), delivery, call);
            prop_assert_eq!(plan(), plan());
        }
    }
}
