"""The page of an audit, for backlogs that are not written in a moment."""

from __future__ import annotations

from datetime import datetime, timezone

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.rows import Measured, Name
from slimjobs.cli import kinds
from slimjobs.cli.audit_page import page_of
from slimjobs.cli.audit_report import Report


def page_with(*jobs: tuple[str, str, int]) -> str:
    """Return the page of jobs: queue, task and bytes."""
    audit = Audit()
    for queue, task, size in jobs:
        audit.add_job(Measured(Name(queue, "queued", task), size, size, 0, 0, None, True))
    audit.finish()
    report = Report(audit, None, None, None, [], kinds.size("512MB"), None)
    return page_of(report, "redis.example.org:6379, database 0", datetime.now(timezone.utc))


def test_a_page_stays_small_however_many_queues_and_tasks_there_are_and_however_long_their_names() -> None:
    page = page_with(*((f"{number}<" * 5000, f"app.{number}" + "&" * 1000, 1000) for number in range(3000)))
    assert len(page) < 5_000_000
    assert page.count("<tr") < 2100
    assert "By queue and state (1,000 of 3,000)" in page


def test_queues_beyond_the_colours_and_small_tasks_share_a_box() -> None:
    tasks = [("mail", "app.large", 900_000), *(("mail", f"app.small_{number}", 100) for number in range(5))]
    page = page_with(*tasks, *((f"queue-{number}", "app.run", 10_000) for number in range(10)))
    for shown in ("mail: 5 other tasks, 500 bytes in 5 jobs", "3 other queues: all tasks, 29.3 KiB in 3 jobs"):
        assert page.count(f'title="{shown}') == 2  # for wide screens and for narrow ones
    assert 'title="queue-3: app.run, ' in page
    assert 'title="queue-9: ' not in page


def test_a_single_small_queue_or_task_is_called_by_its_name() -> None:
    page = page_with(("mail", "app.large", 900_000), ("mail", "app.small", 100), ("low", "app.run", 100))
    assert 'title="mail: app.small, 100 bytes in 1 job, 0.0 %"' in page
    assert 'title="low: all tasks, 100 bytes in 1 job, 0.0 %"' in page


def test_jobs_without_bytes_have_no_treemap_and_are_counted() -> None:
    page = page_with(("", "", 0))
    assert 'id="map"' not in page
    assert "(none)" in page
    assert '<th scope="row">1 bytes</th>' in page


def test_sizes_that_no_job_has_are_on_the_scale() -> None:
    page = page_with(("mail", "app.run", 1000), ("mail", "app.run", 5000))
    sizes = page.partition('class="sizes"')[2].partition("</table>")[0]
    assert [row.partition("<")[0] for row in sizes.split('<th scope="row">')[1:]] == [
        "1 KiB",
        "2 KiB",
        "4 KiB",
        "8 KiB",
    ]
    assert sizes.count("<td>0</td>") == 2


def test_a_placeholder_in_a_name_is_a_name() -> None:
    assert "$content" in page_with(("$content", "app.$version", 1))
