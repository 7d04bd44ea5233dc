"""The app to put into INSTALLED_APPS, for `manage.py check`."""

from __future__ import annotations

from django.apps import AppConfig


class SlimjobsDjangoRQConfig(AppConfig):
    """Loads the package, which registers its checks: what RQ_QUEUES names is not imported before it is used."""

    name = "slimjobs.contrib.django_rq"
    label = "slimjobs_django_rq"
    verbose_name = "slimjobs for django-rq"
