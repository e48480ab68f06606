"""The one table of a run: scores by recording and candidate, and what they tell."""

# License: BSD-3-Clause

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, sem, t

from skbss.benchmark.output import write_csv
from skbss.benchmark.results import iterate_results

CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The rows of a run, by recording and candidate.

    Parameters
    ----------
    recordings : list of str
        Names, in natural order.
    candidates : list of dict
        `candidate`, `method` and `params` of each, as they appeared.
    scores : dict
        Name of a metric to ndarray of shape (n_recordings, n_candidates), the mean over
        sources; nan where there is none.
    ok, failed : ndarray of shape (n_recordings, n_candidates), bool
        Tasks that are done, by how they went.
    real_time_factor, seconds : ndarray of shape (n_recordings, n_candidates)
        Time of the separation, over the duration and by itself.
    """

    recordings: list
    candidates: list
    scores: dict
    ok: np.ndarray
    failed: np.ndarray
    real_time_factor: np.ndarray
    seconds: np.ndarray

    @property
    def metrics(self):
        """Names of the metrics, the one to rank by first."""
        names = list(self.scores)
        if names[:1] == ["si_sdr"] and "si_sdr_improvement" in names:
            # The same order, if nothing is missing, but 0 dB means no effect.
            names.remove("si_sdr_improvement")
            names.insert(0, "si_sdr_improvement")
        return names


@dataclass(frozen=True)
class Mean:
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
    """A candidate's place in the ranking.

    Parameters
    ----------
    index : int
        Of the candidate in the table.
    name, method : str
        Of the candidate.
    params : dict
        Its parameters in the grid.
    scores : dict
        Name of a metric to its `Mean` over recordings.
    worst : float
        The lowest score of a recording.
    difference : Mean
        Score minus that of the first in the ranking, over the recordings of both.
    n_done, n_failed, n_missing : int
        Recordings that it separated, on which it failed, and that have no row.
    real_time_factor : float
        Median over recordings.
    """

    index: int
    name: str
    method: str
    params: dict
    scores: dict
    worst: float
    difference: Mean
    n_done: int
    n_failed: int
    n_missing: int
    real_time_factor: float


def natural(name):
    """Return a sort key in which n2 comes before n10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def number(value):
    """Return a number from JSON as a float, nan for null."""
    return np.nan if value is None else float(value)


def mean_of_finite(values, axis=None):
    """Return the mean of what is finite along an axis, nan where nothing is."""
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    n = finite.sum(axis)
    total = np.where(finite, values, 0.0).sum(axis)
    return np.where(n, total / np.maximum(n, 1), np.nan)[()]


