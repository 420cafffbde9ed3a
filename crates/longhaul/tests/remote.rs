//! The commands that talk to a server, against a scripted one.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use support::{Fake, Program, Reply, json};

const RECEIPT: &str = r#"{"job_id":"job_1","status":"queued","urls":{}}"#;
const QUEUED: &str = r#"{"job_id":"job_1","kind":"echo","queue":"default","status":"queued","status_reason":"ready"}"#;
const DONE: &str = r#"{"job_id":"job_1","object":"job","kind":"echo","queue":"default","status":"succeeded",
"attempt":1,"max_attempts":5,"input":{"a":1},"output":{"a":1},"new_in_v2":[1]}"#;
const FAILED: &str = r#"{"job_id":"job_1","kind":"echo","queue":"default","status":"failed","attempt":3,
"error":{"code":"provider_error","message":"the provider answered 500","retryable":true}}"#;
const UNAVAILABLE: &str = r#"{"title":"Overloaded","status":503,"code":"overloaded","detail":"the queue is full"}"#;

#[test]
fn submit_sends_the_job_and_prints_its_id() {
    let server = Fake::new().on("POST /v1/jobs", json(202, RECEIPT));
    let ran = Program::new(&[
        "submit",
        "echo",
        "--input",
        r#"{"a": 1.50}"#,
        "--queue",
        "q",
        "--priority",
        "-3",
        "--delay",
        "1m30s",
        "--metadata",
        "team=search",
        "--max-attempts",
        "2",
    ])
    .to(&server)
    .env("LONGHAUL_API_KEY", "lh_id_secret")
    .run();
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "job_1\n", ""));
    let seen = &server.seen()[0];
    // The input travels as it was written: 1.50 stays 1.50.
    insta::assert_snapshot!(seen.body, @r#"{"kind":"echo","input":{"a": 1.50},"queue":"q","priority":-3,"delay_s":90.0,"max_attempts":2,"metadata":{"team":"search"}}"#);
    assert_eq!(seen.header("authorization"), Some("Bearer lh_id_secret"));
    assert!(seen.header("idempotency-key").is_some_and(|key| key.starts_with("cli-") && key.len() == 36));
}

#[test]
fn a_broken_connection_and_an_overload_are_tried_again_under_the_same_idempotency_key() {
    let server = Fake::new()
        .on("POST /v1/jobs", Reply::HangUp)
        .on("POST /v1/jobs", Reply::Json(503, vec![("retry-after", "0")], UNAVAILABLE.to_owned()))
        .on("POST /v1/jobs", json(202, RECEIPT));
    let ran = Program::new(&["submit", "echo"]).to(&server).run();
    assert_eq!((ran.code, ran.out.as_str()), (0, "job_1\n"), "{}", ran.err);
    let seen = server.seen();
    assert!(seen.len() >= 3, "{seen:?}");
    assert!(seen.iter().all(|request| request.header("idempotency-key") == seen[0].header("idempotency-key")));
}

