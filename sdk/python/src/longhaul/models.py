"""What the server answers with. Made by ``scripts/generate_models.py`` from ``openapi.json``: do not edit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Keeps fields that it does not know, so that a newer server can be talked to."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, protected_namespaces=())


JsonValue: TypeAlias = Any
"""Any JSON."""


class Alert(Model):
    """A condition."""

    bound: float
    """What it should keep to, in `unit`."""
    name: Literal["error_rate", "p95", "fallback_rate", "hit_rate", "breaker_open", "oldest_job"]
    state: Literal["ok", "pending", "firing", "no_data"]
    """How a condition stands."""
    subject: str | None = None
    """What is worst off: `jobs`, `model smart`, `breaker smart/first`, `queue ocr`. Null when there is nothing to judge."""
    unit: Literal["ratio", "ms"]
    value: float | None = None
    """Its figure, in `unit`."""


class AnalysisReceipt(Model):
    """What an analysis is answered with."""

    jobId: str
    status: str
    """`pending`, `in_progress`, `completed` or `failed`."""


class AnalysisStatus(Model):
    """Where an analysis stands."""

    error: dict[str, Any] | None = None
    """Why it failed; `error.code` is `cancelled` when somebody cancelled it."""
    jobId: str
    progress: dict[str, Any] | None = None
    status: str
    """`pending`, `in_progress`, `completed` or `failed`."""


class AnthropicErrorDetail(Model):
    """What is wrong."""

    message: str
    """For a person."""
    type: str
    """The class of the error."""


class AnthropicError(Model):
    """An error, as Anthropic writes it."""

    error: AnthropicErrorDetail
    request_id: str
    """Names the request."""
    type: str
    """Always `error`."""


class ApiKey(Model):
    """A key, without its secret."""

    created_at: datetime
    expires_at: datetime | None = None
    key: str | None = None
    """The key itself: shown once, when it is made."""
    key_id: str
    name: str
    """What a person called it."""
    revoked_at: datetime | None = None
    scopes: list[str]
    """What it allows: `jobs:read`, `jobs:write`, `llm`, `worker`, `worker:<queue>`, `admin`."""
    tenant: str
    """Whose data it opens."""


class ProviderError(Model):
    """What a provider answered."""

    http_status: int | None = None
    name: str
    request_id: str | None = None


class JobError(Model):
    """Why a job or an attempt failed."""

    attempt: int
    """The attempt that failed so."""
    code: str
    """A stable word for programs."""
    message: str
    """A sentence for people."""
    provider: ProviderError | None = None
    """What the provider answered, when one was called."""
    retryable: bool
    """Whether another attempt may succeed."""


class Attempt(Model):
    """One try at a job."""

    ambiguous: bool
    """Whether it cannot be known if its last outside call took effect."""
    attempt: int
    """From 1. An attempt that was given back unfinished goes on under its number."""
    duration_ms: int | None = None
    ended_at: datetime | None = None
    """Null while it runs."""
    error: JobError | None = None
    outcome: str
    """`running`, `succeeded`, `failed`, `crashed`, `released`, `parked`, `cancelled` or `deadline_exceeded`."""
    started_at: datetime
    worker: str


class AttemptList(Model):
    """All attempts of a job."""

    data: list[Attempt]


class Backoff(Model):
    """Full-jitter exponential backoff."""

    initial_ms: int
    """The most that the first wait can be."""
    max_ms: int
    """The most that any wait can be."""


class BeginSession(Model):
    """The key to trade."""

    key: str
    """An API key: `lh_<id>_<secret>`."""


class ReportedUsage(Model):
    """What was spent. The figures of a job add up, over all of its attempts."""

    cost_microusd: int | None = None
    """Millionths of a US dollar."""
    input_tokens: int | None = None
    """Tokens read."""
    output_tokens: int | None = None
    """Tokens written."""


class Checkpoint(Model):
    """A step's output."""

    output: JsonValue
    """What it gave."""
    step: str
    """Names the step within its job, the same on every attempt: 1 to 200 letters, digits and `_ - . : /`."""
    usage: ReportedUsage | None = None
    """What was spent on it."""


class Child(Model):
    """A child, as its parent sees it."""

    error: JobError | None = None
    """Why it failed."""
    index: int
    """Its place among its siblings, from 0."""
    job_id: str
    kind: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""


class ChildPage(Model):
    """A page of children."""

    data: list[Child]
    has_more: bool
    """Whether there are more: go on with `after` = the last `index`."""


