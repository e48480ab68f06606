"""Charts as SVG, drawn by pure functions: numbers in, markup out."""

# License: BSD-3-Clause

from dataclasses import dataclass
from html import escape

import numpy as np

N_COLORS = 8
CHARACTER = 6.4  # mean width of a character at 12 px
_FONT = 12
_DECADE = (1, 2, 5)
MAX_NAMES = 10  # points beyond which numbers have to do
NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Scale:
    """From values to pixels.

    Parameters
    ----------
    low, high : float
        The values at the ends.
    start, stop : float
        Pixels there.
    log : bool, default=False
        Whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value):
        """Return the pixel of a value, to a tenth."""
        low, high, value = self.low, self.high, np.clip(value, self.low, self.high)
        if self.log:
            low, high, value = np.log(low), np.log(high), np.log(value)
        share = (value - low) / (high - low)
        return np.round(self.start + share * (self.stop - self.start), 1)

    def ticks(self, n_ticks=6):
        """Return round values, about so many."""
        if self.log:
            first, last = np.floor(np.log10([self.low, self.high])).astype(int)
            wide = last - first > 2
            ticks = [
                m * 10.0**k
                for k in range(first, last + 1)
                for m in (_DECADE[:1] if wide else _DECADE)
            ]
        else:
            raw = (self.high - self.low) / n_ticks
            unit = 10.0 ** np.floor(np.log10(raw))
            step = unit * next(m for m in (1, 2, 5, 10) if m * unit >= raw * 0.999)
            first, last = np.ceil(self.low / step), np.floor(self.high / step)
            ticks = step * np.arange(first, last + 1)
        return [t for t in ticks if self.low * 0.999 <= t or not self.log]


def linear(values, start, stop, *, margin=0.06):
    """Return a linear scale that holds all finite values with some margin."""
    values = np.asarray([v for v in values if np.isfinite(v)] or [0.0])
    low, high = values.min(), values.max()
    extent = max(high - low, 1.0)
    return Scale(low - margin * extent, high + margin * extent, start, stop)


def reach(intervals):
    """Return the values a scale should hold: means, and what is near of intervals.

    Parameters
    ----------
    intervals : list of tuple (mean, low, high)
        Of which nan and intervals are cut, since those of two or three recordings are
        so long that means could not be told apart beside them.

    Returns
    -------
    values : ndarray of shape (n_values,)
    """
    values = np.array(intervals).reshape(-1, 3)
    means = values[np.isfinite(values[:, 0]), 0]
    if not means.size:
        return means
    around = max(np.ptp(means), 6.0)  # dB
    near = np.clip(values, means.min() - around, means.max() + around)
    return near[np.isfinite(near)]


def logarithmic(values, start, stop):
    """Return a logarithmic scale that holds all positive values with some margin."""
    values = np.asarray([v for v in values if np.isfinite(v) and v > 0] or [1.0])
    low, high = values.min() / 1.5, values.max() * 1.5
    return Scale(low, max(high, 5 * low), start, stop, log=True)


def color(index):
    """Return the CSS class of the color of a method."""
    return f"c{index % N_COLORS}"


def text(x, y, string, kind="label", anchor="start"):
    """Return a text element."""
    return (
        f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">'
        f"{escape(string)}</text>"
    )


def line(x1, y1, x2, y2, kind):
    """Return a line element."""
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def group(kind, title, parts):
    """Return a group with a tool tip."""
    return f'<g class="{kind}"><title>{escape(title)}</title>{"".join(parts)}</g>'


def document(width, height, description, parts):
    """Return an SVG image."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(description)}">{"".join(parts)}</svg>'
    )


def decibels(value):
    """Write a level or a difference of levels, without its unit."""
    if not np.isfinite(value):
        return NOTHING
    return f"{round(float(value), 1) + 0.0:.1f}".replace("-", _MINUS)


def factor(value):
    """Write a real-time factor."""
    if not np.isfinite(value):
        return NOTHING
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def axes(x, y, x_label, y_label):
    """Return grid lines, ticks and names of both axes; without `y`, of `x` alone."""
    top, bottom = (y.stop, y.start) if isinstance(y, Scale) else y
    n_ticks = 4 if x.stop - x.start < 400 else 8
    parts = []
    for tick in x.ticks(n_ticks):
        at = x(tick)
        if x.start <= at <= x.stop and x.low <= tick <= x.high:
            parts += [line(at, top, at, bottom, "grid")]
            parts += [text(at, bottom + 16, _tick(tick), "tick", "middle")]
    if isinstance(y, Scale):
        for tick in y.ticks():
            parts += [line(x.start, y(tick), x.stop, y(tick), "grid")]
            parts += [text(x.start - 6, y(tick) + 4, _tick(tick), "tick", "end")]
        parts += [text(0, _FONT, y_label, "axis")]
    if x.low < 0 < x.high and not x.log:
        parts += [line(x(0), top, x(0), bottom, "zero")]
    if isinstance(y, Scale) and y.low < 0 < y.high:
        parts += [line(x.start, y(0), x.stop, y(0), "zero")]
    return [*parts, text(x.stop, bottom + 34, x_label, "axis", "end")]


