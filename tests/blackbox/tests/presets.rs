//! The four published flows, word for word.

use crate::stage::{Stage, UNKNOWN_JOB, problem, succeeded};
use longhaul_testkit::client::{Client, Part, Reply};
use longhaul_testkit::fixture;
use serde_json::{Value, json};

const STORY: &str = "The lighthouse keeper repaired the lantern before the storm. Ships trusted the lantern, and the \
                     lantern never failed them. When the storm had passed, the keeper wrote a letter to the harbour.";

async fn upload(client: &Client, path: &str, name: &str, content_type: &str, content: &[u8]) -> Reply {
    client.post(path).multipart(&[Part::file(name, content_type, content)]).send().await.unwrap()
}

/// Uploads by the preset, polls by the preset, and returns the job and the id of the document.
async fn ingest(client: &Client, name: &str, content_type: &str, content: &[u8]) -> (Value, String) {
    let receipt = upload(client, "/documents", name, content_type, content).await;
    assert_eq!(receipt.status, 202, "{receipt}");
    let body = receipt.json();
    assert_eq!(body["status"], "queued", "{receipt}");
    let job_id = body["job_id"].as_str().unwrap();
    assert!(job_id.starts_with("job_"), "{receipt}");
    let document_id = body["document_id"].as_str().unwrap().to_owned();
    assert!(document_id.starts_with("doc_"), "{receipt}");
    let polled = client.get(&format!("/jobs/{job_id}?wait=30")).send().await.unwrap();
    assert_eq!(polled.status, 200, "{polled}");
    let job = polled.json();
    assert_eq!(job["status"], "succeeded", "{polled}");
    assert_eq!(job["kind"], "document.ingest", "{polled}");
    (job, document_id)
}

