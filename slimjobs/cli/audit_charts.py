"""The charts of an audit's page, as HTML: bytes by queue and task as a treemap, and jobs by size."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from slimjobs.cli.audit_report import shown
from slimjobs.cli.treemap import Rectangle, squarify
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slimjobs.backlog.audit import Audit
    from slimjobs.backlog.sums import Sizes

# As many as a reader can tell apart, colour-blind or not; the page's style has a colour for each. All others are grey.
_COLOURS = 8
GREY = "q0"
# A smaller share of all bytes has no box of its own: on a phone it would be too small for a finger.
_LEAST_SHARE = 0.004
# Names come from Redis, and may be of any length.
_LONGEST_NAME = 200
# The treemap is laid out twice, for the shapes that its style gives it on wide and on narrow screens.
_LAYOUTS = {"wide": Rectangle(0, 0, 12, 5), "tall": Rectangle(0, 0, 2, 3)}


class _Box(NamedTuple):
    """A box of the treemap: a task on a queue, or the rest of them."""

    task: str
    bytes: int
    jobs: int
    link: str


class _Plot(NamedTuple):
    """The part of the treemap that is a queue's, or the rest of them."""

    queue: str
    colour: str
    boxes: list[_Box]

    @property
    def bytes(self) -> int:
        return sum(box.bytes for box in self.boxes)

    @property
    def jobs(self) -> int:
        return sum(box.jobs for box in self.boxes)


def colours_of(audit: Audit) -> dict[str, str]:
    """Return the class of each queue that has a colour, by the name that is shown of it."""
    least_bytes = _LEAST_SHARE * audit.all.total_bytes
    queues = [shown(queue) for (queue,), group in audit.by("queue") if group.stored.total_bytes >= least_bytes]
    return {queue: f"q{place}" for place, queue in enumerate(queues[:_COLOURS], 1)}


