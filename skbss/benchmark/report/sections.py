"""What the sections of the page show, as its template wants it."""

# License: BSD-3-Clause

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from skbss.benchmark.report import charts, listening, words
from skbss.benchmark.report.run import Run
from skbss.benchmark.results import STAGES

_N_SHADES = 8
_CHART_FILES = {
    "speed": "score_against_time.svg",
    "spread": "scores.svg",
    "course": "score_over_time.svg",
}


def _minutes(run: Run) -> float:
    """Return how long the recordings last together."""
    durations: dict[str, float] = defaultdict(float)
    for (recording, _), row in run.rows.items():
        durations[recording] = max(durations[recording], row.get("duration") or 0.0)
    return sum(durations.values()) / 60


def _verdict(run: Run) -> dict:
    """Return whom the sentences on the best candidate speak of."""
    best, *others = run.ranking
    close = [
        one
        for one in others
        if one.difference.mean > -1 and one.real_time_factor < best.real_time_factor / 2
    ]
    better = [one for one in others if one.difference.mean > 0]
    return {
        "rivals": [o for o in others if o.difference.low <= 0 <= o.difference.high],
        "fast": min(close, key=lambda one: one.real_time_factor, default=None),
        "most_scored": max(run.ranking, key=lambda o: o.scores[run.metric].n)
        if run.metric
        else None,
        "better": max(better, key=lambda one: one.difference.mean, default=None),
    }


def _whisker_scale(run: Run) -> Callable[[float], float]:
    """Return the function from dB to pixels of the intervals in the ranking."""
    scores = [one.scores[run.metric] for one in run.ranking] if run.metric else []
    low, high = charts.reach([(s.mean, s.low, s.high) for s in scores])
    return lambda v: round(float(np.interp(v, [low, high], [4, 92])), 1)


def _score_rows(run: Run) -> list[tuple]:
    """Return the scores of each recording, their colors and whether they are best."""
    if not run.metric:
        return []
    scores = run.table.scores[run.metric]
    finite = np.abs(scores[np.isfinite(scores)])
    # One outlier must not take the color from all others.
    top = max(np.percentile(finite, 95), 1.0) if finite.size else 1.0
    strengths = np.ceil(_N_SHADES * np.abs(scores) / top).clip(max=_N_SHADES)
    best = np.fmax.reduce(scores, axis=1)
    rows = []
    for i, name in enumerate(run.table.recordings):
        cells = []
        for j in (one.index for one in run.ranking):
            shade = "warn" if run.table.failed[i, j] else "number"
            if np.isfinite(score := scores[i, j]):
                way = "down" if score < 0 else "up"
                shade = f"number {way}{strengths[i, j]:.0f}"
            cells.append((score, shade, score == best[i]))
        rows.append((name, cells))
    return rows


def sections(
    run: Run, output: Path, files: dict[str, bytes], max_size: int, audio: bool
) -> dict:
    """Return what the template shows of a run; put figures into `files`."""
    drawn, end = _charts(run, files) if run.metric else ({}, 0.0)
    recordings, codec, n_linked = _recordings(run, output, files, max_size, audio)
    stages, time_rows = _times(run)
    return _verdict(run) | {
        "ranking": run.ranking,
        "metric": run.metric,
        "metrics": run.table.metrics,
        "count": words.count,
        "minutes": _minutes(run),
        "at": _whisker_scale(run),
        "score_rows": _score_rows(run),
        "charts": drawn,
        "end": end,
        "recordings": recordings,
        "codec": codec,
        "n_linked": n_linked,
        "failures": _failures(run),
        "stages": stages,
        "time_rows": time_rows,
    }


def _charts(run, files):
    name = f"{words.label(run.metric)} (dB)"
    drawn = {"speed": charts.scatter(run.ranking, run.metric, run.colors, name)}
    scores = run.table.scores[run.metric]
    if len(scores) > 1 and np.isfinite(scores).any():
        drawn["spread"] = charts.boxes(run.ranking, scores, run.colors, name)
    lines, end = listening.mean_curves(run)
    if lines:
        drawn["course"] = charts.curves(lines, name)
    for anchor, (_, file) in drawn.items():
        files[_CHART_FILES[anchor]] = file.encode()
    return {anchor: page for anchor, (page, _) in drawn.items()}, end


def _recordings(run, output, files, max_size, audio):
    """Return the recordings to hear, the codec and the number of linked signals."""
    groups = {name: listening.find_signals(run, name) for name in run.anchors}
    codec, n_linked = listening.embed(groups, output, max_size, audio=audio)
    recordings = []
    for name, anchor in run.anchors.items():
        signals = [signal for group in groups[name] for signal in group.signals]
        for k, signal in enumerate(signal for signal in signals if signal.png):
            path = f"{_file_name(name)}/{k:02d}_{_file_name(signal.title)}.png"
            files[path] = signal.png
        lines = [
            (one.name, run.colors[one.name], *curve)
            for one in run.drawn
            if (curve := listening.framewise(run, name, one)) is not None
        ]
        page = None
        if lines:
            y_label = f"{words.label(run.metric)} (dB), mean over sources"
            page, file = charts.curves(lines, y_label)
            files[f"{_file_name(name)}/framewise.svg"] = file.encode()
        recordings.append(
            {
                "name": name,
                "anchor": anchor,
                "groups": groups[name],
                "width": max((len(g.signals) for g in groups[name]), default=0),
                "curves": page,
                "facts": _facts(run, name),
            }
        )
    return recordings, codec, n_linked


def _facts(run, name):
    """Return what is known of a recording: of a failed task less than of others."""
    rows = [run.rows.get((name, one.name)) for one in run.ranking]
    row = max((row for row in rows if row), key=len)
    names = ("n_sources", "n_mics", "duration", "sample_rate")
    return {name: row.get(name) or 0 for name in names}


def _file_name(name):
    return re.sub(r"[^\w.,=+-]+", "_", name).lstrip(".") or "_"


def _failures(run):
    """Return recordings by candidate and error, in the order of the table."""
    groups = {}
    for i, j in np.argwhere(run.table.failed):
        recording = run.table.recordings[i]
        candidate = run.table.candidates[j]["candidate"]
        error = run.rows[recording, candidate].get("error") or {}
        kind, message = str(error.get("type", "")), str(error.get("message", ""))
        groups.setdefault((candidate, kind, message), []).append(recording)
    return list(groups.items())


def _times(run):
    """Return the stages, and the time of each relative to the duration."""
    totals = {one.name: Counter() for one in run.ranking}
    for row in run.rows.values():
        if row["status"] == "ok" and row.get("duration"):
            seconds = {k: v for k, v in (row.get("seconds") or {}).items() if v}
            totals[row["candidate"]].update(seconds, duration=row["duration"])
    stages = [s for s in STAGES if any(s in total for total in totals.values())]
    stages += ["total"] * bool(stages)
    rows = []
    for name, total in totals.items():
        milliseconds = np.array([1000 * total[stage] for stage in stages])
        rows.append((name, milliseconds / (total["duration"] or np.nan)))
    return stages, rows
