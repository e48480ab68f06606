"""How far an experiment is, and how long it will take."""

# License: BSD-3-Clause

import time


class RunProgress:
    """Counts tasks, and estimates the time left from the pace of those that are done.

    Tasks come recording by recording, each with all candidates, so that what is done
    is a fair sample of what is left.
    """

    def __init__(self, n_total: int, n_done: int = 0):
        self.n_total = n_total
        self.n_done = n_done
        self._n_before = n_done
        self._start = time.monotonic()

    def seconds_left(self) -> float:
        """Return the estimate, nan before the first task is done."""
        n_now = self.n_done - self._n_before
        if not n_now:
            return float("nan")
        return (time.monotonic() - self._start) / n_now * (self.n_total - self.n_done)

    def __str__(self):
        left, text = self.seconds_left(), f"[{self.n_done}/{self.n_total}]"
        if self.n_done == self.n_total or left != left:
            return text
        if left < 100:
            return f"{text} {max(left, 1):.0f} s left"
        if left < 6000:
            return f"{text} {left / 60:.0f} min left"
        return f"{text} {left / 3600:.1f} h left"
