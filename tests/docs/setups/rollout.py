"""A service on stock RQ, with pickled jobs in flight."""

import os
import subprocess
import sys
from pathlib import Path

Path("app/database.py").write_text("""
from random import Random

from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

Session = sessionmaker(create_engine("sqlite://"))


class Email:
    def __init__(self, id, body):
        self.id = id
        self.body = body


def fetch_email(pk):
    return Email(pk, Random(pk).randbytes(45_000 + 5_000 * pk).hex())
""")
Path("test_app.py").write_text("""
def test_nothing(): ...
""")
ENQUEUE = """
import os
from datetime import timedelta
from redis import Redis
from app.database import fetch_email
from app.jobs import send_email
from app.queues import Queue

queue = Queue("mail", connection=Redis())
queue.enqueue(send_email, fetch_email(1), ["ann@example.org"])
queue.enqueue_in(timedelta(days=1), send_email, fetch_email(2), ["bob@example.org"])
"""

WORKER = """
import slimjobs
from redis import Redis

slimjobs.Worker(["mail"], connection=Redis()).register_birth()
"""


def before(text):
    """Enqueue with the code and the mode of each step, and have the worker that its service has."""
    mode = "track" if "slimjobs stats" in text else "warn"
    if text.startswith(("slimjobs stats", "slimjobs audit", "SLIMJOBS_READ_PICKLE", "slimjobs repack --trust")):
        subprocess.run([sys.executable, "-c", ENQUEUE], check=True, env={**os.environ, "SLIMJOBS_MODE": mode})
    if text.startswith("slimjobs doctor") and redis.llen("rq:queue:mail"):
        subprocess.run([sys.executable, "-c", WORKER], check=True, env={**os.environ, "SLIMJOBS_READ_PICKLE": "1"})


def after():
    from rq.registry import FailedJobRegistry, FinishedJobRegistry

    assert FailedJobRegistry("mail", redis).get_job_count() == 0