class ChunkStored(Model):
    """Which chunk was stored."""

    chunk_seq: int
    job_id: str


class ClaimJobs(Model):
    """Which jobs a worker would run."""

    kinds: list[str]
    """The kinds that it serves; each is registered."""
    lease_s: int | None = None
    """How long each lease holds, from the claim and from each heartbeat on, in seconds."""
    max: int | None = None
    """At most so many jobs."""
    queues: list[str] | None = None
    """Only jobs of these queues. Without it: of every queue that the key may serve."""
    wait_s: int | None = None
    """How long to wait for the first one, in seconds."""
    worker_id: str
    """Names the worker in the history of attempts: a host and a process, say."""


class ClaimedJob(Model):
    """A job under a lease."""

    attempt: int
    """The number of this attempt, from 1."""
    created_at: datetime
    deadline_at: datetime | None = None
    """When the job has to be over, if it has to."""
    job_id: str
    kind: str
    lease_expires_at: datetime
    lease_token: str
    """What the header `Longhaul-Lease` of every later call for this job carries."""
    max_attempts: int
    """How many attempts may fail."""
    metadata: dict[str, str]
    """The submitter's pairs."""
    queue: str
    timeout_s: int | None = None
    """How long this attempt may take, in seconds, when its kind says so."""
    traceparent: str | None = None
    """The trace that the worker's part of the work belongs to, as the header of that name, when there is one."""


class ClaimedJobs(Model):
    """Jobs that the worker holds now."""

    jobs: list[ClaimedJob]
    """At least one."""


class ResultReport(Model):
    """What a result says of itself; it is shown with the job."""

    cached: bool | None = None
    """It came from a cache of the worker's."""
    degraded: bool | None = None
    """It is not what the worker gives when all is well."""
    model: str | None = None
    """The model that gave it, in 1 to 200 characters."""
    usage: ReportedUsage | None = None
    """What was spent beyond what was told with steps."""


class Complete(Model):
    """A result."""

    output: JsonValue
    """What the job gives: any JSON that fits the schema its kind was registered with."""
    report: ResultReport | None = None
    """What the result says of itself."""


class CompleteOne(Model):
    """One of many results."""

    job_id: str
    """The job."""
    lease_token: str
    """The `lease_token` of its claim."""
    output: JsonValue
    """What it gives."""
    report: ResultReport | None = None
    """What the result says of itself."""


class CompleteMany(Model):
    """Results to hand in together."""

    jobs: list[CompleteOne]
    """1 to 1,000 results."""


class FieldError(Model):
    """One field that cannot be used, and why."""

    message: str
    """What is wrong there, as a sentence for a person."""
    pointer: str
    """Where: a JSON Pointer (RFC 6901) into the body, `?name` for a query parameter, `:name` for a part of the path. The empty string is the whole body."""


ProblemCode: TypeAlias = str
"""A word from the closed list at /docs/errors."""


class Problem(Model):
    """An answer that says no (RFC 9457)."""

    code: ProblemCode
    """For programs; the list is closed."""
    detail: str
    """What is wrong with this request, for a person."""
    errors: list[FieldError] | None = None
    """Each field that cannot be used."""
    instance: str | None = None
    """The path that was asked for."""
    request_id: str | None = None
    """Names the request, in the answer and in the server's log."""
    retryable: bool
    """Whether the same request may succeed later."""
    status: int
    """The HTTP status."""
    title: str
    """The code in words."""
    type: str
    """Where the code is documented."""


class WorkerAnswer(Model):
    """Where a job stands after a worker's call."""

    job_id: str
    """The job."""
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""


CompletedOne: TypeAlias = WorkerAnswer | dict[str, Any]
"""What became of one of many."""


class CompletedMany(Model):
    """What became of each."""

    results: list[CompletedOne]
    """One for each result, in the order of the request."""


class CreateAnalysis(Model):
    """A text or a document to analyse."""

    analyses: list[JsonValue] | None = None
    """`summary`, `keywords`, `sentiment`, `entities`, `language`, `{"classify":{"labels":[…]}}`, `{"extract":{"schema":{…}}}`. Without it: summary, keywords and sentiment."""
    documentId: str | None = None
    """An uploaded document; or else `text`."""
    model: str | None = None
    """A model of the configuration."""
    onFailure: str | None = None
    """`partial` (the default) or `fail`."""
    text: str | None = None
    """The text; or else `documentId`."""


