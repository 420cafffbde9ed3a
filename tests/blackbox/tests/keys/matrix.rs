//! Every operation of the served contract, called by nobody and by callers with the wrong scope: none is let in.
//!
//! Routes come from the OpenAPI document, so a new route is tested on the day it is added.

use super::{client_for, guarded};
use crate::contract::operations;
use longhaul_testkit::client::{Client, Reply};
use serde_json::json;

/// Open to everyone by contract (the last two on loopback only).
const OPEN: [&str; 6] = ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/"];

fn is_open(path: &str) -> bool {
    // A session is how one comes in: whoever has no key is told so by the route itself.
    OPEN.contains(&path) || path.starts_with("/docs/") || path == "/v1/session"
}

/// What a worker's key may use, beside the routes of the worker protocol.
const FOR_WORKERS: [&str; 2] = ["/v1/kinds", "/v1/kinds/{kind}"];

async fn call(client: &Client, method: &str, path: &str) -> Reply {
    let path = path
        .split('/')
        .map(|part| match part {
            "{document_id}" => "doc_01920000000070008000000000000000",
            part if part.starts_with('{') => "job_01920000000070008000000000000000",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/");
    let call = client.call(method.to_uppercase().parse().unwrap(), &path);
    let call = if method == "get" || method == "delete" { call } else { call.json(&json!({})) };
    call.send().await.unwrap()
}

#[tokio::test]
async fn no_route_lets_in_a_caller_without_the_right() {
    let (stage, admin) = guarded().await;
    let document = stage.client().get("/openapi.json").send().await.unwrap().json();
    let nobody = stage.client();
    let worker = client_for(&admin, "acme", &["worker:some-queue"]).await;
    let reader = client_for(&admin, "acme", &["jobs:read"]).await;
    let everything_but_admin = client_for(&admin, "acme", &["jobs:read", "jobs:write", "llm", "worker"]).await;
    let mut leaks = Vec::new();
    let mut asked = 0;
    for (method, path, _) in operations(&document) {
        if is_open(&path) {
            continue;
        }
        let name = format!("{method} {path}");
        let mut expect = |who: &str, reply: &Reply, status: u16| {
            asked += 1;
            if reply.status != status {
                leaks.push(format!("{name} by {who}: {} instead of {status}", reply.status));
            }
        };
        expect("nobody", &call(&nobody, &method, &path).await, 401);
        if !path.starts_with("/v1/worker") && !FOR_WORKERS.contains(&path.as_str()) {
            expect("a worker", &call(&worker, &method, &path).await, 403);
        }
        if method != "get" {
            expect("a reader", &call(&reader, &method, &path).await, 403);
        }
        if path.starts_with("/v1/api_keys") {
            expect("a non-admin", &call(&everything_but_admin, &method, &path).await, 403);
        }
    }
    assert!(asked > 60, "only {asked} calls: the document lists too little");
    assert!(leaks.is_empty(), "{} of {asked} calls were let in:\n{}", leaks.len(), leaks.join("\n"));
}
