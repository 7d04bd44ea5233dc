"""The call of a running job, with its models loaded and what was missing counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from slimjobs import entries, orm, registry
from slimjobs.errors import RecordNotFoundError
from slimjobs.fetches import fetches_for
from slimjobs.hydration import hydrate
from slimjobs.logs import logger
from slimjobs.options import policy_of
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.job import Job as RQJob

T = TypeVar("T")


def import_function(job: RQJob) -> None:
    """Import the module of a job's function before anything is loaded: it registers what the payload needs.

    Of a method, that is where its class lives.

    Raises:
        Exception: Whatever the module raises while it is imported.
    """
    if job.instance is not None:
        if type(job.instance) is Ref:
            registry.named(job.instance.name)
        return
    imported(lambda: job.func)


def imported(read: Callable[[], T]) -> T:
    """Return what is read from a module of the application, with Django set up if that is what its import needs.

    Raises:
        Exception: Whatever the module raises while it is imported.
    """
    try:
        return read()
    except Exception as error:
        if not orm.sets_up(error):
            raise
        return read()


def load_call(job: RQJob, task: str, instance: Any, args: Any, kwargs: Any) -> tuple[Any, Any, Any] | None:
    """Return instance, args and kwargs with their models, or None where the call is to be left out.

    Args:
        job: The running job.
        task: The task's import path.
        instance: The instance of a bound method, or None.
        args: Positional arguments, as decoded.
        kwargs: Keyword arguments, as decoded.

    Raises:
        RecordNotFoundError: Rows are missing, and neither the job nor its task says otherwise.
        RecordUnavailableError: A database could not be reached.
        PayloadDecodeError: A value type or enum is not known in this process.
        ConfigurationError: A class is not registered in this process.
    """
    policy = policy_of(job.meta, task)
    try:
        hydrated = hydrate(instance, args, kwargs, policy=policy, task=task, fetches=fetches_for(task))
    except RecordNotFoundError as error:
        entries.record_missing(job.connection, job.origin, task, len(error.refs))
        raise
    if hydrated.missing:
        entries.record_missing(job.connection, job.origin, task, len(hydrated.missing))
        # A method cannot be called on what is not there, whatever the policy.
        if policy.on_missing == "discard" or (type(instance) is Ref and hydrated.values[0] is None):
            logger.warning("%s: job %s discarded, no row for %r", task, job.id, hydrated.missing[0])
            return None
    loaded_instance, loaded_args, loaded_kwargs = hydrated.values
    return loaded_instance, loaded_args, loaded_kwargs
