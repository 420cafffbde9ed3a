//! Background creates of the last two minutes, for clients that repeat a call whose answer they lost.
//!
//! OpenAI's SDKs send no idempotency key, but count their retries. A create with a count above zero, of the same key
//! and with the same body as one within two minutes, is that one. Creates are remembered here while the process
//! lives. What may have come in before, or at another server over the same store, is found among the jobs, in one query:
//! the job of a client that counts carries a hash of the call in its metadata.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
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
/// The pair of a job's metadata that names the call that it was created by.
const MARK: &str = "longhaul_create";
/// The header in which SDKs count their retries.
const COUNT: &str = "x-stainless-retry-count";

type Name = [u8; 32];

/// The creates of the last two minutes.
#[derive(Default)]
pub(crate) struct RecentCreates(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    creates: HashMap<Name, Remembered>,
    /// When the newest of those came that had to be forgotten before their time.
    forgot: Option<Timestamp>,
}

/// What a job is marked with whose create may be repeated: the client counts its retries.
pub(super) fn mark(caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Option<(&'static str, String)> {
    headers.contains_key(COUNT).then(|| (MARK, mark_of(&name_of(caller, body))))
}

/// Half of the hash is as good as all of it for two minutes.
fn mark_of(name: &Name) -> String {
    name[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

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
        let count = headers.get(COUNT).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
        if count.is_some_and(|count| count > 0) {
            let known = self.get(&name, now);
            if let Some(mut known) = known
                && let Ok(job) = known.job.wait_for(Option::is_some).await.map(|job| *job)
                && let Some(job) = job
            {
                return Ok(Claim::Repeated(job));
            }
            if self.may_be_elsewhere(app, now)
                && let Some(job) = among_jobs(app, caller, &name, now).await?
            {
                return Ok(Claim::Repeated(job));
            }
        }
        Ok(Claim::New(self.put(name, now)))
    }

    fn get(&self, name: &Name, now: Timestamp) -> Option<Remembered> {
        let memory = self.lock();
        memory.creates.get(name).filter(|create| now.since(create.at) < REMEMBERED).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a create of the last two minutes can be one that is not remembered here.
    fn may_be_elsewhere(&self, app: &App, now: Timestamp) -> bool {
        let within = |then: Timestamp| now.since(then) < REMEMBERED;
        app.engine().is_shared() || within(app.0.started_at) || self.lock().forgot.is_some_and(within)
    }

    fn put(&self, name: Name, now: Timestamp) -> Place {
        let (sender, job) = watch::channel(None);
        let mut memory = self.lock();
        let Memory { creates, forgot } = &mut *memory;
        if creates.len() >= REMEMBERED_MOST {
            creates.retain(|_, create| now.since(create.at) < REMEMBERED);
        }
        if creates.len() >= REMEMBERED_MOST
            && let Some((oldest, at)) =
                creates.iter().min_by_key(|(_, create)| create.at).map(|(name, c)| (*name, c.at))
        {
            creates.remove(&oldest);
            *forgot = (*forgot).max(Some(at));
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

/// The newest job of the last two minutes that was created by this call.
async fn among_jobs(app: &App, caller: &Caller, name: &Name, now: Timestamp) -> Result<Option<JobId>, StoreError> {
    let Ok(kind) = KindName::new(llm::RESPONSE) else { return Ok(None) };
    let query = JobQuery {
        kind: Some(kind),
        created_after: Some(now - REMEMBERED),
        metadata: vec![(MARK.to_owned(), mark_of(name))],
        ..JobQuery::newest(caller.tenant.clone(), 1)
    };
    Ok(app.engine().jobs(query).await?.jobs.first().map(|job| job.spec.id))
}
