"""The parser of a command, and the options that several commands have."""

from __future__ import annotations

import argparse

# What `add_subparsers` returns.
Commands = argparse._SubParsersAction  # noqa: SLF001  # argparse has no other name for it


def add_command(
    commands: Commands[argparse.ArgumentParser], name: str, summary: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Args:
        commands: The commands of the program.
        name: What it is called.
        summary: What it does, in the list of commands.
        description: What it does, in its own help.
        epilog: Examples, and what exit status it has; shown as it is.
    """
    return commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_queue(parser: argparse.ArgumentParser, summary: str = "only this queue") -> None:
    """Add the option that names queues."""
    parser.add_argument(
        "--queue", "-q", action="append", default=[], metavar="NAME", help=f"{summary}; can be given again"
    )


def add_json(parser: argparse.ArgumentParser, summary: str = "print JSON") -> None:
    """Add the option for scripts."""
    parser.add_argument("--json", action="store_true", help=summary)


def add_apply(parser: argparse.ArgumentParser) -> None:
    """Add the option without which nothing is changed."""
    parser.add_argument("--apply", action="store_true", help="do it; without, only show what it would be")


def add_deep(parser: argparse.ArgumentParser) -> None:
    """Add the option for very long queues."""
    parser.add_argument(
        "--deep", action="store_true", help="also in the middle of very long queues, where each job holds Redis up"
    )
