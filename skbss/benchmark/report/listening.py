"""The signals of recordings, to see and to hear."""

# License: BSD-3-Clause

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from skbss.benchmark.report.run import Run
from skbss.benchmark.report.words import decibels
from skbss.benchmark.table import Ranked, mean_of_finite, number
from skbss.io import AudioFileError
from skbss.pages.clips import (
    CODECS,
    data_uri,
    encode,
    picture,
    power,
    read_clip,
)

_SAME_SCALE = 100.0  # of power, 20 dB


@dataclass(eq=False)
class Signal:
    """One signal of a recording: a picture and a player."""

    path: Path
    title: str
    note: str  # beside the button
    png: bytes = b""  # the spectrogram, if the file can be read
    problem: str = ""  # or else why not
    source: str = ""  # address of the audio

    @property
    def image(self) -> str:
        """Address of the picture."""
        return data_uri(self.png, "image/png")


@dataclass(eq=False)
class Group:
    """The signals of the mixture, the references or a candidate, or a note instead."""

    name: str
    kind: str  # CSS class of the color
    signals: list[Signal]
    note: str = ""


def find_signals(run: Run, recording: str) -> list[Group]:
    """Return what there is to hear of a recording."""
    audio = run.folder / "audio" / recording
    # A candidate's name may be anything, but its folder is none of these files.
    paths = [path for path in sorted(audio.glob("*.*")) if path.is_file()]
    mixtures = [p for p in paths if p.stem == "mixture"][:1]
    references = [p for p in paths if p.stem.startswith("reference_")]
    mixture = [Signal(p, "mixture", "microphone 0") for p in mixtures]
    signals = [
        Signal(p, f"reference {k}", f"source {k}") for k, p in enumerate(references)
    ]
    groups = [Group("mixture", "", mixture), Group("references", "", signals)]
    groups += [_outputs(run, recording, one) for one in run.shown]
    return [group for group in groups if group.signals or group.note]


def _outputs(run, recording, one):
    row, kind = run.rows.get((recording, one.name)), run.colors[one.name]
    if row is None:
        return Group(one.name, kind, [], "not done yet")
    if row["status"] != "ok":
        error = (row.get("error") or {}).get("type", "unknown error")
        return Group(one.name, kind, [], f"failed: {error}")
    scores = (row.get("scores") or {}).get(run.metric) or []
    signals = []
    for k, path in enumerate(row.get("audio") or []):
        note = f"{decibels(number(scores[k]))} dB" if k < len(scores) else f"source {k}"
        found = run.find(path)
        problem = "" if found else f"Cannot read {path}: it is not in the run folder."
        signals.append(Signal(found, f"{one.name} source {k}", note, problem=problem))
    return Group(one.name, kind, signals, "" if signals else "no audio was written")


def embed(
    recordings: dict[str, list[Group]], output: Path, max_size: int, *, audio: bool
) -> tuple[str | None, int]:
    """Read and draw all signals, and put as much audio into the page as it may hold.

    All of it as FLAC, if that is small enough, else as MP3, as far as that goes: the
    other signals are played from their files. Returns the codec that was used, if any,
    and the number of signals that are played from files.
    """
    signals = []
    for groups in recordings.values():
        found = [signal for group in groups for signal in group.signals]
        _draw(found)
        signals += [signal for signal in found if signal.png]
    pictures = sum(len(signal.png) for signal in signals) * 4 // 3
    used = None
    for codec in CODECS if audio else ():
        used = codec
        if _encode_all(signals, codec, max_size - pictures):
            break
    linked = [signal for signal in signals if not signal.source]
    for signal in linked:
        signal.source = quote(Path(os.path.relpath(signal.path, output)).as_posix())
    return (used if len(linked) < len(signals) else None), len(linked)


def _draw(signals):
    """Set the pictures of a recording."""
    peak = None
    for signal in signals:
        if signal.problem:
            continue
        try:
            spectrogram = power(read_clip(signal.path))
        except AudioFileError as error:
            signal.problem = str(error)
            continue
        own = spectrogram.max()
        peak = own if peak is None else peak
        # Other scales than the mixture's are shown for what they look like.
        same = peak / _SAME_SCALE < own < peak * _SAME_SCALE
        signal.png = picture(spectrogram, peak if same else own)


def _encode_all(signals, codec, room):
    """Set sources while there is room, and return whether there was for all."""
    for signal in signals:
        data = encode(read_clip(signal.path), codec)
        uri = "" if data is None else data_uri(data, f"audio/{codec}")
        signal.source = uri if len(uri) <= room else ""
        room -= len(signal.source)
    return all(signal.source for signal in signals)


def framewise(
    run: Run, recording: str, one: Ranked
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return times and scores over time, the mean over sources, if there are any."""
    path = (run.rows.get((recording, one.name)) or {}).get("framewise")
    path = run.find(path) if path and run.metric else None
    if path is None:
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            time, score = arrays["time"], arrays[run.metric]
    except (OSError, KeyError, ValueError):
        return None
    return (time, mean_of_finite(score, axis=1)) if len(time) else None


def mean_curves(run: Run, max_recordings: int = 50) -> tuple[list[tuple], float]:
    """Return the mean of scores over time as `charts.curves` takes it, and its end."""
    step = max(1, len(run.table.recordings) // max_recordings)
    found = {
        (recording, one.name): curve
        for recording in run.table.recordings[::step]
        for one in run.drawn
        if (curve := framewise(run, recording, one)) is not None
    }
    if not found:
        return [], 0.0
    # Averages over a set that changes with time would jump where a recording ends.
    ends = {recording: time[-1] for (recording, _), (time, _) in found.items()}
    end = sorted(ends.values())[(len(ends) - 1) // 2]
    longest = max((time for time, _ in found.values()), key=len)
    grid = longest[longest <= end]
    lines = []
    for one in run.drawn:
        own = [
            np.interp(grid, *curve, left=np.nan)
            for (recording, name), curve in found.items()
            if name == one.name and ends[recording] >= end
        ]
        if own:
            mean = mean_of_finite(own, axis=0)
            lines.append((one.name, run.colors[one.name], grid, mean))
    return lines, end
