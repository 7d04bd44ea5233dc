"""Helpers for tests: what was enqueued, what a worker would pass on, and whether payloads stay small.

They need no pytest; its plugin has them as the fixture `slimjobs`.
"""

from slimjobs.recording.jobs import Place, RecordedJob, Recording
from slimjobs.testing.bounds import PayloadBound, assert_payload_bounded
from slimjobs.testing.recorder import Recorder, record
from slimjobs.testing.round_trips import Passed, round_trip

__all__ = [
    "Passed",
    "PayloadBound",
    "Place",
    "RecordedJob",
    "Recorder",
    "Recording",
    "assert_payload_bounded",
    "record",
    "round_trip",
]
