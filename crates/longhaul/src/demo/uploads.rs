//! The first act: many clients upload a document each, to an API that reads it within the request, and to Longhaul.
//!
//! Both have as many workers, the same slow model, and the same clients, who give up after a while. What is counted is
//! what the clients see, and what the provider was paid for.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use super::figures::{LonghaulFigures, NaiveFigures, Times};
use super::naive::Naive;
use super::provider::Provider;
use super::server::{self, Stage, VECTORS};
use super::teller::Teller;
use super::{Scale, http};
use crate::client::types::{Job, Receipt};
use crate::client::{Client, Request};
use crate::clock::Stopwatch;

/// What every client uploads: short enough for one call of the model.
const LETTER: &str = "# Lost on the night train\n\nOn the train of the ninth of January I left a grey coat with a map in \
                      its pocket, in coach 4, bed 21. The coat is old, but the map was drawn by my daughter. If you have \
                      found it, please write to me.\n";

/// How long the end of all jobs may take; a loud machine needs more than a quiet one.
const ENDED_WITHIN: Duration = Duration::from_secs(120);

/// How it went with both.
pub(super) struct Both {
    pub(super) naive: NaiveFigures,
    pub(super) longhaul: LonghaulFigures,
}

pub(super) async fn run(
    scale: &Scale,
    provider: &Arc<Provider>,
    stage: &Stage,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Both> {
    teller.heading("1. An API that works within the request, and the same load as jobs")?;
    teller.say(format!(
        "   {} clients upload a letter within {}. A slow model takes {} for each, there are {} workers, and a client gives \
         up after {}.",
        scale.clients,
        seconds(scale.spread),
        seconds(scale.work),
        scale.workers,
        seconds(scale.patience)
    ))?;
    let letter = stage.file("letter.md", LETTER.as_bytes())?;
    provider.new_page();
    let naive = to_naive(scale, provider, &letter, teller).await?;
    teller.say(format!("   naive API  {}", naive.in_words()))?;
    provider.new_page();
    let longhaul = to_longhaul(scale, provider, stage, &letter, teller).await?;
    teller.say(format!("   Longhaul   {}", longhaul.in_words()))?;
    teller.table(&super::figures::side_by_side(&naive, &longhaul))?;
    Ok(Both { naive, longhaul })
}

async fn to_naive(
    scale: &Scale,
    provider: &Arc<Provider>,
    letter: &Path,
    teller: &mut Teller<'_>,
) -> anyhow::Result<NaiveFigures> {
    let upstream = http::serve(provider.clone()).await?;
    let api = http::serve(Arc::new(Naive::new(scale.workers, upstream.address)?)).await?;
    let client = Arc::new(server::client(&format!("http://{}", api.address))?);
    let live = teller.live(u64::from(scale.clients));
    let mut waits = Times::default();
    let (mut answered, mut gave_up, mut failed) = (0, 0, 0);
    let mut clients = JoinSet::new();
    for number in 0..scale.clients {
        let (client, letter, patience) = (client.clone(), letter.to_owned(), scale.patience);
        let begin = scale.spread * number / scale.clients;
        clients.spawn(async move {
            tokio::time::sleep(begin).await;
            let watch = Stopwatch::start();
            let sent = client.send(Request::post(&["documents"]).upload(letter, None));
            (tokio::time::timeout(patience, sent).await, watch.elapsed())
        });
    }
    while let Some(ended) = clients.join_next().await {
        let (outcome, took) = ended.context("a client broke")?;
        waits.add(took);
        match outcome {
            Ok(Ok(_)) => answered += 1,
            Ok(Err(_)) => failed += 1,
            Err(_) => gave_up += 1,
        }
        live.step(|| format!("naive API: {answered} answered, {gave_up} gave up"));
    }
    live.finish();
    Ok(NaiveFigures {
        uploads: scale.clients,
        answered,
        gave_up,
        failed,
        wait: waits.quantiles(),
        model_calls: provider.vector_calls(),
    })
}

async fn to_longhaul(
    scale: &Scale,
    provider: &Arc<Provider>,
    stage: &Stage,
    letter: &Path,
    teller: &mut Teller<'_>,
) -> anyhow::Result<LonghaulFigures> {
    let client = Arc::new(stage.careful_client()?);
    let live = teller.live(u64::from(scale.clients));
    let (mut receipts, mut ends) = (Times::default(), Times::default());
    let (mut accepted, mut gave_up, mut failed, mut succeeded) = (0, 0, 0, 0);
    let clock = Stopwatch::start();
    let mut clients = JoinSet::new();
    for number in 0..scale.clients {
        let (client, letter, patience) = (client.clone(), letter.to_owned(), scale.patience);
        let begin = scale.spread * number / scale.clients;
        clients.spawn(async move {
            tokio::time::sleep(begin).await;
            visit(&client, letter, patience).await
        });
    }
    while let Some(ended) = clients.join_next().await {
        match ended.context("a client broke")?? {
            Visit::GaveUp => gave_up += 1,
            Visit::Accepted { receipt, end, status } => {
                accepted += 1;
                receipts.add(receipt);
                ends.add(end);
                if status == "succeeded" { succeeded += 1 } else { failed += 1 }
            }
        }
        live.step(|| format!("Longhaul: {succeeded} of {accepted} done"));
    }
    live.finish();
    Ok(LonghaulFigures {
        uploads: scale.clients,
        accepted,
        gave_up,
        succeeded,
        failed,
        receipt: receipts.quantiles(),
        end: ends.quantiles(),
        all_done_s: clock.elapsed().as_secs_f64(),
        model_calls: provider.vector_calls(),
    })
}

/// What became of one upload.
enum Visit {
    GaveUp,
    Accepted { receipt: Duration, end: Duration, status: String },
}

/// Uploads, and comes back for the result.
async fn visit(client: &Client, letter: PathBuf, patience: Duration) -> anyhow::Result<Visit> {
    let watch = Stopwatch::start();
    let options = serde_json::json!({"embed": {"model": VECTORS}, "summary": false}).to_string();
    let key = client.new_idempotency_key();
    let sent = client.send(Request::post(&["documents"]).upload(letter, Some(options)).idempotent(key));
    let Ok(answer) = tokio::time::timeout(patience, sent).await else { return Ok(Visit::GaveUp) };
    let receipt: Receipt = answer?.read()?;
    let receipt_after = watch.elapsed();
    loop {
        let job: Job = client.send(Request::get(&["jobs", &receipt.job_id]).wait(30, None)).await?.read()?;
        if job.is_terminal() {
            return Ok(Visit::Accepted { receipt: receipt_after, end: watch.elapsed(), status: job.status });
        }
        if watch.elapsed() > ENDED_WITHIN {
            bail!("{} has not ended after {}", job.job_id, seconds(ENDED_WITHIN));
        }
    }
}

/// A length of time as people say it.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_millis() {
        ms if ms >= 1_000 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms if ms >= 1_000 => format!("{:.1} s", time.as_secs_f64()),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_their_unit() {
        let said = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([said(250), said(1_000), said(1_500), said(120_000)], ["250 ms", "1 s", "1.5 s", "120 s"]);
    }
}
