"""Tables and statistics of the rows of a benchmark."""

# License: BSD-3-Clause

import re
from dataclasses import dataclass

import numpy as np

from skbss.benchmark.summary import mean_and_interval

_LABELS = {
    "si_sdr": "SI-SDR",
    "si_sdr_improvement": "SI-SDR improvement",
    "si_sir": "SI-SIR",
    "si_sar": "SI-SAR",
}


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The rows of a run, by recording and candidate.

    Parameters
    ----------
    recordings, candidates : list of str
        Names, recordings in natural order, candidates as they appeared.
    methods : list of str
        The method of each candidate.
    rows : dict
        ``(recording, candidate)`` to the row of results.jsonl.
    scores : dict
        Name of a metric to ndarray of shape (n_recordings, n_candidates), the mean over
        sources; nan where there is none.
    real_time_factor : ndarray of shape (n_recordings, n_candidates)
        Time of the separation over the duration.
    """

    recordings: list
    candidates: list
    methods: list
    rows: dict
    scores: dict
    real_time_factor: np.ndarray

    @property
    def metrics(self):
        """Names of the metrics, the one to rank by first."""
        names = list(self.scores)
        if names[:1] == ["si_sdr"] and "si_sdr_improvement" in names:
            # The same order, if nothing is missing, but 0 dB means no effect.
            names.remove("si_sdr_improvement")
            names.insert(0, "si_sdr_improvement")
        return names

    @property
    def failures(self):
        """The rows that failed, in the order of recordings and candidates."""
        keys = [(r, c) for r in self.recordings for c in self.candidates]
        rows = (self.rows.get(key) for key in keys)
        return [row for row in rows if row and row["status"] != "ok"]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Parameters
    ----------
    mean, low, high : float
        nan without values, and `low`, `high` with a single one.
    n : int
        Number of values.
    """

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Ranked:
    """A candidate's line in the ranking.

    Parameters
    ----------
    index : int
        Of the candidate in the table.
    name, method : str
        Of the candidate.
    scores : dict
        Name of a metric to `Interval` over recordings.
    worst : float
        The lowest score of a recording.
    difference : Interval
        Score minus that of the first in the ranking, over the recordings of both.
    n_done, n_failed, n_missing : int
        Recordings that it separated, on which it failed, and that have no row.
    real_time_factor : float
        Median over recordings.
    """

    index: int
    name: str
    method: str
    scores: dict
    worst: float
    difference: Interval
    n_done: int
    n_failed: int
    n_missing: int
    real_time_factor: float


def label(metric):
    """Return a metric's name as people write it."""
    return _LABELS.get(metric, metric.replace("_", " "))


def natural(name):
    """Return a sort key in which n2 comes before n10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def tabulate(rows):
    """Arrange rows by recording and candidate; the last of equal rows counts.

    Parameters
    ----------
    rows : list of dict
        As `read_results` returns them.

    Returns
    -------
    table : ScoreTable
    """
    rows = {(row["recording"], row["candidate"]): row for row in rows}
    recordings = sorted(dict.fromkeys(r for r, _ in rows), key=natural)
    methods = {row["candidate"]: row.get("method", "") for row in rows.values()}
    at_recording = {name: i for i, name in enumerate(recordings)}
    at_candidate = {name: j for j, name in enumerate(methods)}
    shape = (len(recordings), len(methods))
    scores, factor = {}, np.full(shape, np.nan)
    for (recording, candidate), row in rows.items():
        at = at_recording[recording], at_candidate[candidate]
        if row["status"] == "ok":
            factor[at] = number(row.get("real_time_factor"))
            for metric, values in (row.get("scores") or {}).items():
                scores.setdefault(metric, np.full(shape, np.nan))[at] = mean(values)
    return ScoreTable(
        recordings, list(methods), list(methods.values()), rows, scores, factor
    )


def number(value):
    """Return a number from JSON as a float, nan for null."""
    return np.nan if value is None else float(value)


def mean(values):
    """Return the mean of the values from JSON that are numbers, nan if none is."""
    values = values if isinstance(values, list) else [values]
    values = [v for v in map(number, values) if np.isfinite(v)]
    return sum(values) / len(values) if values else np.nan


def mean_of_finite(values, axis):
    """Return the mean of what is finite along an axis, nan where nothing is."""
    finite = np.isfinite(values)
    n = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.where(n, total / np.maximum(n, 1), np.nan)


def interval(values):
    """Return the mean of finite values with its interval by Student's t.

    Parameters
    ----------
    values : ndarray of shape (n_recordings,)
        Scores, nan where there is none.

    Returns
    -------
    interval : Interval
    """
    values = values[np.isfinite(values)]
    return Interval(*mean_and_interval(values), len(values))


def rank(table, metric=None):
    """Rank candidates by the mean of a metric, the highest first.

    Parameters
    ----------
    table : ScoreTable
        The results.
    metric : str, default=None
        The metric. None, if there are no scores, ranks by time.

    Returns
    -------
    ranking : list of Ranked
        Those without a score come last, the faster first.
    """
    shape = table.real_time_factor.shape
    score = table.scores[metric] if metric else np.full(shape, np.nan)
    means = [interval(column).mean for column in score.T]
    factor = [_median(column) for column in table.real_time_factor.T]
    # nan orders nothing, so it is told apart before.
    key = [
        (np.isnan(m), 0 if np.isnan(m) else -m, np.isnan(f), 0 if np.isnan(f) else f)
        for m, f in zip(means, factor, strict=True)
    ]
    order = sorted(range(shape[1]), key=key.__getitem__)
    failed = [row["candidate"] for row in table.failures]
    ranking = []
    for j in order:
        name = table.candidates[j]
        present = sum((recording, name) in table.rows for recording in table.recordings)
        finite = score[np.isfinite(score[:, j]), j]
        ranking.append(
            Ranked(
                index=j,
                name=name,
                method=table.methods[j],
                scores={m: interval(s[:, j]) for m, s in table.scores.items()},
                worst=float(finite.min()) if finite.size else np.nan,
                difference=interval(score[:, j] - score[:, order[0]]),
                n_done=present - failed.count(name),
                n_failed=failed.count(name),
                n_missing=shape[0] - present,
                real_time_factor=factor[j],
            )
        )
    return ranking


def _median(values):
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else np.nan


def spread_out(table, metric, n_recordings):
    """Choose recordings from the hardest to the easiest.

    Parameters
    ----------
    table : ScoreTable
        The results.
    metric : str or None
        The metric that says how hard a recording is, by its mean over candidates.
    n_recordings : int
        How many to choose.

    Returns
    -------
    recordings : list of str
        The chosen ones, in the order of the table: the hardest, the easiest and evenly
        spaced quantiles between; without scores the first.
    """
    n_recordings = min(n_recordings, len(table.recordings))
    if metric is None:
        return table.recordings[:n_recordings]
    means = mean_of_finite(table.scores[metric], axis=1)
    order = np.argsort(means, kind="stable")  # nan, of those without a score, is last
    n_scored = np.isfinite(means).sum()
    at = np.linspace(0, max(n_scored, n_recordings) - 1, n_recordings)
    chosen = order[np.floor(at).astype(int)]
    return [table.recordings[i] for i in sorted(chosen)]
