//! The served OpenAPI document: complete, consistent with itself, and it explains the workflow first.

use crate::stage::Stage;
use serde_json::Value;
use std::collections::BTreeSet;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation as method, path and description.
pub(crate) fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if item[method].is_object() {
                operations.push((method.to_owned(), path.clone(), item[method].clone()));
            }
        }
    }
    operations
}

async fn document(stage: &Stage) -> Value {
    let reply = stage.client().get("/openapi.json").send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    assert!(reply.header("content-type").starts_with("application/json"), "{:?}", reply.headers);
    reply.json()
}

#[tokio::test]
async fn the_document_opens_with_the_asynchronous_workflow() {
    let stage = Stage::open().await;
    let document = document(&stage).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let description = document["info"]["description"].as_str().unwrap();
    let opening: String = description.chars().take(600).collect::<String>().to_lowercase();
    for word in ["202", "job", "poll"] {
        assert!(opening.contains(word), "{word} is not in the first words: {opening}");
    }
    assert!(document["info"]["version"].as_str().is_some_and(|text| !text.is_empty()));
}

#[tokio::test]
async fn every_published_route_is_documented() {
    let stage = Stage::open().await;
    let document = document(&stage).await;
    let documented: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(method, path, _)| (method, unnamed(&path))).collect();
    let routes = [
        ("post", "/v1/jobs"),
        ("get", "/v1/jobs"),
        ("post", "/v1/jobs/bulk"),
        ("get", "/v1/jobs/{}"),
        ("delete", "/v1/jobs/{}"),
        ("get", "/v1/jobs/{}/result"),
        ("get", "/v1/jobs/{}/events"),
        ("get", "/v1/jobs/{}/attempts"),
        ("post", "/v1/jobs/{}/cancel"),
        ("post", "/v1/jobs/{}/retry"),
        ("get", "/v1/kinds"),
        ("get", "/v1/queues"),
        ("post", "/v1/queues/{}/pause"),
        ("post", "/v1/queues/{}/resume"),
        ("post", "/v1/documents"),
        ("get", "/v1/documents/{}"),
        ("get", "/v1/documents/{}/search"),
        ("get", "/v1/api_keys"),
        ("post", "/v1/api_keys"),
        ("delete", "/v1/api_keys/{}"),
        ("post", "/v1/process"),
        ("post", "/documents"),
        ("get", "/jobs/{}"),
        ("post", "/process"),
        ("post", "/api/v1/analysis"),
        ("get", "/api/v1/analysis/status/{}"),
        ("get", "/api/v1/analysis/result/{}"),
        ("post", "/v1/chat/completions"),
        ("post", "/v1/embeddings"),
        ("get", "/v1/models"),
        ("get", "/v1/models/{}"),
        ("post", "/v1/responses"),
        ("get", "/v1/responses/{}"),
        ("delete", "/v1/responses/{}"),
        ("post", "/v1/responses/{}/cancel"),
        ("get", "/v1/responses/{}/input_items"),
        ("post", "/v1/messages"),
        ("get", "/v1/models/{}/stack"),
        ("put", "/v1/models/{}/targets/{}/breaker"),
        ("delete", "/v1/models/{}/cache"),
        ("get", "/livez"),
        ("get", "/readyz"),
    ];
    let missing: Vec<_> =
        routes.iter().filter(|(method, path)| !documented.contains(&((*method).into(), (*path).into()))).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

/// A path with the names of its parameters left out.
fn unnamed(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_operation_says_what_it_does_and_how_it_answers() {
    let stage = Stage::open().await;
    let document = document(&stage).await;
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        let words = ["summary", "description"].iter().find_map(|member| operation[*member].as_str());
        assert!(words.is_some_and(|text| !text.trim().is_empty()), "{name} says nothing");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId")).to_owned();
        assert!(ids.insert(id.clone()), "operationId {id} is used twice");
        let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("{name} has no responses"));
        let succeeds = |status: &String| status.starts_with('2') || status == "101";
        assert!(responses.keys().any(succeeds), "{name} never succeeds: {responses:?}");
        for (status, response) in responses {
            let resolved = resolve(&document, response);
            assert!(resolved["description"].is_string(), "{name} {status} has no description");
        }
        let declared: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|parameter| resolve(&document, parameter))
            .filter(|parameter| parameter["in"] == "path")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        let used: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(declared, used, "{name}: parameters of the path");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let stage = Stage::open().await;
    let document = document(&stage).await;
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

fn collect_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(reference) => found.push(reference.to_owned()),
                    None => collect_references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
        _ => {}
    }
}

fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

#[tokio::test]
async fn the_page_to_read_it_needs_nothing_from_elsewhere() {
    let stage = Stage::open().await;
    let page = stage.client().get("/docs").send().await.unwrap();
    assert_eq!(page.status, 200, "{page}");
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    let html = page.text();
    for attribute in ["src=\"http", "src='http", "href=\"https://cdn", "src=\"//", "@import url(http"] {
        assert!(!html.contains(attribute), "the page fetches {attribute}…");
    }
}
