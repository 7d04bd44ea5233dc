"""The outage: a stock worker that waits, a dead scheduler, and a schedule that is too large to be read."""

import resource
import subprocess
import sys

import page_backlog
import rq

STATUSES = {"slimjobs health": 2}

stock = page_backlog.fill(redis, 1_000_000, large_jobs=260, small_jobs=40)
worker = subprocess.Popen([sys.executable, "-m", "rq.cli", "worker", "--quiet", "five_minutes"])
while not rq.Worker.all(redis):
    pass
resource.setrlimit(resource.RLIMIT_AS, (512 * 2**20, 512 * 2**20))


def before(text):
    if text.startswith("slimjobs health") and redis.exists("rq:finished:five_minutes"):
        STATUSES.clear()
        while stock.job_ids or stock.started_job_registry.get_job_ids():
            pass


def after():
    worker.terminate()
    worker.wait()
    assert stock.failed_job_registry.get_job_ids() == []
