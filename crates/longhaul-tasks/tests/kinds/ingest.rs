//! The kind `document.ingest` under the real dispatcher.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use longhaul_core::{Span, Status, StatusReason};
use longhaul_documents::{DocumentError, Format, Page, PageError, Raster};
use longhaul_gateway::{ErrorClass, Models};
use longhaul_tasks::documents::{
    DocumentChunks, DocumentText, DocumentVectors, Extractor, Fingerprint, IngestOutput, NoOcr, Ocr, OcrError,
    OpenDocument, Upload,
};
use serde_json::json;

use crate::kit::{FakeModel, Stage};

/// A document of pages that are counted when they are read, and may hold, fail or be pictures.
#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<PaperInner>);

#[derive(Default)]
struct PaperInner {
    pages: Vec<String>,
    reads: Vec<AtomicUsize>,
    opened: AtomicUsize,
    /// Letters that are kept of it; 0: as many as of any document.
    max_chars: usize,
    /// The number of the page whose readers wait; 0: those who open it.
    held: Mutex<Option<usize>>,
    released: Condvar,
}

impl Paper {
    /// Pages: a text; `!` for one that is damaged, `?` for a picture, `?` and a text for a picture with that on it.
    fn of(pages: &[&str]) -> Self {
        let reads = pages.iter().map(|_| AtomicUsize::new(0)).collect();
        let pages = pages.iter().map(|&page| page.to_owned()).collect();
        Self(Arc::new(PaperInner { pages, reads, ..PaperInner::default() }))
    }

    /// A document of which no more than so many letters are kept.
    fn cut_off(max_chars: usize, pages: &[&str]) -> Self {
        let paper = Self::of(pages);
        Self(Arc::new(PaperInner { max_chars, ..Arc::into_inner(paper.0).unwrap() }))
    }

    fn hold(&self, page: Option<usize>) {
        *self.0.held.lock().unwrap() = page;
        self.0.released.notify_all();
    }

    fn wait_if_held(&self, page: usize) {
        let mut held = self.0.held.lock().unwrap();
        while *held == Some(page) {
            held = self.0.released.wait(held).unwrap();
        }
    }

    fn reads(&self) -> Vec<usize> {
        self.0.reads.iter().map(|reads| reads.load(Ordering::SeqCst)).collect()
    }
}

#[async_trait]
impl Extractor for Paper {
    fn max_bytes(&self) -> usize {
        1_000
    }

    fn max_document_chars(&self) -> usize {
        if self.0.max_chars == 0 { 1_000_000 } else { self.0.max_chars }
    }

    async fn open(&self, _: Upload) -> Result<Box<dyn OpenDocument>, DocumentError> {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let paper = self.clone();
        tokio::task::spawn_blocking(move || paper.wait_if_held(0)).await.unwrap();
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl OpenDocument for Paper {
    fn format(&self) -> Format {
        Format::Pdf
    }
    fn title(&self) -> Option<&str> {
        Some("Paper")
    }
    fn page_count(&self) -> usize {
        self.0.pages.len()
    }
    async fn page(&self, number: usize) -> Result<Result<Page, PageError>, DocumentError> {
        self.0.reads[number - 1].fetch_add(1, Ordering::SeqCst);
        let paper = self.clone();
        tokio::task::spawn_blocking(move || paper.wait_if_held(number)).await.unwrap();
        let page = |text: &str, needs_ocr| Page { number, text: text.into(), needs_ocr, ..Page::default() };
        Ok(match self.0.pages[number - 1].as_str() {
            "!" => Err(PageError::Broken { page: number, detail: "torn".into() }),
            "?" => Ok(page("", true)),
            text if text.starts_with('?') => Ok(Page { mostly_picture: true, ..page(&text[1..], false) }),
            text => Ok(page(text, false)),
        })
    }
    async fn raster(&self, number: usize, dpi: u32) -> Result<Result<Raster, PageError>, DocumentError> {
        // Shows its number in its first pixel.
        let pixel = u8::try_from(number).unwrap();
        Ok(Ok(Raster { width: 1, height: 1, dpi: Some(dpi), pixels: vec![pixel] }))
    }
}

/// Reads what [`Paper`] shows, in English, as often as it is told to; counts.
#[derive(Default)]
struct Eye {
    reads: AtomicUsize,
    fails: AtomicUsize,
}

#[async_trait]
impl Ocr for Eye {
    async fn ready(&self, languages: &str) -> Result<(), OcrError> {
        if languages == "eng" {
            return Ok(());
        }
        Err(OcrError::Language { wanted: languages.into(), why: "there is eng".into() })
    }
    async fn read(&self, picture: &Raster, _: &str) -> Result<String, OcrError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) > 0 {
            self.fails.fetch_sub(1, Ordering::SeqCst);
            return Err(OcrError::Unusable { why: "no more processes".into() });
        }
        match picture.pixels[0] {
            9 => Err(OcrError::OutOfTime { max_s: 7 }),
            page => Ok(format!("seen on page {page} at {} dots", picture.dpi.unwrap())),
        }
    }
}

