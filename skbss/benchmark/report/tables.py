"""The report's tables as HTML."""

# License: BSD-3-Clause

import re
from collections import Counter
from html import escape

import numpy as np

from skbss.benchmark.report.charts import (
    NOTHING,
    decibels,
    factor,
    linear,
    reach,
    whisker,
)
from skbss.benchmark.report.ranking import label

_N_SHADES = 8
_MAX_FAILURES = 100
_STAGES = ("read", "stft", "separation", "istft", "score", "write")


def table(kind, caption, head, body):
    """Return a table that scrolls inside its own box.

    Parameters
    ----------
    kind : str
        CSS class.
    caption : str
        What it shows.
    head : list of str
        Header cells, from `sortable` or `plain`.
    body : list of list of str
        Cells of each row.

    Returns
    -------
    html : str
    """
    tall = " tall" if kind == "heat" else ""
    rows = "".join(f"<tr>{''.join(cells)}</tr>" for cells in body)
    return (
        f'<div class="scroll{tall}" tabindex="0" role="region" '
        f'aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{''.join(head)}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def sortable(name, *, order=None, first="descending", kind="number"):
    """Return a header cell with a button that sorts by its column."""
    order = f' aria-sort="{order}"' if order else ""
    return (
        f'<th scope="col" class="{kind}" data-first="{first}"{order}>'
        f'<button type="button">{breakable(name)}</button></th>'
    )


def plain(name):
    """Return a header cell."""
    return f'<th scope="col">{escape(name)}</th>'


def breakable(name):
    """Return text that may be broken after commas and dots, but not in numbers."""
    return re.sub(r",|\.(?=[a-z_])", r"\g<0><wbr>", escape(name))


def key(name, color):
    """Return a candidate's name beside a dot in its color."""
    return f'<span class="key {color}"><span>{breakable(name)}</span></span>'


def cell(shown, value=None, kind="number", tag="td"):
    """Return a cell; `value`, if given, is what its column is sorted by."""
    scope = ' scope="row"' if tag == "th" else ""
    sort = "" if value is None else f' data-value="{_sort_key(value)}"'
    return f'<{tag}{scope} class="{kind}"{sort}>{shown}</{tag}>'


def _sort_key(value):
    if isinstance(value, str):
        return escape(value)
    return f"{value:.10g}" if np.isfinite(value) else ""


def ranking_table(ranking, metrics, colors):
    """Return the ranking as a table, the whole result in one view.

    Parameters
    ----------
    ranking : list of Ranked
        The candidates, the best first.
    metrics : list of str
        The metrics, the one that ranks first.
    colors : dict
        CSS class of each candidate.

    Returns
    -------
    html : str
    """
    head = [
        sortable("#", order="ascending", first="ascending"),
        sortable("candidate", first="ascending", kind="name"),
    ]
    if metrics:
        head.append(sortable(f"{label(metrics[0])} (dB)"))
        head += [plain("95 % interval"), sortable("against the best (dB)")]
    head.append(sortable("real-time factor", first="ascending"))
    head += [sortable("recordings"), sortable("failed")]
    if metrics:
        head.append(sortable("worst recording (dB)"))
    head += [sortable(f"{label(metric)} (dB)") for metric in metrics[1:]]
    scale = _common_scale(ranking, metrics)
    body = []
    for place, one in enumerate(ranking, 1):
        name = key(one.name, colors[one.name])
        cells = [cell(place, place), cell(name, one.name, "name", "th")]
        if metrics:
            score = one.scores[metrics[0]]
            cells += _compared(one, score, colors[one.name], scale, place)
        cells.append(cell(factor(one.real_time_factor), one.real_time_factor))
        cells += _counts(one)
        if metrics:
            cells.append(cell(decibels(one.worst), one.worst))
        means = [one.scores[metric].mean for metric in metrics[1:]]
        cells += [cell(decibels(mean), mean) for mean in means]
        body.append(cells)
    return table("ranking", "Candidates, the best first", head, body)


def _common_scale(ranking, metrics):
    if not metrics:
        return None
    scores = [one.scores[metrics[0]] for one in ranking]
    ends = linear(reach([(s.mean, s.low, s.high) for s in scores]), 0, 1)
    return ends.low, ends.high


def _compared(one, score, color, scale, place):
    """Return the cells of the mean, its interval and its distance to the best."""
    limits = f"{decibels(score.low)} to {decibels(score.high)}"
    if not np.isfinite(score.mean):
        drawn = NOTHING
    elif np.isfinite(score.low):
        drawn = f"{whisker(score, color, *scale)}<small>{limits}</small>"
    else:
        drawn = whisker(score, color, *scale)
    difference = one.difference
    if place == 1:
        shown = "best"
    else:
        shown = decibels(difference.mean)
        if np.isfinite(difference.low):
            ends = f"{decibels(difference.low)} to {decibels(difference.high)}"
            shown += f" <small>({ends})</small>"
    mean = f"<strong>{decibels(score.mean)}</strong>"
    return [
        cell(mean, score.mean),
        cell(drawn, kind="interval"),
        cell(shown, difference.mean),
    ]


def _counts(one):
    missing = f" <small>({one.n_missing} to come)</small>" if one.n_missing else ""
    warn = "number warn" if one.n_failed else "number"
    return [
        cell(f"{one.n_done}{missing}", one.n_done),
        cell(one.n_failed, one.n_failed, warn),
    ]


def score_table(table_, metric, ranking, detailed):
    """Return the scores of all recordings as a table in color.

    Parameters
    ----------
    table_ : ScoreTable
        The results.
    metric : str
        The metric.
    ranking : list of Ranked
        The candidates, the best first.
    detailed : dict
        Recordings that the page lets one hear, to the address there.

    Returns
    -------
    html : str
    """
    scores = table_.scores[metric]
    finite = scores[np.isfinite(scores)]
    # One outlier must not take the color from all others.
    top = max(np.percentile(np.abs(finite), 95), 1.0) if finite.size else 1.0
    head = [sortable("recording", order="ascending", first="ascending", kind="name")]
    head += [sortable(one.name) for one in ranking]
    body = []
    for i, recording in enumerate(table_.recordings):
        shown = breakable(recording)
        if recording in detailed:
            shown = f'<a href="#{detailed[recording]}">{shown}</a>'
        # The place, since natural order is not that of characters.
        cells = [cell(shown, i, "name", "th")]
        best = np.nanmax(scores[i]) if np.isfinite(scores[i]).any() else np.nan
        for one in ranking:
            row = table_.rows.get((recording, one.name))
            cells.append(_score_cell(scores[i, one.index], best, top, row))
        body.append(cells)
    caption = f"{label(metric)} in dB, mean over the sources of each recording"
    return table("heat", caption, head, body)


def _score_cell(score, best, top, row):
    if not np.isfinite(score):
        failed = row is not None and row["status"] != "ok"
        return cell("failed", np.nan, "warn") if failed else cell(NOTHING, np.nan)
    shade = min(int(np.ceil(_N_SHADES * abs(score) / top)), _N_SHADES)
    shown = decibels(score)
    shown = f"<strong>{shown}</strong>" if score == best else shown
    return cell(shown, score, f"number {'down' if score < 0 else 'up'}{shade}")


def failure_table(failures):
    """Return what failed, equal errors of a candidate on one line.

    Parameters
    ----------
    failures : list of dict
        Rows.

    Returns
    -------
    html : str
    """
    groups = {}
    for row in failures:
        error = row.get("error") or {}
        kind, message = str(error.get("type", "")), str(error.get("message", ""))
        groups.setdefault((row["candidate"], kind, message), []).append(
            row["recording"]
        )
    body = []
    for (candidate, kind, message), recordings in groups.items():
        shown = ", ".join(breakable(name) for name in recordings[:3])
        more = f" and {len(recordings) - 3} more" if len(recordings) > 3 else ""
        body.append(
            [
                cell(breakable(candidate), kind="name", tag="th"),
                cell(len(recordings)),
                cell(f"<code>{escape(kind)}</code> {escape(message)}", kind="text"),
                cell(shown + more, kind="text"),
            ]
        )
    head = [plain(name) for name in ("candidate", "failed", "error", "recordings")]
    html = table("failures", "What failed, and why", head, body[:_MAX_FAILURES])
    if len(body) > _MAX_FAILURES:
        html += f"<p>{len(body) - _MAX_FAILURES} more are in results.jsonl.</p>"
    return html


def time_table(table_, ranking):
    """Return the time of every stage, relative to the duration of the recordings.

    Parameters
    ----------
    table_ : ScoreTable
        The results.
    ranking : list of Ranked
        The candidates, the best first.

    Returns
    -------
    html : str
        Empty if no row has times.
    """
    totals = {one.name: Counter() for one in ranking}
    for row in table_.rows.values():
        if row["status"] == "ok" and row.get("duration"):
            seconds = {k: v for k, v in row.get("seconds", {}).items() if v}
            totals[row["candidate"]].update(seconds, duration=row["duration"])
    stages = [s for s in _STAGES if any(s in total for total in totals.values())]
    if not stages:
        return ""
    head = [sortable("candidate", first="ascending", kind="name")]
    head += [sortable(stage, first="ascending") for stage in (*stages, "total")]
    body = []
    for one in ranking:
        total = totals[one.name]
        times = [
            1000 * total[stage] / total["duration"] if total["duration"] else np.nan
            for stage in (*stages, "total")
        ]
        shown = [cell(decibels(time), time) for time in times]
        name = cell(breakable(one.name), one.name, "name", "th")
        body.append([name, *shown])
    caption = "Milliseconds of computing per second of audio, over all recordings"
    return table("time", caption, head, body)
