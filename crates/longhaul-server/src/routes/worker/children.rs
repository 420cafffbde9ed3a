//! Jobs that a worker's job takes in as its children while it runs, and what became of them.

use axum::{extract::State, response::Response};
use longhaul_core::{JobError, JobId, Status, StepName};
use longhaul_engine::Rejected;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{lease::Lease, lease_lost, refused};
use crate::{
    app::App,
    auth::Worker,
    json::{ApiJson, ApiPath, ApiQuery},
    problem::{Code, Problem},
    refusal::{invalid_jobs, rejected},
    routes::jobs::{
        JobPath,
        create::CreateJob,
        read::to_json,
        view::{ErrorBody, StatusBody},
    },
};

/// How many children one call takes, as a bulk submit does.
const CHILDREN_AT_ONCE: usize = 1_000;

/// How many children a page shows at most.
const PAGE_MOST: usize = 200;

/// Jobs to take in as children.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpawnChildren {
    /// Names the call within its job, the same on every attempt: 1 to 200 letters, digits and `_ - . : /`. The ids of the
    /// children are the output of this step.
    #[schema(min_length = 1, max_length = 200)]
    step: String,
    /// 1 to 1,000 jobs, without children of their own.
    #[schema(min_items = 1, max_items = 1000)]
    children: Vec<CreateJob>,
}

/// The children.
#[derive(Serialize, ToSchema)]
pub(crate) struct SpawnedChildren {
    /// The job that has them.
    job_id: String,
    /// Their ids, in the order of the request; of a repeat: those of the first call.
    #[schema(value_type = Vec<String>)]
    children: Vec<JobId>,
}

/// Take children in
///
/// Once for each `step`: repeating the call, also on a later attempt, takes nothing in and gives back the same ids. They
/// run like any other jobs, and are cancelled when this job fails or is cancelled. To wait for their ends without holding
/// a worker, give the lease up with `wait`.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/children", tag = "worker", operation_id = "spawn_children",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = SpawnChildren,
    responses((status = 200, description = "They are on disk.", body = SpawnedChildren))
)]
pub(crate) async fn spawn(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(body): ApiJson<SpawnChildren>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    let step = StepName::new(&body.step).map_err(|why| Problem::invalid_field("/step", why.to_string()))?;
    let count = body.children.len();
    if !(1..=CHILDREN_AT_ONCE).contains(&count) {
        let message = format!("has {count} jobs; 1 to {CHILDREN_AT_ONCE} are taken in at once");
        return Err(Problem::invalid_field("/children", message));
    }
    let (now, limits) = (app.engine().clock().now(), app.0.limits.metadata);
    let mut errors = Vec::new();
    let children = body.children.into_iter().enumerate();
    let children = children.map(|(index, job)| job.check(&format!("/children/{index}"), now, limits, &mut errors));
    let children: Vec<_> = children.collect();
    let at = |index| format!("/children/{index}");
    if !errors.is_empty() {
        return Err(invalid_jobs(errors, app.engine().examine(&caller.tenant, &children), at, "/input"));
    }
    let children = app.engine().spawn(held, step, children).await.map_err(|error| match error {
        Rejected::Store(error) => refused(&path, error),
        other => rejected(other, at, "/input"),
    })?;
    to_json(&SpawnedChildren { job_id: path.job_id, children })
}

/// Which of the children.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChildrenOf {
    /// Only those after this place.
    after: Option<u32>,
    /// At most so many, 1 to 200.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// A child with what it gave.
#[derive(Serialize, ToSchema)]
pub(crate) struct FinishedChild {
    /// Its place among its siblings, from 0.
    index: u32,
    #[schema(value_type = String)]
    job_id: JobId,
    kind: String,
    #[schema(inline)]
    status: StatusBody,
    /// Why it failed.
    #[schema(value_type = Option<ErrorBody>)]
    error: Option<JobError>,
    /// What it gave, once it has succeeded.
    #[schema(value_type = Option<Value>)]
    output: Option<Box<RawValue>>,
}

/// A page of children with what they gave.
#[derive(Serialize, ToSchema)]
pub(crate) struct FinishedChildren {
    children: Vec<FinishedChild>,
    /// Whether there are more: go on with `after` = the last `index`.
    has_more: bool,
}

/// What children gave
///
/// For the worker that holds their parent. A page ends early when it holds 16 MiB.
#[utoipa::path(
    get, path = "/v1/worker/jobs/{job_id}/children", tag = "worker", operation_id = "read_children",
    params(
        JobPath, ChildrenOf,
        ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim."),
    ),
    responses((status = 200, description = "Children in their order.", body = FinishedChildren))
)]
pub(crate) async fn read(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiQuery(query): ApiQuery<ChildrenOf>,
) -> Result<Response, Problem> {
    const BYTES_MOST: usize = 16 << 20;
    let held = lease.over(&caller.tenant, path.id()?);
    let limit = query.limit.unwrap_or(PAGE_MOST);
    if !(1..=PAGE_MOST).contains(&limit) {
        return Err(Problem::invalid_field("?limit", format!("must be from 1 to {PAGE_MOST}")));
    }
    let view = app.engine().job(&held.tenant, held.job).await.map_err(|error| refused(&path, error))?;
    view.job.check_lease(held.token).map_err(|_| lease_lost())?;
    let found = app.engine().children(&held.tenant, held.job, query.after, limit + 1).await;
    let found = found.map_err(|error| refused(&path, error))?;
    let (mut children, mut bytes, count) = (Vec::new(), 0, found.len());
    for child in found.into_iter().take(limit) {
        let output = match &child.output {
            Some(output) if child.status == Status::Succeeded => Some(app.engine().payload(output).await?),
            _ => None,
        };
        bytes += output.as_ref().map_or(0, |output| output.len());
        if bytes > BYTES_MOST && !children.is_empty() {
            break;
        }
        let output = output.map(|output| serde_json::from_slice(&output)).transpose().map_err(|error| {
            tracing::error!(%error, job_id = %child.job, "a stored output is no JSON");
            Problem::new(Code::Internal, "The output of a child could not be read.")
        })?;
        children.push(FinishedChild {
            index: child.index,
            job_id: child.job,
            kind: child.kind.to_string(),
            status: child.status.into(),
            error: child.error,
            output,
        });
    }
    let has_more = count > children.len();
    to_json(&FinishedChildren { children, has_more })
}
