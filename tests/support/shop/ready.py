"""Sets Django up where it is imported, as the script that starts a deployment's worker does."""

import django

django.setup()
