"""Long recordings in blocks beside the whole at once, minute by minute.

    python benchmarks/bench_long.py SCENE [SCENE ...] [--whole] [--jobs N]

A scene is a folder with a mixture and its sources, as `skbss.datasets.SceneFolder`
reads them. For every minute the mean SI-SDR improvement in dB is printed, with one
order of the outputs for the whole recording, and how many talkers have another output
in a minute than in the whole, which should be none.
"""

# License: BSD-3-Clause

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from skbss import BlockBatch, make_separator
from skbss.datasets import SceneFolder

MINUTE = 60
# A talker counts in a minute with this share of the mean power or more.
SPEAKS = 0.03


def si_sdr_matrix(reference, y):
    """SI-SDR in dB of each output (columns) as an estimate of each source (rows)."""
    reference, y = (v - v.mean(0) for v in (reference.astype(float), y.astype(float)))
    cross = (reference.T @ y) ** 2
    target = cross / np.maximum((reference**2).sum(0)[:, None], 1e-300)
    rest = np.maximum((y**2).sum(0) - target, 1e-300)
    return 10 * np.log10(np.maximum(target, 1e-300) / rest)


def improvements(reference, y, x, rate):
    """Return the mean improvement, those of minutes, and the number of swaps."""
    scores = si_sdr_matrix(reference, y)
    order = linear_sum_assignment(scores, maximize=True)[1]
    talkers = np.arange(len(order))
    whole = (scores[talkers, order] - si_sdr_matrix(reference, x)[:, 0]).mean()
    minutes, n_swaps = [], 0
    power = (reference**2).mean(0)
    for start in range(0, len(x) - MINUTE * rate // 2, MINUTE * rate):
        part = slice(start, start + MINUTE * rate)
        speaks = (reference[part] ** 2).mean(0) > SPEAKS * power
        scores = si_sdr_matrix(reference[part], y[part])
        gained = scores[talkers, order] - si_sdr_matrix(reference[part], x[part])[:, 0]
        minutes.append(gained[speaks].mean() if speaks.any() else np.nan)
        best = linear_sum_assignment(scores[speaks], maximize=True)[1]
        n_swaps += int((best != order[speaks]).sum())
    return whole, np.array(minutes), n_swaps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--whole", action="store_true", help="all at once too")
    parser.add_argument("--jobs", type=int)
    args = parser.parse_args()
    for path in args.scenes:
        scene = SceneFolder(path.parent, include=path.name, dtype="float32")[0]
        x, rate = scene.mixture, scene.sample_rate
        methods = {"blocks": BlockBatch(sample_rate=rate, n_jobs=args.jobs)}
        if args.whole:
            methods["whole"] = make_separator(sample_rate=rate, random_state=0)
        for name, method in methods.items():
            start, cpu = time.perf_counter(), time.process_time()
            y = method.fit_transform(x)
            seconds = time.perf_counter() - start, time.process_time() - cpu
            mean, minutes, n_swaps = improvements(scene.references, y, x[:, :1], rate)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(
                f"{path.name} {name}: {mean:.1f} dB, minutes {minutes.round(1)}, "
                f"{n_swaps} swaps, {seconds[0]:.0f} s ({seconds[1]:.0f} s of this "
                f"process), {peak:.2f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
