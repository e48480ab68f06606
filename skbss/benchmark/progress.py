"""How far an experiment is, and how long it will take."""

# License: BSD-3-Clause

import time
from collections import defaultdict


class RunProgress:
    """Estimates the time left from the tasks that are done.

    A candidate takes a time in proportion to the duration of the recording, which
    differs between candidates by orders of magnitude: each has a rate of its own, and
    one that was not yet seen the mean of the others.

    Parameters
    ----------
    todo : dict of str to int
        How many tasks of each candidate there are to do.
    n_done : int, default=0
        How many were done before.
    """

    def __init__(self, todo, n_done=0):
        self.todo = dict(todo)
        self.n_done = n_done
        self.n_total = n_done + sum(self.todo.values())
        self._seconds = defaultdict(float)
        self._duration = defaultdict(float)
        self._durations = {}
        self._start = time.monotonic()

    def add(self, row):
        """Count a task that is done.

        Parameters
        ----------
        row : dict
            Its result.
        """
        candidate = row["candidate"]
        self.todo[candidate] -= 1
        self.n_done += 1
        self._seconds[candidate] += row["seconds"]["total"]
        duration = row.get("duration", self._durations.get(row["recording"], 0.0))
        self._duration[candidate] += duration
        self._durations[row["recording"]] = duration

    def seconds_left(self):
        """Return the estimate, nan before the first task is done."""
        busy, audio = sum(self._seconds.values()), sum(self._duration.values())
        if not busy or not audio:
            return float("nan")
        elapsed = time.monotonic() - self._start
        duration = sum(self._durations.values()) / len(self._durations)
        left = 0.0
        for candidate, n_left in self.todo.items():
            known = self._duration[candidate] > 0
            rate = (
                self._seconds[candidate] / self._duration[candidate]
                if known
                else busy / audio
            )
            left += n_left * duration * rate
        # Busy seconds a second: how many processes there really are.
        return left * elapsed / busy

    def __str__(self):
        left = self.seconds_left()
        text = f"[{self.n_done}/{self.n_total}]"
        if self.n_done == self.n_total or left != left:
            return text
        return f"{text} {describe_seconds(left)} left"


def describe_seconds(seconds):
    """Return a duration in words, as exactly as an estimate deserves.

    Parameters
    ----------
    seconds : float
        The duration.

    Returns
    -------
    text : str
        Such as "40 s", "12 min" or "3.5 h".

    Examples
    --------
    >>> from skbss.benchmark.progress import describe_seconds
    >>> [describe_seconds(seconds) for seconds in (0.2, 41, 700, 12_500)]
    ['1 s', '41 s', '12 min', '3.5 h']
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
