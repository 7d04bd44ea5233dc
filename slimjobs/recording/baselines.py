"""The baseline: a file with the jobs that are known to be too large, by task and bytes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from slimjobs.errors import ConfigurationError
from slimjobs.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SAMPLE = '{"tasks": {"app.jobs.send_email": 5242880}}'


def read_baseline(path: Path) -> dict[str, int]:
    """Return the payload bytes of a baseline by task.

    Raises:
        ConfigurationError: The file cannot be read, or is no baseline; the message shows one.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))["tasks"]
        return {str(task): parse_size(size) for task, size in tasks.items()}
    except FileNotFoundError:
        hint = "Write it with --slimjobs-update-baseline."
        raise ConfigurationError(f"there is no baseline {path}", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"{path} is no baseline ({reason}); write {_SAMPLE}") from None


def update_baseline(
    path: Path, before: Mapping[str, int], seen: Mapping[str, int], *, may_lower: bool
) -> tuple[int, int]:
    """Write a baseline: what was seen replaces what it had for these tasks, and others stay.

    Args:
        path: The file, which is replaced as a whole or not at all.
        before: What it had.
        seen: Of each task that was enqueued the largest payload to be listed, in bytes; 0 where none has to be.
        may_lower: Whether all was seen that there is; else no task is listed with less than before.

    Raises:
        OSError: It cannot be written.

    Returns:
        How many tasks it lists, and how many it did before.
    """
    if not may_lower:
        seen = {task: max(size_bytes, before.get(task, 0)) for task, size_bytes in seen.items()}
    tasks = {task: size_bytes for task, size_bytes in {**before, **seen}.items() if size_bytes}
    text = json.dumps({"tasks": dict(sorted(tasks.items()))}, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(f"{text}\n", encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return len(tasks), len(before)
