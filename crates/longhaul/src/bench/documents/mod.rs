//! How fast documents are read, with what memory, and how many of their words come out right.
//!
//! The documents are made here ([`paper`]), so that their words are known. Pages that are pictures are drawn from pages of
//! text by the reader itself and then spoilt as scanners spoil them; the words are compared with those that were typed.
//! Memory is looked at from outside while documents are read: the server's, and that of the processes below it.

pub mod paper;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use self::paper::{Scan, prose, scanned_pdf, text_pdf};
pub use self::report::{Accuracy, DocumentsReport, Memory, Round, word_accuracy};
use super::process::usage_of;
use super::target::{self, Running};
use super::{Plan, Target, Until};
use crate::clock::Stopwatch;
use crate::screen::Screen;

/// What happens to a page between the printer and the file.
type Spoil = fn(&Scan) -> Scan;

/// Words of a page: it is full and not crowded.
const WORDS: usize = 320;
/// Uploads under way at once.
const AT_ONCE: usize = 4;
/// Between two looks at memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Dots per inch of scans.
const SCAN_DPI: u32 = 300;
/// Pages of each kind whose words are compared.
const COMPARED: usize = 4;

/// What to measure.
#[derive(Debug, Clone)]
pub struct DocumentsPlan {
    /// How many documents with a text layer.
    pub documents: usize,
    /// Pages of each.
    pub pages: usize,
    /// Pages of the one long document.
    pub long: usize,
    /// Pages that are pictures.
    pub scanned: usize,
    /// Where the server's temporary directory is made.
    pub directory: PathBuf,
    /// Says what is being measured, on standard error.
    pub progress: bool,
}

/// Runs the plan.
pub(super) async fn run(plan: &DocumentsPlan, screen: &mut Screen) -> anyhow::Result<DocumentsReport> {
    let server_plan = Plan {
        clients: AT_ONCE,
        until: Until::Jobs(1),
        warm_up: Duration::ZERO,
        submit_only: false,
        check: false,
        target: Target::Longhaul { retention: None, concurrency: None, store: None },
        watch: Vec::new(),
        directory: plan.directory.clone(),
        progress: false,
    };
    let running = target::start(&server_plan).await?;
    let measured = measure(plan, &running, screen).await;
    running.stop().await?;
    measured
}

async fn measure(plan: &DocumentsPlan, running: &Running, screen: &mut Screen) -> anyhow::Result<DocumentsReport> {
    let client = Client::new(running)?;
    let mut note = |what: &str| {
        if plan.progress {
            screen.note(what);
        }
    };
    let mut report = DocumentsReport { rounds: Vec::new(), accuracy: Vec::new(), missing: None };
    let plain = json!({"embed": false, "summary": false, "chunk": {"tokens": 512, "overlap": 0}});

    note("reading documents with a text layer");
    let pages: Vec<String> = (0..plan.pages as u64).map(|seed| prose(seed, WORDS)).collect();
    let file = text_pdf(&pages);
    let files = vec![file; plan.documents];
    report.rounds.push(round("documents with a text layer", files, plan.pages, &plain, &client, running).await?);

    note("reading one long document");
    let pages: Vec<String> = (0..plan.long as u64).map(|seed| prose(seed, WORDS)).collect();
    report.rounds.push(round("one long document", vec![text_pdf(&pages)], plan.long, &plain, &client, running).await?);

    note("comparing words");
    let typed: Vec<String> = (0..COMPARED as u64).map(|seed| prose(7_000 + seed, WORDS)).collect();
    report.accuracy.push(compared("typed", "text", &text_pdf(&typed), &typed, &plain, &client).await?);

    // An empty page: whether it can be read is known before anything is drawn.
    let blank = Scan { width: 100, height: 140, pixels: vec![255; 14_000] };
    let probe = client.take_in(scanned_pdf(&[blank]), &plain).await?;
    if probe["error"]["code"] == "ocr_unavailable" {
        report.missing = Some(format!("pages that are pictures: {}", probe["error"]["message"].as_str().unwrap_or("")));
        return Ok(report);
    }
    note("drawing pages to be read by OCR");
    let scans = drawn(&typed)?;
    note("reading pages that are pictures");
    let many: Vec<Scan> = scans.iter().cycle().take(plan.scanned).cloned().collect();
    let file = scanned_pdf(&many);
    report.rounds.push(round("pages that are pictures", vec![file], plan.scanned, &plain, &client, running).await?);

    note("comparing words of pages that are pictures");
    let spoilt: [(&'static str, Spoil); 4] = [
        ("scanned at 300 dpi", Scan::clone),
        ("scanned, 1 % noise", |scan| scan.noisy(10, 1)),
        ("scanned, askew by 1°, 0.2 % noise", |scan| scan.askew(1.0).noisy(2, 2)),
        ("scanned, lying on its side", Scan::on_its_side),
    ];
    for (what, spoil) in spoilt {
        let file = scanned_pdf(&scans.iter().map(spoil).collect::<Vec<_>>());
        report.accuracy.push(compared(what, "ocr", &file, &typed, &plain, &client).await?);
    }
    let always = json!({"embed": false, "summary": false, "ocr": "always"});
    report.accuracy.push(compared("typed, `ocr: always`", "ocr", &text_pdf(&typed), &typed, &always, &client).await?);
    Ok(report)
}

/// Typed pages as pictures, by the same drawing that a server does for OCR.
fn drawn(typed: &[String]) -> anyhow::Result<Vec<Scan>> {
    use longhaul_documents::{Format, Limits, Pages};
    let pages = Pages::open(text_pdf(typed), Format::Pdf, &Limits::default())?;
    let scan = |number| {
        let raster = pages.raster(number, SCAN_DPI)?;
        Ok(Scan { width: raster.width as usize, height: raster.height as usize, pixels: raster.pixels })
    };
    (1..=typed.len()).map(scan).collect()
}

/// Takes documents in, some at once, and looks at the server's memory meanwhile.
async fn round(
    what: &'static str,
    files: Vec<Vec<u8>>,
    pages: usize,
    options: &Value,
    client: &Client,
    running: &Running,
) -> anyhow::Result<Round> {
    let documents = files.len();
    let mut looks = Vec::new();
    let watch = Stopwatch::start();
    let reading = async {
        let jobs = files.into_iter().map(|file| client.take_in(file, options));
        let jobs: Vec<Value> = stream::iter(jobs).buffer_unordered(AT_ONCE).try_collect().await?;
        for job in jobs {
            ensure!(job["status"] == "succeeded", "a document was not read: {}", job["error"]);
        }
        Ok::<_, anyhow::Error>(watch.elapsed())
    };
    let looking = async {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            let server = usage_of(&running.pids).resident_bytes;
            looks.push((server, usage_of(&below(&running.pids)).resident_bytes));
        }
    };
    let took: Duration = tokio::select! {
        took = reading => took?,
        () = looking => bail!("looking at memory never ends"),
    };
    let (seconds, all) = (took.as_secs_f64(), documents * pages);
    #[allow(clippy::cast_precision_loss, reason = "pages are thousands")]
    let pages_per_s = all as f64 / seconds.max(f64::MIN_POSITIVE);
    Ok(Round { what, documents, pages: all, seconds, pages_per_s, memory: Memory::of(&looks) })
}

