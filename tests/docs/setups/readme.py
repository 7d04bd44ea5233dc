"""The application of the README: its emails are rows somewhere."""

from pathlib import Path

Path("app/database.py").write_text("""
class Email:
    def __init__(self, id):
        self.id = id


def fetch_email(pk):
    return Email(pk)
""")


def before(text):
    global email
    if "send_email.enqueue" in text:
        from app.database import Email

        email = Email(1)


def after():
    failed = slimjobs.Queue("newsletter", connection=redis).failed_job_registry
    assert failed.get_job_ids() == []
