"""The process that unpickles jobs, apart from the one that writes to Redis: `python -m slimjobs.backlog.converting`.

A pickle runs whatever code it names, may take any amount of memory, and may never end. So this process may hold no more
than it is told, has no connection to Redis, and is ended by its parent when it takes too long. Each message is a length
(4 bytes, big-endian) and a msgpack map, in both directions; the payload follows the one that tells of it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import struct
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

import msgpack

from slimjobs import registry
from slimjobs.backlog import application
from slimjobs.calls import Call, task_of
from slimjobs.codec import MAGIC, Encoder, Refused
from slimjobs.compression import compress, inflate
from slimjobs.descriptions import describe_call
from slimjobs.errors import SlimjobsError, UnsupportedTypeError
from slimjobs.fields import is_call
from slimjobs.limits import Limits
from slimjobs.loading import load_refs
from slimjobs.payload import encode, locate
from slimjobs.refs import Rows
from slimjobs.serializer import SLIM

if TYPE_CHECKING:
    from collections.abc import Sequence

_LENGTH = struct.Struct(">I")
# The exit status where the application leaves less than that of the memory that it may take.
NO_ROOM, _LEAST_BYTES = 3, 2**22
# What no worker would read.
_LIMITS = Limits(mode="track")


class CannotConvertError(Exception):
    """A job that stays as it is; the text says why."""


def convert(data: bytes, meta: bytes, description: str, *, every: bool = False) -> dict[str, Any]:
    """Return the fields of a job with refs in the place of its pickled models.

    Args:
        data: The payload as it is stored.
        meta: The meta as it is stored, b"" where there is none.
        description: The job's description; one that its user gave it is no field of the answer.
        every: Whether a job without models is converted too.

    Raises:
        CannotConvertError: There is nothing to be gained, or something would be lost.
    """
    payload = inflate(data)
    if payload[:1] == MAGIC:
        raise CannotConvertError("it is slim already")
    try:
        function, instance, args, kwargs = pickle.loads(payload)  # noqa: S301  # what --trust-pickle is for
        read_meta = pickle.loads(meta) if meta else None  # noqa: S301  # likewise
    except Exception as error:  # noqa: BLE001  # a pickle raises what it likes
        raise CannotConvertError(f"it cannot be unpickled here ({type(error).__name__})") from None
    if not is_call(function, args, kwargs):
        raise CannotConvertError("it holds no call")
    call = Call(task_of(function, instance), function, instance, args, kwargs, read_meta)
    refs = _refs_of(call)
    if not refs and not every:
        raise CannotConvertError("it carries no registered model")
    found = load_refs(refs)
    gone = [ref.label for ref in refs if ref not in found]
    if gone:
        raise CannotConvertError(f"it has the only copy of {', '.join(gone)}: no row is there")
    encoded = encode(call, _LIMITS, SLIM)
    fields: dict[str, Any] = {"data": compress(encoded.data), "meta": SLIM.dump(read_meta) if meta else b""}
    # Arguments may look different here: it is by the name that a text of RQ's or ours is known, with both.
    if not description or description.startswith((f"{function}(", f"{call.task}(")):
        fields["description"] = describe_call(str(call.task), args, kwargs)
    return fields


def _refs_of(call: Call) -> list[Any]:
    models: list[Any] = []
    try:
        _encoder.encode_call(call.function, call.instance, call.args, call.kwargs, _LIMITS.room, models)
    except Refused as refused:
        raise locate(refused, call.task, call.parts()) from None
    return list({ref: None for model in models if (ref := registry.dehydrate(model)) is not None})


def _dehydrate(value: Any) -> Any:
    found = registry.dehydrate(value)
    if isinstance(found, Rows):
        raise UnsupportedTypeError("it would be a list of its rows, and not a query")
    return found


_encoder = Encoder(_dehydrate)


def serve(source: BinaryIO, target: BinaryIO, *, every: bool = False) -> None:
    """Answer each job that comes with its new fields, or with the reason why there are none."""
    while (message := read_message(source)) is not None:
        try:
            data = source.read(message["data_bytes"])
            answer = convert(data, message["meta"], message["description"], every=every)
        except CannotConvertError as error:
            answer = {"problem": str(error)}
        except SlimjobsError as error:
            answer = {"problem": f"{error.path or 'the call'}: {error.describe()}"}
        except MemoryError:
            answer = {"problem": "it takes more memory than --memory allows"}
        except Exception as error:  # noqa: BLE001  # of the models' own code
            answer = {"problem": f"it cannot be converted ({type(error).__name__})"}
        write_message(target, answer)


def read_message(source: BinaryIO) -> dict[str, Any] | None:
    """Return the next message, or None at the end."""
    length = source.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    body = source.read(_LENGTH.unpack(length)[0])
    message: dict[str, Any] = msgpack.unpackb(body)
    return message


def write_message(target: BinaryIO, message: dict[str, Any]) -> None:
    """Write a message."""
    body: Any = msgpack.packb(message)
    target.write(_LENGTH.pack(len(body)) + body)
    target.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Import the application, say that it is there, and answer until there is no more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--app", action="append", default=[])
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args(argv)
    # What the application prints goes elsewhere: the messages have standard output for themselves.
    target = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    application.prepare()
    for module in arguments.app:
        import_module(module)
    limit_memory(arguments.memory_bytes)
    try:
        bytearray(_LEAST_BYTES)
    except MemoryError:
        os._exit(NO_ROOM)
    write_message(target, {"ready": True})
    serve(sys.stdin.buffer, target, every=arguments.all)


def limit_memory(most_bytes: int) -> None:
    """Let this process hold no more, where the system can."""
    try:
        import resource  # noqa: PLC0415  # Windows has none
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


if __name__ == "__main__":
    main()
