//! Trees of jobs: what a request of them must look like, and what a parent gets of its children.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use longhaul_core::{CHILDREN_MOST, DEPTH_MOST, Job, JobId, KindName, KindSpec, OnChildFailure, Status, StepName};
use longhaul_store::{Child, Held, NewJob, StoreError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Check, Completed, Engine, Executor, Failure, FieldError, Finding, Flaw, JobContext, JobRequest, Rejected};

/// How many bytes of outputs a parent is given of its children, in all: an input above it would not be taken in by the
/// API either.
pub(crate) const OUTPUTS_MOST: usize = 32 * 1024 * 1024;

/// How many children are read at once.
const PAGE: usize = 500;

/// One job of a request, with its place in it.
pub(crate) struct Member {
    pub(crate) request: JobRequest,
    /// Which job of the request it is, or stands under.
    pub(crate) root: usize,
    /// Where it stands under that one: `/children/3`.
    pub(crate) below: String,
    /// Its parent, by place in the list.
    pub(crate) parent: Option<usize>,
    /// Its place among its siblings.
    pub(crate) index: u32,
    has_children: bool,
}

impl Member {
    /// What is wrong with it apart from its kind and input.
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        if !self.has_children {
            return Ok(());
        }
        let text = std::str::from_utf8(&self.request.input).unwrap_or_default().trim_start();
        if !text.starts_with('{') {
            let message = "must be an object: the outputs of the children are added to it as `children`";
            return Err(Flaw::Input(vec![FieldError { pointer: String::new(), message: message.into() }]));
        }
        if fields(text).is_some_and(|fields| fields.contains_key("children")) {
            let message = "cannot be given: it is where the outputs of the children are put";
            return Err(Flaw::Input(vec![FieldError { pointer: "/children".into(), message: message.into() }]));
        }
        Ok(())
    }
}

type Fields<'a> = std::collections::BTreeMap<std::borrow::Cow<'a, str>, &'a RawValue>;

fn fields(json: &str) -> Option<Fields<'_>> {
    serde_json::from_str(json).ok()
}

/// Lists the jobs of a request, parents before their children.
pub(crate) fn flatten(requests: Vec<JobRequest>) -> Result<Vec<Member>, Finding> {
    let mut members: Vec<Member> = Vec::with_capacity(requests.len());
    for (root, mut request) in requests.into_iter().enumerate() {
        let first = members.len();
        let children = std::mem::take(&mut request.children);
        let mut to_do = Vec::new();
        let has_children = !children.is_empty();
        // What the children are, decides what their failure means by default.
        request.on_child_failure = request.on_child_failure.or(has_children.then_some(OnChildFailure::Fail));
        members.push(Member { request, root, below: String::new(), parent: None, index: 0, has_children });
        to_do.push((first, children, 1_u8));
        // Generation by generation, so that a tree that is too deep is found before its leaves are looked at.
        let mut next = 0;
        while let Some((parent, children, depth)) = to_do.get_mut(next).map(std::mem::take) {
            next += 1;
            if children.is_empty() {
                continue;
            }
            let above = members.get(parent).map(|member| member.below.clone()).unwrap_or_default();
            let too_much = |message: String| Finding {
                index: root,
                below: above.clone(),
                flaw: Flaw::Field(FieldError { pointer: "/children".into(), message }),
            };
            if depth > DEPTH_MOST {
                return Err(too_much(format!("stand {depth} deep; a tree of jobs is at most {DEPTH_MOST} deep")));
            }
            if members.len() - first + children.len() > CHILDREN_MOST as usize + 1 {
                return Err(too_much(format!("are too many: a job has at most {CHILDREN_MOST} below it in all")));
            }
            for (mut request, index) in children.into_iter().zip(0_u32..) {
                let children = std::mem::take(&mut request.children);
                let has_children = !children.is_empty();
                request.on_child_failure = request.on_child_failure.or(has_children.then_some(OnChildFailure::Fail));
                to_do.push((members.len(), children, depth + 1));
                let below = format!("{above}/children/{index}");
                members.push(Member { request, root, below, parent: Some(parent), index, has_children });
            }
        }
    }
    Ok(members)
}

/// What a parent is shown of a child that gave no output.
#[derive(Serialize)]
struct Missing<'a> {
    job_id: Option<JobId>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

fn error_of(child: &Child) -> Option<ErrorBody<'_>> {
    child.error.as_ref().map(|error| ErrorBody { code: &error.code, message: &error.message })
}

