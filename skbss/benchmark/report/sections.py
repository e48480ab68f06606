"""The sections of the report's page."""

# License: BSD-3-Clause

import re
from functools import cache
from html import escape
from importlib import resources

import numpy as np

from skbss.benchmark.report import charts, listening, tables
from skbss.benchmark.report.ranking import label, mean_of_finite
from skbss.benchmark.report.summary import count

WIDTHS = {"wide": 760, "narrow": 340}  # px
MAX_AVERAGED = 50


@cache
def resource(name):
    """Return a text file of this package."""
    return (resources.files("skbss.benchmark.report") / name).read_text("utf-8")


def _section(anchor, title, *parts):
    return anchor, title, "\n".join(part for part in parts if part)


def _note(text):
    return f'<p class="note">{text}</p>'


def _figure(name, draw, run):
    """Draw for the page, once for wide and once for narrow windows, and as a file."""
    wide, narrow = (draw(width) for width in WIDTHS.values())
    style = f"<style>{resource('chart.css')}</style>"
    start = wide.index(">") + 1
    background = '<rect width="100%" height="100%" fill="#fff"/>'
    run.figures[name] = f"{wide[:start]}{style}{background}{wide[start:]}".encode()
    both = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    return f"<figure>{both}</figure>"


def ranking_section(run):
    """Return the ranking.

    Parameters
    ----------
    run : SimpleNamespace
        What `write_report` has found.

    Returns
    -------
    anchor, title, html : str
    """
    n = len(run.table.recordings)
    notes = "The real-time factor is the median time of the separation alone over the "
    notes += "duration of the recording; below 1 it is faster than real time."
    if run.metric:
        notes = (
            "Means over recordings, each of which counts with the mean over its "
            "sources. The intervals are those of the mean, by Student&rsquo;s t "
            "over recordings: how far another choice of such recordings would move it. "
            "Against the best, differences are taken recording by recording, over "
            "those that both have; an interval that excludes 0 is a difference that "
            f"{count(n, 'recording')} can show, not corrected for the number of "
            "comparisons. "
        ) + notes
    html = tables.ranking_table(run.ranking, run.table.metrics, run.colors)
    return _section("ranking", "Ranking", html, _note(notes))


def score_sections(run):
    """Return the charts and the table of scores by recording, if there are scores.

    Parameters
    ----------
    run : SimpleNamespace
        What `write_report` has found; gets figures.

    Returns
    -------
    sections : list of tuple (anchor, title, html)
    """
    if not run.metric:
        return []
    name = f"{label(run.metric)} (dB)"
    points = [
        charts.Point(
            one.name,
            run.colors[one.name],
            place,
            one.real_time_factor,
            one.scores[run.metric].mean,
            one.scores[run.metric].low,
            one.scores[run.metric].high,
        )
        for place, one in enumerate(run.ranking, 1)
    ]
    scores = run.table.scores[run.metric]
    columns = [
        (f"{place} {one.name}", run.colors[one.name], scores[:, one.index])
        for place, one in enumerate(run.ranking, 1)
    ]
    scatter = _figure(
        "score_against_time.svg", lambda w: charts.scatter(points, w, name), run
    )
    boxes = _figure("scores.svg", lambda w: charts.boxes(columns, w, name), run)
    against = "Up is better, left is faster. The numbers are those of the ranking, the "
    against += "bars the 95 % intervals."
    spread = "A box holds the middle half of the recordings, the line is their median."
    sections = [
        _section("speed", "Score against time", scatter, _note(against)),
    ]
    if len(scores) > 1:
        sections.append(
            _section("spread", "Spread over recordings", boxes, _note(spread))
        )
    lines, end = _mean_curves(run)
    if lines:
        curves = _figure(
            "score_over_time.svg", lambda w: charts.curves(lines, w, name), run
        )
        note = f"Mean over the recordings that last at least {end:.3g} s. What is far "
        note += "below all the rest is cut off."
        sections.append(_section("course", "Score over time", curves, _note(note)))
    return [*sections, _scores_section(run)]


