"""The same models in Django and in SQLAlchemy."""

import page_django
import page_sqlalchemy


def before(text):
    global Email, email, defer, selectinload
    if "Email.objects" in text:
        Email = page_django.set_up()
    elif "selectinload" in text:
        from sqlalchemy.orm import defer, selectinload

        Email = page_sqlalchemy.Email
    elif "on_missing" in text:
        Email = page_django.set_up()
        email = Email.objects.create(subject="Hello")
