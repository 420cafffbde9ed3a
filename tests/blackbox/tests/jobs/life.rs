//! Submit, follow, take the result, cancel, retry, erase.

use crate::stage::{Stage, UNKNOWN_JOB, echo, job, job_id, pause, problem, resume, submit, succeeded};
use longhaul_testkit::client::Part;
use longhaul_testkit::fixture;
use longhaul_testkit::load::events;
use serde_json::{Value, json};

#[tokio::test]
async fn a_job_is_accepted_runs_and_tells_its_story() {
    let stage = Stage::open().await;
    let client = stage.client();
    let input =
        json!({"text": "ä, ß, 漢字, \u{1F4A1}", "number": 1.5, "big": 9_007_199_254_740_993_u64, "list": [1, null]});
    let body = json!({"kind": "echo", "input": input, "metadata": {"customer": "c-17"}});
    let receipt = client.post("/v1/jobs").json(&body).send().await.unwrap();
    assert_eq!(receipt.status, 202, "{receipt}");
    let id = job_id(&receipt);
    assert!(receipt.header("location").ends_with(&format!("/v1/jobs/{id}")), "{:?}", receipt.headers);
    assert!(receipt.header("retry-after").parse::<u64>().is_ok(), "{:?}", receipt.headers);
    assert!(!receipt.header("x-request-id").is_empty(), "{:?}", receipt.headers);
    assert!(receipt.json()["urls"]["self"].as_str().is_some_and(|url| url.contains(&id)), "{receipt}");

    let job = succeeded(&client, &id).await;
    assert_eq!((&job["object"], &job["kind"], &job["queue"]), (&json!("job"), &json!("echo"), &json!("default")));
    assert_eq!((&job["attempt"], &job["max_attempts"], &job["priority"]), (&json!(1), &json!(5), &json!(0)), "{job}");
    assert_eq!((&job["input"], &job["output"]), (&input, &input), "{job}");
    assert_eq!(job["metadata"], json!({"customer": "c-17"}), "{job}");
    assert_eq!(job["error"], Value::Null, "{job}");
    for time in ["created_at", "started_at", "finished_at", "expires_at"] {
        assert!(job[time].as_str().is_some_and(|text| text.ends_with('Z') && text.contains('T')), "{time}: {job}");
    }

    let story = events(&client, &id).await.unwrap();
    let kinds: Vec<&str> = story.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["job.queued", "job.running", "job.succeeded"]);
    assert_eq!(story.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(job["last_event_seq"], 3);
    for event in &story {
        let event: Value = serde_json::from_str(&event.raw).unwrap();
        assert_eq!(event["job_id"], id.as_str(), "{event}");
        assert!(event["time"].is_string(), "{event}");
    }

    let reply = client.get(&format!("/v1/jobs/{id}/attempts")).send().await.unwrap();
    let attempts = reply.json();
    assert_eq!(attempts["data"].as_array().map(Vec::len), Some(1), "{reply}");
    assert_eq!(attempts["data"][0]["attempt"], 1, "{reply}");

    let result = client.get(&format!("/v1/jobs/{id}/result")).send().await.unwrap();
    assert_eq!((result.status, result.json()), (200, input));
}

#[tokio::test]
async fn prefer_wait_returns_the_finished_job_at_once() {
    let stage = Stage::open().await;
    let reply =
        stage.client().post("/v1/jobs").header("prefer", "wait=20").json(&echo(json!("now"))).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!((&reply.json()["status"], &reply.json()["output"]), (&json!("succeeded"), &json!("now")), "{reply}");

    let late = json!({"kind": "echo", "input": 1, "delay_s": 3600});
    let reply = stage.client().post("/v1/jobs").header("prefer", "wait=1").json(&late).send().await.unwrap();
    assert_eq!(reply.status, 202, "what does not end in time is a receipt: {reply}");
}

#[tokio::test]
async fn an_unfinished_result_is_202_and_a_cancelled_one_409() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "echo", "input": 1, "delay_s": 3600})).await;
    let result = client.get(&format!("/v1/jobs/{id}/result")).send().await.unwrap();
    assert_eq!(result.status, 202, "{result}");
    let scheduled = job(&client, &id).await;
    assert_eq!((&scheduled["status"], &scheduled["status_reason"]), (&json!("queued"), &json!("scheduled")));

    let cancel = client.post(&format!("/v1/jobs/{id}/cancel")).send().await.unwrap();
    assert!(matches!(cancel.status, 200 | 202), "{cancel}");
    let cancelled = job(&client, &id).await;
    assert_eq!(cancelled["status"], "cancelled", "a queued job is cancelled at once: {cancelled}");
    let result = client.get(&format!("/v1/jobs/{id}/result")).send().await.unwrap();
    problem(&result, 409, "job_cancelled");
    let kinds: Vec<String> = events(&client, &id).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["job.queued", "job.cancelled"]);
}