impl Engine {
    /// Takes jobs in as children of a held job, and stores their ids as the output of `step`. Fenced, and done once: a
    /// repeat gets the ids of the first call.
    pub async fn spawn(&self, held: Held, step: StepName, children: Vec<JobRequest>) -> Result<Vec<JobId>, Rejected> {
        let view = self.inner.store.job(&held.tenant, held.job).await?;
        view.job.check_lease(held.token).map_err(StoreError::from)?;
        let own = view.job.spec.clone();
        let wrong = |pointer: &str, message: &str| {
            let flaw = Flaw::Field(FieldError { pointer: pointer.into(), message: message.into() });
            Rejected::Invalid(vec![Finding { index: 0, below: String::new(), flaw }])
        };
        if own.depth >= DEPTH_MOST {
            return Err(wrong("", &format!("stands too deep; a tree of jobs is at most {DEPTH_MOST} deep")));
        }
        let members = flatten(children).map_err(|finding| Rejected::Invalid(vec![finding]))?;
        if members.iter().any(|member| member.parent.is_some()) {
            return Err(wrong("/children", "cannot be given: a job that is taken in by one that runs comes alone"));
        }
        let kinds = self.kinds_known_anywhere(&own.tenant, &members).await?;
        // What is pinned in the blob store stays so until the store has answered, also when the caller does not wait.
        let engine = self.clone();
        let spawning = self.inner.tasks.spawn(async move {
            let (mut jobs, mut pins) = (Vec::with_capacity(members.len()), Vec::new());
            for (member, kind) in members.into_iter().zip(kinds) {
                let mut spec = engine.specify(&own.tenant, &member.request, &kind, engine.inner.clock.now());
                engine.place_below(&mut spec, &own);
                let stored = engine.inner.payloads.store(member.request.input).await?;
                jobs.push(NewJob { spec: Arc::new(spec), input: stored.payload.clone() });
                pins.push(stored);
            }
            let spawned = engine.inner.store.spawn(held, step, jobs).await;
            drop(pins);
            spawned
        });
        Ok(spawning.await.map_err(|error| StoreError::Unavailable(error.to_string()))??)
    }

