"""Sizes: the limits, where they are set, and which of them wins."""

from __future__ import annotations

import os
from typing import Any, Literal, NamedTuple

from slimjobs.errors import ConfigurationError
from slimjobs.sizes import format_size, parse_size

__all__ = [
    "Limits",
    "Settings",
    "configure",
    "for_task",
    "format_size",
    "limit_task",
    "parse_size",
    "readable_bytes",
    "settings",
]

Mode = Literal["reject", "warn", "track"]
Describe = Literal["types", "values"]

_CHOICES: dict[str, tuple[str, ...]] = {"mode": ("reject", "warn", "track"), "describe": ("types", "values")}
# What a process inflates of a stored payload, unless its own limit is larger: so little data in Redis
# cannot fill its memory. Larger payloads are refused in every mode.
READABLE_BYTES = 64 * 2**20
# Why 64 KiB: RQ's scheduler reads up to 1,000 due jobs at once and holds up to two bytes for each of theirs, so that it
# takes at most 163 MiB of a 512 MB process (docs/why-64-kib.md).
_DEFAULTS: dict[str, Any] = {
    "max_bytes": 64 * 2**10,
    "warn_bytes": 16 * 2**10,
    "max_batch_bytes": 16 * 2**20,
    "max_result_bytes": 64 * 2**10,
    "mode": "reject",
}


class Limits:
    """Limits of a task, a queue or a process, in payload bytes (before compression).

    What is not given falls through to the next level (task, queue, `configure()`, environment) and
    reads as its default. A size at its limit is inside it. Sizes are ints or text such as "64 KiB".

    Args:
        max_bytes: The largest payload, 64 KiB.
        warn_bytes: The size from which a payload is warned about in the log, 16 KiB.
        max_batch_bytes: The largest sum of payloads in one `enqueue_many`, 16 MiB.
        max_result_bytes: The largest result that is stored, 64 KiB.
        mode: "reject" (default) refuses what is over a limit, "warn" logs it instead, "track" only
            counts it.

    Raises:
        ConfigurationError: A size or the mode cannot be read.
    """

    __slots__ = ("given", *_DEFAULTS)

    given: dict[str, Any]
    max_bytes: int
    warn_bytes: int
    max_batch_bytes: int
    max_result_bytes: int
    mode: Mode

    def __init__(
        self,
        max_bytes: int | str | None = None,
        warn_bytes: int | str | None = None,
        max_batch_bytes: int | str | None = None,
        max_result_bytes: int | str | None = None,
        mode: Mode | None = None,
    ) -> None:
        options = {
            "max_bytes": max_bytes,
            "warn_bytes": warn_bytes,
            "max_batch_bytes": max_batch_bytes,
            "max_result_bytes": max_result_bytes,
            "mode": mode,
        }
        given = {name: _read_option(name, value) for name, value in options.items() if value is not None}
        object.__setattr__(self, "given", given)
        for name, default in _DEFAULTS.items():
            object.__setattr__(self, name, given.get(name, default))

    @property
    def room(self) -> int:
        """The largest payload that is not refused, in bytes; in modes other than "reject" what can be read at all."""
        most_bytes = readable_bytes()
        return min(self.max_bytes, most_bytes) if self.mode == "reject" else most_bytes

    def over(self, lower: Limits) -> Limits:
        """Return these limits, with what they leave open taken from `lower`."""
        if not self.given:
            return lower
        return Limits(**{**lower.given, **self.given}) if lower.given else self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"limits do not change; make new ones with {name}=")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Limits) and self.given == other.given

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.given.items())))

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={value!r}' for name, value in self.given.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Limits, tuple(self.given.get(name) for name in _DEFAULTS))


class Settings(NamedTuple):
    """What holds for the whole process: set by the environment and `configure()`."""

    limits: Limits
    describe: Describe = "types"
    read_pickle: bool = False


