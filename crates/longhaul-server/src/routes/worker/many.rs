//! Handing in many results in one call.

use axum::{extract::State, response::Response};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    WorkerAnswer,
    attempt::{ResultReport, hand_in},
    lease::Lease,
};
use crate::{
    app::App,
    auth::Worker,
    json::ApiJson,
    problem::Problem,
    routes::jobs::{JobPath, read::to_json},
};

/// How many results one call takes.
const MOST: usize = 1_000;

/// Results to hand in together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteMany {
    /// 1 to 1,000 results.
    #[schema(min_items = 1, max_items = 1000)]
    jobs: Vec<CompleteOne>,
}

/// One of many results.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteOne {
    /// The job.
    job_id: String,
    /// The `lease_token` of its claim.
    lease_token: String,
    /// What it gives.
    #[schema(value_type = Value)]
    output: Box<RawValue>,
    /// What the result says of itself.
    report: Option<ResultReport>,
}

/// What became of each.
#[derive(Serialize, ToSchema)]
pub(crate) struct CompletedMany {
    /// One for each result, in the order of the request.
    results: Vec<CompletedOne>,
}

/// What became of one of many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum CompletedOne {
    /// It was accepted.
    Accepted(WorkerAnswer),
    /// It was not; the others are not touched by that.
    Refused {
        /// The job.
        job_id: String,
        /// Why, as the call for this job alone would have said it.
        problem: Box<Problem>,
    },
}

/// Hand in many results
///
/// Each is judged for itself, exactly as by the call for one; all that are accepted are written in one go.
#[utoipa::path(
    post, path = "/v1/worker/complete", tag = "worker", operation_id = "complete_many", request_body = CompleteMany,
    responses((status = 200, description = "What became of each.", body = CompletedMany))
)]
pub(crate) async fn complete_many(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiJson(body): ApiJson<CompleteMany>,
) -> Result<Response, Problem> {
    let count = body.jobs.len();
    if !(1..=MOST).contains(&count) {
        return Err(Problem::invalid_field("/jobs", format!("has {count} results; 1 to {MOST} are taken at once")));
    }
    let one = async |CompleteOne { job_id, lease_token, output, report }: CompleteOne| {
        let path = JobPath { job_id };
        let lease: Lease = lease_token.parse()?;
        let held = lease.over(&caller.tenant, path.id()?);
        hand_in(&app, &path, held, output, report).await
    };
    let results = join_all(body.jobs.into_iter().map(async |job| {
        let job_id = job.job_id.clone();
        match one(job).await {
            Ok(answer) => CompletedOne::Accepted(answer),
            Err(problem) => CompletedOne::Refused { job_id, problem: Box::new(problem) },
        }
    }));
    to_json(&CompletedMany { results: results.await })
}