class CreateJob(Model):
    """A job to submit."""

    children: list[CreateJob] | None = None
    """Jobs that come first: it runs when they have ended, with their outputs as `input.children`. They may have children of their own, eight deep and 10,000 in all."""
    deadline_s: float | None = None
    """Over within so many seconds from now, waiting and retries included; or failed."""
    delay_s: float | None = None
    """Not before so many seconds from now; instead of `run_at`."""
    input: JsonValue
    """With what: any JSON that the kind's schema takes."""
    kind: str
    """What to do: one of `GET /v1/kinds`."""
    max_attempts: int | None = None
    """How many attempts may fail before the job does."""
    metadata: dict[str, str] | None = None
    """Up to 16 pairs to find the job by: keys of up to 64 characters, values of up to 512."""
    on_child_failure: Literal["fail", "partial"] | None = None
    """What it means when a child does not succeed: `fail` ends this job too, at once; `partial` lets it go on with what there is."""
    priority: int | None = None
    """−100 to 100, higher first."""
    queue: str | None = None
    """Where to wait. Without one: where the kind says."""
    retention_s: int | None = None
    """How many seconds after its end its payloads are kept."""
    run_at: datetime | None = None
    """Not before this time."""


class CreateJobs(Model):
    """Jobs to submit together."""

    jobs: list[CreateJob]
    """1 to 1,000 jobs."""


class CreateKey(Model):
    """A key to make."""

    expires_in_s: int | None = None
    """After how many seconds it stops working."""
    name: str
    """What to call it."""
    scopes: list[str]
    """What it shall allow: `jobs:read`, `jobs:write`, `llm`, `worker`, `worker:<queue>`, `admin`."""
    tenant: str | None = None
    """Whose data it shall open. Only an admin of the tenant `default` may name another than its own."""


class Document(Model):
    """A document and what was read out of it."""

    bytes: int
    chunks: JsonValue
    """Its chunks; null until the job has made them."""
    content_type: str | None = None
    """What the client said it is."""
    created_at: datetime
    document_id: str
    file_name: str
    """What the client called it."""
    job_id: str
    """The job that reads it."""
    sha256: str
    text: JsonValue
    """Its text, page by page; null until the job has read it."""


class Urls(Model):
    """Where to go from here."""

    cancel: str
    """Where to ask it to stop."""
    events: str
    """Its history."""
    result: str
    """Its output alone."""
    self_: str = Field(alias="self")
    """The job."""


class DocumentReceipt(Model):
    """What an upload is answered with."""

    document_id: str
    job_id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    urls: Urls


class Event(Model):
    """One line of a job's history."""

    attempt: int
    """The attempt it belongs to; 0 before the first."""
    data: dict[str, Any]
    """What depends on the type."""
    job_id: str
    seq: int
    """1, 2, 3 … per job, without gaps."""
    time: datetime
    type: str
    """`job.queued`, `job.running`, `job.progress`, `job.step`, `job.log`, `job.layer`, `job.waiting`, `job.output.delta`, `job.output.reset`, `job.succeeded`, `job.failed` or `job.cancelled`."""


class EventPage(Model):
    """A page of events."""

    data: list[Event]
    has_more: bool
    """Whether there were more at this moment: go on with `after` = the last `seq`."""


class WorkerError(Model):
    """What went wrong."""

    code: str
    """A stable word for programs."""
    message: str
    """A sentence for people."""


class Fail(Model):
    """A failure."""

    ambiguous: bool | None = None
    """Whether nobody knows if the last call outside took effect: a time-out cut it off, say. The attempt keeps it."""
    error: WorkerError
    retry_after_ms: int | None = None
    """Not before so many milliseconds from now, instead of the kind's backoff."""
    retryable: bool | None = None
    """Whether another attempt may succeed."""
    usage: ReportedUsage | None = None
    """What was spent beyond what was told with steps."""


class FinishedChild(Model):
    """A child with what it gave."""

    error: JobError | None = None
    """Why it failed."""
    index: int
    """Its place among its siblings, from 0."""
    job_id: str
    kind: str
    output: JsonValue = None
    """What it gave, once it has succeeded."""
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""


class FinishedChildren(Model):
    """A page of children with what they gave."""

    children: list[FinishedChild]
    has_more: bool
    """Whether there are more: go on with `after` = the last `index`."""


class ProgressReport(Model):
    """How far the work is."""

    fraction: float | None = None
    """From 0 to 1."""
    message: str | None = None
    """In words."""


class Heartbeat(Model):
    """A sign of life."""

    progress: ProgressReport | None = None
    """How far the work is, when it can tell."""


