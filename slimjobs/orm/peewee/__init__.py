"""Peewee: model instances and SELECT queries travel as refs."""

from slimjobs.orm.peewee.models import Models
from slimjobs.registry import add_adapter

add_adapter(Models())