def _tick(value):
    return f"{value + 0.0:.6g}".replace("-", _MINUS)  # no minus zero


@dataclass(frozen=True)
class Point:
    """A candidate in the scatter plot.

    Parameters
    ----------
    name, kind : str
        Its name and CSS class.
    place : int
        In the ranking.
    x, y, low, high : float
        Real-time factor, score and the interval of the score.
    """

    name: str
    kind: str
    place: int
    x: float
    y: float
    low: float
    high: float


def scatter(points, width, y_label):
    """Draw score against time.

    Parameters
    ----------
    points : list of Point
        The candidates.
    width : int
        In px.
    y_label : str
        Name of the score.

    Returns
    -------
    svg : str
    """
    height = 380 if width > 500 else 340
    points = [p for p in points if np.isfinite(p.y) and p.x > 0]
    extent = reach([(p.y, p.low, p.high) for p in points])
    x = logarithmic([p.x for p in points], 40, width - 12)
    y = linear(extent, height - 44, 26)
    parts = axes(x, y, "real-time factor (time / duration)", y_label)
    if x.low < 1 < x.high:
        parts += [line(x(1), 26, x(1), height - 44, "zero")]
    taken = [(x(p.x) - 6, y(p.y) - 6, x(p.x) + 6, y(p.y) + 6) for p in points]
    bars = [p for p in points if np.isfinite(p.low)]
    taken += [(x(p.x) - 1, y(p.high), x(p.x) + 1, y(p.low)) for p in bars]
    for p in points:
        marks = [f'<circle cx="{x(p.x)}" cy="{y(p.y)}" r="5"/>']
        if np.isfinite(p.low):
            marks.insert(0, line(x(p.x), y(p.low), x(p.x), y(p.high), "whisker"))
        names = [str(p.place)]
        if width > 500 and len(points) <= MAX_NAMES:
            names.insert(0, f"{p.place} {p.name}")
        marks += _place_label(names, x(p.x), y(p.y), width, taken)
        interval = f" ({decibels(p.low)} to {decibels(p.high)})"
        title = f"{p.place} {p.name}: {decibels(p.y)}{interval}, {factor(p.x)}"
        parts.append(group(p.kind, title, marks))
    return document(width, height, f"{y_label} against real-time factor", parts)


def _place_label(names, x, y, width, taken):
    """Return the first label that overlaps nothing, and mark its place as taken."""
    for name in names:
        length = CHARACTER * len(name)
        for left, top in [
            (x + 9, y - 7), (x - 9 - length, y - 7),
            (x + 5, y - 20), (x - 5 - length, y - 20),
            (x + 5, y + 7), (x - 5 - length, y + 7),
        ]:  # fmt: skip
            box = (left, top, left + length, top + 14)
            inside = left >= 40 and box[2] <= width and top >= 14
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                return [text(round(left, 1), round(top + 11, 1), name)]
    return []


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def boxes(columns, width, x_label):
    """Draw a horizontal box for the scores of each candidate.

    The box is from the first to the third quartile with a line at the median, the
    whiskers reach the last score within 1.5 times its length, and dots are recordings:
    all of them if there are at most 60, else those beyond the whiskers.

    Parameters
    ----------
    columns : list of tuple (name, kind, values)
        The candidates: name, CSS class, and scores with nan where there is none.
    width : int
        In px.
    x_label : str
        Name of the score.

    Returns
    -------
    svg : str
    """
    columns = [(n, k, v[np.isfinite(v)]) for n, k, v in columns]
    columns = [(n, k, v) for n, k, v in columns if len(v)]
    beside = width > 500  # names, rather than above the boxes
    longest = max((len(name) for name, _, _ in columns), default=0)
    left = min(CHARACTER * longest + 12, width / 3) if beside else 6
    pitch = 26 if beside else 40
    height = pitch * len(columns) + 54
    x = linear(np.concatenate([v for _, _, v in columns] or [[]]), left, width - 14)
    parts = axes(x, (8, height - 44), x_label, None)
    for k, (name, kind, values) in enumerate(columns):
        middle = 8 + pitch * (k + 0.5) + (0 if beside else 8)
        shown = _shorten(name, (left - 12 if beside else width - 20) / CHARACTER)
        at = (left - 8, middle + 4) if beside else (x.start, middle - 14)
        parts.append(text(*at, shown, "label", "end" if beside else "start"))
        parts.append(_box(x, middle, name, kind, values))
    return document(width, height, f"{x_label} of every candidate", parts)


