"""The entry of the command line: which commands there are, and how every one of them ends."""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

import slimjobs
from slimjobs.cli import audit, cron, demo, doctor, exporter, health, quarantine, repack, restore, scheduler, stats, top
from slimjobs.cli.connecting import explain
from slimjobs.cli.visible import visible
from slimjobs.errors import SlimjobsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A command is a module with `add_parser(commands)`, which sets `run` to a function of the arguments.
COMMANDS = (audit, quarantine, restore, repack, health, doctor, stats, top, exporter, scheduler, cron, demo)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the program's name; those of the process if None.

    Returns:
        The exit status: the command's, 2 after an error, 141 when the reader of the output went away (as the shell
        counts SIGPIPE), 130 after Ctrl-C.
    """
    _have_outputs()
    parser = _build_parser()
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] | None = getattr(arguments, "run", None)
    try:
        if run is None:
            parser.print_help()
            return 2
        status = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as interrupt:
        signal_number = interrupt.args[0] if interrupt.args else signal.SIGINT
        print("slimjobs: interrupted", file=sys.stderr)
        return 128 + int(signal_number)
    except (SlimjobsError, RedisError) as error:
        words = explain(error) if isinstance(error, RedisError) else str(error)
        print("slimjobs:", "\n".join(map(visible, words.splitlines())), file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001  # the status of Python itself would be that of a warning, or of a finding
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            _drop_output()
            print(f"slimjobs: the output cannot be written ({error.strerror})", file=sys.stderr)
        else:
            traceback.print_exc()
        return 2
    return status


def _drop_output() -> None:
    """Let what is left in the buffer go nowhere, without a second error when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _have_outputs() -> None:
    """Let a closed output go nowhere, and one that cannot print a character get its escape: neither ends a command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  # it stays open to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slimjobs", description=slimjobs.__doc__)
    parser.add_argument("--version", action="version", version=f"slimjobs {slimjobs.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser
