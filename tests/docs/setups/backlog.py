"""A backlog of stock RQ."""

from pathlib import Path

import page_backlog

page_backlog.fill(redis, 1_100_000, large_jobs=260, small_jobs=1)
Path("myproject").mkdir()
Path("myproject/tasks.py").write_text("from app.jobs import send_email")
