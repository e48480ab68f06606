"""Charts as SVG by matplotlib, in colors that follow the page's, light or dark."""

# License: BSD-3-Clause

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import product

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from skbss.benchmark.report.words import decibels, factor
from skbss.benchmark.table import Ranked

Chart = tuple[dict[str, str], str]

# Those of the light page; in dark, variables of these names have others.
INK, SOFT, GRID = "#1d2430", "#566172", "#e4e8ee"
COLORS = [
    *("#0b62b0", "#c2410c", "#15803d", "#7e3ab5"),
    *("#be185d", "#766400", "#0e7490", "#5b6675"),
]
VARIABLES = {INK: "ink", SOFT: "soft", GRID: "grid"} | {
    color: f"c{k}" for k, color in enumerate(COLORS)
}
_AROUND = [(9, 0), (-9, 0), (5, 14), (-5, 14), (5, -14), (-5, -14)]  # px
DASHES = [(0, ()), (0, (7, 3)), (0, (2, 3)), (0, (8, 3, 2, 3))]
WIDTHS = {"wide": 760, "narrow": 340}  # px
MAX_NAMES = 10  # points beyond which numbers have to do
_STYLE = {
    "svg.fonttype": "none",  # text that can be read aloud, searched and copied
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}


def style(kind: str) -> tuple[str, tuple]:
    """Return the color and the dashes of a candidate's CSS classes, ``c1 d2``."""
    found = dict(re.findall(r"([cd])(\d)", kind))
    return COLORS[int(found["c"])], DASHES[int(found.get("d", 0))]


def draw(
    fill: Callable[[Axes, bool], dict[str, str]],
    height: float,
    description: str,
    lines_below: tuple[int, int] = (0, 0),
) -> Chart:
    """Draw a chart for wide and for narrow windows, and as a file.

    `fill` is called with axes and whether there is room for names; it returns a tool
    tip for each gid of an artist. `lines_below` says for either window how many lines
    of text the height, in px, has no room for. The description is for those who
    don't see the chart. Returned are the markup for both windows, and an SVG file.
    """
    page, file = {}, ""
    for (kind, width), n_lines in zip(WIDTHS.items(), lines_below, strict=True):
        with mpl.rc_context(_STYLE | {"svg.hashsalt": f"{description} {kind}"}):
            size = width / 72, (height + 20 * n_lines) / 72
            figure = Figure(size, dpi=72, layout="constrained")
            axes = figure.subplots()
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            tips = fill(axes, kind == "wide")
            text = io.StringIO()
            figure.savefig(
                text, format="svg", transparent=True, metadata={"Date": None}
            )
        svg = _finish(text.getvalue(), tips, description)
        file = file or svg
        for color, name in VARIABLES.items():
            svg = svg.replace(color, f"var(--{name})")
        page[kind] = svg
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    start = file.index(">") + 1
    return page, f"{file[:start]}{background}{file[start:]}"


def _finish(svg, tips, description):
    """Turn matplotlib's file into an element with tool tips and a description."""
    svg = svg[svg.index("<svg ") :].strip()
    svg = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    for gid, tip in tips.items():
        svg = svg.replace(f'<g id="{gid}">', f"<g><title>{escape(tip)}</title>")
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    start = f'<svg class="chart" role="img" aria-label="{escape(description)}" '
    return svg.replace("<svg ", start, 1)


def _decibel_axis(axis, ends, n_ticks):
    axis.set_major_locator(MaxNLocator(n_ticks, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda v, _: decibels(v, "g")))
    axis.axes.set(**{f"{axis.axis_name}lim": ends})
    if ends[0] < 0 < ends[1]:
        line = {"x": axis.axes.axvline, "y": axis.axes.axhline}[axis.axis_name]
        line(0, color=SOFT, linestyle="--", linewidth=1)


def reach(
    intervals: Sequence[tuple[float, float, float]], margin: float = 0.06
) -> tuple[float, float]:
    """Return the ends of an axis for (mean, low, high), nan where there is none.

    It shows all means, and what is near of their intervals: those of two or three
    recordings are so long that means could not be told apart beside them.
    """
    values = np.array(intervals, dtype=float).reshape(-1, 3)
    means = values[np.isfinite(values[:, 0]), 0]
    if not means.size:
        return -1.0, 1.0
    around = max(np.ptp(means), 6.0)
    near = np.clip(values, means.min() - around, means.max() + around)
    low, high = np.nanmin(near), np.nanmax(near)
    room = margin * max(high - low, 1.0)
    return low - room, high + room


def scatter(
    ranking: list[Ranked], metric: str, kinds: dict[str, str], y_label: str
) -> Chart:
    """Draw the score of candidates against their real-time factor."""
    points = [
        (place, one, one.real_time_factor, one.scores[metric])
        for place, one in enumerate(ranking, 1)
        if np.isfinite(one.scores[metric].mean) and one.real_time_factor > 0
    ]

    def fill(axes, wide):
        axes.set_xscale("log")
        tips, times = {}, [time for _, _, time, _ in points] or [1.0]
        low, high = min(times) / 1.5, max(times) * 1.5
        axes.set(xlim=(low, max(high, 5 * low)), xlabel="real-time factor")
        axes.set_title(y_label, loc="left", fontsize=12, color=SOFT)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: factor(v)))
        axes.xaxis.set_minor_locator(LogLocator(subs=()))
        ends = reach([(s.mean, s.low, s.high) for _, _, _, s in points])
        _decibel_axis(axes.yaxis, ends, 6)
        for place, one, time, score in points:
            color, _ = style(kinds[one.name])
            if np.isfinite(score.low):
                axes.plot([time, time], [score.low, score.high], color=color, lw=1.5)
            gid = f"point-{place}"
            axes.plot(time, score.mean, "o", color=color, ms=9, gid=gid)
            interval = f"{decibels(score.low)} to {decibels(score.high)}"
            score = f"{decibels(score.mean)} ({interval})"
            tips[gid] = f"{place} {one.name}: {score}, {factor(time)}"
        axes.figure.draw_without_rendering()  # so that all is where it will be
        _name_points(axes, points, wide and len(points) <= MAX_NAMES)
        return tips

    return draw(fill, 380, f"{y_label} against real-time factor")


