"""RQ's Job as Redis holds it: read whatever its hash holds, and written back as it was."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import UNEVALUATED
from rq.job import Job as RQJob
from rq.serializers import resolve_serializer

from slimjobs import fields
from slimjobs.calls import task_of
from slimjobs.codec import NO_LIMIT, Refused, weigh
from slimjobs.compression import compress, inflate
from slimjobs.errors import PayloadDecodeError, SlimjobsError
from slimjobs.logs import damage_warnings, logger
from slimjobs.presence import PresentJob
from slimjobs.serializer import Serializer, go_on_with, writing_values

if TYPE_CHECKING:
    from redis import Redis
    from rq.serializers import Serializer as RQSerializer


def _drop_frames(error: BaseException | None) -> None:
    """Let go of the frames of an error and of those behind it: they hold the payload, for whoever reports them."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


class StoredJob(PresentJob):
    """The part of our job that is read from Redis and written back.

    What cannot be read is written back byte by byte. A payload or meta can be set anew; another field
    stays until it is taken out of the hash, since what RQ puts in its place is not what was told.

    Attributes:
        default_serializer: What payloads are written and read with where none is given.
        unreadable: The fields of the job's hash that cannot be read, and why. That a payload cannot
            be inflated or decoded is found out when it is looked at.
    """

    default_serializer: ClassVar[Any] = Serializer
    # The payload as it was read, as long as nobody has looked at it: most who fetch a job do not.
    _unopened: bytes | None = None

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  # RQ's name
        connection: Redis | None = None,
        serializer: RQSerializer | str | None = None,
    ) -> None:
        super().__init__(id, connection=connection)
        # RQ would look at the methods of the serializer for each job, which takes longer than the rest.
        serializer = serializer or self.default_serializer
        self.serializer = serializer if serializer is Serializer else resolve_serializer(serializer)
        self.unreadable: dict[str, str] = {}
        # The payload as it was last read or written, to spare compressing it at every save.
        self._stored: tuple[bytes, bytes] | None = None
        self._inflate_error: PayloadDecodeError | None = None
        self._unreadable_meta: bytes | None = None
        # Other fields that cannot be read; RQ would empty them, or put a default in their place.
        self._kept: dict[str, Any] = {}

    def ensure_readable(self) -> None:
        """Raise where the job cannot be run as it was told.

        Raises:
            DeserializationError: Its meta cannot be read, or another field that says how to run it.
        """
        told = self.unreadable.keys() - fields.BOOKKEEPING
        if told:
            raise self.error("; ".join(f"its {name} cannot be read: {self.unreadable[name]}" for name in sorted(told)))

    def error(self, problem: str) -> DeserializationError:
        """Return the error for something of the job that cannot be read, with the job's id and its task."""
        try:
            called = task_of(self.func_name, self.instance)
        except DeserializationError:
            called = self._presumed()
        return DeserializationError(f"job {self.id} ({called}): {problem}")

    def guess_task(self) -> str | None:
        """Return the import path of what the job calls as far as it can be told without its payload, or None."""
        found = self._find_task()
        return found[0] if found else None

    def _find_task(self) -> tuple[str, str] | None:
        return fields.find_task(b"" if self._data is UNEVALUATED else self.data, self.description)

    def _presumed(self) -> str:
        found = self._find_task()
        return f"{found[0]}, by {found[1]}" if found else "task unknown"

    def restore(self, raw_data: Any) -> Any:
        """Take over what was read from Redis; what of it cannot be read is said in the log.

        Raises:
            NoSuchJobError: It is what RQ leaves of a job that was deleted while it ran.
        """
        hash_ = fields.by_name(raw_data)
        stored = hash_.pop("data", None)
        if stored is None and "created_at" not in hash_:
            raise NoSuchJobError(f"job {self.id} has no payload; it was deleted while it ran")
        meta, exc_info = hash_.pop("meta", None), hash_.pop("exc_info", None)
        self.unreadable, self._kept = {}, {}
        try:
            super().restore({**hash_, "data": b""})
            is_sound = fields.is_sound(self)
        except Exception:  # noqa: BLE001  # RQ reads each field in its own way
            is_sound = False
        if not is_sound:
            blank = partial(RQJob, self.id, self.connection, self.serializer)
            readable, self.unreadable = fields.sort_out(hash_, blank)
            self._kept = {name: hash_[name] for name in self.unreadable.keys() - fields.BOOKKEEPING}
            self.retry_intervals = self.repeat_intervals = None
            super().restore({**readable, "data": b""})
        if exc_info:
            self._exc_info = fields.read_text(exc_info)
        unopened = stored or b""
        self._unopened, self._inflate_error = unopened, None
        if stored is None:
            self._inflate_error = PayloadDecodeError("it is missing")
            self.unreadable["payload"] = self._inflate_error.describe()
        self.serializer = go_on_with(self.serializer, unopened)
        self._read_meta(meta)
        if self.unreadable:
            self._warn()

    @property
    def _data(self) -> Any:
        """The payload, where RQ keeps it: inflated when it is first looked at."""
        if self._unopened is not None:
            self._open()
        return self._payload_data

    @_data.setter
    def _data(self, value: Any) -> None:
        self._unopened = None
        self._payload_data = value

    def _open(self) -> None:
        stored = data = self._unopened or b""
        try:
            data = inflate(stored)
        except PayloadDecodeError as error:
            self._inflate_error = error
            self.unreadable["payload"] = error.describe()
        self._data = data
        self._stored = data, stored

    def _read_meta(self, stored: bytes | None) -> None:
        self._unreadable_meta = None
        self.unreadable.pop("meta", None)
        if not stored:
            self.meta = {}
            return
        meta: Any = None
        try:
            meta = self.serializer.loads(stored)
            problem = None if isinstance(meta, dict) else "it is no dict"
            if self.serializer is Serializer:
                weigh(meta, NO_LIMIT)  # RQ writes it again
        except Refused as refused:
            problem = refused.error.problem
        except Exception as error:  # noqa: BLE001  # of many kinds, one for each serializer
            problem = fields.describe(error)
        if problem is None:
            self.meta = meta
        else:
            self.meta = {"unserialized": stored}  # as RQ shows it
            self._unreadable_meta = stored
            self.unreadable["meta"] = problem

    def _warn(self) -> None:
        held_back = damage_warnings.admit(self.origin)
        if held_back is not None:
            logger.warning(
                "job %s: %s%s",
                self.id,
                "; ".join(f"its {name} cannot be read: {problem}" for name, problem in self.unreadable.items()),
                f" ({held_back} more held back)" if held_back else "",
                extra={"job_id": self.id, "queue": self.origin, "held_back": held_back},
            )

    def _deserialize_data(self) -> None:
        cause: BaseException | None = None
        try:
            super()._deserialize_data()  # type: ignore[no-untyped-call]
        except DeserializationError as error:
            cause = self._inflate_error or error.__cause__
            if self.serializer is Serializer and not isinstance(cause, PayloadDecodeError):
                cause = PayloadDecodeError("it is no call")  # but something else that can be decoded
        else:
            if not fields.is_call(self._func_name, self._args, self._kwargs):
                self.data = self._data
                cause = PayloadDecodeError("it is no call")
        if cause is not None:
            _drop_frames(cause)
            raise self._payload_error(cause) from cause

    def _payload_error(self, cause: BaseException) -> DeserializationError:
        problem = str(cause) if isinstance(cause, SlimjobsError) else f"{type(cause).__name__}: {cause}"
        return DeserializationError(f"job {self.id} ({self._presumed()}): its payload cannot be read: {problem}")

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:
        """Return what is written to Redis: the payload as it was read or made, small ones uncompressed."""
        unopened, is_meta_kept = self._unopened, self._is_meta_kept()
        data = self.data if unopened is None else b""
        self._data = b""  # RQ compresses whatever is here
        try:
            with writing_values(self):
                mapping: dict[str, Any] = super().to_dict(include_meta and not is_meta_kept, include_result)
        finally:
            self._data = data  # pyright: ignore[reportIncompatibleVariableOverride]  # an attribute of RQ's
            self._unopened = unopened
        mapping["data"] = self._compressed(data) if unopened is None else unopened
        if is_meta_kept and include_meta:
            mapping["meta"] = self._unreadable_meta
        mapping.update(self._kept)
        return mapping

    def _compressed(self, data: bytes) -> bytes:
        if self._stored is None or self._stored[0] is not data:
            self._stored = data, compress(data)
        return self._stored[1]

    def _is_meta_kept(self) -> bool:
        stored = self._unreadable_meta
        return stored is not None and len(self.meta) == 1 and self.meta.get("unserialized") is stored

    def save_meta(self) -> None:
        """Write the job's meta, unless it is what could not be read."""
        if not self._is_meta_kept():
            super().save_meta()  # type: ignore[no-untyped-call]

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:
        """Return the job's meta, read again; see `rq.job.Job.get_meta`."""
        if refresh:
            self._read_meta(self.connection.hget(self.key, "meta"))  # type: ignore[arg-type]
            if "meta" in self.unreadable:
                self._warn()
        return self.meta
