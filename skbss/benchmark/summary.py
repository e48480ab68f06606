"""What an experiment says about each candidate, over all recordings."""

# License: BSD-3-Clause

from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, t

from skbss.benchmark.output import write_csv
from skbss.benchmark.results import iterate_results

CONFIDENCE = 0.95


def summarize(folder):
    """Summarize the results of a run, and write them to ``summary.csv``.

    Parameters
    ----------
    folder : str or Path
        The run folder; the run may still be going on.

    Returns
    -------
    summary : list of dict
        For each candidate, the best first by the first metric:

        candidate, method, params
            As in the results.
        n_recordings, n_failed : int
            How many recordings were separated, and how many failed.
        <metric> : float
            Mean over the recordings, each of which counts with the mean over its
            sources. What is undefined is left out.
        <metric>_low, <metric>_high : float
            Limits of the confidence interval of the mean at 95 %, by Student's t over
            the recordings: it tells how far another choice of such recordings would
            move the mean. Nan for a single recording.
        real_time_factor : float
            Median over the recordings of the seconds of computation, from the samples
            of the recording to those of the sources, for a second of audio.

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
    candidates = _collect(folder)
    metrics = dict.fromkeys(m for c in candidates.values() for m in c["scores"])
    summary = [_summarize(candidate, metrics) for candidate in candidates.values()]
    if metrics:
        first = next(iter(metrics))
        # nan, of a candidate that always failed, goes last.
        summary.sort(key=lambda row: -np.nan_to_num(row[first], nan=-np.inf))
    _write(Path(folder) / "summary.csv", summary)
    return summary


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
    candidates = list(_collect(folder).values())
    recordings = sorted({r for c in candidates for r in c["seconds"]})
    candidates.sort(key=lambda candidate: candidate["candidate"])
    results = {
        "params": [{"method": c["method"]} | c["params"] for c in candidates],
        "recordings": recordings,
    }

    def table(values):
        return np.array([[v.get(r, np.nan) for r in recordings] for v in values])

    seconds = table([c["seconds"] for c in candidates])
    results["mean_fit_time"], results["std_fit_time"] = _mean_and_std(seconds)
    for metric in dict.fromkeys(m for c in candidates for m in c["scores"]):
        scores = table([c["scores"].get(metric, {}) for c in candidates])
        for k, column in enumerate(scores.T):
            results[f"split{k}_test_{metric}"] = column
        mean, std = _mean_and_std(scores)
        results[f"mean_test_{metric}"], results[f"std_test_{metric}"] = mean, std
        rank = rankdata(-np.nan_to_num(mean, nan=-np.inf), method="min")
        results[f"rank_test_{metric}"] = rank.astype(np.int32)
    return results


def _collect(folder):
    """Return candidates with their scores and times by recording, in a small space."""
    candidates = {}
    for row, _ in iterate_results(folder):
        candidate = candidates.setdefault(
            row["candidate"],
            {
                "candidate": row["candidate"],
                "method": row["method"],
                "params": row["params"],
                "n_failed": 0,
                "scores": defaultdict(dict),
                "seconds": {},
                "real_time_factors": [],
            },
        )
        if row["status"] != "ok":
            candidate["n_failed"] += 1
            candidate["seconds"][row["recording"]] = np.nan
            continue
        seconds = row["seconds"]
        candidate["seconds"][row["recording"]] = (
            seconds["stft"] + seconds["separation"] + seconds["istft"]
        )
        candidate["real_time_factors"].append(row["real_time_factor"])
        for metric, scores in row["scores"].items():
            defined = [score for score in scores if score is not None]
            if defined:
                candidate["scores"][metric][row["recording"]] = np.mean(defined)
    return candidates


def _summarize(candidate, metrics):
    factors = candidate["real_time_factors"]
    row = {
        "candidate": candidate["candidate"],
        "method": candidate["method"],
        "params": candidate["params"],
        "n_recordings": len(factors),
        "n_failed": candidate["n_failed"],
    }
    for metric in metrics:
        values = np.array(list(candidate["scores"][metric].values()))
        mean, low, high = mean_and_interval(values)
        row |= {metric: mean, f"{metric}_low": low, f"{metric}_high": high}
    row["real_time_factor"] = float(np.median(factors)) if factors else np.nan
    return row


def mean_and_interval(values, confidence=CONFIDENCE):
    """Return the mean of independent values and its confidence interval.

    Parameters
    ----------
    values : array-like of shape (n_values,)
        All defined.
    confidence : float, default=0.95
        Probability that such an interval holds the expectation, for normal values.

    Returns
    -------
    mean, low, high : float
        Nan where there are too few values.

    Examples
    --------
    >>> from skbss.benchmark.summary import mean_and_interval
    >>> [round(value, 2) for value in mean_and_interval([9.0, 10.0, 11.0])]
    [10.0, 7.52, 12.48]
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean()) if values.size else np.nan
    if values.size < 2:
        return mean, np.nan, np.nan
    error = values.std(ddof=1) / np.sqrt(values.size)
    half = float(t.ppf((1 + confidence) / 2, values.size - 1) * error)
    return mean, mean - half, mean + half


def _mean_and_std(table):
    """Mean and standard deviation of rows; nan, as in GridSearchCV, if one is nan."""
    return table.mean(axis=1), table.std(axis=1)


def _write(path, summary):
    params = dict.fromkeys(name for row in summary for name in row["params"])
    header = list(summary[0]) if summary else []
    header[2:3] = params  # in the place of "params"
    lines = [
        [candidate, method, *map(values.get, params), *rest]
        for candidate, method, values, *rest in (row.values() for row in summary)
    ]
    write_csv(path, header, lines)
