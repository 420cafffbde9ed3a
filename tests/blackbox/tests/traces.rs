//! Traces, as a collector sees them: one tree from the client's request through the queue to the provider, whoever did the
//! work; and a collector that is slow or away, which nobody notices.

#![allow(clippy::disallowed_methods, reason = "a stop is timed")]

use crate::stage::{Stage, echo, job_id, submit, succeeded};
use longhaul_testkit::client::Client;
use longhaul_testkit::collector::{CollectedSpan, Collector, Manner};
use longhaul_testkit::server::Launch;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{CLIENT}-01")
}

/// With spans that are sent quickly, so that no test waits for them.
fn told(launch: Launch, collector: &Collector) -> Launch {
    launch
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())
        .env("OTEL_SERVICE_NAME", "night-shift")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// A model whose first target refuses two calls, and whose second would answer.
fn configuration(collector: &Collector, log: &str) -> String {
    let target = |name: &str, url: String| {
        format!(
            "[providers.{name}]\nprotocol = \"openai\"\nbase_url = \"{url}\"\n[[models.smart.targets]]\nname = \"{name}\"\n\
             provider = \"{name}\"\nmodel = \"{name}-1\"\nretry = {{ max_retries = 1, initial = \"40ms\", max = \"60ms\" }}\n"
        )
    };
    let (first, second) = (target("first", collector.provider_url(99)), target("second", collector.provider_url(2)));
    format!("{first}{second}{log}")
}

