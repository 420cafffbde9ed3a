//! Output while a worker makes it, and giving a lease up to wait.

use axum::{extract::State, response::Response};
use longhaul_core::{OutputData, StepName, Wait};
use longhaul_engine::{Chunk, Completion};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{
    WorkerAnswer,
    attempt::{ReportedUsage, end},
    lease::Lease,
    refused,
};
use crate::{
    app::App,
    auth::Worker,
    json::{ApiJson, ApiPath},
    problem::{Code, Problem},
    routes::jobs::{JobPath, read::to_json},
};

/// How large a chunk can be, in bytes: readers are shown it whole.
const CHUNK_MOST: usize = 64 * 1024;

/// How long a question can be, in bytes.
const PROMPT_MOST: usize = 8 * 1024;

/// A piece of the output.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputChunk {
    /// 1, 2, 3 … within the lease.
    #[schema(minimum = 1)]
    chunk_seq: u64,
    /// A text, which goes on where the one before ended; or any other JSON, the next item of a list. At most 64 KiB.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

/// Which chunk was stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChunkStored {
    job_id: String,
    chunk_seq: u64,
}

/// Stream a piece of the output
///
/// Whoever follows the job sees it as `job.output.delta`, once it is on disk. A repeat is ignored; a gap is 409
/// `chunk_gap`. Numbers begin at 1 with every lease. What an attempt streams outside of a finished step is void when
/// another attempt begins.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/output", tag = "worker", operation_id = "stream_output",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = OutputChunk,
    responses((status = 200, description = "It is on disk.", body = ChunkStored))
)]
pub(crate) async fn output(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(OutputChunk { chunk_seq, data }): ApiJson<OutputChunk>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    if chunk_seq == 0 {
        return Err(Problem::invalid_field("/chunk_seq", "must be at least 1"));
    }
    if data.get().len() > CHUNK_MOST {
        let message = format!("is {} bytes long; a chunk has at most {CHUNK_MOST}", data.get().len());
        return Err(Problem::invalid_field("/data", message));
    }
    let data = output_data(data)?;
    match app.engine().take_chunk(held, chunk_seq, data).await.map_err(|error| refused(&path, error))? {
        Chunk::Stored => to_json(&ChunkStored { job_id: path.job_id, chunk_seq }),
        Chunk::Gap { expected } => Err(Problem::new(
            Code::ChunkGap,
            format!("Chunk {chunk_seq} came before chunk {expected}. Send the chunks from {expected} on."),
        )
        .with("expected_chunk_seq", expected)),
    }
}

/// The piece, which readers must be able to read: JSON can be written with half a character, or a number without end.
fn output_data(data: Box<RawValue>) -> Result<OutputData, Problem> {
    let unreadable = |error: serde_json::Error| {
        let text = error.to_string();
        let why = text.split(" at line ").next().unwrap_or_default();
        let hint = if data.get().starts_with('"') { "; send whole characters" } else { "" };
        Problem::invalid_field("/data", format!("cannot be read ({why}){hint}"))
    };
    if data.get().starts_with('"') {
        return serde_json::from_str(data.get()).map(OutputData::Text).map_err(unreadable);
    }
    serde_json::from_str::<Value>(data.get()).map_err(unreadable)?;
    Ok(OutputData::Items(vec![data.into()]))
}

/// What to wait for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitFor {
    /// `children` or `input`.
    r#for: WaitKind,
    /// For `input`: the step that the answer becomes. A later claim brings it with the others.
    #[schema(max_length = 200)]
    step: Option<String>,
    /// For `input`: the question, for a person.
    prompt: Option<String>,
    /// What was spent beyond what was told with steps.
    #[serde(default)]
    usage: ReportedUsage,
}

/// What a job can wait for without a worker.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitKind {
    /// The end of all its children.
    Children,
    /// A person's answer.
    Input,
}

/// Give a lease up until something comes
///
/// No worker is held meanwhile. When it has come, the same attempt is claimed again; when it is there already, that is at
/// once.
#[utoipa::path(
    post, path = "/v1/worker/jobs/{job_id}/wait", tag = "worker", operation_id = "wait",
    params(JobPath, ("Longhaul-Lease" = String, Header, description = "The `lease_token` of the claim.")),
    request_body = WaitFor,
    responses((status = 200, description = "The lease is given up.", body = WorkerAnswer))
)]
pub(crate) async fn wait(
    State(app): State<App>,
    Worker(caller): Worker,
    ApiPath(path): ApiPath<JobPath>,
    lease: Lease,
    ApiJson(body): ApiJson<WaitFor>,
) -> Result<Response, Problem> {
    let held = lease.over(&caller.tenant, path.id()?);
    let wait = match (body.r#for, body.step) {
        (WaitKind::Children, None) if body.prompt.is_none() => Wait::Children,
        (WaitKind::Children, _) => {
            return Err(Problem::invalid_field("/for", "is `children`, which takes neither `step` nor `prompt`"));
        }
        (WaitKind::Input, None) => return Err(Problem::invalid_field("/step", "is required to wait for `input`")),
        (WaitKind::Input, Some(step)) => {
            let step = StepName::new(&step).map_err(|why| Problem::invalid_field("/step", why.to_string()))?;
            if body.prompt.as_ref().is_some_and(|prompt| prompt.len() > PROMPT_MOST) {
                return Err(Problem::invalid_field("/prompt", format!("is longer than {PROMPT_MOST} bytes")));
            }
            Wait::Input { step, prompt: body.prompt }
        }
    };
    to_json(&end(&app, &path, held, Completion::Waiting(wait), body.usage).await?)
}
