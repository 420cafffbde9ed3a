//! Lists, cursors, filters, entity tags, queues and kinds.

use crate::stage::{Stage, echo, job, pause, resume, submit, succeeded};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn ids(page: &Value) -> Vec<String> {
    let jobs = page["data"].as_array().unwrap_or_else(|| panic!("no list: {page}"));
    jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_show_every_job_once_even_while_new_ones_arrive() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let mut submitted = BTreeSet::new();
    for n in 0..25 {
        submitted.insert(submit(&client, echo(json!(n))).await);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/jobs?limit=10".to_owned();
    loop {
        let reply = client.get(&path).send().await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        let page = reply.json();
        for job in page["data"].as_array().unwrap() {
            assert!(job.get("input").is_none() && job.get("output").is_none(), "lists carry no payloads: {job}");
        }
        seen.extend(ids(&page));
        submit(&client, echo(json!("late"))).await;
        if page["has_more"] == false {
            break;
        }
        path = format!("/v1/jobs?limit=10&cursor={}", page["next_cursor"].as_str().unwrap());
    }
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "a job was listed twice");
    assert!(submitted.is_subset(&distinct), "a job was left out");
}

#[tokio::test]
async fn filters_choose_by_status_kind_queue_time_and_metadata() {
    let stage = Stage::open().await;
    let client = stage.client();
    let done = submit(&client, json!({"kind": "echo", "input": 1, "metadata": {"team": "red"}})).await;
    let finished = succeeded(&client, &done).await;
    pause(&client, "side").await;
    let waiting =
        submit(&client, json!({"kind": "echo", "input": 2, "queue": "side", "metadata": {"team": "blue"}})).await;
    let analysis = submit(&client, json!({"kind": "analysis", "input": {"text": "Hi."}, "queue": "side"})).await;

    let middle = job(&client, &waiting).await["created_at"].as_str().unwrap().to_owned();
    let cases = [
        ("status=succeeded".to_owned(), vec![&done]),
        ("status=queued".to_owned(), vec![&waiting, &analysis]),
        ("kind=analysis".to_owned(), vec![&analysis]),
        ("queue=side".to_owned(), vec![&waiting, &analysis]),
        ("metadata.team=red".to_owned(), vec![&done]),
        ("metadata.team=blue&status=queued&queue=side".to_owned(), vec![&waiting]),
        ("metadata.team=green".to_owned(), vec![]),
        (format!("created_before={middle}"), vec![&done]),
    ];
    for (filter, expected) in cases {
        let reply = client.get(&format!("/v1/jobs?{filter}")).send().await.unwrap();
        assert_eq!(reply.status, 200, "{filter}: {reply}");
        let found: BTreeSet<String> = ids(&reply.json()).into_iter().collect();
        assert_eq!(found, expected.into_iter().cloned().collect(), "{filter}: {reply}");
    }
    let after = finished["created_at"].as_str().unwrap();
    let reply = client.get(&format!("/v1/jobs?created_after={after}")).send().await.unwrap();
    let found = ids(&reply.json());
    assert!(found.contains(&waiting) && found.contains(&analysis), "{reply}");
}

#[tokio::test]
async fn an_unchanged_job_is_304_and_a_changed_one_is_sent() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "default").await;
    let id = submit(&client, echo(json!(1))).await;
    let path = format!("/v1/jobs/{id}");
    let first = client.get(&path).send().await.unwrap();
    let etag = first.header("etag").to_owned();
    assert!(!etag.is_empty(), "{first}");
    let same = client.get(&path).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((same.status, same.body.len()), (304, 0), "{same}");
    let waited = client.get(&format!("{path}?wait=1")).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(waited.status, 304, "nothing changed within the wait: {waited}");

    let (changed, ()) = tokio::join!(
        async { client.get(&format!("{path}?wait=30")).header("if-none-match", &etag).send().await.unwrap() },
        resume(&client, "default"),
    );
    assert_eq!(changed.status, 200, "{changed}");
    assert_ne!(changed.header("etag"), etag);
    let done = succeeded(&client, &id).await;
    assert_eq!(done["status"], "succeeded");
}

#[tokio::test]
async fn a_paused_queue_holds_its_jobs_and_only_its_jobs() {
    let stage = Stage::open().await;
    let client = stage.client();
    pause(&client, "held").await;
    let held = submit(&client, json!({"kind": "echo", "input": 1, "queue": "held"})).await;
    let free = submit(&client, json!({"kind": "echo", "input": 2, "queue": "free"})).await;
    succeeded(&client, &free).await;
    let waiting = job(&client, &held).await;
    assert_eq!((&waiting["status"], &waiting["status_reason"]), (&json!("queued"), &json!("paused")), "{waiting}");

    let queues = client.get("/v1/queues").send().await.unwrap();
    assert_eq!(queues.status, 200, "{queues}");
    let paused = |name: &str, page: &Value| {
        let queue = page["data"].as_array().into_iter().flatten().find(|queue| queue["name"] == name).cloned();
        queue.unwrap_or_else(|| panic!("no queue {name}: {page}"))["paused"].clone()
    };
    assert_eq!((paused("held", &queues.json()), paused("free", &queues.json())), (json!(true), json!(false)));

    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    assert_eq!(job(&client, &held).await["status_reason"], "paused", "a pause survives a crash");
    resume(&client, "held").await;
    succeeded(&client, &held).await;
}

#[tokio::test]
async fn kinds_publish_their_schemas() {
    let stage = Stage::open().await;
    let reply = stage.client().get("/v1/kinds").send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let page = reply.json();
    for name in ["echo", "document.ingest", "analysis", "process"] {
        let kinds = page["data"].as_array().unwrap();
        let kind = kinds.iter().find(|kind| kind["kind"] == name || kind["name"] == name);
        let kind = kind.unwrap_or_else(|| panic!("no kind {name}: {page}"));
        assert!(kind["input_schema"].is_object() || kind["input_schema"].is_boolean(), "{kind}");
        assert!(kind["description"].as_str().is_some_and(|text| !text.is_empty()), "{kind}");
    }
}
