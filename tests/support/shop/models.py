"""What the shop keeps."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models


class Shown(models.Manager):
    """Leaves out what is hidden."""

    def get_queryset(self) -> Any:
        return super().get_queryset().filter(is_hidden=False)


class Newsletter(models.Model):
    title = models.CharField(max_length=100)


class Campaign(Newsletter):
    """A multi-table child."""

    budget = models.DecimalField(max_digits=10, decimal_places=2, default=0)


class PaidCampaign(Campaign):
    """A child's child."""

    sponsor = models.CharField(max_length=100, default="")


class Email(models.Model):
    newsletter = models.ForeignKey(Newsletter, models.CASCADE, null=True, related_name="emails")
    subject = models.CharField(max_length=200)
    html = models.TextField(default="")
    is_hidden = models.BooleanField(default=False)

    # The first is the default manager, and hides rows.
    objects = Shown()
    everything = models.Manager()

    def send(self, *recipients: str) -> str:
        return f"{self.subject} to {len(recipients)}"

    def describe(self) -> list[Any]:
        return [self.subject, self._state.db, self.pk]


class Draft(Email):
    """A proxy."""

    class Meta:
        proxy = True


class Subscriber(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    address = models.CharField(max_length=200)


class Profile(models.Model):
    """Its primary key is another's."""

    subscriber = models.OneToOneField(Subscriber, models.CASCADE, primary_key=True)
    language = models.CharField(max_length=2, default="en")


class Delivery(models.Model):
    """Its primary key is two columns."""

    pk = models.CompositePrimaryKey("email_id", "number")
    email = models.ForeignKey(Email, models.CASCADE, related_name="deliveries")
    number = models.IntegerField()
    address = models.CharField(max_length=200, default="")


class LoweredField(models.CharField):
    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.lower() if isinstance(value, str) else value


class Account(models.Model):
    """A key that is another in the database."""

    address = LoweredField(primary_key=True, max_length=100)