/// Processes whose parent is one of these, and theirs; none where there is no `/proc`.
fn below(pids: &[u32]) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, after_name) = stat.rsplit_once(')')?;
            Some((pid, after_name.split_ascii_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found: Vec<u32> = Vec::new();
    let mut open = pids.to_vec();
    while let Some(parent) = open.pop() {
        let children = parents.iter().filter(|(pid, of)| *of == parent && !found.contains(pid) && !pids.contains(pid));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        open.extend(&children);
        found.extend(children);
    }
    found
}

/// Takes a document in and compares its words.
async fn compared(
    pages: &'static str,
    source: &str,
    file: &[u8],
    known: &[String],
    options: &Value,
    client: &Client,
) -> anyhow::Result<Accuracy> {
    let job = client.take_in(file.to_vec(), options).await?;
    ensure!(job["status"] == "succeeded", "{pages}: {}", job["error"]);
    let text = client.text(job["document_id"].as_str().unwrap_or_default()).await?;
    let known = known.join(" ");
    let words = known.split_whitespace().count();
    Ok(Accuracy { pages, source: source.to_owned(), words, accuracy: word_accuracy(&known, &text) })
}

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn new(running: &Running) -> anyhow::Result<Self> {
        // Installed already, or now.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The server is on this machine, whatever proxies the environment names.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, base: format!("http://{}", running.host) })
    }

    /// Uploads a document and waits for the end of its job, which comes back with the document's id in it.
    async fn take_in(&self, file: Vec<u8>, options: &Value) -> anyhow::Result<Value> {
        let file = Part::bytes(file).file_name("made.pdf").mime_str("application/pdf")?;
        let form = Form::new().text("options", options.to_string()).part("file", file);
        let receipt = self.http.post(format!("{}/v1/documents", self.base)).multipart(form).send().await?;
        let receipt = Self::json(receipt).await?;
        let job = receipt["job_id"].as_str().context("the receipt names no job")?;
        loop {
            let answer = self.http.get(format!("{}/v1/jobs/{job}?wait=30", self.base)).send().await?;
            let mut answer = Self::json(answer).await?;
            if matches!(answer["status"].as_str(), Some("succeeded" | "failed" | "cancelled")) {
                answer["document_id"] = receipt["document_id"].clone();
                return Ok(answer);
            }
        }
    }

    /// The text of all pages of a document.
    async fn text(&self, document: &str) -> anyhow::Result<String> {
        let answer = self.http.get(format!("{}/v1/documents/{document}", self.base)).send().await?;
        let answer = Self::json(answer).await?;
        let pages = answer["text"]["pages"].as_array().context("the document has no text")?;
        Ok(pages.iter().filter_map(|page| page["text"].as_str()).collect::<Vec<_>>().join("\n"))
    }

    async fn json(answer: reqwest::Response) -> anyhow::Result<Value> {
        let (status, body) = (answer.status(), answer.bytes().await?);
        ensure!(status.is_success(), "the server answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}
