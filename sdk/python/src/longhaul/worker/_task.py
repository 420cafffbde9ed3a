"""A plain function as a kind of job: what goes in, what comes out, and how it is to be run."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import threading
import typing
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticSerializationError
from typing_extensions import ParamSpec, is_typeddict

from .._transport import encode
from ..errors import ConfigurationError
from ._context import ChildFailed, Context, SyncContext
from ._fail import Fail
from ._limits import Cache, Limit

P = ParamSpec("P")
R = TypeVar("R")

ADDED = frozenset({"children", "child_errors"})
"""Fields that the server adds to the input of a job that was submitted with children."""

OF_VALIDATORS = frozenset({"value_error", "assertion_error"})
"""What pydantic calls the flaws that a validator has found, and not a type."""

SAMPLES = 1_000
"""So many durations the percentiles are made of."""


@dataclass(frozen=True)
class TaskOptions:
    """How a task's jobs are run."""

    retries: int | None = None
    timeout: float | None = None
    limits: tuple[Limit, ...] = ()
    cache_ttl: float | None = None
    process_concurrency: int | None = None
    queue: str | None = None
    backoff: tuple[float, float] | None = None
    permanent: tuple[type[BaseException], ...] = ()
    description: str | None = None


@dataclass(frozen=True)
class TaskMetrics:
    """What a task has done in this process."""

    runs: int
    succeeded: int
    failed: int
    cached: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Task(Generic[P, R]):
    """A function that workers run as jobs. Called directly, it is the function and nothing else."""

    def __init__(self, name: str, function: Callable[P, R], options: TaskOptions) -> None:
        if inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"task {name!r}: {function!r} yields in place of returning; send pieces with ctx.stream, "
                "and return the output"
            )
        self.name = name
        """The kind of its jobs."""
        self.function = function
        self.options = options
        self.is_async = inspect.iscoroutinefunction(function)
        self.cache = None if options.cache_ttl is None else Cache(options.cache_ttl)
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function
        self._input = _Input(name, function, self.is_async)
        self._output = _output_adapter(name, self._input.returns)
        self._metrics = _Metrics()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def metrics(self) -> TaskMetrics:
        """What it has done in this process."""
        return self._metrics.snapshot()

    def input_of(self, *args: Any, **kwargs: Any) -> Any:
        """The job's input for these arguments: what `AsyncLonghaul.submit` takes beside the task's name."""
        return self._input.from_arguments(args, kwargs)

    def registration(self) -> dict[str, Any]:
        """What the server is told of the kind."""
        options = self.options
        first_line = (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ")
        said: dict[str, Any] = {
            "description": (options.description or first_line or None),
            "input_schema": self._input.schema(),
            "output_schema": _schema_of(self._output, "serialization"),
            "queue": options.queue,
            "max_attempts": None if options.retries is None else options.retries + 1,
            "timeout_s": None if options.timeout is None else max(1, -(-int(options.timeout * 1000) // 1000)),
        }
        if options.backoff is not None:
            first, longest = options.backoff
            said["backoff"] = {"initial_ms": int(first * 1000), "max_ms": int(longest * 1000)}
        if options.limits:
            said["limits"] = [limit.to_wire() for limit in options.limits]
        return {name: value for name, value in said.items() if value is not None}

    def arguments(self, value: Any, context: Context | SyncContext) -> dict[str, Any]:
        """The function's arguments for a job's input. Raises `Fail` for one that does not fit.

        The server has held the input against the schema that was registered last. So where it does not fit the types
        here, another version of the task is about, whose workers may get the next attempt; only what a validator of
        the task's own refuses is refused for good.
        """
        try:
            return self._input.arguments(value, context)
        except ValidationError as error:
            is_refused = all(flaw["type"] in OF_VALIDATORS for flaw in error.errors(include_url=False))
            raise Fail("input_invalid", _explain(error), retryable=not is_refused) from error

    def dump(self, value: Any) -> bytes:
        """A result as JSON. Raises `Fail` for one that is not what the function promises, or no JSON."""
        try:
            if self._output is None:
                return encode(value)
            return self._output.dump_json(self._output.validate_python(value), by_alias=True)
        except ValidationError as error:
            promised = f"the result is not what {self.__name__} promises: {_explain(error)}"
            raise Fail("output_invalid", promised, retryable=False) from error
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise Fail("output_invalid", f"the result is no JSON: {error}", retryable=False) from error

    def cache_key(self, value: Any) -> bytes:
        """The same for inputs that mean the same."""
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    def failure_of(self, error: BaseException) -> Fail:
        """What an exception of the function says about its attempt."""
        if isinstance(error, Fail):
            return error
        if isinstance(error, asyncio.CancelledError):
            # By the server or the worker it was not: those attempts are given back.
            return Fail("task_failed", _said("the task was cancelled from within", error))
        if isinstance(error, ChildFailed):
            # The call stands for the same children on every attempt.
            return Fail("child_failed", str(error), retryable=False)
        message = _said(type(error).__name__, error)
        retry_after, retryable = _http_hint(error)
        if isinstance(error, self.options.permanent):
            retryable = False
        return Fail("task_failed", message, retryable=retryable, retry_after=retry_after)


class _Input:
    """How a job's input becomes a function's arguments.

    One parameter that is a model, a dataclass, a TypedDict or called ``input`` takes the whole input. Otherwise the
    input is an object with a field for each parameter. A parameter that is a `Context` gets that.
    """

    def __init__(self, name: str, function: Callable[..., Any], is_async: bool) -> None:
        try:
            signature = inspect.signature(function, eval_str=True)
        except NameError as error:
            raise ConfigurationError(
                f"task {name!r}: a type of {function!r} cannot be found ({error}); types of a task's parameters must "
                "be importable where it is defined"
            ) from error
        self.returns = signature.return_annotation
        self.context: str | None = None
        wanted = Context if is_async else SyncContext
        fields: list[inspect.Parameter] = []
        extra = "forbid"
        for parameter in signature.parameters.values():
            kind = parameter.annotation
            if kind in (Context, SyncContext):
                if kind is not wanted:
                    raise ConfigurationError(
                        f"task {name!r}: {'an async' if is_async else 'a plain'} function takes a {wanted.__name__}, "
                        f"not a {kind.__name__}"
                    )
                self.context = parameter.name
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                extra = "allow"
            elif parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                raise ConfigurationError(
                    f"task {name!r}: the parameter {parameter.name} can only be given by position; a job's input is "
                    "an object, so every parameter needs a name"
                )
            else:
                fields.append(parameter)
        self._names = [field.name for field in fields]
        self._whole = len(fields) == 1 and extra == "forbid" and _takes_whole(fields[0])
        self._takes_any = False
        self._adapter: TypeAdapter[Any] | None = None
        try:
            if self._whole:
                kind = fields[0].annotation
                self._takes_any = kind in (inspect.Parameter.empty, Any, object)
                self._adapter = TypeAdapter(Any if self._takes_any else kind)
            elif fields or extra == "allow":
                self._adapter = TypeAdapter(_model(name, fields, extra))
        except PydanticSchemaGenerationError as error:
            raise ConfigurationError(
                f"task {name!r}: its parameters cannot be described as JSON ({error.message.splitlines()[0]}); "
                "use types that pydantic knows"
            ) from error

    def schema(self) -> dict[str, Any] | None:
        return _schema_of(self._adapter, "validation")

    def arguments(self, value: Any, context: Context | SyncContext) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self._takes_any:
            given[self._names[0]] = value
        elif self._adapter is not None:
            if not self._whole and isinstance(value, dict):
                # What the server adds for a job that was submitted with children is in the context.
                value = {name: given for name, given in value.items() if name in self._names or name not in ADDED}
            # As JSON, where also a strict type takes a date from a text, and a set from a list.
            checked = self._adapter.validate_json(encode(value))
            if self._whole:
                given[self._names[0]] = checked
            else:
                given.update({name: getattr(checked, name) for name in self._names})
                given.update(checked.model_extra or {})
        if self.context is not None:
            given[self.context] = context
        return given

    def from_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if len(args) > len(self._names):
            raise TypeError(f"takes {len(self._names)} arguments, but {len(args)} were given")
        given = dict(zip(self._names, args, strict=False)) | dict(kwargs)
        return next(iter(given.values()), None) if self._whole else given


def _takes_whole(parameter: inspect.Parameter) -> bool:
    kind = parameter.annotation
    is_model = inspect.isclass(kind) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))
    return parameter.name == "input" or is_model or is_typeddict(kind)


def _model(name: str, fields: list[inspect.Parameter], extra: str) -> type[BaseModel]:
    title = "".join(part.capitalize() for part in name.replace(":", ".").replace("-", ".").replace("_", ".").split("."))
    made: dict[str, Any] = {}
    for field in fields:
        kind = Any if field.annotation is inspect.Parameter.empty else field.annotation
        made[field.name] = (kind, ... if field.default is inspect.Parameter.empty else Field(default=field.default))
    config = ConfigDict(extra=extra, protected_namespaces=(), arbitrary_types_allowed=False)  # type: ignore[typeddict-item]
    model: type[BaseModel] = create_model(f"{title}Input", __config__=config, **made)
    return model


def _output_adapter(name: str, returns: Any) -> TypeAdapter[Any] | None:
    if returns in (inspect.Signature.empty, Any, object):
        return None
    if typing.get_origin(returns) is Awaitable:
        returns = typing.get_args(returns)[0]
    try:
        return TypeAdapter(returns)
    except PydanticSchemaGenerationError as error:
        raise ConfigurationError(
            f"task {name!r}: what it returns cannot be described as JSON ({error.message.splitlines()[0]}); "
            "use types that pydantic knows"
        ) from error


def _schema_of(
    adapter: TypeAdapter[Any] | None, mode: typing.Literal["validation", "serialization"]
) -> dict[str, Any] | None:
    return None if adapter is None else adapter.json_schema(mode=mode, by_alias=True)


def _explain(error: ValidationError) -> str:
    flaws = [
        f"{'.'.join(str(part) for part in flaw['loc']) or 'the value'}: {flaw['msg']}"
        for flaw in error.errors(include_url=False, include_input=False)
    ]
    more = f" (and {len(flaws) - 5} more)" if len(flaws) > 5 else ""
    return "; ".join(flaws[:5]) + more


def _said(name: str, error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        # What an exception is about may be in no state to be shown.
        text = ""
    return f"{name}: {text}" if text else name


NEVER_TRANSIENT = frozenset({400, 401, 403, 404, 405, 413, 415, 422})


def _http_hint(error: BaseException) -> tuple[float | None, bool]:
    """What an exception of an HTTP library says: when to come again, and whether that can help."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    retry_after: float | None = None
    headers = getattr(response, "headers", None)
    if headers is not None:
        try:
            retry_after = min(3600.0, max(0.0, float(headers.get("retry-after"))))
        except (TypeError, ValueError):
            retry_after = None
    return retry_after, status not in NEVER_TRANSIENT


class _Metrics:
    """Counts and durations. Written from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._succeeded = self._failed = self._cached = 0
        self._durations: deque[float] = deque(maxlen=SAMPLES)

    def count(self, outcome: typing.Literal["succeeded", "failed", "cached"], seconds: float) -> None:
        with self._lock:
            if outcome == "succeeded":
                self._succeeded += 1
            elif outcome == "failed":
                self._failed += 1
            else:
                self._cached += 1
            self._durations.append(seconds)

    def snapshot(self) -> TaskMetrics:
        with self._lock:
            durations = sorted(self._durations)
            counts = self._succeeded, self._failed, self._cached

        def at(quantile: float) -> float:
            return durations[min(len(durations) - 1, int(quantile * len(durations)))] * 1e3 if durations else 0.0

        succeeded, failed, cached = counts
        return TaskMetrics(succeeded + failed + cached, succeeded, failed, cached, at(0.5), at(0.95), at(0.99))
