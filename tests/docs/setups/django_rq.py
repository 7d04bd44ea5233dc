"""A Django project that takes the settings of the page."""

import page_django


def before(text):
    global Email, email
    if "import job" in text:
        import settings

        Email = page_django.set_up(vars(settings))
        email = Email.objects.create(subject="Hello")


def after():
    import django_rq

    assert [len(django_rq.get_queue(name)) for name in ("default", "mail")] == [0, 1]
