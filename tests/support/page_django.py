"""A Django project for the pages: an app with newsletters and emails, in a folder, with a database in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = """
from django.db import models


class Newsletter(models.Model):
    name = models.CharField(max_length=80)


class Email(models.Model):
    newsletter = models.ForeignKey(Newsletter, models.CASCADE, null=True)
    subject = models.CharField(max_length=80)
    html = models.TextField(default="")
"""
SETTINGS = """
INSTALLED_APPS = ["news"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "news.sqlite"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""


def set_up(settings: Mapping[str, Any] | None = None) -> Any:
    """Set up the project once, with settings that a page names, and return the model of emails."""
    if "news.models" not in sys.modules:
        Path("news").mkdir()
        Path("news/models.py").write_text(MODELS)
        own = {name: value for name, value in (settings or {}).items() if name.isupper()}
        # A page leaves out, as "...", what the project has.
        own["INSTALLED_APPS"] = ["news", *(app for app in own.get("INSTALLED_APPS", ()) if app is not ...)]
        text = SETTINGS + "".join(f"{name} = {value!r}\n" for name, value in own.items())
        Path("news_settings.py").write_text(text)
        os.environ["DJANGO_SETTINGS_MODULE"] = "news_settings"
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", run_syncdb=True, verbosity=0)
    from news.models import Email  # type: ignore[import-not-found]

    return Email
