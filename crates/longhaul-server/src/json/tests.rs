//! Bodies, queries and paths: what is taken, and how what is not is named.

use axum::{Extension, Router, body::Body, http::Request, routing::post};
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use utoipa::ToSchema;

use super::*;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read through the schema")]
struct CreateJob {
    kind: String,
    input: Value,
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i32>,
    #[schema(minimum = 1, maximum = 50)]
    max_attempts: Option<u8>,
    #[schema(format = DateTime)]
    run_at: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    backoff: Option<Backoff>,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "read through the schema")]
struct Tag {
    #[schema(max_length = 8)]
    name: String,
    weight: Option<f64>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code, reason = "read through the schema")]
enum Backoff {
    Fixed { delay_ms: u64 },
    Exponential { initial_ms: u64, max_ms: u64 },
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
    Thorough,
}

/// What somebody who sends this is told.
fn said(text: &str) -> Vec<String> {
    let problem = parse_json::<CreateJob>(text.as_bytes()).expect_err("a bad body");
    let mut said = vec![format!("{}: {}", problem.code(), problem.detail())];
    said.extend(problem.errors().iter().map(|error| format!("{} {}", error.pointer, error.message)));
    said
}

#[test]
fn a_good_body_is_read() {
    let body = json!({ "kind": "echo", "input": { "a": [1] }, "priority": 5, "tags": [{ "name": "x" }],
        "backoff": { "type": "fixed", "delay_ms": 5 }, "mode": "fast", "run_at": null });
    let job = parse_json::<CreateJob>(body.to_string().as_bytes()).expect("a good body");
    assert_eq!((job.kind.as_str(), job.priority), ("echo", Some(5)));
}

#[test]
fn every_bad_field_is_named_at_once() {
    let body = json!({ "kind": 5, "priority": 500, "max_attempts": "3", "run_at": "tomorrow", "prioritty": 1,
        "tags": [{ "name": "much too long" }, { "nme": "x" }, 7] });
    insta::assert_debug_snapshot!(said(&body.to_string()));
}

