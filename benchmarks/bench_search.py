"""Time a grid search with a cache, first when the cache is empty, then again.

Run ``python benchmarks/bench_search.py`` (about a minute). The search is the one that
users run: three numbers of bases by two window lengths, over recordings of different
lengths of some 10 s at 16 kHz, in two processes. Printed are the seconds of both
searches and their ratio, which should be at least 5, and that they agree.
"""

# License: BSD-3-Clause

import argparse
import tempfile
import time

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, EachRecording, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_scorer

GRID = {
    "estimator__ilrma__n_basis": [1, 2, 4],
    "estimator__stft__n_fft": [2048, 4096],
}


def make_recordings(n_recordings, seconds):
    pairs = [
        make_convolutive_mixture(
            round((seconds + 2 * k) * 16_000), rt60=0.15, random_state=k
        )
        for k in range(n_recordings)
    ]
    mixtures, references = zip(*pairs, strict=True)
    return list(mixtures), list(references)


def make_search(cache, n_jobs):
    steps = STFT(), ILRMA(random_state=0), ProjectionBack(), ISTFT()
    pipe = make_pipeline(*steps, memory=joblib.Memory(cache, verbose=0))
    return GridSearchCV(
        EachRecording(pipe), GRID, scoring=si_sdr_scorer, cv=2, n_jobs=n_jobs
    )


def timed(search, mixtures, references):
    search = clone(search)
    start = time.perf_counter()
    search.fit(mixtures, references)
    return search, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=4, help="default: 4")
    parser.add_argument("--seconds", type=float, default=8, help="of the shortest")
    parser.add_argument("--jobs", type=int, default=2, help="processes, default: 2")
    args = parser.parse_args()
    mixtures, references = make_recordings(args.recordings, args.seconds)
    lengths = ", ".join(f"{len(x) / 16_000:g}" for x in mixtures)
    print(f"{len(mixtures)} recordings of {lengths} s, {args.jobs} processes, {GRID}")
    # Starting the processes is no part of either search.
    joblib.Parallel(args.jobs)(joblib.delayed(abs)(-1) for _ in range(args.jobs))
    with tempfile.TemporaryDirectory() as cache:
        search = make_search(cache, args.jobs)
        first, cold = timed(search, mixtures, references)
        second, warm = timed(search, mixtures, references)
    scores = [s.cv_results_["mean_test_score"] for s in (first, second)]
    np.testing.assert_array_equal(*scores)
    print(f"empty cache {cold:6.2f} s")
    print(f"full cache  {warm:6.2f} s, {cold / warm:.1f} times faster, equal scores")
    for params, score in zip(first.cv_results_["params"], scores[0], strict=True):
        leaves = {key.split("__", 1)[1]: value for key, value in params.items()}
        print(f"{score:6.2f} dB  {leaves}")
    print(f"best: {first.best_params_}")


if __name__ == "__main__":
    main()
