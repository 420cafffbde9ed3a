//! Bodies, fields, ids, cursors, media types.

use crate::stage::{Stage, echo, field_errors, problem};
use longhaul_testkit::client::Reply;
use serde_json::{Value, json};

async fn post(stage: &Stage, body: &str) -> Reply {
    stage.client().post("/v1/jobs").body("application/json", body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn malformed_json_is_refused_with_the_place_where_reading_stopped() {
    let stage = Stage::open().await;
    let reply = post(&stage, "{\"kind\": \"echo\",\n  \"input\": [1, 2,, 3]}").await;
    let detail = problem(&reply, 400, "malformed_json")["detail"].to_string();
    assert!(detail.contains("line 2") && detail.contains("column"), "{detail}");
    for body in ["", "{", "nope", "{\"kind\":\"echo\"} trailing", "\u{feff}", "{\"kind\":\"ec\u{0}ho\"}"] {
        let reply = post(&stage, body).await;
        problem(&reply, 400, "malformed_json");
    }
    let reply = stage.client().post("/v1/jobs").body("application/json", vec![b'"', 0xff, 0xfe, b'"']).send().await;
    problem(&reply.unwrap(), 400, "malformed_json");
}

#[tokio::test]
async fn an_unknown_kind_is_refused_with_the_known_ones() {
    let stage = Stage::open().await;
    let reply = post(&stage, &json!({"kind": "echoo", "input": 1}).to_string()).await;
    let problem = problem(&reply, 422, "unknown_kind");
    let text = problem.to_string();
    for known in ["echo", "document.ingest", "analysis", "process"] {
        assert!(text.contains(known), "{known} is not listed: {text}");
    }
    assert_eq!(field_errors(&problem)[0].0, "/kind", "{text}");
}

#[tokio::test]
async fn an_unknown_field_is_named_with_the_nearest_known_one() {
    let stage = Stage::open().await;
    let reply = post(&stage, &json!({"kind": "echo", "input": 1, "prioritty": 3}).to_string()).await;
    let errors = field_errors(&problem(&reply, 422, "unknown_field"));
    assert_eq!(errors.len(), 1, "{reply}");
    assert_eq!(errors[0].0, "/prioritty", "{reply}");
    assert!(errors[0].1.contains("priority"), "{reply}");
}

#[tokio::test]
async fn every_field_of_a_wrong_type_or_range_is_named_at_once() {
    let stage = Stage::open().await;
    let body = json!({
        "kind": 7, "queue": ["a"], "priority": 101, "delay_s": "soon", "deadline_s": -1, "max_attempts": 1.5,
        "metadata": {"k": 1}, "retention_s": null, "run_at": "tomorrow",
    });
    let reply = post(&stage, &body.to_string()).await;
    let errors = field_errors(&problem(&reply, 422, "invalid_request"));
    let named: Vec<&str> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
    for pointer in
        ["/kind", "/queue", "/priority", "/delay_s", "/deadline_s", "/max_attempts", "/metadata/k", "/run_at"]
    {
        assert!(named.contains(&pointer), "{pointer} is not among {named:?}");
    }
    assert!(errors.iter().all(|(_, message)| !message.is_empty()), "{errors:?}");
    let priority = errors.iter().find(|(pointer, _)| pointer == "/priority").unwrap();
    assert!(priority.1.contains("100"), "the message tells the bound: {priority:?}");
}

#[tokio::test]
async fn a_missing_kind_and_a_body_that_is_no_object_are_named() {
    let stage = Stage::open().await;
    let reply = post(&stage, "{\"input\": 1}").await;
    let errors = field_errors(&problem(&reply, 422, "invalid_request"));
    assert_eq!(errors[0].0, "/kind", "{reply}");
    for body in ["[]", "3", "\"echo\"", "null"] {
        let reply = post(&stage, body).await;
        problem(&reply, 422, "invalid_request");
    }
}

#[tokio::test]
async fn an_input_that_breaks_its_kinds_schema_never_gets_a_202() {
    let stage = Stage::open().await;
    let body = json!({"kind": "analysis", "input": {"text": 5, "analyses": ["summary", "horoscope"]}});
    let reply = post(&stage, &body.to_string()).await;
    let named: Vec<String> = field_errors(&problem(&reply, 422, "invalid_request")).into_iter().map(|e| e.0).collect();
    assert!(named.iter().any(|pointer| pointer.starts_with("/input")), "{reply}");
    let reply = stage.client().post("/api/v1/analysis").json(&json!({"analyses": ["summary"]})).send().await.unwrap();
    assert_eq!(reply.status, 422, "neither text nor document: {reply}");
    let list = stage.client().get("/v1/jobs").send().await.unwrap();
    assert_eq!(list.json()["data"], json!([]), "{list}");
}

#[tokio::test]
async fn a_body_above_the_limit_is_413_and_names_the_limit() {
    let stage = Stage::open().await;
    let reply = post(&stage, &echo(json!("x".repeat(1_100_000))).to_string()).await;
    let detail = problem(&reply, 413, "payload_too_large")["detail"].to_string();
    assert!(detail.contains("1 MiB") || detail.contains("1048576") || detail.contains("1,048,576"), "{detail}");
    let fits = post(&stage, &echo(json!("x".repeat(1_000_000))).to_string()).await;
    assert_eq!(fits.status, 202, "{fits}");
    let id = crate::stage::job_id(&fits);
    let job = crate::stage::succeeded(&stage.client(), &id).await;
    assert_eq!(job["output"].as_str().map(str::len), Some(1_000_000), "large payloads come back whole");
}

#[tokio::test]
async fn json_nested_too_deep_is_refused_and_64_levels_are_not() {
    let stage = Stage::open().await;
    let nested = |depth: usize| format!("{{\"kind\":\"echo\",\"input\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let reply = post(&stage, &nested(100)).await;
    assert!(problem(&reply, 422, "too_deep")["detail"].to_string().contains("64"), "{reply}");
    let reply = post(&stage, &nested(200_000)).await;
    problem(&reply, 422, "too_deep");
    let reply = post(&stage, &nested(60)).await;
    assert_eq!(reply.status, 202, "{reply}");
}

#[tokio::test]
async fn ids_that_are_none_and_ids_of_others_get_the_same_404() {
    let stage = Stage::open().await;
    let ids = ["nope", "job_", "job_zz", "doc_01920000000070008000000000000000", "%00", "..%2f..%2fetc", "💥"];
    for id in ids.iter().map(|id| id.replace('💥', "%F0%9F%92%A5")) {
        for route in ["/v1/jobs/{}", "/jobs/{}", "/v1/jobs/{}/result", "/v1/jobs/{}/events", "/v1/documents/{}"] {
            let reply = stage.client().get(&route.replace("{}", &id)).send().await.unwrap();
            problem(&reply, 404, "not_found");
        }
    }
}

#[tokio::test]
async fn query_strings_that_cannot_be_used_are_named() {
    let stage = Stage::open().await;
    let bad = [
        ("cursor=not-a-cursor", "cursor"),
        ("cursor=", "cursor"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("status=done", "status"),
        ("created_after=yesterday", "created_after"),
        ("colour=red", "colour"),
    ];
    for (query, name) in bad {
        let reply = stage.client().get(&format!("/v1/jobs?{query}")).send().await.unwrap();
        assert!(matches!(reply.status, 400 | 422), "{query}: {reply}");
        let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
        let problem = problem(&reply, reply.status, &code);
        assert!(problem.to_string().contains(name), "{query}: {problem}");
    }
    let id = crate::stage::submit(&stage.client(), echo(json!(1))).await;
    for wait in ["61", "-1", "long"] {
        let reply = stage.client().get(&format!("/v1/jobs/{id}?wait={wait}")).send().await.unwrap();
        assert!(matches!(reply.status, 400 | 422), "{wait}: {reply}");
    }
}

#[tokio::test]
async fn media_types_that_are_not_read_are_415() {
    let stage = Stage::open().await;
    let body = echo(json!(1)).to_string();
    for content_type in ["text/plain", "application/xml", "application/x-www-form-urlencoded"] {
        let reply = stage.client().post("/v1/jobs").body(content_type, body.clone()).send().await.unwrap();
        let problem = problem(&reply, 415, "unsupported_media_type");
        assert!(problem["detail"].to_string().contains("application/json"), "{problem}");
    }
    let bare = stage.client().post("/v1/jobs").send().await.unwrap();
    assert!(matches!(bare.status, 400 | 415), "{bare}");
    let packed = stage.client().post("/v1/jobs").json(&echo(json!(1))).header("content-encoding", "gzip").send().await;
    problem(&packed.unwrap(), 415, "unsupported_media_type");
    let json_upload = stage.client().post("/v1/documents").json(&json!({"file": "x"})).send().await.unwrap();
    problem(&json_upload, 415, "unsupported_media_type");
    let with_charset = stage.client().post("/v1/jobs").body("application/json; charset=utf-8", body).send().await;
    assert_eq!(with_charset.unwrap().status, 202);
}

#[tokio::test]
async fn routes_and_methods_that_do_not_exist_say_so() {
    let stage = Stage::open().await;
    let reply = stage.client().get("/v1/jbos").send().await.unwrap();
    problem(&reply, 404, "not_found");
    let reply = stage.client().delete("/v1/jobs").send().await.unwrap();
    problem(&reply, 405, "method_not_allowed");
    assert!(reply.header("allow").contains("POST"), "{:?}", reply.headers);
}

#[tokio::test]
async fn metadata_is_bounded_and_contradictions_are_named() {
    let stage = Stage::open().await;
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (format!("k{n}"), json!("v"))).collect();
    let cases = [
        json!({"kind": "echo", "input": 1, "metadata": many}),
        json!({"kind": "echo", "input": 1, "metadata": {"k".repeat(65): "v"}}),
        json!({"kind": "echo", "input": 1, "metadata": {"k": "v".repeat(513)}}),
        json!({"kind": "echo", "input": 1, "delay_s": 5, "run_at": "2099-01-01T00:00:00Z"}),
        json!({"kind": "echo", "input": 1, "queue": "no spaces please"}),
    ];
    for body in cases {
        let reply = post(&stage, &body.to_string()).await;
        let errors = field_errors(&problem(&reply, 422, "invalid_request"));
        assert!(!errors.is_empty(), "{reply}");
    }
    for key in ["x".repeat(300), String::new()] {
        let call = stage.client().post("/v1/jobs").header("idempotency-key", &key).json(&echo(json!(1))).send().await;
        let reply = call.unwrap();
        assert!(matches!(reply.status, 400 | 422), "{reply}");
    }
}

#[tokio::test]
async fn a_request_id_is_kept_and_a_hostile_one_is_not_echoed_raw() {
    let stage = Stage::open().await;
    let reply = stage.client().get("/v1/jobs/nope").header("x-request-id", "trace-me-17").send().await.unwrap();
    let problem = problem(&reply, 404, "not_found");
    assert!(!problem["request_id"].as_str().unwrap().is_empty(), "{problem}");
    let long = "a".repeat(5_000);
    let reply = stage.client().get("/livez").header("x-request-id", &long).send().await.unwrap();
    assert!(reply.header("x-request-id").len() < 500, "{:?}", reply.headers);
}