class HeartbeatAnswer(Model):
    """What a sign of life is answered with."""

    cancel_requested: bool
    """Whether the job shall stop: release it. No result is taken any more."""
    drain: bool
    """Whether the server is stopping: finish what is under way, and claim again later."""
    lease_expires_at: datetime
    """The lease holds until then, unless it is renewed again."""


class Partial(Model):
    """What a job has given of its output so far."""

    cut: bool
    """There is more than 8 MiB: this is the beginning."""
    items: list[JsonValue] | None = None
    """When it gives items."""
    text: str | None = None
    """When it gives text."""
    through_seq: int
    """The `seq` of the last event in it."""


class Usage(Model):
    """What all attempts have spent so far, however they ended."""

    cost_microusd: int
    """Millionths of a US dollar."""
    input_tokens: int
    """Tokens read."""
    output_tokens: int
    """Tokens written."""


class Rate(Model):
    """At most `count` starts in any `per_s` seconds."""

    count: int
    per_s: int
    """Up to a day."""


class WaitingFor(Model):
    """Why a job is not running."""

    ahead: int | None = None
    """How many stand before it, when there are fewer than 1,000."""
    key: str | None = None
    """Where the value stands in its input that it has in common with those it is limited together with."""
    kind: str | None = None
    """The kind whose limit leaves no room."""
    limit: int | None = None
    """How many of them may run."""
    message: str
    """The same for a person."""
    pending: int | None = None
    """How many children have not ended."""
    prompt: str | None = None
    """What is asked."""
    queue: str | None = None
    rate: Rate | None = None
    """How many of them may start in a time, when as many have started."""
    running: int | None = None
    """How many of the queue, or of those it is limited together with, run, when as many run as may."""
    step: str | None = None
    """The step that an answer becomes."""
    until: datetime | None = None
    """Until when, when that is known."""
    what: str
    """`time`, `backoff`, `provider`, `queue_paused`, `queue_full`, `kind_full`, `worker`, `turn`, `children` or `input`."""


class JobChildren(Model):
    """How a job's children stand."""

    failed: int
    """Cancelled ones included."""
    succeeded: int
    total: int
    """How many there are."""

class JobProgress(Model):
    """How far a job is."""

    fraction: float | None = None
    """0 to 1, when the work can tell."""
    message: str | None = None
    """In words."""

class Job(Model):
    """A job."""

    attempt: int
    """The number of the current or last attempt; 0 before the first."""
    cached: bool
    """Whether the answer came from a cache."""
    cancel_requested_at: datetime | None = None
    children: JobChildren
    """How a job's children stand."""
    created_at: datetime
    deadline_at: datetime | None = None
    degraded: bool
    """Whether the answer did not come from the first target."""
    error: JobError | None
    """Why it failed, or why its last attempt did."""
    expires_at: datetime | None = None
    """When its payloads and events go."""
    finished_at: datetime | None = None
    input: JsonValue = None
    """What it was given. Not in lists."""
    job_id: str
    """Names the job."""
    kind: str
    """What the job does."""
    last_event_seq: int
    """The number of its newest event."""
    max_attempts: int
    metadata: dict[str, str]
    """The submitter's pairs."""
    model: str | None = None
    """The model that answered."""
    object: str
    """Always `job`."""
    output: JsonValue = None
    """What it gave; null unless it succeeded. Not in lists."""
    parent_id: str | None = None
    """The job that it is a part of."""
    partial: Partial | None = None
    """What it has given so far, when it streams its output; kept when it fails, null once it has succeeded. Not in lists."""
    priority: int
    """−100 to 100, higher first."""
    progress: JobProgress
    """How far a job is."""
    queue: str
    """Where it waits."""
    queue_position: int | None = None
    """How many jobs stand before it in its lane; exact to 1,000, then null."""
    retry_of: str | None = None
    """The job that this one is another try of."""
    run_at: datetime | None = None
    started_at: datetime | None = None
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    status_reason: str | None
    """Why it stands there; null once it has ended."""
    urls: Urls
    usage: Usage
    version: int
    """Counts the changes; the ETag."""
    waiting_for: WaitingFor | None = None
    """Why it is not running, in words and figures; null when it runs or has ended. Not in lists."""


class JobPageBody(Model):
    """A page of jobs."""

    data: list[Job]
    """Newest first, without `input` and `output`. May hold fewer than asked for and still not be the last page."""
    has_more: bool
    """Whether there is another page."""
    next_cursor: str | None = None
    """Pass it as `cursor` to get that page."""


