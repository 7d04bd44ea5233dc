"""The shop's pages: the admin with django-rq's among them, and one that enqueues."""

from __future__ import annotations

from typing import Any

import django_rq
from django.contrib import admin
from django.http import HttpResponse
from django.urls import include, path

from shop import mail
from shop.models import Email


def send(request: Any, pk: int) -> HttpResponse:
    """Enqueue a job before the response, which tells whether Redis has it already; fail if told to."""
    queue = django_rq.get_queue("shop", commit_mode="request_finished")
    job = queue.enqueue(mail.subject, Email.everything.get(pk=pk))
    if "fail" in request.GET:
        raise RuntimeError("the page failed")
    return HttpResponse(f"{job.id} {queue.count}")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("rq/", include("django_rq.urls")),
    path("send/<int:pk>/", send),
]