#[tokio::test]
async fn cancelling_an_ended_job_changes_nothing() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, echo(json!(1))).await;
    let before = succeeded(&client, &id).await;
    let cancel = client.post(&format!("/v1/jobs/{id}/cancel")).send().await.unwrap();
    assert_eq!(cancel.status, 200, "{cancel}");
    assert_eq!(job(&client, &id).await, before);
    let unknown = client.post(&format!("/v1/jobs/{UNKNOWN_JOB}/cancel")).send().await.unwrap();
    problem(&unknown, 404, "not_found");
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_ends_as_cancelled() {
    let stage = Stage::open().await;
    let client = stage.client();
    let text = fixture::prose(1, 400_000);
    let file = Part::file("long.txt", "text/plain", text.as_bytes());
    let receipt = client.post("/v1/documents").multipart(&[file]).send().await.unwrap();
    assert_eq!(receipt.status, 202, "{receipt}");
    let id = job_id(&receipt);
    let running = async {
        loop {
            let job = job(&client, &id).await;
            if job["status"] != "queued" {
                return job;
            }
        }
    };
    let running = running.await;
    let cancel = client.post(&format!("/v1/jobs/{id}/cancel")).send().await.unwrap();
    let ended = crate::stage::ended(&client, &id).await;
    match cancel.status {
        202 => assert_eq!(ended["status"], "cancelled", "was {running}, then {ended}"),
        200 => println!("the document was done before it could be cancelled; nothing was shown"),
        _ => panic!("{cancel}"),
    }
}

#[tokio::test]
async fn a_retry_is_a_new_job_with_the_same_input() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "echo", "input": {"n": 7}, "priority": 3, "metadata": {"a": "b"}})).await;
    succeeded(&client, &id).await;
    let retry = client.post(&format!("/v1/jobs/{id}/retry")).send().await.unwrap();
    assert_eq!(retry.status, 202, "{retry}");
    let again = job_id(&retry);
    assert_ne!(again, id);
    let again = succeeded(&client, &again).await;
    assert_eq!(again["retry_of"], id.as_str(), "{again}");
    assert_eq!((&again["output"], &again["priority"]), (&json!({"n": 7}), &json!(3)), "{again}");
}

#[tokio::test]
async fn an_erased_job_leaves_a_tombstone_without_its_payload() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "echo", "input": "the-secret-word", "delay_s": 3600})).await;
    let early = client.delete(&format!("/v1/jobs/{id}")).send().await.unwrap();
    problem(&early, 409, "not_terminal");

    let id = submit(&client, echo(json!("the-secret-word"))).await;
    succeeded(&client, &id).await;
    let erased = client.delete(&format!("/v1/jobs/{id}")).send().await.unwrap();
    assert!(matches!(erased.status, 200 | 204), "{erased}");
    for path in ["", "/result", "/events", "/attempts"] {
        let gone = client.get(&format!("/v1/jobs/{id}{path}")).send().await.unwrap();
        let stone = problem(&gone, 410, "erased");
        assert!(!gone.text().contains("the-secret-word"), "{gone}");
        if path.is_empty() {
            assert_eq!((&stone["job_id"], &stone["job_status"]), (&json!(id), &json!("succeeded")), "{stone}");
            assert!(stone["finished_at"].is_string(), "{stone}");
        }
    }
    let stage = stage.crash_and_restart().await;
    let gone = stage.client().get(&format!("/v1/jobs/{id}")).send().await.unwrap();
    problem(&gone, 410, "erased");
}

