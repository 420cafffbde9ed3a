"""What a function says about its kind of job, and what becomes of inputs and results."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic import Strict as Strictly

from longhaul import ConfigurationError, Context, Fail, Limit, SyncContext, Worker
from longhaul.worker._limits import Cache, Rate

worker = Worker("http://127.0.0.1:1")


class Image(BaseModel):
    path: str
    width: int = 800


@dataclass
class Size:
    width: int
    height: int


@worker.task("resize", retries=3, timeout=60, rate_limit="100/min", cache_ttl=300, concurrency=8, queue="gpu")
async def resize(image: Image) -> Size:
    """Resizes an image.

    And more about it.
    """
    return Size(image.width, 1)


@worker.task("add")
def add(a: int, ctx: SyncContext, b: int = 1) -> int:
    return a + b


def even(value: int) -> int:
    if value % 2:
        raise ValueError("it is odd")
    return value


def context() -> Any:
    return object()


def test_a_model_is_the_whole_input_and_describes_it() -> None:
    said = resize.registration()
    assert said["description"] == "Resizes an image."
    assert (said["max_attempts"], said["timeout_s"], said["queue"]) == (4, 60, "gpu")
    assert said["limits"] == [{"concurrency": 8, "rate": {"count": 100, "per_s": 60}}]
    assert set(said["input_schema"]["properties"]) == {"path", "width"}
    assert set(said["output_schema"]["properties"]) == {"width", "height"}
    assert resize.arguments({"path": "a.png"}, context()) == {"image": Image(path="a.png")}
    assert resize.input_of(Image(path="b")) == Image(path="b")


def test_parameters_are_the_fields_of_the_input() -> None:
    schema = add.registration()["input_schema"]
    assert schema["required"] == ["a"]
    assert schema["additionalProperties"] is False
    ctx = context()
    assert add.arguments({"a": "2"}, ctx) == {"a": 2, "b": 1, "ctx": ctx}
    assert add.input_of(1, b=2) == {"a": 1, "b": 2}


def test_a_task_is_still_the_function() -> None:
    assert add(1, None, 4) == 5  # type: ignore[arg-type]
    assert add.__name__ == "add"


class Colour(Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    id: UUID
    colour: Colour
    price: Decimal
    data: bytes
    pair: tuple[int, int]
    tags: set[str]


def test_strict_types_take_what_json_can_say_of_them() -> None:
    @worker.task("strict")
    def strict(order: Strict) -> None: ...

    whole = Strict(
        at=datetime(2026, 1, 2, tzinfo=timezone.utc),
        id=UUID(int=7),
        colour=Colour.RED,
        price=Decimal("1.50"),
        data=b"abc",
        pair=(1, 2),
        tags={"a"},
    )
    assert strict.arguments(json.loads(whole.model_dump_json()), context()) == {"order": whole}

    @worker.task("strict-fields")
    def strict_fields(at: Annotated[datetime, Strictly()], count: Annotated[int, Strictly()]) -> None: ...

    given = strict_fields.arguments({"at": "2026-01-02T00:00:00Z", "count": 1}, context())
    assert given == {"at": whole.at, "count": 1}
    with pytest.raises(Fail, match="valid integer"):
        strict_fields.arguments({"at": "2026-01-02T00:00:00Z", "count": "1"}, context())


@pytest.mark.parametrize(
    ("input", "why"),
    [
        ({"a": "x"}, "a: Input should be a valid integer"),
        ({"a": 1, "width": 800}, "width: Extra inputs are not permitted"),
        ({}, "a: Field required"),
    ],
)
def test_an_input_for_another_version_of_the_task_is_left_to_its_workers(input: Any, why: str) -> None:
    """The server took it, so it fits what was registered last."""
    with pytest.raises(Fail) as failed:
        add.arguments(input, context())
    assert (failed.value.code, failed.value.retryable) == ("input_invalid", True)
    assert why in failed.value.message


def test_an_input_that_a_validator_of_the_task_refuses_fails_for_good() -> None:
    @worker.task("halve")
    def halve(number: Annotated[int, AfterValidator(even)]) -> int:
        return number // 2

    with pytest.raises(Fail, match="it is odd") as failed:
        halve.arguments({"number": 3}, context())
    assert (failed.value.code, failed.value.retryable) == ("input_invalid", False)


def test_a_result_that_is_not_what_was_promised_fails_for_good() -> None:
    assert add.dump(3) == b"3"
    with pytest.raises(Fail) as failed:
        add.dump("three")
    assert (failed.value.code, failed.value.retryable) == ("output_invalid", False)

    @worker.task("anything")
    def anything() -> Any: ...

    assert anything.dump(float("nan")) == b"null"
    with pytest.raises(Fail, match="no JSON"):
        anything.dump(object())


def test_an_error_of_an_http_library_says_whether_to_try_again() -> None:
    class Response:
        status_code = 429

        def __init__(self) -> None:
            self.headers = {"retry-after": "7"}

    class StatusError(Exception):
        def __init__(self, status: int) -> None:
            super().__init__(f"status {status}")
            self.status_code = status
            self.response = Response()

    limited, unknown = add.failure_of(StatusError(429)), add.failure_of(StatusError(404))
    assert (limited.retryable, limited.retry_after) == (True, 7.0)
    assert unknown.retryable is False
    assert add.failure_of(ValueError("x")).message == "ValueError: x"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"rate_limit": "often"}, "no rate"),
        ({"rate_limit": "0/s"}, "no rate"),
        ({"timeout": 0}, "more than zero"),
        ({"retries": -1}, "at least 0"),
        ({"concurrency": 0}, "at least 1"),
        ({"process_concurrency": 0}, "at least 1"),
        ({"rate_limit": "5/2days"}, "no rate"),
        ({"rate_limit": "5/48h"}, "at most a day"),
        ({"limit_key": "customer"}, "limits nothing"),
        ({"limit_key": "a..b", "concurrency": 1}, "names no field"),
        ({"limits": [Limit(key="customer")]}, "limits nothing"),
        ({"limits": [Limit(concurrency=1)], "concurrency": 2}, "says it all"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        worker.task("never", **options)


def test_functions_that_cannot_be_tasks_are_refused() -> None:
    def positional(*names: str) -> None: ...

    def wrong_context(ctx: Context) -> None: ...

    def not_json(socket: Worker) -> None: ...

    async def yielding() -> AsyncIterator[int]:
        yield 1

    refused = (
        (positional, "by position"),
        (wrong_context, "SyncContext"),
        (not_json, "as JSON"),
        (yielding, "ctx.stream"),
    )
    for function, why in refused:
        with pytest.raises(ConfigurationError, match=why):
            worker.task("refused")(function)
    with pytest.raises(ConfigurationError, match="two tasks"):
        worker.task("add")(lambda: None)


def test_limits_are_said_in_the_words_of_the_server() -> None:
    assert (Rate.parse("10/30s").most, Rate.parse("10 / 30 s").seconds) == (10, 30)
    one = worker.task("one", concurrency=2, rate_limit="5/s", limit_key="customer.region")(lambda: None)
    expected = {"key": "/customer/region", "concurrency": 2, "rate": {"count": 5, "per_s": 1}}
    assert one.registration()["limits"] == [expected]
    both = worker.task("both", limits=[Limit(concurrency=100), Limit(key="/a~1b", rate="1000/hour")])(lambda: None)
    assert both.registration()["limits"] == [
        {"concurrency": 100},
        {"key": "/a~1b", "rate": {"count": 1000, "per_s": 3600}},
    ]
    assert "limits" not in worker.task("none", process_concurrency=3)(lambda: None).registration()


def test_a_cache_is_bounded_and_forgets() -> None:
    cache = Cache(ttl=60, max_entries=2)
    for key in (b"a", b"b", b"c"):
        cache.put(key, key)
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c")) == (None, b"b", b"c")
    assert Cache(ttl=-1).get(b"a") is None
