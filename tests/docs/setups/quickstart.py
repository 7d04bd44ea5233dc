"""An empty folder: its files are the page's own, and run by its commands."""

WRITTEN_ONLY = True
STATUSES = {"python refused.py": 1}
