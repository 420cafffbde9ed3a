"""Submitting jobs, following them, and the rest of the API: the asynchronous face.

async with AsyncLonghaul() as lh:
    job = await lh.submit("echo", {"hello": "world"})
    print(await job.result())
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, TypeAlias

import aiohttp
from pydantic import TypeAdapter

from ._events import follow
from ._progress import ProgressBar
from ._settings import Settings
from ._transport import (
    AWAY,
    LONGEST_ASKED,
    RETRIED,
    Answer,
    Transport,
    backoff,
    encode_input,
    is_too_long,
    refusal,
    segment,
)
from .errors import APIError, ConnectionFailed, WaitTimeout, raise_if_unsuccessful
from .models import Attempt, Document, Event, Job, Kind, Queue

Status: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Content: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes]"
"""A path, the bytes themselves, or an open file."""

LONG_POLL = 30
"""Seconds that one request waits for a job."""

ENDED = frozenset({"succeeded", "failed", "cancelled"})


class AsyncJob:
    """A job that was submitted. Nothing of it is here but its id."""

    def __init__(self, client: AsyncLonghaul, job_id: str) -> None:
        self._client = client
        self.id = job_id
        """Names the job."""

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def wait(self, timeout: float | None = None, *, progress: bool | None = None, check: bool = True) -> Job:
        """As `AsyncLonghaul.wait`."""
        return await self._client.wait(self.id, timeout, progress=progress, check=check)

    async def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and gives the output."""
        return (await self.wait(timeout)).output

    def stream(self, *, after: int = 0) -> AsyncIterator[Event]:
        """As `AsyncLonghaul.stream`."""
        return self._client.stream(self.id, after=after)

    async def cancel(self) -> Job:
        """Asks the job to stop."""
        return await self._client.cancel(self.id)

    async def get(self) -> Job:
        """The job as it stands."""
        return await self._client.jobs.get(self.id)

    async def answer(self, value: Any, *, step: str | None = None) -> Job:
        """As `AsyncLonghaul.answer`."""
        return await self._client.answer(self.id, value, step=step)


