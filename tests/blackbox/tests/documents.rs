//! Documents through the whole program: killed in the middle, beside hostile neighbours, without what reads pictures.

mod vectors;

use std::time::Duration;

use longhaul_testkit::client::{Client, Part};
use longhaul_testkit::fixture;
use longhaul_testkit::server::Launch;
use serde_json::{Value, json};

use crate::stage::{Stage, ended, job_id, succeeded};
use vectors::Ledger;

/// Uploads a document with options, and gives the id of its job.
async fn upload(client: &Client, name: &str, content: &[u8], options: &Value) -> String {
    let options = options.to_string();
    let options =
        Part { name: "options", file_name: None, content_type: Some("application/json"), content: options.as_bytes() };
    let parts = [options, Part::file(name, "application/octet-stream", content)];
    let receipt = client.post("/v1/documents").multipart(&parts).send().await.unwrap();
    assert_eq!(receipt.status, 202, "{receipt}");
    job_id(&receipt)
}

/// The steps of a job that are stored, in their order, by the job's history: those whose name begins so.
async fn steps(client: &Client, job: &str, prefix: &str) -> Vec<String> {
    let (mut steps, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/jobs/{job}/events?after={after}&limit=1000");
        let page = client.get(&path).send().await.unwrap().json();
        for event in page["data"].as_array().into_iter().flatten() {
            after = event["seq"].as_u64().unwrap();
            let name = event["data"]["step"].as_str().unwrap_or_default();
            if event["type"] == "job.step" && name.starts_with(prefix) {
                steps.push(name.to_owned());
            }
        }
        if page["has_more"] != true {
            return steps;
        }
    }
}

