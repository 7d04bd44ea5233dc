"""The rows of the page."""

import sqlite3

with sqlite3.connect("app.sqlite") as database:
    database.execute("CREATE TABLE email (id INTEGER PRIMARY KEY, subject TEXT, body TEXT)")
    database.execute("INSERT INTO email VALUES (1, 'Hello', ?)", ["x" * 5_000_000])
    database.execute("CREATE TABLE invoice (number TEXT PRIMARY KEY, total INTEGER)")
    database.execute("INSERT INTO invoice VALUES ('A1', 120), ('A2', 80)")
database.close()
