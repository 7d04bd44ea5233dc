"""A call becomes bytes: dehydrated, encoded, weighed, checked. Nothing here writes to Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from slimjobs import listeners, parts, registry
from slimjobs import orm as _orm  # noqa: F401  # models of ORMs become refs
from slimjobs.codec import MAX_DEPTH, NO_LIMIT, Encoder, Refused, content_of
from slimjobs.compression import compress
from slimjobs.descriptions import describe_call
from slimjobs.errors import PayloadTooLargeError, SlimjobsError, UnsupportedTypeError, describe_parts
from slimjobs.limits import settings
from slimjobs.logs import logger, size_warnings
from slimjobs.sizes import format_pair

if TYPE_CHECKING:
    from slimjobs.calls import Call
    from slimjobs.errors import Part
    from slimjobs.limits import Limits
    from slimjobs.locators import Transaction
    from slimjobs.options import Commit

_encoder = Encoder(registry.dehydrate)


class Encoded(NamedTuple):
    """The bytes of a call, and what was found when they were checked."""

    data: bytes
    meta_bytes: int
    is_warned: bool
    transactions: tuple[Transaction, ...]


@dataclass
class Payload:
    """A checked payload, ready to be written.

    Attributes:
        task: The import path of the task.
        function: What RQ stores as the function's name.
        data: The serialized call.
        stored_data: The same as written to Redis.
        meta: The job's meta, or None.
        meta_bytes: The bytes of the serialized meta.
        description: The text for logs and dashboards.
        is_warned: Whether it is over `warn_bytes`.
        limits: The limits that it was checked against.
        transactions: The database transactions that its rows may be part of.
        commit: When the job itself was told to be enqueued, or None.
        queue: The name of the queue that checked it, or "".
        is_counted: Whether the ledger knows of it already.
        kept: The call, where a job shows what it was given until it is read again, else None.
    """

    task: str
    function: str
    data: bytes
    stored_data: bytes
    meta: dict[str, Any] | None
    meta_bytes: int
    description: str
    is_warned: bool
    limits: Limits
    transactions: tuple[Transaction, ...] = ()
    commit: Commit | None = None
    queue: str = ""
    is_counted: bool = False
    kept: Call | None = None

    @property
    def size_bytes(self) -> int:
        """The payload bytes: what a worker holds in memory, meta included."""
        return len(self.data) + self.meta_bytes

    @property
    def stored_bytes(self) -> int:
        """The bytes in Redis, meta included."""
        return len(self.stored_data) + self.meta_bytes


class Format:
    """Our own wire format, as a way to write calls and values.

    `serializer` has another for serializers that are not ours.

    Attributes:
        keeps_calls: Whether a job is as RQ's own is, and shows what it was given until it is read again.
        writes_once: As in `parts.measure`.
    """

    keeps_calls: ClassVar[bool] = False
    writes_once: bool = False

    def dump_call(self, call: Call, room: int, models: list[Any]) -> bytes | None:
        """Return a call's bytes, or None as soon as they exceed `room`; models that became refs are added to a list."""
        return _encoder.encode_call(call.function, call.instance, call.args, call.kwargs, room, models)

    def dump(self, value: Any, room: int = NO_LIMIT) -> bytes | None:
        """Return the bytes of a value, or None as soon as they cannot fit into `room` bytes."""
        return _encoder.encode(value, room)

    def exceeds(self, call: Call, room: int) -> bool:  # noqa: ARG002  # encoding stops by itself
        """Return whether it is plain without encoding that a call exceeds `room` bytes."""
        return False

    def travels_as(self, value: Any) -> Any:
        """Return what is written of a value: the ref of a model, what its own `encode` makes of it, else itself."""
        return registry.dehydrate(value) or content_of(value)

    def measure(self, call: Call) -> tuple[int, list[Part]]:
        """Return the bytes of a call's parts together, and the largest; see `parts.measure`."""
        return parts.measure(call.parts(), self.travels_as, writes_once=self.writes_once)


