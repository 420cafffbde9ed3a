//! `/v1/responses`: OpenAI's responses, for any provider: at once, streamed, in the background, durable.
//!
//! A background response is a job. One that is answered at once goes straight to the gateway, and is then kept as a job
//! that was answered before it was submitted, unless it is not to be stored. A response's id is its job's with
//! another prefix; see `longhaul_tasks::llm::stored`.

pub(crate) mod create;
pub(crate) mod follow;
mod recent;
pub(crate) mod stored;

pub(crate) use recent::RecentCreates;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{JobId, Payload, Status as JobStatus, Tenant};
use longhaul_engine::store::{JobView, StoreError};
use longhaul_providers::{
    ErrorCode, ProviderError,
    facade::{Frame, Stamp},
    responses::facade::{Echo, ResponseStreamEncoder, ResponsesCall, Status, encode_pending},
};
use longhaul_tasks::llm::stored::{HistoryError, Shelf, StoredResponse, find, job_of, response_id, stamp_of};

use crate::{app::App, facade::Refusal};

/// The responses of a tenant.
struct Responses<'a> {
    app: &'a App,
    tenant: &'a Tenant,
}

#[async_trait]
impl Shelf for Responses<'_> {
    type Error = StoreError;

    async fn job(&self, job: JobId) -> Result<Arc<JobView>, StoreError> {
        self.app.engine().job(self.tenant, job).await
    }

    async fn read(&self, payload: &Payload) -> Result<Bytes, StoreError> {
        self.app.engine().payload(payload).await
    }
}

/// The response of this id, with its job.
async fn found(app: &App, tenant: &Tenant, id: &str) -> Result<(Arc<JobView>, StoredResponse), Refusal> {
    let job = job_of(id).ok_or_else(|| unknown(id))?;
    find(&Responses { app, tenant }, job).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Refusal {
    let shown: String = id.chars().take(80).collect();
    Refusal::new(404, "response_not_found", format!("there is no response `{shown}`"))
}

fn history(error: HistoryError<StoreError>) -> Refusal {
    match error {
        HistoryError::Request(error) => error.into(),
        HistoryError::Search(error) => error.into(),
    }
}

/// What a response is marked with, and what it repeats of its request.
fn marks(job: JobId, stored: &StoredResponse) -> Result<(Stamp, ResponsesCall), Refusal> {
    let call = stored.call()?;
    Ok((stamp_of(job, call.model.clone()), call))
}

/// The response object as it stands.
fn object(view: &JobView, stored: &StoredResponse) -> Result<Vec<u8>, Refusal> {
    if let Some(response) = &stored.response {
        return Ok(response.to_vec());
    }
    let (stamp, call) = marks(view.job.spec.id, stored)?;
    Ok(match view.job.status() {
        // An answer that cannot be found any more has not been kept long enough.
        JobStatus::Succeeded => return Err(unknown(&response_id(view.job.spec.id))),
        JobStatus::Queued => encode_pending(&stamp, &call.echo, Status::Queued),
        JobStatus::Running if view.job.cancel_requested_at.is_some() => {
            encode_pending(&stamp, &call.echo, Status::Cancelled)
        }
        JobStatus::Running => encode_pending(&stamp, &call.echo, Status::InProgress),
        JobStatus::Cancelled => encode_pending(&stamp, &call.echo, Status::Cancelled),
        JobStatus::Failed => {
            let mut encoder = ResponseStreamEncoder::new(stamp, call.echo);
            encoder.fail_with(said(view), &mut Vec::new());
            encoder.object()
        }
    })
}

/// A failed job's error in the words of a provider's.
fn said(view: &JobView) -> ProviderError {
    let Some(error) = &view.job.error else {
        return ProviderError::new(ErrorCode::ServerError, "the response failed");
    };
    let code = ErrorCode::ALL.iter().find(|code| code.as_str() == error.code);
    ProviderError::new(code.copied().unwrap_or(ErrorCode::ServerError), error.message.clone())
}

/// The first three events of a response's stream, which follow from its request.
fn prelude(stamp: &Stamp, echo: &Echo) -> [Frame; 3] {
    ResponseStreamEncoder::new(stamp.clone(), echo.clone()).prelude()
}
