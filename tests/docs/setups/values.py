"""Classes to be registered."""

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

Invoice = type("Invoice", (), {})
User = type("User", (), {})


class Point(NamedTuple):
    x: int
    y: int


class Address:
    def model_dump(self): ...

    @classmethod
    def model_validate(cls, fields): ...


def fetch_invoices(pks): ...


def fetch_user(pk): ...
