"""The pages of the site: each has its place, and what they list is all that there is in the code."""

from __future__ import annotations

import ast
import importlib.util
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rq

import slimjobs
from slimjobs import (
    BatchTooLargeError,
    ConfigurationError,
    PayloadDecodeError,
    PayloadTooLargeError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    SlimjobsError,
    UnsavedModelError,
    UnsupportedTypeError,
    errors,
    testing,
)
from slimjobs.cli.main import COMMANDS
from slimjobs.limits import Limits, configure, read_environment
from slimjobs.options import NAMES as JOB_OPTIONS
from slimjobs.orm import drivers
from slimjobs.pytest_plugin import options as plugin_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = Path(slimjobs.__file__).parent
CONFIGURATION = ROOT / ".ci" / "mkdocs.yml"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def pages() -> list[str]:
    return [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]


def script(name: str) -> Any:
    """Return one of the scripts beside the configuration, as a module."""
    specification = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


# The site


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = CONFIGURATION.read_text().partition("\nnav:\n")[2]
    entries = re.findall(r"^[^#\n]*: (\S+\.md)$", navigation, re.MULTILINE)

    # The changelog lies beside docs/, and becomes a page when the site is built.
    assert sorted(entries) == sorted([*pages(), "changelog.md"])


def test_nothing_is_fetched_by_who_builds_or_reads_the_site() -> None:
    configuration = CONFIGURATION.read_text()

    assert re.search(r"^  font: false$", configuration, re.MULTILINE)
    assert "://" not in configuration
    assert "://" not in page("site.css")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_links_beside_docs_lead_to_pages(name: str) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / name).read_text())

    assert [target for target in targets if not (ROOT / target).is_file()] == []
    assert any(target.startswith("docs/") for target in targets)


def test_the_changelog_of_the_site_has_the_links_of_the_site() -> None:
    changelog = script("docs_hooks").changelog()

    assert "](docs/" not in changelog
    assert {*re.findall(r"\]\((?!https?://)([^)#]+)", changelog)} <= {*pages()}
    assert script("docs_hooks").on_page_markdown("[x](../CHANGELOG.md#y)") == "[x](changelog.md#y)"


# The command line


def test_every_command_is_on_its_page_with_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # of whoever builds it

    shown = script("docs_hooks").on_page_markdown(page("command-line.md"))
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        assert f"\n## slimjobs {name}\n\n```text\nusage: slimjobs {name} " in shown, name
    assert max(map(len, shown.splitlines())) > 80


# The API


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    documented = re.findall(r"^::: (\S+)$", page("reference/api.md"), re.MULTILINE)

    assert {f"slimjobs.{name}" for name in slimjobs.__all__} <= {*documented}
    assert {f"slimjobs.testing.{name}" for name in testing.__all__} <= {*documented}
    assert "slimjobs.pytest_plugin.slimjobs" in documented
    for product in (PACKAGE / "contrib").iterdir():
        if product.stem != "__init__" and product.suffix in ("", ".py") and product.stem != "__pycache__":
            assert any(name.startswith(f"slimjobs.contrib.{product.stem}.") for name in documented), product.stem


# Options


def test_every_variable_of_the_environment_is_on_the_page_of_the_options() -> None:
    shown = page("options.md")
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    # What a SpawnWorker tells the processes that it starts is nobody's to set.
    named = {*re.findall(r"SLIMJOBS_[A-Z_]*[A-Z]", source), *read_variables()} - {"SLIMJOBS_WORK_HORSE"}

    assert [name for name in sorted(named) if f"`{name}`" not in shown] == []
    assert "REDIS_URL" in shown


