"""Files that are written whole or not at all, so that whoever reads one never sees a part."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from slimjobs.errors import ConfigurationError


def check_writable(path: Path) -> None:
    """See that a file could be written, before there is anything to write; nothing is left behind.

    Raises:
        ConfigurationError: It could not; the message says why.
    """
    target = _target(path)
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise _error(path, error) from None


def write_whole(path: Path, text: str) -> None:
    """Write a file in UTF-8, which takes the place of one that is there once it is on the disk.

    Raises:
        ConfigurationError: It cannot be written; what was there is as it was.
    """
    target = _target(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            with temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _error(path, error) from None


def _target(path: Path) -> Path:
    """Return where the file itself is: a link stays one. A device must not be replaced by a file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ConfigurationError(f"{path} cannot be written (it is no file)")
    return target


def _error(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be written ({error.strerror})")
