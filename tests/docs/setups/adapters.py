"""A small ORM with the name that the page uses."""

import sys
from contextlib import ExitStack, nullcontext
from types import ModuleType

from slimjobs import scopes

tinyorm = ModuleType("tinyorm")
tinyorm.Record = type("Record", (), {})
tinyorm.open_session = nullcontext
sys.modules["tinyorm"] = tinyorm
job = ExitStack()


def before(text):
    if "scopes.current" in text:
        job.enter_context(scopes.scope())


def after():
    job.close()
