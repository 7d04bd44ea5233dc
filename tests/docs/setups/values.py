"""Classes to be registered."""

from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal

Invoice = type("Invoice", (), {})
User = type("User", (), {})
Point = namedtuple("Point", "x y")


class Address:
    def model_dump(self): ...

    @classmethod
    def model_validate(cls, fields): ...


def fetch_invoices(pks): ...


def fetch_user(pk): ...
