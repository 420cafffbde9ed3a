//! Uploads that cannot be what they say: empty, broken, encrypted, with a path as their name.

use crate::stage::{Stage, ended, field_errors, job_id, problem};
use longhaul_testkit::client::{Part, Reply};
use longhaul_testkit::fixture;
use serde_json::Value;
use std::path::Path;

async fn upload(stage: &Stage, parts: &[Part<'_>]) -> Reply {
    stage.client().post("/v1/documents").multipart(parts).send().await.unwrap()
}

/// The job of an upload whose content turns out to be unreadable.
async fn failed(stage: &Stage, name: &str, content_type: &str, content: &[u8]) -> Value {
    let receipt = upload(stage, &[Part::file(name, content_type, content)]).await;
    assert_eq!(receipt.status, 202, "what the content is worth is found out later: {receipt}");
    let job = ended(&stage.client(), &job_id(&receipt)).await;
    assert_eq!(job["status"], "failed", "{job}");
    assert_eq!((&job["error"]["retryable"], &job["attempt"]), (&false.into(), &1.into()), "{job}");
    job
}

#[tokio::test]
async fn an_encrypted_pdf_fails_with_a_reason_that_a_person_understands() {
    let stage = Stage::open().await;
    let job = failed(&stage, "secret.pdf", "application/pdf", fixture::encrypted_pdf()).await;
    let message = job["error"]["message"].as_str().unwrap().to_lowercase();
    assert!(message.contains("password") || message.contains("encrypted"), "{job}");
    assert!(job["error"]["code"].as_str().unwrap().contains("encrypted"), "{job}");
}

#[tokio::test]
async fn a_broken_pdf_fails_with_a_reason_that_a_person_understands() {
    let stage = Stage::open().await;
    for content in [fixture::broken_pdf(), b"this is no PDF at all".to_vec()] {
        let job = failed(&stage, "report.pdf", "application/pdf", &content).await;
        let message = job["error"]["message"].as_str().unwrap();
        assert!(message.contains("PDF"), "{job}");
        assert!(message.len() > 20 && !message.contains("unwrap") && !message.contains("Error("), "{job}");
    }
    let reply = stage.client().get("/readyz").send().await.unwrap();
    assert_eq!(reply.status, 200, "a broken document harms nobody else");
}

#[tokio::test]
async fn an_upload_without_content_or_without_a_file_is_refused() {
    let stage = Stage::open().await;
    let empty = upload(&stage, &[Part::file("empty.txt", "text/plain", b"")]).await;
    assert!(matches!(empty.status, 400 | 422), "{empty}");
    assert!(empty.text().contains("empty"), "{empty}");
    let stray = Part { name: "attachment", file_name: Some("a.txt"), content_type: Some("text/plain"), content: b"hi" };
    for parts in [&[stray][..], &[]] {
        let reply = upload(&stage, parts).await;
        assert!(matches!(reply.status, 400 | 422), "{reply}");
        assert!(reply.text().contains("file"), "{reply}");
    }
    let list = stage.client().get("/v1/jobs").send().await.unwrap();
    assert_eq!(list.json()["data"].as_array().map(Vec::len), Some(0), "{list}");
}

#[tokio::test]
async fn a_form_that_is_cut_off_is_refused_and_leaves_nothing() {
    let stage = Stage::open().await;
    let body = "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhalf a fi";
    let reply =
        stage.client().post("/v1/documents").body("multipart/form-data; boundary=B", body).send().await.unwrap();
    problem(&reply, 400, "malformed_request");
    let reply = stage.client().post("/v1/documents").body("multipart/form-data", body).send().await.unwrap();
    assert!(matches!(reply.status, 400 | 415), "no boundary: {reply}");
}

#[tokio::test]
async fn a_file_type_that_no_one_can_read_is_refused_or_fails_with_the_known_types() {
    let stage = Stage::open().await;
    let receipt = upload(&stage, &[Part::file("film.gif", "image/gif", b"GIF89a\x01\0\x01\0\x80\0\0")]).await;
    let text = match receipt.status {
        202 => ended(&stage.client(), &job_id(&receipt)).await["error"].to_string(),
        415 | 422 => receipt.text(),
        _ => panic!("{receipt}"),
    };
    assert!(text.to_lowercase().contains("pdf") && text.to_lowercase().contains("html"), "{text}");
}

#[tokio::test]
async fn a_path_as_a_file_name_stays_a_name() {
    let stage = Stage::open().await;
    for name in
        ["../../etc/passwd-longhaul", "/tmp/passwd-longhaul", "..\\..\\passwd-longhaul", "passwd-longhaul\u{202e}"]
    {
        let receipt = upload(&stage, &[Part::file(name, "text/plain", b"root of a poem")]).await;
        if receipt.status == 422 {
            assert!(receipt.text().contains("name"), "{receipt}");
            continue;
        }
        assert_eq!(receipt.status, 202, "{receipt}");
        let document_id = receipt.json()["document_id"].as_str().unwrap().to_owned();
        ended(&stage.client(), &job_id(&receipt)).await;
        let reply = stage.client().get(&format!("/v1/documents/{document_id}")).send().await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        let document = reply.json();
        let kept = ["file_name", "filename", "name"].iter().find_map(|field| document[*field].as_str());
        let kept = kept.unwrap_or_else(|| panic!("no name: {document}"));
        assert!(!kept.contains('/') && !kept.contains('\\') && !kept.contains(".."), "{kept}");
    }
    assert_eq!(files_named(stage.home(), "passwd"), Vec::<String>::new());
    assert!(!Path::new("/tmp/passwd-longhaul").exists());
}

fn files_named(folder: &Path, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains(part)) {
            found.push(path.display().to_string());
        }
        if path.is_dir() {
            found.extend(files_named(&path, part));
        }
    }
    found
}

#[tokio::test]
async fn options_of_an_upload_are_checked_like_any_field() {
    let stage = Stage::open().await;
    let options = br#"{"chunk": {"tokens": "many"}, "langauge": "eng"}"#;
    let options = Part { name: "options", file_name: None, content_type: Some("application/json"), content: options };
    let reply = upload(&stage, &[options, Part::file("a.txt", "text/plain", b"hello there")]).await;
    assert_eq!(reply.status, 422, "{reply}");
    let errors = field_errors(&reply.json());
    assert!(errors.iter().any(|(pointer, _)| pointer.ends_with("/chunk/tokens")), "{reply}");
    let unknown = errors.iter().find(|(pointer, _)| pointer.ends_with("/langauge"));
    assert!(unknown.is_some_and(|(_, message)| message.contains("language")), "{reply}");
}
