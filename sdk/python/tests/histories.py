"""The rules that every job's history keeps, whatever was done to servers and workers."""

from __future__ import annotations

import itertools

from longhaul.models import Attempt, Event, Job

TERMINAL = {"job.succeeded": "succeeded", "job.failed": "failed", "job.cancelled": "cancelled"}


def check(job: Job, events: list[Event], attempts: list[Attempt]) -> None:
    """Fails with the rule that is broken."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "numbers run without a gap"
    assert job.last_event_seq == len(events), "the job knows its newest event"
    assert events[0].type == "job.queued", "a history begins with the submit"
    ends = [event for event in events if event.type in TERMINAL]
    if job.status in TERMINAL.values():
        assert [TERMINAL[event.type] for event in ends] == [job.status], "one end, and it is the job's"
        assert events[-1] is ends[0], "nothing follows the end"
    else:
        assert not ends, "a job that lives has no end"
    starts = [event for event in events if event.type == "job.running"]
    assert len(starts) == len(attempts), "each lease begins with one job.running"
    for before, after in itertools.pairwise(attempts):
        assert before.ended_at is not None and before.ended_at <= after.started_at, "attempts do not overlap"
        again = before.outcome in ("released", "parked", "waiting")
        assert after.attempt == before.attempt + (0 if again else 1), "attempts are counted"
    succeeded = [attempt for attempt in attempts if attempt.outcome == "succeeded"]
    assert len(succeeded) == (job.status == "succeeded"), "exactly one result is accepted"
    times = [event.time for event in events]
    assert times == sorted(times), "time does not run backwards"
