"""What a process enqueues, recorded for tests: watched in RQ's classes, measured, and judged."""
