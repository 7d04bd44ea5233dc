"""Run one command under a memory cap and print its peak memory and its end.

Run as a script, by its path, and standard library alone: the peak that the system reports for a process never reads
less than that of the process that started it, so the one that starts must be small.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import sys


def cap_memory(limit_bytes: int) -> bool:
    """Cap this process and those that it starts at `limit_bytes` each, where the system can.

    RLIMIT_DATA counts what the process has to itself: heap, anonymous maps and data segments (Linux 4.7 and later), so
    not the code that it shares. It is the nearest to a container's limit that needs no privilege. Where it has no
    effect, RLIMIT_AS is tried, which counts all of the address space.

    Returns:
        Whether a cap is in force, found out by asking for more memory than it allows.
    """
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        soft, hard = resource.getrlimit(kind)
        try:
            resource.setrlimit(kind, (limit_bytes, hard))
            # Only reserved, never touched: where no cap is in force this takes no memory.
            mmap.mmap(-1, limit_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
            resource.setrlimit(kind, (soft, hard))
        except ValueError:  # Raised by setrlimit alone: this system does not take this limit.
            continue
        except OSError:
            return True
    return False


def main(argv: list[str]) -> int:
    """Run `argv[1:]` capped at `argv[0]` bytes and write a report to standard output, as JSON."""
    limit_bytes, command = int(argv[0]), argv[1:]
    # Blocked until there is somebody to pass it on to.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    capped = cap_memory(limit_bytes)
    # Standard output is for the report; RQ's processes log there.
    to_stderr = [(os.POSIX_SPAWN_DUP2, sys.stderr.fileno(), sys.stdout.fileno())]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=to_stderr, setsigmask=[])
    signal.signal(signal.SIGTERM, lambda signum, _frame: os.kill(pid, signum))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    _, status, usage = os.wait4(pid, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # getrusage(2): kilobytes on Linux and the BSDs, bytes on macOS.
    peak_bytes = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
    exit_code = os.waitstatus_to_exitcode(status)
    json.dump({"exit_code": exit_code, "peak_bytes": peak_bytes, "capped": capped}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