async fn until_stored(client: &Client, job: &str, prefix: &str, count: usize) {
    for _ in 0..6_000 {
        if steps(client, job, prefix).await.len() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{job} has not stored {count} steps `{prefix}`: {:?}", steps(client, job, prefix).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_two_hundred_pages_survives_kills_and_repeats_nothing_that_was_done() {
    const PAGES: usize = 200;
    /// Calls for vectors of one document at once: what a kill can cut off in mid-air.
    const AT_ONCE: usize = 4;
    /// Pieces that go into a call.
    const BATCH: usize = 32;
    let ledger = Ledger::start(Duration::from_millis(60)).await;
    let config = format!(
        "[providers.ledger]\nprotocol = \"openai\"\nbase_url = \"{}\"\n\
         [models.vectors]\ntimeout = \"30s\"\nserves = \"embeddings\"\n\
         [[models.vectors.targets]]\nprovider = \"ledger\"\nmodel = \"vectors\"\nattempt_timeout = \"20s\"\n",
        ledger.base_url()
    );
    let stage = Stage::with(|launch: Launch| launch.config(&config).unwrap()).await;
    let pages: Vec<String> = (0..PAGES as u64).map(|seed| wrapped(&fixture::prose(seed, 300))).collect();
    let file = fixture::pdf(&pages.iter().map(String::as_str).collect::<Vec<_>>());
    let options = json!({"embed": {"model": "vectors"}, "summary": false, "chunk": {"tokens": 64, "overlap": 0}});
    let job = upload(&stage.client(), "long.pdf", &file, &options).await;

    until_stored(&stage.client(), &job, "page:", 40).await;
    let stage = stage.crash_and_restart().await;
    let read_before = steps(&stage.client(), &job, "page:").await.len();
    assert!((40..PAGES).contains(&read_before), "killed among the pages: {read_before}");

    until_stored(&stage.client(), &job, "embed:", 6).await;
    let stage = stage.crash_and_restart().await;
    let made_before = steps(&stage.client(), &job, "embed:").await;

    succeeded(&stage.client(), &job).await;
    let output = stage.client().get(&format!("/v1/jobs/{job}/result")).send().await.unwrap().json();
    let read = output["pages"].as_array().unwrap();
    assert_eq!(read.len(), PAGES);
    assert!(read.iter().all(|page| page["error"].is_null() && page["chars"].as_u64() > Some(500)), "{read:?}");
    let chunks: Vec<&str> =
        output["chunks"].as_array().unwrap().iter().map(|chunk| chunk["text"].as_str().unwrap()).collect();
    assert_eq!(output["embeddings"]["count"], chunks.len());
    let batches: Vec<&[&str]> = chunks.chunks(BATCH).collect();
    assert!((6..batches.len()).contains(&made_before.len()), "killed among the vectors: {made_before:?}");

    // Every step is stored once, though three attempts came by.
    let mut stored = steps(&stage.client(), &job, "").await;
    let count = stored.len();
    stored.sort();
    stored.dedup();
    assert_eq!((count, stored.len()), (2 + PAGES + batches.len(), count), "extract, pages, chunk, batches");

    // What was paid for and stored before the kill was asked for exactly once.
    for name in &made_before {
        let number: usize = name.trim_start_matches("embed:").parse().unwrap();
        for text in batches[number - 1] {
            assert_eq!(ledger.times(text), 1, "{name} was stored before the kill: {text}");
        }
    }
    // The rest was asked for, and again only what was cut off in mid-air.
    assert!(chunks.iter().all(|text| ledger.times(text) >= 1));
    let again = ledger.calls() - batches.len();
    assert!(again <= AT_ONCE, "{again} calls were made again; {AT_ONCE} can have been in mid-air");
}

/// Lines that fit on a page.
fn wrapped(prose: &str) -> String {
    let words: Vec<&str> = prose.split_whitespace().collect();
    words.chunks(11).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_documents_fail_with_a_reason_and_hurt_no_neighbour() {
    let stage = Stage::open().await;
    let client = stage.client();
    let plain = json!({"embed": false, "summary": false});
    let pdf =
        |objects: &str| format!("%PDF-1.7\n{objects}\ntrailer << /Root 1 0 R >>\nstartxref\n9\n%%EOF").into_bytes();
    let nested = pdf(&format!("1 0 obj {}{} endobj", "<< /A ".repeat(200_000), ">>".repeat(200_000)));
    let ring = pdf(
        "1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj 2 0 obj << /Type /Pages /Kids [2 0 R] /Count 9 >> endobj",
    );
    // Claims 60,000 × 60,000 pixels.
    let picture =
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xea\x60\0\0\xea\x60\x08\x02\0\0\0".as_slice(), &[0x0f, 0xb0, 0xe2, 0x15]]
            .concat();
    let hostile: [(&str, Vec<u8>); 6] = [
        ("nested.pdf", nested),
        ("ring.pdf", ring),
        ("cut-off.pdf", fixture::pdf(&["a page"])[..120].to_vec()),
        ("encrypted.pdf", fixture::encrypted_pdf().to_vec()),
        ("huge.png", picture),
        ("no.docx", b"PK\x03\x04[Content_Types].xml word/document.xml and nothing of it".to_vec()),
    ];
    let mut jobs = Vec::new();
    for (name, content) in &hostile {
        jobs.push((*name, upload(&client, name, content, &plain).await));
        jobs.push(("good.pdf", upload(&client, "good.pdf", &fixture::pdf(&["A calm page."]), &plain).await));
    }
    for (name, job) in jobs {
        let job = ended(&client, &job).await;
        if name == "good.pdf" {
            assert_eq!(job["status"], "succeeded", "{job}");
            continue;
        }
        assert_eq!((&job["status"], &job["attempt"]), (&"failed".into(), &1.into()), "{name}: {job}");
        let (code, message) = (job["error"]["code"].as_str().unwrap(), job["error"]["message"].as_str().unwrap());
        assert!(code.starts_with("document_") || code.starts_with("page_"), "{name}: {job}");
        assert!(message.len() > 20 && !message.contains("panicked") && !message.contains("Error("), "{name}: {job}");
    }
    assert_eq!(client.get("/readyz").send().await.unwrap().status, 200);
}

/// A grey PNG of sixteen by sixteen pixels, which has nothing to read.
const PICTURE: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 16, 0, 0, 0, 16, 8, 0, 0, 0, 0, 58, 152,
    160, 189, 0, 0, 0, 15, 73, 68, 65, 84, 120, 218, 99, 56, 128, 6, 24, 70, 182, 0, 0, 7, 10, 192, 1, 205, 101, 101,
    251, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,
];

#[tokio::test]
async fn without_tesseract_a_picture_says_what_is_missing_and_how_to_get_it() {
    let stage = Stage::with(|launch| launch.env("PATH", "/nowhere")).await;
    let job = upload(&stage.client(), "photo.png", PICTURE, &json!({"embed": false, "summary": false})).await;
    let job = ended(&stage.client(), &job).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&"failed".into(), &"ocr_unavailable".into()), "{job}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("Tesseract is missing") && message.contains("apt-get install tesseract-ocr"), "{message}");
}

