"""What ``skbss separate`` prints of its results: a table, or lines of JSON."""

# License: BSD-3-Clause

import json

import numpy as np

from skbss.commands.console import say


class Table:
    """Prints a row as soon as a recording is done, and one for all at the end."""

    def __init__(self, recordings, *, n_sources=None):
        most = max((recording.n_mics for recording in recordings), default=0)
        # They tell which outputs of many are talkers.
        self.shows_levels = n_sources is None and most > 2
        widths = (len(str(recording.path)) for recording in recordings)
        self.width = max(len("recording"), *widths, 0)
        self.rows = []
        heading = f"{'recording':<{self.width}}  mics  duration [s]  time [s]    RTF"
        if recordings and recordings[0].reference_paths:
            heading += "  SI-SDRi [dB]"
        if self.shows_levels:
            heading += "  levels [dB]"
        say(heading)

    def add(self, result):
        """Print the row of a recording."""
        recording, scores = result.recording, result.scores
        mean = None if scores is None else _mean(scores)
        row = recording.duration, result.seconds, mean
        self.rows.append(row)
        line = self._row(recording.path, recording.n_mics, *row)
        if scores is not None:
            line += f"  ({_list(scores)})"
        if self.shows_levels:
            line += f"  {_list(result.levels)}"
        say(line)

    def finish(self):
        """Print the row of all recordings, if there are several."""
        if len(self.rows) > 1:
            durations, seconds, means = zip(*self.rows, strict=True)
            mean = None if means[0] is None else _mean(np.array(means))
            say(self._row("all", "", sum(durations), sum(seconds), mean))

    def _row(self, name, n_mics, duration, seconds, mean):
        line = (
            f"{name!s:<{self.width}}  {n_mics:>4}  {duration:>12.1f}  {seconds:>8.2f}  "
            f"{seconds / duration:>5.3f}"
        )
        return line if mean is None else f"{line}  {mean:>12.1f}"


def print_json(path, result):
    """Print what became of a recording as an object on a line.

    Parameters
    ----------
    path : str
        The recording.
    result : Result
        With or without error.
    """
    record = {"recording": str(path), "status": "ok"}
    if result.error is not None:
        record |= {"status": "failed", "error": " ".join(str(result.error).split())}
    else:
        recording = result.recording
        record |= {
            "outputs": [str(output) for output in result.outputs],
            "sample_rate": recording.info.sample_rate,
            "n_mics": recording.n_mics,
            "duration": recording.duration,
            "seconds": round(result.seconds, 3),
            "n_blocks": result.n_blocks,
            "levels": _numbers(result.levels),
            "si_sdr_improvement": _numbers(result.scores),
            "warnings": result.warnings,
        }
    say(json.dumps(record))


def _numbers(values):
    """Return decibels that JSON can hold: null for what is undefined or infinite."""
    if values is None:
        return None
    return [round(float(v), 2) if np.isfinite(v) else None for v in values]


def _list(values):
    return ", ".join(f"{value:.1f}" for value in values)


def _mean(scores):
    """Mean of the scores that are defined: that of a silent reference is nan."""
    scores = scores[~np.isnan(scores)]
    return scores.mean() if len(scores) else np.nan
