"""Hostile bytes by the million through `Serializer.loads`: `python fuzz_serializer.py [count] [seed]`."""

from __future__ import annotations

import faulthandler
import resource
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from codec_samples import NoImports, hostile_payloads, strange_types

from slimjobs import PayloadDecodeError, Serializer, SlimjobsError
from slimjobs.hydration import hydrate
from slimjobs.policies import Policy

_HANG_SECONDS = 20


def main(count: int, seed: int) -> int:
    """Print what became of the payloads, and return the exit status: 1 if anything but a value or the error came."""
    outcomes: Counter[str] = Counter()
    failures: dict[str, str] = {}
    slowest: tuple[float, bytes] = (0.0, b"")
    policy = Policy(on_missing="none")
    started = time.perf_counter()
    modules, memory = set(sys.modules), _most_memory_bytes()

    def fail(what: str, data: bytes) -> None:
        outcomes[what] += 1
        failures.setdefault(what, data.hex() if len(data) < 300 else f"{data[:300].hex()}... ({len(data)} bytes)")

    for data in islice(hostile_payloads(seed), count):
        faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)  # shows where, and ends a hang in C as well
        began = time.perf_counter()
        with NoImports() as imports:
            try:
                value = Serializer.loads(data)
            except PayloadDecodeError:
                outcomes["refused"] += 1
                continue
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is what is looked for
                fail(f"loads raised {type(error).__name__}: {error}"[:90], data)
                continue
            finally:
                slowest = max(slowest, (time.perf_counter() - began, data))
                if imports.asked:
                    fail(f"loads imported {imports.asked[0]}", data)
            outcomes["read"] += 1
            for cls in strange_types(value):
                fail(f"loads gave a {cls.__qualname__}", data)
            try:
                hydrate(value, policy=policy)
            except SlimjobsError:
                outcomes["read, not hydrated"] += 1
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is what is looked for
                fail(f"hydrate raised {type(error).__name__}: {error}"[:90], data)
    faulthandler.cancel_dump_traceback_later()
    print(f"{count:,} payloads from seed {seed} in {time.perf_counter() - started:.0f} s: {dict(outcomes)}")
    print(f"slowest {slowest[0] * 1000:.1f} ms, {len(slowest[1])} bytes: {slowest[1][:100].hex()}")
    imported = sorted(set(sys.modules) - modules)
    print(f"memory grew by {(_most_memory_bytes() - memory) / 2**20:.0f} MiB; imported {imported}")
    for what, data_shown in failures.items():
        print(f"FAILED {what}: {data_shown}")
    return 1 if failures or imported else 0


def _most_memory_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:3]]
    sys.exit(main(*arguments, *(1_000_000, 1)[len(arguments) :]))