class KeyList(Model):
    """All keys."""

    data: list[ApiKey]


class Limit(Model):
    """How many jobs of a kind run at once and start in a time, whoever runs them."""

    concurrency: int | None = None
    """How many of them run at once."""
    key: str | None = None
    """JSON Pointer into the input: those jobs are limited together that have the same value there. Without one, all jobs of the kind are."""
    rate: Rate | None = None
    """How many attempts of them start in a time."""


class Kind(Model):
    """A kind of job."""

    backoff: Backoff | None = None
    built_in: bool
    """Whether the server runs it itself; else workers do."""
    description: str | None = None
    """What it does."""
    input_schema: dict[str, Any] | None = None
    """JSON Schema of its input; null: any JSON."""
    kind: str
    """Its name: what `kind` of a submit says."""
    limits: list[Limit]
    """How many of its jobs run at once and start in a time."""
    max_attempts: int | None = None
    output_schema: dict[str, Any] | None = None
    """JSON Schema of its output."""
    queue: str
    """Where its jobs wait unless they say otherwise."""
    timeout_s: int | None = None
    """How long one attempt may take, in seconds."""


class KindList(Model):
    """All kinds."""

    data: list[Kind]
    """The built-in ones first."""


class ModelFiguresFirstTokenMs(Model):
    """ModelFiguresFirstTokenMs."""

    count: int
    """How many were measured."""
    p50: float
    p95: float
    p99: float

class ModelFiguresLatencyMs(Model):
    """ModelFiguresLatencyMs."""

    count: int
    """How many were measured."""
    p50: float
    p95: float
    p99: float

class ModelFigures(Model):
    """What a model did in the window: calls of clients and of jobs alike."""

    breakers: list[dict[str, Any]]
    """How the breakers of its targets stand."""
    cache_lookups: int
    """Calls that looked into the cache."""
    calls: int
    """Calls that ended by themselves."""
    calls_per_s: float
    cost_microusd: int
    error_rate: float | None = None
    """Of the calls, the part that failed; null when there were none."""
    failed: int
    """Of those: without an answer, though what was asked was right."""
    fallback_rate: float | None = None
    """Of the calls, the part that another than the first target answered; null when there were none."""
    first_token_ms: ModelFiguresFirstTokenMs
    hit_rate: float | None = None
    """Of the calls that looked into the cache, the part that it answered; null when none did."""
    in_flight: int
    """Attempts at providers that are under way."""
    input_tokens: int
    latency_ms: ModelFiguresLatencyMs
    layers: list[dict[str, Any]]
    """What its layers decided, and how often."""
    model: str
    """Its name."""
    output_tokens: int
    refused: int
    """Of those: without an answer, because of what was asked. No error of the model's."""
    retries: int
    """Attempts after the first."""


class OpenAiErrorDetail(Model):
    """What is wrong."""

    code: str | None
    """For programs."""
    message: str
    """For a person."""
    param: str | None
    """The field that is to blame."""
    type: str
    """The class of the error."""


class OpenAiError(Model):
    """An error, as OpenAI writes it."""

    error: OpenAiErrorDetail


class OutputChunk(Model):
    """A piece of the output."""

    chunk_seq: int
    """1, 2, 3 … within the lease."""
    data: JsonValue
    """A text, which goes on where the one before ended; or any other JSON, the next item of a list. At most 64 KiB."""


class Purged(Model):
    """How many answers were forgotten."""

    purged: int
    """Cached answers that are gone."""


class Queue(Model):
    """A queue."""

    concurrency: int | None = None
    """How many of its jobs may run at once; null: as many as are claimed."""
    ended_per_s: float
    """Jobs that ended, however."""
    name: str
    oldest_age_ms: int | None = None
    """How long the job that goes next has been ready; null when none is. Where priorities differ an older one may stand behind it."""
    paused: bool
    """Whether it gives out no jobs."""
    queued: int
    """How many wait, for whatever reason."""
    running: int
    """How many run."""
    submitted_per_s: float
    """Jobs taken in, of the last minute, by this server."""
    waiting: int
    """How many wait without a worker, for their children or for input."""


class QueueList(Model):
    """All queues."""

    data: list[Queue]


class Receipt(Model):
    """What a submit is answered with."""

    job_id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    urls: Urls


class Receipts(Model):
    """What a bulk submit is answered with."""

    jobs: list[Receipt]
    """One for each job, in the order of the request."""


