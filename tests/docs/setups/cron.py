"""The application of the cron configuration."""

import os
import signal
from pathlib import Path
from threading import Timer

Path("app/models.py").write_text("""
import slimjobs


class Digest:
    id = 7


def find_digest(pk):
    return Digest()


slimjobs.register(Digest, load=find_digest)
""")
Path("app/jobs.py").write_text("""
def tidy_up(): ...


def send_digest(digest): ...
""")


def before(text):
    if "scheduler.start()" in text:
        Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
