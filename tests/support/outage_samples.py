"""A backlog like that of an outage, written by RQ: three queues, tasks of very different weight, most of it due."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import rq

if TYPE_CHECKING:
    from redis import Redis

LONGEST_TASK = "app.integrations.warehouse.nightly.synchronize_all_inventory_reservations_of_each_shop_v2"

# By queue and task: how many jobs, and the bytes that each is of the largest, in thousandths.
BACKLOG = {
    "five_minutes": {
        "app.newsletters.send_email": (180, 1000),
        "app.newsletters.send_digest": (60, 700),
        "app.newsletters.track_opens": (400, 4),
        "app.newsletters.unsubscribe": (40, 1),
        "app.newsletters.render_preview": (12, 500),
        "app.attachments.resize": (24, 350),
        "app.attachments.scan_for_viruses": (9, 900),
        "app.bounces.collect": (30, 12),
        "app.bounces.suppress": (20, 2),
    },
    "reports": {
        "shop.reports.monthly_revenue": (8, 4000),
        "shop.reports.export_orders": (14, 1500),
        "shop.reports.export_customers": (10, 800),
        "shop.reports.churn": (6, 600),
        "shop.reports.vat": (4, 150),
        LONGEST_TASK: (5, 2200),
        "shop.reports.cleanup": (3, 1),
    },
    "default": {
        "app.search.index_document": (220, 40),
        "app.images.make_thumbnail": (60, 90),
        "app.webhooks.deliver": (150, 15),
        "app.webhooks.retry": (70, 14),
        "app.contacts.sync": (90, 9),
        "app.contacts.merge": (12, 5),
        "app.sessions.expire": (30, 1),
        "app.billing.charge": (25, 3),
        "app.billing.remind": (18, 2),
    },
}


def fill_like_an_outage(redis: Redis, largest_bytes: int) -> None:
    """Enqueue the backlog.

    Args:
        redis: Where to.
        largest_bytes: The weight of 1000 in `BACKLOG`, in bytes.
    """
    rng = random.Random(1)
    late = datetime.now(timezone.utc) - timedelta(minutes=12)
    for name, tasks in BACKLOG.items():
        queue = rq.Queue(name, connection=redis)
        for task, (jobs, weight) in tasks.items():
            for number in range(jobs):
                size = rng.uniform(0.85, 1.15) * weight * largest_bytes / 1000
                body = rng.randbytes(round(size))
                if name == "five_minutes":
                    queue.enqueue_at(late, task, body)
                elif number % 9 == 8:
                    queue.enqueue(task, body).cancel()
                else:
                    queue.enqueue(task, body)
