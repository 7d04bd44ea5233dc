"""What the pytest plugin costs: its start, a test, and a job: `python tests/benchmarks/plugin.py`.

With and without it in turns (A B A B), each run a process of its own, medians. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RUNS = {
    "100 tests without RQ": "import pytest\n@pytest.mark.parametrize('n', range(100))\ndef test_it(n): pass\n",
    "2,000 jobs in fakeredis": (
        "import fakeredis, rq\n"
        "def test_it():\n"
        "    queue = rq.Queue(connection=fakeredis.FakeRedis())\n"
        "    for number in range(2000): queue.enqueue(print, number, ['a@example.org'] * 10)\n"
    ),
}
OTHERS = ("asyncio", "cov", "django", "hypothesispytest", "pytest_redis", "randomly", "rerunfailures", "xdist")


# Compiled files are kept, as they are where slimjobs is installed; what is measured is not the compiler.
CACHE = tempfile.TemporaryDirectory()
ENVIRONMENT = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["PYTHONPYCACHEPREFIX"] = CACHE.name


def run(directory: Path, with_plugin: bool) -> float:
    """Run the tests in a directory, and return the seconds that took."""
    without = [*OTHERS, *([] if with_plugin else ["slimjobs"])]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    began = time.perf_counter()
    subprocess.run(
        [*command, *(word for name in without for word in ("-p", f"no:{name}"))],
        cwd=directory,
        check=True,
        capture_output=True,
        env=ENVIRONMENT,
    )
    return time.perf_counter() - began


def import_seconds() -> float:
    """Return the seconds that the plugin's modules take where pytest is imported already."""
    code = "import pytest, time; b = time.perf_counter(); import slimjobs.pytest_plugin; print(time.perf_counter() - b)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    return float(done.stdout)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="What the pytest plugin costs.")
    parser.add_argument("--rounds", type=int, default=11, metavar="N", help="rounds of each side (default: 11)")
    rounds = parser.parse_args().rounds
    import_seconds()
    print(f"import of the plugin: {median(import_seconds() for _ in range(rounds)) * 1000:.1f} ms   (to reach: 10)")
    for name, test in RUNS.items():
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "test_it.py").write_text(test)
            times: dict[bool, list[float]] = {False: [], True: []}
            for number in range(rounds + 1):
                for with_plugin, seconds in times.items():
                    took = run(Path(directory), with_plugin)
                    if number:  # the first one fills the cache
                        seconds.append(took)
        without, with_it = median(times[False]), median(times[True])
        more = (with_it - without) * 1000
        print(
            f"{name:26}without {without:6.3f} s  with {with_it:6.3f} s  {more:+7.1f} ms  ratio {with_it / without:.3f}"
        )


if __name__ == "__main__":
    main()
