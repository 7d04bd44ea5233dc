"""What rq-scheduler is given."""

from datetime import datetime, timezone

slimjobs.register(Email, load=fetch_email)
moment = datetime(2030, 1, 1, tzinfo=timezone.utc)
digest = Email(2)


def send_email(email, recipients): ...


def send_digest(digest): ...
