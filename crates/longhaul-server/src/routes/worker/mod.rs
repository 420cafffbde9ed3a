//! `/v1/worker`: how processes outside of this one run jobs.
//!
//! A worker claims jobs, keeps their leases alive, and ends each attempt. Every write carries the lease that the claim
//! gave, and is checked against the one that holds in the write's own transaction; so a worker that was believed dead
//! and comes back can change nothing any more. Nothing is remembered here between two calls.

pub(crate) mod attempt;
pub(crate) mod children;
pub(crate) mod claims;
pub(crate) mod lease;
pub(crate) mod many;
pub(crate) mod stream;

use axum::extract::{FromRequest, Request};
use longhaul_core::{Refused, Status};
use longhaul_engine::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

use super::jobs::{JobPath, view::StatusBody};
use crate::{
    json::{BodyLimit, parse_json, read_body},
    problem::{Code, Problem},
};

/// Where a job stands after a worker's call.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkerAnswer {
    /// The job.
    job_id: String,
    #[schema(inline)]
    status: StatusBody,
}

impl WorkerAnswer {
    fn of(job_id: impl ToString, status: Status) -> Self {
        Self { job_id: job_id.to_string(), status: status.into() }
    }
}

/// A store's refusal in the words of the worker protocol.
fn refused(path: &JobPath, error: StoreError) -> Problem {
    match error {
        StoreError::Refused(Refused::Cancelling) => Problem::new(
            Code::JobCancelled,
            "The job is being cancelled and takes no result. Release it, and it is cancelled at once.",
        ),
        // Whatever else the state machine has against a worker's write: it is not this lease's any more.
        StoreError::Refused(Refused::LeaseLost | Refused::Terminal) => lease_lost(),
        other => path.missing(other),
    }
}

fn lease_lost() -> Problem {
    Problem::new(
        Code::LeaseLost,
        "The lease is no longer held: it expired, the job has ended, or another worker has it. Drop the work.",
    )
}

/// A body that may be left out whole.
pub(crate) struct OptionalJson<T>(T);

impl<T, S> FromRequest<S> for OptionalJson<T>
where
    T: serde::de::DeserializeOwned + ToSchema + Default + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let limit = BodyLimit::of(request.extensions());
        let bytes = read_body(request.into_body(), limit).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse_json(&bytes).map(Self) }
    }
}
