"""Settings of the shop: two databases and django-rq.

The databases are SQLite files in SHOP_DIRECTORY, or on the server of SHOP_DATABASE_URL; the queues are in
the Redis of SHOP_REDIS_URL.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ALIASES = ("default", "archive")


def _database(alias: str) -> dict[str, Any]:
    """Return the settings of one database; each has the name shop_<alias>."""
    url = os.environ.get("SHOP_DATABASE_URL")
    if url is None:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(Path(os.environ["SHOP_DIRECTORY"]) / f"shop_{alias}.sqlite3"),
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    parts = urlsplit(url)
    # A socket's directory cannot be the host of a URL, and is an option: postgresql://user@/?host=/tmp/socket
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": f"shop_{alias}",
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "OPTIONS": options,
    }


SECRET_KEY = "of the tests"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_rq",
    "slimjobs.contrib.django_rq",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"
ALLOWED_HOSTS = ["*"]
# Tables come from the models: the history of Django's own apps takes seconds.
MIGRATION_MODULES = {"admin": None, "auth": None, "contenttypes": None, "django_rq": None, "sessions": None}
DATABASES = {alias: _database(alias) for alias in ALIASES}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
RQ_EXCEPTION_HANDLERS = ["shop.mail.note_failure"]

_REDIS_URL = os.environ.get("SHOP_REDIS_URL", "redis://localhost:6379/0")
RQ_QUEUES = {
    "default": {"URL": _REDIS_URL},
    "shop": {"URL": _REDIS_URL, "DEFAULT_TIMEOUT": 60, "DEFAULT_RESULT_TTL": 700},
}
RQ = {
    "QUEUE_CLASS": "slimjobs.contrib.django_rq.Queue",
    "JOB_CLASS": "slimjobs.contrib.django_rq.Job",
    "WORKER_CLASS": "slimjobs.contrib.django_rq.Worker",
}
