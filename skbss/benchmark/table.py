"""The one table of a run: scores by recording and candidate, and what they tell."""

# License: BSD-3-Clause

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from sys import intern
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap, rankdata, sem, t

from skbss.benchmark.output import write_csv
from skbss.benchmark.results import COMPUTING, iterate_results

CONFIDENCE = 0.95
Interval = Literal["t", "bootstrap"]


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The rows of a run, as arrays of shape (n_recordings, n_candidates)."""

    recordings: list[str]  # in natural order
    candidates: list[dict]  # `candidate`, `method` and `params`, as they appeared
    scores: dict[str, np.ndarray]  # by metric, means over sources, nan without one
    ok: np.ndarray  # tasks that are done, by how they went
    failed: np.ndarray
    real_time_factor: np.ndarray
    seconds: np.ndarray  # of the separation

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the one to rank by first."""
        names = list(self.scores)
        if names[:1] == ["si_sdr"]:
            # The same order, if nothing is missing, but 0 dB means no effect.
            names.sort(key=lambda name: name != "si_sdr_improvement")
        return names


@dataclass(frozen=True)
class Mean:
    """A mean of `n` values and its interval, nan where there are too few."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Ranked:
    """A candidate's place in the ranking."""

    index: int  # in the table
    name: str
    method: str
    params: dict  # those of the grid
    scores: dict[str, Mean]  # by metric, over recordings
    worst: float  # score of a recording
    difference: Mean  # from the first in the ranking, over the recordings of both
    n_done: int
    n_failed: int
    n_missing: int  # recordings without a row
    real_time_factor: float  # median over recordings


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key in which n2 comes before n10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def number(value: float | None) -> float:
    """Return a number from JSON as a float, nan for null."""
    return np.nan if value is None else float(value)


def mean_of_finite(values: Any, axis: int | None = None) -> Any:
    """Return the mean of what is finite along an axis, nan where nothing is."""
    values = np.asarray(values, dtype=float)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return values.sum(axis, where=finite) / np.count_nonzero(finite, axis)


def mean_and_interval(values: ArrayLike, interval: Interval = "t") -> Mean:
    """Return the mean of what is finite and its confidence interval.

    Examples
    --------
    >>> from skbss.benchmark.table import mean_and_interval
    >>> mean = mean_and_interval([9.0, 10.0, 11.0])
    >>> round(mean.low, 2), round(mean.high, 2), mean.n
    (7.52, 12.48, 3)
    """
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    mean = float(mean_of_finite(array))
    if array.size < 2:
        return Mean(mean, np.nan, np.nan, array.size)
    if interval == "t" or not np.ptp(array):
        half = float(t.ppf((1 + CONFIDENCE) / 2, array.size - 1) * sem(array))
        return Mean(mean, mean - half, mean + half, array.size)
    found = bootstrap((array,), np.mean, confidence_level=CONFIDENCE, batch=100, rng=0)
    limits = found.confidence_interval
    return Mean(mean, float(limits.low), float(limits.high), array.size)


def tabulate(rows: Iterable[dict]) -> ScoreTable:
    """Arrange rows by recording and candidate; the last of equal rows counts."""
    candidates, outcomes, scores = {}, {}, {}
    for row in rows:
        # Millions of rows name few recordings and candidates.
        at = intern(str(row["recording"])), intern(str(row["candidate"]))
        method, params = row.get("method") or "", row.get("params") or {}
        candidates[at[1]] = {"candidate": at[1], "method": method, "params": params}
        outcomes[at], scores[at] = _outcome(row), _scores(row)
    recordings = sorted({recording for recording, _ in outcomes}, key=natural)

    def array(cells, name, missing=np.nan):
        pairs = product(recordings, candidates)
        values = np.array([cells.get(at, {}).get(name, missing) for at in pairs])
        return values.reshape(len(recordings), len(candidates))

    metrics = dict.fromkeys(metric for cell in scores.values() for metric in cell)
    return ScoreTable(
        recordings=recordings,
        candidates=list(candidates.values()),
        scores={metric: array(scores, metric) for metric in metrics},
        ok=array(outcomes, "ok", False),
        failed=array(outcomes, "failed", False),
        real_time_factor=array(outcomes, "real_time_factor"),
        seconds=array(outcomes, "seconds"),
    )


def _outcome(row):
    """Return how a task went, and how long it took if it went well."""
    if row["status"] != "ok":
        return {"failed": True}
    factor, seconds = number(row.get("real_time_factor")), row.get("seconds") or {}
    seconds = sum(seconds.get(name) or 0.0 for name in COMPUTING)
    return {"ok": True, "real_time_factor": factor, "seconds": seconds}


def _scores(row):
    """Return the scores of what went well, means over the sources."""
    scores = row.get("scores") or {} if row["status"] == "ok" else {}
    return {metric: float(mean_of_finite(v)) for metric, v in scores.items()}


