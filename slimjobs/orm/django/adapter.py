"""What Django's models have in common: which classes they are, and the names that they go by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import django
from django.apps import apps
from django.conf import settings
from django.db.models.base import ModelBase

from slimjobs.locators import Adapter
from slimjobs.orm.django.locator import ModelLocator
from slimjobs.orm.django.queries import rows_of

if TYPE_CHECKING:
    from slimjobs.locators import Locator
    from slimjobs.refs import Rows


class DjangoAdapter(Adapter):
    """All models of all installed apps, by their label: "shop.Email"."""

    def __init__(self) -> None:
        self._locators: dict[type, ModelLocator] = {}

    def locator_for(self, cls: type) -> Locator | None:
        """Return the locator of a model that has a table, or None."""
        if isinstance(cls, ModelBase):
            options: Any = getattr(cls, "_meta", None)
            # Only what goes by the label: a migration has models of its own, of the same labels.
            if options and apps.all_models.get(options.app_label, {}).get(options.model_name) is cls:
                return self._locator(cls)
        return None

    def locator_named(self, name: str) -> Locator | None:
        """Return the locator of a model by its label, setting Django up if it has not been; None if there is none.

        Raises:
            Exception: Whatever Django raises where it cannot be set up.
        """
        if name.count(".") != 1:
            return None
        set_up()
        if not apps.models_ready:  # get_model would raise
            return None
        try:
            return self._locator(apps.get_model(name))
        except LookupError:
            return None

    def rows_of(self, value: Any) -> Rows | None:
        """Return the rows of a QuerySet."""
        return rows_of(value)

    def _locator(self, model: type) -> ModelLocator:
        if model not in self._locators:
            self._locators[model] = ModelLocator(model)
        return self._locators[model]


def set_up() -> None:
    """Set Django up if its settings are known: the label of a bound method's model names no module to import."""
    if apps.ready or not (settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")):
        return
    was_loading = apps.loading
    try:
        django.setup()
    except RuntimeError:
        # What it raises where this thread is setting it up; another thread's setup is waited for.
        if not was_loading:
            raise
