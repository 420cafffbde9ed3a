//! Looking at jobs: one, its result, its history, and lists.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use longhaul_core::{JobId, KindName, QueueName, Span, Status, Timestamp};
use longhaul_engine::Waited;
use longhaul_engine::store::{Child, JobQuery, JobView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    JobPath,
    view::{AttemptBody, EventBody, JobBody, Receipt, Standing, etag, job_json, json_answer, poll_hint, with},
};
use crate::{
    app::App,
    auth::Read,
    json::{ApiPath, ApiQuery},
    prefer::{self, Known},
    problem::{Code, FieldError, Problem},
    routes::events::sse,
};

/// How long to wait for a job.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// Answer when the job has ended, at the latest after so many seconds (at most 60).
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

impl WaitQuery {
    pub(crate) fn span(&self) -> Result<Option<Span>, Problem> {
        match self.wait {
            Some(wait) if wait > prefer::WAIT_MOST => {
                Err(Problem::invalid_field("?wait", format!("is {wait}; it must be from 0 to 60 seconds")))
            }
            wait => Ok(wait.filter(|wait| *wait > 0).map(Span::from_secs)),
        }
    }
}

/// Get a job
///
/// With `wait` the answer comes when the job has ended; with `If-None-Match` besides, when it has changed. Time-out:
/// 200 with the job as it stands, or 304. Leaving never cancels the job.
#[utoipa::path(
    get, path = "/v1/jobs/{job_id}", tag = "jobs", operation_id = "get_job", params(JobPath, WaitQuery),
    responses(
        (status = 200, description = "The job.", body = JobBody),
        (status = 304, description = "It is still at the version of `If-None-Match`."),
    )
)]
pub(crate) async fn show(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(query): ApiQuery<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let known = Known::of(&headers);
    let missing = |error| path.missing(error);
    let waited = match query.span()? {
        None => Waited::Unchanged,
        Some(wait) => {
            let standing = app.standing(&headers, &caller);
            let version = known.as_ref().map(|known| known.version);
            let waited = app.engine().wait(&caller.tenant, id, wait, version).await.map_err(missing)?;
            app.let_in_still(&standing)?;
            waited
        }
    };
    let view = match waited {
        Waited::Now(view) => view,
        Waited::Unchanged => app.engine().job(&caller.tenant, id).await.map_err(missing)?,
    };
    let is_known = known.as_ref().is_some_and(|known| known.version == view.job.version);
    if is_known && known.as_ref().is_some_and(|known| known.is_version_alone()) {
        return Ok(not_modified(headers[header::IF_NONE_MATCH].clone()));
    }
    let json = job_json(&app, &view).await?;
    let tag = etag(&view.job, &json);
    match known {
        Some(known) if known.tag == Some(&tag) => Ok(not_modified(tag)),
        _ => Ok(with(with_hint(&app, &view, json_answer(StatusCode::OK, json)), [(header::ETAG, tag)])),
    }
}

fn not_modified(tag: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    with(response, [(header::ETAG, tag)])
}

/// Tells when to look again.
fn with_hint(app: &App, view: &JobView, response: Response) -> Response {
    let hint = (!view.job.status().is_terminal())
        .then(|| (header::RETRY_AFTER, poll_hint(&view.job, app.engine().clock().now())));
    with(response, hint)
}

/// Get a job's output alone
#[utoipa::path(
    get, path = "/v1/jobs/{job_id}/result", tag = "jobs", operation_id = "get_job_result", params(JobPath, WaitQuery),
    responses(
        (status = 200, description = "The output, as the kind gave it.", body = serde_json::Value),
        (status = 202, description = "It has not ended.", body = Receipt),
    )
)]
pub(crate) async fn result(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(query): ApiQuery<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let standing = app.standing(&headers, &caller);
    let view = ended_or_now(&app, &caller, &path, id, query.span()?).await?;
    app.let_in_still(&standing)?;
    match view.job.status() {
        Status::Queued | Status::Running => {
            let receipt = Receipt { status: view.job.status().into(), ..Receipt::of(id) };
            let json = serde_json::to_vec(&receipt).unwrap_or_default();
            Ok(with_hint(&app, &view, json_answer(StatusCode::ACCEPTED, json)))
        }
        Status::Succeeded => match &view.output {
            Some(output) => Ok(json_answer(StatusCode::OK, app.engine().payload(output).await?)),
            None => Err(Problem::new(Code::Internal, "The job succeeded, but its output is missing.")),
        },
        Status::Failed | Status::Cancelled => Err(no_result(&view)),
    }
}

