"""django-rq with slimjobs' classes: what to name in RQ_QUEUES, RQ and INSTALLED_APPS, and `@job`."""

from slimjobs.contrib.django_rq import checks as _checks  # noqa: F401  # registers them
from slimjobs.contrib.django_rq.decorator import job
from slimjobs.contrib.django_rq.queue import Queue
from slimjobs.contrib.django_rq.worker import SimpleWorker, SpawnWorker, Worker
from slimjobs.jobs import Job

__all__ = ["Job", "Queue", "SimpleWorker", "SpawnWorker", "Worker", "job"]