def read_variables() -> set[str]:
    """Return the names of all variables that the process's settings are read from."""

    asked = set()

    class Environment(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.add(key)
            return super().get(key, default)

    read_environment(Environment())
    assert "SLIMJOBS_MAX_BYTES" in asked
    return asked


def test_every_option_is_on_the_page_of_the_options() -> None:
    shown = page("options.md")
    ini = [*plugin_options._SIZES, *plugin_options._ACTIONS, *plugin_options._OF_A_RUN]
    own = {*(configure.__kwdefaults__ or {}), *JOB_OPTIONS, *(slimjobs.job.__kwdefaults__ or {})}

    assert [name for name in sorted(own) if f"`{name}`" not in shown] == []
    assert [name for name in ini if f"`slimjobs_{name}`" not in shown] == []


def test_the_defaults_on_the_page_are_those_of_the_code() -> None:
    shown = page("options.md")

    for name in ("max_bytes", "warn_bytes", "max_batch_bytes", "max_result_bytes"):
        size = slimjobs.limits.format_size(getattr(Limits(), name)).replace(".0 ", " ")
        assert re.search(rf"^\| `{name}` \| {size} \|", shown, re.MULTILINE), name


# Errors


def send_email(email: Any, recipients: Any = ()) -> None: ...


def export(rows: Any) -> None: ...


def remind(subscriber: Any) -> None: ...


class Email:
    def __init__(self, id: int | None = None) -> None:
        self.id = id


class Subscriber(Email): ...


for function in (send_email, export, remind):
    function.__module__ = "app.jobs"
for model in (Email, Subscriber):
    model.__module__ = "app.models"


def fail_to_connect(pk: Any) -> Any:
    raise ConnectionError("refused")


def calls(queue: slimjobs.Queue) -> Iterator[tuple[type[SlimjobsError], Callable[[], object]]]:
    """Yield what raises the errors of the page, in its order."""
    body = {"subject": "News", "body": "x" * 4_900_000}
    yield PayloadTooLargeError, lambda: queue.enqueue(send_email, body, ["ann@example.org"])
    chunks = [queue.prepare_data(send_email, ("x" * 60_000,)) for _ in range(300)]
    yield BatchTooLargeError, lambda: queue.enqueue_many(chunks)
    with open(__file__) as file:  # noqa: PTH123  # what is refused
        yield UnsupportedTypeError, lambda: queue.enqueue(export, rows=[{"owner": file}])
    yield UnsavedModelError, lambda: queue.enqueue(send_email, Email())
    yield RecordNotFoundError, lambda: testing.round_trip(send_email, Email(7))
    yield RecordUnavailableError, lambda: testing.round_trip(remind, Subscriber(3))
    yield PayloadDecodeError, lambda: slimjobs.Serializer.loads(b"\xc1\x02\x90")
    yield PayloadDecodeError, lambda: slimjobs.Serializer.loads(pickle.dumps(("app.jobs.send_email", None, (), {})))
    yield PayloadDecodeError, lambda: slimjobs.Serializer.loads(b'["app.jobs.send_email"]')
    yield ConfigurationError, lambda: configure(max_bytes="64 kibs")
    yield ConfigurationError, Ref("app.models.Letter", 3).load


def test_the_messages_on_the_page_of_the_errors_are_made_by_the_code(redis: Redis) -> None:
    slimjobs.register(Email, load=lambda pk: None)
    slimjobs.register(Subscriber, load=fail_to_connect)
    messages = []
    for kind, call in calls(slimjobs.Queue("newsletter", connection=redis)):
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        messages.append(f"{caught.value}\n")

    assert code_blocks(page("errors.md")) == messages


@pytest.mark.parametrize(
    ("task", "worker_class", "number"), [(print, rq.SimpleWorker, 0), ("app.jobs.send_email", slimjobs.SimpleWorker, 1)]
)
def test_the_page_of_the_errors_has_what_rq_says_of_slim_jobs(
    task: Any, worker_class: type[rq.SimpleWorker], number: int, redis: Redis
) -> None:
    queue = slimjobs.Queue("newsletter", connection=redis)
    job = queue.enqueue(task, 1)
    worker_class(["newsletter"], connection=redis).work(burst=True, logging_level="CRITICAL")
    result = job.latest_result()
    assert result is not None
    said = [line for line in str(result.exc_string).splitlines() if re.match(r"[\w.]+Error\b", line)]
    table = section("errors.md", "Errors of RQ")
    row = [line for line in table.splitlines() if "Error`" in line or "Error:" in line][number]

    assert len(said) == 2
    assert all(f"`{line}`" in row for line in said)


def test_every_error_is_on_the_page_of_the_errors() -> None:
    names = [name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, SlimjobsError)]
    sections = re.findall(r"^### (\w+Error)$", page("errors.md"), re.MULTILINE)

    assert sorted(sections) == sorted(names)


def log_calls() -> Iterator[tuple[Path, str]]:
    """Yield what the package logs as a warning or an error."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.is_relative_to(PACKAGE / "demo"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if ast.unparse(node.func.value) not in ("logger", "self.log", "scheduler.log"):
                continue
            if node.func.attr in ("warning", "error", "exception", "critical", "log"):
                text = node.args[1 if node.func.attr == "log" else 0]
                yield path, str(text.value) if isinstance(text, ast.Constant) else eval_name(text)


def eval_name(node: ast.expr) -> str:
    assert ast.unparse(node) == "drivers.FAILED", "a text that this test does not know"
    return drivers.FAILED


def test_every_warning_of_the_log_is_on_the_page_of_the_errors() -> None:
    lines = re.findall(r"^\| `([^`]+)`", page("errors.md").partition("## Warnings in the log")[2], re.MULTILINE)
    missing = []
    for path, text in log_calls():
        pattern = re.sub(r"%[srd]", ".*", re.escape(text).replace(r"\%", "%"))
        if not any(re.fullmatch(pattern, line) for line in lines):
            missing.append(f"{path.name}: {text}")

    assert len([*log_calls()]) > 25
    assert missing == []


# Architecture


def test_every_room_is_in_the_table() -> None:
    table = section("architecture.md", "The modules")

    for room in script("draw_rooms").rooms():
        if room != "__init__":
            assert re.search(rf"`{room}/?`", table), room


def test_the_drawing_is_the_one_of_these_rooms() -> None:
    drawing = page("architecture.svg")

    assert all(f">{script('draw_rooms').label(room)}<" in drawing for room in script("draw_rooms").rooms())
    assert script("draw_rooms").draw() == drawing, "draw it anew: python .ci/draw_rooms.py"


def test_every_module_of_a_package_is_listed_by_its_first_line() -> None:
    package = Path(slimjobs.__file__).parent
    lines = []
    for path in sorted(package.rglob("*.py")):
        if path.parent != package and path.name not in {"__init__.py", "__main__.py"}:
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
            lines.append(f"| `{path.relative_to(package).as_posix()}` | {first.rstrip('.')} |")

    table = section("architecture.md", "Every module of a package").strip().partition("\n| --- | --- |\n")[2]
    assert table.split("\n") == lines


def test_what_is_to_be_changed_stands_where_the_page_says() -> None:
    table = section("architecture.md", "Where would I change ...")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    places = [
        (path, name)
        for _, where in rows[2:]
        for path, names in re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", where)
        for name in re.findall(r"`(\w+)`", names)
    ]

    assert len(rows) - 2 >= 15
    assert all(re.search(r"`[\w/]+\.py`: `", where) for _, where in rows[2:])
    for path, name in places:
        source = (PACKAGE / path).read_text()
        assert re.search(rf"^\s*(def|class) {name}\b|^\s*{name}\b[^=\n]* = ", source, re.MULTILINE), f"{path}: {name}"


def section(name: str, title: str) -> str:
    return page(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]
