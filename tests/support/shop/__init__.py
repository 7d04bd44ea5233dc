"""A shop with newsletters: the Django application of the tests, importable by workers."""