/// The job when it has ended, or as it stands when no wait was asked for or the wait is over.
pub(crate) async fn ended_or_now(
    app: &App,
    caller: &longhaul_core::Caller,
    path: &JobPath,
    id: JobId,
    wait: Option<Span>,
) -> Result<std::sync::Arc<JobView>, Problem> {
    let engine = app.engine();
    let missing = |error| path.missing(error);
    match wait {
        None => engine.job(&caller.tenant, id).await.map_err(missing),
        Some(wait) => match engine.wait(&caller.tenant, id, wait, None).await.map_err(missing)? {
            Waited::Now(view) => Ok(view),
            Waited::Unchanged => engine.job(&caller.tenant, id).await.map_err(missing),
        },
    }
}

/// Why an ended job has no result.
pub(crate) fn no_result(view: &JobView) -> Problem {
    match &view.job.error {
        Some(error) if view.job.status() == Status::Failed => {
            Problem::new(Code::JobFailed, format!("The job failed: {}", error.message))
                .with("error", serde_json::to_value(error).unwrap_or_default())
        }
        _ => Problem::new(Code::JobCancelled, "The job was cancelled."),
    }
}

/// Which events to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Only those after this `seq`.
    after: Option<u64>,
    /// At most so many, 1 to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<usize>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    data: Vec<EventBody>,
    /// Whether there were more at this moment: go on with `after` = the last `seq`.
    has_more: bool,
}

/// Read a job's history
///
/// Events are numbered 1, 2, 3 … without gaps, are on disk before they are shown, and never change.
///
/// With `Accept: text/event-stream` they are streamed as they come, from behind `Last-Event-ID` (or `after`), until the
/// job's last; 204 when that has been seen. Words of the stream itself have no `id`: `stream.trimmed` (output that is no
/// longer kept) and `stream.lagged` (come again: you are too slow).
#[utoipa::path(
    get, path = "/v1/jobs/{job_id}/events", tag = "jobs", operation_id = "get_job_events",
    params(JobPath, EventsQuery),
    responses(
        (status = 200, description = "Events in order.", content((EventPage = "application/json"), (String = "text/event-stream"))),
        (status = 204, description = "A stream was asked for, and nothing is left to come."),
    )
)]
pub(crate) async fn events(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(query): ApiQuery<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = path.id()?;
    if sse::is_wanted(&headers) {
        let after = sse::last_event_id(&headers)?.or(query.after).unwrap_or(0);
        let follow = app.engine().follow(&caller.tenant, id, after).await.map_err(|error| path.missing(error))?;
        let standing = app.standing(&headers, &caller);
        return Ok(if follow.is_over() { sse::nothing_left() } else { sse::answer(app, standing, id, follow) });
    }
    let limit = page_size("?limit", query.limit, 200, 1_000)?;
    let after = query.after.unwrap_or(0);
    let found = app.engine().events(&caller.tenant, id, after, limit + 1).await;
    let mut events = found.map_err(|error| path.missing(error))?;
    let has_more = events.len() > limit;
    events.truncate(limit);
    let data = events.iter().map(|event| EventBody::of(id, event)).collect();
    to_json(&EventPage { data, has_more })
}

/// All attempts of a job.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptList {
    data: Vec<AttemptBody>,
}

/// Read a job's attempts
#[utoipa::path(
    get, path = "/v1/jobs/{job_id}/attempts", tag = "jobs", operation_id = "get_job_attempts", params(JobPath),
    responses((status = 200, description = "Attempts in order.", body = AttemptList))
)]
pub(crate) async fn attempts(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
) -> Result<Response, Problem> {
    let found = app.engine().attempts(&caller.tenant, path.id()?).await.map_err(|error| path.missing(error))?;
    to_json(&AttemptList { data: found.into_iter().map(AttemptBody::from).collect() })
}

/// Which children to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChildrenQuery {
    /// Only those after this `index`.
    after: Option<u32>,
    /// At most so many, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<usize>,
}

/// A child, as its parent sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = Child)]
pub(crate) struct ChildBody {
    /// Its place among its siblings, from 0.
    index: u32,
    #[schema(value_type = String)]
    job_id: JobId,
    kind: String,
    #[schema(inline)]
    status: super::view::StatusBody,
    /// Why it failed.
    #[schema(value_type = Option<super::view::ErrorBody>)]
    error: Option<longhaul_core::JobError>,
}

/// A page of children.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChildPage {
    data: Vec<ChildBody>,
    /// Whether there are more: go on with `after` = the last `index`.
    has_more: bool,
}

