"""RQ's `dumps` and `loads`, and how serializers that are not ours are asked for a call's bytes.

This is the only module that knows RQ's 4-tuple: (function's name, instance, args, kwargs).
"""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rq.serializers import DefaultSerializer, JSONSerializer

from slimjobs import codec, tagging
from slimjobs.calls import Call
from slimjobs.codec import NO_LIMIT, Refused
from slimjobs.compression import inflate_beginning
from slimjobs.errors import PayloadDecodeError, UnsupportedTypeError
from slimjobs.limits import for_task, settings
from slimjobs.parts import measure
from slimjobs.payload import Format, encode, locate
from slimjobs.registry import dehydrate
from slimjobs.weights import children

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rq.job import Job as RQJob
    from rq.serializers import Serializer as RQSerializer

    from slimjobs.errors import Part


class Serializer:
    """Writes and reads RQ's payloads in slimjobs' format: `Queue(..., serializer=slimjobs.Serializer)`.

    On its own, in a stock `rq.Queue`, it makes refs of models and is the backstop for limits, as far
    as a serializer can: RQ asks it when other commands of the job may be buffered already. The
    queue, job and worker classes of slimjobs check earlier, and load refs for the call.
    """

    @staticmethod
    def dumps(value: Any, /) -> bytes:
        """Return the bytes of a call (RQ's 4-tuple), of a job's meta or of a result.

        Raises:
            PayloadTooLargeError: A call is over the limits of its task or of the process.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no primary key.
        """
        if _is_call(value):
            function, instance, args, kwargs = value
            encoded = encode(Call(function, function, instance, tuple(args), kwargs), for_task(function), SLIM)
            if type(args) is tuple:
                return encoded.data
        return _ValueSerializer.dumps(value)

    @staticmethod
    def loads(data: bytes, /) -> Any:
        """Return what was written; models in it are refs.

        Raises:
            PayloadDecodeError: These are not the bytes of a payload, or this process cannot read
                them.
        """
        if data[:1] == codec.MAGIC or not settings().read_pickle:
            return codec.decode(data)
        return Pickle.loads(data)


class _ValueSerializer(Serializer):
    """The same for what is never a call, such as a result that is shaped like one."""

    @staticmethod
    def dumps(value: Any, /) -> bytes:
        """Return the bytes of a value; raises as `Serializer.dumps`, and knows no limit."""
        try:
            data = SLIM.dump(value)
        except Refused as refused:
            raise locate(refused, None, {"value": value}) from None
        assert data is not None  # there was no limit
        return data


@contextmanager
def writing_values(job: RQJob) -> Iterator[None]:
    """Let RQ write meta and results of a job, and no call."""
    serializer = job.serializer
    if format_of(serializer) is SLIM:
        job.serializer = _ValueSerializer
    try:
        yield
    finally:
        job.serializer = serializer


class Pickle:
    """RQ's pickle, for jobs that stock RQ wrote and that `read_pickle=True` lets this process read."""

    dumps = staticmethod(DefaultSerializer.dumps)

    @staticmethod
    def loads(data: bytes, /) -> Any:
        """Return what was pickled.

        Raises:
            PayloadDecodeError: It cannot be unpickled here.
        """
        try:
            return pickle.loads(data)  # noqa: S301  # what read_pickle=True asks for, by name
        except Exception as error:
            raise PayloadDecodeError(f"the pickle cannot be read ({type(error).__name__})") from error


