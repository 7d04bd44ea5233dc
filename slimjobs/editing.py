"""The fields of a job that its payload holds: setting one keeps the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.job import UNEVALUATED
from rq.job import Job as RQJob

if TYPE_CHECKING:
    from slimjobs.job import Job


def editable(name: str) -> Any:
    """Return RQ's property, whose setter first reads what the payload holds.

    RQ drops the payload when one of its fields is set, and makes it anew from the other fields.
    """
    base = getattr(RQJob, name)

    def set_field(self: Job, value: Any) -> None:
        if self._func_name is UNEVALUATED and self._data is not UNEVALUATED:
            self._deserialize_data()
        self.payload = self.uncounted = None
        base.fset(self, value)

    return property(base.fget, set_field, doc=base.__doc__)
