"""The synchronous face: the same calls, for code without an event loop.

with Longhaul() as lh:
    print(lh.run("echo", {"hello": "world"}))
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar

from ._thread import LoopThread
from .client import AsyncJob, AsyncLonghaul, Content, Status
from .errors import ConnectionFailed
from .models import Attempt, Document, Event, Job, Kind, Queue

T = TypeVar("T")


class JobHandle:
    """A job that was submitted. Nothing of it is here but its id."""

    def __init__(self, client: Longhaul, job_id: str) -> None:
        self._client = client
        self.id = job_id
        """Names the job."""

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def wait(self, timeout: float | None = None, *, progress: bool | None = None, check: bool = True) -> Job:
        """As `Longhaul.wait`."""
        return self._client.wait(self.id, timeout, progress=progress, check=check)

    def result(self, timeout: float | None = None) -> Any:
        """Waits for the end and gives the output."""
        return self.wait(timeout).output

    def stream(self, *, after: int = 0) -> Iterator[Event]:
        """As `Longhaul.stream`."""
        return self._client.stream(self.id, after=after)

    def cancel(self) -> Job:
        """Asks the job to stop."""
        return self._client.cancel(self.id)

    def get(self) -> Job:
        """The job as it stands."""
        return self._client.jobs.get(self.id)

    def answer(self, value: Any, *, step: str | None = None) -> Job:
        """As `AsyncLonghaul.answer`."""
        return self._client.answer(self.id, value, step=step)


class Longhaul:
    """A client. May be used from many threads at once, and after a fork. Options as those of `AsyncLonghaul`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        max_retries: int = 5,
        timeout: float = 30.0,
    ) -> None:
        self._client = AsyncLonghaul(url, api_key, max_retries=max_retries, timeout=timeout)
        self._io: LoopThread | None = None
        self._starting = threading.Lock()
        self.jobs = Jobs(self, self._client)
        """Looking at jobs, and acting on them."""
        self.documents = Documents(self, self._client)
        """Uploaded documents."""
        _CLIENTS.add(self)

    def __enter__(self) -> Longhaul:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Calls that other threads have under way end with `ConnectionFailed`."""
        with self._starting:
            io, self._io = self._io, None
        if io is not None:
            io.stop(self._client.close)

    def _begin_anew(self) -> None:
        """After a fork: the thread stayed in the other process, which also goes on to use the connections."""
        self._starting = threading.Lock()
        io, self._io = self._io, None
        _LEFT.append((io, self._client._transport.abandon()))

    def _thread(self) -> LoopThread:
        with self._starting:
            if self._io is None:
                self._io = LoopThread("longhaul-client")
            return self._io

    def _handle(self, job: AsyncJob) -> JobHandle:
        return JobHandle(self, job.id)

    def _iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        io = self._thread()

        async def following() -> tuple[bool, T | None]:
            try:
                return True, await items.__anext__()
            except StopAsyncIteration:
                return False, None

        try:
            while True:
                more, item = io.run(following())
                if not more:
                    return
                yield item  # type: ignore[misc]
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and io.is_usable:
                with suppress(ConnectionFailed):
                    # An iterator that was dropped is collected in whatever thread, which may be the one to wait for.
                    if io.is_current:
                        io.start(close())
                    else:
                        io.run(close())

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._client.url

    def job(self, job_id: str) -> JobHandle:
        """A job that was submitted before, by its id."""
        return JobHandle(self, job_id)

    def submit(
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
    ) -> JobHandle:
        """As `AsyncLonghaul.submit`."""
        submitted = self._client.submit(
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
            idempotency_key=idempotency_key,
        )
        return self._handle(self._thread().run(submitted))

    def submit_many(self, jobs: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None) -> list[JobHandle]:
        """As `AsyncLonghaul.submit_many`."""
        submitted = self._thread().run(self._client.submit_many(jobs, idempotency_key=idempotency_key))
        return [self._handle(job) for job in submitted]

    def run(self, kind: str, input: Any = None, *, timeout: float | None = None, **options: Any) -> Any:
        """As `AsyncLonghaul.run`."""
        return self._thread().run(self._client.run(kind, input, timeout=timeout, **options))

    def wait(
        self,
        job: str | JobHandle,
        timeout: float | None = None,
        *,
        progress: bool | None = None,
        check: bool = True,
    ) -> Job:
        """As `AsyncLonghaul.wait`."""
        return self._thread().run(self._client.wait(_id(job), timeout, progress=progress, check=check))

    def stream(self, job: str | JobHandle, *, after: int = 0) -> Iterator[Event]:
        """As `AsyncLonghaul.stream`."""
        return self._iterate(self._client.stream(_id(job), after=after))

    def cancel(self, job: str | JobHandle) -> Job:
        """As `AsyncLonghaul.cancel`."""
        return self._thread().run(self._client.cancel(_id(job)))

    def answer(self, job: str | JobHandle, value: Any, *, step: str | None = None) -> Job:
        """As `AsyncLonghaul.answer`."""
        return self._thread().run(self._client.answer(_id(job), value, step=step))

    def analysis(
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
        """As `AsyncLonghaul.analysis`."""
        return self._thread().run(
            self._client.analysis(
                text,
                document_id=document_id,
                analyses=analyses,
                model=model,
                on_failure=on_failure,
                timeout=timeout,
                **options,
            )
        )

    def process(
        self,
        items: Sequence[Mapping[str, Any]] | None = None,
        *,
        query: str | None = None,
        model: str | None = None,
        timeout: int | None = None,
        cache: bool | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """As `AsyncLonghaul.process`."""
        return self._thread().run(
            self._client.process(
                items, query=query, model=model, timeout=timeout, cache=cache, idempotency_key=idempotency_key
            )
        )

    def kinds(self) -> list[Kind]:
        """What can be submitted."""
        return self._thread().run(self._client.kinds())

    def queues(self) -> list[Queue]:
        """How queues stand."""
        return self._thread().run(self._client.queues())


class Jobs:
    """Looking at jobs, and acting on them."""

    def __init__(self, client: Longhaul, inner: AsyncLonghaul) -> None:
        self._client = client
        self._inner = inner.jobs

    def get(self, job_id: str) -> Job:
        """A job as it stands, with its input and output."""
        return self._client._thread().run(self._inner.get(job_id))

    def list(
        self,
        *,
        status: Status | None = None,
        kind: str | None = None,
        queue: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        page_size: int = 50,
    ) -> Iterator[Job]:
        """Jobs, newest first, without their inputs and outputs; further pages are fetched as they are needed."""
        return self._client._iterate(
            self._inner.list(
                status=status,
                kind=kind,
                queue=queue,
                created_after=created_after,
                created_before=created_before,
                metadata=metadata,
                page_size=page_size,
            )
        )

    def events(self, job_id: str, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """A page of a job's history, as far as it goes now."""
        return self._client._thread().run(self._inner.events(job_id, after=after, limit=limit))

    def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Every try at a job."""
        return self._client._thread().run(self._inner.attempts(job_id))

    def retry(self, job_id: str) -> JobHandle:
        """Submits an ended job again, as a new one."""
        return self._client._handle(self._client._thread().run(self._inner.retry(job_id)))

    def delete(self, job_id: str) -> None:
        """Erases an ended job's data."""
        self._client._thread().run(self._inner.delete(job_id))