def _shorten(name, n_characters):
    n_characters = int(n_characters)
    if len(name) <= n_characters:
        return name
    # Candidates of a grid are alike where they begin.
    end = n_characters // 2
    return f"{name[: n_characters - end - 1]}…{name[-end:]}"


def _box(x, middle, name, kind, values):
    first, median, third = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (third - first)
    within = values[(values >= first - reach) & (values <= third + reach)]
    low, high = within.min(), within.max()
    dots = values if len(values) <= 60 else values[(values < low) | (values > high)]
    x1, x3 = x(first), x(third)
    marks = [
        line(x(low), middle, x1, middle, "whisker"),
        line(x3, middle, x(high), middle, "whisker"),
        f'<rect class="box" x="{x1}" y="{middle - 7}" '
        f'width="{max(round(x3 - x1, 1), 1)}" height="14"/>',
        line(x(median), middle - 7, x(median), middle + 7, "median"),
        *(f'<circle class="dot" cx="{x(v)}" cy="{middle}" r="2.2"/>' for v in dots),
    ]
    title = f"{name}: median {decibels(median)}, quartiles {decibels(first)} and "
    return group(kind, f"{title}{decibels(third)}, {len(values)} recordings", marks)


def curves(lines, width, y_label, *, height=260):
    """Draw scores over time.

    Parameters
    ----------
    lines : list of tuple (name, kind, time, values)
        The curves: name, CSS classes, time in seconds, values with nan where there is
        none.
    width : int
        In px.
    y_label : str
        Name of the score.
    height : int, default=260
        In px.

    Returns
    -------
    svg : str
    """
    finite = [v[np.isfinite(v)] for _, _, _, v in lines]
    # A window that is almost silent must not flatten all curves.
    finite = np.concatenate(finite) if finite else np.empty(0)
    extent = np.percentile(finite, [3, 97]) if finite.size else [0.0]
    times = np.concatenate([time for _, _, time, _ in lines] or [[0.0]])
    x = Scale(0.0, max(times.max(initial=0.0), 1e-3), 40, width - 12)
    y = linear(extent, height - 44, 26, margin=0.15)
    parts, rows = _legend([(name, kind) for name, kind, _, _ in lines], width, height)
    parts += axes(x, y, "time (s)", y_label)
    for name, kind, time, values in lines:
        pieces = []
        for piece in np.split(
            np.arange(len(values)), np.flatnonzero(~np.isfinite(values))
        ):
            piece = piece[np.isfinite(values[piece])]
            pairs = zip(x(time[piece]), y(values[piece]), strict=True)
            pieces.append(" ".join(f"{a:g},{b:g}" for a, b in pairs))
        marks = [f'<polyline points="{piece}"/>' for piece in pieces if piece]
        parts.append(group(kind, name, marks))
    height += 20 * rows
    return document(width, height, f"{y_label} over time", parts)


def _legend(entries, width, top):
    """Return the names of curves in rows below `top`, and the number of rows."""
    parts, x, row = [], 40, 0
    for name, kind in entries:
        length = 30 + CHARACTER * len(name) + 14
        if x > 40 and x + length > width:
            x, row = 40, row + 1
        y = top + 20 * row + 8
        marks = [f'<polyline points="{x:g},{y:g} {x + 24:g},{y:g}"/>']
        parts += [group(kind, name, marks), text(round(x + 30, 1), y + 4, name)]
        x += length
    return parts, row + 1


def whisker(interval, kind, low, high):
    """Draw a mean and its interval as small as a word; `low`, `high` end the scale."""
    x = Scale(low, high, 4, 92)
    parts = []
    if low < 0 < high:
        parts.append(line(x(0), 0, x(0), 18, "zero"))
    if np.isfinite(interval.low):
        parts.append(line(x(interval.low), 9, x(interval.high), 9, "whisker"))
    parts.append(f'<circle cx="{x(interval.mean)}" cy="9" r="4"/>')
    return (
        '<svg class="spark" width="96" height="18" viewBox="0 0 96 18" '
        f'aria-hidden="true"><g class="{kind}">{"".join(parts)}</g></svg>'
    )
