"""What the sections of the page show, as its template wants it."""

# License: BSD-3-Clause

import re
from collections import Counter

import numpy as np

from skbss.benchmark.report import charts, listening, words

_N_SHADES = 8
_STAGES = ("read", "stft", "separation", "istft", "score", "write")


def facts(run):
    """Return what was compared, when and where, as pieces of a line."""
    durations = Counter()
    for (recording, _), row in run.rows.items():
        durations[recording] = max(durations[recording], row.get("duration") or 0.0)
    minutes = f"({durations.total() / 60:.1f} min)"
    facts = [
        words.count(len(run.ranking), "candidate"),
        f"{words.count(len(run.table.recordings), 'recording')} {minutes}",
    ]
    if "started" in run.environment:
        facts.append(str(run.environment["started"])[:16].replace("T", " "))
    return facts + [str(v) for k, v in run.environment.items() if k == "processor"]


def verdict(run):
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


def whisker_scale(run):
    """Return the function from dB to pixels of the intervals in the ranking."""
    scores = [one.scores[run.metric] for one in run.ranking] if run.metric else []
    low, high = charts.reach([(s.mean, s.low, s.high) for s in scores])
    return lambda v: round(float(np.interp(v, [low, high], [4, 92])), 1)


def score_rows(run):
    """Return the scores of each recording, their colors and whether they are best."""
    if not run.metric:
        return []
    scores = run.table.scores[run.metric]
    finite = np.abs(scores[np.isfinite(scores)])
    # One outlier must not take the color from all others.
    top = max(np.percentile(finite, 95), 1.0) if finite.size else 1.0
    rows = []
    for name, values, failed in zip(
        run.table.recordings, scores, run.table.failed, strict=True
    ):
        best = np.nanmax(values) if np.isfinite(values).any() else np.nan
        cells = []
        for one in run.ranking:
            score, shade = values[one.index], ""
            if np.isfinite(score):
                strength = min(int(np.ceil(_N_SHADES * abs(score) / top)), _N_SHADES)
                shade = f"number {'down' if score < 0 else 'up'}{strength}"
            elif failed[one.index]:
                shade = "warn"
            cells.append((score, shade or "number", score == best))
        rows.append((name, cells))
    return rows


def sections(run, output, files, max_size, audio):
    """Return what the page shows below the ranking; put figures into `files`."""
    drawn = _charts(run, files) if run.metric else []
    recordings, codec, n_linked = _recordings(run, output, files, max_size, audio)
    failures = _failures(run)
    stages, time_rows = _times(run)
    anchors = ["ranking", *(chart["anchor"] for chart in drawn)]
    anchors += ["recordings"] * bool(run.metric) + ["listen"]
    anchors += ["failures"] * bool(failures) + ["time"] * bool(time_rows)
    return {
        "charts": drawn,
        "recordings": recordings,
        "listening_notes": _listening_notes(run, codec, n_linked),
        "n_linked": n_linked,
        "failures": failures,
        "stages": stages,
        "time_rows": time_rows,
        "anchors": [*anchors, "configuration"],
    }


def _charts(run, files):
    name = f"{words.label(run.metric)} (dB)"
    found = [
        (
            "speed",
            "Score against time",
            "score_against_time.svg",
            charts.scatter(run.ranking, run.metric, run.colors, name),
            "Up is better, left is faster. The numbers are those of the ranking, the "
            "bars the 95 % intervals.",
        )
    ]
    if len(run.table.recordings) > 1:
        scores = run.table.scores[run.metric]
        chart = charts.boxes(run.ranking, scores, run.colors, name)
        note = "A box holds the middle half of the recordings, the line is the median."
        found.append(("spread", "Spread over recordings", "scores.svg", chart, note))
    lines, end = listening.mean_curves(run)
    if lines:
        chart = charts.curves(lines, name)
        note = f"Mean over the recordings that last at least {end:.3g} s. What is far "
        note += "below all the rest is cut off."
        found.append(("course", "Score over time", "score_over_time.svg", chart, note))
    drawn = []
    for anchor, title, path, (page, file), note in found:
        files[path] = file.encode()
        drawn.append({"anchor": anchor, "title": title, "page": page, "note": note})
    return drawn


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
                **_recording_facts(run, name),
            }
        )
    return recordings, codec, n_linked


def _recording_facts(run, name):
    rows = [run.rows.get((name, one.name)) for one in run.ranking]
    row = max((row for row in rows if row), key=len)  # a failed one knows less
    facts = [
        words.count(row[f"n_{noun}s"], long)
        for noun, long in (("source", "source"), ("mic", "microphone"))
        if row.get(f"n_{noun}s")
    ]
    if row.get("duration"):
        facts.append(f"{row['duration']:.3g} s")
    if row.get("sample_rate"):
        facts.append(f"{row['sample_rate'] / 1000:g} kHz")
    return {"facts": facts, "duration": f"{row.get('duration') or 0:g}"}


def _listening_notes(run, codec, n_linked):
    n_recordings, total = len(run.anchors), len(run.table.recordings)
    if n_recordings < total:
        yield f"{n_recordings} of {total} recordings, from the hardest to the easiest."
    if len(run.shown) < len(run.ranking):
        yield (
            f"{len(run.shown)} of {len(run.ranking)} candidates, the best of each "
            "method first."
        )
    if not codec and not n_linked:
        yield "The run folder has no audio to play."
        return
    yield (
        "Signals of a recording share their position: start another one, and it goes "
        "on where the first one was. A click on a spectrogram plays from there. "
        "Spectrograms span 64 dB below the loudest point of the mixture, and their "
        "full height is half of the sample rate."
    )
    if run.metric:
        metric = words.label(run.metric)
        yield f"The numbers beside the players are {metric} of each source."
    if codec:
        lossless = "16-bit FLAC" if codec == "flac" else "MP3, to save space"
        yield f"Audio in this page is {lossless}."
    if n_linked:
        yield (
            f"{n_linked} signals are played from their files, which must stay where "
            "they are beside this page."
        )


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
    stages = [s for s in _STAGES if any(s in total for total in totals.values())]
    if not stages:
        return [], []
    stages.append("total")
    return stages, [
        (
            name,
            [1000 * t[s] / t["duration"] if t["duration"] else np.nan for s in stages],
        )
        for name, t in totals.items()
    ]
