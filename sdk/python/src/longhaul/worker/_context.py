"""What a task can say and ask while it runs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pydantic import TypeAdapter
from typing_extensions import ParamSpec

from .._transport import encode
from ._fail import Fail

if TYPE_CHECKING:
    from ._attempt import Attempt

P = ParamSpec("P")
R = TypeVar("R")

USED_MOST = 10**12
"""The most that a result can be said to have taken of anything."""


class Suspended(BaseException):
    """The job waits; its lease was given up. Not an error: let it through."""


class Cancelled(Exception):
    """Somebody asked the job to stop. Let it through: the job is then cancelled."""


class ChildFailed(Exception):
    """A job that this one called did not succeed.

    Left uncaught it fails this one for good, as ``child_failed``: every attempt would find the same child.
    """

    def __init__(self, job_id: str, kind: str, status: str, error: dict[str, Any] | None) -> None:
        said = error or {}
        self.job_id = job_id
        self.kind = kind
        self.status = status
        """``failed`` or ``cancelled``."""
        self.code: str | None = said.get("code")
        """Why it failed."""
        self.message: str = said.get("message") or status
        super().__init__(f"{kind} {job_id} {status}: {self.message}")


class StepError(Exception):
    """A step was used in a way that a later attempt could not repeat."""


def output_invalid(step: str, why: str) -> Fail:
    """What a step's output that cannot be stored does to its job."""
    message = f"the output of the step {step!r} cannot be stored and read back: {why}"
    return Fail("step_output_invalid", message, retryable=False)


