"""What callbacks cost: per iteration, with none set, and with each of them.

Run as ``python benchmarks/bench_callbacks.py``. Variants take turns, and what is shown
is the median of the ratios within a turn, so that a noisy machine tells little.
"""

# License: BSD-3-Clause

import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone

from skbss import ILRMA, STFT, AuxIVA, OnlineAuxIVA
from skbss.callbacks import FitTask, JsonlLogger, OnProgress
from skbss.datasets import load_cocktail_party

N_TURNS = 15
N_CALLS = 2000


def seconds(function, *args):
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def bookkeeping():
    """Time that one fit spends on tasks when nothing is set, in microseconds."""
    separator = AuxIVA()

    def begin_and_end():
        task = FitTask(separator, None, None, 50)
        assert task.iterations(iterations, None) is iterations
        task.end()

    iterations = iter(())
    times = [seconds(begin_and_end) for _ in range(N_CALLS)]
    return 1e6 * np.median(times)


def main():
    record = STFT(2048).fit_transform(load_cocktail_party().mixture)
    per_fit = bookkeeping()
    print(f"tasks of a fit, no callback set: {per_fit:.1f} µs")
    separators = {
        "AuxIVA": AuxIVA(max_iter=20, sort_iter=0),
        "ILRMA": ILRMA(max_iter=20, init="identity", random_state=0),
        "OnlineAuxIVA": OnlineAuxIVA(),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        callbacks = {
            "OnProgress": OnProgress(lambda fraction: None),
            "JsonlLogger": JsonlLogger(path),
        }
        for name, separator in separators.items():
            report(name, separator, record, per_fit, callbacks)


def report(name, separator, record, per_fit, callbacks):
    plain = clone(separator)
    watched = {k: clone(separator).set_callbacks(v) for k, v in callbacks.items()}
    turns = []
    for _ in range(N_TURNS):
        turn = [seconds(plain.fit, record)]
        turns.append(turn + [seconds(each.fit, record) for each in watched.values()])
    turns = np.array(turns)
    n_tasks = getattr(plain, "n_iter_", -(-len(record) // 64))
    fit = np.median(turns[:, 0])
    print(f"{name}: {1e3 * fit / n_tasks:.2f} ms an iteration or 64 frames")
    share = per_fit * 1e-6 / fit
    print(f"  no callback: {share:.4%} of the fit")
    for k, callback in enumerate(watched, 1):
        ratio = np.median(turns[:, k] / turns[:, 0]) - 1
        print(f"  {callback}: {ratio:+.1%}")


if __name__ == "__main__":
    main()
