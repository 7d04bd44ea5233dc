"""Make `audit-page.png`, the picture of an audit's page: `python docs/images/make_audit_page.py`.

The backlog is written by RQ to a Redis of its own; a chromium and its chromedriver have to be on the path.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from redis import Redis

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.due import most_due
from slimjobs.backlog.scan import Scan
from slimjobs.cli import kinds
from slimjobs.cli.audit_page import page_of
from slimjobs.cli.audit_report import Report
from slimjobs.demo.redis_server import run_redis_server

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parents[1] / "tests" / "support"))

from headless import run_browser  # noqa: E402
from outage_samples import BACKLOG, fill_like_an_outage  # noqa: E402

LARGEST_BYTES = 10**6
WIDTH, HEIGHT = 1120, 900


def report_of(connection: Redis) -> Report:
    """Return what an audit finds."""
    audit, now = Audit(), datetime.now(timezone.utc).timestamp()
    scan = Scan(connection, more_than=audit.least_kept)
    for step in scan:
        audit.add(step)
        scan.more_than = audit.least_kept
    audit.finish()
    due = most_due(connection, now, BACKLOG)
    return Report(audit, due, due, None, [], kinds.size("512MB"), None)


def main() -> None:
    """Run it."""
    with run_redis_server() as url, Redis.from_url(url) as connection:
        fill_like_an_outage(connection, LARGEST_BYTES)
        report = report_of(connection)
    with tempfile.TemporaryDirectory() as name, run_browser(Path(name, "data")) as browser:
        path = Path(name, "audit.html")
        path.write_text(page_of(report, "redis.example.org:6379, database 0", datetime.now(timezone.utc)), "utf-8")
        browser.show(path.as_uri(), WIDTH, HEIGHT)
        end_of_charts = browser.ask("return document.getElementById('queues').getBoundingClientRect().top")
        browser.picture(FOLDER / "audit-page.png", round(end_of_charts))


if __name__ == "__main__":
    main()