class _Base:
    """What both faces share."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def job_id(self) -> str:
        """Names the job."""
        return self._attempt.job_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._attempt.number

    @property
    def is_last_attempt(self) -> bool:
        """Whether no further attempt follows when this one fails."""
        return self._attempt.number >= self._attempt.max_attempts

    @property
    def metadata(self) -> dict[str, str]:
        """The submitter's pairs."""
        return self._attempt.metadata

    @property
    def deadline(self) -> datetime | None:
        """When the job has to be over, if it has to."""
        return self._attempt.deadline

    @property
    def children(self) -> list[Any]:
        """The outputs of the children that the job was submitted with, in their order."""
        given = self._attempt.input
        found = given.get("children") if isinstance(given, dict) else None
        return found if isinstance(found, list) else []

    @property
    def cancelled(self) -> bool:
        """Whether the job shall stop: somebody asked, another worker has it by now, or this one is shutting down."""
        return self._attempt.should_stop

    def raise_if_cancelled(self) -> None:
        """For long computations: raises `Cancelled` when the job shall stop."""
        if self._attempt.should_stop:
            raise Cancelled

    def effect_key(self, step: str) -> str:
        """The key that a side effect outside carries so that it happens once: the same on every attempt."""
        return f"{self.job_id}:{step}"

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Says how far the work is: 0 to 1, and in words. Cheap: what comes too fast is left out."""
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction)))
        self._attempt.report(fraction, message)

    def used(
        self,
        *,
        model: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_microusd: int = 0,
        degraded: bool = False,
    ) -> None:
        """Says what was spent, and who gave the result: the job's ``usage``, ``model`` and ``degraded``.

        Figures add up over all attempts, also those that fail: say each where it was spent. Within a step they are
        stored with it, and a later attempt, which does not do the step, does not say them again. Outside of steps
        they are said again by everyone who comes by, also after an `ask` or a `call`. The other two are those of the
        attempt that succeeds.
        """
        figures = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cost_microusd": cost_microusd}
        for name, figure in figures.items():
            if not 0 <= figure <= USED_MOST:
                raise ValueError(f"{name}={figure}: it must not be less than zero, or more than {USED_MOST}")
        if model is not None and not 1 <= len(model) <= 200:
            raise ValueError(f"model={model!r}: it must have 1 to 200 characters")
        facts = ({} if model is None else {"model": model}) | ({"degraded": True} if degraded else {})
        self._attempt.say(facts, {name: int(figure) for name, figure in figures.items() if figure})

    def has_step(self, name: str) -> bool:
        """Whether an earlier attempt has stored the step."""
        return name in self._attempt.steps


class Context(_Base):
    """What an async task can say and ask."""

    async def call(self, kind: str, input: Any = None, *, step: str | None = None, **options: Any) -> Any:
        """Runs a job of another kind, and gives its output.

        It is a durable child of this job: it runs once, whatever happens to this attempt, and no worker is held while
        it does. When it has ended the function is run again from its beginning, and gets past the call with the output
        at hand; so everything before it that must not happen twice is a `step`. Raises `ChildFailed`. ``step`` names
        the call within the job, ``call:KIND`` unless it is said. ``options`` are those of a submit: ``queue``,
        ``priority``, ``max_attempts``, ``deadline_s``, ``metadata``.
        """
        (output,) = await self.gather((kind, input), step=step or f"call:{kind}", **options)
        return output

    async def gather(
        self,
        *calls: tuple[str, Any],
        step: str = "gather",
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Runs many jobs at once, each a ``(kind, input)``, and gives their outputs in their order.

        As `call`. The first that did not succeed raises; with ``return_exceptions`` its `ChildFailed` stands in its
        place.
        """
        if not calls:
            return []
        children = await self._attempt.children(step, _children(calls, options))
        if children is None:
            raise Suspended
        return _outputs(children, return_exceptions)

    @overload
    async def step(self, name: str, work: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def step(self, name: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def step(self, name: str, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Does something once: what it gave is stored, and a later attempt gets that instead of doing it again.

        A name stands for one thing within its job, the same on every attempt: in a loop, ``f"page:{number}"``. It has 1
        to 200 letters, digits and ``_ - . : /``; another raises `Fail` before the work is done. Work whose output
        cannot be stored, or not be read back as what the function says that it returns, fails the job for good, as
        ``step_output_invalid``: further attempts would do it again for nothing.
        """
        adapter = _returns(work)
        stored, json_text = self._attempt.begin_step(name)
        if stored:
            return _restored(adapter, json_text)
        with self._attempt.in_step():
            value = work(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            output, seen = _stored(name, adapter, value)
            await self._attempt.checkpoint(name, output)
        return seen

    async def stream(self, data: Any) -> None:
        """Sends a piece of output to whoever follows the job: text of any length, or any other JSON of at most 64 KiB.

        Returns before it has arrived, but waits when too much is under way. Raises `Fail` for a piece that is too
        large, `APIError` when the server has refused this or an earlier one.
        """
        await self._attempt.stream(data)

    async def ask(self, prompt: str, *, step: str = "ask") -> Any:
        """Asks a person, and gives what they answer.

        The job waits without a worker; when the answer comes the function is run again from its beginning, and gets
        here with the answer at hand. So everything before it that must not happen twice is a `step`.
        """
        stored, json_text = self._attempt.begin_step(step)
        if stored:
            return json.loads(json_text)
        await self._attempt.wait_for_input(step, prompt)
        raise Suspended


class SyncContext(_Base):
    """What a plain task can say and ask."""

    def call(self, kind: str, input: Any = None, *, step: str | None = None, **options: Any) -> Any:
        """As `Context.call`."""
        (output,) = self.gather((kind, input), step=step or f"call:{kind}", **options)
        return output

    def gather(
        self,
        *calls: tuple[str, Any],
        step: str = "gather",
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """As `Context.gather`."""
        if not calls:
            return []
        self._attempt.begin_step(step)
        children = self._attempt.in_io(self._attempt.children_io(step, _children(calls, options)))
        if children is None:
            raise Suspended
        return _outputs(children, return_exceptions)

    def step(self, name: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `Context.step`."""
        adapter = _returns(work)
        stored, json_text = self._attempt.begin_step(name)
        if stored:
            return _restored(adapter, json_text)  # type: ignore[no-any-return]
        with self._attempt.in_step():
            output, seen = _stored(name, adapter, work(*args, **kwargs))
            self._attempt.in_io(self._attempt.checkpoint_io(name, output))
        return seen  # type: ignore[no-any-return]

    def stream(self, data: Any) -> None:
        """As `Context.stream`."""
        self._attempt.in_io(self._attempt.stream_io(data))

    def ask(self, prompt: str, *, step: str = "ask") -> Any:
        """As `Context.ask`."""
        stored, json_text = self._attempt.begin_step(step)
        if stored:
            return json.loads(json_text)
        self._attempt.in_io(self._attempt.wait_io(step, prompt))
        raise Suspended


def _children(calls: tuple[tuple[str, Any], ...], options: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"kind": kind, "input": input} | options for kind, input in calls]


def _outputs(children: list[dict[str, Any]], return_exceptions: bool) -> list[Any]:
    given: list[Any] = []
    for child in children:
        if child["status"] == "succeeded":
            given.append(child["output"])
            continue
        failed = ChildFailed(child["job_id"], child["kind"], child["status"], child.get("error"))
        if not return_exceptions:
            raise failed
        given.append(failed)
    return given


def _returns(work: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """The type that a stored output is read back as: what the function says that it returns."""
    try:
        returns = inspect.signature(work, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    if returns in (inspect.Signature.empty, Any, object):
        return None
    try:
        return TypeAdapter(returns)
    except Exception:
        # A type that pydantic does not know is read back as plain JSON.
        return None


def _stored(name: str, adapter: TypeAdapter[Any] | None, value: Any) -> tuple[bytes, Any]:
    """A step's output as it is stored, and as it is read back. Raises `Fail` for one with which that cannot be done."""
    try:
        output = _written(adapter, value)
        return output, _restored(adapter, output)
    except Exception as error:
        # The work is done: another attempt would do it again, and fail here again.
        raise output_invalid(name, f"{type(error).__name__}: {error}") from error


def _written(adapter: TypeAdapter[Any] | None, value: Any) -> bytes:
    return encode(value) if adapter is None else adapter.dump_json(value, by_alias=True)


def _restored(adapter: TypeAdapter[Any] | None, output: bytes) -> Any:
    """On the first attempt as on every later one: what is seen of a step is always what was stored."""
    return json.loads(output) if adapter is None else adapter.validate_json(output)
