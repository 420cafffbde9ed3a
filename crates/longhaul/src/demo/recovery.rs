//! The third act: documents are taken in by a server that is killed in the middle, and nothing is done twice.
//!
//! Six documents of a railway go through the whole pipeline: pages are read, cut into pieces, vectors are made of them by
//! a slow provider. When some of the vectors are stored the server is killed as `kill -9` does, and started again on the
//! same data. Two witnesses are heard afterwards: the jobs' own histories, in which every step has its time, and the
//! provider's ledger, which knows what it was asked before and after.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::figures::{DocumentFigures, DocumentRow, Found, documents as table};
use super::provider::Provider;
use super::server::{BATCHES, Stage};
use super::teller::Teller;
use crate::client::types::{Event, Job, Page, Receipt};
use crate::client::{Client, ClientError, Request};
use crate::clock::{Stopwatch, now};
use crate::screen::clean;

/// The documents, written for this: see `make-handbook` beside them for the PDF.
const DOCUMENTS: [(&str, &[u8]); 6] = [
    (HANDBOOK, include_bytes!("documents/handbook.pdf")),
    ("questions.html", include_bytes!("documents/questions.html")),
    ("incident.md", include_bytes!("documents/incident.md")),
    ("kitchen.md", include_bytes!("documents/kitchen.md")),
    ("maintenance.txt", include_bytes!("documents/maintenance.txt")),
    ("timetable.html", include_bytes!("documents/timetable.html")),
];

/// The one that is searched in the end.
const HANDBOOK: &str = "handbook.pdf";
const QUERY: &str = "what if I sleep past my stop";

/// Tokens of a piece: small, so that small documents have many.
const PIECE_TOKENS: u32 = 16;

/// The server is killed when so many batches of vectors are stored.
const KILLED_AT: usize = 4;

/// How often histories are looked at until then.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long anything here may take; a loud machine needs more than a quiet one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A document that was taken in.
struct Taken {
    name: &'static str,
    receipt: Receipt,
}

/// A step of a job's history.
struct Step {
    name: String,
    time: Timestamp,
}

pub(super) async fn run(
    provider: &Arc<Provider>,
    stage: &mut Stage,
    teller: &mut Teller<'_>,
) -> anyhow::Result<DocumentFigures> {
    teller.heading("3. The server is killed in the middle of its work")?;
    provider.new_page();
    let client = stage.careful_client()?;
    let mut taken = Vec::new();
    for (name, content) in DOCUMENTS {
        let file = stage.file(name, content)?;
        taken.push(Taken { name, receipt: upload(&client, file).await? });
    }
    teller.say(format!(
        "   {} documents (PDF, HTML, Markdown, text) are uploaded and read: pages, pieces, vectors.",
        taken.len()
    ))?;

    let seen = until_in_the_middle(&client, &taken, teller).await?;
    let process = stage.kill().await?;
    let killed_at = now();
    teller.say(format!("   kill -9 {process}, when {seen} steps were stored. Nothing runs now."))?;
    // What the provider was doing for the dead ends with them.
    let clock = Stopwatch::start();
    while provider.has_work() && clock.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    provider.begin_life();
    let ready = stage.start().await?;
    teller.say(format!("   Started again: ready after {} ms, on the same data.", ready.as_millis()))?;

    let client = stage.careful_client()?;
    let live = teller.live(taken.len() as u64);
    let mut rows = Vec::new();
    let mut steps_of_vectors_after = 0;
    for Taken { name, receipt } in &taken {
        let job = ended(&client, &receipt.job_id).await?;
        let steps = steps(&client, &receipt.job_id).await?;
        let after = steps.iter().filter(|step| step.time > killed_at);
        steps_of_vectors_after += after.filter(|step| is_vectors(step)).count();
        rows.push(row(name, &job, &steps, killed_at)?);
        live.step(|| format!("{name} {}", job.status));
    }
    live.finish();
    let lives = provider.lives();
    let handbook =
        taken.iter().find(|taken| taken.name == HANDBOOK).and_then(|taken| taken.receipt.document_id.clone());
    let found = search(&client, &handbook.context("the upload named no document")?).await?;
    let figures = DocumentFigures {
        killed_process: process,
        ready_again_ms: u64::try_from(ready.as_millis()).unwrap_or(u64::MAX),
        steps_before: rows.iter().map(|row| row.steps_before).sum(),
        steps_after: rows.iter().map(|row| row.steps_after).sum(),
        steps_twice: rows.iter().map(|row| row.steps_twice).sum(),
        calls_before: lives.before,
        calls_after: lives.after,
        calls_cut: lives.before.saturating_sub(vectors_before(&rows)),
        calls_again: lives.again,
        calls_needed_after: steps_of_vectors_after,
        found,
        documents: rows,
    };
    teller.say(format!("   {}", figures.in_words()))?;
    teller.say(format!(
        "   Asked \"{QUERY}\", the handbook answers on page {}: \"{}\"",
        figures.found.page, figures.found.text
    ))?;
    teller.table(&table(&figures))?;
    Ok(figures)
}

