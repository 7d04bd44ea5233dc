"""Whether a statement that a session executes writes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy.sql.elements import TextClause

if TYPE_CHECKING:
    from sqlalchemy.orm import ORMExecuteState

# What may hold any word: comments, texts and quoted names. One pass, since each may hold the others' marks.
_OPAQUE = re.compile(r"(--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|\"[^\"]*\"", re.DOTALL)
_WRITING = re.compile(r"\s*(insert|update|delete|merge|replace|call|truncate|do)\b", re.IGNORECASE)
# A WITH may hold a statement that writes; a SELECT ... FOR UPDATE does not.
_WRITING_PART = re.compile(
    r"\s*with\b.*\b(insert\s+into|delete\s+from|merge\s+into|update\s+(?!of\b|skip\b|nowait\b)[^,;()]*?\bset)\b",
    re.IGNORECASE | re.DOTALL,
)


def writes(execution: ORMExecuteState) -> bool:
    """Return whether a statement inserts, updates or deletes; of a text, as far as its words tell."""
    if execution.is_insert or execution.is_update or execution.is_delete:
        return True
    statement = execution.statement
    inside = getattr(statement, "element", None)  # of select(...).from_statement(text(...))
    for each in (statement, inside):
        if isinstance(each, TextClause):
            text = _OPAQUE.sub(lambda found: " " if found[1] else " x ", each.text)
            return bool(_WRITING.match(text) or _WRITING_PART.match(text))
    return False
