"""What a reader of any page has: a Redis, a queue, and an application with emails."""

from pathlib import Path

from redis import Redis

import slimjobs

redis = Redis()
queue = slimjobs.Queue("five_minutes", connection=redis)
recipients = ["ann@example.org", "bob@example.org"]


class Email:
    def __init__(self, id, body=""):
        self.id = id
        self.body = body


def fetch_email(pk):
    return Email(pk)


email = Email(1)
Path("app").mkdir()
