"""A scheduler that has the lock and moves nothing, and what the page has to be watched with."""

import re
import subprocess
import sys
from pathlib import Path

import page_backlog
import rq
from rq.scheduler import RQScheduler

STATUSES = {"slimjobs health --max": 2}

stock = page_backlog.fill(redis, 1_100_000, large_jobs=57, small_jobs=0)
worker = subprocess.Popen([sys.executable, "-m", "rq.cli", "worker", "--quiet", "five_minutes"])
while not rq.Worker.all(redis):
    pass
assert RQScheduler([stock], redis).acquire_locks()


def after():
    worker.terminate()
    worker.wait()
    # The commands of the units run; exit status 127 would be a command that is not there.
    command = re.search("^ExecStart=(.*)$", Path("rq-health.service").read_text(), re.MULTILINE)[1]
    assert subprocess.run(command.removeprefix("/opt/app/bin/").split(), stdout=subprocess.PIPE).returncode == 2
    # The alerts ask for metrics that are there.
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    slimjobs.Queue("mail", connection=redis).enqueue(print)
    registry.register(BacklogCollector(redis))
    metrics = set(re.findall(r"^# TYPE (\w+)", generate_latest(registry).decode(), re.MULTILINE))
    assert set(re.findall(r"slimjobs_\w+", Path("alerts.yml").read_text())) <= metrics