class RegisterKind(Model):
    """A kind that workers serve."""

    backoff: Backoff | None = None
    description: str | None = None
    """What it does."""
    input_schema: dict[str, Any] | None = None
    """JSON Schema that inputs must fit before a job is accepted."""
    limits: list[Limit] | None = None
    """At most two: one over all of the kind's jobs, and one by key."""
    max_attempts: int | None = None
    """How many attempts may fail, 1 to 100."""
    output_schema: dict[str, Any] | None = None
    """JSON Schema of outputs."""
    queue: str | None = None
    """Where its jobs wait unless they say otherwise."""
    timeout_s: int | None = None
    """How long one attempt may take, in seconds."""


class Release(Model):
    """What is to be known of an attempt that is given back."""

    ambiguous: bool | None = None
    """Whether nobody knows if the last call outside took effect: a shutdown cut it off, say. The attempt keeps it."""
    usage: ReportedUsage | None = None
    """What was spent beyond what was told with steps."""


class Session(Model):
    """Who asks."""

    keyed: bool
    """Whether a key stands behind it; else the server has none and answers this machine alone."""
    scopes: list[str]
    """What it may."""
    tenant: str
    """Whose jobs it sees."""


class SetBreaker(Model):
    """What to do with a breaker."""

    state: Literal["auto", "open", "closed", "half_open"]
    """What a hand does to a breaker."""


class SpawnChildren(Model):
    """Jobs to take in as children."""

    children: list[CreateJob]
    """1 to 1,000 jobs, without children of their own."""
    step: str
    """Names the call within its job, the same on every attempt: 1 to 200 letters, digits and `_ - . : /`. The ids of the children are the output of this step."""


class SpawnedChildren(Model):
    """The children."""

    children: list[str]
    """Their ids, in the order of the request; of a repeat: those of the first call."""
    job_id: str
    """The job that has them."""


class StatsJobs(Model):
    """StatsJobs."""

    cancelled: int
    cost_microusd: int
    ended_per_s: float
    error_rate: float | None = None
    """Of those that ended by themselves, the part that failed; null when none did."""
    failed: int
    fallback_rate: float | None = None
    """Of those that succeeded, the part that did not come from the first target; null when none did."""
    hit_rate: float | None = None
    """Of those that succeeded, the part that came from a cache; null when none did."""
    input_tokens: int
    output_tokens: int
    queued: int
    """Jobs that wait, of all queues."""
    running: int
    """Jobs that run."""
    submitted: int
    submitted_per_s: float
    succeeded: int

class StatsLatencyMsQueued(Model):
    """StatsLatencyMsQueued."""

    count: int
    """How many were measured."""
    p50: float
    p95: float
    p99: float

class StatsLatencyMsRan(Model):
    """StatsLatencyMsRan."""

    count: int
    """How many were measured."""
    p50: float
    p95: float
    p99: float

class StatsLatencyMsTotal(Model):
    """StatsLatencyMsTotal."""

    count: int
    """How many were measured."""
    p50: float
    p95: float
    p99: float

class StatsLatencyMs(Model):
    """From the submit to the first attempt, from there to the end, and both."""

    queued: StatsLatencyMsQueued
    ran: StatsLatencyMsRan
    total: StatsLatencyMsTotal

class Stats(Model):
    """The figures of a window that ends now: jobs that came and went, how long those that ended had taken, what models did, and what of it needs a person."""

    alerts: list[Alert]
    """The conditions that should bring a person, each as it stands."""
    jobs: StatsJobs
    latency_ms: StatsLatencyMs
    """From the submit to the first attempt, from there to the end, and both."""
    models: list[ModelFigures]
    """What every model did."""
    models_left_out: int
    """Models that this message has no room for."""
    queues: list[Queue]
    """How every queue stands."""
    queues_left_out: int
    """Queues that this message has no room for."""
    time: datetime
    """When they were taken."""
    window_s: float
    """How long the window is."""


class UploadForm(Model):
    """The parts of an upload."""

    file: bytes
    """The document."""
    options: dict[str, Any] | None = None
    """The options of the kind `document.ingest`, without `document_id`."""


WaitKind: TypeAlias = Literal["children", "input"]
"""What a job can wait for without a worker."""


class WaitFor(Model):
    """What to wait for."""

    for_: WaitKind = Field(alias="for")
    """`children` or `input`."""
    prompt: str | None = None
    """For `input`: the question, for a person."""
    step: str | None = None
    """For `input`: the step that the answer becomes. A later claim brings it with the others."""
    usage: ReportedUsage | None = None
    """What was spent beyond what was told with steps."""