    /// All children of a job, in the order of their places.
    pub(crate) async fn all_children(&self, job: &Job) -> Result<Vec<Child>, Failure> {
        let mut all: Vec<Child> = Vec::new();
        loop {
            let after = all.last().map(|child| child.index);
            let page = self.inner.store.children(&job.spec.tenant, job.spec.id, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// The children that were submitted with a job, as they were asked for, to ask for them again.
    pub(crate) async fn requests_below(&self, job: &Job) -> Result<Vec<JobRequest>, StoreError> {
        if job.children.submitted == 0 {
            return Ok(Vec::new());
        }
        let tenant = &job.spec.tenant;
        let (mut requests, mut after) = (Vec::new(), None);
        loop {
            let page = self.inner.store.children(tenant, job.spec.id, after, PAGE).await?;
            let is_last = page.len() < PAGE || page.last().is_none_or(|last| last.index + 1 >= job.children.submitted);
            for child in page.into_iter().take_while(|child| child.index < job.children.submitted) {
                after = Some(child.index);
                let view = self.inner.store.job(tenant, child.job).await?;
                let spec = &view.job.spec;
                requests.push(JobRequest {
                    queue: Some(spec.queue.clone()),
                    priority: spec.priority,
                    max_attempts: Some(spec.max_attempts),
                    metadata: spec.metadata.clone(),
                    retention: Some(spec.retention),
                    retry_of: Some(spec.id),
                    id: None,
                    children: Box::pin(self.requests_below(&view.job)).await?,
                    on_child_failure: Some(spec.on_child_failure),
                    ..JobRequest::of(spec.kind.as_str(), self.inner.payloads.read(&view.input).await?)
                });
            }
            if is_last {
                return Ok(requests);
            }
        }
    }

    /// The output of each of the first `count` places; none where there is none.
    async fn outputs_of(&self, children: &[Child], count: u32) -> Result<Vec<Option<Bytes>>, Failure> {
        let mut outputs = vec![None; count as usize];
        let mut size = 0;
        for child in children {
            let (Some(place), Some(output)) = (outputs.get_mut(child.index as usize), &child.output) else { continue };
            size += usize::try_from(output.size()).unwrap_or(usize::MAX / 2);
            if size > OUTPUTS_MOST {
                let message = format!("the outputs of the children are more than {} MiB", OUTPUTS_MOST >> 20);
                return Err(Failure::permanent("children_too_large", message));
            }
            *place = Some(self.inner.payloads.read(output).await?);
        }
        Ok(outputs)
    }

    /// A job's input, with the outputs of the children that were submitted with it as `children`, in their order; and
    /// with `child_errors` beside it, when some have given none.
    pub(crate) async fn input_with_children(&self, job: &Job, input: Bytes) -> Result<Bytes, Failure> {
        let count = job.children.submitted;
        if count == 0 {
            return Ok(input);
        }
        let mut children = self.all_children(job).await?;
        children.retain(|child| child.index < count);
        let outputs = self.outputs_of(&children, count).await?;
        let mut errors: Vec<Option<Missing<'_>>> = Vec::with_capacity(outputs.len());
        for (output, index) in outputs.iter().zip(0_u32..) {
            let child = children.binary_search_by_key(&index, |child| child.index).ok().map(|at| &children[at]);
            errors.push(match (output, child) {
                (Some(_), _) => None,
                (None, Some(child)) => {
                    Some(Missing { job_id: Some(child.job), status: child.status.as_str(), error: error_of(child) })
                }
                (None, None) => Some(Missing { job_id: None, status: "erased", error: None }),
            });
        }
        let text = std::str::from_utf8(&input).unwrap_or_default().trim();
        let own = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().trim();
        let size: usize = outputs.iter().flatten().map(|output| output.len() + 1).sum();
        let mut with = String::with_capacity(own.len() + size + 64);
        with.push('{');
        if !own.is_empty() {
            with.push_str(own);
            with.push(',');
        }
        with.push_str("\"children\":");
        push_array(
            &mut with,
            outputs
                .iter()
                .map(|output| output.as_deref().and_then(|json| std::str::from_utf8(json).ok()).unwrap_or("null")),
        );
        if errors.iter().any(Option::is_some) {
            let errors =
                serde_json::to_string(&errors).map_err(|error| Failure::permanent("internal", error.to_string()))?;
            // Writing to a string does not fail.
            let _ = write!(with, ",\"child_errors\":{errors}");
        }
        with.push('}');
        Ok(with.into())
    }
}

fn push_array<'a>(text: &mut String, items: impl Iterator<Item = &'a str>) {
    text.push('[');
    for (number, item) in items.enumerate() {
        if number > 0 {
            text.push(',');
        }
        text.push_str(item);
    }
    text.push(']');
}

/// The kind `flow`: ends with what its children have come to.
pub(crate) struct Flow(KindSpec);

impl Flow {
    pub(crate) fn new() -> Option<Self> {
        let description = "Runs its children and ends with what they have come to: \
                           `{results:[{job_id,status,output?,error?}]}`, in the order of the request.";
        Some(Self(KindSpec {
            description: Some(description.into()),
            input_schema: Some(serde_json::json!({ "type": "object" })),
            ..KindSpec::named(KindName::new("flow").ok()?)
        }))
    }
}

#[derive(Serialize)]
struct FlowOutput<'a> {
    results: Vec<FlowResult<'a>>,
}

#[derive(Serialize)]
struct FlowResult<'a> {
    job_id: JobId,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

impl Check for Flow {
    fn check(&self, input: &str) -> Vec<FieldError> {
        if input.trim_start().starts_with('{') {
            return Vec::new();
        }
        vec![FieldError { pointer: String::new(), message: "must be an object, which a flow makes nothing of".into() }]
    }
}

#[async_trait::async_trait]
impl Executor for Flow {
    fn kind(&self) -> &KindSpec {
        &self.0
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    fn takes_child_outputs(&self) -> bool {
        false
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let children = job.wait_for_children().await?;
        let count = children.last().map_or(0, |child| child.index + 1);
        let outputs = job.engine().outputs_of(&children, count).await?;
        let results = children.iter().map(|child| {
            let output = outputs.get(child.index as usize).and_then(Option::as_deref);
            let output = output.map(serde_json::from_slice).transpose();
            let output = output.map_err(|error| Failure::permanent("output_unreadable", error.to_string()))?;
            Ok(FlowResult { job_id: child.job, status: child.status, output, error: error_of(child) })
        });
        Completed::json(&FlowOutput { results: results.collect::<Result<_, Failure>>()? })
    }
}