async fn stage_with_eye(paper: &Paper, eye: &Arc<Eye>) -> Stage {
    Stage::with(Models::default(), |settings| {
        settings.extractor = Arc::new(paper.clone());
        settings.ocr = Some(eye.clone());
    })
    .await
}

async fn stage_for(paper: &Paper) -> Stage {
    Stage::with(Models::default(), |settings| {
        settings.extractor = Arc::new(paper.clone());
        settings.ocr = Some(Arc::new(NoOcr));
    })
    .await
}

const MARKDOWN: &str = "# Tides\n\nThe tide turns twice a day. The lantern of the lighthouse burns in every storm.\n";

#[tokio::test]
async fn a_document_becomes_text_pieces_vectors_and_a_summary() {
    let stage = Stage::new().await;
    let (document, job) = stage.upload("tides.md", MARKDOWN.as_bytes(), json!({})).await;
    let output = stage.output(job).await;
    assert_eq!(output["document_id"], document.to_string());
    assert_eq!(output["pages"], json!([{"page": 1, "chars": output["pages"][0]["chars"], "source": "text"}]));
    let chunk = &output["chunks"][0];
    assert!(chunk["text"].as_str().unwrap().contains("lantern") && chunk["tokens"].is_u64(), "{output}");
    assert_eq!(chunk["chunk_id"], format!("{document}:0"));
    assert_eq!(output["embeddings"], json!({"model": "local-hashed-ngrams", "dimensions": 512, "count": 1}));
    assert!(output["summary"].as_str().unwrap().contains("tide"), "{output}");
    let timings: Vec<&String> = output["timings_ms"].as_object().unwrap().keys().collect();
    assert_eq!(timings, ["chunk", "embed", "extract", "pages", "summary", "total"]);
    let _typed: IngestOutput = serde_json::from_value(output).unwrap();
    assert_eq!(stage.steps(job).await, ["extract", "page:1", "chunk", "embed:1", "summary"]);

    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert!(text.joined().contains("The tide turns") && text.pages[0].headings[0].text == "Tides");
    let chunks = DocumentChunks::read(&stage.part(document, DocumentChunks::PART).await.unwrap()).unwrap();
    assert_eq!(chunks.chunks[0].chunk.section.as_deref(), Some("Tides"));
    let stored = stage.part(document, DocumentChunks::PART).await.unwrap();
    let vectors = DocumentVectors::read(&stage.part(document, DocumentVectors::PART).await.unwrap()).unwrap().unwrap();
    assert_eq!(vectors.of_chunks, Some(Fingerprint::of(&stored)), "they say of which pieces they are");
    assert_eq!((vectors.dimensions, vectors.vectors.0.len(), vectors.asked.as_str()), (512, 512, "local"));
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_made() {
    let stage = Stage::new().await;
    let (document, job) = stage.upload("a.txt", b"plain words", json!({"embed": false, "summary": false})).await;
    let output = stage.output(job).await;
    assert!(output.get("embeddings").is_none() && output.get("summary").is_none(), "{output}");
    assert_eq!(stage.part(document, DocumentVectors::PART).await, None);
    assert_eq!(stage.steps(job).await, ["extract", "page:1", "chunk"]);
}

#[tokio::test]
async fn pages_that_were_read_before_a_worker_died_are_not_read_again() {
    let paper = Paper::of(&["one", "two", "three", "four"]);
    let stage = Stage::mortal(|settings| {
        settings.extractor = Arc::new(paper.clone());
        settings.page_concurrency = 1;
    })
    .await;
    paper.hold(Some(3));
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    stage.until(|| paper.reads()[2] == 1).await;
    assert_eq!(stage.steps(job).await, ["extract", "page:1", "page:2"]);
    // The worker hangs in page 3. Its lease runs out, and somebody else takes over.
    stage.clock.advance(Span::from_secs(31));
    stage.until(|| paper.reads()[2] == 2).await;
    paper.hold(None);
    let view = stage.ended(job).await;
    assert_eq!((view.job.status(), view.job.attempt, view.job.crashes), (Status::Succeeded, 2, 1));
    assert_eq!(paper.reads()[..2], [1, 1], "finished pages are known");
    let output = stage.output_of(&view).await;
    let texts: Vec<&str> =
        output["chunks"].as_array().unwrap().iter().map(|chunk| chunk["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three", "four"]);
}

#[tokio::test]
async fn a_failed_attempt_after_the_pages_does_not_open_the_document_again() {
    let paper = Paper::of(&["one", "two"]);
    let model = Arc::new(FakeModel::new().failing([ErrorClass::Transient]));
    let mut models = Models::default();
    models.insert(model.clone());
    let stage = Stage::with(models, |settings| settings.extractor = Arc::new(paper.clone())).await;
    let options = json!({"embed": {"model": "fake"}, "summary": false});
    let (_, job) = stage.upload("paper.pdf", b"%PDF", options).await;
    let view = stage.ended_in_time(job).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 2));
    assert_eq!((paper.0.opened.load(Ordering::SeqCst), paper.reads(), model.calls()), (1, vec![1, 1], 2));
}

