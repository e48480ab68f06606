"""The report's tables as CSV."""

# License: BSD-3-Clause

import numpy as np

from skbss.benchmark.output import write_csv
from skbss.benchmark.report.ranking import natural, number


def write_ranking(path, table, ranking):
    """Write the ranking, a line for each candidate.

    Parameters
    ----------
    path : Path
        The file.
    table : ScoreTable
        The results.
    ranking : list of Ranked
        The candidates, the best first.
    """
    header = ["rank", "candidate", "method", "n_done", "n_failed", "n_missing"]
    header += ["real_time_factor"]
    for metric in table.metrics:
        header += [metric, f"{metric}_low", f"{metric}_high", f"{metric}_n"]
    header += ["worst", "difference", "difference_low", "difference_high"]
    lines = []
    for place, one in enumerate(ranking, 1):
        line = [place, one.name, one.method, one.n_done, one.n_failed, one.n_missing]
        line += [one.real_time_factor]
        for score in (one.scores[metric] for metric in table.metrics):
            line += [score.mean, score.low, score.high, score.n]
        d = one.difference
        lines.append([*line, one.worst, d.mean, d.low, d.high])
    write_csv(path, header, lines)


def write_recordings(path, table):
    """Write the score of every source, or the error.

    Parameters
    ----------
    path : Path
        The file.
    table : ScoreTable
        The results.
    """
    header = ["recording", "candidate", "method", "status", "source"]
    header += [*table.metrics, "real_time_factor", "error"]
    lines = []
    for row in sorted(table.rows.values(), key=lambda r: natural(r["recording"])):
        scores = {
            metric: values if isinstance(values, list) else [values]
            for metric, values in (row.get("scores") or {}).items()
        }
        start = [row["recording"], row["candidate"], row.get("method"), row["status"]]
        error = row.get("error") or {}
        end = [number(row.get("real_time_factor"))]
        end += [": ".join(map(str, error.values()))]
        for k in range(max(map(len, scores.values()), default=1)):
            columns = (scores.get(metric, []) for metric in table.metrics)
            values = [number(v[k]) if k < len(v) else np.nan for v in columns]
            lines.append([*start, k if scores else "", *values, *end])
    write_csv(path, header, lines)