class AsyncLonghaul:
    """A client. Belongs to the event loop that first uses it; close it, or use it as a context manager.

    ``url`` and ``api_key`` default to ``LONGHAUL_URL`` and ``LONGHAUL_API_KEY``. Requests that could not be answered
    are repeated up to ``max_retries`` times, unless the server asks for a pause of more than a minute, which is raised;
    a submit carries an idempotency key, so that a repeat makes no second job.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        max_retries: int = 5,
        timeout: float = 30.0,
    ) -> None:
        self._transport = Transport(Settings.resolve(url, api_key, max_retries=max_retries, timeout=timeout))
        self.jobs = AsyncJobs(self, self._transport)
        """Looking at jobs, and acting on them."""
        self.documents = AsyncDocuments(self, self._transport)
        """Uploaded documents."""

    async def __aenter__(self) -> AsyncLonghaul:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._transport.settings.url

    def job(self, job_id: str) -> AsyncJob:
        """A job that was submitted before, by its id."""
        return AsyncJob(self, job_id)

    async def submit(
        self,
        kind: str,
        input: Any = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | None = None,
        deadline: float | None = None,
        max_attempts: int | None = None,
        metadata: Mapping[str, str] | None = None,
        retention: int | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Submits a job. When this returns, it is on the server's disk.

        ``input`` is anything that pydantic can write as JSON; what it cannot, and NaN and infinity, for which JSON has
        no word, raise `ConfigurationError`. ``delay``, ``deadline`` and ``retention`` are seconds.
        With an ``idempotency_key`` of your own a second call anywhere finds the first one's job; without one, only the
        repeats that this call makes by itself do.
        """
        job = job_body(
            kind,
            input,
            queue=queue,
            priority=priority,
            run_at=run_at,
            delay=delay,
            deadline=deadline,
            max_attempts=max_attempts,
            metadata=metadata,
            retention=retention,
        )
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        answer = await self._transport.request("POST", "/v1/jobs", body=encode_input(job), headers=headers)
        return AsyncJob(self, answer.json()["job_id"])

    async def submit_many(
        self, jobs: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> list[AsyncJob]:
        """Submits up to 1,000 jobs, all or none. Each is what `submit` takes, by name: ``{"kind": …, "input": …}``."""
        body = encode_input({"jobs": [job_body(**job) for job in jobs]})
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        answer = await self._transport.request("POST", "/v1/jobs/bulk", body=body, headers=headers)
        return [AsyncJob(self, job["job_id"]) for job in answer.json()["jobs"]]

    async def run(self, kind: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
        """Submits a job, waits for its end and gives its output. ``options`` are those of `submit`.

        Raises `WaitTimeout` when ``timeout`` seconds are not enough for both.
        """
        began = time.monotonic()
        try:
            job = await asyncio.wait_for(self.submit(kind, input, **options), timeout)
        except asyncio.TimeoutError:
            raise WaitTimeout(None, timeout or 0.0) from None
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        try:
            return await job.result(left)
        except WaitTimeout as over:
            raise WaitTimeout(job.id, timeout or 0.0) from over

    async def wait(
        self,
        job: str | AsyncJob,
        timeout: float | None = None,
        *,
        progress: bool | None = None,
        check: bool = True,
    ) -> Job:
        """Waits until the job has ended, and gives it.

        Raises `JobFailed` or `JobCancelled` unless ``check`` is false, `WaitTimeout` after ``timeout`` seconds. On a
        terminal a line shows how far it is; ``progress`` says yes or no to that. A server that is away is waited for.
        """
        job_id = id_of(job)
        until = None if timeout is None else time.monotonic() + timeout
        with ProgressBar(progress) as bar:
            etag: str | None = None
            failures = 0
            while True:
                left = LONG_POLL if until is None else until - time.monotonic()
                if left <= 0:
                    raise WaitTimeout(job_id, timeout or 0.0)
                look = self._look(job_id, min(float(LONG_POLL), left), etag, every_change=bar.on)
                try:
                    found, etag = await asyncio.wait_for(look, None if until is None else left)
                except asyncio.TimeoutError:
                    raise WaitTimeout(job_id, timeout or 0.0) from None
                except (ConnectionFailed, APIError) as error:
                    await asyncio.sleep(min(left, self._patience(error, failures)))
                    failures += 1
                    continue
                failures = 0
                if found is None:
                    continue
                bar.show(found)
                if found.status in ENDED:
                    break
        if check:
            raise_if_unsuccessful(found)
        return found

    async def _look(
        self, job_id: str, seconds: float, etag: str | None, *, every_change: bool
    ) -> tuple[Job | None, str | None]:
        """One long poll: the job at its end, or at its next change when that is wanted."""
        first = every_change and etag is None
        headers = {"if-none-match": etag} if every_change and etag else {}
        # The server waits for whole seconds; what is less is waited for here.
        whole = 0 if first else int(seconds)
        params = {"wait": str(whole)} if whole else None
        answer = await self._transport.once(
            "GET", f"/v1/jobs/{segment(job_id)}", params=params, headers=headers, waits=whole
        )
        self._transport.check_redirect(answer)
        if answer.status >= 400:
            raise refusal(answer)
        if answer.status == 304:
            return None, etag
        job = Job.model_validate_json(answer.body)
        if not whole and not first and job.status not in ENDED:
            await asyncio.sleep(min(seconds, 0.1))
        return job, answer.headers.get("etag")

    def _patience(self, error: ConnectionFailed | APIError, failures: int) -> float:
        """Seconds until it is looked again after so many failures. Raises the error when that cannot help."""
        longest = 5.0
        if isinstance(error, ConnectionFailed):
            return backoff(failures, longest)
        if error.status not in AWAY and (
            error.status not in RETRIED or failures >= self._transport.settings.max_retries
        ):
            raise error
        return max(backoff(failures, longest), min(LONGEST_ASKED, error.retry_after or 0.0))

    async def stream(self, job: str | AsyncJob, *, after: int = 0) -> AsyncIterator[Event]:
        """The job's events after number ``after``, each once and in order, until the one that ends it.

        Goes on by itself after a lost connection or a restart of the server, from the last event that was seen.
        """
        async for event in follow(self._transport, id_of(job), after, patient=True):
            yield event

    async def cancel(self, job: str | AsyncJob) -> Job:
        """Asks a job to stop. A queued one is cancelled at once, a running one within 30 s."""
        answer = await self._transport.request("POST", f"/v1/jobs/{segment(id_of(job))}/cancel")
        return Job.model_validate_json(answer.body)

    async def answer(self, job: str | AsyncJob, value: Any, *, step: str | None = None) -> Job:
        """Answers a job that waits for a person.

        With ``step`` that question and no other, as ``waiting_for.step`` of the job names it: `ConflictError` when the
        job does not wait with it, or not any more. Without one, whichever the job asks or will ask.

        Twice would answer two questions. So after a connection that was lost in the middle it is not sent again, but
        raises `ConnectionFailed`; look at the job to see whether it still waits.
        """
        path = f"/v1/jobs/{segment(id_of(job))}/input"
        params = {} if step is None else {"step": step}
        answer = await self._transport.request("POST", path, params=params, body=encode_input(value), repeatable=False)
        return Job.model_validate_json(answer.body)

    async def analysis(
        self,
        text: str | None = None,
        *,
        document_id: str | None = None,
        analyses: Sequence[Any] | None = None,
        model: str | None = None,
        on_failure: Literal["partial", "fail"] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Analyses a text or a document: ``{"results": …, "errors": …, "degraded": …, "model": …}``."""
        wanted = analysis_input(text, document_id, analyses, model, on_failure)
        output: dict[str, Any] = await self.run("analysis", wanted, timeout=timeout, **options)
        return output

    async def process(
        self,
        items: Sequence[Mapping[str, Any]] | None = None,
        *,
        query: str | None = None,
        model: str | None = None,
        timeout: int | None = None,
        cache: bool | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Many small items at once, answered in one call; what takes longer than ``timeout`` seconds is waited for.

        When the call is repeated it finds what the first one has begun, as with `submit`.
        """
        body = encode_input(process_body(items, query, model, timeout, cache))
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        try:
            answer = await self._transport.request(
                "POST", "/v1/process", body=body, headers=headers, waits=90, final=_ALL_FAILED
            )
        except APIError as error:
            # Every item has failed, each for a reason of its own.
            if "results" in error.problem:
                return error.problem
            raise
        said: dict[str, Any] = answer.json()
        if answer.status == 202:
            output: dict[str, Any] = await self.job(said["job_id"]).result()
            return output
        return said

    async def kinds(self) -> list[Kind]:
        """What can be submitted."""
        answer = await self._transport.request("GET", "/v1/kinds")
        return _KINDS.validate_python(answer.json()["data"])

    async def queues(self) -> list[Queue]:
        """How queues stand."""
        answer = await self._transport.request("GET", "/v1/queues")
        return _QUEUES.validate_python(answer.json()["data"])


class AsyncJobs:
    """Looking at jobs, and acting on them."""

    def __init__(self, client: AsyncLonghaul, transport: Transport) -> None:
        self._client = client
        self._transport = transport

    async def get(self, job_id: str) -> Job:
        """A job as it stands, with its input and output."""
        answer = await self._transport.request("GET", f"/v1/jobs/{segment(job_id)}")
        return Job.model_validate_json(answer.body)

    async def list(
        self,
        *,
        status: Status | None = None,
        kind: str | None = None,
        queue: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        page_size: int = 50,
    ) -> AsyncIterator[Job]:
        """Jobs, newest first, without their inputs and outputs; further pages are fetched as they are needed."""
        params = list_params(status, kind, queue, created_after, created_before, metadata, page_size)
        while True:
            answer = await self._transport.request("GET", "/v1/jobs", params=params)
            page = answer.json()
            for job in page["data"]:
                yield Job.model_validate(job)
            if not page["has_more"]:
                return
            params["cursor"] = page["next_cursor"]

    async def events(self, job_id: str, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """A page of a job's history, as far as it goes now."""
        params = {"after": str(after), "limit": str(limit)}
        answer = await self._transport.request("GET", f"/v1/jobs/{segment(job_id)}/events", params=params)
        return _EVENTS.validate_python(answer.json()["data"])

    async def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Every try at a job."""
        answer = await self._transport.request("GET", f"/v1/jobs/{segment(job_id)}/attempts")
        return _ATTEMPTS.validate_python(answer.json()["data"])

    async def retry(self, job_id: str) -> AsyncJob:
        """Submits an ended job again, as a new one.

        Twice would make two. So after a connection that was lost in the middle it is not sent again, but raises
        `ConnectionFailed`; the new job, if there is one, has ``retry_of``.
        """
        answer = await self._transport.request("POST", f"/v1/jobs/{segment(job_id)}/retry", repeatable=False)
        return AsyncJob(self._client, answer.json()["job_id"])

    async def delete(self, job_id: str) -> None:
        """Erases an ended job's data."""
        await self._transport.request("DELETE", f"/v1/jobs/{segment(job_id)}")


class AsyncDocument:
    """A document that was uploaded, and the job that reads it."""

    def __init__(self, client: AsyncLonghaul, document_id: str, job: AsyncJob) -> None:
        self._client = client
        self.id = document_id
        """Names the document."""
        self.job = job
        """The job that reads it."""

    def __repr__(self) -> str:
        return f"AsyncDocument({self.id!r})"

    async def get(self) -> Document:
        """The document with what was read out of it so far."""
        return await self._client.documents.get(self.id)

    async def search(self, query: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Passages that answer a query."""
        return await self._client.documents.search(self.id, query, limit=limit)


class AsyncDocuments:
    """Uploaded documents."""

    def __init__(self, client: AsyncLonghaul, transport: Transport) -> None:
        self._client = client
        self._transport = transport

    async def upload(
        self,
        content: Content,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> AsyncDocument:
        """Uploads a document. ``options`` are those of ``document.ingest``: ``chunk``, ``embed``, ``summary`` ….

        A repeat with the same ``idempotency_key`` finds the first one's document; without one it is made up here.
        """
        name = file_name or name_of(content)
        data = await asyncio.to_thread(bytes_of, content)
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        settings = self._transport.settings
        attempt = 0
        while True:
            # A form can be sent once only.
            form = aiohttp.FormData()
            if options:
                form.add_field("options", encode_input(options).decode(), content_type="application/json")
            form.add_field("file", data, filename=name, content_type=content_type or "application/octet-stream")
            answer = await self._sent(form, headers, may_fail=attempt < settings.max_retries)
            if answer is not None:
                self._transport.check_redirect(answer)
            if answer is not None and answer.status < 400:
                said = answer.json()
                return AsyncDocument(self._client, said["document_id"], AsyncJob(self._client, said["job_id"]))
            if answer is not None:
                error = refusal(answer)
                if not error.retryable or attempt >= settings.max_retries or is_too_long(error):
                    raise error
                await asyncio.sleep(error.retry_after or 0.0)
            attempt += 1
            await asyncio.sleep(min(10.0, 0.2 * 2.0**attempt))

    async def _sent(self, form: aiohttp.FormData, headers: Mapping[str, str], *, may_fail: bool) -> Answer | None:
        try:
            return await self._transport.once("POST", "/v1/documents", body=form, headers=headers, waits=300)
        except ConnectionFailed:
            if may_fail:
                return None
            raise

    async def get(self, document_id: str) -> Document:
        """A document with what was read out of it."""
        answer = await self._transport.request("GET", f"/v1/documents/{segment(document_id)}")
        return Document.model_validate_json(answer.body)

    async def search(self, document_id: str, query: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Passages of a document that answer a query, best first."""
        params = {"q": query} | ({"limit": str(limit)} if limit is not None else {})
        answer = await self._transport.request("GET", f"/v1/documents/{segment(document_id)}/search", params=params)
        hits: list[dict[str, Any]] = answer.json()["hits"]
        return hits

    async def delete(self, document_id: str) -> None:
        """Removes a document with everything that was read out of it."""
        await self._transport.request("DELETE", f"/v1/documents/{segment(document_id)}")


def id_of(job: str | AsyncJob) -> str:
    """The id of a job or of its handle."""
    return job if isinstance(job, str) else job.id


def job_body(
    kind: str,
    input: Any = None,
    *,
    queue: str | None = None,
    priority: int | None = None,
    run_at: datetime | None = None,
    delay: float | None = None,
    deadline: float | None = None,
    max_attempts: int | None = None,
    metadata: Mapping[str, str] | None = None,
    retention: int | None = None,
) -> dict[str, Any]:
    """A job as the server takes it; what was not said is left out."""
    options = {
        "queue": queue,
        "priority": priority,
        "run_at": None if run_at is None else rfc3339(run_at),
        "delay_s": delay,
        "deadline_s": deadline,
        "max_attempts": max_attempts,
        "metadata": None if metadata is None else dict(metadata),
        "retention_s": retention,
    }
    return {"kind": kind, "input": input} | {name: value for name, value in options.items() if value is not None}


def rfc3339(at: datetime) -> str:
    """A time as the API writes it; one without a zone is local."""
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def analysis_input(
    text: str | None, document_id: str | None, analyses: Sequence[Any] | None, model: str | None, on_failure: str | None
) -> dict[str, Any]:
    """The input of the kind ``analysis``."""
    said = {
        "text": text,
        "document_id": document_id,
        "analyses": None if analyses is None else list(analyses),
        "model": model,
        "on_failure": on_failure,
    }
    return {name: value for name, value in said.items() if value is not None}


def process_body(
    items: Sequence[Mapping[str, Any]] | None,
    query: str | None,
    model: str | None,
    timeout: int | None,
    cache: bool | None,
) -> dict[str, Any]:
    """The body of ``/v1/process``."""
    said = {
        "items": None if items is None else [dict(item) for item in items],
        "query": query,
        "model": model,
        "timeout_s": timeout,
        "cache": cache,
    }
    return {name: value for name, value in said.items() if value is not None}


def list_params(
    status: str | None,
    kind: str | None,
    queue: str | None,
    created_after: datetime | None,
    created_before: datetime | None,
    metadata: Mapping[str, str] | None,
    page_size: int,
) -> dict[str, str]:
    """The query of a list of jobs."""
    said = {
        "status": status,
        "kind": kind,
        "queue": queue,
        "created_after": None if created_after is None else rfc3339(created_after),
        "created_before": None if created_before is None else rfc3339(created_before),
        "limit": str(page_size),
    }
    params = {name: value for name, value in said.items() if value is not None}
    return params | {f"metadata.{key}": value for key, value in (metadata or {}).items()}


def name_of(content: Content) -> str:
    """What to call an upload."""
    if isinstance(content, (str, os.PathLike)):
        return Path(content).name
    return Path(str(getattr(content, "name", "document"))).name


def bytes_of(content: Content) -> bytes:
    """The bytes of an upload. They are kept for a repeat, so the whole of them is in memory."""
    if isinstance(content, (str, os.PathLike)):
        return Path(content).read_bytes()
    return content if isinstance(content, bytes) else content.read()


_ALL_FAILED = frozenset({"upstream_failed"})
"""The answer for items that all failed: it comes from the job that was made for them, and stays."""

_KINDS = TypeAdapter(list[Kind])
_QUEUES = TypeAdapter(list[Queue])
_EVENTS = TypeAdapter(list[Event])
_ATTEMPTS = TypeAdapter(list[Attempt])
