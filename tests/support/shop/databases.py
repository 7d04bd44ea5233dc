"""Makes and empties the shop's databases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import django
from django.core.management import call_command
from django.db import connections

if TYPE_CHECKING:
    from pathlib import Path


def set_up(directory: Path) -> None:
    """Set Django up for the shop in this process and those that it starts, with its tables in a directory.

    Django can be set up once in a process. Where SHOP_DATABASE_URL is set, both databases are there already, empty.
    """
    os.environ["SHOP_DIRECTORY"] = str(directory)
    os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    django.setup()
    for alias in connections:
        call_command("migrate", run_syncdb=True, database=alias, verbosity=0)


def empty() -> None:
    """Delete all rows, committed."""
    for alias in connections:
        call_command("flush", database=alias, interactive=False, verbosity=0, inhibit_post_migrate=True)


def close() -> None:
    """Close this process's connections."""
    connections.close_all()
