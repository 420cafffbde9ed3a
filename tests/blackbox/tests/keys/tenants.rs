//! The first key, the life of keys, and the wall between tenants.

use super::{BOOTSTRAP, client_for, create, guarded, key_id, secret};
use crate::stage::{Stage, UNKNOWN_JOB, echo, problem, submit, succeeded};
use longhaul_testkit::client::Part;
use longhaul_testkit::server::Launch;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn without_a_key_loopback_is_open_and_any_key_is_ignored() {
    let stage = Stage::open().await;
    let id = submit(&stage.client().with_key("sk-whatever-an-sdk-sends"), echo(json!(1))).await;
    succeeded(&stage.client(), &id).await;
}

#[tokio::test]
async fn without_a_key_no_other_address_is_served() {
    let home = tempfile::tempdir().unwrap();
    let exit = Launch::new(home.path()).unwrap().listen("0.0.0.0:0").refused(Duration::from_secs(20)).await.unwrap();
    assert!(exit.code.is_some_and(|code| code != 0), "{exit:?}");
    assert!(exit.stderr.contains("LONGHAUL_BOOTSTRAP_KEY"), "it says what to do: {exit:?}");
}

#[tokio::test]
async fn the_bootstrap_key_opens_every_door_by_either_header_and_survives_a_restart() {
    let (stage, admin) = guarded().await;
    let id = submit(&admin, echo(json!(1))).await;
    let by_header = stage.client().get(&format!("/v1/jobs/{id}")).header("x-api-key", BOOTSTRAP).send().await.unwrap();
    assert_eq!(by_header.status, 200, "{by_header}");
    assert_eq!(admin.get("/v1/api_keys").send().await.unwrap().status, 200);
    let stage = stage.crash_and_restart().await;
    let again = stage.client().with_key(BOOTSTRAP).get(&format!("/v1/jobs/{id}")).send().await.unwrap();
    assert_eq!(again.status, 200, "{again}");
    for open in ["/livez", "/readyz"] {
        assert_eq!(stage.client().get(open).send().await.unwrap().status, 200, "{open}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_401_whatever_is_wrong_with_it() {
    let (stage, _) = guarded().await;
    let altered = format!("{}X", &BOOTSTRAP[..BOOTSTRAP.len() - 1]);
    let wrong = ["", "lh_", "sk-abc", altered.as_str(), "lh_bootstrapkey0001_", "' OR 1=1 --", "lh_x_y_z"];
    for key in wrong {
        let reply = stage.client().with_key(key).get("/v1/jobs").send().await.unwrap();
        // Many wrong keys from one address may be slowed down; none is let in.
        assert!(matches!(reply.status, 401 | 429), "{key:?}: {reply}");
        assert!(key.len() < 6 || !reply.text().contains(key), "the key is not echoed: {reply}");
    }
    let basic = stage.client().get("/v1/jobs").header("authorization", "Basic bGg6eA==").send().await.unwrap();
    assert!(matches!(basic.status, 401 | 429), "{basic}");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_revoked_key_is_dead_at_once() {
    let (stage, admin) = guarded().await;
    let made = create(&admin, json!({"name": "ci", "tenant": "acme", "scopes": ["jobs:read", "jobs:write"]})).await;
    let secret = secret(&made).to_owned();
    let id = key_id(&made).to_owned();
    let client = stage.client().with_key(&secret);
    submit(&client, echo(json!(1))).await;

    let list = admin.get("/v1/api_keys").send().await.unwrap();
    assert_eq!(list.status, 200, "{list}");
    assert!(list.text().contains(&id) && list.text().contains("jobs:write"), "{list}");
    let tail = secret.rsplit('_').next().unwrap();
    assert!(!list.text().contains(tail), "the secret is in the list");
    assert!(!list.text().contains("hash"), "{list}");

    let revoked = admin.delete(&format!("/v1/api_keys/{id}")).send().await.unwrap();
    assert!(matches!(revoked.status, 200 | 204), "{revoked}");
    let reply = client.get("/v1/jobs").send().await.unwrap();
    problem(&reply, 401, "unauthorized");
    let stage = stage.crash_and_restart().await;
    let reply = stage.client().with_key(&secret).get("/v1/jobs").send().await.unwrap();
    problem(&reply, 401, "unauthorized");
    let unknown = stage.client().with_key(BOOTSTRAP).delete("/v1/api_keys/key_nope").send().await.unwrap();
    problem(&unknown, 404, "not_found");
}

#[tokio::test]
async fn the_wrong_scope_is_403_and_names_the_right_one() {
    let (_stage, admin) = guarded().await;
    let reader = client_for(&admin, "acme", &["jobs:read"]).await;
    let reply = reader.post("/v1/jobs").json(&echo(json!(1))).send().await.unwrap();
    let refused = problem(&reply, 403, "forbidden");
    assert!(refused["detail"].as_str().unwrap().contains("jobs:write"), "{refused}");
    assert_eq!(reader.get("/v1/jobs").send().await.unwrap().status, 200);
    let bad = admin.post("/v1/api_keys").json(&json!({"name": "x", "tenant": "a", "scopes": ["everything"]}));
    let bad = bad.send().await.unwrap();
    let refused = problem(&bad, 422, "invalid_request");
    assert!(refused.to_string().contains("jobs:read"), "the known scopes are listed: {refused}");
}

#[tokio::test]
async fn another_tenants_job_is_exactly_as_unknown_as_none() {
    let (_stage, admin) = guarded().await;
    let scopes = ["jobs:read", "jobs:write"];
    let (ada, bob) = (client_for(&admin, "ada", &scopes).await, client_for(&admin, "bob", &scopes).await);
    let body = json!({"kind": "echo", "input": "adas-secret", "metadata": {"m": "1"}});
    let id = submit(&ada, body).await;
    succeeded(&ada, &id).await;
    let upload = ada.post("/v1/documents").multipart(&[Part::file("a.txt", "text/plain", b"adas-secret text")]);
    let upload = upload.send().await.unwrap();
    assert_eq!(upload.status, 202, "{upload}");
    let document = upload.json()["document_id"].as_str().unwrap().to_owned();
    succeeded(&ada, &crate::stage::job_id(&upload)).await;

    let reads = [
        "/v1/jobs/{}",
        "/jobs/{}",
        "/v1/jobs/{}/result",
        "/v1/jobs/{}/events",
        "/v1/jobs/{}/attempts",
        "/api/v1/analysis/status/{}",
        "/api/v1/analysis/result/{}",
    ];
    for route in reads {
        let others = bob.get(&route.replace("{}", &id)).send().await.unwrap();
        let nobodys = bob.get(&route.replace("{}", UNKNOWN_JOB)).send().await.unwrap();
        assert_eq!(strip(&others.text(), &id), strip(&nobodys.text(), UNKNOWN_JOB), "{route}");
        problem(&others, 404, "not_found");
    }
    for (method, route) in [("POST", "/v1/jobs/{}/cancel"), ("POST", "/v1/jobs/{}/retry"), ("DELETE", "/v1/jobs/{}")] {
        let method: http::Method = method.parse().unwrap();
        let reply = bob.call(method, &route.replace("{}", &id)).send().await.unwrap();
        problem(&reply, 404, "not_found");
    }
    for route in ["/v1/documents/{}", "/v1/documents/{}/search?q=text"] {
        let reply = bob.get(&route.replace("{}", &document)).send().await.unwrap();
        problem(&reply, 404, "not_found");
    }
    let list = bob.get("/v1/jobs?metadata.m=1").send().await.unwrap();
    assert_eq!(list.json()["data"], json!([]), "{list}");
    assert_eq!(succeeded(&ada, &id).await["output"], "adas-secret", "untouched");

    // The same idempotency key of two tenants is two keys.
    let ours = ada.post("/v1/jobs").header("idempotency-key", "k").json(&echo(json!("a"))).send().await.unwrap();
    let theirs = bob.post("/v1/jobs").header("idempotency-key", "k").json(&echo(json!("b"))).send().await.unwrap();
    assert_eq!((ours.status, theirs.status), (202, 202), "{theirs}");
    assert_ne!(crate::stage::job_id(&ours), crate::stage::job_id(&theirs));

    // What one tenant had computed, the other does not get from the cache.
    let items = json!({"items": [{"task": "sentiment", "input": "What a lovely morning."}]});
    let all = ["jobs:read", "jobs:write", "llm"];
    let (ada, bob) = (client_for(&admin, "ada", &all).await, client_for(&admin, "bob", &all).await);
    assert_eq!(ada.post("/v1/process").json(&items).send().await.unwrap().header("longhaul-cache"), "miss");
    assert_eq!(bob.post("/v1/process").json(&items).send().await.unwrap().header("longhaul-cache"), "miss");
}

/// An answer without the id that was asked for and without its own number.
fn strip(text: &str, id: &str) -> String {
    let mut problem: serde_json::Value = serde_json::from_str(text).unwrap();
    problem["request_id"] = json!(null);
    problem.to_string().replace(id, "{id}")
}