def rank(table: ScoreTable, interval: Interval = "t") -> list[Ranked]:
    """Rank candidates by the mean of the first metric, the highest first.

    Those without a score come last, the faster first, as all do where there are no
    scores.
    """
    factors = np.ma.masked_invalid(table.real_time_factor)
    medians = np.ma.filled(np.ma.median(factors, axis=0), np.nan)
    metric, unknown = next(iter(table.metrics), ""), np.full(factors.shape, np.nan)
    score = table.scores.get(metric, unknown)
    means = mean_of_finite(score, axis=0)
    order = np.lexsort((medians, -means))  # nan, of what always failed, goes last
    ranking = []
    for j in order:
        finite = score[np.isfinite(score[:, j]), j]
        scores = {m: table.scores[m][:, j] for m in table.metrics}
        difference = score[:, j] - score[:, order[0]]
        one = table.candidates[j]
        n_done, n_failed = int(table.ok[:, j].sum()), int(table.failed[:, j].sum())
        ranking.append(
            Ranked(
                index=int(j),
                name=one["candidate"],
                method=one["method"],
                params=one["params"],
                scores={m: mean_and_interval(s, interval) for m, s in scores.items()},
                worst=float(finite.min()) if finite.size else np.nan,
                difference=mean_and_interval(difference, interval),
                n_done=n_done,
                n_failed=n_failed,
                n_missing=len(table.recordings) - n_done - n_failed,
                real_time_factor=float(medians[j]),
            )
        )
    return ranking


def summarize(folder: str | Path, *, interval: Interval = "t") -> list[dict]:
    """Summarize the results of a run, and write them to ``summary.csv``.

    Parameters
    ----------
    folder : str or Path
        The run folder; the run may still be going on.
    interval : {'t', 'bootstrap'}, default='t'
        Confidence intervals by Student's t, which expects scores of recordings to be
        about normal, or by bootstrap (BCa), which expects nothing but at least some ten
        recordings.

    Returns
    -------
    summary : list of dict
        For each candidate, the best first by the improvement in SI-SDR, or else by the
        first metric: `candidate`, `method` and `params`; on how many recordings it is
        done, failed and missing (`n_recordings`, `n_failed`, `n_missing`); the median
        `real_time_factor` of the computation, from the samples of the recording to
        those of the sources; and for each metric ``<metric>``, the mean over
        recordings, each of which counts with the mean over its sources, the limits
        ``<metric>_low`` and ``<metric>_high`` of its interval at 95 %, which tell how
        far another choice of such recordings would move it, and their number
        ``<metric>_n``. By the metric that ranks there are the `worst` recording, and
        the `difference` from the best candidate, over recordings of both, with its
        limits `difference_low` and `difference_high`. Of several rows of a task the
        last one counts, and what is undefined is left out.

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
    >>> dataset = {"name": "convolutive", "n_scenes": 3, "duration": 2.0}
    >>> methods = ["auxiva", "onlineauxiva"]
    >>> experiment = make_experiment({"dataset": dataset, "methods": methods})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     best, other = summarize(folder)
    >>> best["candidate"], best["n_recordings"], best["si_sdr"] > other["si_sdr"]
    ('auxiva', 3, True)
    """
    table = tabulate(row for row, _ in iterate_results(folder))
    summary = [summary_row(one) for one in rank(table, interval)]
    write_summary(Path(folder) / "summary.csv", summary)
    return summary


def summary_row(one: Ranked) -> dict:
    """Return the line of a candidate in the summary."""
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
    row |= {"worst": one.worst, "difference": one.difference.mean}
    row |= {"difference_low": one.difference.low}
    return row | {"difference_high": one.difference.high}


def write_summary(path: Path, summary: list[dict]) -> None:
    """Write what `summarize` returns, a column for each parameter."""
    params = dict.fromkeys(name for row in summary for name in row["params"])
    header = list(summary[0]) if summary else []
    header[2:3] = params  # in the place of "params"
    lines = [
        [candidate, method, *map(values.get, params), *rest]
        for candidate, method, values, *rest in (row.values() for row in summary)
    ]
    write_csv(path, header, lines)


def cv_results(folder: str | Path) -> dict[str, Any]:
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
    >>> dataset = {"name": "convolutive", "n_scenes": 2, "duration": 1.0}
    >>> methods = {"auxiva": {"grid": {"auxiva.max_iter": [1, 9]}}}
    >>> experiment = make_experiment({"dataset": dataset, "methods": methods})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = run_experiment(experiment, folder)
    ...     results = cv_results(folder)
    >>> results["params"][1], results["split0_test_si_sdr"].shape
    ({'method': 'auxiva', 'auxiva.max_iter': 9}, (2,))
    """
    table = tabulate(row for row, _ in iterate_results(folder))
    names = [one["candidate"] for one in table.candidates]
    order = np.argsort(names)
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