def configure(
    *,
    max_bytes: int | str | None = None,
    warn_bytes: int | str | None = None,
    max_batch_bytes: int | str | None = None,
    max_result_bytes: int | str | None = None,
    mode: Mode | None = None,
    describe: Describe | None = None,
    read_pickle: bool | None = None,
) -> None:
    """Set limits and options for this process; what is not given stays as it was.

    Args:
        max_bytes: See `Limits`, for this and the next four.
        warn_bytes: See `Limits`.
        max_batch_bytes: See `Limits`.
        max_result_bytes: See `Limits`.
        mode: See `Limits`.
        describe: "types" (default) keeps arguments' values out of job descriptions, "values" shows
            bounded values of plain types.
        read_pickle: Whether payloads that stock RQ pickled are read, for a migration. Off by default,
            since a pickle runs whatever code it names.

    Raises:
        ConfigurationError: An option cannot be read.
    """
    global _settings  # noqa: PLW0603  # the process has one
    limits = Limits(max_bytes, warn_bytes, max_batch_bytes, max_result_bytes, mode)
    now = _own_settings()._replace(limits=limits.over(_own_settings().limits))
    if describe is not None:
        now = now._replace(describe=_read_option("describe", describe))
    if read_pickle is not None:
        now = now._replace(read_pickle=_read_flag("read_pickle", read_pickle))
    _settings = now


def settings() -> Settings:
    """Return what holds for this process; the environment is read at the first call."""
    own = _own_settings()
    return own if _overruling is None else own._replace(limits=_overruling.over(own.limits))


def overrule(limits: Limits | None) -> None:
    """Let limits hold above `configure()` and the environment, or none any more; a test's own do."""
    global _overruling  # noqa: PLW0603  # the process has one
    _overruling = limits


def _own_settings() -> Settings:
    global _settings  # noqa: PLW0603  # the process has one
    if _settings is None:
        _settings = read_environment(dict(os.environ))
    return _settings


def reset() -> None:
    """Forget `configure()` and read the environment again at the next call; for tests."""
    global _settings  # noqa: PLW0603  # the process has one
    _settings = None


def read_environment(environment: dict[str, str]) -> Settings:
    """Return the settings that `SLIMJOBS_*` variables make.

    Raises:
        ConfigurationError: A variable cannot be read; the message names it.
    """
    given: dict[str, Any] = {}
    for name in (*_DEFAULTS, "describe", "read_pickle"):
        variable = f"SLIMJOBS_{name.upper()}"
        text = environment.get(variable, "")
        if text:
            reader = _read_flag if name == "read_pickle" else _read_option
            given[name] = reader(name, text, label=variable)
    limits = Limits(**{name: value for name, value in given.items() if name in _DEFAULTS})
    return Settings(limits, given.get("describe", "types"), given.get("read_pickle", False))


def readable_bytes() -> int:
    """Return the largest payload that this process writes or reads, in bytes.

    A task's or a queue's own limits are not asked: what reads a payload knows neither.
    """
    return max(READABLE_BYTES, settings().limits.max_bytes)


def limit_task(task: str, limits: Limits) -> None:
    """Set the limits of the task with this import path; the decorator does."""
    own_limits[task] = limits


def for_task(task: str | None, queue_limits: Limits | None = None) -> Limits:
    """Return the limits that hold for a task: its own over its queue's over the process's."""
    limits = settings().limits
    if queue_limits is not None:
        limits = queue_limits.over(limits)
    own = own_limits.get(task)
    return limits if own is None else own.over(limits)


def _read_option(name: str, value: Any, label: str = "") -> Any:
    choices = _CHOICES.get(name)
    if choices is not None:
        if value not in choices:
            raise ConfigurationError(f"{label or name}: {value!r} is not one of {', '.join(choices)}")
        return value
    try:
        size = parse_size(value)
    except ValueError as error:
        raise ConfigurationError(f"{label or name}: {error}") from None
    if size == 0:
        raise ConfigurationError(f"{label or name}: at least 1 byte; to only count payloads, set mode to track")
    return size


def _read_flag(name: str, value: bool | str, label: str = "") -> bool:
    flag = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(str(value).lower())
    if flag is None:
        raise ConfigurationError(f"{label or name}: {value!r} is neither true nor false")
    return flag


_settings: Settings | None = None
_overruling: Limits | None = None
own_limits: dict[str | None, Limits] = {}  # by task
