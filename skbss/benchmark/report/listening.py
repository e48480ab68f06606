"""The part of the report where one hears and sees recordings."""

# License: BSD-3-Clause

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from skbss.benchmark.report.charts import decibels
from skbss.benchmark.report.clips import (
    CODECS,
    data_uri,
    encode,
    picture,
    power,
    read_clip,
)
from skbss.benchmark.report.ranking import label, mean_of_finite, number
from skbss.benchmark.report.summary import count
from skbss.benchmark.report.tables import breakable, key
from skbss.io import AudioFileError

_SAME_SCALE = 100.0  # of power, 20 dB


@dataclass(eq=False)
class Cell:
    """One signal of a recording: a picture and a player.

    Parameters
    ----------
    path : Path
        The audio file.
    title : str
        What it is.
    note : str
        What stands beside the button.
    png : bytes, default=b''
        The spectrogram; empty if the file cannot be read.
    problem : str, default=''
        Why it cannot be read.
    source : str, default=''
        Address of the audio.
    """

    path: Path
    title: str
    note: str
    png: bytes = b""
    problem: str = ""
    source: str = ""


@dataclass(eq=False)
class Line:
    """The signals of the mixture, the references or a candidate.

    Parameters
    ----------
    name, kind : str
        Name and CSS class of the color.
    cells : list of Cell
        A signal a source.
    note : str, default=''
        What is told instead of signals.
    """

    name: str
    kind: str
    cells: list
    note: str = ""


def find_lines(folder, recording, table, ranking, colors, metric):
    """Return what there is to hear of a recording.

    Parameters
    ----------
    folder : Path
        The run folder.
    recording : str
        Name of the recording.
    table : ScoreTable
        The results.
    ranking : list of Ranked
        The candidates to show.
    colors : dict
        CSS class of each candidate.
    metric : str or None
        The metric to tell.

    Returns
    -------
    lines : list of Line
    """
    audio = folder / "audio" / recording
    lines = []
    mixtures = sorted(audio.glob("mixture.*"))[:1]
    cells = [Cell(path, "mixture", "microphone 0") for path in mixtures]
    references = sorted(audio.glob("reference_*"))
    if cells:
        lines.append(Line("mixture", "", cells))
    cells = [
        Cell(path, f"reference {k}", f"source {k}") for k, path in enumerate(references)
    ]
    if cells:
        lines.append(Line("references", "", cells))
    for one in ranking:
        row = table.rows.get((recording, one.name))
        lines.append(_candidate_line(folder, row, one.name, colors[one.name], metric))
    return lines


def _candidate_line(folder, row, name, kind, metric):
    if row is None:
        return Line(name, kind, [], "not done yet")
    if row["status"] != "ok":
        error = row.get("error") or {}
        return Line(name, kind, [], f"failed: {error.get('type', 'unknown error')}")
    scores = (row.get("scores") or {}).get(metric) or []
    cells = []
    for k, path in enumerate(row.get("audio") or []):
        note = f"source {k}"
        if k < len(scores):
            note = f"{decibels(number(scores[k]))} dB"
        cells.append(Cell(folder / path, f"{name} source {k}", note))
    return Line(name, kind, cells, "" if cells else "no audio was written")


def embed(recordings, output, max_size, *, audio):
    """Read and draw all signals, and put as much audio into the page as it may hold.

    All of it as FLAC, if that is small enough, else as MP3, as far as that goes: the
    other signals are played from their files.

    Parameters
    ----------
    recordings : dict
        Name to list of `Line`.
    output : Path
        The folder of the page.
    max_size : int
        Bytes of pictures and audio.
    audio : bool
        Whether to embed any.

    Returns
    -------
    codec : str or None
        The codec that was used, if any audio is in the page.
    n_linked : int
        Number of signals that are played from their files.
    """
    for lines in recordings.values():
        _draw(lines)
    cells = [c for lines in recordings.values() for line in lines for c in line.cells]
    cells = [cell for cell in cells if cell.png]
    pictures = sum(len(cell.png) for cell in cells) * 4 // 3
    used = None
    for codec in CODECS if audio else ():
        used = codec
        if _encode_all(cells, codec, max_size - pictures):
            break
    linked = [cell for cell in cells if not cell.source]
    for cell in linked:
        cell.source = quote(Path(os.path.relpath(cell.path, output)).as_posix())
    return (used if len(linked) < len(cells) else None), len(linked)