#[tokio::test]
async fn vectors_are_made_in_batches_that_the_model_takes() {
    let pages: Vec<String> = (1..=8).map(|n| format!("page number {n}")).collect();
    let paper = Paper::of(&pages.iter().map(String::as_str).collect::<Vec<_>>());
    let model = Arc::new(FakeModel::new());
    let mut models = Models::default();
    models.insert(model.clone());
    let stage = Stage::with(models, |settings| settings.extractor = Arc::new(paper.clone())).await;
    let options = json!({"embed": {"model": "fake"}, "summary": {"model": "fake"}});
    let (document, job) = stage.upload("paper.pdf", b"%PDF", options).await;
    let output = stage.output(job).await;
    assert_eq!(output["embeddings"], json!({"model": "fake-vectors", "dimensions": 2, "count": 8}));
    assert_eq!(model.calls(), 4, "three batches of at most three, and the summary");
    let vectors = DocumentVectors::read(&stage.part(document, DocumentVectors::PART).await.unwrap()).unwrap().unwrap();
    assert_eq!(vectors.vectors.each(2).count(), 8);
    let view = stage.ended(job).await;
    assert_eq!(view.job.report.model.as_deref(), Some("fake"));
}

#[tokio::test]
async fn a_page_that_fails_is_an_entry_and_the_rest_is_taken_in() {
    let paper = Paper::of(&["good words", "!", "?", ""]);
    let stage = stage_for(&paper).await;
    let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    let output = stage.output(job).await;
    let pages = &output["pages"];
    assert_eq!(pages[0], json!({"page": 1, "chars": 10, "source": "text"}));
    assert_eq!(pages[1]["error"]["code"], "page_broken", "{pages}");
    assert_eq!(pages[2]["error"]["code"], "ocr_unavailable", "{pages}");
    assert!(pages[2]["error"]["message"].as_str().unwrap().contains("set up without OCR"), "{pages}");
    assert_eq!(pages[3], json!({"page": 4, "chars": 0, "source": "text"}), "an empty page is no failure");
    assert_eq!(output["chunks"].as_array().unwrap().len(), 1);
    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert_eq!((text.page_count, text.pages.len()), (4, 2));
}