class DocumentHandle:
    """A document that was uploaded, and the job that reads it."""

    def __init__(self, client: Longhaul, document_id: str, job: JobHandle) -> None:
        self._client = client
        self.id = document_id
        """Names the document."""
        self.job = job
        """The job that reads it."""

    def __repr__(self) -> str:
        return f"DocumentHandle({self.id!r})"

    def get(self) -> Document:
        """The document with what was read out of it so far."""
        return self._client.documents.get(self.id)

    def search(self, query: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Passages that answer a query."""
        return self._client.documents.search(self.id, query, limit=limit)


class Documents:
    """Uploaded documents."""

    def __init__(self, client: Longhaul, inner: AsyncLonghaul) -> None:
        self._client = client
        self._inner = inner.documents

    def upload(
        self,
        content: Content,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> DocumentHandle:
        """As `AsyncDocuments.upload`."""
        uploaded = self._client._thread().run(
            self._inner.upload(
                content,
                file_name=file_name,
                content_type=content_type,
                idempotency_key=idempotency_key,
                **options,
            )
        )
        return DocumentHandle(self._client, uploaded.id, self._client._handle(uploaded.job))

    def get(self, document_id: str) -> Document:
        """A document with what was read out of it."""
        return self._client._thread().run(self._inner.get(document_id))

    def search(self, document_id: str, query: str, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Passages of a document that answer a query, best first."""
        return self._client._thread().run(self._inner.search(document_id, query, limit=limit))

    def delete(self, document_id: str) -> None:
        """Removes a document with everything that was read out of it."""
        self._client._thread().run(self._inner.delete(document_id))


_CLIENTS: weakref.WeakSet[Longhaul] = weakref.WeakSet()
"""Those that must learn of a fork."""

_LEFT: list[object] = []
"""Threads and connections of the process that this one was forked from: to be let alone, even by their finalizers."""


def _begin_anew() -> None:
    for client in list(_CLIENTS):
        client._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def _id(job: str | JobHandle) -> str:
    return job if isinstance(job, str) else job.id
