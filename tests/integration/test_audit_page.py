"""`slimjobs audit --html`: one file that says what the command says, as its source and as a browser shows it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import backlog_samples
import outage_samples
import pytest
import rq
from headless import CHROMEDRIVER, CHROMIUM, Browser, run_browser

from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

    Write = Callable[..., Path]

pytestmark = pytest.mark.slow

HOSTILE_QUEUE = "<script>document.title='taken over'</script>"
HOSTILE_TASK = "x\"'><img/src=x/onerror=alert`1`>"
SCREENS = [(360, 740), (1280, 900)]
A4 = (718, 1047)  # without Chromium's margins
VOID = {"meta", "link", "br", "wbr", "img", "hr", "input"}
# Of a box its share of its map, and the label's lines that are outside of it; None where the map is not shown.
BOXES = """
return [...document.querySelectorAll('.map')].filter(map => map.offsetParent).flatMap(map => {
  const whole = map.getBoundingClientRect();
  return [...map.querySelectorAll('.box')].map(box => {
    const {left, right, top, bottom, width, height} = box.getBoundingClientRect();
    const lines = [...box.children].filter(line => line.offsetParent).map(line => line.getBoundingClientRect());
    return {
      title: box.title, bytes: Number(box.dataset.bytes), width, height,
      share: width * height / (whole.width * whole.height),
      isInside: Math.min(left - whole.left, top - whole.top, whole.right - right, whole.bottom - bottom) > -1,
      lines: lines.length,
      outside: lines.filter(line => line.left < left || line.right > right || line.bottom > bottom + .5).length,
      isOnTop: document.elementsFromPoint(left + width / 2, top + height / 2).includes(box),
    };
  });
});
"""
# The least contrast of texts to what is behind them, after WCAG 2.
CONTRAST = """
const luminance = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map(part => part / 255)
  .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
  .reduce((sum, part, place) => sum + part * [.2126, .7152, .0722][place], 0);
const isClear = colour => colour === 'rgba(0, 0, 0, 0)';
const behind = element => {
  while (element && isClear(getComputedStyle(element).backgroundColor)) element = element.parentElement;
  return getComputedStyle(element || document.body).backgroundColor;
};
return Math.min(...[...document.querySelectorAll('h1, h2, li, dt, dd, th, td, figcaption, footer, .box *')]
  .filter(element => element.offsetParent && element.textContent.trim())
  .map(element => [luminance(getComputedStyle(element).color), luminance(behind(element))])
  .map(([one, other]) => (Math.max(one, other) + .05) / (Math.min(one, other) + .05)));
"""


class Source(HTMLParser):
    """The source of a page, which must be well-formed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: dict[str, list[str]] = {}
        self._cell = ""
        self.style = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attributes)))
        if tag in ("th", "td"):
            self._cell = dict(attributes).get("class") or ""
            self.cells.setdefault(self._cell, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += text
        else:
            self.texts.append(text)
            if "th" in self.open or "td" in self.open:
                self.cells[self._cell][-1] += text

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(attribute)) is not None]


@pytest.fixture
def write(queue: rq.Queue, tmp_path: Path) -> Write:
    def run(*arguments: str, status: int = 0) -> Path:
        path = tmp_path / "audit.html"
        assert main(["audit", "--html", str(path), *arguments]) == status
        return path

    return run


@pytest.fixture
def every_state(redis: Redis, queue: rq.Queue) -> None:
    """A job in each state, and names that are no good to a page."""
    backlog_samples.fill(redis, queue)
    rq.Queue(HOSTILE_QUEUE, connection=redis).enqueue(backlog_samples.give_text, bytes(range(256)) * 8)
    hostile = queue.enqueue(backlog_samples.give_text, 1, description=f"{HOSTILE_TASK}(1)")
    redis.hset(hostile.key, "data", bytes(range(256)) * 4)  # nothing tells the task but the description