fn vectors_before(rows: &[DocumentRow]) -> usize {
    rows.iter().map(|row| row.vectors_before).sum()
}

async fn upload(client: &Client, file: PathBuf) -> anyhow::Result<Receipt> {
    let options = serde_json::json!({
        "chunk": {"tokens": PIECE_TOKENS, "overlap": 0}, "embed": {"model": BATCHES}, "summary": false,
    });
    let request = Request::post(&["v1", "documents"]).upload(file, Some(options.to_string()));
    Ok(client.send(request.idempotent(client.new_idempotency_key())).await?.read()?)
}

/// Waits until some of the vectors are stored, and says how many steps are.
async fn until_in_the_middle(client: &Client, taken: &[Taken], teller: &mut Teller<'_>) -> anyhow::Result<usize> {
    let clock = Stopwatch::start();
    let live = teller.live(KILLED_AT as u64);
    loop {
        let (mut all, mut vectors) = (0, 0);
        for Taken { receipt, .. } in taken {
            let steps = steps(client, &receipt.job_id).await?;
            all += steps.len();
            vectors += steps.iter().filter(|step| is_vectors(step)).count();
        }
        live.at(vectors as u64, || format!("{all} steps stored, {vectors} of them vectors"));
        if vectors >= KILLED_AT {
            live.finish();
            return Ok(all);
        }
        if clock.elapsed() > PATIENCE {
            live.finish();
            bail!("after {} s only {vectors} batches of vectors are stored", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_vectors(step: &Step) -> bool {
    step.name.starts_with("embed:")
}

/// The steps in a job's history.
async fn steps(client: &Client, job: &str) -> anyhow::Result<Vec<Step>> {
    #[derive(serde::Deserialize)]
    struct Data {
        step: String,
    }
    let mut steps = Vec::new();
    let mut after = 0;
    loop {
        let request = Request::get(&["v1", "jobs", job, "events"]).query("limit", "1000");
        let answer = client.send(request.query("after", after.to_string())).await?;
        let page: Page<'_> = answer.read()?;
        for event in &page.data {
            let event: Event = serde_json::from_str(event.get()).context("an event of a job")?;
            after = event.seq;
            if event.event == "job.step" {
                let data = event.data.as_ref().context("a step has no name")?;
                let data: Data = serde_json::from_str(data.get()).context("the name of a step")?;
                steps.push(Step { name: data.step, time: event.time.parse().context("the time of an event")? });
            }
        }
        if !page.has_more {
            return Ok(steps);
        }
    }
}

/// The job at its end.
async fn ended(client: &Client, job: &str) -> anyhow::Result<Job> {
    let clock = Stopwatch::start();
    while clock.elapsed() < PATIENCE {
        let job: Job = client.send(Request::get(&["v1", "jobs", job]).wait(30, None)).await?.read()?;
        if job.is_terminal() {
            return Ok(job);
        }
    }
    bail!("{job} has not ended after {} s", PATIENCE.as_secs())
}

fn row(name: &'static str, job: &Job, steps: &[Step], killed_at: Timestamp) -> anyhow::Result<DocumentRow> {
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Output {
        pages: Vec<serde_json::Value>,
        chunks: Vec<serde_json::Value>,
    }
    let output: Output = match &job.output {
        Some(output) => serde_json::from_str(output.get()).context("the output of a document's job")?,
        None => Output::default(),
    };
    let before = |step: &&Step| step.time <= killed_at;
    let distinct: std::collections::BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    Ok(DocumentRow {
        name,
        status: job.status.clone(),
        attempts: job.attempt,
        pages: output.pages.len(),
        pieces: output.chunks.len(),
        steps_before: steps.iter().filter(before).count(),
        steps_after: steps.len() - steps.iter().filter(before).count(),
        steps_twice: steps.len() - distinct.len(),
        vectors_before: steps.iter().filter(before).filter(|step| is_vectors(step)).count(),
    })
}

/// What the handbook says to the query.
async fn search(client: &Client, document: &str) -> anyhow::Result<Found> {
    #[derive(serde::Deserialize)]
    struct Hit {
        page: u64,
        text: String,
    }
    #[derive(serde::Deserialize)]
    struct Hits {
        hits: Vec<Hit>,
    }
    let request = Request::get(&["v1", "documents", document, "search"]).query("q", QUERY).query("limit", "1");
    let hits: Hits = client.send(request).await?.read()?;
    let hit = hits.hits.into_iter().next();
    let hit = hit.ok_or_else(|| ClientError::NotUnderstood {
        url: client.url().to_owned(),
        reason: format!("nothing was found for \"{QUERY}\""),
    })?;
    let text = clean(&hit.text).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Found { query: QUERY, page: hit.page, text })
}