def _mean_curves(run):
    """Return the mean of scores over time, and how long it goes."""
    step = max(1, len(run.table.recordings) // MAX_AVERAGED)
    curves = {
        (recording, one.name): curve
        for recording in run.table.recordings[::step]
        for one in run.drawn
        if (curve := _curve(run, recording, one)) is not None and len(curve[0])
    }
    if not curves:
        return [], 0.0
    # Averages over a set that changes with time would jump where a recording ends.
    ends = {recording: time[-1] for (recording, _), (time, _) in curves.items()}
    end = sorted(ends.values())[(len(ends) - 1) // 2]
    longest = max((time for time, _ in curves.values()), key=len)
    grid = longest[longest <= end]
    lines = []
    for one in run.drawn:
        found = [
            np.interp(grid, *curve, left=np.nan)
            for (recording, name), curve in curves.items()
            if name == one.name and ends[recording] >= end
        ]
        if found:
            mean = mean_of_finite(found, axis=0)
            lines.append((one.name, run.colors[one.name], grid, mean))
    return lines, end


def _curve(run, recording, one):
    row = run.table.rows.get((recording, one.name))
    return listening.framewise_of(run.folder, row, run.metric)


def _scores_section(run):
    html = tables.score_table(run.table, run.metric, run.ranking, run.anchors)
    return _section("recordings", "Scores by recording", html)


def listening_section(run, max_size, audio):
    """Return the pictures and players.

    Parameters
    ----------
    run : SimpleNamespace
        What `write_report` has found; gets figures.
    max_size : int
        Bytes of pictures and audio in the page.
    audio : bool
        Whether to put audio into the page.

    Returns
    -------
    section : tuple (anchor, title, html)
    linked : bool
        Whether files are needed beside the page.
    """
    recordings = {
        name: listening.find_lines(
            run.folder, name, run.table, run.shown, run.colors, run.metric
        )
        for name in run.anchors
    }
    codec, n_linked = listening.embed(recordings, run.output, max_size, audio=audio)
    html = []
    for name, lines in recordings.items():
        cells = (cell for line in lines for cell in line.cells if cell.png)
        for k, cell in enumerate(cells):
            path = f"{_file_name(name)}/{k:02d}_{_file_name(cell.title)}.png"
            run.figures[path] = cell.png
        curves = _recording_curves(run, name)
        rows = (run.table.rows.get((name, c)) for c in run.table.candidates)
        row = max((r for r in rows if r), key=len)  # a failed one knows less
        html.append(
            listening.recording_section(
                name, run.anchors[name], lines, row, curves, opened=not html
            )
        )
    notes = _listening_notes(run, codec, n_linked)
    section = _section("listen", "Listen and look", _note(notes), *html)
    return section, n_linked > 0


def _listening_notes(run, codec, n_linked):
    n_recordings = len(run.anchors)
    total = len(run.table.recordings)
    notes = []
    if n_recordings < total:
        notes.append(
            f"{n_recordings} of {total} recordings, from the hardest to the easiest."
        )
    if len(run.shown) < len(run.ranking):
        notes.append(
            f"{len(run.shown)} of {len(run.ranking)} candidates, the best of each "
            "method first."
        )
    if not codec and not n_linked:
        return escape(" ".join([*notes, "The run folder has no audio to play."]))
    notes.append(
        "Signals of a recording share their position: start another one, and it goes "
        "on where the first one was. A click on a spectrogram plays from there. "
        "Spectrograms span 64 dB below the loudest point of the mixture, and their "
        "full height is half of the sample rate."
    )
    notes.append(listening.heading(run.metric))
    if codec:
        lossless = "16-bit FLAC" if codec == "flac" else "MP3, to save space"
        notes.append(f"Audio in this page is {lossless}.")
    if n_linked:
        notes.append(
            f"{n_linked} signals are played from their files, which must stay where "
            "they are beside this page."
        )
    return escape(" ".join(note for note in notes if note))


def _recording_curves(run, recording):
    if not run.metric:
        return ""
    lines = []
    for one in run.drawn:
        curve = _curve(run, recording, one)
        if curve is not None and len(curve[0]):
            lines.append((one.name, run.colors[one.name], *curve))
    if not lines:
        return ""
    name = f"{_file_name(recording)}/framewise.svg"
    y_label = f"{label(run.metric)} (dB), mean over sources"
    return _figure(name, lambda w: charts.curves(lines, w, y_label), run)


def _file_name(name):
    return re.sub(r"[^\w.,=+-]+", "_", name).lstrip(".") or "_"


def other_sections(run):
    """Return failures, times and configuration.

    Parameters
    ----------
    run : SimpleNamespace
        What `write_report` has found.

    Returns
    -------
    sections : list of tuple (anchor, title, html)
    """
    found = [_failure_section(run), _time_section(run), _run_section(run)]
    return [section for section in found if section]


def _failure_section(run):
    if not run.table.failures:
        return None
    html = tables.failure_table(run.table.failures)
    return _section("failures", "Failures", html)


def _time_section(run):
    html = tables.time_table(run.table, run.ranking)
    return _section("time", "Where the time goes", html) if html else None


def _run_section(run):
    items = "".join(
        f"<dt>{escape(str(k))}</dt><dd>{escape(_written(v))}</dd>"
        for k, v in run.environment.items()
    )
    parts = [f"<dl>{items}</dl>"] if items else []
    config = run.folder / "experiment.yaml"
    if config.is_file():
        text = config.read_text("utf-8", errors="replace")
        parts += ["<h3>Configuration</h3>", f'<pre tabindex="0">{escape(text)}</pre>']
    files = ", ".join(
        f'<a href="{name}">{name}</a>'
        for name in ("ranking.csv", "per_recording.csv", "figures/")
    )
    parts.append(_note(f"Beside this page: {files}."))
    return _section("configuration", "Environment and configuration", *parts)


def _written(value):
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