async fn result(client: &Client, job: &str) -> Value {
    succeeded(client, job).await;
    client.get(&format!("/v1/jobs/{job}/result")).send().await.unwrap().json()
}

/// The words of a document's pieces, in their order.
fn words(output: &Value) -> Vec<String> {
    let texts = output["chunks"].as_array().unwrap().iter().map(|chunk| chunk["text"].as_str().unwrap());
    texts.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_is_refused_at_once_and_one_with_nothing_in_it_says_so() {
    let stage = Stage::open().await;
    let client = stage.client();
    let refused = client.post("/v1/documents").multipart(&[Part::file("a.pdf", "application/pdf", b"")]).send().await;
    let refused = refused.unwrap();
    assert_eq!(refused.status, 422, "{refused}");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/file", "{refused}");
    let job = upload(&client, "blank.txt", b" \n\n ", &json!({})).await;
    let job = ended(&client, &job).await;
    assert_eq!((&job["status"], &job["error"]["code"]), (&"failed".into(), &"document_empty".into()), "{job}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_unpacks_without_end_fails_with_a_reason_and_its_neighbour_does_not() {
    let stage = Stage::open().await;
    let client = stage.client();
    let plain = json!({"embed": false, "summary": false, "ocr": "never"});
    let bomb = upload(&client, "bomb.pdf", &fixture::bomb_pdf(64), &plain).await;
    let good = upload(&client, "good.pdf", &fixture::pdf(&["A calm page."]), &plain).await;
    let bomb = ended(&client, &bomb).await;
    assert_eq!((&bomb["status"], &bomb["error"]["code"]), (&"failed".into(), &"page_too_large".into()), "{bomb}");
    assert!(bomb["error"]["message"].as_str().unwrap().contains("bytes of content"), "{bomb}");
    assert_eq!(words(&result(&client, &good).await), ["A", "calm", "page."]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_turned_and_pages_of_two_columns_are_read_in_their_order() {
    let stage = Stage::open().await;
    let client = stage.client();
    let plain = json!({"embed": false, "summary": false});
    let text = wrapped(&fixture::prose(3, 60));
    let turned = upload(&client, "turned.pdf", &fixture::turned_pdf(&text), &plain).await;
    let (left, right) =
        ("One column stands\non the left and is\nread to its end.", "The other one follows\nit, line by line.");
    let columns = upload(&client, "columns.pdf", &fixture::two_column_pdf(left, right), &plain).await;
    assert_eq!(words(&result(&client, &turned).await), text.split_whitespace().collect::<Vec<_>>());
    let both = format!("{left} {right}");
    assert_eq!(words(&result(&client, &columns).await), both.split_whitespace().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_two_thousand_pages_is_read_to_its_end() {
    let stage = Stage::open().await;
    let client = stage.client();
    let pages: Vec<String> = (1..=2_000).map(|number| format!("This is page {number}.")).collect();
    let file = fixture::pdf(&pages.iter().map(String::as_str).collect::<Vec<_>>());
    let job = upload(&client, "long.pdf", &file, &json!({"embed": false, "summary": false})).await;
    let output = result(&client, &job).await;
    assert_eq!(output["pages"].as_array().unwrap().len(), 2_000);
    let texts: Vec<&str> =
        output["chunks"].as_array().unwrap().iter().map(|chunk| chunk["text"].as_str().unwrap()).collect();
    assert_eq!(texts, pages, "every page, in its order");
}