/// A PDF of one page with this content stream.
fn pdf(content: &str) -> Vec<u8> {
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let (mut file, mut table) = ("%PDF-1.4\n".to_owned(), String::new());
    for (object, number) in objects.iter().zip(1..) {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let start = file.len();
    let tail = format!("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    file.push_str(&format!("xref\n0 6\n0000000000 65535 f \n{table}{tail}"));
    file.into_bytes()
}

#[tokio::test]
async fn what_was_read_with_a_loss_is_in_the_output() {
    let stage = Stage::new().await;
    let options = json!({"embed": false, "summary": false});
    let torn = pdf("BT /F1 12 Tf 72 700 Td (What is kept.) Tj 0 -20 Td (Liability is unlimited Tj ET");
    let (_, job) = stage.upload("contract.pdf", &torn, options.clone()).await;
    let output = stage.output(job).await;
    assert_eq!(output["chunks"][0]["text"], "What is kept.");
    assert_eq!(output["pages"][0]["warnings"][0]["code"], "page_damaged", "{output}");
    let (_, job) = stage.upload("a.txt", b"\xef\xbb\xbfbroken \xff here", options.clone()).await;
    let output = stage.output(job).await;
    assert_eq!(output["warnings"][0]["code"], "undecodable_bytes", "{output}");
    let message = "some bytes mean nothing in UTF-8 and were replaced";
    assert_eq!(output["warnings"][0]["message"], message);
    let _typed: IngestOutput = serde_json::from_value(output).unwrap();
    let (_, job) = stage.upload("a.txt", b"whole", options).await;
    let output = stage.output(job).await;
    assert!(output.get("warnings").is_none() && output["pages"][0].get("warnings").is_none(), "{output}");
}

#[tokio::test]
async fn pages_that_are_pictures_are_read_and_say_so() {
    let (paper, eye) = (Paper::of(&["typed", "?", "!", "?"]), Arc::new(Eye::default()));
    let stage = stage_with_eye(&paper, &eye).await;
    let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({"embed": false, "summary": false})).await;
    let output = stage.output(job).await;
    let sources: Vec<_> = output["pages"].as_array().unwrap().iter().map(|page| page["source"].clone()).collect();
    assert_eq!(sources, ["text", "ocr", "text", "ocr"], "{output}");
    assert_eq!(output["pages"][2]["error"]["code"], "page_broken");
    assert_eq!(eye.reads.load(Ordering::SeqCst), 2, "pages with a text are not looked at");
    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert_eq!(text.joined(), "typed\n\nseen on page 2 at 300 dots\n\nseen on page 4 at 300 dots");
}

#[tokio::test]
async fn a_scan_with_a_number_on_it_is_read_as_a_picture_if_there_is_more_to_see() {
    let (paper, eye) = (Paper::of(&["?1", "?Words on a photograph", "typed"]), Arc::new(Eye::default()));
    let stage = stage_with_eye(&paper, &eye).await;
    let options = |ocr: &str| json!({"embed": false, "summary": false, "ocr": ocr});
    let (document, job) = stage.upload("scan.pdf", b"%PDF", options("auto")).await;
    let output = stage.output(job).await;
    let sources: Vec<_> = output["pages"].as_array().unwrap().iter().map(|page| page["source"].clone()).collect();
    assert_eq!((sources, eye.reads.load(Ordering::SeqCst)), (vec!["ocr".into(), "text".into(), "text".into()], 2));
    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert_eq!(text.joined(), "seen on page 1 at 300 dots\n\nWords on a photograph\n\ntyped");

    let (_, job) = stage.upload("scan.pdf", b"%PDF", options("never")).await;
    let page = stage.output(job).await["pages"][0].clone();
    assert_eq!((&page["chars"], &page["warnings"][0]["code"]), (&json!(1), &json!("picture_not_read")), "{page}");

    let stage = stage_for(&paper).await;
    let (_, job) = stage.upload("scan.pdf", b"%PDF", options("auto")).await;
    let page = stage.output(job).await["pages"][0].clone();
    assert!(page.get("error").is_none(), "its number is there: {page}");
    let message = page["warnings"][0]["message"].as_str().unwrap();
    assert!(message.contains("most of page 1") && message.contains("set up without OCR"), "{message}");
}

#[tokio::test]
async fn ocr_always_looks_at_every_page_and_never_at_none() {
    let (paper, eye) = (Paper::of(&["typed", "?"]), Arc::new(Eye::default()));
    let stage = stage_with_eye(&paper, &eye).await;
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({"ocr": "always"})).await;
    let output = stage.output(job).await;
    assert_eq!((output["pages"][0]["source"].as_str(), eye.reads.load(Ordering::SeqCst)), (Some("ocr"), 2));
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({"ocr": "never"})).await;
    let output = stage.output(job).await;
    assert_eq!(output["pages"][1]["error"]["code"], "page_needs_ocr");
    assert_eq!(eye.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_picture_that_cannot_be_read_fails_its_page_and_a_missing_language_says_what_there_is() {
    let pages: Vec<&str> = ["?"; 9].into();
    let (paper, eye) = (Paper::of(&pages), Arc::new(Eye::default()));
    let stage = stage_with_eye(&paper, &eye).await;
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    let output = stage.output(job).await;
    assert_eq!(output["pages"][8]["error"]["code"], "ocr_time_exceeded");
    assert_eq!(output["chunks"].as_array().unwrap().len(), 8, "the others are read");
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({"language": "kli"})).await;
    let (code, message, retryable) = stage.failure(job).await;
    assert_eq!((code.as_str(), retryable), ("ocr_language_unavailable", false));
    assert!(message.contains("`kli`: there is eng"), "{message}");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_now_is_tried_again_later() {
    let (paper, eye) = (Paper::of(&["typed", "?"]), Arc::new(Eye { fails: AtomicUsize::new(1), ..Eye::default() }));
    let stage = stage_with_eye(&paper, &eye).await;
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    let view = stage.ended_in_time(job).await;
    assert_eq!((view.job.status(), view.job.attempt), (Status::Succeeded, 2));
    assert_eq!(stage.output_of(&view).await["pages"][1]["source"], "ocr");
    assert_eq!(paper.reads(), [1, 2], "the page that was read is known");
}

#[tokio::test]
async fn a_document_without_a_readable_page_fails_for_good() {
    let cases = [
        (&["?", "?"][..], "auto", "ocr_unavailable", "none of the 2 pages could be read"),
        (&["?"][..], "never", "page_needs_ocr", "the only page could not be read"),
        (&["words"][..], "always", "ocr_unavailable", "set up without OCR"),
        (&["!", "?"][..], "auto", "no_page_readable", "page 1 is damaged"),
        (&["", " \n"][..], "auto", "document_without_text", "nothing is written in it"),
    ];
    for (pages, ocr, code, said) in cases {
        let stage = stage_for(&Paper::of(pages)).await;
        let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({"ocr": ocr})).await;
        let (found, message, retryable) = stage.failure(job).await;
        assert_eq!((found.as_str(), retryable), (code, false), "{pages:?}");
        assert!(message.contains(said), "{message}");
        assert_eq!(stage.part(document, DocumentText::PART).await, None);
    }
}

