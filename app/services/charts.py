"""Pictures of scores, for people who look and for people who listen.

Nothing is said by color alone: bands are named, values are written beside their points, and a
kind of change has a shape. What the picture shows is also its description, row by row, because a
screen reader reads nothing else of it.
"""

import asyncio
import io
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from app.domain.scoring import ChangeClass
from app.schemas.assessments import ResultState
from app.schemas.trends import TrendPoint, TrendRead, TrendSeries

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SVG: Final = "http://www.w3.org/2000/svg"
_INK, _QUIET, _LINE, _STRIP = "#1b1b1b", "#4a4a4a", "#1f4e79", "#5b7fa3"
_WIDTH, _HEAD, _PANEL = 8.4, 1.9, 2.8
_MOST_LABELS: Final = 12
"""Beyond so many points their values would cover each other; the description has them all."""

_MOST_DAYS: Final = 5
_MARKS: Final = {
    None: ("o", "First form, or no published figure"),
    ChangeClass.NO_RELIABLE_CHANGE: ("s", "No reliable change since the first"),
    ChangeClass.IMPROVED: ("D", "Reliably improved"),
    ChangeClass.RECOVERED: ("*", "Recovered"),
    ChangeClass.DETERIORATED: ("v", "Reliably worse"),
}


async def draw_trend(trend: TrendRead) -> str:
    """Draw a trend as SVG, beside the event loop: a drawing takes a tenth of a second."""
    return await asyncio.to_thread(_drawn, trend)


def describe(trend: TrendRead) -> str:
    """Say in words, row by row, what the picture shows."""
    return "\n".join(_rows(trend))


def _rows(trend: TrendRead) -> Iterator[str]:
    yield f"Dates are days in {trend.time_zone}."
    if trend.label is not None:
        yield trend.label
    if trend.result is not ResultState.SHOWN:
        yield "The result is not shown here."
        return
    for series in trend.series:
        names = {band.code: band.label for band in series.bands}
        reach = f"from {_written(series.minimum)} to {_written(series.maximum)}"
        yield f"{series.label}, {reach}, {_direction(series)}."
        if not series.points:
            yield "No form was submitted yet."
        for point in series.points:
            yield "; ".join(_cells(point, names)) + "."


def _cells(point: TrendPoint, names: dict[str, str]) -> Iterator[str]:
    yield _day(point.taken_on)
    if point.value is None:
        yield "no score, because too many questions were left blank"
        return
    yield f"{_written(point.value)}{' (prorated)' if point.is_prorated else ''}"
    if point.band is not None:
        yield names.get(point.band, point.band.replace("_", " "))
    if point.change_class is not None:
        yield _MARKS[point.change_class][1].lower()


def _direction(series: TrendSeries) -> str:
    return "higher is worse" if series.direction.value == "higher_worse" else "higher is better"


def _written(figure: Decimal) -> str:
    """A figure with the digits that it needs and no others."""
    return f"{figure.normalize():f}"


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _drawn(trend: TrendRead) -> str:
    figure_class = _library()
    panels = max(len(trend.series), 1)
    figure = figure_class(figsize=(_WIDTH, _HEAD + _PANEL * panels))
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.32 / height, _title(trend), size=13, color=_INK)
    figure.text(0.02, 0.1 / height, _foot(trend), size=9, color=_QUIET)
    for number, series in enumerate(trend.series, start=1):
        _panel(figure.add_subplot(panels, 1, number), series)
    if not trend.series:
        figure.text(0.5, 0.5, "The result is not shown here.", ha="center", color=_INK)
    figure.subplots_adjust(
        left=0.09, right=0.74, top=1 - 0.75 / height, bottom=1.15 / height, hspace=0.4
    )
    _legend(figure, trend)
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    return _accessible(drawing.getvalue(), trend)


@cache
def _library() -> "type[Figure]":
    """Load what draws, and say how once: a setting that came and went would not suit threads."""
    # Seventy megabytes, which only a process that draws has to carry.
    from matplotlib import rc  # noqa: PLC0415 (see above)
    from matplotlib.figure import Figure  # noqa: PLC0415 (see above)

    rc("svg", fonttype="none", hashsalt="stepwell")
    rc("font", family="sans-serif", size=10)
    rc("text", parse_math=False)
    return Figure


def _title(trend: TrendRead) -> str:
    return f"{trend.title}: scores over time"


def _foot(trend: TrendRead) -> str:
    parts = [f"Days in {trend.time_zone}."]
    if trend.is_cut:
        parts.append("Older forms are left out.")
    if trend.label is not None:
        parts.append(trend.label)
    return " ".join(parts)


def _panel(axes: "Axes", series: TrendSeries) -> None:
    low, high = float(series.minimum), float(series.maximum)
    margin = (high - low) * 0.08
    axes.set_ylim(low - margin / 2, high + margin)
    axes.set_title(f"{series.label} ({_direction(series)})", loc="left", size=10, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    _bands(axes, series)
    scored = [point for point in series.points if point.value is not None]
    if not scored:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "No score yet", transform=axes.transAxes, ha="center", color=_INK)
        return
    _curve(axes, series.points)
    _marks(axes, scored)
    _days(axes, series.points)


