"""The app to put into INSTALLED_APPS, for `manage.py check` and django-rq's pages in the admin."""

from __future__ import annotations

import importlib

from django.apps import AppConfig, apps


class SlimjobsDjangoRQConfig(AppConfig):
    """Loads the package, which registers its checks: what RQ_QUEUES names is not imported before it is used."""

    name = "slimjobs.contrib.django_rq"
    label = "slimjobs_django_rq"
    verbose_name = "slimjobs for django-rq"

    def ready(self) -> None:
        """Let django-rq's pages read with slimjobs' classes."""
        if apps.is_installed("django.contrib.auth"):  # else there are no pages, which ask who is asking
            importlib.import_module("slimjobs.contrib.django_rq.pages").install()
