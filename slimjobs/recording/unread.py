"""Measures a job of django-rq that waits for a commit as it is at the call: nothing is read from a database for it."""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.db.models.query import RawQuerySet
from django.utils.functional import LazyObject, empty
from rq.serializers import DefaultSerializer

from slimjobs.recording.whole_models import Unread
from slimjobs.serializer import format_of

if TYPE_CHECKING:
    from rq.job import Job as RQJob


def leave_unread(job: RQJob) -> None:
    """Let placeholders stand in a job that is only measured for what a serializer would read from a database.

    A QuerySet keeps the rows that it has read, so that the application would enqueue old ones at the commit.
    """
    if hasattr(job, "payload") or not format_of(job.serializer).keeps_calls:
        return  # of ours, where the keys of the rows are read, and not kept
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    with suppress(Exception):  # another serializer may write what pickle cannot
        pickler.dump((job.func_name, job.instance, job.args, job.kwargs))
        if pickler.has_unread:
            job.serializer, job.data = DefaultSerializer, buffer.getvalue()


class _Pickler(pickle.Pickler):
    has_unread = False

    def reducer_override(self, value: Any) -> Any:
        kind = type(value)  # isinstance() would ask a lazy object for its class, and so read it
        if issubclass(kind, (QuerySet, RawQuerySet)) and value._result_cache is None:
            label = f"{kind.__name__}[{value.model.__name__}]"
        elif issubclass(kind, LazyObject) and value._wrapped is empty:
            label = ""
        else:
            return NotImplemented
        self.has_unread = True
        return Unread, (label,)