def _name_points(axes, points, has_room):
    """Write names beside their points where they overlap nothing, else numbers."""
    places = [(time, score.mean) for _, _, time, score in points]
    dots = [axes.transData.transform(place) for place in places]
    taken = [Bbox.from_extents(*(dot - 6), *(dot + 6)) for dot in dots]
    for (place, one, *_), at in zip(points, places, strict=True):
        texts = [f"{place} {one.name}"] * has_room + [str(place)]
        for text, (x, y) in product(texts, _AROUND):
            side = "left" if x > 0 else "right"
            label = axes.annotate(
                text, at, (x, y), textcoords="offset points", ha=side, va="center"
            )
            box = label.get_window_extent()
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def boxes(
    ranking: list[Ranked], scores: np.ndarray, kinds: dict[str, str], x_label: str
) -> Chart:
    """Draw a box for the scores of each candidate, over recordings.

    The box is from the first to the third quartile with a line at the median, the
    whiskers reach the last score within 1.5 times its length, and dots are recordings:
    all of them if there are at most 60, else those beyond the whiskers. One score at
    least is needed.
    """
    columns = []
    for place, one in enumerate(ranking, 1):
        values = scores[:, one.index]
        if np.isfinite(values).any():
            columns.append((place, one, values[np.isfinite(values)]))

    def fill(axes, wide):
        tips = {}
        parts = axes.boxplot(
            [values for _, _, values in columns],
            positions=range(len(columns)),
            orientation="horizontal",
            widths=0.3,
            showcaps=False,
            patch_artist=True,
            manage_ticks=False,
            flierprops={"marker": ""},
            medianprops={"lw": 3},
        )
        for k, (place, one, values) in enumerate(columns):
            color, _ = style(kinds[one.name])
            for part in (parts["medians"][k], *parts["whiskers"][2 * k : 2 * k + 2]):
                part.set_color(color)
            faint = mpl.colors.to_rgba(color, 0.18)
            parts["boxes"][k].set(facecolor=faint, edgecolor=color, gid=f"box-{k}")
            beyond = parts["fliers"][k].get_xdata()
            dots = values if len(values) <= 60 else beyond
            axes.plot(dots, np.full(len(dots), k), "o", color=color, ms=4, alpha=0.6)
            first, median, third = np.percentile(values, [25, 50, 75])
            tips[f"box-{k}"] = (
                f"{place} {one.name}: median {decibels(median)}, quartiles "
                f"{decibels(first)} and {decibels(third)}, {len(values)} recordings"
            )
            axes.annotate(
                _shorten(f"{place} {one.name}", 80 if wide else 40),
                *((0, k), (5, 14)),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
            )
        axes.set_yticks([])
        every = np.concatenate([values for _, _, values in columns])
        room = 0.06 * max(np.ptp(every), 1.0)
        _decibel_axis(
            axes.xaxis, (every.min() - room, every.max() + room), 8 if wide else 4
        )
        axes.set(xlabel=x_label, ylim=(len(columns) - 0.5, -0.9))
        return tips

    return draw(fill, 44 * len(columns) + 60, f"{x_label} of every candidate")


def _shorten(name, n_characters):
    if len(name) <= n_characters:
        return name
    # Candidates of a grid are alike where they begin.
    end = n_characters // 2
    return f"{name[: n_characters - end - 1]}…{name[-end:]}"


def curves(lines: list[tuple[str, str, np.ndarray, np.ndarray]], y_label: str) -> Chart:
    """Draw scores over time: of each line name, CSS classes, seconds and values."""
    finite = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for *_, v in lines)])
    # A window that is almost silent must not flatten all curves.
    low, high = np.percentile(finite, [3, 97]) if finite.size else (0.0, 0.0)
    room = 0.15 * max(high - low, 1.0)

    def fill(axes, wide):
        for name, kind, time, values in lines:
            color, dashes = style(kind)
            name = _shorten(name, 80 if wide else 40)
            axes.plot(time, values, color=color, linestyle=dashes, lw=2, label=name)
        _decibel_axis(axes.yaxis, (low - room, high + room), 6)
        end = max((time.max(initial=0.0) for _, _, time, _ in lines), default=0.0)
        axes.set(xlim=(0, max(end, 1e-3)), xlabel="time (s)")
        axes.set_title(y_label, loc="left", fontsize=12, color=SOFT)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.2),
            ncols=2 if wide else 1,
            frameon=False,
            borderaxespad=0,
            handlelength=2.5,
        )
        return {}

    below = -(-len(lines) // 2), len(lines)
    return draw(fill, 260, f"{y_label} over time", below)
