"""A Django project with a newsletter and its emails."""

import page_django

Email = page_django.set_up()
