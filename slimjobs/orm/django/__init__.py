"""Django's models, without a word of registration: adds their adapter to the registry."""

from __future__ import annotations

from slimjobs.orm.django.adapter import DjangoAdapter
from slimjobs.registry import add_adapter

add_adapter(DjangoAdapter())