def mean_and_interval(values, confidence=CONFIDENCE):
    """Return the mean of independent values and its interval by Student's t.

    Parameters
    ----------
    values : array-like of shape (n_values,)
        Those that aren't finite are left out.
    confidence : float, default=0.95
        Probability that such an interval holds the expectation, for normal values.

    Returns
    -------
    mean : Mean
        With nan where there are too few values.

    Examples
    --------
    >>> from skbss.benchmark.table import mean_and_interval
    >>> mean = mean_and_interval([9.0, 10.0, 11.0])
    >>> round(mean.low, 2), round(mean.high, 2), mean.n
    (7.52, 12.48, 3)
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    mean = float(mean_of_finite(values))
    if values.size < 2:
        return Mean(mean, np.nan, np.nan, values.size)
    half = float(t.ppf((1 + confidence) / 2, values.size - 1) * sem(values))
    return Mean(mean, mean - half, mean + half, values.size)


def tabulate(rows):
    """Arrange rows by recording and candidate; the last of equal rows counts.

    Parameters
    ----------
    rows : iterable of dict
        As `read_results` returns them. None is kept.

    Returns
    -------
    table : ScoreTable
    """
    ok, factor, seconds, scores = {}, {}, {}, defaultdict(dict)
    candidates = {}
    for row in rows:
        at = row["recording"], row["candidate"]
        if at in ok:
            for column in (factor, seconds, *scores.values()):
                column.pop(at, None)
        name, method, params = at[1], row.get("method", ""), row.get("params") or {}
        candidates[name] = {"candidate": name, "method": method, "params": params}
        ok[at] = row["status"] == "ok"
        if ok[at]:
            times = row.get("seconds") or {}
            factor[at] = number(row.get("real_time_factor"))
            parts = [times.get(name) for name in ("stft", "separation", "istft")]
            seconds[at] = sum(part or 0.0 for part in parts)
            for metric, values in (row.get("scores") or {}).items():
                values = values if isinstance(values, list) else [values]
                mean = mean_of_finite([number(value) for value in values])
                scores[metric][at] = float(mean)
    recordings = sorted({recording for recording, _ in ok}, key=natural)
    row_of = {name: k for k, name in enumerate(recordings)}
    column_of = {name: k for k, name in enumerate(candidates)}

    def array(values, missing=np.nan):
        out = np.full((len(recordings), len(candidates)), missing)
        for (recording, candidate), value in values.items():
            out[row_of[recording], column_of[candidate]] = value
        return out

    done = array(dict.fromkeys(ok, True), False)
    succeeded = array(ok, False)
    return ScoreTable(
        recordings=recordings,
        candidates=list(candidates.values()),
        scores={metric: array(values) for metric, values in scores.items()},
        ok=succeeded,
        failed=done & ~succeeded,
        real_time_factor=array(factor),
        seconds=array(seconds),
    )


def rank(table):
    """Rank candidates by the mean of the first metric, the highest first.

    Parameters
    ----------
    table : ScoreTable
        The results.

    Returns
    -------
    ranking : list of Ranked
        Those without a score come last, the faster first, as all do where there are no
        scores.
    """
    factors = table.real_time_factor
    score = (
        table.scores[table.metrics[0]]
        if table.scores
        else np.full_like(factors, np.nan)
    )
    means = mean_of_finite(score, axis=0)
    medians = [
        float(np.median(f[np.isfinite(f)])) if np.isfinite(f).any() else np.nan
        for f in factors.T
    ]
    order = np.lexsort((medians, -means))  # nan, of what always failed, goes last
    ranking = []
    for j in order:
        finite = score[np.isfinite(score[:, j]), j]
        one = table.candidates[j]
        n_done, n_failed = int(table.ok[:, j].sum()), int(table.failed[:, j].sum())
        ranking.append(
            Ranked(
                index=int(j),
                name=one["candidate"],
                method=one["method"],
                params=one["params"],
                scores={
                    m: mean_and_interval(table.scores[m][:, j]) for m in table.metrics
                },
                worst=float(finite.min()) if finite.size else np.nan,
                difference=mean_and_interval(score[:, j] - score[:, order[0]]),
                n_done=n_done,
                n_failed=n_failed,
                n_missing=len(table.recordings) - n_done - n_failed,
                real_time_factor=medians[j],
            )
        )
    return ranking


def summarize(folder):
    """Summarize the results of a run, and write them to ``summary.csv``.

    Parameters
    ----------
    folder : str or Path
        The run folder; the run may still be going on.

    Returns
    -------
    summary : list of dict
        For each candidate, the best first by the improvement in SI-SDR, or else by the
        first metric:

        candidate, method, params
            As in the results. Of several rows of a task the last one counts.
        n_recordings, n_failed, n_missing : int
            How many recordings were separated, how many failed, and how many have no
            row for this candidate yet.
        real_time_factor : float
            Median over the recordings of the seconds of computation, from the samples
            of the recording to those of the sources, for a second of audio.
        <metric> : float
            Mean over the recordings, each of which counts with the mean over its
            sources. What is undefined is left out.
        <metric>_low, <metric>_high : float
            Limits of the confidence interval of the mean at 95 %, by Student's t over
            the recordings: it tells how far another choice of such recordings would
            move the mean. Nan for a single recording.
        <metric>_n : int
            Number of recordings with a score.
        worst : float
            The score of the worst recording, by the metric that ranks.
        difference, difference_low, difference_high : float
            Score minus that of the best candidate, recording by recording, over those
            that both have.

    Raises
    ------
    RunError
        If there are no results.
    OutputError
        If ``summary.csv`` cannot be written.

    See Also
    --------
    cv_results : Means as `GridSearchCV` has them.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import make_experiment, run_experiment, summarize
    >>> experiment = make_experiment(
    ...     {
    ...         "dataset": {"name": "convolutive", "n_scenes": 3, "duration": 2.0},
    ...         "stft": {"n_fft": 1024},
    ...         "methods": ["auxiva", "onlineauxiva"],
    ...     }
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     best, other = summarize(folder)
    >>> best["candidate"], best["n_recordings"], best["si_sdr"] > other["si_sdr"]
    ('auxiva', 3, True)
    """
    table = tabulate(row for row, _ in iterate_results(folder))
    summary = [summary_row(one) for one in rank(table)]
    write_summary(Path(folder) / "summary.csv", summary)
    return summary


def summary_row(one):
    """Return the line of a `Ranked` candidate in the summary."""
    row = {
        "candidate": one.name,
        "method": one.method,
        "params": one.params,
        "n_recordings": one.n_done,
        "n_failed": one.n_failed,
        "n_missing": one.n_missing,
        "real_time_factor": one.real_time_factor,
    }
    for name, mean in one.scores.items():
        row |= {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}
        row[f"{name}_n"] = mean.n
    row["worst"], row["difference"] = one.worst, one.difference.mean
    limits = {
        "difference_low": one.difference.low,
        "difference_high": one.difference.high,
    }
    return row | limits


def write_summary(path, summary):
    """Write what `summarize` returns, a column for each parameter."""
    params = dict.fromkeys(name for row in summary for name in row["params"])
    header = list(summary[0]) if summary else []
    header[2:3] = params  # in the place of "params"
    lines = [
        [candidate, method, *map(values.get, params), *rest]
        for candidate, method, values, *rest in (row.values() for row in summary)
    ]
    write_csv(path, header, lines)


def cv_results(folder):
    """Return the results of a run as `GridSearchCV` would have them.

    Parameters
    ----------
    folder : str or Path
        The run folder.

    Returns
    -------
    results : dict of str to list or ndarray
        Like the attribute ``cv_results_`` of a multi-metric `GridSearchCV`, where each
        recording is a split: ``params``, which include the ``method``,
        ``split<k>_test_<metric>``, ``mean_test_<metric>``, ``std_test_<metric>``,
        ``rank_test_<metric>``, ``mean_fit_time`` and ``std_fit_time``, with nan for
        what failed, and ``recordings``, the names of the splits. It makes a
        `pandas.DataFrame` without the latter.

    Examples
    --------
    >>> import tempfile
    >>> from skbss.benchmark import cv_results, make_experiment, run_experiment
    >>> experiment = make_experiment(
    ...     {
    ...         "dataset": {"name": "convolutive", "n_scenes": 2, "duration": 1.0},
    ...         "methods": {"auxiva": {"grid": {"auxiva.max_iter": [1, 9]}}},
    ...         "stft": {"n_fft": 512},
    ...     }
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     results = cv_results(folder)
    >>> results["params"][1], results["split0_test_si_sdr"].shape
    ({'method': 'auxiva', 'auxiva.max_iter': 9}, (2,))
    """
    table = tabulate(row for row, _ in iterate_results(folder))
    names = [one["candidate"] for one in table.candidates]
    order = sorted(range(len(names)), key=names.__getitem__)
    candidates = [table.candidates[k] for k in order]
    results = {
        "params": [{"method": c["method"]} | c["params"] for c in candidates],
        "recordings": table.recordings,
    }

    def add_mean(kind, values):
        # nan, as in GridSearchCV, if one is nan.
        results[f"mean_{kind}"] = values.mean(axis=1)
        results[f"std_{kind}"] = values.std(axis=1)

    add_mean("fit_time", table.seconds.T[order])
    for metric, scores in table.scores.items():
        scores = scores.T[order]
        for k, column in enumerate(scores.T):
            results[f"split{k}_test_{metric}"] = column
        add_mean(f"test_{metric}", scores)
        mean = np.nan_to_num(results[f"mean_test_{metric}"], nan=-np.inf)
        rank = rankdata(-mean, method="min")
        results[f"rank_test_{metric}"] = rank.astype(np.int32)
    return results