#[test]
fn an_overload_that_lasts_ends_with_5() {
    let reply = Reply::Json(503, vec![("retry-after", "0")], UNAVAILABLE.to_owned());
    let server = Fake::new().on("POST /v1/jobs", reply);
    let ran = Program::new(&["submit", "echo"]).to(&server).run();
    assert_eq!(server.seen().len(), 3);
    insta::assert_snapshot!(ran.whole(Some(&server)), @r"
    exit: 5
    --- stderr
    error: the queue is full (HTTP 503, overloaded)
      try again in 0s
    ");
}

#[test]
fn creating_a_key_is_not_repeated() {
    let server = Fake::new().on("POST /v1/api_keys", json(503, UNAVAILABLE));
    let ran = Program::new(&["keys", "create", "--scope", "admin"]).to(&server).run();
    assert_eq!((ran.code, server.seen().len()), (5, 1));
}

#[test]
fn a_server_that_is_not_there_ends_with_3() {
    let ran = Program::new(&["jobs", "list", "--url", "http://127.0.0.1:1"]).run();
    assert_eq!(ran.code, 3);
    assert!(ran.err.starts_with("error: cannot reach http://127.0.0.1:1: Connection refused"), "{}", ran.err);
}

#[test]
fn a_refusal_shows_every_bad_field_and_ends_with_4() {
    let problem = r#"{"type":"about:blank","title":"Invalid field","status":422,"code":"invalid_field",
        "detail":"the job has 2 invalid fields","errors":[{"pointer":"/kind","message":"unknown kind `eco`; known: echo, process"},
        {"pointer":"/queue","message":"must not be empty\u001b[31m"}]}"#;
    let server = Fake::new().on("POST /v1/jobs", json(422, problem));
    let ran = Program::new(&["submit", "eco"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(Some(&server)), @r"
    exit: 4
    --- stderr
    error: the job has 2 invalid fields (HTTP 422, invalid_field)
      /kind: unknown kind `eco`; known: echo, process
      /queue: must not be empty�[31m
    ");
}

#[test]
fn waiting_follows_the_job_by_its_version_and_prints_the_output() {
    let server = Fake::new()
        .on("POST /v1/jobs", json(202, RECEIPT))
        .on("GET /v1/jobs/job_1", Reply::Json(200, vec![("etag", "\"1\"")], QUEUED.to_owned()))
        .on("GET /v1/jobs/job_1", Reply::Json(304, vec![("etag", "\"1\"")], String::new()))
        .on("GET /v1/jobs/job_1", Reply::Json(200, vec![("etag", "\"4\"")], DONE.to_owned()));
    let ran = Program::new(&["submit", "echo", "-", "--wait"]).stdin(r#"{"a":1}"#).to(&server).run();
    insta::assert_snapshot!(ran.whole(Some(&server)), @r#"
    exit: 0
    --- stdout
    {
      "a": 1
    }
    "#);
    let seen = server.seen();
    assert_eq!(server.lines()[1..], ["GET /v1/jobs/job_1?wait=30"; 3]);
    assert_eq!(seen[1].header("if-none-match"), None);
    assert_eq!(seen[2].header("if-none-match"), Some("\"1\""));
}

#[test]
fn a_server_that_restarts_does_not_end_the_wait() {
    let server = Fake::new()
        .on("GET /v1/jobs/job_1", Reply::Json(200, vec![("etag", "\"1\"")], QUEUED.to_owned()))
        .on("GET /v1/jobs/job_1", Reply::HangUp)
        .on("GET /v1/jobs/job_1", Reply::HangUp)
        .on("GET /v1/jobs/job_1", Reply::HangUp)
        .on("GET /v1/jobs/job_1", Reply::HangUp)
        .on("GET /v1/jobs/job_1", json(200, DONE));
    let ran = Program::new(&["jobs", "show", "job_1", "--wait", "--json"]).to(&server).run();
    assert_eq!((ran.code, ran.out), (0, format!("{DONE}\n")), "{}", ran.err);
}

#[test]
fn a_failed_job_ends_with_1_and_says_why() {
    let server = Fake::new().on("GET /v1/jobs/job_1", json(200, FAILED));
    let ran = Program::new(&["jobs", "show", "job_1", "--wait"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(None), @r"
    exit: 1
    --- stderr
    job_1 failed: the provider answered 500 (provider_error), after 3 attempts
    ");
}

#[test]
fn a_wait_that_is_too_short_ends_with_6_and_says_how_to_go_on() {
    let server = Fake::new().on("GET /v1/jobs/job_1", Reply::Json(200, vec![("etag", "\"1\"")], QUEUED.to_owned()));
    let ran = Program::new(&["jobs", "show", "job_1", "--wait", "--timeout", "20ms"]).to(&server).run();
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("the job goes on: longhaul jobs show job_1 --wait"), "{}", ran.err);
}

#[test]
fn a_document_is_uploaded_as_a_form() {
    let receipt = r#"{"job_id":"job_1","document_id":"doc_1","status":"queued"}"#;
    let server = Fake::new().on("POST /v1/documents", json(202, receipt));
    let ran =
        Program::new(&["submit", "document.ingest", "--document", "a.md", "--input", r#"{"embed":false}"#, "--json"])
            .file("a.md", "# Hello")
            .to(&server)
            .run();
    assert_eq!((ran.code, ran.out), (0, format!("{receipt}\n")), "{}", ran.err);
    let body = &server.seen()[0].body;
    assert!(body.contains("name=\"file\"; filename=\"a.md\"\r\nContent-Type: text/markdown\r\n\r\n# Hello"), "{body}");
    assert!(body.contains("name=\"options\"") && body.contains(r#"{"embed":false}"#), "{body}");
}

#[test]
fn local_mistakes_end_with_2_before_anything_is_sent() {
    let server = Fake::new();
    for (arguments, says) in [
        (&["submit", "echo", "--input", "{"][..], "--input is not JSON: EOF"),
        (&["submit", "echo", "--file", "nowhere.json"], "cannot read nowhere.json"),
        (&["submit", "document.ingest", "--document", "nowhere.pdf"], "cannot read nowhere.pdf"),
        (&["submit", "echo", "--document", "x"], "--document goes with the kind document.ingest"),
        (&["submit", "echo", "--delay", "10"], "needs a unit"),
        (&["submit", "echo", "--metadata", "x"], "KEY=VALUE"),
        (&["jobs", "list", "--url", "nonsense"], "is not the address of a server"),
    ] {
        let ran = Program::new(arguments).to(&server).run();
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(says), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[test]
fn a_list_is_an_aligned_table() {
    let page = r#"{"data":[
        {"job_id":"job_1","kind":"document.ingest","queue":"ocr","status":"running","status_reason":"executing","attempt":2},
        {"job_id":"job_2","kind":"echo","queue":"default","status":"succeeded","attempt":1,
         "started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:01.5Z"}],
        "has_more":true,"next_cursor":"abc"}"#;
    let server = Fake::new().on("GET /v1/jobs", json(200, page));
    let ran = Program::new(&["jobs", "list", "--status", "running", "--metadata", "a b=c&d"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(None), @r"
    exit: 0
    --- stdout
    JOB    KIND             QUEUE    STATUS     REASON     TRY  CREATED  TOOK
    job_1  document.ingest  ocr      running    executing    2  -        -
    job_2  echo             default  succeeded  -            1  -        1s
    --- stderr
    there are more: --cursor abc, or --all
    ");
    assert_eq!(server.lines(), ["GET /v1/jobs?status=running&limit=50&metadata.a+b=c%26d"]);
}

#[test]
fn a_whole_list_as_json_is_one_item_a_line() {
    let server = Fake::new()
        .on("GET /v1/jobs", json(200, r#"{"data":[{"n":1.0},{"n":2}],"has_more":true,"next_cursor":"c2"}"#))
        .on("GET /v1/jobs", json(200, "{\"data\":[{\n\"n\":3}],\"has_more\":false,\"next_cursor\":null}"));
    let ran = Program::new(&["jobs", "list", "--all", "--json", "--limit", "2"]).to(&server).run();
    assert_eq!((ran.code, ran.out.as_str()), (0, "{\"n\":1.0}\n{\"n\":2}\n{\"n\":3}\n"));
    assert_eq!(server.lines(), ["GET /v1/jobs?limit=2", "GET /v1/jobs?limit=2&cursor=c2"]);
}

#[test]
fn events_are_read_to_the_end_by_number() {
    let server = Fake::new()
        .on("GET /v1/jobs/job_1/events", json(200, r#"{"data":[
            {"seq":1,"type":"job.queued","job_id":"job_1","attempt":null,"time":"2026-01-01T00:00:00Z","data":{}},
            {"seq":2,"type":"job.running","job_id":"job_1","attempt":1,"time":"2026-01-01T00:00:01Z","data":{"worker":"w1"}}],
            "has_more":true}"#))
        .on("GET /v1/jobs/job_1/events", json(200, r#"{"data":[
            {"seq":3,"type":"job.succeeded","job_id":"job_1","attempt":1,"time":"2026-01-01T00:00:02Z"}],"has_more":false}"#));
    let ran = Program::new(&["jobs", "events", "job_1"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(None), @r#"
    exit: 0
    --- stdout
    SEQ  TIME                  EVENT          TRY  DATA
      1  2026-01-01T00:00:00Z  job.queued       -
      2  2026-01-01T00:00:01Z  job.running      1  {"worker":"w1"}
      3  2026-01-01T00:00:02Z  job.succeeded    1
    "#);
    assert_eq!(server.lines(), ["GET /v1/jobs/job_1/events?after=0", "GET /v1/jobs/job_1/events?after=2"]);
}

#[test]
fn a_job_is_shown_with_all_that_matters() {
    let server = Fake::new().on("GET /v1/jobs/job_1", json(200, DONE));
    let ran = Program::new(&["jobs", "show", "job_1"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(None));
}

#[test]
fn an_id_cannot_leave_its_place_in_the_path() {
    let server = Fake::new();
    let ran = Program::new(&["jobs", "cancel", "../api_keys?x"]).to(&server).run();
    assert_eq!(ran.code, 4);
    assert_eq!(server.lines(), ["POST /v1/jobs/..%2Fapi_keys%3Fx/cancel"]);
}

#[test]
fn actions_say_what_became_of_the_job() {
    let server = Fake::new()
        .on(
            "POST /v1/jobs/job_1/cancel",
            json(202, r#"{"job_id":"job_1","status":"running","status_reason":"cancelling"}"#),
        )
        .on("POST /v1/jobs/job_1/retry", json(202, r#"{"job_id":"job_2","status":"queued"}"#))
        .on("DELETE /v1/jobs/job_1", Reply::Json(204, Vec::new(), String::new()))
        .on("POST /v1/queues/ocr/pause", json(200, r#"{"queue":"ocr","paused":true}"#));
    let out = |arguments: &[&str]| {
        let ran = Program::new(arguments).to(&server).run();
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    assert_eq!(out(&["jobs", "cancel", "job_1"]), "job_1 running\n");
    assert_eq!(out(&["jobs", "retry", "job_1"]), "job_2 queued\n");
    assert_eq!(out(&["jobs", "delete", "job_1"]), "job_1 erased\n");
    assert_eq!(out(&["queues", "pause", "ocr"]), "ocr paused\n");
}

#[test]
fn kinds_queues_and_keys_are_tables() {
    let server = Fake::new()
        .on(
            "GET /v1/kinds",
            json(
                200,
                r#"{"data":[{"kind":"echo","queue":"default","max_attempts":5,
            "description":"Gives back what it is given.\nMore."}],"has_more":false}"#,
            ),
        )
        .on(
            "GET /v1/queues",
            json(
                200,
                r#"{"data":[{"queue":"default","paused":false,"queued":12,"running":3,"concurrency":256},
            {"queue":"ocr","paused":true}],"has_more":false}"#,
            ),
        )
        .on(
            "GET /v1/api_keys",
            json(200, r#"{"data":[{"id":"7f3a","name":"ci","tenant":"default","scopes":["jobs:read","jobs:write"]}]}"#),
        );
    let mut text = String::new();
    for command in [&["kinds"][..], &["queues", "list"], &["keys", "list"]] {
        text.push_str(&Program::new(command).to(&server).run().whole(None));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn an_unknown_kind_is_answered_with_the_nearest() {
    let server = Fake::new().on("GET /v1/kinds", json(200, r#"{"data":[{"kind":"document.ingest"}]}"#));
    let ran = Program::new(&["kinds", "show", "document.ingst"]).to(&server).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("did you mean `document.ingest`?"), "{}", ran.err);
}

#[test]
fn a_new_key_is_the_only_thing_on_standard_output() {
    let server =
        Fake::new().on("POST /v1/api_keys", json(201, r#"{"id":"7f3a","key":"lh_7f3a_xyz","scopes":["admin"]}"#));
    let ran = Program::new(&["keys", "create", "--name", "ops", "--scope", "jobs:read,admin"]).to(&server).run();
    assert_eq!((ran.code, ran.out.as_str()), (0, "lh_7f3a_xyz\n"));
    assert_eq!(server.seen()[0].body, r#"{"name":"ops","scopes":["jobs:read","admin"]}"#);
}

#[test]
fn an_answer_that_is_no_json_ends_with_5() {
    let server = Fake::new().on("GET /v1/jobs/job_1", json(200, "<html>"));
    let ran = Program::new(&["jobs", "show", "job_1"]).to(&server).run();
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("is not understood"), "{}", ran.err);
}

#[test]
fn a_proxy_of_the_surroundings_does_not_stand_before_this_machine() {
    let server = Fake::new().on("GET /v1/jobs/job_1", json(200, DONE));
    let ran = Program::new(&["jobs", "show", "job_1"])
        .to(&server)
        .env("http_proxy", "http://127.0.0.1:1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .run();
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_bare_result_is_printed_and_an_unfinished_one_ends_with_6() {
    let server = Fake::new()
        .on("GET /v1/jobs/job_1/result", json(202, r#"{"job_id":"job_1","status":"running"}"#))
        .on("GET /v1/jobs/job_1/result", json(200, r#"{"a":1}"#));
    let early = Program::new(&["jobs", "result", "job_1"]).to(&server).run();
    assert_eq!((early.code, early.out.as_str()), (6, ""));
    let done = Program::new(&["jobs", "result", "job_1", "--json"]).to(&server).run();
    assert_eq!((done.code, done.out.as_str()), (0, "{\"a\":1}\n"));
}

#[test]
fn attempts_say_how_each_ended() {
    let server = Fake::new().on(
        "GET /v1/jobs/job_1/attempts",
        json(
            200,
            r#"{"data":[
            {"attempt":1,"status":"failed","started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:02Z",
             "worker_id":"w1","error":{"code":"timeout","message":"no answer in 2s","retryable":true},"ambiguous":true},
            {"attempt":2,"worker_id":"w2"}]}"#,
        ),
    );
    let ran = Program::new(&["jobs", "attempts", "job_1"]).to(&server).run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    // The column STARTED is relative to today.
    assert!(ran.out.contains("no answer in 2s (timeout) [ambiguous: it died during a call]"), "{}", ran.out);
    assert!(ran.out.lines().nth(1).unwrap().trim_start().starts_with("1  failed"), "{}", ran.out);
    assert!(ran.out.lines().nth(2).unwrap().trim_start().starts_with("2  running  -"), "{}", ran.out);
}

#[test]
fn a_document_is_shown_in_short() {
    let document = r#"{"document_id":"doc_1","name":"a.md","bytes":7,"pages":[{},{}],"job_id":null}"#;
    let server = Fake::new().on("GET /v1/documents/doc_1", json(200, document));
    let ran = Program::new(&["documents", "show", "doc_1"]).to(&server).run();
    insta::assert_snapshot!(ran.whole(None), @r"
    exit: 0
    --- stdout
    bytes        7
    document_id  doc_1
    name         a.md
    pages        2 (--json shows them)
    ");
}
