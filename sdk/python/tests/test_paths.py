"""What stands in an id reaches the call that was meant, and no other."""

from __future__ import annotations

import asyncio

import pytest

from longhaul import ConfigurationError, Longhaul, LonghaulError, NotFoundError, Worker
from program import Server


@pytest.mark.parametrize(
    "id",
    [
        "../queues/default/pause?",
        "../queues/default/pause#",
        "..%2Fqueues%2Fdefault%2Fpause%3F",
        "%2E%2E/queues/default/pause?",
        "x/../../queues/default/pause?",
        "..\\queues\\default\\pause?",
    ],
)
def test_an_id_that_would_be_another_path_names_a_job_that_is_not_there(lh: Longhaul, id: str) -> None:
    lh.submit("echo", 1).wait(20)
    calls = (lh.cancel, lh.jobs.get, lh.jobs.events, lh.jobs.attempts, lh.jobs.retry, lh.jobs.delete, lh.wait)
    for call in calls:
        with pytest.raises(NotFoundError):
            call(id)
    with pytest.raises(NotFoundError):
        lh.answer(id, True)
    with pytest.raises(NotFoundError):
        list(lh.stream(id))
    assert [queue.paused for queue in lh.queues()] == [False]


def test_a_job_is_not_erased_as_a_document(lh: Longhaul) -> None:
    job = lh.submit("echo", 1)
    job.wait(20)
    for id in (f"../jobs/{job.id}", f"%2e%2e/jobs/{job.id}"):
        for call in (lh.documents.delete, lh.documents.get):
            with pytest.raises(NotFoundError):
                call(id)
        with pytest.raises(NotFoundError):
            lh.documents.search(id, "x")
    assert job.get().output == 1


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_is_a_step_through_the_path_is_refused(id: str) -> None:
    with Longhaul("http://127.0.0.1:1", max_retries=0) as lh:
        for call in (lh.cancel, lh.jobs.get, lh.jobs.delete, lh.documents.delete, lh.wait):
            with pytest.raises(ConfigurationError):
                call(id)


def test_halves_of_characters_are_no_id(lh: Longhaul) -> None:
    with pytest.raises(LonghaulError):
        lh.jobs.get("\ud800")


@pytest.mark.parametrize("kind", ["../queues/default/pause?", "a/b"])
def test_a_kind_is_registered_under_its_own_name_or_not_at_all(server: Server, lh: Longhaul, kind: str) -> None:
    before = {known.kind for known in lh.kinds()}
    worker = Worker(server.url)
    worker.task(kind)(lambda: None)
    with pytest.raises(LonghaulError):
        asyncio.run(asyncio.wait_for(worker.serve(), 20))
    assert {known.kind for known in lh.kinds()} == before