def clip(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a text as HTML; it is cut where it is longer than anybody would read."""
    return escape(text if len(text) <= longest else text[:longest] + "\u2026")


def breaking(name: str) -> str:
    """Return a name as HTML, with places where a line may break."""
    return re.sub(r"[._]", r"\g<0><wbr>", clip(name))


def treemap(audit: Audit, colours: Mapping[str, str], links: Mapping[str, str]) -> str:
    """Return the treemap and its legend.

    Args:
        audit: The jobs, added up.
        colours: The classes of queues.
        links: Where a task is to be found on the page, by its name; others are in the table as a whole, "#tasks".
    """
    plots = _plots(audit, colours, links)
    maps = (
        f'<div class="map {name}" role="group" aria-label="Treemap of bytes by queue and task">'
        f"{''.join(_map(plots, space, audit.all.total_bytes))}</div>"
        for name, space in _LAYOUTS.items()
    )
    return "".join([*maps, '<ul class="legend">', *_legend(plots, audit.all.total_bytes), "</ul>"])


def histogram(audit: Audit, colours: Mapping[str, str]) -> str:
    """Return how many jobs there are by size, in powers of two and by queue, as the rows of a table."""
    queues: dict[str, dict[int, int]] = {}
    for (queue,), group in audit.by("queue"):
        name = shown(queue)
        of_queue = queues.setdefault(name if name in colours else "other queues", {})
        for power, count in group.stored.by_power().items():
            of_queue[power] = of_queue.get(power, 0) + count
    powers = audit.all.by_power()
    most = max(powers.values())
    rows = []
    # Sizes that no job has are shown too, or the others would seem nearer to each other than they are.
    for bits in range(min(powers).bit_length() - 1, max(powers).bit_length()):
        power = 1 << bits
        parts = "".join(
            f'<i class="{colours.get(name, GREY)}" style="width:{_percent(counts[power] / most)}" '
            f'title="{clip(name)}: {counts[power]:,} jobs"></i>'
            for name, counts in queues.items()
            if power in counts
        )
        count = powers.get(power, 0)
        rows.append(
            f'<tr><th scope="row">{format_size(power).replace(".0 ", " ")}</th>'
            f'<td class="bar"><span>{parts}</span></td><td>{count:,}</td></tr>'
        )
    return "".join(rows)


def _plots(audit: Audit, colours: Mapping[str, str], links: Mapping[str, str]) -> list[_Plot]:
    least_bytes = _LEAST_SHARE * audit.all.total_bytes
    tasks: dict[str, list[tuple[str, Sizes]]] = {}
    for (queue, task), group in audit.by("queue", "task"):
        tasks.setdefault(queue, []).append((task, group.stored))
    plots, rest = [], []
    for (queue,), group in audit.by("queue"):
        name = shown(queue)
        if name in colours:
            plots.append(_Plot(name, colours[name], _boxes(tasks[queue], least_bytes, links)))
        else:
            rest.append((name, group.stored))
    if len(rest) == 1:
        name, stored = rest[0]
        plots.append(_Plot(name, GREY, [_Box("all tasks", stored.total_bytes, stored.count, "#queues")]))
    elif rest:
        name = f"{len(rest):,} other queues"
        plots.append(_Plot(name, GREY, [_rest("all tasks", [stored for _, stored in rest], "#queues")]))
    return plots


def _boxes(tasks: list[tuple[str, Sizes]], least_bytes: float, links: Mapping[str, str]) -> list[_Box]:
    """Return the boxes of a queue: its tasks, and the small ones as one."""
    small = [stored for _, stored in tasks if stored.total_bytes < least_bytes]
    many = len(small) > 1
    boxes = [
        _Box(shown(task), stored.total_bytes, stored.count, links.get(task, "#tasks"))
        for task, stored in tasks
        if not many or stored.total_bytes >= least_bytes
    ]
    if many:
        boxes.append(_rest(f"{len(small):,} other tasks", small, "#tasks"))
    return sorted(boxes, key=lambda box: -box.bytes)


def _rest(name: str, rest: list[Sizes], link: str) -> _Box:
    return _Box(name, sum(stored.total_bytes for stored in rest), sum(stored.count for stored in rest), link)


def _map(plots: list[_Plot], space: Rectangle, all_bytes: int) -> Iterator[str]:
    plots = sorted(plots, key=lambda plot: -plot.bytes)
    for plot, area in zip(plots, squarify([plot.bytes for plot in plots], space), strict=True):
        yield f'<div class="plot {plot.colour}" style="{_style(area, space)}">'
        for box, inner in zip(plot.boxes, squarify([box.bytes for box in plot.boxes], area), strict=True):
            is_first = box is plot.boxes[0]
            yield _box(plot, box, _style(inner, area), all_bytes, is_first=is_first)
        yield "</div>"


def _box(plot: _Plot, box: _Box, style: str, all_bytes: int, *, is_first: bool) -> str:
    module, _, function = box.task.rpartition(".")
    size = format_size(box.bytes)
    jobs = "1 job" if box.jobs == 1 else f"{box.jobs:,} jobs"
    told = f"{clip(plot.queue)}: {clip(box.task)}, {size} in {jobs}, {100 * box.bytes / all_bytes:.1f} %"
    return (
        f'<a class="box" href="{box.link}" style="{style}" data-bytes="{box.bytes}" title="{told}" aria-label="{told}">'
        + (f'<span class="of">{breaking(plot.queue)}</span>' if is_first else "")
        + f'<b>{breaking(function or box.task)}</b><span class="size">{size}</span>'
        + (f'<span class="module">{breaking(module)}</span>' if module and function else "")
        + "</a>"
    )


def _legend(plots: list[_Plot], all_bytes: int) -> Iterator[str]:
    for plot in plots:
        yield (
            f'<li><i class="swatch {plot.colour}"></i><b>{breaking(plot.queue)}</b> '
            f"<span>{format_size(plot.bytes)}, {100 * plot.bytes / all_bytes:.1f} %</span></li>"
        )


def _style(inner: Rectangle, outer: Rectangle) -> str:
    """Return where a rectangle is within another one, in percent of it."""
    width, height = outer.width or 1, outer.height or 1
    return (
        f"left:{_percent((inner.left - outer.left) / width)};top:{_percent((inner.top - outer.top) / height)};"
        f"width:{_percent(inner.width / width)};height:{_percent(inner.height / height)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"