#[tokio::test]
async fn a_bulk_submission_is_all_or_nothing() {
    let stage = Stage::open().await;
    let client = stage.client();
    let good: Vec<Value> = (0..50).map(|n| json!({"kind": "echo", "input": n, "metadata": {"set": "bulk"}})).collect();
    let reply = client.post("/v1/jobs/bulk").json(&json!({"jobs": good})).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    let ids = longhaul_testkit::load::receipts(&reply.json());
    assert_eq!(ids.len(), 50, "{reply}");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(succeeded(&client, id).await["output"], n, "receipts come in the order of the jobs");
    }

    let mut bad = good.clone();
    bad[31] = json!({"kind": "no.such.kind", "input": 1});
    bad[40] = json!({"kind": "echo", "input": 1, "priority": 1_000});
    let reply = client.post("/v1/jobs/bulk").json(&json!({"jobs": bad})).send().await.unwrap();
    assert_eq!(reply.status, 422, "{reply}");
    assert!(reply.text().contains("/jobs/31/kind") && reply.text().contains("/jobs/40/priority"), "{reply}");
    let list = client.get("/v1/jobs?metadata.set=bulk&limit=200").send().await.unwrap();
    assert_eq!(list.json()["data"].as_array().map(Vec::len), Some(50), "{list}");

    let many: Vec<Value> = (0..1_001).map(|n| json!({"kind": "echo", "input": n})).collect();
    let reply = client.post("/v1/jobs/bulk").json(&json!({"jobs": many})).send().await.unwrap();
    assert!(matches!(reply.status, 413 | 422), "{reply}");
    assert!(reply.text().contains("1000") || reply.text().contains("1,000"), "{reply}");
}

#[tokio::test]
async fn a_repeated_key_returns_the_first_receipt_and_another_body_is_refused() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let send = |body: Value| client.post("/v1/jobs").header("idempotency-key", "order-17").json(&body).send();
    let first = send(echo(json!({"a": 1, "b": 2}))).await.unwrap();
    assert_eq!(first.status, 202, "{first}");
    assert_eq!(first.header("idempotency-replayed"), "", "{first}");
    let second = send(echo(json!({"a": 1, "b": 2}))).await.unwrap();
    assert_eq!((second.status, second.header("idempotency-replayed")), (202, "true"), "{second}");
    assert_eq!(job_id(&first), job_id(&second));
    let other = send(echo(json!({"a": 2}))).await.unwrap();
    problem(&other, 422, "idempotency_mismatch");
    let list = client.get("/v1/jobs").send().await.unwrap();
    assert_eq!(list.json()["data"].as_array().map(Vec::len), Some(1), "{list}");

    // A refused body is not remembered.
    let refused = client.post("/v1/jobs").header("idempotency-key", "order-18").json(&json!({"kind": 1}));
    assert_eq!(refused.send().await.unwrap().status, 422);
    let mended = client.post("/v1/jobs").header("idempotency-key", "order-18").json(&echo(json!(1)));
    assert_eq!(mended.send().await.unwrap().status, 202);
    resume(&client, "default").await;

    let id = job_id(&first);
    succeeded(&client, &id).await;
    let stage = stage.crash_and_restart().await;
    let body = echo(json!({"a": 1, "b": 2}));
    let late = stage.client().post("/v1/jobs").header("idempotency-key", "order-17").json(&body).send().await.unwrap();
    assert_eq!((job_id(&late), late.header("idempotency-replayed")), (id, "true"), "{late}");
}

#[tokio::test]
async fn the_same_key_sent_ten_times_at_once_makes_one_job() {
    let stage = Stage::open().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = stage.client();
        calls.spawn(async move {
            let call = client.post("/v1/jobs").header("idempotency-key", "burst").json(&echo(json!("once")));
            call.send().await.unwrap()
        });
    }
    let replies = calls.join_all().await;
    let mut ids: Vec<String> = replies.iter().filter(|reply| reply.status == 202).map(job_id).collect();
    assert!(replies.iter().all(|reply| matches!(reply.status, 202 | 409)), "{}", replies[0]);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn the_tag_of_a_job_that_waits_changes_with_what_it_waits_for() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let first = submit(&client, echo(json!(1))).await;
    let id = submit(&client, echo(json!(2))).await;
    let path = format!("/v1/jobs/{id}");
    let seen = client.get(&path).send().await.unwrap();
    assert_eq!(seen.json()["queue_position"], 1, "{seen}");
    let tag = seen.header("etag").to_owned();
    let again = client.get(&path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status, again.header("etag")), (304, tag.as_str()));
    // Another job goes; this one's own row does not change.
    client.post(&format!("/v1/jobs/{first}/cancel")).send().await.unwrap();
    let later = client.get(&path).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((later.status, &later.json()["queue_position"]), (200, &json!(0)), "{later}");
    assert_eq!(later.json()["version"], seen.json()["version"]);
    let version = format!("\"{}\"", seen.json()["version"]);
    let alone = client.get(&path).header("if-none-match", &version).send().await.unwrap();
    assert_eq!(alone.status, 304, "who asks for another version is told that there is none");
    resume(&client, "default").await;
    succeeded(&client, &id).await;
}

