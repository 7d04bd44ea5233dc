"""SQLAlchemy: mapped instances travel as refs, and live in one session while their job is called."""

from slimjobs.orm.sqlalchemy.models import MappedClasses
from slimjobs.orm.sqlalchemy.sessions import configure, current_session
from slimjobs.registry import add_adapter

__all__ = ["configure", "current_session"]

add_adapter(MappedClasses())
