"""Models and engines."""

from page_sqlalchemy import Base, Email, Newsletter
from sqlalchemy import create_engine, select
from sqlalchemy.orm import defer, joinedload, selectinload, sessionmaker

engine = create_engine("sqlite:///emails.sqlite")
archive_engine = create_engine("sqlite:///archive.sqlite")
ArchiveSession = sessionmaker(archive_engine)
Base.metadata.create_all(engine)


def fetch_emails(pks):
    return []


def before(text):
    if 'current_session("archive")' in text:
        from slimjobs import scopes

        globals()["opened"] = scopes.scope()
        globals()["opened"].__enter__()


def after():
    globals()["opened"].__exit__(None, None, None)
    assert len(slimjobs.Queue("emails", connection=redis)) == 1