class ForeignFormat(Format):
    """The format of a serializer that is not ours, such as RQ's pickle.

    What it writes is left as it is, models included: jobs stay readable for workers that know
    nothing of slimjobs. Only for a function with `@job` models become refs. Limits and counts hold.
    """

    keeps_calls = True

    def __init__(self, serializer: RQSerializer) -> None:
        self._serializer = serializer
        self.writes_once = serializer is not JSONSerializer

    def dump_call(self, call: Call, room: int, models: list[Any]) -> bytes | None:
        """Return the bytes of a call, or None where RQ's own serializers could not write it into `room`."""
        # Before the models are looked for, since that walks all there is.
        if self.exceeds(call, room):
            return None
        args, kwargs = call.args, call.kwargs
        if call.is_task:
            args, kwargs = tagging.dehydrate((args, kwargs), self._serializer, room, models)
        # A culprit is looked for in what was given: what is written in its place has no path there.
        given = call.instance, call.args, call.kwargs
        return self._dump((call.function, call.instance, args, kwargs), given, call.is_task)

    def dump(self, value: Any, room: int = NO_LIMIT) -> bytes | None:  # noqa: ARG002  # weighed by the caller
        """Return the bytes of a value."""
        return self._dump(value, value)

    def _dump(self, value: Any, given: Any, is_task: bool = False) -> bytes:
        try:
            return self._serializer.dumps(value)
        except _UNWRITABLE:
            culprit = self._find_unwritable(given, is_task)
        problem = f"a {type(culprit).__qualname__} cannot be written by the serializer of this queue"
        raise Refused(culprit, UnsupportedTypeError(problem))

    def _find_unwritable(self, value: Any, is_task: bool) -> Any:
        """Return what in a value the serializer cannot write; a container where none of its items alone is to blame."""
        items = [item for _, item in children(value)] if isinstance(value, (list, tuple, dict)) else []
        culprit = next((item for item in items if not self._can_write(item, is_task)), None)
        return value if culprit is None else self._find_unwritable(culprit, is_task)

    def _can_write(self, value: Any, is_task: bool) -> bool:
        try:
            self._serializer.dumps(tagging.dehydrate(value, self._serializer) if is_task else value)
        except _UNWRITABLE:
            return False
        return True

    def exceeds(self, call: Call, room: int) -> bool:
        """Return whether RQ's own serializers could not write a call into `room` bytes."""
        return self._serializer in _RQS_OWN and _least_bytes(call, room) > room

    def travels_as(self, value: Any) -> Any:
        """Return the value: such serializers write all there is."""
        return value

    def measure(self, call: Call) -> tuple[int, list[Part]]:
        """Return the bytes of a call's parts together, and the largest; see `parts.measure`."""
        if not call.is_task:
            return super().measure(call)
        return measure(call.parts(), _with_refs, writes_once=self.writes_once)


def format_of(serializer: RQSerializer) -> Format:
    """Return how a queue with this serializer writes."""
    # A subclass, and an instance of one, may write something else, such as what is encrypted.
    return SLIM if serializer is Serializer or type(serializer) is Serializer else ForeignFormat(serializer)


def go_on_with(serializer: Any, stored: bytes) -> Any:
    """Return the serializer for the format that a job's payload was written in, for its meta and results too.

    Args:
        serializer: That of the job, or what RQ's own parts take for it.
        stored: The payload as it is stored.
    """
    is_ours = serializer is Serializer
    if is_ours and not settings().read_pickle:
        return serializer
    beginning = inflate_beginning(stored, 1024)
    if is_ours:
        # Stock workers and callers may be the next to read it.
        return serializer if beginning[:1] in (codec.MAGIC, b"") else Pickle
    # One byte would not do: what is encrypted may begin with any.
    return Serializer if beginning.startswith(_CALL_HEADERS) else serializer


def _with_refs(value: Any) -> Any:
    return dehydrate(value) or value


def _is_call(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 4
        and (type(value[0]) is str or value[0] is None)
        and type(value[2]) in (tuple, list)
        and type(value[3]) is dict
    )


def _least_bytes(call: Call, room: int) -> int:
    """Return a lower bound for the bytes of a call, or something over `room`.

    Every object counts once, since a pickle writes it once: its characters, or its items.
    """
    size_bytes = 0
    seen: set[int] = set()
    pending: list[Any] = [call.args, call.kwargs]
    while pending and size_bytes <= room:
        value = pending.pop()
        if id(value) not in seen and isinstance(value, (str, bytes, list, tuple, set, frozenset, dict)):
            seen.add(id(value))
            size_bytes += len(value)
            if size_bytes <= room and not isinstance(value, (str, bytes)):
                pending.extend(value)
                pending.extend(value.values() if isinstance(value, dict) else ())
    return size_bytes


# The array of a call, or of one whose arguments are a list, which is written as any other value.
_CALL_HEADERS = codec.HEADER + b"\x94", codec.HEADER + b"\x91\x95"
# What pickle and JSON raise of a value that they cannot write.
_UNWRITABLE = (TypeError, AttributeError, pickle.PicklingError)
_RQS_OWN = (DefaultSerializer, Pickle, JSONSerializer)
SLIM = Format()
