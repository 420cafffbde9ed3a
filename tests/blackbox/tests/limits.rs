//! What the configuration says of kinds and tenants, seen from outside.

use std::collections::BTreeMap;

use longhaul_testkit::client::Client;
use serde_json::{Value, json};

use crate::{
    keys::{create, guarded_with, secret},
    stage::{Stage, job, pause, resume, submit, succeeded},
};

#[tokio::test]
async fn limits_of_a_built_in_kind_come_from_the_configuration() {
    let config = "[kinds.echo]\nlimits = [{ key = \"/customer\", rate = \"1/h\" }]\n";
    let stage = Stage::with(|launch| launch.config(config).unwrap()).await;
    let client = stage.client();
    let echo = |customer: &str| json!({"kind": "echo", "input": {"customer": customer}});
    let first = submit(&client, echo("a")).await;
    succeeded(&client, &first).await;
    let second = submit(&client, echo("a")).await;
    let other = submit(&client, echo("b")).await;
    succeeded(&client, &other).await;
    let held_back = job(&client, &second).await;
    assert_eq!(
        (&held_back["status"], &held_back["status_reason"]),
        (&json!("queued"), &json!("blocked")),
        "{held_back}"
    );
    let why = &held_back["waiting_for"];
    assert_eq!((&why["what"], &why["key"]), (&json!("kind_full"), &json!("/customer")), "{why}");
    assert_eq!(why["rate"], json!({"count": 1, "per_s": 3600}));
    assert!(why["until"].is_string(), "{why}");
    // A new process knows what the last one has started.
    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    let other = submit(&client, echo("c")).await;
    succeeded(&client, &other).await;
    assert_eq!(job(&client, &second).await["status_reason"], "blocked");
    let kinds = client.get("/v1/kinds").send().await.unwrap().json();
    let echo = kinds["data"].as_array().unwrap().iter().find(|kind| kind["kind"] == "echo").unwrap();
    assert_eq!(echo["limits"], json!([{"key": "/customer", "rate": {"count": 1, "per_s": 3600}}]));
}

#[tokio::test]
async fn tenants_share_a_queue_by_the_weights_of_the_configuration() {
    const EACH: usize = 60;
    let config = "[tenants.heavy]\nweight = 3\n[queues.default]\nconcurrency = 1\n";
    let (stage, admin) = guarded_with(|launch| launch.config(config).unwrap()).await;
    pause(&admin, "default").await;
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for tenant in ["heavy", "light"] {
        let made =
            create(&admin, json!({"name": tenant, "tenant": tenant, "scopes": ["jobs:read", "jobs:write"]})).await;
        let client = stage.client().with_key(secret(&made));
        let jobs: Vec<Value> = (0..EACH).map(|number| json!({"kind": "echo", "input": number})).collect();
        let reply = client.post("/v1/jobs/bulk").json(&json!({"jobs": jobs})).send().await.unwrap();
        assert_eq!(reply.status, 202, "{reply}");
        clients.insert(tenant, client);
    }
    resume(&admin, "default").await;
    let mut started: Vec<(String, &str)> = Vec::new();
    for (tenant, client) in &clients {
        let listed = client.get("/v1/jobs?limit=200").send().await.unwrap().json();
        for listed in listed["data"].as_array().unwrap() {
            let job = succeeded(client, listed["job_id"].as_str().unwrap()).await;
            started.push((job["started_at"].as_str().unwrap().to_owned(), tenant));
        }
    }
    started.sort();
    assert_eq!(started.len(), 2 * EACH);
    // One at a time: of the first forty three in four are heavy's, but for those that began within a millisecond.
    let heavy = started.iter().take(40).filter(|(_, tenant)| *tenant == "heavy").count();
    assert!((27..=33).contains(&heavy), "{heavy} of 40");
}