def build(call: Call, limits: Limits, form: Format, queue: str = "") -> Payload:
    """Return the payload of a call, checked.

    Args:
        call: The call.
        limits: What holds for it.
        form: How it is written.
        queue: The queue's name, for the log.

    Raises:
        PayloadTooLargeError: It is over the limit of its mode.
        UnsupportedTypeError: Something in it cannot travel, or no worker could import the function.
        UnsavedModelError: A model in it has no primary key.
    """
    if "<" in str(call.function) and not form.keeps_calls:
        raise UnsupportedTypeError(
            "no worker could import a lambda or a function inside a function",
            hint="Define it at the top of a module.",
            task=call.task,
        )
    encoded = encode(call, limits, form, queue)
    return Payload(
        task=str(call.task),
        function=str(call.function),
        data=encoded.data,
        stored_data=compress(encoded.data),
        meta=call.meta,
        meta_bytes=encoded.meta_bytes,
        description=describe_call(str(call.task), call.args, call.kwargs, with_values=settings().describe == "values"),
        is_warned=encoded.is_warned,
        limits=limits,
        transactions=encoded.transactions,
        commit=call.commit,
        queue=queue,
        kept=call if form.keeps_calls else None,
    )


def encode(call: Call, limits: Limits, form: Format, queue: str = "") -> Encoded:
    """Return the bytes of a call, checked; raises as `build`."""
    room = limits.room
    models: list[Any] = []
    try:
        data = form.dump_call(call, room, models)
        meta = form.dump(call.meta, room) if call.meta else b""
        if data is None or meta is None:
            raise too_large(call, None, room, form)
        is_warned = check(call, len(data) + len(meta), limits, form, queue)
        transactions = registry.transactions_of(models) if models else ()
    except Refused as refused:
        raise locate(refused, call.task, call.parts(), room) from None
    finally:
        models.clear()  # an idle encoder keeps the list, and would keep the models
    return Encoded(data, len(meta), is_warned, transactions)


def check(call: Call, size_bytes: int, limits: Limits, form: Format, queue: str) -> bool:
    """Hold a payload's size against the limits, and return whether it is large enough for a warning.

    Raises:
        PayloadTooLargeError: It is over the limit of its mode.
    """
    if size_bytes > limits.room:
        raise too_large(call, size_bytes, limits.room, form)
    is_large = size_bytes > min(limits.warn_bytes, limits.max_bytes)
    if is_large and limits.mode != "track":
        _warn(call, size_bytes, limits, form, queue)
    return is_large


def locate(refused: Refused, task: str | None, among: dict[str, Any], room: int = NO_LIMIT) -> SlimjobsError:
    """Return the error of a refusal, with the task and the path of its culprit.

    Args:
        refused: The refusal.
        task: The task's import path.
        among: What was encoded, by path.
        room: How many bytes there were for it.
    """
    error = refused.error
    if isinstance(error, PayloadTooLargeError):  # of a query, whose rows were not all read
        error.size_bytes, error.limit_bytes = room + 1, room
    error.task = task
    if refused.culprit is None:
        error.path = parts.find_depth(among, MAX_DEPTH)
    else:
        error.path = parts.find_path(among, refused.culprit)
        if error.path is None and refused.inside is not None:
            error.path = parts.find_path_of_id(among, refused.inside)
    if isinstance(error, PayloadTooLargeError):
        listeners.refused(error)
    # The error's context will be the refusal: a cycle would keep the call's values for long.
    del refused.error, refused.culprit
    return error


def too_large(call: Call, size_bytes: int | None, limit_bytes: int, form: Format) -> PayloadTooLargeError:
    """Return the error to raise for a call over its limit; its size is None where encoding stopped at the limit."""
    total_bytes, largest = form.measure(call)
    least_bytes = size_bytes or max(total_bytes, limit_bytes + 1)
    error = PayloadTooLargeError(task=call.task, size_bytes=least_bytes, limit_bytes=limit_bytes, parts=largest)
    error.hint = parts.hint_for(call.parts(), largest) or error.hint
    error.at_least = size_bytes is None
    listeners.refused(error)
    return error


def _warn(call: Call, size_bytes: int, limits: Limits, form: Format, queue: str) -> None:
    held_back = size_warnings.admit(call.task)
    if held_back is None:
        return
    is_over = size_bytes > limits.max_bytes
    limit_bytes = limits.max_bytes if is_over else limits.warn_bytes
    size, limit = format_pair(size_bytes, limit_bytes)
    _, largest = form.measure(call)
    logger.warning(
        "%s: payload is %s, %s is %s; %s%s",
        call.task,
        size,
        "limit" if is_over else "warning from",
        limit,
        describe_parts(largest[:1]) if largest else "it is in the task's name",
        f" ({held_back} more held back)" if held_back else "",
        extra={
            "task": call.task,
            "queue": queue,
            "payload_bytes": size_bytes,
            "limit_bytes": limit_bytes,
            "largest_path": largest[0][0] if largest else None,
            "largest_bytes": largest[0][1] if largest else None,
            "held_back": held_back,
        },
    )
