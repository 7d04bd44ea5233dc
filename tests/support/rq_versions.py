"""What older versions of RQ and redis-py lack: marks for the tests that need it, each with its reason."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import rq


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


RQ = _version(rq.__version__)
REDIS_PY = _version(redis.__version__)

# The class, or None where `needs_rate_limits` skips.
RateLimit: Any = getattr(rq, "RateLimit", None)

# Likewise, with `needs_webhooks`.
Webhook: Any = getattr(rq, "Webhook", None)

# The option, where there is one.
UNIQUE: dict[str, Any] = {"unique": True} if RQ >= (2, 8) else {}

needs_unique_jobs = pytest.mark.skipif(RQ < (2, 8), reason="unique jobs came with RQ 2.8")
needs_serializer_aliases = pytest.mark.skipif(RQ < (2, 9), reason='the serializer "pickle" came with RQ 2.9')
needs_webhooks = pytest.mark.skipif(RQ < (2, 10), reason="webhooks came with RQ 2.10")
needs_scheduling_in_pipelines = pytest.mark.skipif(
    RQ < (3, 0), reason="RQ before 3.0 schedules at once, pipeline or not"
)
needs_unique_ids_in_batches = pytest.mark.skipif(RQ < (3, 0), reason="RQ before 3.0 takes an id twice in a batch")
needs_dependencies_that_failed = pytest.mark.skipif(
    RQ < (3, 0), reason="RQ before 3.0 leaves a job deferred whose dependency had failed, though it may"
)
needs_metas_kept = pytest.mark.skipif(RQ < (3, 0), reason="RQ before 3.0 replaces a meta that it cannot read")
needs_spawn_worker = pytest.mark.skipif(RQ < (3, 0), reason="RQ before 3.0 spawns its own worker")
needs_django_rq = pytest.mark.skipif(RQ < (2, 6, 1), reason="django-rq 4 needs RQ 2.6.1")
needs_key_prefix = pytest.mark.skipif(RQ < (3, 0), reason="RQ_KEY_PREFIX came with RQ 3.0")
needs_live_results = pytest.mark.skipif(
    RQ < (3, 0), reason="RQ before 3.0 gives callbacks of synchronous queues the stored result"
)
needs_unique_schedules = pytest.mark.skipif(RQ < (3, 0), reason="RQ before 3.0 schedules unique jobs as any other")
needs_queue_class_of_pools = pytest.mark.skipif(
    RQ < (3, 0), reason="rq worker-pool ignores --queue-class before RQ 3.0"
)
needs_rate_limits = pytest.mark.skipif(RQ < (3, 0), reason="rate limits came with RQ 3.0")
