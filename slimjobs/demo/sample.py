"""Fill the newsletter's database with an email of real text and with its subscribers."""

from __future__ import annotations

import html
import importlib
import inspect
import sqlite3
import warnings
from contextlib import closing
from hashlib import blake2b
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH_RECIPIENTS = 100
LIMITED_DOMAIN = "bigmail.example"
# Every fifth subscriber has an address at the domain that is over its rate limit.
DOMAINS = (LIMITED_DOMAIN, "smallmail.example", "letters.example", "office.example", "school.example")

# Sixty columns: what a newsletter service keeps about an email beside the one large column.
_COLUMN_NAMES = (
    "id subject preheader body_html sender_name sender_address reply_to language charset layout theme header_image "
    "footer_text unsubscribe_url archive_url campaign_id list_id segment_id author_id editor_id approver_id status "
    "priority created_at updated_at approved_at scheduled_at started_at finished_at archived_at sent_count "
    "open_count click_count bounce_count complaint_count unsubscribe_count forward_count reply_count utm_source "
    "utm_medium utm_campaign utm_term utm_content track_opens track_clicks ab_test_id ab_variant ab_weight "
    "attachment_count spam_score size_class region time_zone currency coupon_code legal_notice dkim_selector "
    "bounce_address feedback_id notes"
)
COLUMNS = tuple(_COLUMN_NAMES.split())

# Modules of the standard library with much to say; all are there in any build of Python.
_MODULE_NAMES = (
    "argparse ast asyncio base64 bisect calendar cmd codecs collections concurrent.futures configparser contextlib "
    "copy csv datetime decimal difflib dis doctest email.message enum fractions functools glob gzip heapq "
    "html.parser http.client http.server imaplib inspect ipaddress itertools json logging mailbox math mimetypes "
    "multiprocessing operator os pathlib pdb pickle pickletools platform plistlib poplib pprint pydoc queue random "
    "re sched secrets shelve shlex shutil smtplib socket sqlite3 statistics string struct subprocess tarfile "
    "tempfile textwrap threading timeit tokenize trace traceback types typing unittest unittest.mock urllib.parse "
    "urllib.request uuid warnings wave weakref xml.dom.minidom xml.etree.ElementTree xmlrpc.client zipfile"
)
DOCUMENTED_MODULES = tuple(_MODULE_NAMES.split())

HEADING = '<tr><td style="padding:24px 24px 8px;font-family:Georgia,serif;font-size:20px;color:#111111">{}</td></tr>\n'
PARAGRAPH = (
    '<tr><td style="padding:0 24px 16px;font-family:Helvetica,Arial,sans-serif;font-size:16px;line-height:24px;'
    'color:#333333">{}</td></tr>\n'
)

SCHEMA = f"""
    PRAGMA journal_mode = WAL;
    CREATE TABLE email (id INTEGER PRIMARY KEY, {", ".join(COLUMNS[1:])});
    CREATE TABLE subscriber (id INTEGER PRIMARY KEY, address TEXT UNIQUE NOT NULL);
    CREATE TABLE domain (name TEXT PRIMARY KEY, over_limit INTEGER NOT NULL);
    CREATE TABLE outbox (recipient TEXT NOT NULL, body_digest TEXT NOT NULL);
"""


def create_database(path: Path, *, recipients: int, body_bytes: int) -> str:
    """Create the newsletter's database: one email, its subscribers, and a domain over its rate limit.

    Args:
        path: The SQLite file to make.
        recipients: How many subscribers there are; every fifth is at the limited domain.
        body_bytes: The size of the email's HTML body, in bytes.

    Returns:
        The digest of the body, which every recipient must have been sent.
    """
    body_html = compose_body(body_bytes)
    row = {name: f"{name} of the spring issue" for name in COLUMNS} | {"id": 1, "body_html": body_html}
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        database.execute(f"INSERT INTO email VALUES ({', '.join(':' + name for name in COLUMNS)})", row)  # noqa: S608  # names of our own
        database.executemany(
            "INSERT INTO subscriber VALUES (?, ?)",
            ((number, f"reader{number:05}@{DOMAINS[number % len(DOMAINS)]}") for number in range(recipients)),
        )
        database.executemany("INSERT INTO domain VALUES (?, ?)", ((name, name == LIMITED_DOMAIN) for name in DOMAINS))
    return blake2b(body_html.encode()).hexdigest()


def compose_body(body_bytes: int) -> str:
    """Compose an HTML body of exactly `body_bytes` bytes from the standard library's documentation.

    The markup is a newsletter's: a table row with inline styles for each paragraph, as mail clients want it.
    """
    rows: list[str] = []
    missing = body_bytes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Some names warn that they are deprecated when they are looked at.
        for row in _table_rows():
            if missing <= 0:
                break
            rows.append(row)
            missing -= len(row)
    return "".join(rows)[:body_bytes]


def _table_rows() -> Iterator[str]:
    for module_name in cycle(DOCUMENTED_MODULES):
        for name, documentation in _documentation(module_name):
            yield HEADING.format(name)
            for paragraph in documentation.split("\n\n"):
                # ASCII alone, so that a character is a byte and the body can be cut anywhere.
                yield PARAGRAPH.format(html.escape(paragraph).encode("ascii", "xmlcharrefreplace").decode())


def _documentation(module_name: str) -> Iterator[tuple[str, str]]:
    module = importlib.import_module(module_name)
    for name, member in [("", module), *inspect.getmembers(module, _is_documented)]:
        owners = vars(member).items() if inspect.isclass(member) else ()
        for inner_name, inner in [("", member), *owners]:
            documentation = inspect.getdoc(inner) if _is_documented(inner) or inner is module else None
            if documentation:
                yield ".".join(filter(None, (module_name, name, inner_name))), documentation


def _is_documented(member: object) -> bool:
    return inspect.isclass(member) or inspect.isroutine(member)
