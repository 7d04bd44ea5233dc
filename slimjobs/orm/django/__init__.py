"""Django's models, without a word of registration: adds their adapter to the registry."""

from __future__ import annotations

from slimjobs.orm.django import connections as _connections  # noqa: F401  # a fork leaves them to the parent
from slimjobs.orm.django.adapter import DjangoAdapter
from slimjobs.registry import add_adapter

add_adapter(DjangoAdapter())
