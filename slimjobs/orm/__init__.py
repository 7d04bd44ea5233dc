"""Which ORMs there are; an adapter is imported once its ORM is, so that others cost nothing."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from threading import RLock

from slimjobs import registry

# The module that shows that an ORM is in use, and its adapter, which adds itself to the registry.
_PENDING = {
    "django.db.models": "slimjobs.orm.django",
    "sqlalchemy.orm": "slimjobs.orm.sqlalchemy",
    "peewee": "slimjobs.orm.peewee",
}


def discover(is_django_wanted: bool) -> None:
    """Import the adapters of the ORMs that this process has imported.

    Args:
        is_django_wanted: Whether Django is imported too if the environment names its settings: its
            models are named by their app, which tells no module to import.
    """
    for module, adapter in [*_PENDING.items()]:
        is_wanted = is_django_wanted and module.startswith("django") and os.environ.get("DJANGO_SETTINGS_MODULE")
        if _is_loaded(module) or is_wanted:
            # Other threads that meet a model wait until its adapter is there.
            with _lock:
                if module in _PENDING:
                    import_module(adapter)
                    del _PENDING[module]


def sets_up(error: Exception) -> bool:
    """Set Django up if that is what an import has missed, and the environment names its settings; return whether.

    So it is in a process that was spawned, in which nobody else does it.

    Raises:
        Exception: Whatever Django raises where it cannot be set up.
    """
    is_missed = type(error).__name__ == "AppRegistryNotReady" and type(error).__module__ == "django.core.exceptions"
    if not is_missed or not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return False
    discover(True)
    import_module("slimjobs.orm.django.adapter").set_up()
    return True


def _is_loaded(module: str) -> bool:
    """Return whether a module is imported to its end; an adapter could not import it before that."""
    found = sys.modules.get(module)
    return found is not None and not getattr(getattr(found, "__spec__", None), "_initializing", False)


def _discover_before_fork() -> None:
    """Import what keeps a forked worker from using its parent's connections, which may be open already."""
    discover(False)


_lock = RLock()
registry.install_discovery(discover)
os.register_at_fork(before=_discover_before_fork)
