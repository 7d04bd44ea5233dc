"""Holds that a built site fetches nothing from elsewhere: `python .ci/site.py FOLDER`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

FETCHED = re.compile(
    r'<(?:script|img|iframe|source|link(?![^>]*rel="?(?:canonical|next|prev)))[^>]*(?:src|href)="?(?:https?:)?//[^>]*>'
)
FEWEST_PAGES = 20


def main(folder: str) -> None:
    """End with what is fetched, and where; or where there is no site."""
    pages = [*Path(folder).rglob("*.html")]
    found = [f"{page}: {match}" for page in pages for match in FETCHED.findall(page.read_text())]
    if found or len(pages) < FEWEST_PAGES:
        sys.exit("\n".join([f"{len(pages)} pages", *found]))


if __name__ == "__main__":
    main(sys.argv[1])
