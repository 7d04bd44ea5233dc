"""The module that a name begins with, imported for a call.

The default name of a class is where it lives, and a job for a bound method names no other module.
Names are imported for a call only, as the name of its function is, and never to decode.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


def import_home(name: str, known: Container[str]) -> None:
    """Import the module of a name such as "app.models.Email", until the name is known.

    Args:
        name: The name; one that begins with no module is left alone.
        known: Where the name is found once its module has registered it.

    Raises:
        Exception: Whatever the module raises while it is imported.
    """
    module, _, _ = name.rpartition(".")
    while name not in known and module:
        if all(part.isidentifier() for part in module.split(".")):
            try:
                import_module(module)
            except ModuleNotFoundError as error:
                if error.name is not None and not f"{module}.".startswith(f"{error.name}."):
                    raise  # the module is there, and what it imports is not
        module, _, _ = module.rpartition(".")