fn text_of(output: &Value) -> String {
    let chunks = output["chunks"].as_array().unwrap_or_else(|| panic!("no chunks: {output}"));
    chunks.iter().filter_map(|chunk| chunk["text"].as_str()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn an_uploaded_document_is_ingested_while_the_client_polls() {
    let stage = Stage::open().await;
    let client = stage.client();
    let markdown = format!("# Keeper\n\n{STORY}\n\n* first\n* second\n");
    let html =
        format!("<html><head><title>Keeper</title><script>x()</script></head><body><p>{STORY}</p></body></html>");
    let pdf = fixture::pdf(&[STORY, "The second page speaks of glaciers."]);
    let files: [(&str, &str, &[u8]); 4] = [
        ("story.txt", "text/plain", STORY.as_bytes()),
        ("story.md", "text/markdown", markdown.as_bytes()),
        ("story.html", "text/html", html.as_bytes()),
        ("story.pdf", "application/pdf", &pdf),
    ];
    for (name, content_type, content) in files {
        let (job, document_id) = ingest(&client, name, content_type, content).await;
        let output = &job["output"];
        assert_eq!(output["document_id"], document_id.as_str(), "{name}: {output}");
        let text = text_of(output);
        assert!(text.contains("lighthouse keeper"), "{name}: {text}");
        assert!(!text.contains("<p>") && !text.contains("x()"), "{name}: {text}");
        assert!(output["embeddings"]["dimensions"].as_u64().is_some_and(|n| n > 0), "{name}: {output}");
        let pages = output["pages"].as_array().map_or(0, Vec::len);
        assert_eq!(pages, if name == "story.pdf" { 2 } else { 1 }, "{name}: {output}");

        let document = client.get(&format!("/v1/documents/{document_id}")).send().await.unwrap();
        assert_eq!(document.status, 200, "{document}");
        let found = client.get(&format!("/v1/documents/{document_id}/search?q=lantern+storm")).send().await.unwrap();
        assert_eq!(found.status, 200, "{found}");
        assert!(found.text().contains("lantern"), "{found}");
    }
}

#[tokio::test]
async fn an_unknown_job_is_a_clear_404_on_both_routes() {
    let stage = Stage::open().await;
    for path in ["/jobs", "/v1/jobs"] {
        let reply = stage.client().get(&format!("{path}/{UNKNOWN_JOB}")).send().await.unwrap();
        let problem = problem(&reply, 404, "not_found");
        assert!(problem["detail"].as_str().unwrap().contains(UNKNOWN_JOB), "{problem}");
    }
}

#[tokio::test]
async fn an_analysis_goes_from_pending_to_completed_in_camel_case() {
    let stage = Stage::open().await;
    let client = stage.client();
    let body = json!({"text": STORY, "analyses": ["summary", "keywords", "sentiment", "language"]});
    let receipt = client.post("/api/v1/analysis").json(&body).send().await.unwrap();
    assert_eq!(receipt.status, 202, "{receipt}");
    let body = receipt.json();
    assert_eq!(body["status"], "pending", "{receipt}");
    assert!(body.get("job_id").is_none(), "{receipt}");
    let job_id = body["jobId"].as_str().unwrap_or_else(|| panic!("no jobId: {receipt}")).to_owned();

    let mut seen = vec!["pending".to_owned()];
    let status_path = format!("/api/v1/analysis/status/{job_id}");
    while seen.last().is_none_or(|status| status != "completed") {
        assert!(seen.len() < 10_000, "never completed: {seen:?}");
        let reply = client.get(&status_path).send().await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(reply.json()["jobId"], job_id.as_str(), "{reply}");
        let status = reply.json()["status"].as_str().unwrap().to_owned();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
    let order = ["pending", "in_progress", "completed"];
    let places: Vec<_> = seen.iter().map(|status| order.iter().position(|known| known == status)).collect();
    assert!(places.is_sorted() && !places.contains(&None), "went {seen:?}");

    let reply = client.get(&format!("/api/v1/analysis/result/{job_id}")).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let body = reply.json();
    assert_eq!((&body["jobId"], &body["status"]), (&json!(job_id), &json!("completed")), "{reply}");
    let results = &body["result"]["results"];
    assert!(results["summary"].as_str().is_some_and(|text| STORY.contains(text.split('.').next().unwrap())), "{reply}");
    assert!(results["keywords"].to_string().contains("lantern"), "{reply}");
    assert!(results["sentiment"]["score"].is_number(), "{reply}");
    assert!(results["language"].to_string().contains("en"), "{reply}");
}

#[tokio::test]
async fn an_unknown_analysis_is_a_404_and_an_unfinished_one_a_202() {
    let stage = Stage::open().await;
    let client = stage.client();
    for route in ["status", "result"] {
        let reply = client.get(&format!("/api/v1/analysis/{route}/{UNKNOWN_JOB}")).send().await.unwrap();
        problem(&reply, 404, "not_found");
    }
    let body = json!({"kind": "analysis", "input": {"text": STORY}, "delay_s": 3600});
    let job_id = crate::stage::submit(&client, body).await;
    let reply = client.get(&format!("/api/v1/analysis/result/{job_id}")).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    assert_eq!(reply.json()["status"], "pending", "{reply}");
}

#[tokio::test]
async fn a_process_call_answers_at_once_and_the_second_time_from_the_cache() {
    let stage = Stage::open().await;
    let client = stage.client();
    let items = json!({"items": [
        {"id": "k", "task": "keywords", "input": STORY},
        {"id": "s", "task": "sentiment", "input": "I love this wonderful lighthouse."},
        {"id": "l", "task": "language", "input": "Der Leuchtturm steht am Hafen und die Schiffe vertrauen ihm."},
    ]});
    let first = client.post("/process").json(&items).send().await.unwrap();
    assert_eq!(first.status, 200, "{first}");
    assert_eq!(first.header("longhaul-cache"), "miss", "{first}");
    let second = client.post("/process").json(&items).send().await.unwrap();
    assert_eq!(second.status, 200, "{second}");
    assert_eq!(second.header("longhaul-cache"), "hit", "{second}");
    let (first, second) = (first.json(), second.json());
    assert_eq!((&first["succeeded"], &first["failed"]), (&json!(3), &json!(0)), "{first}");
    for (index, id) in ["k", "s", "l"].iter().enumerate() {
        let (miss, hit) = (&first["results"][index], &second["results"][index]);
        assert_eq!((&miss["id"], &miss["status"]), (&json!(id), &json!("succeeded")), "{first}");
        assert_eq!((&miss["cached"], &hit["cached"]), (&json!(false), &json!(true)), "{first} {second}");
        assert_eq!(miss["output"], hit["output"]);
    }
    assert!(first["results"][0]["output"].to_string().contains("lantern"), "{first}");
    assert!(first["results"][2]["output"].to_string().contains("de"), "{first}");
}

#[tokio::test]
async fn the_local_model_says_what_it_cannot_do_and_what_to_do_instead() {
    let stage = Stage::open().await;
    let reply = stage.client().post("/process").json(&json!({"query": "What is a lantern?"})).send().await.unwrap();
    assert_eq!(reply.status, 422, "{reply}");
    let text = reply.text();
    assert!(text.contains("chat") && text.contains("local"), "{reply}");
    assert!(text.contains("models.") || text.contains("configur"), "{reply}");
}

#[tokio::test]
async fn the_same_document_can_be_analysed_after_its_upload() {
    let stage = Stage::open().await;
    let client = stage.client();
    let (_, document_id) = ingest(&client, "story.txt", "text/plain", STORY.as_bytes()).await;
    let body = json!({"kind": "analysis", "input": {"document_id": document_id, "analyses": ["keywords"]}});
    let job = succeeded(&client, &crate::stage::submit(&client, body).await).await;
    assert!(job["output"]["results"]["keywords"].to_string().contains("lantern"), "{job}");
}