#[tokio::test]
async fn a_file_that_is_no_document_fails_with_a_reason_that_a_person_understands() {
    let png = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13];
    let cases: [(&str, &[u8], &str, &[&str]); 5] = [
        ("film.gif", b"GIF89a\x01\0\x01\0", "document_format_unsupported", &["GIF", "PDF, HTML", "PNG"]),
        ("photo.png", &png, "document_broken", &["PNG", "damaged"]),
        ("noise.bin", &[0, 1, 2, 3, 255, 254, 0, 7], "document_format_unknown", &["PDF, HTML"]),
        ("report.pdf", b"this is no PDF at all", "document_format_mismatch", &["PDF"]),
        ("report.pdf", b"%PDF-1.7\nrubbish", "document_broken", &["PDF", "damaged"]),
    ];
    for (name, content, code, said) in cases {
        let stage = Stage::new().await;
        let (_, job) = stage.upload(name, content, json!({})).await;
        let (found, message, retryable) = stage.failure(job).await;
        assert_eq!((found.as_str(), retryable), (code, false), "{name}: {message}");
        assert!(said.iter().all(|said| message.contains(said)), "{name}: {message}");
        let view = stage.ended(job).await;
        assert_eq!(view.job.attempt, 1);
    }
}

#[tokio::test]
async fn a_document_is_validated_while_it_is_opened_and_executed_from_its_first_page_on() {
    let paper = Paper::of(&["one"]);
    let stage = stage_for(&paper).await;
    paper.hold(Some(0));
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    stage.until(|| paper.0.opened.load(Ordering::SeqCst) == 1).await;
    assert_eq!(stage.reason(job).await, StatusReason::Validating);
    paper.hold(Some(1));
    stage.until(|| paper.reads() == [1]).await;
    assert_eq!(stage.reason(job).await, StatusReason::Executing);
    paper.hold(None);
    stage.output(job).await;
}