#[tokio::test]
async fn a_retry_that_is_repeated_with_its_key_makes_one_job() {
    let stage = Stage::open().await;
    let client = stage.client();
    let id = submit(&client, echo(json!(1))).await;
    succeeded(&client, &id).await;
    let path = format!("/v1/jobs/{id}/retry");
    let once = client.post(&path).header("idempotency-key", "once").send().await.unwrap();
    let again = client.post(&path).header("idempotency-key", "once").send().await.unwrap();
    assert_eq!((once.status, again.status), (202, 202), "{once} {again}");
    assert_eq!(job_id(&once), job_id(&again));
    assert_eq!((once.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
}

/// A job of a kind that a worker serves, and its lease.
async fn claimed(client: &longhaul_testkit::client::Client) -> (String, String) {
    let registered = client.call("PUT".parse().unwrap(), "/v1/kinds/ours").json(&json!({})).send().await.unwrap();
    assert!(registered.status < 300, "{registered}");
    let id = submit(client, json!({"kind": "ours", "input": null})).await;
    let claim = json!({"worker_id": "w", "kinds": ["ours"], "wait_s": 20});
    let claim = client.post("/v1/worker/claims").json(&claim).send().await.unwrap();
    (id, claim.json()["jobs"][0]["lease_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_answer_that_names_its_question_is_taken_for_no_other() {
    let stage = Stage::open().await;
    let client = stage.client();
    let (id, lease) = claimed(&client).await;
    let path = format!("/v1/jobs/{id}/input");
    let early = client.post(&format!("{path}?step=first")).json(&json!(1)).send().await.unwrap();
    problem(&early, 409, "conflict");
    let wait = json!({"for": "input", "step": "first", "prompt": "first?"});
    let wait = client.post(&format!("/v1/worker/jobs/{id}/wait")).header("longhaul-lease", &lease).json(&wait);
    assert_eq!(wait.send().await.unwrap().status, 200);
    let other = client.post(&format!("{path}?step=second")).json(&json!(2)).send().await.unwrap();
    problem(&other, 409, "conflict");
    let mine = client.post(&format!("{path}?step=first")).json(&json!(3)).send().await.unwrap();
    assert_eq!(mine.status, 202, "{mine}");
    let twice = client.post(&format!("{path}?step=first")).json(&json!(3)).send().await.unwrap();
    problem(&twice, 409, "conflict");
    let claim = json!({"worker_id": "w", "kinds": ["ours"], "wait_s": 20});
    let claim = client.post("/v1/worker/claims").json(&claim).send().await.unwrap();
    assert_eq!(claim.json()["jobs"][0]["steps"], json!([{"step": "first", "output": 3}]), "{claim}");
}

#[tokio::test]
async fn what_a_worker_spends_counts_once_with_its_steps_and_however_its_attempts_end() {
    let stage = Stage::open().await;
    let client = stage.client();
    let (id, mut lease) = claimed(&client).await;
    let told = async |lease: &str, verb: &str, body: &Value| {
        let call = client.post(&format!("/v1/worker/jobs/{id}/{verb}")).header("longhaul-lease", lease);
        call.json(body).send().await.unwrap()
    };
    let usage = |tokens: u64| json!({"input_tokens": tokens, "cost_microusd": 2 * tokens});
    let step = json!({"step": "paid", "output": 1, "usage": usage(1)});
    for _ in 0..2 {
        assert_eq!(told(&lease, "checkpoint", &step).await.status, 200);
    }
    let error = json!({"code": "late", "message": "later"});
    let ends = [
        ("fail", json!({"error": error, "retry_after_ms": 0, "usage": usage(10)})),
        ("release", json!({"usage": usage(100)})),
        ("wait", json!({"for": "input", "step": "go-on", "usage": usage(1_000)})),
    ];
    for (verb, body) in ends {
        let mut absurd = body.clone();
        absurd["usage"]["output_tokens"] = json!(1_000_000_000_001_u64);
        let refused = problem(&told(&lease, verb, &absurd).await, 422, "invalid_request");
        assert_eq!(crate::stage::field_errors(&refused)[0].0, "/usage/output_tokens", "{refused}");
        assert_eq!(told(&lease, verb, &body).await.status, 200, "{verb}");
        problem(&told(&lease, verb, &body).await, 409, "lease_lost");
        if verb == "wait" {
            let shown = client.get(&format!("/v1/jobs/{id}")).send().await.unwrap().json();
            assert_eq!(shown["usage"]["cost_microusd"], 2 * 1_111, "while it waits: {shown}");
            let answer = client.post(&format!("/v1/jobs/{id}/input")).json(&json!(true)).send().await.unwrap();
            assert_eq!(answer.status, 202, "{answer}");
        }
        let claim = json!({"worker_id": "w", "kinds": ["ours"], "wait_s": 20});
        let claim = client.post("/v1/worker/claims").json(&claim).send().await.unwrap();
        lease = claim.json()["jobs"][0]["lease_token"].as_str().unwrap().to_owned();
    }
    let result = json!({"output": 1, "report": {"usage": usage(10_000)}});
    for _ in 0..2 {
        assert_eq!(told(&lease, "complete", &result).await.status, 200);
    }
    let job = succeeded(&client, &id).await;
    assert_eq!(job["usage"], json!({"input_tokens": 11_111, "output_tokens": 0, "cost_microusd": 22_222}));
}

#[tokio::test]
async fn output_that_readers_could_not_read_is_refused() {
    let stage = Stage::open().await;
    let client = stage.client();
    let (id, lease) = claimed(&client).await;
    let path = format!("/v1/worker/jobs/{id}/output");
    for data in [r#""\ud83d""#, r#"{"a": "\ud83d"}"#, "1e999"] {
        let chunk = format!("{{\"chunk_seq\": 1, \"data\": {data}}}");
        let refused =
            client.post(&path).header("longhaul-lease", &lease).body("application/json", chunk).send().await.unwrap();
        let refused = problem(&refused, 422, "invalid_request");
        assert_eq!(crate::stage::field_errors(&refused)[0].0, "/data", "{data}: {refused}");
    }
    let chunk = json!({"chunk_seq": 1, "data": "\u{1f4a1}"});
    let stored = client.post(&path).header("longhaul-lease", &lease).json(&chunk).send().await.unwrap();
    assert_eq!(stored.status, 200, "{stored}");
}

#[tokio::test]
async fn a_worker_that_waits_gets_nothing_with_a_key_that_was_revoked_meanwhile() {
    let stage = Stage::open().await;
    let open = stage.client();
    let key = |name: &str, scopes: Value| json!({"name": name, "scopes": scopes});
    let admin = open.post("/v1/api_keys").json(&key("admin", json!(["admin"]))).send().await.unwrap().json();
    let admin = open.with_key(admin["key"].as_str().unwrap());
    admin.call("PUT".parse().unwrap(), "/v1/kinds/ours").json(&json!({})).send().await.unwrap();
    // A claim that comes after the revocation is refused in other words, and tells nothing of those that wait.
    for _ in 0..20 {
        let worker = admin.post("/v1/api_keys").json(&key("worker", json!(["worker"]))).send().await.unwrap().json();
        let its_key = open.with_key(worker["key"].as_str().unwrap());
        let claim = json!({"worker_id": "w", "kinds": ["ours"], "wait_s": 20});
        let claim = its_key.post("/v1/worker/claims").json(&claim).send();
        let path = format!("/v1/api_keys/{}", worker["key_id"].as_str().unwrap());
        let revoke = async {
            for _ in 0..3 {
                admin.get("/v1/stats").send().await.unwrap();
            }
            assert_eq!(admin.delete(&path).send().await.unwrap().status, 204);
            submit(&admin, json!({"kind": "ours", "input": null})).await
        };
        let (claim, id) = tokio::join!(claim, revoke);
        let refused = problem(&claim.unwrap(), 401, "unauthorized");
        // Given back, at the latest when the refusal is under way.
        while job(&admin, &id).await["status"] != "queued" {
            tokio::task::yield_now().await;
        }
        if refused["detail"].as_str().unwrap().contains("any more") {
            return;
        }
        admin.post(&format!("/v1/jobs/{id}/cancel")).send().await.unwrap();
    }
    panic!("no claim was waiting when its key was revoked");
}
