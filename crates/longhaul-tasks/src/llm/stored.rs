//! Responses that can be asked for again: how a response is a job, and how a conversation goes on from an earlier one.
//!
//! A response's id is its job's with another prefix. A background response is a job `llm.response`; an answer that was
//! given at once is kept as a job `llm.kept`, whose input holds request and answer together. Both are found here.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{JobId, Payload, Status};
use longhaul_engine::store::{JobView, StoreError};
use longhaul_providers::{
    facade::{RequestError, Stamp},
    json::Json,
    responses::facade::{ResponsesCall, decode_request},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::call::created;

/// The kind of background responses.
pub const RESPONSE: &str = "llm.response";
/// The kind of answers that were given at once.
pub const KEPT: &str = "llm.kept";

/// How many responses a conversation goes back at most.
const LINKS_MOST: usize = 256;
/// How many bytes of earlier responses are read for one call.
const HISTORY_MOST: usize = 16 << 20;

/// A response's id.
pub fn response_id(job: JobId) -> String {
    let id = job.to_string();
    format!("resp_{}", id.rsplit('_').next().unwrap_or_default())
}

/// The job behind a response's id; none when it is no such id.
pub fn job_of(response_id: &str) -> Option<JobId> {
    format!("{}_{}", JobId::PREFIX, response_id.strip_prefix("resp_")?).parse().ok()
}

/// What a response is marked with. It follows from the job's id and the request alone, so that it is the same whoever
/// asks and whenever.
pub fn stamp_of(job: JobId, model: String) -> Stamp {
    Stamp { id: response_id(job), created: created(job.as_bytes()), model }
}

/// An answer that was given at once, as its job keeps it.
#[derive(Deserialize, Serialize)]
pub(super) struct Kept {
    /// The body of the request.
    pub(super) request: Box<RawValue>,
    /// The response object.
    pub(super) response: Box<RawValue>,
    /// What the answer says of itself.
    #[serde(default)]
    pub(super) report: longhaul_core::Report,
}

/// The input of a job that keeps an answer. None: one of the two is no JSON, which no writer here makes.
pub fn kept(request: &[u8], response: &[u8], report: longhaul_core::Report) -> Option<Bytes> {
    let raw = |json: &[u8]| RawValue::from_string(String::from_utf8(json.to_vec()).ok()?).ok();
    let kept = Kept { request: raw(request)?, response: raw(response)?, report };
    serde_json::to_vec(&kept).ok().map(Bytes::from)
}

/// A response, as it was found.
#[derive(Debug, Clone)]
pub struct StoredResponse {
    /// The body of its request.
    pub request: Bytes,
    /// Its object, once it is answered.
    pub response: Option<Bytes>,
    /// Whether it was made in the background.
    pub background: bool,
}

impl StoredResponse {
    /// Reads the response out of its job; none when the job is none.
    pub fn of(view: &JobView, input: Bytes, output: Option<Bytes>) -> Option<Self> {
        match view.job.spec.kind.as_str() {
            RESPONSE => {
                let response = output.filter(|_| view.job.status() == Status::Succeeded);
                Some(Self { request: input, response, background: true })
            }
            KEPT => {
                let Kept { request, response, .. } = serde_json::from_slice(&input).ok()?;
                let bytes = |raw: Box<RawValue>| Bytes::from(String::from(Box::<str>::from(raw)));
                Some(Self { request: bytes(request), response: Some(bytes(response)), background: false })
            }
            _ => None,
        }
    }

    /// The request, read.
    ///
    /// # Errors
    /// When it cannot be: what was taken once and is not any more.
    pub fn call(&self) -> Result<ResponsesCall, RequestError> {
        decode_request(&self.request)
    }
}

/// Where the responses of one tenant are found.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// How looking for one fails.
    type Error: From<StoreError> + Send;

    /// A job.
    async fn job(&self, job: JobId) -> Result<Arc<JobView>, StoreError>;

    /// The bytes of a payload.
    async fn read(&self, payload: &Payload) -> Result<Bytes, Self::Error>;
}