#[tokio::test]
async fn a_document_that_is_too_large_is_not_even_fetched() {
    let paper = Paper::of(&["one"]);
    let stage = stage_for(&paper).await;
    let (_, job) = stage.upload("paper.pdf", &[b'x'; 1_001], json!({})).await;
    let (code, message, retryable) = stage.failure(job).await;
    assert_eq!((code.as_str(), retryable), ("document_too_large", false), "{message}");
    assert_eq!(paper.0.opened.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn progress_tells_every_page_once() {
    let paper = Paper::of(&["one", "two", "three"]);
    let stage = stage_for(&paper).await;
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({"embed": false, "summary": false})).await;
    stage.output(job).await;
    let events = stage.engine.events(&stage.tenant, job, 0, 100).await.unwrap();
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.kind {
            longhaul_core::EventKind::Progress { message, .. } => message.clone(),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["page 1/3", "page 2/3", "page 3/3"]);
    for (options, told) in [(json!({"embed": false, "summary": false}), 1.0), (json!({"summary": false}), 1.0)] {
        let (_, job) = stage.upload("paper.pdf", b"%PDF", options).await;
        let progress = stage.ended(job).await.job.progress.clone().unwrap();
        assert_eq!(progress.fraction, Some(told), "{progress:?}");
    }
}

#[tokio::test]
async fn a_summary_that_cannot_be_made_does_not_cost_the_document() {
    let paper = Paper::of(&["one"]);
    let model = Arc::new(FakeModel::new().failing([ErrorClass::Permanent]));
    let mut models = Models::default();
    models.insert(model);
    let stage = Stage::with(models, |settings| settings.extractor = Arc::new(paper.clone())).await;
    let options = json!({"embed": false, "summary": {"model": "fake"}});
    let (_, job) = stage.upload("paper.pdf", b"%PDF", options).await;
    let output = stage.output(job).await;
    assert!(output.get("summary").is_none());
    assert_eq!(output["summary_error"], json!({"code": "told_to", "message": "as it was told"}));
    let events = format!("{:?}", stage.engine.events(&stage.tenant, job, 0, 100).await.unwrap());
    assert!(events.contains("no summary: as it was told"), "{events}");
}

#[tokio::test]
async fn no_more_text_is_kept_than_a_document_may_have_and_what_came_before_is_not_lost() {
    let paper = Paper::cut_off(10, &["four", "sixsix", "1", "", "!"]);
    let stage = Stage::with(Models::default(), |settings| {
        settings.extractor = Arc::new(paper.clone());
        settings.page_concurrency = 1;
    })
    .await;
    let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    let output = stage.output(job).await;
    let codes: Vec<_> = output["pages"].as_array().unwrap().iter().map(|page| page["error"]["code"].as_str()).collect();
    let out = Some("page_left_out");
    assert_eq!(codes, [None, None, out, out, out], "{output}");
    let message = output["pages"][2]["error"]["message"].as_str().unwrap();
    assert_eq!(message, "page 3 was left out: no more than 10 letters of text are kept of one document");
    assert_eq!(paper.reads(), [1, 1, 0, 0, 0], "what cannot be kept is not read");
    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert_eq!((text.joined().as_str(), text.page_count), ("four\n\nsixsix", 5));

    let stage = stage_for(&Paper::cut_off(3, &["four"])).await;
    let (_, job) = stage.upload("paper.pdf", b"%PDF", json!({})).await;
    let (code, message, retryable) = stage.failure(job).await;
    assert_eq!((code.as_str(), retryable), ("page_left_out", false), "{message}");
}

#[tokio::test]
async fn which_pages_fit_in_does_not_hang_on_which_was_read_first() {
    let paper = Paper::cut_off(10, &["four", "seven77", "1"]);
    let stage = stage_for(&paper).await;
    paper.hold(Some(1));
    let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({"embed": false, "summary": false})).await;
    let is_read = async |page: &str| stage.steps(job).await.iter().any(|step| step == page);
    while !(is_read("page:2").await && is_read("page:3").await) {
        tokio::task::yield_now().await;
    }
    paper.hold(None);
    let output = stage.output(job).await;
    let codes: Vec<_> = output["pages"].as_array().unwrap().iter().map(|page| page["error"]["code"].as_str()).collect();
    assert_eq!(codes, [None, Some("page_left_out"), Some("page_left_out")], "{output}");
    let text = DocumentText::read(&stage.part(document, DocumentText::PART).await.unwrap()).unwrap();
    assert_eq!(text.joined(), "four");
}

