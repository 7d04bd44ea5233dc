"""Reads and repairs what Redis holds of jobs, beside production: no payload is fetched, and no command is long."""