def _bands(axes: "Axes", series: TrendSeries) -> None:
    """Shade each band, from the end that is better to the end that is worse, and name it."""
    bands = series.bands if _direction(series) == "higher is worse" else series.bands[::-1]
    bottom, top = axes.get_ylim()
    for number, band in enumerate(bands):
        # A band ends where the next begins; the first and the last reach the edge.
        upper = [float(other.minimum) for other in series.bands if other.minimum > band.minimum]
        start = bottom if band.minimum == series.minimum else float(band.minimum)
        end = min(upper, default=top)
        axes.axhspan(start, end, color=_STRIP, alpha=0.05 + 0.3 * number / len(bands), lw=0)
        axes.annotate(
            f"{band.label} ({_written(band.minimum)}\N{EN DASH}{_written(band.maximum)})",
            (1.015, (max(start, bottom) + end) / 2),
            xycoords=("axes fraction", "data"),
            va="center",
            size=9,
            color=_INK,
        )


def _curve(axes: "Axes", points: Sequence[TrendPoint]) -> None:
    """Join the points; a form without a score leaves a gap."""
    axes.plot(
        [_place(point) for point in points],
        [float("nan") if point.value is None else float(point.value) for point in points],
        color=_LINE,
        lw=1.6,
        zorder=3,
    )


def _marks(axes: "Axes", scored: Sequence[TrendPoint]) -> None:
    for klass, (shape, _) in _MARKS.items():
        theirs = [point for point in scored if point.change_class is klass]
        if not theirs:
            continue
        axes.scatter(
            [_place(point) for point in theirs],
            [float(point.value or 0) for point in theirs],
            marker=shape,
            s=90 if shape == "*" else 42,
            # A prorated score is hollow: part of it was reckoned.
            facecolors=["white" if point.is_prorated else _LINE for point in theirs],
            edgecolors=_LINE,
            zorder=4,
        )
    if len(scored) <= _MOST_LABELS:
        for point in scored:
            axes.annotate(
                _written(point.value or Decimal()),
                (_place(point), float(point.value or 0)),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                size=9,
                color=_INK,
                zorder=5,
            )


def _legend(figure: "Figure", trend: TrendRead) -> None:
    """Say what the shapes mean that the picture uses."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 (as above)

    points = [point for series in trend.series for point in series.points]
    used = {point.change_class for point in points if point.value is not None}
    shapes = [
        Line2D(
            [], [], marker=shape, color=_LINE, ls="none", ms=9 if shape == "*" else 6, label=text
        )
        for klass, (shape, text) in _MARKS.items()
        if klass in used
    ]
    if any(point.is_prorated for point in points):
        shapes.append(
            Line2D(
                [], [], marker="o", mfc="white", color=_LINE, ls="none", label="Hollow: prorated"
            )
        )
    figure.legend(
        handles=shapes,
        loc="lower left",
        bbox_to_anchor=(0.06, 0.28 / figure.get_figheight()),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handletextpad=0.2,
    )


def _days(axes: "Axes", points: Sequence[TrendPoint]) -> None:
    """Name days on which a form was submitted, the first and the last among them."""
    first, last = _place(points[0]), _place(points[-1])
    room = max((last - first) * 0.06, 3)
    axes.set_xlim(first - room, last + room)
    gaps = min(len(points), _MOST_DAYS) - 1
    apart = (last - first) / max(gaps, 1) * 0.6
    named: dict[float, str] = {}
    for number in range(gaps + 1):
        point = points[round(number * (len(points) - 1) / max(gaps, 1))]
        # The last is always named; what would run into it or its neighbor is not.
        is_clear = all(abs(_place(point) - other) >= apart for other in (*named, last))
        if is_clear or _place(point) == last:
            named[_place(point)] = f"{point.taken_on:%d %b %Y}"
    axes.set_xticks(list(named), list(named.values()))


def _place(point: TrendPoint) -> float:
    """Where a point stands on the axis of days: by the participant's day, not by the instant."""
    return float(point.taken_on.toordinal() - date(1970, 1, 1).toordinal())


def _accessible(drawing: str, trend: TrendRead) -> str:
    """Give the picture its name and its description, and tell readers to read those."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(drawing)  # noqa: S314 (drawn here, a moment ago)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    name = f"trend-{trend.instrument_key}"
    root.attrib.update(
        {"role": "img", "lang": "en", "aria-labelledby": f"{name}-title {name}-description"}
    )
    title = ET.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    title.text = _title(trend)
    description = ET.Element(f"{{{_SVG}}}desc", {"id": f"{name}-description"})
    description.text = describe(trend)
    root.insert(0, title)
    root.insert(1, description)
    return ET.tostring(root, encoding="unicode", xml_declaration=False)
