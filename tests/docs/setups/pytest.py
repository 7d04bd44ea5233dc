"""The project whose tests the page shows: each block with a test is run by pytest."""

import subprocess
from pathlib import Path

Path("shop.py").write_text("""
from redis import Redis

import slimjobs


class Email:
    def __init__(self, id, body=""):
        self.id = id
        self.body = body

    def __eq__(self, other):
        return self.id == other.id

    __hash__ = None


def send_email(email, recipients): ...


def publish(email):
    slimjobs.Queue("mail", connection=Redis()).enqueue(send_email, email, ["ann@example.org"])


slimjobs.register(Email, load=Email)
""")
Path("conftest.py").write_text("""
import pytest
from shop import Email


@pytest.fixture
def email():
    return Email(1)
""")
Path("test_shop.py").write_text("""
from shop import Email, publish


def test_publish():
    publish(Email(1))
""")
BEGINNING = "import pytest\nfrom shop import Email, publish, send_email\n"
import pytest
from shop import Email, publish, send_email

import slimjobs.testing

email = Email(1)


def before(text):
    if "def test_" in text:
        Path("test_block.py").write_text(BEGINNING + text.replace("app.jobs", "shop"))
        done = subprocess.run(["pytest", "-q", "-p", "no:randomly", "test_block.py"], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
