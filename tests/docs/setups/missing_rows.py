"""An application whose emails can be deleted."""

from pathlib import Path

Path("app/models.py").write_text("""
import slimjobs
from redis import Redis


class Email:
    def __init__(self, id):
        self.id = id


def fetch_email(pk):
    return None if Redis().sismember("deleted", pk) else Email(pk)


def delete(email):
    Redis().sadd("deleted", email.id)


slimjobs.register(Email, load=fetch_email)
""")


def before(text):
    global email
    if "jobs = [" in text:
        from app.models import Email

        email = Email(1)