#[test]
fn unknown_fields_alone_have_their_own_code_and_the_nearest_known_name() {
    let unknown = said(r#"{"kind":"echo","input":1,"maxAttempts":2,"webhook_url":"x","a/b":1}"#);
    insta::assert_debug_snapshot!(unknown);
}

#[test]
fn choices_are_explained_by_the_alternative_that_was_meant() {
    let with = |field: &str, value: Value| {
        let mut body = json!({ "kind": "echo", "input": 1 });
        body[field] = value;
        said(&body.to_string())
    };
    let explained = [
        with("mode", json!("thorogh")),
        with("mode", json!(5)),
        with("backoff", json!("fixed")),
        with("backoff", json!({ "type": "linear" })),
        with("backoff", json!({ "type": "exponential", "initial_ms": 1 })),
        with("backoff", json!({ "type": "fixed", "delay_ms": "5", "delay": 3 })),
        with("backoff", json!({})),
    ];
    insta::assert_debug_snapshot!(explained);
}

#[test]
fn what_only_the_type_refuses_is_said_in_its_words_with_the_place() {
    let explained = [
        said(r#"{"kind":"a","kind":"b","input":1}"#),
        said(r#"{"kind":"a","input":1,"tags":[{"name":"x","name":"y"}]}"#),
        said(r#"{"kind":"a","input":1,"priority":1e2}"#),
    ];
    insta::assert_debug_snapshot!(explained);
}

#[test]
fn text_that_is_not_json_is_explained_with_its_place() {
    let texts: &[&[u8]] = &[
        b"",
        b" \n ",
        b"\xEF\xBB\xBF{}",
        b"\xFF\xFE{\0}\0",
        b"{\0}\0",
        b"{\"kind\": \"\xFF\"}",
        b"{\"kind\": NaN}",
        b"{\"kind\": -Infinity}",
        b"{\"kind\": undefined}",
        b"{\"kind\": None}",
        b"{\"kind\": True}",
        b"{'kind': 1}",
        b"{kind: 1}",
        b"{\"kind\": \"echo\",\n \"input\": 1,}",
        b"{\"kind\": \"echo\" // why\n}",
        b"{\"kind\": \"echo\"",
        b"{\"kind\": \"echo",
        b"{\"kind\": \"echo\"} {}",
        b"{\"kind\": 01}",
        b"{\"kind\": \"a\nb\"}",
        b"kind=echo",
        b"[1, 2",
    ];
    let told: Vec<String> = texts
        .iter()
        .map(|text| {
            let problem = parse_json::<CreateJob>(text).expect_err("no JSON");
            format!("{:?} → {}: {}", String::from_utf8_lossy(text), problem.code(), problem.detail())
        })
        .collect();
    insta::assert_debug_snapshot!(told);
}

#[test]
fn json_of_another_kind_is_told_what_is_wanted() {
    assert_eq!(said("[]")[1], " must be an object, not an array");
    assert_eq!(said("null")[1], " must be an object, not null");
}

#[test]
fn nesting_is_bounded_before_it_is_parsed() {
    let deep = format!(r#"{{"kind":"echo","input":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    assert!(said(&deep)[0].starts_with("too_deep"));
    let allowed = format!(r#"{{"kind":"echo","input":{}1{}}}"#, "[".repeat(63), "]".repeat(63));
    assert!(parse_json::<CreateJob>(allowed.as_bytes()).is_ok());
}

#[test]
fn an_answer_lists_a_bounded_number_of_fields() {
    let tags: Vec<Value> = (0..1_000).map(|_| json!({})).collect();
    let body = json!({ "kind": "echo", "input": 1, "tags": tags }).to_string();
    let problem = parse_json::<CreateJob>(body.as_bytes()).expect_err("many faults");
    assert_eq!(problem.errors().len(), MAX_FIELD_ERRORS);
}

/// Sends a body to a route that takes at most 64 bytes, and tells status and detail.
async fn sent(content_type: &str, body: Body) -> (u16, String) {
    let router = Router::new()
        .route("/", post(|ApiJson(job): ApiJson<CreateJob>| async move { job.kind }))
        .layer(Extension(BodyLimit(64)));
    let mut request = Request::post("/").body(body).expect("a request");
    if !content_type.is_empty() {
        request.headers_mut().insert("content-type", content_type.parse().expect("a value"));
    }
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let detail =
        serde_json::from_slice::<Value>(&body).ok().and_then(|body| body["detail"].as_str().map(str::to_owned));
    (status, detail.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn the_extractor_judges_media_type_size_and_content() {
    const GOOD: &str = r#"{"kind":"echo","input":1}"#;
    assert_eq!(sent("application/json", GOOD.into()).await, (200, "echo".to_owned()));
    assert_eq!(sent("", GOOD.into()).await.0, 415);
    assert_eq!(sent("text/plain", GOOD.into()).await.0, 415);
    let (status, detail) = sent("application/json", format!("{GOOD}{}", " ".repeat(64)).into()).await;
    assert_eq!(
        (status, detail.as_str()),
        (413, "The body is 89 bytes long; this route takes at most 64 bytes (64 B).")
    );
}

#[tokio::test]
async fn a_body_in_pieces_of_unknown_length_is_put_together_and_bounded() {
    let pieces = |pieces: &[&'static str]| {
        let pieces: Vec<Result<&'static str, std::io::Error>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        Body::from_stream(futures::stream::iter(pieces))
    };
    let good = pieces(&["", r#"{"kind":"#, r#""echo","#, r#""input":1}"#]);
    assert_eq!(sent("application/json", good).await, (200, "echo".to_owned()));
    const LONG: &str = "                              ";
    let (status, detail) = sent("application/json", pieces(&[LONG, LONG, LONG])).await;
    assert_eq!((status, detail.as_str()), (413, "The body is larger; this route takes at most 64 bytes (64 B)."));
    let broken: Vec<Result<&str, _>> = vec![Ok("{"), Err(std::io::Error::other("gone"))];
    let (status, _) = sent("application/json", Body::from_stream(futures::stream::iter(broken))).await;
    assert_eq!(status, 400);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _any = parse_json::<CreateJob>(&bytes);
    }

    #[test]
    fn text_that_resembles_json_never_panics(text in r#"[\[\]{}",:\\ \n0-9aNnultre\-\.']{0,60}"#) {
        let _any = parse_json::<CreateJob>(text.as_bytes());
    }

    #[test]
    fn a_body_that_is_refused_is_always_given_a_reason(
        kind in proptest::option::of("[a-z]{0,3}"), priority in any::<i64>(), extra in "[a-z]{1,6}"
    ) {
        let mut body = json!({ "input": null, "priority": priority });
        if let Some(kind) = kind {
            body["kind"] = json!(kind);
        }
        body[extra] = json!(1);
        if let Err(problem) = parse_json::<CreateJob>(body.to_string().as_bytes()) {
            prop_assert!(!problem.errors().is_empty());
        }
    }
}