def _draw(lines):
    """Set the pictures of a recording."""
    peak = None
    for cell in (cell for line in lines for cell in line.cells):
        try:
            spectrogram = power(read_clip(cell.path))
        except AudioFileError as error:
            cell.problem = str(error)
            continue
        own = spectrogram.max()
        peak = own if peak is None else peak
        # Other scales than the mixture's are shown for what they look like.
        same = peak / _SAME_SCALE < own < peak * _SAME_SCALE
        cell.png = picture(spectrogram, peak if same else own)


def _encode_all(cells, codec, room):
    """Set sources while there is room, and return whether there was for all."""
    for cell in cells:
        cell.source = ""
    complete = True
    for cell in cells:
        data = encode(read_clip(cell.path), codec)
        uri = "" if data is None else data_uri(data, f"audio/{codec}")
        if uri and len(uri) <= room:
            cell.source = uri
            room -= len(uri)
        elif codec == "flac":
            return False
        else:
            complete = False
    return complete


def recording_section(name, anchor, lines, row, figure, *, opened):
    """Return a recording's pictures and players.

    Parameters
    ----------
    name, anchor : str
        Name of the recording, and its address in the page.
    lines : list of Line
        The signals.
    row : dict
        A row of the recording.
    figure : str
        More to show below.
    opened : bool
        Whether it can be seen without a click.

    Returns
    -------
    html : str
    """
    facts = []
    if row.get("n_sources"):
        facts.append(count(row["n_sources"], "source"))
    if row.get("n_mics"):
        facts.append(count(row["n_mics"], "microphone"))
    if row.get("duration"):
        facts.append(f"{row['duration']:.3g} s")
    if row.get("sample_rate"):
        facts.append(f"{row['sample_rate'] / 1000:g} kHz")
    width = max((len(line.cells) for line in lines), default=1)
    state = " open" if opened else ""
    duration = row.get("duration") or 0
    start = (
        f'<details class="recording" id="{anchor}" data-duration="{duration:g}"{state}>'
        f"<summary><h3>{breakable(name)}</h3> <span>{', '.join(facts)}</span></summary>"
    )
    if not any(line.cells for line in lines):
        return f'{start}<p class="note">It has no audio.</p>{figure}</details>'
    body = "".join(_line_html(line, name, width) for line in lines)
    return (
        f'{start}<div class="transport"><button type="button" class="stop" disabled>'
        'Pause</button><input type="range" min="0" max="1000" value="0" '
        f'aria-label="Position in {escape(name)}"><output></output></div>'
        '<div class="scroll" tabindex="0" role="region" '
        f'aria-label="Signals of {escape(name)}"><table class="signals">'
        f'<caption class="unseen">Signals of {escape(name)}</caption>'
        f"<tbody>{body}</tbody></table></div>{figure}</details>"
    )


def _line_html(line, recording, width):
    name = key(line.name, line.kind) if line.kind else line.name
    head = f'<th scope="row">{name}</th>'
    if not line.cells:
        note = f'<td colspan="{width}" class="text">{escape(line.note)}</td>'
        return f"<tr>{head}{note}</tr>"
    cells = "".join(_cell_html(cell, recording) for cell in line.cells)
    cells += "<td></td>" * (width - len(line.cells))
    return f"<tr>{head}{cells}</tr>"


def _cell_html(cell, recording):
    if not cell.png:
        return f'<td class="text warn">{escape(cell.problem)}</td>'
    title = escape(f"{cell.title} of {recording}")
    return (
        '<td class="signal"><div class="bar">'
        f'<button type="button" class="play" aria-pressed="false" '
        f'aria-label="Play {title}"></button><span>{escape(cell.note)}</span></div>'
        f'<div class="picture"><img src="{data_uri(cell.png, "image/png")}" '
        f'alt="Spectrogram: {title}" width="320" height="120">'
        f'<span class="head"></span></div><audio preload="none" controls '
        f'src="{escape(cell.source)}"></audio></td>'
    )


def framewise_of(folder, row, metric):
    """Read scores over time.

    Parameters
    ----------
    folder : Path
        The run folder.
    row : dict or None
        The row of a candidate.
    metric : str
        The metric.

    Returns
    -------
    time, score : ndarray of shape (n_windows,)
        In seconds, and the mean over sources, nan where no source is defined; None
        without such a file, or if it cannot be read.
    """
    if row is None or not row.get("framewise"):
        return None
    try:
        with np.load(folder / row["framewise"], allow_pickle=False) as arrays:
            time, score = arrays["time"], arrays[metric]
    except (OSError, KeyError, ValueError):
        return None
    return time, mean_of_finite(score, axis=1)


def heading(metric):
    """Return what the numbers beside the players are."""
    return f"The numbers are {label(metric)} of each source." if metric else ""
