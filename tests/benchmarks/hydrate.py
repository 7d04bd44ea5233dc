"""What loading costs, a hand-written in_bulk against refs: `python tests/benchmarks/hydrate.py`.

100 Django models in an SQLite file. Both sides take turns in one run (A B A B), and medians are
compared: only the ratio means anything on a shared machine. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from enqueue import compare

import slimjobs
from slimjobs.hydration import hydrate

GOAL = "1.25"


def compare_models(models: list[Any], name: str, rounds: int) -> None:
    """Load a call's models by hand and from its refs, as a worker does once the payload is decoded."""
    model = type(models[0])
    _, _, refs, _ = slimjobs.Serializer.loads(slimjobs.Serializer.dumps(("app.jobs.send", None, (models,), {})))
    pks = [each.pk for each in models]

    def by_hand() -> list[Any]:
        found = model._base_manager.using("default").in_bulk(pks)
        return [found[pk] for pk in pks]

    def from_refs() -> list[Any]:
        loaded: list[Any] = hydrate(None, refs, {}).values[1][0]
        return loaded

    assert by_hand() == from_refs() == models
    compare(name, GOAL, [("in_bulk", by_hand), ("refs", from_refs)], rounds, 10)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=101, help="how often each side takes its turn (default: 101)")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("django", "slimjobs"))
    print(f"Python {platform.python_version()}, {versions}; {platform.machine()}, {options.rounds} rounds, medians")
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
    databases = importlib.import_module("shop.databases")
    with tempfile.TemporaryDirectory() as directory:
        databases.set_up(Path(directory))
        shop = importlib.import_module("shop.models")
        newsletter = shop.Newsletter.objects.create(title="Weekly")
        html = "<p>All work and no play makes Jack a dull boy.</p>" * 40
        emails = [shop.Email(newsletter=newsletter, subject=f"Issue {number}", html=html) for number in range(100)]
        shop.Email.everything.bulk_create(emails)
        compare_models(emails, "100 emails of 2 KB", options.rounds)
        subscribers = [shop.Subscriber(address=f"subscriber{number}@example.org") for number in range(100)]
        shop.Subscriber.objects.bulk_create(subscribers)
        compare_models(subscribers, "100 subscribers, by UUID", options.rounds)
        databases.close()


if __name__ == "__main__":
    main()
