"""`slimjobs exporter`: its arguments, and the server."""

from __future__ import annotations

import signal
from threading import Event
from typing import TYPE_CHECKING

from slimjobs.cli import parsers
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Serve metrics for Prometheus on /metrics: jobs and bytes enqueued, a histogram of payload sizes, what was refused,
warned about or missing (by slimjobs' ledger), and of any RQ what waits, how late the oldest due job is, and whether
each queue has a scheduler.
"""
EPILOG = """\
examples:
  slimjobs exporter                          http://127.0.0.1:9726/metrics
  slimjobs exporter --host 0.0.0.0 --port 80

To add the metrics to an application's own:
  from prometheus_client import REGISTRY
  from slimjobs.contrib.prometheus import BacklogCollector
  REGISTRY.register(BacklogCollector(Redis()))

exit status:
  0 after SIGTERM or Ctrl-C; 2 when the arguments are wrong, the port is taken, or prometheus-client is missing.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "exporter", "serve metrics for Prometheus", DESCRIPTION, EPILOG)
    parsers.add_queue(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=9726, help="the port (default: 9726)")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the process is told to stop.

    Returns:
        The exit status.
    """
    try:
        # It comes with an extra, and only this command needs it.
        from prometheus_client import CollectorRegistry, start_http_server

        from slimjobs.contrib.prometheus import BacklogCollector
    except ImportError:
        hint = "pip install 'slimjobs[prometheus]'"
        raise ConfigurationError("the exporter needs prometheus-client", hint=hint) from None
    registry = CollectorRegistry()
    registry.register(BacklogCollector(connect(arguments), arguments.queue))
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server, _ = start_http_server(arguments.port, arguments.host, registry)
    # The last two are of a port beyond all, and of a host that no name can be.
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        problem = f"port {arguments.port} of {arguments.host} cannot be listened at ({reason})"
        raise ConfigurationError(problem) from None
    print(f"metrics are at http://{arguments.host}:{server.server_port}/metrics", flush=True)
    stopped.wait()
    server.shutdown()
    return 0