/// The one span of this name.
fn one<'s>(spans: &'s [CollectedSpan], name: &str) -> &'s CollectedSpan {
    let found: Vec<&CollectedSpan> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} among {:#?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

fn is_within(inner: &CollectedSpan, outer: &CollectedSpan) -> bool {
    // The clocks of the engine and of the gateway are read apart: a moment of difference is none.
    const APART: u64 = 5_000_000;
    inner.parent == outer.span_id && inner.began + APART >= outer.began && inner.ended <= outer.ended + APART
}

#[tokio::test]
async fn a_job_is_one_tree_from_the_request_over_the_queue_to_the_provider() {
    let collector = Collector::start(Manner::Willing).await.unwrap();
    let log = "[telemetry]\nlog = \"json\"\nlevel = \"debug\"\n";
    let stage = Stage::with(|launch| told(launch.config(&configuration(&collector, log)).unwrap(), &collector)).await;
    let body = json!({"model": "smart", "messages": [{"role": "user", "content": "geheim"}]});
    let call = stage.client();
    let call = call.post("/v1/chat/completions").header("traceparent", &traceparent());
    let reply =
        call.header("x-request-id", "req-of-test").header("prefer", "respond-async").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    let job = job_id(&reply);
    succeeded(&stage.client(), &job).await;
    let of_trace = |spans: &[CollectedSpan]| -> Vec<CollectedSpan> {
        spans.iter().filter(|span| span.trace_id == TRACE).cloned().collect()
    };
    let has_all = |spans: &[CollectedSpan]| of_trace(spans).iter().any(|span| span.name == "job llm.chat");
    let spans = of_trace(&collector.spans_when(has_all).await);

    let request = one(&spans, "POST /v1/chat/completions");
    let whole = one(&spans, "job llm.chat");
    let attempt = one(&spans, "attempt llm.chat");
    let call = one(&spans, "chat smart");
    let [first, second] = ["smart/first", "smart/second"].map(|name| one(&spans, name));
    assert_eq!((request.parent.as_str(), request.kind), (CLIENT, 2), "the client's own span is above");
    assert_eq!(whole.parent, request.span_id);
    assert!(is_within(attempt, whole) && is_within(call, attempt), "{spans:#?}");
    assert!(is_within(first, call) && is_within(second, call), "{spans:#?}");
    let refused: Vec<&CollectedSpan> = spans.iter().filter(|span| span.name == "chat first-1").collect();
    assert_eq!(refused.len(), 2);
    assert!(
        refused.iter().all(|span| is_within(span, first) && span.error.as_deref() == Some("provider_server_error"))
    );
    assert!(refused.iter().all(|span| span.attributes["http.response.status_code"] == "500"));
    let answered = one(&spans, "chat second-1");
    assert!(is_within(answered, second) && answered.error.is_none() && answered.kind == 3, "{answered:#?}");
    let retry =
        spans.iter().find(|span| span.attributes.get("longhaul.decision").is_some_and(|it| it == "retry.scheduled"));
    let retry = retry.unwrap_or_else(|| panic!("no retry: {spans:#?}"));
    // How long is up to chance, down to nothing.
    let waited_ms: u64 = retry.attributes["longhaul.detail"].parse().unwrap();
    assert!(is_within(retry, first) && retry.ended - retry.began == waited_ms * 1_000_000, "{retry:#?}");
    let fallback = spans.iter().filter(|span| span.name == "fallback");
    assert!(
        fallback.clone().count() >= 2 && fallback.into_iter().all(|span| span.parent == call.span_id),
        "{spans:#?}"
    );

    // What they say of themselves.
    let attribute = |span: &CollectedSpan, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!((attribute(whole, "longhaul.job.id"), attribute(attempt, "longhaul.attempt.number")), (job, "1".into()));
    assert_eq!(attribute(request, "longhaul.request_id"), "req-of-test");
    assert_eq!(attribute(call, "gen_ai.request.model"), "smart");
    assert_eq!(attribute(call, "gen_ai.usage.output_tokens"), "5");
    assert_eq!(
        (attribute(answered, "gen_ai.provider.name"), attribute(call, "longhaul.degraded")),
        ("second".into(), "1".into())
    );
    assert!(collector.services().iter().all(|service| service == "night-shift"));
    let everything = format!("{spans:?}");
    assert!(!everything.contains("geheim") && !everything.contains("All is well"), "prompts and answers stay here");

    // What the provider was told.
    let told: Vec<String> =
        [refused[0], refused[1], answered].map(|span| format!("00-{TRACE}-{}-01", span.span_id)).into();
    let mut heard = collector.traceparents();
    heard.sort();
    let mut expected = told;
    expected.sort();
    assert_eq!(heard, expected);

    // The log has the same ids.
    let lines = stage.server.stderr();
    let line = |message: &str, id: (&str, &str)| -> Value {
        let found = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = found.filter(|line| line["message"] == message && line[id.0] == id.1);
        found.next().unwrap_or_else(|| panic!("no {message:?} with {id:?}"))
    };
    let answered = line("request answered", ("request_id", "req-of-test"));
    assert_eq!((&answered["trace_id"], &answered["span_id"]), (&TRACE.into(), &request.span_id.as_str().into()));
    let ends = line("attempt ends", ("trace_id", TRACE));
    assert_eq!(ends["span_id"], attempt.span_id.as_str());
    assert_eq!(ends["job_id"], attribute(whole, "longhaul.job.id").as_str());
}

#[tokio::test]
async fn a_worker_gets_the_attempts_span_and_its_work_is_told_with_what_became_of_it() {
    let collector = Collector::start(Manner::Willing).await.unwrap();
    let stage = Stage::with(|launch| told(launch, &collector)).await;
    let client = stage.client();
    let kind =
        client.call(http::Method::PUT, "/v1/kinds/resize").json(&json!({"backoff": {"initial_ms": 1, "max_ms": 1}}));
    assert_eq!(kind.send().await.unwrap().status, 200);
    let submitted = client.post("/v1/jobs").header("traceparent", &traceparent());
    let job = job_id(&submitted.json(&json!({"kind": "resize", "input": 1})).send().await.unwrap());
    let first = claim(&client).await;
    finish(&client, &first, "fail", json!({"error": {"code": "gpu_lost", "message": "x"}, "retryable": true})).await;
    let second = claim(&client).await;
    finish(&client, &second, "complete", json!({"output": 2})).await;
    succeeded(&client, &job).await;
    let spans = collector.spans_when(|spans| spans.iter().any(|span| span.name == "job resize")).await;
    let attempts: Vec<&CollectedSpan> = spans.iter().filter(|span| span.name == "attempt resize").collect();
    let whole = one(&spans, "job resize");
    for (claimed, error) in [(&first, Some("gpu_lost")), (&second, None)] {
        let told = claimed["traceparent"].as_str().unwrap();
        let of = attempts.iter().find(|span| told == format!("00-{TRACE}-{}-01", span.span_id));
        let of = of.unwrap_or_else(|| panic!("{told} names none of {attempts:#?}"));
        assert!(of.error.as_deref() == error && of.parent == whole.span_id, "{of:#?}");
        assert_eq!(of.attributes["longhaul.worker"], "w-1");
    }
    assert_eq!(attempts.len(), 2);
}

async fn claim(client: &Client) -> Value {
    let body = json!({"worker_id": "w-1", "kinds": ["resize"], "wait_s": 30});
    let reply = client.post("/v1/worker/claims").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()["jobs"][0].clone()
}

async fn finish(client: &Client, claimed: &Value, how: &str, body: Value) {
    let path = format!("/v1/worker/jobs/{}/{how}", claimed["job_id"].as_str().unwrap());
    let call = client.post(&path).header("longhaul-lease", claimed["lease_token"].as_str().unwrap());
    let reply = call.json(&body).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
}

#[tokio::test]
async fn without_a_collector_what_a_client_says_reaches_workers_and_providers_as_it_is() {
    let collector = Collector::start(Manner::Willing).await.unwrap();
    let stage = Stage::with(|launch| launch.config(&configuration(&collector, "")).unwrap()).await;
    let client = stage.client();
    let body = json!({"model": "smart", "messages": [{"role": "user", "content": "hi"}]});
    let call = client.post("/v1/chat/completions").header("traceparent", &traceparent());
    assert_eq!(call.json(&body).send().await.unwrap().status, 200);
    assert_eq!(collector.traceparents(), [traceparent(), traceparent(), traceparent()]);
    let kind = client.call(http::Method::PUT, "/v1/kinds/resize").json(&json!({}));
    assert_eq!(kind.send().await.unwrap().status, 200);
    let submitted = client.post("/v1/jobs").header("traceparent", &traceparent());
    submitted.json(&json!({"kind": "resize", "input": 1})).send().await.unwrap();
    // Over a restart, too.
    let stage = stage.crash_and_restart().await;
    assert_eq!(claim(&stage.client()).await["traceparent"], traceparent().as_str());
    assert_eq!(collector.requests(), 0);
}

#[tokio::test]
async fn a_collector_that_never_answers_slows_nothing_and_holds_up_no_stop() {
    let collector = Collector::start(Manner::Silent).await.unwrap();
    let small = |launch: Launch| told(launch, &collector).env("OTEL_BSP_MAX_QUEUE_SIZE", "64");
    let mut stage = Stage::with(small).await;
    let client = stage.client();
    for number in 0..100 {
        succeeded(&client, &submit(&client, echo(json!(number))).await).await;
    }
    let page = client.get("/metrics").send().await.unwrap().text();
    let dropped =
        page.lines().find_map(|line| line.strip_prefix("longhaul_spans_dropped_total{reason=\"queue_full\"} "));
    assert!(dropped.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{page}");
    let begun = Instant::now();
    stage.server.terminate().unwrap();
    stage.server.exited(Duration::from_secs(30)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