/// The response of a job; none when there is none, or not any more.
///
/// # Errors
/// When the store cannot be read.
pub async fn find<S: Shelf>(shelf: &S, job: JobId) -> Result<Option<(Arc<JobView>, StoredResponse)>, S::Error> {
    let view = match shelf.job(job).await {
        Ok(view) => view,
        Err(StoreError::NotFound(_) | StoreError::Gone(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !matches!(view.job.spec.kind.as_str(), RESPONSE | KEPT) {
        return Ok(None);
    }
    let input = shelf.read(&view.input).await?;
    let output = match &view.output {
        Some(output) => Some(shelf.read(output).await?),
        None => None,
    };
    Ok(StoredResponse::of(&view, input, output).map(|stored| (view, stored)))
}

/// Why a conversation cannot go on from a response. `E` is how looking for one fails.
#[derive(Debug, Clone)]
pub enum HistoryError<E> {
    /// There is no such response, or it has no answer.
    Request(RequestError),
    /// It could not be looked for.
    Search(E),
}

/// Puts the conversation that a call goes on from in front of its input.
///
/// # Errors
/// When an earlier response is not there, has not been answered, or the conversation is too long.
pub async fn go_on<S: Shelf>(call: &mut ResponsesCall, shelf: &S) -> Result<(), HistoryError<S::Error>> {
    let Some(previous) = call.previous_response_id.clone() else { return Ok(()) };
    let items = conversation(&previous, shelf).await?;
    call.go_on_from(&items).map_err(HistoryError::Request)
}

/// All items of a conversation up to a response, its answer included, oldest first.
///
/// # Errors
/// As [`go_on`].
pub async fn conversation<S: Shelf>(last: &str, shelf: &S) -> Result<Vec<Json>, HistoryError<S::Error>> {
    let mut turns: Vec<Vec<Json>> = Vec::new();
    let mut bytes = 0;
    let mut next = Some(last.to_owned());
    while let Some(id) = next.take() {
        let found = match job_of(&id) {
            Some(job) => find(shelf, job).await.map_err(HistoryError::Search)?,
            None => None,
        };
        let refuse = |why: String| {
            HistoryError::Request(RequestError::at("previous_response_id", why).code("previous_response_not_found"))
        };
        let Some((_, found)) = found else {
            let shown: String = id.chars().take(80).collect();
            return Err(refuse(format!("there is no response `{shown}`")));
        };
        let Some(response) = &found.response else {
            return Err(refuse(format!("the response `{id}` has no answer to go on from")));
        };
        bytes += found.request.len() + response.len();
        if turns.len() >= LINKS_MOST || bytes > HISTORY_MOST {
            return Err(refuse(format!(
                "the conversation is too long: at most {LINKS_MOST} responses and {} MiB are read back",
                HISTORY_MOST >> 20
            )));
        }
        let mut call = found.call().map_err(HistoryError::Request)?;
        let mut turn = std::mem::take(&mut call.input);
        turn.extend(output_of(response));
        turns.push(turn);
        next = call.previous_response_id;
    }
    Ok(turns.into_iter().rev().flatten().collect())
}

/// The items of a response object's output.
fn output_of(response: &[u8]) -> Vec<Json> {
    #[derive(Deserialize)]
    struct Answered {
        #[serde(default)]
        output: Vec<Json>,
    }
    serde_json::from_slice::<Answered>(response).map(|answered| answered.output).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::{Ids, Timestamp};

    #[test]
    fn a_responses_id_names_its_job() {
        let job = JobId::fresh(&Ids::seeded(1), Timestamp::from_micros(1_700_000_000_123_456));
        let id = response_id(job);
        assert!(id.starts_with("resp_"), "{id}");
        assert_eq!(job_of(&id), Some(job));
        assert_eq!(job_of("resp_nonsense"), None);
        assert_eq!(job_of(&job.to_string()), None);
        assert_eq!(stamp_of(job, "m".into()).created, 1_700_000_000);
    }
}