@pytest.fixture
def outage(redis: Redis, queue: rq.Queue) -> None:
    outage_samples.fill_like_an_outage(redis, 5_000)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("there is no chromium with its chromedriver")
    with run_browser(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.usefixtures("every_state")
def test_the_file_is_well_formed_and_names_nothing_outside_of_it(write: Write) -> None:
    page = Source(write().read_text())
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base", "audio", "video"})
    assert not page.all("src")
    assert not re.search(r"url\(|@import|expression|//", page.style)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in page.all("href")} <= set(ids)
    assert {name for names in page.all("aria-labelledby") for name in names.split()} <= set(ids)
    assert "width=device-width, initial-scale=1" in page.all("content")
    assert any(value.startswith("default-src 'none'; style-src 'unsafe-inline'") for value in page.all("content"))
    assert page.all("lang") == ["en"]


@pytest.mark.usefixtures("every_state")
def test_hostile_names_are_texts(write: Write) -> None:
    page = Source(write("--top", "100").read_text())
    assert HOSTILE_QUEUE in page.text
    assert HOSTILE_TASK in page.text
    assert any(title.startswith(f"{HOSTILE_QUEUE}: ") for title in page.all("title"))


@pytest.mark.usefixtures("outage")
def test_every_queue_and_task_is_named_with_its_bytes(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    page = Source(write("--json").read_text())
    found = json.loads(capsys.readouterr().out)
    assert {group["task"] for group in found["groups"]} <= set(page.cells["task"])
    assert {group["queue"] for group in found["groups"]} <= set(page.cells["queue"])
    assert f"{found['jobs']:,}" in page.texts
    assert [row["id"] for row in found["largest"]] == page.cells["id"]


@pytest.mark.usefixtures("every_state")
def test_the_page_says_what_the_text_says(write: Write, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("--orphans", "--larger-than", "2KB", status=1)
    output = capsys.readouterr()
    findings = output.out.rpartition("\n\n")[2].splitlines()
    assert len(findings) > 3
    page = Source(path.read_text())
    assert [finding for finding in findings if finding not in page.texts] == []
    assert output.err == f"wrote {path}\n"
    assert redis_url.removeprefix("redis://").replace("/", ", database ") in page.text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page.text)


def test_a_backlog_without_jobs(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    page = Source(write("--queue", "nobody").read_text())
    assert "There are no jobs." in page.texts
    assert "queue nobody" in page.texts
    assert "there are no jobs of nobody" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_told_of_before_redis_is_asked(
    redis: Redis, queue: rq.Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    redis.config_resetstat()
    assert main(["audit", "--html", str(tmp_path / "no" / "audit.html")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "audit.html cannot be written (No such file or directory)" in output.err
    assert set(redis.info("commandstats")) <= {"cmdstat_config|resetstat", "cmdstat_config", "cmdstat_info"}


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.usefixtures("outage")
def test_boxes_are_in_proportion_and_hold_their_labels(screen: tuple[int, int], write: Write, browser: Browser) -> None:
    path = write()
    browser.show(path.as_uri(), *screen)
    browser.ask("document.querySelector('.legend').scrollIntoView({block: 'end'})")
    boxes = browser.ask(BOXES)
    all_bytes = sum(box["bytes"] for box in boxes)
    for box in boxes:
        assert box["share"] == pytest.approx(box["bytes"] / all_bytes, rel=0.01, abs=1e-5), box
        assert box["isInside"], box
        assert box["isOnTop"], box
        assert box["outside"] == 0, box
        assert min(box["width"], box["height"]) > 8, box
    titles = [box["title"].partition(",")[0] for box in boxes]
    for queue, tasks in outage_samples.BACKLOG.items():
        large = max(tasks, key=lambda task: tasks[task][0] * tasks[task][1])
        assert f"{queue}: {large}" in titles
    labelled = sum(box["share"] for box in boxes if box["lines"])
    assert labelled > 0.9


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("backlog", ["every_state", "outage"])
def test_the_page_never_scrolls_sideways_and_asks_for_nothing(
    screen: tuple[int, int], backlog: str, write: Write, browser: Browser, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(backlog)
    path = write("--orphans")
    browser.show(path.as_uri(), *screen)
    assert browser.ask("return [innerWidth, document.documentElement.scrollWidth]") == [screen[0], screen[0]]
    assert browser.requested() == [path.as_uri()]
    assert browser.errors() == []
    assert browser.driver.title.startswith("Jobs in Redis")
    if backlog == "every_state":
        assert HOSTILE_QUEUE in browser.ask("return document.body.innerText")
        assert browser.ask("return document.querySelectorAll('script, img').length") == 0


@pytest.mark.usefixtures("outage")
def test_on_paper_nothing_is_cut_off(write: Write, browser: Browser) -> None:
    browser.show(write().as_uri(), *A4, "dark", "print")
    assert browser.ask("return document.documentElement.scrollWidth") == A4[0]
    hidden = (
        "return [...document.querySelectorAll('.scroll')].filter(box => box.scrollHeight > box.offsetHeight).length"
    )
    assert browser.ask(hidden) == 0
    assert browser.ask("return getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"


@pytest.mark.usefixtures("every_state")
def test_what_would_ask_for_something_is_not_let(write: Write, browser: Browser) -> None:
    path = write()
    path.write_text(path.read_text().replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    browser.show(path.as_uri(), *SCREENS[0])
    assert any("violates the following Content Security Policy" in error for error in browser.errors())


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.usefixtures("outage")
def test_a_box_leads_to_its_row(screen: tuple[int, int], write: Write, browser: Browser) -> None:
    browser.show(write().as_uri(), *screen)
    shown = browser.ask("""
        [...document.querySelectorAll('.box')].find(box => box.offsetParent && box.title.includes('churn')).click();
        const row = document.querySelector(':target'), {top, bottom} = row.getBoundingClientRect();
        return [row.firstChild.textContent, top > 0 && bottom < innerHeight];
    """)
    assert shown == ["shop.reports.churn", True]


@pytest.mark.usefixtures("outage")
def test_a_queue_has_one_colour(write: Write, browser: Browser) -> None:
    browser.show(write().as_uri(), *SCREENS[1])
    colours = browser.ask("""
        const colour = element => getComputedStyle(element).backgroundColor;
        return [...document.querySelectorAll('.legend li')].map(entry => {
            const name = entry.querySelector('b').textContent;
            const boxes = [...document.querySelectorAll('.box')].filter(box => box.title.startsWith(name + ':'));
            const bars = [...document.querySelectorAll('.bar i')].filter(bar => bar.title.startsWith(name + ':'));
            const cells = [...document.querySelectorAll('.queue')].filter(cell => cell.textContent === name);
            const swatches = [entry, ...cells].map(place => place.querySelector('.swatch'));
            return [...new Set([...boxes, ...bars, ...swatches].map(colour))];
        });
    """)
    assert [len(of_queue) for of_queue in colours] == [1, 1, 1]
    assert len({of_queue[0] for of_queue in colours}) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.usefixtures("every_state")
def test_texts_can_be_read_in_either_scheme(scheme: str, redis: Redis, write: Write, browser: Browser) -> None:
    for number in range(9):
        rq.Queue(f"tenant-{number}", connection=redis).enqueue(backlog_samples.give_text, bytes(range(256)) * 6)
    browser.show(write().as_uri(), *SCREENS[1], scheme)
    luminous = browser.ask(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part > 127)"
    )
    assert luminous == (scheme == "light")
    assert (
        len(browser.ask("return [...new Set([...document.querySelectorAll('.legend .swatch')].map(i => i.className))]"))
        == 9
    )
    assert browser.ask(CONTRAST) >= 4.5
