"""The result in a few sentences."""

# License: BSD-3-Clause

from html import escape

import numpy as np

from skbss.benchmark.report.charts import decibels, factor
from skbss.benchmark.report.ranking import label


def count(n, noun):
    """Return a number with its noun."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def facts(table, environment):
    """Return what was compared, when and where.

    Parameters
    ----------
    table : ScoreTable
        The results.
    environment : dict
        As environment.json has it.

    Returns
    -------
    text : str
    """
    durations = {}
    for (recording, _), row in table.rows.items():
        durations.setdefault(recording, row.get("duration") or 0.0)
        durations[recording] = max(durations[recording], row.get("duration") or 0.0)
    minutes = sum(durations.values()) / 60
    parts = [
        count(len(table.candidates), "candidate"),
        f"{count(len(table.recordings), 'recording')} ({minutes:.1f} min)",
    ]
    if "started" in environment:
        parts.append(str(environment["started"])[:16].replace("T", " "))
    if "processor" in environment:
        parts.append(str(environment["processor"]))
    return " · ".join(parts)


def sentences(table, ranking, metric, *, ended):
    """Return the result as paragraphs of HTML.

    Parameters
    ----------
    table : ScoreTable
        The results.
    ranking : list of Ranked
        The candidates, the best first.
    metric : str or None
        The metric that ranks.
    ended : bool
        Whether the run has come to its end.

    Returns
    -------
    html : str
    """
    paragraphs = [_best(ranking, metric), *_rivals(ranking, metric)]
    paragraphs += [*_complete(ranking, metric), _state(table, ranking, ended)]
    return "\n".join(f"<p>{text}</p>" for text in paragraphs if text)


def _name(one):
    return f"<strong>{escape(one.name)}</strong>"


def _best(ranking, metric):
    if not metric:
        return "There are no scores, since the recordings have no references."
    best = ranking[0]
    score = best.scores[metric]
    if not score.n:
        return "No recording has a score."
    if metric.endswith("improvement") and score.mean < 0:
        text = f"Nothing improves on the mixture. {_name(best)} is closest: "
    else:
        text = f"{_name(best)} is best: "
    text += f"{decibels(score.mean)} dB {label(metric)} "
    if np.isfinite(score.low):
        limits = f"{decibels(score.low)} to {decibels(score.high)}"
        text += f"on average over {score.n} recordings (95 % interval {limits})"
    else:
        text += "on the only recording it has a score for"
    if np.isfinite(best.real_time_factor):
        text += (
            f", in {factor(best.real_time_factor)} of the recording&rsquo;s duration"
        )
    return text + "."


def _rivals(ranking, metric):
    """Return who cannot be told from the best, and the fastest of them."""
    if not metric or not ranking[0].scores[metric].n:
        return
    best = ranking[0]
    rivals = [o for o in ranking[1:] if o.difference.low <= 0 <= o.difference.high]
    if rivals:
        names = ", ".join(_name(one) for one in rivals[:3])
        more = f" and {len(rivals) - 3} more" if len(rivals) > 3 else ""
        yield f"These recordings are not enough to tell it from {names}{more}."
    elif len(ranking) > 1 and np.isfinite(ranking[1].difference.low):
        second = ranking[1]
        yield (
            f"Its lead over {_name(second)}, {decibels(-second.difference.mean)} dB, "
            "is larger than chance explains."
        )
    close = [
        one
        for one in ranking[1:]
        if one.difference.mean > -1 and one.real_time_factor < best.real_time_factor / 2
    ]
    if close:
        fast = min(close, key=lambda one: one.real_time_factor)
        times = best.real_time_factor / fast.real_time_factor
        yield (
            f"{_name(fast)} is {times:.2g} times as fast for "
            f"{decibels(abs(fast.difference.mean))} dB "
            f"{'less' if fast.difference.mean <= 0 else 'more'}."
        )


def _complete(ranking, metric):
    """Warn of a first place that owes to recordings which others lack, or it lacks."""
    if not metric:
        return
    best = ranking[0]
    n_scored = best.scores[metric].n
    most = max(one.scores[metric].n for one in ranking)
    if n_scored and n_scored < most:
        full = next(one for one in ranking if one.scores[metric].n == most)
        yield (
            f'<span class="warn">It lacks {count(most - n_scored, "recording")} that '
            f"others have a score for.</span> Of those with all, {_name(full)} is best."
        )
    better = [one for one in ranking[1:] if one.difference.mean > 0]
    if better:
        most = max(better, key=lambda one: one.difference.mean)
        yield (
            '<span class="warn">Candidates differ in the recordings they have a score '
            f"for.</span> On those that both have, {_name(most)} is "
            f"{decibels(most.difference.mean)} dB better."
        )


def _state(table, ranking, ended):
    n_total = len(table.recordings) * len(table.candidates)
    n_missing = sum(one.n_missing for one in ranking)
    n_failed = len(table.failures)
    parts = []
    if n_missing or not ended:
        parts.append(
            f"This run has not ended: {n_total - n_missing} of at least {n_total} "
            "tasks are done."
        )
    if n_failed:
        failed = count(n_failed, "task")
        parts.append(
            f'<a href="#failures" class="warn">{failed} of {n_total - n_missing} '
            "failed</a>."
        )
    return " ".join(parts)
