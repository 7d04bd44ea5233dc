"""What is known of a job in Redis without its payload."""

from __future__ import annotations

from typing import NamedTuple

UNNAMED = "(a task that its jobs do not tell)"


class Name(NamedTuple):
    """What jobs are added up by.

    Attributes:
        queue: The name of their queue.
        state: Their status, as RQ writes it; "" where they have none.
        task: The import path of their task, or `UNNAMED`.
    """

    queue: str
    state: str
    task: str


class Measured(NamedTuple):
    """What was measured of a job.

    Attributes:
        name: Its queue, state and task.
        stored_bytes: All its bytes in Redis: payload, meta, description, result and error.
        data_bytes: Those of its payload.
        result_bytes: Those of what it returned.
        error_bytes: Those of what it failed with.
        is_listed: Whether the registry of its state has it; None for queued, scheduled and deferred
            jobs, whose registries may be as long as the backlog.
        expires: False of a job that stays for ever though it is canceled, or no registry has it.
    """

    name: Name
    stored_bytes: int
    data_bytes: int
    result_bytes: int
    error_bytes: int
    is_listed: bool | None
    expires: bool


class Tally(NamedTuple):
    """What was measured of jobs of one name, added up.

    Attributes:
        name: Their queue, state and task.
        is_listed: As in `Measured`, of each of them.
        expires: Likewise.
        jobs: How many they are.
        stored_bytes: The sum of all their bytes in Redis.
        data_bytes: That of their payloads.
        result_bytes: That of what they returned.
        error_bytes: That of what they failed with.
        largest_bytes: The stored bytes of the largest of them.
        sizes: The stored bytes of each, see `sums.round_up`.
    """

    name: Name
    is_listed: bool | None
    expires: bool
    jobs: int
    stored_bytes: int
    data_bytes: int
    result_bytes: int
    error_bytes: int
    largest_bytes: int
    sizes: list[int]


class JobRow(NamedTuple):
    """A job that was asked for by itself.

    Attributes:
        id: The job's id.
        created_at: When it was made, in UTC as ISO 8601; "" where that is not known.
        measured: What was measured of it.
    """

    id: str
    created_at: str
    measured: Measured


class Step(NamedTuple):
    """What one step has found.

    Attributes:
        tallies: All jobs, added up.
        rows: Those larger than was asked for.
        too_large: How many are larger than they should be.
    """

    tallies: list[Tally]
    rows: list[JobRow]
    too_large: int