/// List a job's children
#[utoipa::path(
    get, path = "/v1/jobs/{job_id}/children", tag = "jobs", operation_id = "get_job_children",
    params(JobPath, ChildrenQuery),
    responses((status = 200, description = "Children in their order, without their outputs.", body = ChildPage))
)]
pub(crate) async fn children(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<JobPath>,
    ApiQuery(query): ApiQuery<ChildrenQuery>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let limit = page_size("?limit", query.limit, 100, 200)?;
    let found = app.engine().children(&caller.tenant, id, query.after, limit + 1).await;
    let mut found = found.map_err(|error| path.missing(error))?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let body = |child: Child| ChildBody {
        index: child.index,
        job_id: child.job,
        kind: child.kind.to_string(),
        status: child.status.into(),
        error: child.error,
    };
    to_json(&ChildPage { data: found.into_iter().map(body).collect(), has_more })
}

/// Which jobs to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// Only in this state.
    #[param(inline, value_type = Option<super::view::StatusBody>)]
    status: Option<Status>,
    /// Only of this kind.
    kind: Option<String>,
    /// Only of this queue.
    queue: Option<String>,
    /// Only those submitted at or after.
    #[param(value_type = Option<String>, format = DateTime)]
    created_after: Option<Timestamp>,
    /// Only those submitted before.
    #[param(value_type = Option<String>, format = DateTime)]
    created_before: Option<Timestamp>,
    /// Only those with this pair: `metadata.key=value`; may be given more than once.
    #[serde(default)]
    metadata: std::collections::BTreeMap<String, String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many, 1 to 200.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<usize>,
}

/// A page of jobs.
#[derive(Serialize, ToSchema)]
pub(crate) struct JobPageBody<'a> {
    /// Newest first, without `input` and `output`. May hold fewer than asked for and still not be the last page.
    data: Vec<JobBody<'a>>,
    /// Whether there is another page.
    has_more: bool,
    /// Pass it as `cursor` to get that page.
    next_cursor: Option<String>,
}

/// List jobs
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "list_jobs", params(ListQuery),
    responses((status = 200, description = "Jobs, newest first.", body = JobPageBody))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Read(caller): Read,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let kind = name(query.kind.as_deref().map(KindName::new), "?kind", &mut errors);
    let queue = name(query.queue.as_deref().map(QueueName::new), "?queue", &mut errors);
    let before = query.cursor.as_deref().and_then(|cursor| {
        let id = read_cursor(cursor);
        if id.is_none() {
            errors.push(FieldError::new("?cursor", "is not a `next_cursor` of this server"));
        }
        id
    });
    let limit = match page_size("?limit", query.limit, 50, 200) {
        Ok(limit) => limit,
        Err(problem) => {
            errors.extend(problem.errors().iter().cloned());
            0
        }
    };
    if !errors.is_empty() {
        return Err(Problem::invalid(Code::InvalidRequest, errors));
    }
    let page = app
        .engine()
        .jobs(JobQuery {
            tenant: caller.tenant,
            status: query.status,
            kind,
            queue,
            created_after: query.created_after,
            created_before: query.created_before,
            metadata: query.metadata.into_iter().collect(),
            before,
            limit,
        })
        .await?;
    let now = app.engine().clock().now();
    let row = |job| JobBody::of(job, Standing { reason: job.status_reason(now), position: None });
    to_json(&JobPageBody {
        data: page.jobs.iter().map(row).collect(),
        has_more: page.next.is_some(),
        next_cursor: page.next.map(write_cursor),
    })
}

fn name<T>(
    given: Option<Result<T, longhaul_core::NameError>>,
    pointer: &str,
    errors: &mut Vec<FieldError>,
) -> Option<T> {
    match given? {
        Ok(name) => Some(name),
        Err(why) => {
            errors.push(FieldError::new(pointer, why.to_string()));
            None
        }
    }
}

fn page_size(pointer: &str, asked: Option<usize>, usual: usize, most: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(usual),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(limit) => Err(Problem::invalid_field(pointer, format!("is {limit}; it must be from 1 to {most}"))),
    }
}

/// Opaque to clients, so that it can change.
fn write_cursor(job: JobId) -> String {
    let mut bytes = vec![1];
    bytes.extend_from_slice(job.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(cursor: &str) -> Option<JobId> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    match bytes.split_first()? {
        (1, id) => Some(JobId::from_bytes(id.try_into().ok()?)),
        _ => None,
    }
}

pub(crate) fn to_json<T: Serialize>(body: &T) -> Result<Response, Problem> {
    match serde_json::to_vec(body) {
        Ok(json) => Ok(json_answer(StatusCode::OK, json)),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            Err(Problem::new(Code::Internal, "The answer could not be written."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longhaul_core::Ids;

    #[test]
    fn a_cursor_reads_back_and_rubbish_does_not() {
        let id = JobId::fresh(&Ids::seeded(3), Timestamp::from_micros(1));
        assert_eq!(read_cursor(&write_cursor(id)), Some(id));
        for rubbish in ["", "AA", "???", &write_cursor(id)[1..]] {
            assert_eq!(read_cursor(rubbish), None, "{rubbish}");
        }
    }
}
