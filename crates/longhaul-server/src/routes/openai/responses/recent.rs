//! Background creates of the last two minutes, for clients that repeat a call whose answer they lost.
//!
//! OpenAI's SDKs send no idempotency key, but count their retries. A create with a count above zero, of the same key
//! and with the same body as one within two minutes, is that one. Creates are remembered here while the process
//! lives; after a restart they are looked for among the newest jobs, where the body is compared.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::HeaderMap;
use bytes::Bytes;
use longhaul_core::{Caller, JobId, KindName, Span, Timestamp};
use longhaul_engine::store::{JobQuery, StoreError};
use longhaul_tasks::llm;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::app::App;

/// How long a create is remembered.
const REMEMBERED: Span = Span::from_secs(120);
/// How many are remembered at most; older ones are forgotten first, and then looked for among the jobs.
const REMEMBERED_MOST: usize = 8_192;
/// How many jobs are looked at for a repeated call that is not remembered here.
const LOOKED_AT: usize = 600;

type Name = [u8; 32];

/// The creates of the last two minutes.
#[derive(Default)]
pub(crate) struct RecentCreates(Mutex<HashMap<Name, Remembered>>);

#[derive(Clone)]
struct Remembered {
    at: Timestamp,
    /// The job, once it is durable; closed without one when the create failed.
    job: watch::Receiver<Option<JobId>>,
}

/// What a create turns out to be.
pub(crate) enum Claim {
    /// A call of its own.
    New(Place),
    /// A call that was made before.
    Repeated(JobId),
}

/// Where a create says which job it became. Dropped without, it became none.
pub(crate) struct Place(watch::Sender<Option<JobId>>);

impl Place {
    pub(crate) fn is(self, job: JobId) {
        self.0.send_replace(Some(job));
    }
}

impl RecentCreates {
    /// Whether a create is a repeat, and of which.
    pub(crate) async fn claim(
        &self,
        app: &App,
        caller: &Caller,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Claim, StoreError> {
        let now = app.engine().clock().now();
        let name = name_of(caller, body);
        let count = headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        if count.is_some_and(|count| count > 0) {
            let known = self.get(&name, now);
            if let Some(mut known) = known
                && let Ok(job) = known.job.wait_for(Option::is_some).await.map(|job| *job)
                && let Some(job) = job
            {
                return Ok(Claim::Repeated(job));
            }
            if let Some(job) = among_jobs(app, caller, body, now).await? {
                return Ok(Claim::Repeated(job));
            }
        }
        Ok(Claim::New(self.put(name, now)))
    }

    fn get(&self, name: &Name, now: Timestamp) -> Option<Remembered> {
        let creates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        creates.get(name).filter(|create| now.since(create.at) < REMEMBERED).cloned()
    }

    fn put(&self, name: Name, now: Timestamp) -> Place {
        let (sender, job) = watch::channel(None);
        let mut creates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if creates.len() >= REMEMBERED_MOST {
            creates.retain(|_, create| now.since(create.at) < REMEMBERED);
        }
        if creates.len() >= REMEMBERED_MOST {
            let oldest = creates.iter().min_by_key(|(_, create)| create.at).map(|(name, _)| *name);
            oldest.and_then(|oldest| creates.remove(&oldest));
        }
        creates.insert(name, Remembered { at: now, job });
        Place(sender)
    }
}

/// Who asks, and what.
fn name_of(caller: &Caller, body: &[u8]) -> Name {
    let mut hash = Sha256::new();
    hash.update((caller.tenant.as_str().len() as u64).to_be_bytes());
    hash.update(caller.tenant.as_str());
    if let Some(key) = caller.key {
        hash.update(key.as_bytes());
    }
    hash.update(body);
    hash.finalize().into()
}

/// The newest job of the last two minutes with this body.
async fn among_jobs(app: &App, caller: &Caller, body: &Bytes, now: Timestamp) -> Result<Option<JobId>, StoreError> {
    let Ok(kind) = KindName::new(llm::RESPONSE) else { return Ok(None) };
    let tenant = &caller.tenant;
    let mut query =
        JobQuery { kind: Some(kind), created_after: Some(now - REMEMBERED), ..JobQuery::newest(tenant.clone(), 200) };
    let mut looked_at = 0;
    loop {
        let page = app.engine().jobs(query.clone()).await?;
        for job in &page.jobs {
            let view: Arc<_> = app.engine().job(tenant, job.spec.id).await?;
            if app.engine().payload(&view.input).await? == *body {
                return Ok(Some(job.spec.id));
            }
        }
        looked_at += page.jobs.len();
        match page.next {
            Some(before) if looked_at < LOOKED_AT => query.before = Some(before),
            _ => return Ok(None),
        }
    }
}