#[tokio::test]
async fn hundreds_of_documents_wait_in_their_queue_and_keep_no_other_job_from_running() {
    let paper = Paper::of(&["one"]);
    let stage = stage_for(&paper).await;
    paper.hold(Some(0));
    let mut jobs = Vec::new();
    // More than the engine has places.
    for _ in 0..300 {
        jobs.push(stage.upload("paper.pdf", b"%PDF", json!({"embed": false, "summary": false})).await.1);
    }
    stage.until(|| paper.0.opened.load(Ordering::SeqCst) == 4).await;
    let echo = stage.submit("echo", &json!("anybody?")).await;
    assert_eq!(stage.output(echo).await, "anybody?");
    let mut running = 0;
    for job in &jobs {
        running += usize::from(stage.engine.job(&stage.tenant, *job).await.unwrap().job.status() == Status::Running);
    }
    assert_eq!(running, 16, "the others wait where they hold nothing");
    paper.hold(None);
    for job in jobs {
        assert_eq!(stage.ended(job).await.job.status(), Status::Succeeded);
    }
}

#[tokio::test]
async fn pieces_that_would_be_too_many_are_refused_before_they_are_made() {
    let pages = "word ".repeat(65_537 * 16);
    let stage = stage_for(&Paper::cut_off(100_000_000, &[&pages])).await;
    let options = json!({"chunk": {"tokens": 16, "overlap": 0}, "embed": false, "summary": false});
    let (_, job) = stage.upload("paper.pdf", b"%PDF", options).await;
    let (code, message, retryable) = stage.failure(job).await;
    assert_eq!((code.as_str(), retryable), ("too_many_chunks", false), "{message}");
    assert!(message.contains("more than 65536 pieces of 16 tokens; ask for larger ones"), "{message}");
}

#[tokio::test]
async fn a_document_that_is_removed_while_it_is_taken_in_ends_its_job() {
    let paper = Paper::of(&["one"]);
    let stage = stage_for(&paper).await;
    paper.hold(Some(1));
    let (document, job) = stage.upload("paper.pdf", b"%PDF", json!({"embed": false, "summary": false})).await;
    stage.until(|| paper.reads() == [1]).await;
    stage.engine.store().delete_document(&stage.tenant, document).await.unwrap();
    paper.hold(None);
    let (code, message, retryable) = stage.failure(job).await;
    assert_eq!((code.as_str(), retryable), ("document_not_found", false), "{message}");
}
