"""Lets the modules of slimjobs be imported as they are installed, once this is.

pytest would rewrite the asserts of each: it takes all modules beside a plugin for helpers of tests. That was half of
what the plugin cost a short run.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _OursAsTheyAre(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, path, target) if fullname.startswith("slimjobs.") else None


sys.meta_path.insert(0, _OursAsTheyAre())
